"""What to look at if training has come to nothing: inputs that are not scaled."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn import passes
from fastnn.history import History

# Inputs beyond this are called large: of standardised ones hardly any is.
LARGE = 20.0
# Share of the loss of guessing from which training has come to nothing.
NOTHING_LEARNT = 0.98
# Rows that are looked at.
ROWS = 100


def large_inputs(examples: passes.Examples) -> float | None:
    """The largest input of some rows, if it is large."""
    sparse, x, bounds, _, value = examples.samples.arguments
    step = max(1, examples.rows // ROWS)
    parts = [value[first:end] for first, end in bounds[::step]] if sparse else [x[::step]]
    largest = max(float(np.abs(part).max(initial=0)) for part in parts)
    return largest if largest > LARGE else None


def loss_of_guessing(net: Any, examples: passes.Examples) -> float:
    """Loss of the best outputs that do not depend on the inputs."""
    labels, targets = examples.wanted
    if net.output == "softmax":
        return float(_entropy(np.bincount(labels) / labels.size).sum())
    if net.output == "sigmoid":
        share = targets.mean(axis=0, dtype=np.float64)
        return float((_entropy(share) + _entropy(1 - share)).sum())
    spread = targets.var(axis=0, dtype=np.float64)
    return float(spread.mean() if net.loss_name == "mse" else 0.5 * spread.sum())


def _entropy(share: np.ndarray) -> np.ndarray:
    """``-share * log(share)``, which is 0 for 0."""
    return -share * np.log(np.where(share > 0, share, 1.0))


def after(net: Any, examples: passes.Examples, history: History, per_epoch: int) -> str:
    """A sentence if the last epoch was no better than guessing and inputs are large; else ''."""
    if history.steps < per_epoch:
        return ""
    largest = large_inputs(examples)
    if largest is None:
        return ""
    loss, guessed = float(history.loss[-per_epoch:].mean()), loss_of_guessing(net, examples)
    if not loss >= NOTHING_LEARNT * guessed > 0:
        return ""
    return (
        f"the loss of the last epoch, {loss:.4g}, is no better than guessing ({guessed:.4g}), and "
        f"inputs reach {largest:g}: {scale(largest)}"
    )


def scale(largest: float) -> str:
    """What to do about them."""
    return f"bring them to about 1, as by x / {largest:g} or scikit-learn's StandardScaler"
