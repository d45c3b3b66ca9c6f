"""NumPy without waste: every array is made once and every operation writes in place.

Small tricks were each timed against the plain form: rows are gathered with ``mode="clip"``
(no buffering), rows and columns are summed by BLAS, the ReLU's mask is made as a float, and
the learning rate is multiplied into the output's delta, the smallest array on its way.
All parameters lie in one array, and so do their gradients: an update is a few calls, not a
few for each.  Large sets of rows and parameters are worked off in blocks that stay in caches.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from bench.cases import Case
from bench.formulas import MEMORIES
from bench.reference import Arrays, Run, by_name, parameters

BLOCK_OF_ROWS = 1000
BLOCK_OF_PARAMETERS = 16_384


# By name ------------------------------------------------------------------------------


class Activation(NamedTuple):
    """``f(z, out, scratch)``, where out may be z, and ``slope(y, out)``, None where it is 1."""

    f: Callable[..., Any]
    slope: Callable[..., Any] | None


def _sigmoid(z: np.ndarray, out: np.ndarray, scratch: np.ndarray) -> None:
    np.negative(z, out=out)
    np.exp(out, out=out)
    np.add(out, 1, out=out)
    np.reciprocal(out, out=out)


def _leaky_relu(z: np.ndarray, out: np.ndarray, scratch: np.ndarray) -> None:
    np.multiply(z, 0.01, out=scratch)
    np.maximum(z, scratch, out=out)


def _softplus(z: np.ndarray, out: np.ndarray, scratch: np.ndarray) -> None:
    np.abs(z, out=scratch)
    np.negative(scratch, out=scratch)
    np.exp(scratch, out=scratch)
    np.log1p(scratch, out=scratch)
    np.maximum(z, 0, out=out)
    np.add(out, scratch, out=out)


def _is_positive(y: np.ndarray, out: np.ndarray) -> None:
    np.greater(y, 0, out=out, casting="unsafe")


def _is_positive_or_leaks(y: np.ndarray, out: np.ndarray) -> None:
    np.greater(y, 0, out=out, casting="unsafe")
    np.maximum(out, 0.01, out=out)


def _slope_of_sigmoid(y: np.ndarray, out: np.ndarray) -> None:
    np.subtract(1, y, out=out)
    np.multiply(out, y, out=out)


def _slope_of_tanh(y: np.ndarray, out: np.ndarray) -> None:
    np.multiply(y, y, out=out)
    np.subtract(1, out, out=out)


def _slope_of_softplus(y: np.ndarray, out: np.ndarray) -> None:
    np.negative(y, out=out)
    np.expm1(out, out=out)
    np.negative(out, out=out)


class CrossEntropy:
    """Mean softmax cross entropy."""

    def __init__(self, rows: int, classes: int, dtype: str):
        self.column, self.ones = np.empty((rows, 1), dtype), np.ones((classes, 1), dtype)
        self.first_of_row = np.arange(rows) * classes

    def __call__(self, z: np.ndarray, t: np.ndarray, rate: float) -> float:
        """Overwrite the scores with ``rate * (softmax - one_hot)``; return the loss."""
        column, flat = self.column, z.reshape(-1)
        right = self.first_of_row + t
        np.subtract(z, np.maximum.reduce(z, axis=1, keepdims=True, out=column), out=z)
        right_scores = flat[right]
        np.exp(z, out=z)
        np.matmul(z, self.ones, out=column)
        loss = np.add.reduce(np.log(column[:, 0])) - np.add.reduce(right_scores)
        np.multiply(z, np.divide(rate, column, out=column), out=z)
        flat[right] -= rate
        return loss / len(z)


class SquaredError:
    """Half the squared error of a row, on average."""

    def __init__(self, rows: int, outputs: int, dtype: str):
        pass

    def __call__(self, y: np.ndarray, t: np.ndarray, rate: float) -> float:
        """Overwrite the outputs with ``rate * (y - t)``; return the loss."""
        np.subtract(y, t, out=y)
        flat = y.reshape(-1)
        loss = np.dot(flat, flat) / (2 * len(y))
        np.multiply(y, rate, out=y)
        return loss


class UpdateRule(NamedTuple):
    """A block's step, and whether it takes the rate once, so that gradients may come scaled."""

    step: Callable[..., None]
    scales: bool = False


def _sgd(rule: Rule, g: np.ndarray, p: np.ndarray, scratch: np.ndarray) -> None:
    np.subtract(p, rule.rated(g, scratch), out=p)


def _momentum(rule: Rule, g: np.ndarray, p: np.ndarray, scratch: np.ndarray, v: np.ndarray) -> None:
    np.multiply(v, 0.9, out=v)
    np.subtract(v, rule.rated(g, scratch), out=v)
    np.add(p, v, out=p)


def _nesterov(rule: Rule, g: np.ndarray, p: np.ndarray, scratch: np.ndarray, v: np.ndarray) -> None:
    step = rule.rated(g, scratch)
    np.multiply(v, 0.9, out=v)
    np.subtract(v, step, out=v)
    np.subtract(p, step, out=p)
    np.add(p, np.multiply(v, 0.9, out=scratch), out=p)


def _adagrad(rule: Rule, g: np.ndarray, p: np.ndarray, scratch: np.ndarray, h: np.ndarray) -> None:
    np.add(h, np.multiply(g, g, out=scratch), out=h)
    rule.divide(rule.lr, 1e-7, g, h, p, scratch)


def _rmsprop(rule: Rule, g: np.ndarray, p: np.ndarray, scratch: np.ndarray, h: np.ndarray) -> None:
    np.multiply(h, 0.99, out=h)
    np.add(h, np.multiply(g, g, out=scratch), out=h)
    rule.divide(rule.lr / 0.1, 1e-7 / 0.1, g, h, p, scratch)


def _adam(
    rule: Rule, g: np.ndarray, p: np.ndarray, scratch: np.ndarray, m: np.ndarray, s: np.ndarray
) -> None:
    np.multiply(m, 0.9, out=m)
    np.add(m, g, out=m)
    np.multiply(s, 0.999, out=s)
    np.add(s, np.multiply(g, g, out=scratch), out=s)
    root = math.sqrt(0.001)
    rate = rule.lr * math.sqrt(1 - 0.999**rule.steps) / (1 - 0.9**rule.steps)
    rule.divide(rate * 0.1 / root, 1e-7 / root, m, s, p, scratch)


ACTIVATIONS = {
    "identity": Activation(lambda z, out, scratch: np.copyto(out, z), None),
    "relu": Activation(lambda z, out, scratch: np.maximum(z, 0, out=out), _is_positive),
    "leaky_relu": Activation(_leaky_relu, _is_positive_or_leaks),
    "sigmoid": Activation(_sigmoid, _slope_of_sigmoid),
    "tanh": Activation(lambda z, out, scratch: np.tanh(z, out=out), _slope_of_tanh),
    "softplus": Activation(_softplus, _slope_of_softplus),
}
LOSSES: dict[str, Any] = {"cross_entropy": CrossEntropy, "squared_error": SquaredError}
RULES = {
    "sgd": UpdateRule(_sgd, scales=True),
    "momentum": UpdateRule(_momentum, scales=True),
    "nesterov": UpdateRule(_nesterov, scales=True),
    "adagrad": UpdateRule(_adagrad),
    "rmsprop": UpdateRule(_rmsprop),
    "adam": UpdateRule(_adam),
}


def activate(name: str, z: np.ndarray, out: np.ndarray, scratch: np.ndarray) -> None:
    """``out = f(z)``; out may be z, scratch may not."""
    ACTIVATIONS[name].f(z, out, scratch)


def times_slope(
    name: str, dy: np.ndarray, y: np.ndarray, slope: np.ndarray, out: np.ndarray
) -> np.ndarray:
    """``out = dy * f'(z)`` by way of slope; out may be dy or slope."""
    fill = ACTIVATIONS[name].slope
    if fill is None:
        np.copyto(out, dy)
        return out
    fill(y, slope)
    return np.multiply(dy, slope, out=out)


# Kernels ------------------------------------------------------------------------------


def affine_forward(case: Case, given: Arrays) -> Run:
    """Product, bias and ReLU, all in the output's array."""
    x, W, b = given["x"], given["W"], given["b"]
    y = np.empty((len(x), len(b)), case.dtype)

    def run(calls: int) -> Arrays:
        for _ in range(calls):
            np.matmul(x, W, out=y)
            np.add(y, b, out=y)
            np.maximum(y, 0, out=y)
        return {"y": y}

    return run


def affine_backward(case: Case, given: Arrays) -> Run:
    """The mask as a float, two products, and db as a product with ones."""
    x, W, y, dy = given["x"], given["W"], given["y"], given["dy"]
    dz, dW, db, dx = np.empty_like(y), np.empty_like(W), np.empty_like(y[0]), np.empty_like(x)
    ones = np.ones(len(x), case.dtype)

    def run(calls: int) -> Arrays:
        for _ in range(calls):
            np.greater(y, 0, out=dz, casting="unsafe")
            np.multiply(dz, dy, out=dz)
            np.matmul(x.T, dz, out=dW)
            np.matmul(ones, dz, out=db)
            np.matmul(dz, W.T, out=dx)
        return {"dW": dW, "db": db, "dx": dx}

    return run


def softmax_cross_entropy(case: Case, given: Arrays) -> Run:
    """As at the end of a training step."""
    z, t = given["z"], given["t"]
    dz, loss_of = np.empty_like(z), CrossEntropy(len(z), z.shape[1], case.dtype)

    def run(calls: int) -> Arrays:
        for _ in range(calls):
            np.copyto(dz, z)
            loss = loss_of(dz, t, 1 / len(z))
        return {"loss": np.array([loss]), "dz": dz}

    return run


def activation(case: Case, given: Arrays) -> Run:
    """Forward into y; the slope and then its product with dy into dz."""
    z, dy, name = given["z"], given["dy"], case.activation
    y, dz = np.empty_like(z), np.empty_like(z)

    def run(calls: int) -> Arrays:
        with np.errstate(over="ignore"):
            for _ in range(calls):
                activate(name, z, y, dz)
                times_slope(name, dy, y, dz, dz)
        return {"y": y, "dz": dz}

    return run


def optimizer(case: Case, given: Arrays) -> Run:
    """Updates of one array, in blocks."""

    def run(steps: int) -> Arrays:
        params = given["params"].copy()
        rule = Rule(case, params, scaled=False)
        for _ in range(steps):
            rule.update(given["gradient"])
        return {"params": params}

    return run


# Networks -----------------------------------------------------------------------------


def training(case: Case, given: Arrays, kind: type[Network] | None = None) -> Run:
    """One lean step after another, of a `Network` or of another kind of one."""
    x, t = given["x"], given["t"]
    network = (kind or Network)(case)

    def run(steps: int) -> Arrays:
        network.start(given)
        losses = np.empty(steps, case.dtype)
        with np.errstate(over="ignore"):  # exp(-z) may overflow in a sigmoid; 1/(1+inf) is right
            for step, rows in enumerate(given["batches"][:steps]):
                losses[step] = network.step(x, t, rows)
        return {"losses": losses} | by_name(network.params)

    return run


def mnist_job(case: Case, given: Arrays) -> Run:
    """Training, with an evaluation of all rows once an epoch."""
    x, t = given["x"], given["t"]
    every = len(x) // case.batch
    network, scores = Network(case), Scores(case, len(x))

    def run(steps: int) -> Arrays:
        network.start(given)
        accuracy = 0.0
        with np.errstate(over="ignore"):
            for step, rows in enumerate(given["batches"][:steps]):
                network.step(x, t, rows)
                if step % every == 0:
                    found = scores.of(x, network.params).argmax(axis=1)
                    accuracy = np.count_nonzero(found == t) / len(t)
        return {"accuracy": np.array([accuracy])}

    return run


def prediction(case: Case, given: Arrays) -> Run:
    """Scores, then softmax in place."""
    x, params = given["x"], parameters(given, case.dtype)
    scores = Scores(case, len(x))
    column, ones = np.empty((len(x), 1), case.dtype), np.ones((case.sizes[-1], 1), case.dtype)

    def run(calls: int) -> Arrays:
        with np.errstate(over="ignore"):
            for _ in range(calls):
                y = scores.of(x, params)
                y -= np.maximum.reduce(y, axis=1, keepdims=True, out=column)
                np.exp(y, out=y)
                y /= np.matmul(y, ones, out=column)
        return {"y": y}

    return run


class Network:
    """The parameters, and arrays for all that a step computes."""

    def __init__(self, case: Case):
        shapes: list[tuple[int, ...]] = []
        shapes += [shape for i, o in pairwise(case.sizes) for shape in ((i, o), (o,))]
        count = sum(math.prod(shape) for shape in shapes)
        self.case, self.activation = case, case.activation
        self.flat, self.flat_steps = np.empty((2, count), case.dtype)
        self.params = _views(self.flat, shapes)
        self.gradients = _views(self.flat_steps, shapes)
        self.transposed = [W.T for W in self.params[::2]]
        self.outputs = [np.empty((case.batch, n), case.dtype) for n in case.sizes]
        self.deltas = [np.empty_like(array) for array in self.outputs[:-1]]
        self.slopes = [np.empty_like(array) for array in self.outputs[:-1]]
        self.ones = np.ones(case.batch, case.dtype)
        self.loss = LOSSES[case.loss](case.batch, case.sizes[-1], case.dtype)

    def start(self, given: Arrays) -> None:
        """Take over the weights and forget all else."""
        for mine, first in zip(self.params, parameters(given, self.case.dtype), strict=True):
            np.copyto(mine, first)
        self.rule = Rule(self.case, self.flat)

    def step(self, x: Any, t: np.ndarray, rows: np.ndarray) -> float:
        """A step with these rows of x and t; its loss before the update."""
        self.forward(x, rows)
        loss = self.loss(self.outputs[-1], t.take(rows, axis=0), self.rule.scale / len(rows))
        self.backward()
        self.rule.update(self.flat_steps)
        return loss

    def forward(self, x: Any, rows: np.ndarray) -> None:
        """Fill the outputs of all layers for these rows of x."""
        np.take(x, rows, axis=0, out=self.outputs[0], mode="clip")
        forward(self.activation, self.params, self.outputs, self.slopes)

    def weight_gradient(self, k: int, delta: np.ndarray) -> None:
        """Sum a layer's inputs times the gradients of its outputs over the rows."""
        np.matmul(self.outputs[k].T, delta, out=self.gradients[2 * k])

    def backward(self) -> None:
        """From what the loss left in the last outputs, fill the gradients of all parameters."""
        delta = self.outputs[-1]
        for k in reversed(range(len(self.transposed))):
            self.weight_gradient(k, delta)
            np.matmul(self.ones, delta, out=self.gradients[2 * k + 1])
            if k:
                y, below = self.outputs[k], self.deltas[k]
                np.matmul(delta, self.transposed[k], out=below)
                delta = times_slope(self.activation, below, y, self.slopes[k], below)


class Scores:
    """Outputs for many rows, computed in blocks whose hidden layers stay in caches."""

    def __init__(self, case: Case, rows: int):
        self.activation = case.activation
        self.found = np.empty((rows, case.sizes[-1]), case.dtype)
        self.hidden = [np.empty((min(rows, BLOCK_OF_ROWS), n), case.dtype)
                       for n in case.sizes[1:-1]]  # fmt: skip
        self.scratch = [np.empty_like(array) for array in self.hidden]

    def of(self, x: np.ndarray, params: list[np.ndarray]) -> np.ndarray:
        """The scores of the rows of x, in an array that the next call overwrites."""
        for first in range(0, len(x), BLOCK_OF_ROWS):
            rows = x[first : first + BLOCK_OF_ROWS]
            hidden = [array[: len(rows)] for array in self.hidden]
            scratch = [array[: len(rows)] for array in self.scratch]
            outputs = [rows, *hidden, self.found[first : first + BLOCK_OF_ROWS]]
            forward(self.activation, params, outputs, [rows, *scratch])
        return self.found


def forward(
    name: str, params: list[np.ndarray], outputs: list[np.ndarray], scratch: list[np.ndarray]
) -> None:
    """From outputs[0], the rows, fill the other outputs; the last are scores."""
    last = len(outputs) - 1
    for k in range(1, last + 1):
        z = np.matmul(outputs[k - 1], params[2 * k - 2], out=outputs[k])
        np.add(z, params[2 * k - 1], out=z)
        if k < last:
            activate(name, z, z, scratch[k])


def _views(flat: np.ndarray, shapes: list[tuple[int, ...]]) -> list[np.ndarray]:
    """Arrays of these shapes, one after the other in flat."""
    ends = np.cumsum([math.prod(shape) for shape in shapes])
    return [part.reshape(shape)
            for part, shape in zip(np.split(flat, ends[:-1]), shapes, strict=True)]  # fmt: skip


class Rule:
    """Update rules in place, on blocks of an array of parameters.

    RMSprop's memory is kept as ``h / 0.01``, Adam's as ``m / 0.1`` and ``s / 0.001``, which
    spares a product for each.  Where `scaled`, rules that take the rate once are given gradients
    that were multiplied by `scale` before, on an array that was smaller.
    """

    def __init__(self, case: Case, params: np.ndarray, scaled: bool = True):
        name = case.optimizer
        self.scaled = scaled and RULES[name].scales
        self.scale = case.lr if self.scaled else 1.0
        self.lr, self.steps, self.one_block = case.lr, 0, partial(RULES[name].step, self)
        # One pass over memory has nothing to gain from blocks.
        size = params.size if self.scaled and not MEMORIES[name] else BLOCK_OF_PARAMETERS
        self.parts = [slice(first, first + size) for first in range(0, params.size, size)]
        memories = np.zeros((MEMORIES[name], params.size), params.dtype)
        scratch = np.empty(min(size, params.size), params.dtype)
        self.blocks = [(params[part], scratch[: params[part].size], *memories[:, part])
                       for part in self.parts]  # fmt: skip

    def update(self, gradient: np.ndarray) -> None:
        """Step on."""
        self.steps += 1
        for part, block in zip(self.parts, self.blocks, strict=True):
            self.one_block(gradient[part], *block)

    def rated(self, g: np.ndarray, scratch: np.ndarray) -> np.ndarray:
        """The step of a gradient."""
        return g if self.scaled else np.multiply(g, self.lr, out=scratch)

    def divide(
        self, rate: float, epsilon: float, above: np.ndarray, h: np.ndarray, p: np.ndarray,
        scratch: np.ndarray,
    ) -> None:  # fmt: skip
        """``p -= rate * above / (sqrt(h) + epsilon)``."""
        np.sqrt(h, out=scratch)
        np.add(scratch, epsilon, out=scratch)
        np.divide(above, scratch, out=scratch)
        np.multiply(scratch, rate, out=scratch)
        np.subtract(p, scratch, out=p)
