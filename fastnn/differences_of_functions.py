"""Numerical gradients of functions: the book's loop, compiled if the function is."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import pairwise
from typing import Any

import numba
import numpy as np

from fastnn import gate, intake
from fastnn.compiler import compiling, runtime
from fastnn.compiler.float_state import usual_state
from fastnn.compiler.rounding import rounding_to_nearest
from fastnn.training import pace

__all__ = ["numerical_gradient"]

# Evaluations of a compiled function that a thread of its own is worth.
EVALUATIONS = 200


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
    if isinstance(f, numba.core.dispatcher.Dispatcher):
        for dtype in dict.fromkeys((np.dtype(np.float64), x.dtype)):
            with contextlib.suppress(numba.core.errors.NumbaError):  # f is not for this type, then
                with rounding_to_nearest():
                    places = [part.astype(dtype).ravel() for part in points(np.asarray(x), h)]
                found = _compiled(f, np.array(x, dtype, order="C"), *places)
                with rounding_to_nearest():
                    return found.astype(x.dtype).reshape(x.shape)
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


def _compiled(f: Any, x: np.ndarray, above: np.ndarray, below: np.ndarray) -> np.ndarray:
    found, places = np.empty(x.size), (x.ravel(), above, below)
    chunks = runtime.most_chunks(runtime.PARALLEL_WORK * (x.size / EVALUATIONS))
    if f.targetoptions.get("parallel"):
        chunks = 1  # its own threads are enough, and two callers of workqueue abort the process
    _loop(f, x.copy(), *places, 0, 0, found)  # compiles, once
    cuts = [x.size * chunk // chunks for chunk in range(chunks + 1)]
    stop = threading.Event()
    with ThreadPoolExecutor(chunks) as pool:
        try:
            parts = [
                pool.submit(_in_pieces, stop, f, x.copy(), places, begin, end, found)
                for begin, end in pairwise(cuts)
            ]
            left: Any = parts
            while left:  # look up at times: the signal may have come to one of the threads
                done, left = wait(parts, pace.CALL_SECONDS)
                for part in done:
                    part.result()
        finally:  # leaving the pool waits for its threads, also after Ctrl-C
            stop.set()
    return found


def _in_pieces(
    stop: threading.Event, f: Any, x: Any, places: Any, at: int, end: int, found: Any
) -> None:
    """Fill in ``found[at:end]``, in pieces after which Ctrl-C is noticed."""
    pacer = pace.Pacer()
    while at < end and not stop.is_set():
        upto, began = min(at + pacer.most(), end), time.perf_counter()
        with usual_state():  # f is the user's: it may need subnormal numbers
            _loop(f, x, *places, at, upto, found)
        pacer.note(upto - at, time.perf_counter() - began)
        at = upto


@compiling.compiled
def _loop(f, x, kept, above, below, begin, end, found):
    """Fill in ``found[begin:end]``; x is a copy of `kept` to change."""
    flat = x.ravel()  # a view, as x is contiguous
    for i in range(begin, end):
        flat[i] = above[i]
        difference = np.float64(f(x))
        flat[i] = below[i]
        difference -= np.float64(f(x))
        found[i] = difference / (np.float64(above[i]) - np.float64(below[i]))
        flat[i] = kept[i]
