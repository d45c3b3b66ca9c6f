"""The loops of the source documents, as a reader would type them in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.cases import Case
from bench.reference import Arrays, Run, parameters

# A layer's function, and what its gradient makes of the one above it.
ACTIVATIONS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "sigmoid": (lambda u: 1 / (1 + np.exp(-u)), lambda grad, y: grad * (1 - y) * y),
    "relu": (lambda u: np.maximum(0, u), lambda grad, y: grad * (y > 0)),
}
# Each loss is written out in the one loop that has it, as are the update and, in
# `numerical_gradient`, the sigmoid.
LOSSES = {"cross_entropy": "numerical_gradient", "squared_error": "training"}
RULES = ("sgd",)

LOSS_EPSILON = 1e-7  # the book's, inside the logarithm


class Layer:
    """A layer as document 003 writes it, with its weights, sums and gradients."""

    def __init__(self, w: Any, b: Any, function: Any, derivative: Any):
        self.w, self.b, self.function, self.derivative = w.copy(), b.copy(), function, derivative

    def forward(self, x: Any) -> Any:
        """Keep x and the outputs."""
        self.x = x
        self.y = self.function(x.dot(self.w) + self.b)
        return self.y

    def backward(self, grad_y: Any) -> Any:
        """Keep the gradients, return that of x."""
        delta = self.derivative(grad_y, self.y)
        self.grad_w, self.grad_b = self.x.T.dot(delta), np.sum(delta, axis=0)
        self.grad_x = delta.dot(self.w.T)
        return self.grad_x

    def update(self, lr: float) -> None:
        """Descend."""
        self.w -= lr * self.grad_w
        self.b -= lr * self.grad_b


def training(case: Case, given: Arrays) -> Run | None:
    """The loop of documents 000 and 003; their losses are computed after it, from the outputs."""
    if case.data not in ("sine", "quadratic") or case.batch != 1 or LOSSES[case.loss] != case.kind:
        return None
    x, t = given["x"], given["t"]

    def run(steps: int) -> Arrays:
        order = given["batches"][:steps, 0]
        middle = Layer(given["W1"], given["b1"], *ACTIVATIONS[case.activation])
        output = Layer(given["W2"], given["b2"], lambda u: u, lambda t, y: y - t)
        outputs = []
        for i in order:
            outputs.append(output.forward(middle.forward(x[i : i + 1])))
            middle.backward(output.backward(t[i : i + 1]))
            middle.update(case.lr)
            output.update(case.lr)
        losses = np.square(np.concatenate(outputs) - t[order]).sum(axis=1) / 2
        return {"losses": losses, "W1": middle.w, "b1": middle.b, "W2": output.w, "b2": output.b}

    return run


def numerical_gradient(case: Case, given: Arrays) -> Run | None:
    """The book's, parameter by parameter."""
    if case.activation != "sigmoid" or len(case.sizes) != 3 or LOSSES[case.loss] != case.kind:
        return None
    x, t = given["x"], given["t"]

    def run(calls: int) -> Arrays:
        W1, b1, W2, b2 = parameters(given, case.dtype)
        params = {"W1": W1, "b1": b1, "W2": W2, "b2": b2}
        for _ in range(calls):
            found = {name: gradient(lambda _: loss(params, x, t), params[name]) for name in params}
        return found

    return run


def loss(params: Arrays, x: np.ndarray, t: np.ndarray) -> float:
    """Cross entropy of the two-layer network, as in the book's functions."""
    h = 1 / (1 + np.exp(-(np.dot(x, params["W1"]) + params["b1"])))
    z = np.dot(h, params["W2"]) + params["b2"]
    e = np.exp(z - np.max(z, axis=-1, keepdims=True))
    y = e / np.sum(e, axis=-1, keepdims=True)
    return float(-np.sum(np.log(y[np.arange(len(x)), t] + LOSS_EPSILON)) / len(x))


def gradient(f: Callable[[np.ndarray], float], x: np.ndarray, h: float = 1e-4) -> np.ndarray:
    """Central differences element by element, with an iterator as in the book."""
    grad = np.zeros_like(x)
    iterator = np.nditer(x, flags=["multi_index"], op_flags=["readwrite"])
    while not iterator.finished:
        at = iterator.multi_index
        kept = x[at]
        x[at] = float(kept) + h
        above = f(x)
        x[at] = kept - h
        grad[at] = (above - f(x)) / (2 * h)
        x[at] = kept
        iterator.iternext()
    return grad
