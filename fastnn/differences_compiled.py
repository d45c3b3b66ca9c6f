"""Numerical gradients of compiled functions: the loop of the book, compiled with them."""

from __future__ import annotations

import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import pairwise
from typing import Any

import numba
import numpy as np

from fastnn.compiler import compiling, runtime
from fastnn.compiler.float_state import usual_state
from fastnn.compiler.rounding import rounding_to_nearest
from fastnn.training import pace

# Evaluations of a compiled function that a thread of its own is worth.
EVALUATIONS = 200


def gradient(f: Any, x: np.ndarray, above: Any, below: Any) -> np.ndarray | None:
    """Gradient of a function that Numba compiles; None if it takes no array like x.

    `above` and `below` are the numbers to put in the place of each element of x.
    """
    for dtype in dict.fromkeys((np.dtype(np.float64), x.dtype)):
        with contextlib.suppress(numba.core.errors.NumbaError):  # f is not for this type, then
            with rounding_to_nearest():
                places = [part.astype(dtype).ravel() for part in (above, below)]
            found = _compiled(f, np.array(x, dtype, order="C"), *places)
            with rounding_to_nearest():
                return found.astype(x.dtype).reshape(x.shape)
    return None


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
