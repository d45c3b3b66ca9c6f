"""Calls of the kernels: scratch, jobs, and arrays for what they write.

`fastnn.book.compiled` has looked at all arguments, and imports this file, and so Numba, when there
is something to call: a script whose arrays are small starts 0.3 s sooner.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn.book import lanes
from fastnn.compiler import runtime
from fastnn.compiler.tiles import GROUP_BYTES, LIST_SLACK, VECTOR_BYTES
from fastnn.kernels import book_affine, book_elements
from fastnn.kernels.products import K_BLOCK
from fastnn.kernels.rules import RULE_CODES
from fastnn.training.evaluation import LONG_PIECE, spans
from fastnn.training.plan import aligned_zeros

DOUBLE = np.dtype(np.float64)
LANES = VECTOR_BYTES // DOUBLE.itemsize
GROUP = GROUP_BYTES // DOUBLE.itemsize

# What an element costs beside a multiply-add; runtime compares with multiply-adds.
COSTS = {
    "map": 2,
    "softmax": 20,
    "sgd": 2,
    "momentum": 3,
    "nesterov": 3,
    "adagrad": 12,
    "rmsprop": 12,
    "adam": 16,
}

NO_VECTOR, NO_MATRIX = np.empty(0), np.empty((0, 1))
NO_LABELS, NO_MASK = np.empty(0, np.int64), np.empty(0, np.bool_)


class _Scratch(threading.local):
    """Scratch arrays of a thread, by what they are for; what is in them means nothing.

    With them goes the job that they are used in.
    """

    MOST = 32

    def __init__(self) -> None:
        self._kept: dict[Any, tuple[runtime.Job, tuple[Any, ...]]] = {}

    def get(self, make: Callable[..., tuple[Any, ...]], *sizes: int) -> Any:
        """The job, and what ``make(*sizes)`` returned once."""
        found = self._kept.get((make, sizes))
        if found is None:
            if len(self._kept) >= self.MOST:
                self._kept.clear()
            found = self._kept[make, sizes] = runtime.Job(), make(*sizes)
        return found


_scratch = _Scratch()
scratch_of = _scratch.get


def _row(O: int) -> int:
    """Elements of a row of O outputs, padded to whole passes of the kernels."""
    row = 0
    while row < O:
        left = -(-(O - row) // LANES)
        wide = [width for width in book_affine.WIDTHS if width >= left]
        row += LANES * min(wide, default=max(book_affine.WIDTHS))
    return row


def _no_scratch(*sizes: int) -> tuple[Any, ...]:
    return ()


def matrices(chunks: int, columns: int) -> np.ndarray:
    """Scratch of so many columns for each chunk."""
    return aligned_zeros(chunks * _up(columns, GROUP), DOUBLE).reshape(chunks, -1)


def _up(count: int, unit: int) -> int:
    return -(-count // unit) * unit


def _product_scratch(chunks: int, K: int) -> tuple[Any, ...]:
    rows, width = book_affine.ROW_BLOCK, max(book_affine.WIDTHS) * LANES
    return (
        matrices(chunks, rows * width),
        matrices(chunks, int(book_affine.BLOCK) * width),
        np.zeros((chunks, rows * (K + 1) + LIST_SLACK), np.int32),
        np.zeros((chunks, 2, rows), np.int64),
    )


def affine(x: np.ndarray, W: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``x @ W + b``."""
    (N, I), O = x.shape, W.shape[1]
    work = N * I * O
    out = np.empty((N, O))
    job, scratch = _scratch.get(_product_scratch, runtime.most_chunks(work), I)
    for rows in spans(0, N, max(1, int(LONG_PIECE / W.size))):  # Ctrl-C in between
        part = slice(*rows)
        job.run(book_affine.affine, work, x[part], W, b, out[part], *scratch)
    return out


def _large_scratch(chunks: int, N: int, O: int) -> tuple[Any, ...]:
    row = max(_up(O, LANES), max(book_affine.WIDTHS) * LANES)
    panel = (int(K_BLOCK) + 1) * row
    nothing = np.zeros((chunks, 0), np.int32), np.zeros((chunks, 2, 0), np.int64)
    outputs = _up(O, LANES)
    tiles = matrices(chunks, book_affine.ROW_BLOCK * row)
    return outputs, matrices(chunks, N * outputs), tiles, matrices(chunks, panel), *nothing


def large_affine(x: np.ndarray, W: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``x @ W + b`` for many weights."""
    (N, I), O = x.shape, W.shape[1]
    work = N * I * O
    out = np.empty((N, O))
    job, (_, _, *scratch) = _scratch.get(_large_scratch, runtime.most_chunks(work), 0, O)
    for rows in spans(0, N, max(1, int(LONG_PIECE / W.size))):  # Ctrl-C in between
        part = slice(*rows)
        job.run(book_affine.large_affine, work, x[part], W, b, out[part], *scratch)
    return out


def large_affine_gradients(
    x: np.ndarray, W: np.ndarray, dout: np.ndarray, with_inputs: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`affine_gradients` for many weights."""
    (N, I), O = x.shape, W.shape[1]
    work = N * I * O * (2 if with_inputs else 1)
    dx = lanes.empty((N, I)) if with_inputs else NO_MATRIX
    dW, db = lanes.empty((I, O)), np.empty(O)
    job, scratch = _scratch.get(_large_scratch, runtime.most_chunks(work), N, O)
    job.run(book_affine.large_affine_gradients, work, x, W, dout, dW, db, dx, *scratch)
    return dx, dW, db


def _gradients_scratch(chunks: int, N: int, O: int) -> tuple[Any, ...]:
    row, block = _row(O), int(book_affine.WEIGHT_BLOCK)
    listed = book_affine.ROWS_OF_A_GRADIENT * block
    return (
        row,
        matrices(chunks, N * row),
        matrices(chunks, listed),
        np.zeros((chunks, listed), np.int32),
        np.zeros((chunks, listed + LIST_SLACK), np.int32),
        np.zeros((chunks, block), np.int64),
        matrices(chunks, block * row),
        *_product_scratch(chunks, O),
    )


def affine_gradients(
    x: np.ndarray, W: np.ndarray, dout: np.ndarray, with_inputs: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``dx, dW, db`` of ``x @ W + b``; dx is empty if it is not asked for."""
    (N, I), O = x.shape, W.shape[1]
    work = N * I * O * (2 if with_inputs else 1)
    dx = np.empty((N, I)) if with_inputs else NO_MATRIX
    dW, db = np.empty((I, O)), np.empty(O)
    job, scratch = _scratch.get(_gradients_scratch, runtime.most_chunks(work), N, O)
    job.run(book_affine.affine_gradients, work, x, W, dout, dW, db, dx, *scratch)
    return dx, dW, db


def sigmoid(x: np.ndarray) -> np.ndarray:
    """``1 / (1 + exp(-x))``."""
    out = np.empty(x.shape)
    work = x.size * COSTS["softmax"]
    flat = x.reshape(-1), out.reshape(-1), NO_MASK
    runtime.run(book_elements.map_elements, work, book_elements.SIGMOID_OF, *flat)
    return out


def relu(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The larger of 0 and x, and where x is 0 or less."""
    out, mask = np.empty(x.shape), np.empty(x.shape, np.bool_)
    relu_of(x.reshape(-1), out.reshape(-1), mask.reshape(-1))
    return out, mask


def relu_of(x: np.ndarray, out: np.ndarray, mask: np.ndarray) -> None:
    """`relu` of a vector, to arrays that there are."""
    work = x.size * COSTS["map"]
    runtime.run(book_elements.map_elements, work, book_elements.RELU_AND_MASK, x, out, mask)


def clear(dout: np.ndarray, mask: np.ndarray) -> None:
    """Set `dout` to 0 where the mask is."""
    flat = dout.reshape(-1), dout.reshape(-1), mask.reshape(-1)
    work = dout.size * COSTS["map"]
    runtime.run(book_elements.map_elements, work, book_elements.CLEAR_MASKED, *flat)


def _softmax_scratch(chunks: int, O: int) -> tuple[Any, ...]:
    return (matrices(chunks, O),)


def softmax(
    x: np.ndarray,
    labels: np.ndarray = NO_LABELS,
    hot: np.ndarray = NO_MATRIX,
    losses: np.ndarray = NO_VECTOR,
) -> np.ndarray:
    """Softmax of the rows of a matrix; fills in the cross entropies of its outputs, if asked."""
    work = x.size * COSTS["softmax"]
    y = np.empty(x.shape)
    job, scratch = _scratch.get(_softmax_scratch, runtime.most_chunks(work), x.shape[1])
    job.run(book_elements.softmax, work, x, labels, hot, y, losses, *scratch)
    return y


def softmax_with_loss(
    x: np.ndarray, labels: np.ndarray | None, hot: np.ndarray | None
) -> tuple[np.ndarray, Any] | None:
    """Softmax of the rows of a matrix, and the mean cross entropy of its outputs.

    None where NumPy knows what a label such as -1 means, or refuses it.
    """
    losses = np.empty(len(x))
    y = softmax(
        x, NO_LABELS if labels is None else labels, NO_MATRIX if hot is None else hot, losses
    )
    total = losses.sum()
    return None if total == book_elements.NO_LOSS else (y, total / len(x))


def update(rule: str, arrays: tuple[np.ndarray, ...], rates: tuple[Any, ...]) -> None:
    """One step of an optimiser: on parameters, by their gradients, with what it remembers."""
    size = arrays[0].size
    flat = [array.reshape(-1) for array in arrays]
    flat += [NO_VECTOR] * (4 - len(flat))
    numbers = [float(rate) for rate in rates] + [0.0] * (3 - len(rates))
    job, _ = _scratch.get(_no_scratch, RULE_CODES[rule], size)
    job.run(book_elements.update, size * COSTS[rule], RULE_CODES[rule], *flat, *numbers)
