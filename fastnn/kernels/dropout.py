"""Dropout: some hidden outputs are zero for a step, and the others larger to make up for it.

Which they are is no state but a function of the step, the layer, the row's place in the batch and
the unit: so threads do not change it, and the way back finds the same ones without a list of them.
"""

import numpy as np

from fastnn.compiler.jit import inner
from fastnn.compiler.lanes import VECTOR_BYTES, like, load, store
from fastnn.kernels.activations import slope

# Rates are counted in so many parts.
PARTS = 1 << 16


@inner
def _mixed(h):
    """The 32 bits of h, each depending on all (the finalizer of MurmurHash3)."""
    h = np.uint32(np.uint32(h ^ (h >> np.uint32(16))) * np.uint32(0x85EBCA6B))
    h = np.uint32(np.uint32(h ^ (h >> np.uint32(13))) * np.uint32(0xC2B2AE35))
    return np.uint32(h ^ (h >> np.uint32(16)))


@inner
def row_salt(salt, layer, row):
    """What the units of one row of one layer begin with."""
    return _mixed(np.uint32(_mixed(np.uint32(_mixed(np.uint32(salt)) + layer)) ^ np.uint32(row)))


@inner
def is_dropped(salt, unit, drop):
    """Whether a unit of a row is among the `drop` of PARTS that are dropped."""
    return np.int64(_mixed(np.uint32(salt + unit * 0x9E3779B9)) >> np.uint32(16)) < drop


@inner
def dropout_forward(drop, salt, layer, first, rows, low, high, Y, y, y_row):
    """Drop units low .. high of so many rows, which begin at row `first` of the batch."""
    scale = Y.dtype.type(PARTS / (PARTS - drop))
    for r in range(rows):
        mine, at = row_salt(salt, layer, first + r), y + r * y_row - low
        for n in range(low, high):
            kept = Y[at + n] * scale
            Y[at + n] = Y.dtype.type(0) if is_dropped(mine, n, drop) else kept


@inner
def dropout_backward(drop, salt, layer, first, rows, low, high, code, Y, y, D, d, row):
    """What `activation_backward` does, for outputs Y as `dropout_forward` left them."""
    lanes = VECTOR_BYTES // Y.itemsize
    keep = Y.dtype.type((PARTS - drop) / PARTS)
    scale = Y.dtype.type(PARTS / (PARTS - drop))
    for r in range(rows):
        for n in range(0, high - low, lanes):
            at = y + r * row + n
            before = load(Y, at, 0, 1, 1) * like(load(Y, at, 0, 1, 1), keep)
            dy = load(D, d + r * row + n, 0, 1, 1)
            store(D, d + r * row + n, 0, dy * slope(code, before) * like(dy, scale))
        mine, at = row_salt(salt, layer, first + r), d + r * row - low
        for n in range(low, high):
            if is_dropped(mine, n, drop):
                D[at + n] = D.dtype.type(0)
