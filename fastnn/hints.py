"""What to look at if training has come to nothing: inputs that are not scaled."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fastnn.history import History
from fastnn.kernels.groups import Targets
from fastnn.kernels.losses import LABELS, PROBABILITIES
from fastnn.training.data import Examples
from fastnn.training.model import Model

# Root mean square of the inputs from which they are called large: of standardised ones it is 1, of
# bytes of images 80.
LARGE = 10.0
# Share of the loss of guessing from which training has come to nothing, and the steps to be made
# before that is asked.
NOTHING_LEARNT, STEPS = 0.98, 50
# Rows that are looked at: at the end of every fit, and by the network if their inputs are large.
LOOKED_AT, ROWS = 32, 1000


def large_inputs(examples: Examples) -> float | None:
    """The largest input of some rows, if inputs are large."""
    samples, _ = examples.samples.part(LOOKED_AT)
    sparse, (x, bounds, _, value) = samples.sparse, samples.data
    some = np.concatenate([value[first:end] for first, end in bounds]) if sparse else x.ravel()
    with np.errstate(all="ignore"):
        mean_square = np.dot(some, some) / (samples.rows * x.shape[1])
    if not mean_square > LARGE**2:
        return None
    return float(np.abs(some).max())


def advice(examples: Examples) -> str:
    """A sentence for an error, with a blank before it, if inputs are large; else ''."""
    largest = large_inputs(examples)
    return "" if largest is None else f" Inputs reach {largest:g}: {scale(largest)}."


def after(model: Model, examples: Examples, history: History) -> str:
    """A sentence if the network does no better than guessing and inputs are large; else ''."""
    if history.steps < STEPS or model.loss_name not in GUESSES:
        return ""
    largest = large_inputs(examples)
    if largest is None:
        return ""
    samples, rows = examples.samples.part(ROWS)
    labels, targets, numbers = examples.wanted
    labels, targets = (part[rows] if len(part) else part for part in (labels, targets))
    some = Examples(samples, Targets(labels, targets, numbers))
    outputs, row_loss = model.outputs_and_losses(some)
    loss, guessed = float(row_loss.mean()), loss_of_guessing(model, some)
    if not loss >= NOTHING_LEARNT * guessed > 0 or _is_right_more_often(model, some, outputs):
        return ""
    return (
        f"the loss at the end, {loss:.4g}, is no better than guessing ({guessed:.4g}), and inputs "
        f"reach {largest:g}: {scale(largest)}"
    )


def loss_of_guessing(model: Model, examples: Examples) -> float:
    """Loss of the best outputs that do not depend on the inputs."""
    labels, targets, _ = examples.wanted
    return float(GUESSES[model.loss_name](targets if len(targets) else labels))


def _cross_entropy(labels: np.ndarray) -> float:
    return _entropy(np.bincount(labels) / labels.size).sum()


def _binary_cross_entropy(targets: np.ndarray) -> float:
    share = targets.mean(axis=0, dtype=np.float64)
    return (_entropy(share) + _entropy(1 - share)).sum()


# Of a loss that is not here nothing is said.
GUESSES: dict[str, Callable[[np.ndarray], float]] = {
    "cross_entropy": _cross_entropy,
    "binary_cross_entropy": _binary_cross_entropy,
    "squared_error": lambda targets: 0.5 * targets.var(axis=0, dtype=np.float64).sum(),
    "mse": lambda targets: targets.var(axis=0, dtype=np.float64).mean(),
}


def _is_right_more_often(model: Model, examples: Examples, outputs: np.ndarray) -> bool:
    """Whether classes are found more often than the commonest one is: a loss may hide that."""
    labels, targets, _ = examples.wanted
    if model.targets == LABELS:
        right, guessed = outputs.argmax(axis=1) == labels, np.bincount(labels).max() / labels.size
    elif model.targets == PROBABILITIES:
        share = (targets > 0.5).mean(axis=0)
        right, guessed = (outputs > 0.5) == (targets > 0.5), np.maximum(share, 1 - share).mean()
    else:
        return False
    chance = 3 * np.sqrt(guessed * (1 - guessed) / right.size)  # three standard deviations
    return bool(right.mean() > guessed + chance)


def _entropy(share: np.ndarray) -> np.ndarray:
    """``-share * log(share)``, which is 0 for 0."""
    return -share * np.log(np.where(share > 0, share, 1.0))


def scale(largest: float) -> str:
    """What to do about them."""
    return f"bring them to about 1, as by x / {largest:g} or scikit-learn's StandardScaler"
