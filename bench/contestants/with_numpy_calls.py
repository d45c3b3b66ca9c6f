"""NumPy, one call at a time, with the arrays of `with_numpy`; labels are made of one-hot rows once.

A gradient is left in the network's own arrays, which the next call overwrites.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.cases import Case
from bench.contestants import number, repeated
from bench.contestants.with_numpy import Network, Scores, forward
from bench.reference import Arrays, Run, by_name, labels, parameters


def loss_call(case: Case, given: Arrays) -> Run:
    """Scores, and their loss in place."""
    x, params, scores = given["x"], parameters(given, case.dtype), Scores(case, len(given["x"]))
    classes = case.sizes[-1]
    column, ones = np.empty((len(x), 1), case.dtype), np.ones((classes, 1), case.dtype)
    right = np.arange(len(x)) * classes + labels(given)

    def loss() -> float:
        z = scores.of(x, params)
        np.subtract(z, np.maximum.reduce(z, axis=1, keepdims=True, out=column), out=z)
        right_scores = z.reshape(-1)[right]
        np.exp(z, out=z)
        np.matmul(z, ones, out=column)
        return float(np.add.reduce(np.log(column[:, 0])) - np.add.reduce(right_scores)) / len(z)

    return repeated(number("loss"), loss)


def accuracy_call(case: Case, given: Arrays) -> Run:
    """Scores, and a count of the rows whose largest is the right one."""
    x, t, params = given["x"], labels(given), parameters(given, case.dtype)
    scores = Scores(case, len(x))

    def accuracy() -> float:
        return np.count_nonzero(scores.of(x, params).argmax(axis=1) == t) / len(t)

    return repeated(number("accuracy"), accuracy)


def gradient_call(case: Case, given: Arrays) -> Run:
    """Forwards and backwards as in a step."""
    network = RowsNetwork(case, given["x"])
    network.start(given)
    return repeated(by_name, network.gradient, labels(given))


def step_call(case: Case, given: Arrays) -> Run:
    """Steps of the lean network on one and the same rows."""
    network, t = RowsNetwork(case, given["x"]), labels(given)

    def run(steps: int) -> Arrays:
        network.start(given)
        for _ in range(steps):
            loss = network.step_on_all(t)
        return {"loss": np.array([loss])} | by_name(network.params)

    return run


class RowsNetwork(Network):
    """A network on all rows of an x, which need no gathering."""

    def __init__(self, case: Case, x: np.ndarray):
        super().__init__(case)
        self.outputs[0] = x

    def gradient(self, t: np.ndarray) -> list[np.ndarray]:
        """The gradients."""
        self._loss_and_gradients(t, 1.0)
        return self.gradients

    def step_on_all(self, t: np.ndarray) -> float:
        """Make a step; its loss before the update."""
        loss = self._loss_and_gradients(t, self.rule.scale)
        self.rule.update(self.flat_steps)
        return float(loss)

    def _loss_and_gradients(self, t: np.ndarray, scale: float) -> Any:
        forward(self.activation, self.params, self.outputs, self.slopes)
        loss = self.loss(self.outputs[-1], t, scale / len(t))
        self.backward()
        return loss
