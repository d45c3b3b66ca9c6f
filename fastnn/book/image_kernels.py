"""Calls of the kernels for images: scratch, jobs, and arrays for what they write.

`fastnn.book.image_calls` has looked at all arguments, and imports this file when there is something
to call.
"""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np

from fastnn.book import kernel_calls, lanes
from fastnn.book.image_calls import Convolved, Pooled
from fastnn.compiler import runtime
from fastnn.kernels import book_convolution as kernels
from fastnn.kernels.book_convolution import Move, Shape
from fastnn.kernels.book_few_channels import input_gradient_of_few
from fastnn.kernels.convolution import SUMMED_OUTPUTS

# Multiply-adds that reading and writing a pixel takes as long as: memory is slow.
COPIED = 4
ZERO = np.zeros(1)
# Channels from which a tile of sums for each pixel is full enough.
CHANNELS_FROM = 4


_jobs = threading.local()


def _run(kernel: Any, work: float, *arguments: Any) -> None:
    """Call a kernel, in parallel unless that has been slower of late."""
    name = kernel.entry.function.__name__
    job = vars(_jobs).get(name)
    if job is None:
        job = vars(_jobs)[name] = runtime.Job()
    job.run(kernel, work, *arguments)


def _shape(array: np.ndarray) -> Shape:
    N, C, H, W = array.shape
    return Shape(lanes.images_up(N), C, H, W)


def _memory(array: np.ndarray) -> np.ndarray:
    memory = lanes.flat(array)
    assert memory is not None
    return memory


def to_lanes(x: np.ndarray, pad: int = 0) -> np.ndarray:
    """The same numbers in lanes, with so many lines and pixels of zeros around; a copy."""
    if lanes.flat(x) is not None:
        return _with_border(x, pad)
    if pad:
        return _with_border(to_lanes(x), pad)
    out = lanes.new(x.shape)
    rows = np.ascontiguousarray(x, np.float64)
    images, units = lanes.images_up(len(x)), math.prod(x.shape[1:])
    arguments = rows.reshape(-1), len(x), units, _memory(out), images
    _run(kernels.to_lanes, COPIED * x.size, *arguments)
    return out


def to_rows(x: np.ndarray) -> np.ndarray:
    """Images in lanes as rows."""
    images, units = lanes.images_up(len(x)), math.prod(x.shape[1:])
    out = np.empty((len(x), units))
    arguments = _memory(x), images, units, out.reshape(-1), len(x)
    _run(kernels.to_rows, COPIED * x.size, *arguments)
    return out


def convolve(
    x: np.ndarray, W: np.ndarray, b: np.ndarray, stride: int, pad: int, shape: tuple[int, ...]
) -> np.ndarray:
    """Outputs of this shape."""
    out, work = lanes.new(shape), math.prod(shape) * W[0].size
    move, flat = Move(W.shape[2], W.shape[3], stride, pad), np.ascontiguousarray(W).reshape(-1)
    images, outputs = (_memory(x), *_shape(x)), (_memory(out), *_shape(out))
    _run(kernels.convolve, work, *images, flat, b, *move, *outputs)
    lanes.clear_unused(out)  # where biases are now
    return out


def _sums(chunks: int) -> tuple[Any, ...]:
    size = SUMMED_OUTPUTS * kernels.TAPS_TOGETHER * lanes.GROUP
    return (kernel_calls.matrices(chunks, size),)


def _few_sums(chunks: int, taps: int) -> tuple[Any, ...]:
    return (kernel_calls.matrices(chunks, taps * kernels.TILE_GROUPS * kernel_calls.LANES),)


def convolution_gradients(
    passed: Convolved, dout: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``dx, dW, db``."""
    x, W, border = passed.x, np.ascontiguousarray(passed.W), 2 * passed.pad
    move, work = Move(W.shape[2], W.shape[3], passed.stride, passed.pad), dout.size * W[0].size
    dx = lanes.new((*x.shape[:2], x.shape[2] - border, x.shape[3] - border))
    deltas, images = (_memory(dout), *_shape(dout)), (_memory(dx), *_shape(dx))
    arguments = *deltas, W.reshape(-1), ZERO, *move, *images
    if x.shape[1] < CHANNELS_FROM:
        _, scratch = kernel_calls.scratch_of(_few_sums, runtime.most_chunks(work), W[0].size)
        _run(input_gradient_of_few, work, *arguments, *scratch)
    else:
        _run(kernels.input_gradient, work, *arguments)
    dW, db = np.empty(W.shape), np.empty(len(W))
    job, scratch = kernel_calls.scratch_of(_sums, runtime.most_chunks(work))
    job.run(
        kernels.filter_gradients,
        work,
        *(_memory(x), *_shape(x)),
        *deltas,
        *move,
        *(dW.reshape(-1), db, *scratch),
    )
    return dx, dW, db


def _with_border(x: np.ndarray, pad: int) -> np.ndarray:
    N, C, H, W = x.shape
    out = lanes.new((N, C, H + 2 * pad, W + 2 * pad))
    _run(kernels.with_border, COPIED * x.size, _memory(x), *_shape(x), pad, _memory(out))
    return out


def max_pool(
    x: np.ndarray, size: tuple[int, int], stride: int, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Outputs of this shape, and of each window the number of its largest pixel."""
    out, index = lanes.new(shape), lanes.new(shape)
    images, outputs = (_memory(x), *_shape(x)), (_memory(out), *_shape(out), _memory(index))
    work = COPIED * out.size * math.prod(size)
    _run(kernels.max_pool, work, *images, *Move(*size, stride, 0), *outputs)
    return out, index


def max_pool_gradient(passed: Pooled, dout: np.ndarray) -> np.ndarray:
    """Gradient of the images."""
    dx, move = lanes.new(passed.shape), Move(*passed.size, passed.stride, 0)
    deltas = (_memory(dout), *_shape(dout), _memory(passed.which))
    _run(kernels.max_pool_gradient, COPIED * dx.size, *deltas, *move, _memory(dx), *_shape(dx))
    return dx
