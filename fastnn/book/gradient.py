"""Gradients by central differences of any function: the book's ``common.gradient``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn.differences_of_functions import points

__all__ = ["np", "numerical_gradient", "numerical_gradient_2d"]

STEP = 1e-4  # half the distance of the two evaluations
NARROW = (np.float32, np.float16)  # in which the step may be lost


def numerical_gradient(f: Callable[[np.ndarray], Any], x: np.ndarray) -> np.ndarray:
    """Gradient of `f` with respect to every element of `x`.

    Parameters
    ----------
    f : callable
        Called with `x` itself, in which one element is changed.  It may ignore its argument, if
        `x` is an array that it reads, such as a network's ``params["W1"]``.
    x : ndarray of float
        Changed while this runs, and as it was afterwards, also when `f` raises.  If it is float32
        or float16, `f` is called with a float64 copy, and a step that vanishes in such an element
        goes to the next number: so the gradient is as exact as the result allows, if `f` reads its
        argument.

    Returns
    -------
    ndarray
        Of the shape and dtype of `x`.

    Raises
    ------
    TypeError
        If `x` is no array, or holds integers, in which the step of 0.0001 is nothing.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.book.gradient import numerical_gradient
    >>> numerical_gradient(lambda x: np.sum(x**2), np.array([3.0, 4.0])).round(6)
    array([6., 8.])
    """
    _check(x, "x")
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
        Rows, or one row as a vector.  Like the `x` of `numerical_gradient`.

    Returns
    -------
    ndarray
        Of the shape and dtype of `X`.

    Raises
    ------
    TypeError
        If `X` is no array, or holds integers.
    ValueError
        If `X` has other than one or two dimensions.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.book.gradient import numerical_gradient_2d
    >>> numerical_gradient_2d(lambda x: np.sum(x**2), np.array([[3.0, 4.0], [0.0, 1.0]])).round(6)
    array([[6., 8.],
           [0., 2.]])
    """
    _check(X, "X")
    if X.ndim not in (1, 2):
        raise ValueError(f"X must have one or two dimensions, got shape {X.shape}")
    slopes = np.zeros_like(X)
    for x, out in [(X, slopes)] if X.ndim == 1 else zip(X, slopes, strict=True):
        for i in range(x.size):
            _differentiate(f, x, i, out)
    return slopes


def _check(x: Any, name: str) -> None:
    if not isinstance(x, np.ndarray):
        raise TypeError(f"{name} must be a NumPy array, got {type(x).__name__}")
    if x.dtype.kind in "biu":
        raise TypeError(
            f"{name} must hold floats, got dtype {x.dtype}, in which a step of {STEP} is nothing: "
            f"use {name}.astype(float)"
        )


def _differentiate(
    f: Callable[[np.ndarray], Any], x: np.ndarray, at: Any, slopes: np.ndarray
) -> None:
    """Fill in ``slopes[at]``."""
    kept = x[at]
    differ = _differ_narrowly if x.dtype.type in NARROW else _differ
    try:
        slopes[at] = differ(f, x, at, kept)
    finally:
        x[at] = kept


def _differ(f: Callable[[np.ndarray], Any], x: np.ndarray, at: Any, kept: Any) -> Any:
    x[at] = kept + STEP
    above = f(x)
    x[at] = kept - STEP
    below = f(x)
    return (above - below) / (2 * STEP)


def _differ_narrowly(f: Callable[[np.ndarray], Any], x: np.ndarray, at: Any, kept: Any) -> Any:
    """`_differ` where `x` rounds its points: by how far they are apart, with copies to compute."""
    ends, found = points(kept, STEP), []
    for end in ends:
        x[at] = end  # which a function may read that ignores its argument
        found.append(f(x.astype(np.float64)))
    return np.subtract(*found, dtype=np.float64) / np.subtract(*ends, dtype=np.float64)
