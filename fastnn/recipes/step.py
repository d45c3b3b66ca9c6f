"""One step of backpropagation, as seed 000 prints it: forward, deltas, update, forward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn.network import MLP
from fastnn.optimizers import SGD
from fastnn.recipes.cross_entropy import cross_entropy_error

X = np.array([[1.0, 5.0]])
D = np.array([[0.0, 1.0]])
LR = 0.01

# The weights that the document prints, all with 8 decimals, and what it prints of the step.
PRINTED_UNIT = 1e-8
BEFORE = {
    "W1": [[0.19187865, 0.77879186, 0.26868155], [0.03103215, -0.91146877, 0.94964822]],
    "b1": [-0.1007849, -0.34950915, 1.47603096],
    "W2": [[-0.35626312, 1.31509972], [0.50553098, 0.66737735], [-0.80296317, 1.47771501]],
    "b2": [0.58582217, -1.12216349],
}
PRINTED_LOSSES = (-2.1743449096365244, -0.08855679170247827)


def run(
    *, lr: float = LR, dtype: str = "float64", report: Callable[[str], Any] = print
) -> dict[str, np.ndarray]:
    """Make the step, and report what the document prints of it.

    Parameters
    ----------
    lr : float, default 0.01
        Learning rate.
    dtype : {"float64", "float32"}, default "float64"
        As in `fastnn.MLP`.
    report : callable, default print
        Takes one line of text at a time.

    Returns
    -------
    dict of ndarray
        ``losses``, before and after the step: the book's cross entropy of the outputs;
        ``delta2`` and ``delta1``: the slopes in the outputs and in the inputs of the hidden
        layer; and the updated ``W1, b1, W2, b2``.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.

    Examples
    --------
    >>> from fastnn.recipes import step
    >>> made = step.run(report=lambda line: None)
    >>> made["delta2"].round(7)
    array([-4.7155118,  7.7964207])
    """
    made = one_step(BEFORE, lr, dtype)
    report(f"2-3-2, relu, x = [1 5], d = [0 1], lr {lr}")
    _report_loss(report, "before", made["losses"][0], 0, lr)
    report(f"delta2 = y - d: {_shown(made['delta2'])}")
    report(f"delta1 = delta2 W2.T where z1 > 0: {_shown(made['delta1'])}")
    _report_loss(report, "after", made["losses"][1], 1, lr)
    report("updated weights:")
    for name in BEFORE:
        for place, row in enumerate(np.atleast_2d(made[name])):
            report(f"{name if place == 0 else '  '} {_shown(row)}")
    return made


def one_step(params: dict[str, Any], lr: float, dtype: str = "float64") -> dict[str, np.ndarray]:
    """The step from some weights, by fastnn's own gradient and update.

    The text takes the squared error's delta, y - d, but prints the cross entropy of the
    outputs, which are not even probabilities; so can its losses be negative.
    """
    net = MLP([2, 3, 2], "relu", "identity", "squared_error", dtype=dtype)
    for name, value in params.items():
        net.params[name] = value
    before = cross_entropy_error(net.predict(X), D)
    gradient = net.gradient(X, D)
    net.fit(X, D, iterations=1, batch_size=1, optimizer=SGD(lr=lr), progress=False)
    losses = np.array([before, cross_entropy_error(net.predict(X), D)])
    updated = {name: view.copy() for name, view in net.params.items()}
    return {"losses": losses, "delta1": gradient["b1"], "delta2": gradient["b2"], **updated}


def doubts() -> dict[str, np.ndarray]:
    """How far each number of the step may be off, since the document rounds the weights.

    Each printed weight may be half a unit of its last digit away from the one that was used.
    """
    exact = one_step(BEFORE, LR)
    sums = {name: np.zeros(value.shape) for name, value in exact.items()}
    for name, value in BEFORE.items():
        array = np.array(value)
        for at in np.ndindex(array.shape):
            moved = array.copy()
            moved[at] += PRINTED_UNIT / 2
            for key, other in one_step({**BEFORE, name: moved}, LR).items():
                sums[key] += np.abs(other - exact[key])
    return sums


def _report_loss(
    report: Callable[[str], Any], when: str, loss: float, place: int, lr: float
) -> None:
    line = f"loss {when} the step: {loss:.10f}"
    if np.isnan(loss):
        line += ", for y[1] is below 0 and has no logarithm"
    if lr == LR:
        line += (
            f"; the document has {PRINTED_LOSSES[place]!r}, of which its weights, "
            f"with 8 decimals, leave {doubts()['losses'][place]:.0e} open"
        )
    report(line)


def _shown(row: np.ndarray) -> str:
    return " ".join(f"{value:12.8f}" for value in row)
