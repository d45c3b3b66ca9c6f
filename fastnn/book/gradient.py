"""Gradients by central differences of any function: the book's ``common.gradient``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["np", "numerical_gradient", "numerical_gradient_2d"]

STEP = 1e-4  # half the distance of the two evaluations


def numerical_gradient(f: Callable[[np.ndarray], Any], x: np.ndarray) -> np.ndarray:
    """Gradient of `f` with respect to every element of `x`.

    Parameters
    ----------
    f : callable
        Called with `x` itself, in which one element is changed.  It may ignore its argument, if
        `x` is an array that it reads, such as a network's ``params["W1"]``.
    x : ndarray of float
        Changed while this runs, and as it was afterwards.

    Returns
    -------
    ndarray
        Of the shape and dtype of `x`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.book.gradient import numerical_gradient
    >>> numerical_gradient(lambda x: np.sum(x**2), np.array([3.0, 4.0])).round(6)
    array([6., 8.])
    """
    slopes = np.zeros_like(x)
    elements = np.nditer(x, flags=["multi_index"], op_flags=["readwrite"])
    for _ in elements:
        _differentiate(f, x, elements.multi_index, slopes)
    return slopes


def numerical_gradient_2d(f: Callable[[np.ndarray], Any], X: np.ndarray) -> np.ndarray:
    """Gradient of `f` in each row of `X`, of which `f` sees one at a time.

    Parameters
    ----------
    f : callable
        Called with a row of `X` in which one element is changed.
    X : ndarray of float
        Rows, or one row as a vector.

    Returns
    -------
    ndarray
        Of the shape and dtype of `X`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.book.gradient import numerical_gradient_2d
    >>> numerical_gradient_2d(lambda x: np.sum(x**2), np.array([[3.0, 4.0], [0.0, 1.0]])).round(6)
    array([[6., 8.],
           [0., 2.]])
    """
    slopes = np.zeros_like(X)
    for x, out in [(X, slopes)] if X.ndim == 1 else zip(X, slopes, strict=True):
        for i in range(x.size):
            _differentiate(f, x, i, out)
    return slopes


def _differentiate(
    f: Callable[[np.ndarray], Any], x: np.ndarray, at: Any, slopes: np.ndarray
) -> None:
    """Fill in ``slopes[at]``."""
    kept = x[at]
    x[at] = kept + STEP
    above = f(x)
    x[at] = kept - STEP
    below = f(x)
    slopes[at] = (above - below) / (2 * STEP)
    x[at] = kept
