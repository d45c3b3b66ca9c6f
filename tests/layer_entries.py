"""Kinds of layers, and the lists of nonzeros that one of them reads.

A layer stands alone here: its inputs, its weights with the biases behind them, its outputs and its
deltas lie in memory of their own, and its place in a network is made up.
"""

import numpy as np
from kernel_entries import (
    COLUMNS,
    Memory,
    PartEntry,
    entry_of,
    lanes_of,
    nothing,
    padded,
    table_for,
)
from product_entries import rule_of

from fastnn.compiler.tiles import LIST_SLACK, TILE_VECTORS
from fastnn.kernels import layers, nonzeros, weights
from fastnn.kernels.groups import (
    GATHER,
    GRADIENT,
    PANEL,
    Data,
    Layer,
    Network,
    Place,
    Rows,
    Scratch,
    Share,
)
from fastnn.kernels.layers import KIND_CODES, KINDS, sparse_affine
from fastnn.kernels.rules import UPDATE_BLOCK

# Lists of nonzeros ------------------------------------------------------------------------

_compress_rows = entry_of(nonzeros.compress_rows.kernel)
_values_of_column = entry_of(nonzeros.values_of_column)


def compress_rows(x, room, chunks=1):
    """``bounds``, ``column`` and ``value``, with room for so many nonzeros."""
    bounds = np.full((len(x), 2), -(10**9), np.int64)
    column = np.full(room, 9999, COLUMNS[x.dtype])
    value = np.full(room, np.nan, x.dtype)
    found = np.zeros((chunks, len(nonzeros.Found._fields)), np.int64)
    for chunk in range(chunks):
        _compress_rows(chunk, chunks, x, np.arange(len(x)), bounds, column, value, found)
    ends = bounds[:, 1]
    assert nonzeros.Found(*found.sum(axis=0)) == nonzeros.Found(
        entries=np.diff(bounds)[ends >= 0].sum(),
        without_room=np.count_nonzero(ends == nonzeros.NO_ROOM),
        not_finite=np.count_nonzero(ends == nonzeros.NOT_FINITE),
        not_wanted=0,
    )
    return bounds, column, value


def values_of_columns(x):
    """x, put together from its lists column by column."""
    bounds, column, value = compress_rows(x, x.size + LIST_SLACK)
    data = Data(x, bounds, column, value)
    found, first = nothing(x.shape[1], len(x), x.dtype), bounds[:, 0].copy()
    for i, row in enumerate(found):
        _values_of_column(i, len(x), first, bounds[:, 1].copy(), data, Place(row, 0))
    return found.T


# A layer of a network ---------------------------------------------------------------------

_forward, _update, _update_few = map(PartEntry, (layers.FORWARD, layers.UPDATE, layers.UPDATE_FEW))
_backward, _backward_few = map(PartEntry, (layers.BACKWARD, layers.BACKWARD_FEW))
_weight_sweep = entry_of(weights.weight_sweep)


class OneLayer:
    """Rows of `x`, picked by `batch`, on their way through a layer of some kind.

    `W` and `b` have whole vectors, of which `outputs` elements may count; `slot` rows of others
    come before these.  A layer that is not the first finds the rows of x side by side.
    """

    def __init__(self, kind, x, W, b, batch=None, slot=0, outputs=None, first=True, **layout):
        self.kind, self.slot, self.layout, dtype = kind, slot, layout, W.dtype
        self.batch = np.arange(len(x)) if batch is None else np.asarray(batch, np.int64)
        count = self.count = self.batch.size
        self.lanes, inputs, self.columns = lanes_of(dtype), x.shape[1], W.shape[1]
        self.params = Memory(np.vstack([W, b]), **layout)
        before = nothing(slot, inputs, dtype)
        room = nothing(count, inputs, dtype) if first else x[self.batch]
        self.x = Memory(padded(np.vstack([before, room]), np.nan, self.lanes), **layout)
        self.y = Memory(nothing(slot + count, W.shape[1], dtype), **layout)
        # Inputs and outputs are parts of one array.
        self.values = np.concatenate([self.x.flat, self.y.flat])
        lists = compress_rows(x, x.size + LIST_SLACK)
        self.data = Data(np.ascontiguousarray(x), *lists)
        blocks = -(-inputs // sparse_affine.COLUMN_BLOCK)
        self.cursor = np.full((blocks + 1, slot + count), -(10**9))
        self.work = np.full(
            int(PANEL) + (max(W.shape) + self.lanes) * TILE_VECTORS * self.lanes + count,
            np.nan,
            dtype,
        )
        self.work[: int(GRADIENT)] = 0
        self.table = table_for(dtype)
        self.layer = Layer(
            **dict.fromkeys(Layer._fields, 0)
            | {
                "kind": KIND_CODES[kind],
                "number": 0 if first else 1,
                "inputs": inputs,
                "outputs": W.shape[1] if outputs is None else outputs,
                "vectors": W.shape[1] // self.lanes,
                "weights": self.params.at,
                "weights_row": self.params.row,
                "biases": self.params.at + len(W) * self.params.row,
                "x": self.x.at,
                "x_row": self.x.row,
                "y": self.x.flat.size + self.y.at,
                "y_row": self.y.row,
                "parts": self.table.address,
            }
        )
        calls = KINDS[kind].forward_parts(self.layer, True), KINDS[kind].update_parts(self.layer)
        for choice, number in (*calls[0], *calls[1]):
            self.table.have(choice, number)

    def network(self, layer):
        return Network(np.array([layer], np.int64), 0, self.params.flat)

    def rows(self, few=False, first=GATHER):
        share = np.empty(0, self.values.dtype)
        return Rows(
            self.batch, self.count, int(first), self.slot, 0, few, share, self.batch, self.count
        )

    def scratch(self, deltas=None):
        deltas = self.values if deltas is None else deltas
        return Scratch(self.values, deltas, self.work, self.cursor, np.empty(0))

    def forward(self, low=0, high=None, first=GATHER):
        """Outputs; only vectors low .. high of them are written."""
        high = self.layer.vectors if high is None else high
        network, rows = self.network(self.layer), self.rows(first=first)
        code, scratch = self.layer.kind, self.scratch()
        _forward(code, network, self.layer, self.data, rows, scratch, low, high)
        x, y = np.split(self.values, [self.x.flat.size])
        self.inputs = self._read(self.x, x)
        return self._read(self.y, y)

    def _read(self, memory, flat):
        memory.flat[:] = flat
        found = memory.read()
        assert np.isnan(found[: self.slot]).all(), "a kernel wrote outside of its rows"
        return found[self.slot :]

    def _deltas(self, D):
        """The layer with deltas, and their memory; its rows are those of the outputs."""
        D = Memory(np.vstack([nothing(self.slot, D.shape[1], D.dtype), D]), **self.layout)
        assert D.row == self.y.row
        return self.layer._replace(dz=D.at), D

    def backward(self, D, few=False, low=0, high=None):
        """Deltas of the inputs, in whole vectors; only those of `low` .. `high` are written."""
        layer, D = self._deltas(D)
        vectors = -(-layer.inputs // self.lanes)
        before = nothing(self.slot + self.count, vectors * self.lanes, D.flat.dtype)
        below = Memory(before, **self.layout)
        under = layer._replace(dz=D.flat.size + below.at, y_row=below.row, outputs=layer.inputs)
        deltas, high = np.concatenate([D.flat, below.flat]), vectors if high is None else high
        rows, scratch = self.rows(few), self.scratch(deltas)
        call = _backward_few if few else _backward
        call(layer.kind, self.network(layer), layer, under, rows, scratch, low, high)
        return self._read(below, deltas[D.flat.size :])

    def update(self, D, rule="store", few=False, share=None, **options):
        """The parameters and the memory after the update by ``x.T @ D`` of a share of the weights.

        Or of all that there is, biases too: their gradient is the sum of the rows of D.
        """
        layer, D = self._deltas(D)
        before = nothing(layer.inputs + 1, self.columns, D.flat.dtype)
        memory = Memory(before, **self.layout)
        how = rule_of(rule, memory.flat, **options)
        network, rows, scratch = self.network(layer), self.rows(few), self.scratch(D.flat)
        self.table.have(UPDATE_BLOCK, how.code)
        if share is None:
            self.table.have(layers.UPDATE_FEW if few else layers.UPDATE, layer.kind)
            _weight_sweep(0, 1, network, how, self.data, rows, scratch)
        else:
            call, chunk = _update_few if few else _update, Share(*share, False)
            call(layer.kind, network, layer, how, self.data, rows, scratch, chunk)
        return self.params.read(), memory.read()


# The first layer on sparse inputs ----------------------------------------------------------


def nonzeros_forward(x, W, b, batch=None, slot=0, **layout):
    """`slot` counts the rows of others, and their cursors, before these."""
    return OneLayer("sparse_affine", x, W, b, batch, slot, **layout).forward()


def nonzeros_backward(x, D, batch=None, rule="store", learning_rate=0, W=None, few=False, **layout):
    """The parameters and the memory after the update by ``x.T @ D``; `D` has whole vectors."""
    inputs, N = x.shape[1], D.shape[1]
    W = nothing(inputs, N, D.dtype) if W is None else W
    layer = OneLayer("sparse_affine", x, W, np.zeros(N, D.dtype), batch, **layout)
    layer.forward()
    params, memory = layer.update(D, rule, few, (0, 0, 0, 1), rate=learning_rate)
    assert np.isnan(memory[-1]).all(), "a kernel wrote what the biases remember"
    return params[:-1], memory[:-1]
