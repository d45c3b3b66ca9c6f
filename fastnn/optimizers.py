"""Optimisers: plain descriptions of a rule that is compiled into the weight sweep."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastnn import gate
from fastnn.kernels import updates


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent: ``W -= lr * dW``.

    Parameters
    ----------
    lr : float, default 0.1
        Learning rate, above 0.  The default is that of the book's MNIST job.

    Raises
    ------
    TypeError, ValueError
        If `lr` is no finite number above 0.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.SGD(lr=0.5)
    SGD(lr=0.5)
    """

    lr: float = 0.1

    def __post_init__(self) -> None:
        gate.real_number(self.lr, "lr", 0, above=True)

    def rule(self, dtype: np.dtype) -> tuple[int, np.ndarray]:
        """The kernel's code for this rule, and its numbers in `dtype`."""
        hyper = np.zeros(updates.HYPER_SIZE, dtype)
        hyper[updates.LEARNING_RATE] = self.lr
        return updates.SGD, hyper

    memories = 0  # arrays of the size of the parameters that the rule remembers
