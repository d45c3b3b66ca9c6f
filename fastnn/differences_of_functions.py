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

from fastnn import gate, runtime

__all__ = ["numerical_gradient"]

# Evaluations of a compiled function that a thread of its own is worth.
EVALUATIONS = 200
# Seconds of compiled evaluations between two looks at whether Ctrl-C has come.
PIECE_SECONDS = 0.05


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
        In float32 the differences keep two or three digits.
    h : float, default 1e-4
        Half the distance of the two evaluations, as in the book.

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
    if not x.flags.writeable:
        raise ValueError("x must be writable: its elements are changed and restored")
    gate.real_number(h, "h", 0, above=True)
    if isinstance(f, numba.core.dispatcher.Dispatcher):
        with contextlib.suppress(numba.core.errors.NumbaError):  # f is for Python, then
            return _compiled(f, np.array(x, order="C"), float(h)).reshape(x.shape)
    return plain(f, x, h)


def plain(f: Callable, x: np.ndarray, h: float) -> np.ndarray:
    """Call f with x itself, one element changed at a time."""
    found = np.empty_like(x)
    for at in np.ndindex(x.shape):
        kept = x[at]
        try:
            x[at] = kept + h
            above = _number(f(x))
            x[at] = kept - h
            found[at] = (above - _number(f(x))) / (2 * h)
        finally:
            x[at] = kept
    return found


def points(kept: Any, h: float) -> tuple[Any, Any]:
    """``kept + h`` and ``kept - h`` as finite numbers of the dtype of `kept`, a NumPy scalar.

    Where a step vanishes in that precision, its point is the next number, if there is one.
    """
    kind, found = type(kept), []
    top = float(np.finfo(kind).max)
    for step, end in ((h, top), (-h, -top)):
        point = kind(min(max(float(kept) + step, -top), top))
        found.append(np.nextafter(kept, kind(end)) if point == kept else point)
    return found[0], found[1]


def _number(value: Any) -> Any:
    if np.size(value) == 1 and np.asarray(value).dtype.kind in "biuf":
        return np.asarray(value).reshape(())[()]
    raise TypeError(f"f must return a number, got {value!r}")


def _compiled(f: Any, x: np.ndarray, h: float) -> np.ndarray:
    found = np.empty(x.size, x.dtype)
    flat = x.ravel()
    chunks = runtime.most_chunks(runtime.PARALLEL_WORK * (x.size / EVALUATIONS))
    if f.targetoptions.get("parallel"):
        chunks = 1  # its own threads are enough, and two callers of workqueue abort the process
    _loop(f, x.copy(), flat, h, 0, 0, found)  # compiles, once
    cuts = [x.size * chunk // chunks for chunk in range(chunks + 1)]
    stop = threading.Event()
    with ThreadPoolExecutor(chunks) as pool:
        try:
            parts = [
                pool.submit(_in_pieces, stop, f, x.copy(), flat, h, begin, end, found)
                for begin, end in pairwise(cuts)
            ]
            left: Any = parts
            while left:  # look up at times: the signal may have come to one of the threads
                done, left = wait(parts, PIECE_SECONDS)
                for part in done:
                    part.result()
        finally:  # leaving the pool waits for its threads, also after Ctrl-C
            stop.set()
    return found


def _in_pieces(
    stop: threading.Event, f: Any, x: Any, kept: Any, h: float, at: int, end: int, found: Any
) -> None:
    """Fill in ``found[at:end]``, in pieces of about PIECE_SECONDS, until told to stop."""
    count = 1
    while at < end and not stop.is_set():
        upto, began = min(at + count, end), time.perf_counter()
        _loop(f, x, kept, h, at, upto, found)
        pace = (upto - at) / max(time.perf_counter() - began, 1e-9)
        # At most twice as many as before: the next ones may take longer.
        at, count = upto, max(1, min(2 * count, int(pace * PIECE_SECONDS)))


@numba.njit(nogil=True)
def _loop(f, x, kept, h, begin, end, found):
    """Fill in ``found[begin:end]``; x is a copy of `kept` to change."""
    flat = x.ravel()  # a view, as x is contiguous
    for i in range(begin, end):
        flat[i] = kept[i] + h
        above = f(x)
        flat[i] = kept[i] - h
        found[i] = (above - f(x)) / (2 * h)
        flat[i] = kept[i]
