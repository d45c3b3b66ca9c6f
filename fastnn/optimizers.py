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
        """Give the rule as the kernels take it.

        Parameters
        ----------
        dtype : numpy.dtype
            Precision of the network.

        Returns
        -------
        tuple of (int, ndarray)
            Code of the rule, and its numbers in `dtype`.

        Raises
        ------
        ValueError
            If `lr` is too large for `dtype`.

        Examples
        --------
        >>> import fastnn, numpy as np
        >>> code, numbers = fastnn.SGD(lr=0.5).rule(np.dtype("float32"))
        >>> float(numbers[0])
        0.5
        """
        if self.lr > float(np.finfo(dtype).max):
            raise ValueError(f"lr must fit {dtype}, got {self.lr}")
        hyper = np.zeros(updates.HYPER_SIZE, dtype)
        with np.errstate(all="ignore"):
            hyper[updates.LEARNING_RATE] = self.lr
        return updates.SGD, hyper

    memories = 0  # arrays of the size of the parameters that the rule remembers
