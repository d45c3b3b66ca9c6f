"""Kinds of layers: what the sweeps ask of a layer stands in one file for each.

A kind answers these, for rows of data or of a batch (`Rows`), and writes only where said:

forward(network, layer, data, rows, scratch, low, high)
    Inputs z of the activation, vectors low .. high of them, to ``scratch.values``.
backward(network, layer, below, rows, scratch, low, high), backward_few
    dy of the layer below, vectors low .. high of it, to ``scratch.deltas``; never asked of a
    kind that is only the first.
shared_rows(layer)
    How many rows of its weights are shared out among chunks with those of all other layers.
update(network, layer, rule, data, rows, scratch, share), update_few
    Gradient and update of a `Share` of its weights, by `rules.update_block`; kinds of images
    update biases, too.

Others named ``_few`` are asked for so few rows that reading and writing the weights is all that
counts.  All but `shared_rows` are parts, see `fastnn.compiler.parts`.

What belongs to every kind of rows is here: activation and dropout, forwards and back.  A kind's row
of the plan, and its scratch, are made in `fastnn.training.plan`.
"""

from collections.abc import Callable
from typing import NamedTuple

from fastnn.compiler.choice import one_of
from fastnn.compiler.jit import inner
from fastnn.compiler.parts import Choice
from fastnn.compiler.tiles import lanes_of
from fastnn.kernels import dropout
from fastnn.kernels.activations import activation_backward, activation_forward
from fastnn.kernels.groups import ZERO, deltas_of, layer_of, outputs_of, parts_of, shifted
from fastnn.kernels.layers import (
    affine,
    convolution,
    image_dropout,
    images,
    max_pool,
    sparse_affine,
)
from fastnn.kernels.places import Places


class Kind(NamedTuple):
    """A row of the table."""

    forward: Callable
    backward: Callable | None
    backward_few: Callable | None
    shared_rows: Callable
    update: Callable
    update_few: Callable
    forward_parts: Callable  # (layer, by_columns): choices and numbers that `forward` calls
    update_parts: Callable  # (layer): the same of `update`
    fused: bool  # whether `samples` and `differences`, which fuse layers, know it


def _without_weights(forward, backward):
    """A kind of images that only passes them on."""
    none, rows = images.no_parts, affine.shared_rows
    return Kind(forward, backward, None, rows, images.no_update, None, none, none, False)


KINDS = {
    "affine": Kind(
        affine.forward,
        affine.backward,
        affine.backward_few,
        affine.shared_rows,
        affine.update,
        affine.update_few,
        affine.forward_parts,
        affine.update_parts,
        True,
    ),
    "sparse_affine": Kind(
        sparse_affine.forward,
        None,
        None,
        sparse_affine.shared_rows,
        sparse_affine.update,
        sparse_affine.update_few,
        sparse_affine.forward_parts,
        sparse_affine.update_parts,
        True,
    ),
    "images": _without_weights(images.images_forward, None),
    "convolution": Kind(
        convolution.forward,
        convolution.backward,
        None,
        affine.shared_rows,
        convolution.update,
        None,
        convolution.forward_parts,
        convolution.update_parts,
        False,
    ),
    "max_pool": _without_weights(max_pool.forward, max_pool.backward),
    "image_dropout": _without_weights(image_dropout.forward, image_dropout.backward),
    "flatten": _without_weights(images.flatten_forward, images.flatten_backward),
}
# By which kernels know them.
KIND_CODES = {name: code for code, name in enumerate(KINDS)}
AFFINE, SPARSE_AFFINE = KIND_CODES["affine"], KIND_CODES["sparse_affine"]
# This one and those behind it in the table are of images.
IMAGES = KIND_CODES["images"]


def _choice(place, question):
    """The kinds' answers to a question, for those that have one."""
    answers = ((KIND_CODES[name], getattr(kind, question)) for name, kind in KINDS.items())
    return Choice(place, {code: answer for code, answer in answers if answer is not None})


FORWARD = _choice(Places.LAYER_FORWARD, "forward")
BACKWARD = _choice(Places.LAYER_BACKWARD, "backward")
BACKWARD_FEW = _choice(Places.LAYER_BACKWARD_FEW, "backward_few")
UPDATE = _choice(Places.LAYER_UPDATE, "update")
UPDATE_FEW = _choice(Places.LAYER_UPDATE_FEW, "update_few")

_shared_rows = one_of(dict(enumerate(kind.shared_rows for kind in KINDS.values())))


@inner
def layer_forward(network, layer, data, rows, scratch, low, high):
    """Vectors low .. high of a layer's outputs."""
    parts = parts_of(network)
    FORWARD(parts, layer.kind, (network, layer, data, rows, scratch, low, high))
    lanes = lanes_of(network.params)
    y = shifted(outputs_of(layer, scratch.values, rows.slot), ZERO, low * lanes)
    activation_forward(parts, layer.activation, rows.count, (high - low) * lanes, y)
    if layer.dropped > 0:
        units = low * lanes, min(layer.outputs, high * lanes)
        dropout.FORWARD(parts, 0, (layer, rows, units[0], units[1], y))


@inner
def layer_backward(network, layer, below, rows, scratch, low, high):
    """Deltas of vectors low .. high of a layer's inputs, which are the outputs of that below."""
    parts = parts_of(network)
    if rows.few:
        BACKWARD_FEW(parts, layer.kind, (network, layer, below, rows, scratch, low, high))
    else:
        BACKWARD(parts, layer.kind, (network, layer, below, rows, scratch, low, high))
    lanes = lanes_of(network.params)
    y = shifted(outputs_of(below, scratch.values, rows.slot), ZERO, low * lanes)
    dy = shifted(deltas_of(below, scratch.deltas, rows.slot), ZERO, low * lanes)
    if below.dropped > 0:
        units = low * lanes, min(below.outputs, high * lanes)
        dropout.BACKWARD(parts, 0, (below, rows, units[0], units[1], y, dy))
    else:
        columns = (high - low) * lanes
        activation_backward(parts, below.activation, rows.count, columns, y, dy)


@inner
def image_layers(network):
    """How many layers, the first of a network, pass on images in groups: up to "flatten"."""
    number = 0
    while layer_of(network, number).kind >= IMAGES:
        number += 1
    return number


@inner
def shared_rows(layer):
    """Rows of a layer's weights that are shared out with those of other layers."""
    return _shared_rows(layer.kind, (layer,))


@inner
def update_weights(network, layer, rule, data, rows, scratch, share):
    """Gradient and update of a share of a layer's weights, but for the biases."""
    arguments = (network, layer, rule, data, rows, scratch, share)
    if rows.few:
        UPDATE_FEW(parts_of(network), layer.kind, arguments)
    else:
        UPDATE(parts_of(network), layer.kind, arguments)
