"""Calls of the kernels for whoever has arrays that they take; None or False where they do not.

They take contiguous float64 arrays, and float32 inputs of an affine layer, that are large enough to
be worth a call, about 4 us, and whose weights are not so large that OpenBLAS is faster.  Products
that it would do as fast are taken, too: its threads and ours would fight for the cores, which cost
the book's ch05/train_neuralnet.py a quarter of its time.  Everything else is left to NumPy: other
dtypes, strides and subclasses, and read-only arrays.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn.compiler import runtime
from fastnn.compiler.tiles import GROUP_BYTES, LIST_SLACK, VECTOR_BYTES
from fastnn.kernels import book_affine, book_elements
from fastnn.kernels.rules import RULE_CODES
from fastnn.training.evaluation import LONG_PIECE, spans
from fastnn.training.parameters import aligned_zeros

DOUBLE, SINGLE = np.dtype(np.float64), np.dtype(np.float32)
LANES = VECTOR_BYTES // DOUBLE.itemsize
GROUP = GROUP_BYTES // DOUBLE.itemsize

# Where a call begins to pay: multiply-adds of a product, about where OpenBLAS starts threads, and
# elements of other arrays.
PRODUCT_FROM, ELEMENTS_FROM = 250_000, 256
# Where OpenBLAS is faster, or scratch costs more than the kernel gains.
WEIGHTS_UP_TO, INPUTS_UP_TO, GRADIENT_ROWS_UP_TO = 1 << 18, 4096, 4096
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


def _takes(array: Any, ndim: int) -> bool:
    """Whether it is a float64 array as the kernels know them (``carray``: C, aligned, writable)."""
    return (
        type(array) is np.ndarray
        and array.ndim == ndim
        and array.dtype == DOUBLE
        and array.flags.carray
    )


def _takes_inputs(x: Any, W: Any) -> bool:
    """Whether ``x @ W`` is for the kernels."""
    if not (type(x) is np.ndarray and x.ndim == 2 and _takes(W, 2) and x.flags.carray):
        return False
    (N, I), size = x.shape, W.size
    return (
        (x.dtype == DOUBLE or x.dtype == SINGLE)
        and len(W) == I
        and I <= INPUTS_UP_TO
        and N * size >= PRODUCT_FROM
        and size <= WEIGHTS_UP_TO
    )


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


def _matrices(chunks: int, columns: int) -> np.ndarray:
    return aligned_zeros(chunks * _up(columns, GROUP), DOUBLE).reshape(chunks, -1)


def _up(count: int, unit: int) -> int:
    return -(-count // unit) * unit


def _product_scratch(chunks: int, K: int) -> tuple[Any, ...]:
    rows, width = book_affine.ROW_BLOCK, max(book_affine.WIDTHS) * LANES
    return (
        _matrices(chunks, rows * width),
        _matrices(chunks, int(book_affine.BLOCK) * width),
        np.zeros((chunks, rows * (K + 1) + LIST_SLACK), np.int32),
        np.zeros((chunks, 2, rows), np.int64),
    )


def affine(x: Any, W: Any, b: Any) -> np.ndarray | None:
    """``x @ W + b``."""
    if not (_takes_inputs(x, W) and _takes(b, 1)):
        return None
    (N, I), O = x.shape, W.shape[1]
    if b.size != O:
        return None
    work = N * I * O
    out = np.empty((N, O))
    job, scratch = _scratch.get(_product_scratch, runtime.most_chunks(work), I)
    for rows in spans(0, N, max(1, int(LONG_PIECE / W.size))):  # Ctrl-C in between
        part = slice(*rows)
        job.run(book_affine.affine, work, x[part], W, b, out[part], *scratch)
    return out


def _gradients_scratch(chunks: int, N: int, O: int) -> tuple[Any, ...]:
    row, block = _row(O), int(book_affine.WEIGHT_BLOCK)
    listed = book_affine.ROWS_OF_A_GRADIENT * block
    return (
        row,
        _matrices(chunks, N * row),
        _matrices(chunks, listed),
        np.zeros((chunks, listed), np.int32),
        np.zeros((chunks, listed + LIST_SLACK), np.int32),
        np.zeros((chunks, block), np.int64),
        _matrices(chunks, block * row),
        *_product_scratch(chunks, O),
    )


def affine_gradients(
    x: Any, W: Any, dout: Any, with_inputs: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """``dx, dW, db`` of ``x @ W + b``; dx is empty if it is not asked for."""
    if not (_takes_inputs(x, W) and _takes(dout, 2)):
        return None
    (N, I), O = x.shape, W.shape[1]
    if dout.shape != (N, O) or N > GRADIENT_ROWS_UP_TO:
        return None
    work = N * I * O * (2 if with_inputs else 1)
    dx = np.empty((N, I)) if with_inputs else NO_MATRIX
    dW, db = np.empty((I, O)), np.empty(O)
    job, scratch = _scratch.get(_gradients_scratch, runtime.most_chunks(work), N, O)
    job.run(book_affine.affine_gradients, work, x, W, dout, dW, db, dx, *scratch)
    return dx, dW, db


def sigmoid(x: Any) -> np.ndarray | None:
    """``1 / (1 + exp(-x))``."""
    if not (type(x) is np.ndarray and x.size >= ELEMENTS_FROM and _takes(x, x.ndim)):
        return None
    out = np.empty(x.shape)
    work = x.size * COSTS["softmax"]
    flat = x.reshape(-1), out.reshape(-1), NO_MASK
    runtime.run(book_elements.map_elements, work, book_elements.SIGMOID_OF, *flat)
    return out


def relu(x: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """The larger of 0 and x, and where x is 0 or less."""
    if not (type(x) is np.ndarray and x.size >= ELEMENTS_FROM and _takes(x, x.ndim)):
        return None
    out, mask = np.empty(x.shape), np.empty(x.shape, np.bool_)
    flat = x.reshape(-1), out.reshape(-1), mask.reshape(-1)
    work = x.size * COSTS["map"]
    runtime.run(book_elements.map_elements, work, book_elements.RELU_AND_MASK, *flat)
    return out, mask


def clear(dout: Any, mask: Any) -> bool:
    """Set `dout` to 0 where the mask is; False if that is left to NumPy."""
    if not (
        type(dout) is np.ndarray
        and dout.size >= ELEMENTS_FROM
        and _takes(dout, dout.ndim)
        and type(mask) is np.ndarray
        and mask.dtype == np.bool_
        and mask.shape == dout.shape
        and mask.flags.carray
    ):
        return False
    flat = dout.reshape(-1), dout.reshape(-1), mask.reshape(-1)
    work = dout.size * COSTS["map"]
    runtime.run(book_elements.map_elements, work, book_elements.CLEAR_MASKED, *flat)
    return True


def _softmax_scratch(chunks: int, O: int) -> tuple[Any, ...]:
    return (_matrices(chunks, O),)


def _softmax(x: Any, labels: np.ndarray, hot: np.ndarray, losses: np.ndarray) -> np.ndarray:
    work = x.size * COSTS["softmax"]
    y = np.empty(x.shape)
    job, scratch = _scratch.get(_softmax_scratch, runtime.most_chunks(work), x.shape[1])
    job.run(book_elements.softmax, work, x, labels, hot, y, losses, *scratch)
    return y


def softmax(x: Any) -> np.ndarray | None:
    """Softmax of the rows of a matrix."""
    if not (_takes(x, 2) and x.size >= ELEMENTS_FROM):
        return None
    return _softmax(x, NO_LABELS, NO_MATRIX, NO_VECTOR)


def softmax_with_loss(x: Any, t: Any) -> tuple[np.ndarray, Any] | None:
    """Softmax of the rows of a matrix, and the mean cross entropy of its outputs."""
    if not (_takes(x, 2) and x.size >= ELEMENTS_FROM and type(t) is np.ndarray):
        return None
    rows = len(x)
    labels, hot = NO_LABELS, NO_MATRIX
    if t.shape == x.shape and t.size != rows and _takes(t, 2):
        hot = t
    elif t.shape == (rows,) and t.size != x.size and t.dtype.kind in "iu":
        labels = t.astype(np.int64)
    else:
        return None
    losses = np.empty(rows)
    y = _softmax(x, labels, hot, losses)
    total = losses.sum()
    if total == book_elements.NO_LOSS:  # NumPy knows what a label such as -1 means, or refuses it
        return None
    return y, total / rows


def update(
    rule: str, params: Any, grads: Any, memory: tuple[Any, ...], rates: tuple[Any, ...]
) -> bool:
    """One step of an optimiser on an array; False if that is left to NumPy.

    ``memory`` is what the rule remembers of the array; ``rates`` are the learning rate and the
    shares of the memory that a step keeps.
    """
    if not (type(params) is np.ndarray and params.size >= ELEMENTS_FROM):
        return False
    for array in (params, grads, *memory):
        if not (_takes(array, params.ndim) and array.shape == params.shape):
            return False
    for rate in rates:
        if not isinstance(rate, float):  # np.float64 is one
            return False
    flat = [array.reshape(-1) for array in (params, grads, *memory)]
    flat += [NO_VECTOR] * (4 - len(flat))
    numbers = [float(rate) for rate in rates] + [0.0] * (3 - len(rates))
    job, _ = _scratch.get(_no_scratch, RULE_CODES[rule], params.size)
    job.run(book_elements.update, params.size * COSTS[rule], RULE_CODES[rule], *flat, *numbers)
    return True
