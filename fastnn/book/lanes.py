"""Images in lanes: arrays (N, C, H, W) whose memory is ``[c, y, x, image]``, as kernels read it.

To everyone else they are NumPy arrays with strides of their own.  Memory has room for whole groups
of images; in the lanes that have none are zeros, which nobody sees.
"""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np

DOUBLE = np.dtype(np.float64)
# Bytes of images that are a group: `compiler.tiles.GROUP_BYTES`, without an import of Numba.
GROUP_BYTES = 64
GROUP = GROUP_BYTES // DOUBLE.itemsize
# Groups of images whose pixels would meet in a few places of the cache.
MEETING = 16
# Bytes of memory that are kept for the next arrays: with half of them, or none, a step of the
# book's DeepConvNet takes 8 to 20 % longer, as the system hands memory out a page at a time.
KEPT_BYTES = 256 << 20
_kept: list[np.ndarray] = []


class _Memory(np.ndarray):
    """Memory of images in lanes; views of it are theirs, and know it as their base."""


def images_up(count: int) -> int:
    """So many images, up to whole groups, and one more where pixels would meet in the cache.

    If they lay a large power of two apart, windows had a few of its places only: gradients of 512
    images took 1.3 to 1.5 times as long as those of 504.
    """
    groups = -(-count // GROUP)
    return (groups + (groups % MEETING == 0)) * GROUP


def new(shape: tuple[int, ...]) -> np.ndarray:
    """An array (N, C, H, W) in lanes; what is in it means nothing, `flat` is to be written."""
    N, *rest = shape
    units, images = math.prod(rest), images_up(N)
    memory = _taken(units * images).view(_Memory).reshape(*rest, images)
    return memory[..., :N].transpose(3, 0, 1, 2).view(np.ndarray)


def empty(shape: tuple[int, ...]) -> np.ndarray:
    """An array as NumPy makes them, in memory that is kept likewise."""
    return _taken(math.prod(shape)).view(_Memory).reshape(shape).view(np.ndarray)


def _taken(size: int) -> np.ndarray:
    """Memory that nobody uses any more, or new."""
    for _ in range(len(_kept)):
        try:
            memory = _kept.pop(0)  # a thread that looks at it has it to itself
        except IndexError:
            break
        is_free = memory.size == size and sys.getrefcount(memory) == 2  # `memory`, and the call's
        _kept.append(memory)
        if is_free:
            return memory
    buffer = np.zeros(size * DOUBLE.itemsize + GROUP_BYTES, np.uint8)
    start = -buffer.ctypes.data % GROUP_BYTES
    memory = buffer[start : start + size * DOUBLE.itemsize].view(DOUBLE)
    _kept.append(memory)
    while sum([kept.nbytes for kept in _kept]) > KEPT_BYTES:
        try:
            _kept.pop(0)
        except IndexError:
            break
    return memory


def flat(array: Any) -> np.ndarray | None:
    """The memory of an array in lanes, all images of it; None if it is another."""
    view = array.base if type(array) is np.ndarray and array.ndim == 4 else None
    if type(view) is not _Memory:
        return None
    N, C, H, W = array.shape
    pixel = images_up(N) * array.itemsize
    memory: Any = view.base.base  # type: ignore[union-attr]
    if array.strides != (array.itemsize, H * W * pixel, W * pixel, pixel):
        return None
    whole = memory.nbytes == C * H * W * pixel and array.ctypes.data == memory.ctypes.data
    return memory if whole else None


def clear_unused(array: np.ndarray) -> None:
    """Zeros in the lanes that have no image: sums over all lanes must not find anything there."""
    memory, N = flat(array), len(array)
    if memory is not None and images_up(N) > N:
        memory.reshape(-1, images_up(N))[:, N:] = 0


def new_mask(array: np.ndarray) -> np.ndarray:
    """An array of bool that lies like one in lanes; what is in it means nothing."""
    N, *rest = array.shape
    images = images_up(N)
    memory = np.empty(math.prod(rest) * images, np.bool_)
    return memory.reshape(*rest, images)[..., :N].transpose(3, 0, 1, 2)


def flat_mask(mask: Any, array: np.ndarray) -> np.ndarray | None:
    """The memory of a mask that `new_mask` made for such an array; None if it is another."""
    memory = mask.base if type(mask) is np.ndarray and mask.shape == array.shape else None
    if type(memory) is not np.ndarray or memory.dtype != np.bool_ or memory.ndim != 1:
        return None
    steps = tuple(step // array.itemsize for step in array.strides)
    size = math.prod(array.shape[1:]) * images_up(array.shape[0])
    return memory if mask.strides == steps and memory.size == size else None
