"""Kinds of layers: what the sweeps ask of a layer stands in one file for each.

A kind answers these, for rows of data or of a batch (`Rows`), and writes only where said:

forward(network, layer, data, rows, scratch, low, high)
    Inputs z of the activation, vectors low .. high of them, to ``scratch.values``.
backward(network, layer, below, rows, scratch, low, high)
    dy of the layer below, vectors low .. high of it, to ``scratch.deltas``; never asked of a
    kind that is only the first.
shared_rows(layer)
    How many rows of its weights are shared out among chunks with those of all other layers.
update(network, layer, rule, data, rows, scratch, share)
    Gradient and update of a `Share` of its weights, by `rules.update_block`.

What belongs to every kind is here: activation and dropout, forwards and back.  Biases are in
`weights`.  A kind's row of the plan, and its scratch, are made in `fastnn.training.parameters`.
"""

from collections.abc import Callable
from typing import NamedTuple

from fastnn.compiler.choice import one_of
from fastnn.compiler.jit import inner
from fastnn.compiler.tiles import lanes_of
from fastnn.kernels.activations import activation_backward, activation_forward
from fastnn.kernels.dropout import dropout_backward, dropout_forward
from fastnn.kernels.groups import ZERO, deltas_of, outputs_of, shifted
from fastnn.kernels.layers import affine, sparse_affine


class Kind(NamedTuple):
    """A row of the table."""

    forward: Callable
    backward: Callable | None
    shared_rows: Callable
    update: Callable
    fused: bool  # whether `samples` and `differences`, which fuse layers, know it


KINDS = {
    "affine": Kind(affine.forward, affine.backward, affine.shared_rows, affine.update, True),
    "sparse_affine": Kind(
        sparse_affine.forward, None, sparse_affine.shared_rows, sparse_affine.update, True
    ),
}
# By which kernels know them.
KIND_CODES = {name: code for code, name in enumerate(KINDS)}
AFFINE, SPARSE_AFFINE = KIND_CODES["affine"], KIND_CODES["sparse_affine"]

_forward = one_of(dict(enumerate(kind.forward for kind in KINDS.values())))
_backward = one_of({KIND_CODES[name]: k.backward for name, k in KINDS.items() if k.backward})
_shared_rows = one_of(dict(enumerate(kind.shared_rows for kind in KINDS.values())))
_update = one_of(dict(enumerate(kind.update for kind in KINDS.values())))


@inner
def layer_forward(network, layer, data, rows, scratch, low, high):
    """Vectors low .. high of a layer's outputs."""
    _forward(layer.kind, (network, layer, data, rows, scratch, low, high))
    lanes = lanes_of(network.params)
    y = shifted(outputs_of(layer, scratch.values, rows.slot), ZERO, low * lanes)
    activation_forward(layer.activation, rows.count, (high - low) * lanes, y)
    if layer.dropped > 0:
        dropout_forward(layer, rows, low * lanes, min(layer.outputs, high * lanes), y)


@inner
def layer_backward(network, layer, below, rows, scratch, low, high):
    """Deltas of vectors low .. high of a layer's inputs, which are the outputs of that below."""
    _backward(layer.kind, (network, layer, below, rows, scratch, low, high))
    lanes = lanes_of(network.params)
    y = shifted(outputs_of(below, scratch.values, rows.slot), ZERO, low * lanes)
    dy = shifted(deltas_of(below, scratch.deltas, rows.slot), ZERO, low * lanes)
    if below.dropped > 0:
        dropout_backward(below, rows, low * lanes, min(below.outputs, high * lanes), y, dy)
    else:
        activation_backward(below.activation, rows.count, (high - low) * lanes, y, dy)


@inner
def shared_rows(layer):
    """Rows of a layer's weights that are shared out with those of other layers."""
    return _shared_rows(layer.kind, (layer,))


@inner
def update_weights(network, layer, rule, data, rows, scratch, share):
    """Gradient and update of a share of a layer's weights, but for the biases."""
    _update(layer.kind, (network, layer, rule, data, rows, scratch, share))
