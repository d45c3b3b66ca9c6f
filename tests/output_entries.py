"""Outputs and losses of the last layer."""

import numpy as np
from kernel_entries import Memory, PartEntry, entry_of, nothing, padded

from fastnn.kernels import last_layer, losses, narrow_outputs
from fastnn.kernels.elementwise_losses import PAIR_CODES
from fastnn.kernels.groups import Layer, Rows, Targets, Wanted
from fastnn.kernels.losses import LOSS_CODES

# One row --------------------------------------------------------------------------------

_loss_forward = entry_of(losses.loss_forward)
_loss_backward = entry_of(losses.loss_backward)


def loss_forward(name, label, t, z, margin=0):
    """The outputs, in whole groups whose ends were NaN, and the loss; `t` has no padding."""
    Y, T = Memory(padded(z.reshape(1, -1), np.nan), margin), Memory(t.reshape(1, -1), margin)
    wanted = Wanted(label, *T.start, z[:0])
    total = _loss_forward(LOSS_CODES[name], z.size, wanted, Y.start)
    return Y.read()[0], total


def loss_backward(name, label, t, scale, y, margin=0):
    """All of ``dz``, padding included, for `y` as `loss_forward` returns it."""
    Y, T = Memory(y.reshape(1, -1), margin), Memory(t.reshape(1, -1), margin)
    D, scale = Memory(nothing(1, y.size, y.dtype), margin + 1), y.dtype.type(scale)
    wanted = Wanted(label, *T.start, y[:0])
    _loss_backward(LOSS_CODES[name], t.size, wanted, scale, Y.start, D.start)
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


def code_of(loss):
    """That of a loss by its name, or by its output and its name."""
    return PAIR_CODES[loss] if isinstance(loss, tuple) else LOSS_CODES[loss]


def outputs_forward(loss, Z, **layout):
    last = LastLayer(Z, **layout)
    _outputs(code_of(loss), last.layer, last.rows, last.y.flat, last.columns.start)
    return last.read()


def losses_of_rows(loss, batch, labels, T, Z, numbers=()):
    """Outputs and losses."""
    last, row_loss, scale = LastLayer(Z, batch), np.full(len(Z), np.nan), Z.dtype.type(0)
    where = last.y.flat, nothing(1, 1, Z.dtype)[0], last.columns.start
    targets = Targets(labels, T, np.array(numbers, Z.dtype))
    _losses(code_of(loss), last.layer, targets, last.rows, *where, row_loss, scale, False)
    return last.read(), row_loss


def deltas_of_rows(loss, batch, labels, T, Z, scale, share=None, numbers=()):
    """``dz`` of rows, padding included, and losses."""
    last, row_loss, scale = LastLayer(Z, batch, share), np.full(len(Z), np.nan), Z.dtype.type(scale)
    D = Memory(nothing(*padded(Z).shape, Z.dtype), margin=3, gap=5)
    targets = Targets(labels, T, np.array(numbers, Z.dtype))
    where, layer = (last.y.flat, D.flat, last.columns.start), last.layer._replace(dz=D.at)
    _losses(code_of(loss), layer, targets, last.rows, *where, row_loss, scale, True)
    last.read()
    return D.read(), row_loss
