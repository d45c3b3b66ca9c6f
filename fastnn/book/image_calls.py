"""Convolution and pooling by the kernels, for arrays that they take; None where they do not.

They take images of real numbers, in any layout, that are large enough to be worth the calls, and
finite float64 filters.  Everything else is left to NumPy, and so is every error.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np

from fastnn.book import lanes

REAL = "fiub"  # kinds of dtypes
# Multiply-adds, and pixels that are pooled, from which a call pays.
CONVOLVED_FROM, POOLED_FROM = 20_000, 2_000


class Convolved(NamedTuple):
    """What the way back needs of a convolution."""

    x: np.ndarray  # a copy in lanes, with zeros around
    W: np.ndarray  # as it was given
    stride: int
    pad: int
    out: tuple[int, ...]  # shape of the outputs


class Pooled(NamedTuple):
    """What the way back needs of a pooling."""

    shape: tuple[int, ...]
    size: tuple[int, int]
    stride: int
    which: np.ndarray  # in lanes, of each window the number of its largest pixel


@functools.cache
def _kernels() -> Any:
    from fastnn.book import image_kernels

    return image_kernels


def _takes_images(x: Any) -> bool:
    return type(x) is np.ndarray and x.ndim == 4 and x.dtype.kind in REAL and x.size > 0


def _whole_numbers(*numbers: Any) -> bool:
    return all(isinstance(number, int | np.integer) for number in numbers)


def _out(size: int, window: int, stride: int, pad: int) -> int:
    return (size + 2 * pad - window) // stride + 1


def convolve(x: Any, W: Any, b: Any, stride: Any, pad: Any) -> tuple[np.ndarray, Convolved] | None:
    """Outputs, and what the way back needs."""
    if not (_takes_images(x) and _takes_images(W) and _whole_numbers(stride, pad)):
        return None
    (N, C, H, V), (FN, channels, FH, FW) = x.shape, W.shape
    if W.dtype != np.float64 or channels != C or stride < 1 or pad < 0:
        return None
    lines, pixels = _out(H, FH, stride, pad), _out(V, FW, stride, pad)
    if lines < 1 or pixels < 1 or N * lines * pixels * W.size < CONVOLVED_FROM:
        return None
    biases = _biases(b, FN)
    if biases is None or not np.isfinite(W).all():
        return None
    images = _kernels().to_lanes(x, int(pad))  # the reader may write to x before the way back
    shape = N, FN, lines, pixels
    out = _kernels().convolve(images, W, biases, int(stride), int(pad), shape)
    return out, Convolved(images, W, int(stride), int(pad), shape)


def _biases(b: Any, count: int) -> np.ndarray | None:
    if isinstance(b, int | float):
        return np.full(count, float(b))
    if type(b) is np.ndarray and b.shape == (count,) and b.dtype == np.float64:
        return np.ascontiguousarray(b)
    return None


def _in_lanes(x: np.ndarray) -> np.ndarray:
    return x if lanes.flat(x) is not None else _kernels().to_lanes(x)


def convolution_gradients(
    passed: Convolved, dout: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """``dx, dW, db``."""
    if not _takes_images(dout) or dout.shape != passed.out:
        return None
    if not np.isfinite(passed.W).all():  # it has been written to since
        return None
    passed = passed._replace(x=_in_lanes(passed.x))  # it is not if it comes from a pickle
    dx, dW, db = _kernels().convolution_gradients(passed, _in_lanes(dout))
    # Where zeros around images meet what is not finite, NumPy's products are NaN.
    return None if passed.pad and not np.isfinite(dW).all() else (dx, dW, db)


def max_pool(
    x: Any, pool_h: Any, pool_w: Any, stride: Any, pad: Any
) -> tuple[np.ndarray, Pooled] | None:
    """Outputs, and what the way back needs."""
    if not (_takes_images(x) and _whole_numbers(pool_h, pool_w, stride, pad)):
        return None
    if x.size < POOLED_FROM or pad != 0 or min(pool_h, pool_w, stride) < 1:
        return None
    (N, C, H, W), size, stride = x.shape, (int(pool_h), int(pool_w)), int(stride)
    if size[0] > H or size[1] > W:
        return None
    shape = N, C, _out(H, size[0], stride, 0), _out(W, size[1], stride, 0)
    out, which = _kernels().max_pool(_in_lanes(x), size, stride, shape)
    return out, Pooled(x.shape, size, stride, which)


def max_pool_gradient(passed: Pooled, dout: Any) -> np.ndarray | None:
    """Gradient of the images."""
    if not _takes_images(dout) or dout.shape != passed.which.shape:
        return None
    passed = passed._replace(which=_in_lanes(passed.which))
    return _kernels().max_pool_gradient(passed, _in_lanes(dout))


def as_rows(x: np.ndarray) -> np.ndarray:
    """What belongs to an image made one vector: ``x.reshape(len(x), -1)``."""
    if lanes.flat(x) is None:
        return x.reshape(x.shape[0], -1)
    return _kernels().to_rows(x)
