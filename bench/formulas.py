"""Activations, losses and update rules by their names, in float64, one plain line per formula.

What is timed of them, `cases` takes from these tables.  A contestant's module has tables of the
same names, ACTIVATIONS, LOSSES and RULES, and is asked for nothing that they lack.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Activation(NamedTuple):
    """``y = f(z)``, and the derivative from y."""

    f: Callable[[Any], Any]
    slope: Callable[[Any], Any]


class Loss(NamedTuple):
    """The mean loss of the rows with its gradient, from outputs and t, and what t are."""

    of: Callable[[Any, Any], tuple[float, np.ndarray]]
    of_labels: bool


class Rule(NamedTuple):
    """A step of an array p with its gradient g, rate, number of steps, and two memories."""

    memories: int
    step: Callable[..., None]


def cross_entropy(z: Any, t: Any) -> tuple[float, np.ndarray]:
    """Softmax and cross entropy of scores, with labels."""
    shifted = z - z.max(axis=1, keepdims=True)
    log_y = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    rows = np.arange(len(t))
    dz = np.exp(log_y)
    dz[rows, t] -= 1
    return float(-log_y[rows, t].mean()), dz / len(t)


def squared_error(y: Any, t: Any) -> tuple[float, np.ndarray]:
    """Half the squared error of a row."""
    error = y - t
    return float((error**2).sum() / 2 / len(y)), error / len(y)


# The numbers below are the defaults of `fastnn.optimizers`.


def _sgd(p: Any, g: Any, lr: float, steps: int, *_: Any) -> None:
    p -= lr * g


def _momentum(p: Any, g: Any, lr: float, steps: int, v: Any, _: Any) -> None:
    v[:] = 0.9 * v - lr * g
    p += v


def _nesterov(p: Any, g: Any, lr: float, steps: int, v: Any, _: Any) -> None:
    v[:] = 0.9 * v - lr * g
    p += 0.9 * v - lr * g


def _adagrad(p: Any, g: Any, lr: float, steps: int, h: Any, _: Any) -> None:
    h += g * g
    p -= lr * g / (np.sqrt(h) + 1e-7)


def _rmsprop(p: Any, g: Any, lr: float, steps: int, h: Any, _: Any) -> None:
    h[:] = 0.99 * h + 0.01 * g * g
    p -= lr * g / (np.sqrt(h) + 1e-7)


def _adam(p: Any, g: Any, lr: float, steps: int, m: Any, s: Any) -> None:
    m += 0.1 * (g - m)
    s += 0.001 * (g * g - s)
    rate = lr * np.sqrt(1 - 0.999**steps) / (1 - 0.9**steps)
    p -= rate * m / (np.sqrt(s) + 1e-7)


ACTIVATIONS = {
    "identity": Activation(lambda z: z.copy(), np.ones_like),
    "relu": Activation(lambda z: np.maximum(z, 0), lambda y: (y > 0) * 1.0),
    "leaky_relu": Activation(
        lambda z: np.where(z > 0, z, 0.01 * z), lambda y: np.where(y > 0, 1.0, 0.01)
    ),
    "sigmoid": Activation(lambda z: 1 / (1 + np.exp(-z)), lambda y: y * (1 - y)),
    "tanh": Activation(np.tanh, lambda y: 1 - y**2),
    "softplus": Activation(
        lambda z: np.log1p(np.exp(-np.abs(z))) + np.maximum(z, 0), lambda y: -np.expm1(-y)
    ),
}
LOSSES = {"cross_entropy": Loss(cross_entropy, True), "squared_error": Loss(squared_error, False)}
RULES = {
    "sgd": Rule(0, _sgd),
    "momentum": Rule(1, _momentum),
    "nesterov": Rule(1, _nesterov),
    "adagrad": Rule(1, _adagrad),
    "rmsprop": Rule(1, _rmsprop),
    "adam": Rule(2, _adam),
}
MEMORIES = {name: rule.memories for name, rule in RULES.items()}
