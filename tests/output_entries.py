"""Outputs and losses of the last layer."""

import numpy as np
from kernel_entries import Memory, PartEntry, entry_of, nothing, padded

from fastnn.kernels import last_layer, losses, narrow_outputs
from fastnn.kernels.groups import Layer, Rows, Targets, Wanted
from fastnn.kernels.losses import LOSS_CODES

# One row --------------------------------------------------------------------------------

_loss_forward = entry_of(losses.loss_forward)
_loss_backward = entry_of(losses.loss_backward)


def loss_forward(name, label, t, z, margin=0):
    """The outputs, in whole groups whose ends were NaN, and the loss; `t` has no padding."""
    Y, T = Memory(padded(z.reshape(1, -1), np.nan), margin), Memory(t.reshape(1, -1), margin)
    total = _loss_forward(LOSS_CODES[name], z.size, Wanted(label, *T.start), Y.start)
    return Y.read()[0], total


def loss_backward(name, label, t, scale, y, margin=0):
    """All of ``dz``, padding included, for `y` as `loss_forward` returns it."""
    Y, T = Memory(y.reshape(1, -1), margin), Memory(t.reshape(1, -1), margin)
    D, scale = Memory(nothing(1, y.size, y.dtype), margin + 1), y.dtype.type(scale)
    _loss_backward(LOSS_CODES[name], t.size, Wanted(label, *T.start), scale, Y.start, D.start)
    return D.read()[0]


# Many rows --------------------------------------------------------------------------------

_losses = PartEntry(last_layer.LOSSES_OF_ROWS)
_outputs = PartEntry(last_layer.OUTPUTS_OF_ROWS)


class LastLayer:
    """Rows of inputs of the last activation, with scratch around them."""

    def __init__(self, Z, batch=None, share=None, margin=3, gap=5):
        self.outputs, dtype = Z.shape[1], Z.dtype
        self.y = Memory(padded(Z, np.nan), margin, gap)
        self.columns = Memory(nothing(1, narrow_outputs.SCRATCH, dtype), margin=2)
        numbers = np.arange(len(Z)) if batch is None else batch
        share = np.empty(0, dtype) if share is None else share
        self.rows = Rows(numbers, len(Z), 0, 0, 0, False, share, numbers[:0], len(Z))
        fields = {"outputs": self.outputs, "y": self.y.at, "y_row": self.y.row}
        self.layer = Layer(**dict.fromkeys(Layer._fields, 0) | fields)

    def read(self):
        self.columns.read()
        return self.y.read()[:, : self.outputs]


def outputs_forward(name, Z, **layout):
    last = LastLayer(Z, **layout)
    _outputs(LOSS_CODES[name], last.layer, last.rows, last.y.flat, last.columns.start)
    return last.read()


def losses_of_rows(name, batch, labels, T, Z):
    """Outputs and losses."""
    last, row_loss, scale = LastLayer(Z, batch), np.full(len(Z), np.nan), Z.dtype.type(0)
    where = last.y.flat, nothing(1, 1, Z.dtype)[0], last.columns.start
    targets = Targets(labels, T)
    _losses(LOSS_CODES[name], last.layer, targets, last.rows, *where, row_loss, scale, False)
    return last.read(), row_loss


def deltas_of_rows(name, batch, labels, T, Z, scale, share=None):
    """``dz`` of rows, padding included, and losses."""
    last, row_loss, scale = LastLayer(Z, batch, share), np.full(len(Z), np.nan), Z.dtype.type(scale)
    D = Memory(nothing(*padded(Z).shape, Z.dtype), margin=3, gap=5)
    where, targets = (last.y.flat, D.flat, last.columns.start), Targets(labels, T)
    layer = last.layer._replace(dz=D.at)
    _losses(LOSS_CODES[name], layer, targets, last.rows, *where, row_loss, scale, True)
    last.read()
    return D.read(), row_loss
