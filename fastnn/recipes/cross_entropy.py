"""The book's cross entropy, which the source documents print.

fastnn itself computes the cross entropy from the inputs of the softmax, which needs no 1e-7.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

# What the book adds so that the logarithm of 0 is finite.
DELTA = 1e-7


def cross_entropy_error(y: ArrayLike, t: ArrayLike) -> float:
    """``-sum(t * log(y + 1e-7))``.

    Parameters
    ----------
    y : array_like
        Outputs.
    t : array_like
        What is wanted, one-hot, of the same shape.

    Returns
    -------
    float
        NaN if a wanted output is below 0.

    Examples
    --------
    >>> from fastnn.recipes.cross_entropy import cross_entropy_error
    >>> round(cross_entropy_error([0.1, 0.6, 0.2, 0.0, 0.0], [0, 1, 0, 0, 0]), 12)
    0.510825457099
    """
    y, t = np.asarray(y), np.asarray(t)
    wanted = t != 0  # the others may be below 0, as in seed 000
    with np.errstate(invalid="ignore"):
        return float(-np.sum(t[wanted] * np.log(y[wanted] + DELTA)))
