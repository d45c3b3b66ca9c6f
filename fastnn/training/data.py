"""Data in the form that the kernels read: rows of inputs, and what is wanted of them."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from fastnn.compiler import runtime
from fastnn.gate import kernel_array, refuse_not_finite
from fastnn.kernels.groups import Data, Targets
from fastnn.kernels.layers.sparse_affine import COLUMN_BLOCK
from fastnn.kernels.nonzeros import Found, compress_rows, count_nonzeros
from fastnn.sparse_rows import SparseRows

# Fields of `groups.Examples` that are for rows which come with a call.
NOTHING_GIVEN = {
    dtype: (
        np.empty((0, 0), np.uint8),
        np.empty(0, np.int64),
        *(0, 0, 0),
        np.zeros(2, dtype),
        np.empty((0, len(Found._fields)), np.int64),
    )
    for dtype in map(np.dtype, (np.float32, np.float64))
}
# Below this share of nonzeros the kernels that skip zeros win: for 8 vectors of outputs, forward
# and back, an entry takes 19 cycles, and an input of the dense products 8 (AVX2).
SPARSE_BELOW = 0.4
# Narrower inputs gain nothing from lists; a few rows do not pay for making them.
SPARSE_WIDTH = 32
SPARSE_ROWS = 8
SAMPLED_ROWS = 16  # to look at 256 took longer than to list the nonzeros of 1,000
COMPRESS_WORK = 4  # multiply-adds that looking at an input takes as long as


def room_of(rows: int, width: int) -> int:
    """Nonzeros up to which so many rows count as mostly zero; 0 if lists would gain nothing."""
    may_be = rows >= SPARSE_ROWS and width >= SPARSE_WIDTH
    return int(rows * width * SPARSE_BELOW) if may_be else 0


class Samples:
    """Rows of input data in the form that the kernels read: dense, or without the zeros.

    If some are `chosen`, in ascending order, the others are not looked at and must not be read.
    Without `lists` they stay dense, whatever they are.

    Attributes
    ----------
    rows : int
        Number of rows.
    density : float
        Share of the inputs that the kernels multiply.
    looked_at : ndarray
        Numbers of the rows that were.
    finite : bool
        Whether all numbers are.
    sparse : bool
        Whether they are lists of nonzeros.
    data : Data
        As the kernels take them; whichever form is not used is empty.
    blocks : int
        Rows of the scratch in which a pass keeps its place in each list.
    """

    def __init__(self, x: np.ndarray, chosen: np.ndarray | None = None, lists: bool = True):
        self.rows, width = x.shape
        if chosen is None:
            chosen = np.arange(self.rows)
        self.looked_at, size = chosen, len(chosen) * width
        room = room_of(len(chosen), width) if lists and looks_sparse(x) else 0
        column, value = np.empty(room, column_kind(width)), np.empty(room, x.dtype)
        bounds, work = np.zeros((self.rows, 2), np.int64), COMPRESS_WORK * size
        found = np.zeros((runtime.most_chunks(work), len(Found._fields)), np.int64)
        runtime.run(compress_rows, work, x, chosen, bounds, column, value, found)
        entries, without_room, not_finite, _ = found.sum(axis=0).tolist()
        self.finite = not not_finite
        self.sparse = bool(room and not without_room and self.finite)
        self.density = 1.0
        if self.sparse:
            self.density = entries / size
            x = x[:0]
        else:
            bounds, column, value = bounds[:0], column[:0].copy(), value[:0].copy()
        self.data = Data(x, bounds, column, value)
        self.blocks = blocks_of(width) if self.sparse else 0

    @property
    def kind(self) -> str:
        """The kind of layer that takes them."""
        return "sparse_affine" if self.sparse else "affine"

    @classmethod
    def of_csr(cls, x: SparseRows, chosen: np.ndarray | None = None) -> Samples:
        """Inputs that are a SciPy matrix or array; a number too large for the kernels is refused.

        If some rows are `chosen`, the others are rows of zeros.
        """
        self = cls.__new__(cls)
        self.rows, width = x.shape
        self.looked_at = np.arange(self.rows) if chosen is None else chosen
        self.sparse = True
        begin, column, value = x.entries(chosen)
        bounds = np.zeros((self.rows, 2), np.int64)
        places = np.arange(self.rows) if chosen is None else chosen
        bounds[places, 0], bounds[places, 1] = begin[:-1], begin[1:]
        ready = kernel_array(value, x.dtype)
        self.finite = bool(np.isfinite(ready).all())
        if not self.finite:
            x.refuse_too_large(chosen)
        self.density = len(value) / max(1, (len(begin) - 1) * width)
        # A copy: kernels find their way by it, whatever a callback does to the matrix.
        column = np.array(column, column_kind(width))
        self.data = Data(np.empty((0, width), x.dtype), bounds, column, ready)
        self.blocks = blocks_of(width)
        return self

    def part(self, most: int) -> tuple[Samples, np.ndarray]:
        """Some of the rows that were looked at, no more than so many; and their numbers."""
        step = -(-len(self.looked_at) // most)
        some, other = self.looked_at[::step], copy.copy(self)
        other.rows, other.looked_at = len(some), np.arange(len(some))
        if self.sparse:
            other.data = self.data._replace(bounds=self.data.bounds[some])
        else:
            other.data = self.data._replace(x=self.data.x[some])
        return other, some


def blocks_of(width: int) -> int:
    """`Samples.blocks` of lists of so many columns."""
    return -(-width // COLUMN_BLOCK) + 1


def column_kind(width: int) -> np.dtype:
    """Type of the column numbers of so many columns, as narrow as may be."""
    return np.dtype(np.uint16 if width <= 1 << 16 else np.int32)


def looks_sparse(x: np.ndarray) -> bool:
    """Whether a sample of the rows is so; the kernel that makes the lists then sees the rest."""
    rows, width = x.shape
    if rows < SPARSE_ROWS or width < SPARSE_WIDTH:
        return False
    step, found = max(1, rows // SAMPLED_ROWS), np.empty(1, np.int64)
    count_nonzeros.serial(1, x, step, found)
    return bool(found[0] < SPARSE_BELOW * -(-rows // step) * width)


def samples_of(
    rows: np.ndarray | SparseRows,
    x: Any,
    name: str,
    chosen: np.ndarray | None = None,
    lists: bool = True,
) -> Samples:
    """`Samples` of what `gate.matrix` has made of `x`, of all rows or of some; all are finite."""
    if isinstance(rows, SparseRows):
        found = Samples.of_csr(rows, chosen)
        if not found.finite:
            rows.refuse_not_finite(chosen)
        return found
    found = Samples(rows, chosen, lists)
    if not found.finite:
        refuse_not_finite(x, rows, name)
    return found


class Examples:
    """Samples with what is wanted of them; one of labels and targets is empty."""

    def __init__(self, samples: Samples, wanted: Targets):
        self.samples, self.rows, self.wanted = samples, samples.rows, wanted


def looked_at(samples: Samples, wanted: Targets) -> tuple[Any, ...]:
    """The fields of `groups.Examples` for rows, and targets, that have been looked at."""
    return *samples.data, *wanted, *NOTHING_GIVEN[samples.data.x.dtype]
