"""Numerical gradients of functions: the book's loop, compiled if the function is."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn import gate, intake
from fastnn.compiler.rounding import rounding_to_nearest

__all__ = ["numerical_gradient"]


def numerical_gradient(f: Callable[[np.ndarray], Any], x: np.ndarray, h: float = 1e-4) -> Any:
    """Gradient of a function by central differences.

    A function compiled by Numba (``@numba.njit``) is evaluated in compiled code,
    by several threads if there is enough to do, each with a copy of `x`.  Any
    other function is called with `x` itself, one element changed at a time and
    restored, as the book does: it may ignore its argument and look at the array
    that it shares.

    Parameters
    ----------
    f : callable
        Takes an array of the shape of `x` and returns a number.
    x : ndarray of float64 or float32
        Where to take the gradient.  Each element is restored, also when `f` raises.
        If it is float32, `f` gets a float64 copy, so that differences are not lost; what an `f`
        that looks at `x` itself computes in float32 keeps two or three digits.
    h : float, default 1e-4
        Half the distance of the two evaluations, as in the book; more where `x` is float32 and
        its neighbouring numbers lie farther apart.

    Returns
    -------
    ndarray
        Of the shape and dtype of `x`.

    Raises
    ------
    TypeError, ValueError
        If `f` cannot be called or does not return a number, `x` is no writable
        array of floats, or `h` is not above 0.  What `f` raises is handed on.

    Notes
    -----
    The gradient of a network's loss is faster: `fastnn.MLP.numerical_gradient`.
    Ctrl-C is noticed between evaluations, within about 0.1 s; a single evaluation is not cut.
    Source: ``common/gradient.py`` of the book "Deep Learning from Scratch".

    Examples
    --------
    >>> import fastnn, numpy as np
    >>> x = np.array([3.0, 4.0])
    >>> fastnn.numerical_gradient(lambda x: np.sum(x**2), x).round(6)
    array([6., 8.])
    """
    if not callable(f):
        raise TypeError(f"f must be callable, got {f!r}")
    if not isinstance(x, np.ndarray):
        raise TypeError(f"x must be a NumPy array, got {type(x).__name__}")
    if x.dtype not in (np.float64, np.float32) or not x.dtype.isnative:
        raise TypeError(f"x must hold float64 or float32, got dtype {x.dtype}")
    intake.refuse_masked(x, "x")
    if not x.flags.writeable:
        raise ValueError("x must be writable: its elements are changed and restored")
    h = gate.real_number(h, "h", 0, above=True)
    numba = sys.modules.get("numba")  # without it nobody has compiled f
    if numba is not None and isinstance(f, numba.core.dispatcher.Dispatcher):
        from fastnn import differences_compiled

        with rounding_to_nearest():
            places = points(np.asarray(x), h)
        found = differences_compiled.gradient(f, x, *places)
        if found is not None:
            return found
    return plain(f, x, h)


def plain(f: Callable, x: np.ndarray, h: float) -> np.ndarray:
    """Call f with x itself, one element changed at a time; with a float64 copy of a float32 x."""
    found, double = np.empty_like(x), x if x.dtype == np.float64 else x.astype(np.float64)
    for at in np.ndindex(x.shape):
        kept = x[at]
        above, below = kept + h, kept - h
        if double is not x or above == kept or below == kept:
            above, below = points(kept, h)
        try:
            x[at] = double[at] = above
            difference = _number(f(double))
            x[at] = double[at] = below
            difference = difference - _number(f(double))
        finally:
            x[at] = double[at] = kept
        found[at] = difference / (float(above) - float(below))
    return found


def points(kept: Any, h: float) -> tuple[Any, Any]:
    """``kept + h`` and ``kept - h`` as finite numbers of the dtype of `kept`, of NumPy's.

    Where a step vanishes in that precision, its point is the next number, if there is one: in
    float32, 3000 and 3000 + 1e-4 are the same number, and a difference of the two would be 0.
    """
    found, exact, top = [], np.asarray(kept, np.float64), float(np.finfo(kept.dtype).max)
    for step, end in ((h, top), (-h, -top)):
        point = np.clip(exact + step, -top, top).astype(kept.dtype)
        found.append(np.where(point == kept, np.nextafter(kept, kept.dtype.type(end)), point)[()])
    return found[0], found[1]


def _number(value: Any) -> Any:
    """A number of Python's, of which no difference overflows or wraps around."""
    if np.size(value) == 1 and value is not np.ma.masked:
        array = np.asarray(value)
        if array.dtype.kind in "biuf":
            return array.item()
    raise TypeError(f"f must return a number, got {value!r}")
