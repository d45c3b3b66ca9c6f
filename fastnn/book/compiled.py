"""Calls of the kernels for whoever has arrays that they take; None or False where they do not.

They take contiguous float64 arrays, and float32 inputs of an affine layer, that are large enough to
be worth a call, about 4 us, and whose weights are not so large that OpenBLAS is faster.  Products
that it would do as fast are taken, too: its threads and ours would fight for the cores, which cost
the book's ch05/train_neuralnet.py a quarter of its time.  Everything else is left to NumPy: other
dtypes, strides and subclasses, and read-only arrays.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from fastnn.book import lanes

DOUBLE, SINGLE = np.dtype(np.float64), np.dtype(np.float32)

# Where a call begins to pay: multiply-adds of a product, about where OpenBLAS starts threads, and
# elements of other arrays.
PRODUCT_FROM, ELEMENTS_FROM = 250_000, 256
# Where lists of nonzeros take too much memory, and the kernels have tiles alone; and where OpenBLAS
# is faster, or scratch costs more than the kernel gains.
LISTED_WEIGHTS_UP_TO, LISTED_INPUTS_UP_TO = 1 << 18, 4096
WEIGHTS_UP_TO, GRADIENT_ROWS_UP_TO = 1 << 20, 4096


@functools.cache
def _kernels() -> Any:
    from fastnn.book import kernel_calls

    return kernel_calls


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
        (x.dtype == DOUBLE or (x.dtype == SINGLE and not _is_large(W)))
        and len(W) == I
        and N * size >= PRODUCT_FROM
        and size <= WEIGHTS_UP_TO
    )


def _is_large(W: np.ndarray) -> bool:
    return W.size > LISTED_WEIGHTS_UP_TO or len(W) > LISTED_INPUTS_UP_TO


def affine(x: Any, W: Any, b: Any) -> np.ndarray | None:
    """``x @ W + b``."""
    if not (_takes_inputs(x, W) and _takes(b, 1)):
        return None
    if b.size != W.shape[1]:
        return None
    return (_kernels().large_affine if _is_large(W) else _kernels().affine)(x, W, b)


def affine_gradients(
    x: Any, W: Any, dout: Any, with_inputs: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """``dx, dW, db`` of ``x @ W + b``; dx is empty if it is not asked for."""
    if not (_takes_inputs(x, W) and _takes(dout, 2)):
        return None
    if dout.shape != (len(x), W.shape[1]) or len(x) > GRADIENT_ROWS_UP_TO:
        return None
    kernels = _kernels()
    gradients = kernels.large_affine_gradients if _is_large(W) else kernels.affine_gradients
    return gradients(x, W, dout, with_inputs)


def sigmoid(x: Any) -> np.ndarray | None:
    """``1 / (1 + exp(-x))``."""
    if not (type(x) is np.ndarray and x.size >= ELEMENTS_FROM and _takes(x, x.ndim)):
        return None
    return _kernels().sigmoid(x)


def relu(x: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """The larger of 0 and x, and where x is 0 or less."""
    if not (type(x) is np.ndarray and x.size >= ELEMENTS_FROM):
        return None
    memory = lanes.flat(x)
    if memory is not None:
        out, mask = lanes.new(x.shape), lanes.new_mask(x)
        _kernels().relu_of(memory, lanes.flat(out), lanes.flat_mask(mask, x))
        return out, mask
    return _kernels().relu(x) if _takes(x, x.ndim) else None


def clear(dout: Any, mask: Any) -> bool:
    """Set `dout` to 0 where the mask is; False if that is left to NumPy."""
    memory = lanes.flat(dout)
    masked = None if memory is None else lanes.flat_mask(mask, dout)
    if masked is not None and dout.flags.writeable:
        _kernels().clear(memory, masked)
        return True
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
    _kernels().clear(dout, mask)
    return True


def softmax(x: Any) -> np.ndarray | None:
    """Softmax of the rows of a matrix."""
    if not (_takes(x, 2) and x.size >= ELEMENTS_FROM):
        return None
    return _kernels().softmax(x)


def softmax_with_loss(x: Any, t: Any) -> tuple[np.ndarray, Any] | None:
    """Softmax of the rows of a matrix, and the mean cross entropy of its outputs."""
    if not (_takes(x, 2) and x.size >= ELEMENTS_FROM and type(t) is np.ndarray):
        return None
    rows = len(x)
    if t.shape == x.shape and t.size != rows and _takes(t, 2):
        return _kernels().softmax_with_loss(x, None, t)
    if t.shape == (rows,) and t.size != x.size and t.dtype.kind in "iu":
        return _kernels().softmax_with_loss(x, t.astype(np.int64), None)
    return None


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
    _kernels().update(rule, (params, grads, *memory), rates)
    return True
