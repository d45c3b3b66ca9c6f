"""Outputs and losses of the last layer."""

import numpy as np
from kernel_entries import Memory, entry_of, nothing, padded

from fastnn.kernels import losses, narrow_outputs
from fastnn.kernels.groups import Network, Targets, Wanted
from fastnn.kernels.losses import LOSS_CODES

# One row --------------------------------------------------------------------------------

_loss_forward = entry_of(losses.loss_forward)
_loss_backward = entry_of(losses.loss_backward)
_outputs_forward = entry_of(losses.outputs_forward)


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


def outputs_forward(name, Z, **layout):
    Y = Memory(padded(Z, np.nan), **layout)
    _outputs_forward(LOSS_CODES[name], *Z.shape, Y.matrix)
    return Y.read()[:, : Z.shape[1]]


# Many rows of few outputs -----------------------------------------------------------------

_is_narrow = entry_of(narrow_outputs.is_narrow)
_narrow_loss_forward = entry_of(narrow_outputs.narrow_loss_forward)
_narrow_outputs_forward = entry_of(narrow_outputs.narrow_outputs_forward)


def is_narrow(name, outputs):
    return _is_narrow(LOSS_CODES[name], outputs)


def _network(name, dtype):
    return Network(np.empty((0, 0), np.int64), LOSS_CODES[name], np.empty(0, dtype))


def narrow_loss_forward(name, batch, labels, T, Z):
    """Outputs and losses of as many rows as a vector has lanes."""
    Y, S = Memory(padded(Z, np.nan), margin=3, gap=5), _narrow_scratch(Z.dtype)
    network, targets, row_loss = (
        _network(name, Z.dtype),
        Targets(labels, T),
        np.full(len(Z), np.nan),
    )
    _narrow_loss_forward(network, Z.shape[1], targets, batch, Y.matrix, S.start, row_loss)
    S.read()
    return Y.read()[:, : Z.shape[1]], row_loss


def narrow_outputs_forward(name, Z):
    Y, S = Memory(padded(Z, np.nan), margin=3, gap=5), _narrow_scratch(Z.dtype)
    _narrow_outputs_forward(_network(name, Z.dtype), Z.shape[1], Y.matrix, S.start)
    S.read()
    return Y.read()[:, : Z.shape[1]]


def _narrow_scratch(dtype):
    return Memory(nothing(1, narrow_outputs.SCRATCH, dtype), margin=2)
