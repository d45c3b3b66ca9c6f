"""JAX: everything jitted, the steps of a run as one compiled `lax.scan` on data kept on the device.

A kernel is a jitted function that is called for each call and waited for, so its dispatch counts;
that of arrays from and to NumPy does not.  Steps of another number are another program: the first
run of each compiles.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bench.cases import Case
from bench.formulas import MEMORIES
from bench.reference import Arrays, Run, by_name, parameters


def cross_entropy(z: Any, t: Any) -> Any:
    """Mean softmax cross entropy."""
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(z), t[:, None], axis=1))


def squared_error(y: Any, t: Any) -> Any:
    """Half the squared error of a row, on average."""
    return jnp.sum((y - t) ** 2) / (2 * len(y))


def _sgd(lr: float, _: Any, p: Any, g: Any) -> Any:
    return (p - lr * g,)


def _momentum(lr: float, _: Any, p: Any, g: Any, v: Any) -> Any:
    v = 0.9 * v - lr * g
    return p + v, v


def _nesterov(lr: float, _: Any, p: Any, g: Any, v: Any) -> Any:
    v = 0.9 * v - lr * g
    return p + 0.9 * v - lr * g, v


def _adagrad(lr: float, _: Any, p: Any, g: Any, h: Any) -> Any:
    h = h + g * g
    return p - lr * g / (jnp.sqrt(h) + 1e-7), h


def _rmsprop(lr: float, _: Any, p: Any, g: Any, h: Any) -> Any:
    h = 0.99 * h + 0.01 * g * g
    return p - lr * g / (jnp.sqrt(h) + 1e-7), h


def _adam(lr: float, taken: Any, p: Any, g: Any, m: Any, s: Any) -> Any:
    m = m + 0.1 * (g - m)
    s = s + 0.001 * (g * g - s)
    # 1 - 0.999**taken in float32 would be off by 6e-5 of itself at the first step.
    corrected = [-jnp.expm1(taken * math.log(beta)) for beta in (0.9, 0.999)]
    rate = lr * jnp.sqrt(corrected[1]) / corrected[0]
    return p - rate * m / (jnp.sqrt(s) + 1e-7), m, s


ACTIVATIONS: dict[str, Callable[..., Any]] = {
    "identity": lambda z: z,
    "relu": jax.nn.relu,
    "leaky_relu": jax.nn.leaky_relu,
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "softplus": jax.nn.softplus,
}
LOSSES: dict[str, Callable[..., Any]] = {
    "cross_entropy": cross_entropy, "squared_error": squared_error,
}  # fmt: skip
RULES: dict[str, Callable[..., Any]] = {
    "sgd": _sgd, "momentum": _momentum, "nesterov": _nesterov, "adagrad": _adagrad,
    "rmsprop": _rmsprop, "adam": _adam,
}  # fmt: skip


# Kernels ------------------------------------------------------------------------------


def affine_forward(case: Case, given: Arrays) -> Run:
    """One jitted expression."""
    formula = jax.jit(lambda x, W, b: {"y": jax.nn.relu(x @ W + b)})
    return _calls(formula, *on_device(case, given, "x", "W", "b"))


def affine_backward(case: Case, given: Arrays) -> Run:
    """One jitted expression."""

    @jax.jit
    def formula(x: Any, W: Any, y: Any, dy: Any) -> Any:
        dz = jnp.where(y > 0, dy, 0)
        return {"dW": x.T @ dz, "db": dz.sum(axis=0), "dx": dz @ W.T}

    return _calls(formula, *on_device(case, given, "x", "W", "y", "dy"))


def softmax_cross_entropy(case: Case, given: Arrays) -> Run:
    """Value and gradient of the loss."""

    @jax.jit
    def formula(z: Any, t: Any) -> Any:
        loss, dz = jax.value_and_grad(cross_entropy)(z, t)
        return {"loss": loss.reshape(1), "dz": dz}

    return _calls(formula, *on_device(case, given, "z", "t"))


def activation(case: Case, given: Arrays) -> Run:
    """The function and its vector-Jacobian product, fused by the compiler."""

    @jax.jit
    def formula(z: Any, dy: Any) -> Any:
        y, backward = jax.vjp(ACTIVATIONS[case.activation], z)
        return {"y": y, "dz": backward(dy)[0]}

    return _calls(formula, *on_device(case, given, "z", "dy"))


def optimizer(case: Case, given: Arrays) -> Run:
    """A jitted update whose parameters and memories are donated, so that it works in place."""
    (gradient,) = on_device(case, given, "gradient")
    step = jax.jit(partial(update, case), donate_argnums=0)

    def run(steps: int) -> Arrays:
        state = begin(case, [given["params"]])
        for _ in range(steps):
            state = jax.block_until_ready(step(state, [gradient]))
        return {"params": np.asarray(state[0][0])}

    return run


def prediction(case: Case, given: Arrays) -> Run:
    """A jitted network on rows that are on the device already."""
    (x,) = on_device(case, given, "x")
    params = [jnp.array(array) for array in parameters(given, case.dtype)]
    formula = jax.jit(lambda params, x: {"y": jax.nn.softmax(scores(case, params, x))})
    return _calls(formula, params, x)


def _calls(formula: Callable[..., Any], *arguments: Any) -> Run:
    """Call and wait, each time."""

    def run(calls: int) -> Arrays:
        for _ in range(calls):
            found = jax.block_until_ready(formula(*arguments))
        return {name: np.asarray(array) for name, array in found.items()}

    return run


# Networks -----------------------------------------------------------------------------


def training(case: Case, given: Arrays) -> Run:
    """All steps in one scan, which gathers its own batches."""
    x, t = on_device(case, given, "x", "t")
    batches = given["batches"].astype(np.int32)
    train = jax.jit(partial(advance, case), donate_argnums=0)

    def run(steps: int) -> Arrays:
        state = begin(case, parameters(given, case.dtype))
        state, losses = jax.block_until_ready(train(state, x, t, batches[:steps]))
        return {"losses": np.asarray(losses)} | by_name(state[0])

    return run


def mnist_job(case: Case, given: Arrays) -> Run:
    """A scan from each evaluation to the next."""
    x, t = on_device(case, given, "x", "t")
    batches = given["batches"].astype(np.int32)
    every = len(x) // case.batch
    train = jax.jit(partial(advance, case), donate_argnums=0)

    @jax.jit
    def share_right(params: Any, x: Any, t: Any) -> Any:
        return jnp.mean(scores(case, params, x).argmax(axis=1) == t)

    def run(steps: int) -> Arrays:
        state = begin(case, parameters(given, case.dtype))
        accuracy, done = 0.0, 0
        for end in sorted({*range(1, steps + 1, every), steps}):  # after the steps 0, every, ...
            state, _ = train(state, x, t, batches[done:end])
            if (end - 1) % every == 0:
                accuracy = share_right(state[0], x, t)
            done = end
        jax.block_until_ready(state)
        return {"accuracy": np.array([accuracy], np.float64)}

    return run


def advance(case: Case, state: Any, x: Any, t: Any, batches: Any) -> Any:
    """A step for each row of batches: the state after them, and their losses."""

    def step(state: Any, rows: Any) -> Any:
        # The promise spares the test of each index that JAX's plain x[rows] makes.
        x_batch = x.at[rows].get(mode="promise_in_bounds")
        t_batch = t.at[rows].get(mode="promise_in_bounds")
        loss, gradients = jax.value_and_grad(partial(loss_of, case))(state[0], x_batch, t_batch)
        return update(case, state, gradients), loss

    return jax.lax.scan(step, state, batches)


def scores(case: Case, params: Any, x: Any) -> Any:
    """The network's outputs, before any softmax."""
    activate = ACTIVATIONS[case.activation]
    *hidden, W, b = params
    for k in range(0, len(hidden), 2):
        x = activate(x @ hidden[k] + hidden[k + 1])
    return x @ W + b


def loss_of(case: Case, params: Any, x: Any, t: Any) -> Any:
    """The mean loss of a batch."""
    return LOSSES[case.loss](scores(case, params, x), t)


# Optimisers ---------------------------------------------------------------------------


def begin(case: Case, params: list[np.ndarray]) -> Any:
    """Parameters, memories and number of steps, copied: the caller may donate them."""
    memories = [[jnp.zeros_like(array) for _ in range(MEMORIES[case.optimizer])]
                for array in params]  # fmt: skip
    return [jnp.array(array) for array in params], memories, jnp.zeros((), params[0].dtype)


def update(case: Case, state: Any, gradients: Any) -> Any:
    """The state after one more step."""
    params, memories, taken = state
    taken = taken + 1
    one = partial(RULES[case.optimizer], case.lr, taken)
    moved = [one(p, g, *m) for p, g, m in zip(params, gradients, memories, strict=True)]
    return [p for p, *_ in moved], [m for _, *m in moved], taken


def on_device(case: Case, given: Arrays, *names: str) -> list[Any]:
    """Copies on the device; labels and indices in 32 bits, as JAX has them by itself."""
    if case.dtype == "float64":
        jax.config.update("jax_enable_x64", True)  # for the whole process, which is ours
    arrays = [given[name] for name in names]
    return [jnp.array(a.astype(np.int32) if a.dtype.kind == "i" else a) for a in arrays]
