"""Dropout: some hidden outputs are zero for a step, and the others larger to make up for it.

Which they are is no state but a function of the step, the layer, the row's place in the batch and
the unit: so threads do not change it, and the way back finds the same ones without a list of them.
"""

import numpy as np

from fastnn.compiler.jit import inner
from fastnn.compiler.parts import Choice
from fastnn.compiler.tile_products import Matrix
from fastnn.compiler.tiles import lanes_of, like, load, store
from fastnn.kernels.activations import slope
from fastnn.kernels.groups import Layer, Rows
from fastnn.kernels.places import Places

# Rates are counted in so many parts.
PARTS = 1 << 16


@inner
def _mixed(h):
    """The 32 bits of h, each depending on all (the finalizer of MurmurHash3)."""
    h = np.uint32(np.uint32(h ^ (h >> np.uint32(16))) * np.uint32(0x85EBCA6B))
    h = np.uint32(np.uint32(h ^ (h >> np.uint32(13))) * np.uint32(0xC2B2AE35))
    return np.uint32(h ^ (h >> np.uint32(16)))


@inner
def row_salt(salt, number, row):
    """What the units of one row of one layer begin with."""
    return _mixed(np.uint32(_mixed(np.uint32(_mixed(np.uint32(salt)) + number)) ^ np.uint32(row)))


@inner
def is_dropped(salt, unit, dropped):
    """Whether a unit of a row is among the `dropped` of PARTS."""
    return np.int64(_mixed(np.uint32(salt + unit * 0x9E3779B9)) >> np.uint32(16)) < dropped


@inner
def dropout_forward(layer: Layer, rows: Rows, low: int, high: int, y: Matrix):
    """Drop units low .. high of rows; y are those of the layer's outputs."""
    dropped, Y = layer.dropped, y.array
    scale = Y.dtype.type(PARTS / (PARTS - dropped))
    for r in range(rows.count):
        salt, at = row_salt(rows.salt, layer.number, rows.slot + r), y.at + r * y.row - low
        for n in range(low, high):
            kept = Y[at + n] * scale
            Y[at + n] = Y.dtype.type(0) if is_dropped(salt, n, dropped) else kept


@inner
def dropout_backward(layer: Layer, rows: Rows, low: int, high: int, y: Matrix, dy: Matrix):
    """What `activation_backward` does, for outputs as `dropout_forward` left them."""
    dropped, D, zero = layer.dropped, dy.array, dy.array.dtype.type(0)
    keep = D.dtype.type((PARTS - dropped) / PARTS)
    scale = D.dtype.type(PARTS / (PARTS - dropped))
    for r in range(rows.count):
        for n in range(0, high - low, lanes_of(D)):
            at = r * y.row + n
            after = load(y.array, y.at + at)
            before = after * like(after, keep)
            dz = load(D, dy.at + at) * slope(layer.activation, before) * like(after, scale)
            store(D, dy.at + at, dz)
        salt, at = row_salt(rows.salt, layer.number, rows.slot + r), dy.at + r * y.row - low
        for n in range(low, high):
            if is_dropped(salt, n, dropped):
                D[at + n] = zero


FORWARD = Choice(Places.DROPOUT_FORWARD, {0: dropout_forward})
BACKWARD = Choice(Places.DROPOUT_BACKWARD, {0: dropout_backward})
