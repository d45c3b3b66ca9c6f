"""Per-sample gradient descent: forward, backward and update fused, one row at a time.

A step on one row of a small network is too short to share, and even for calls:
with all that it calls inlined a step of 1-3-1 takes half as long.  It is the same arithmetic as
the sweeps make with a batch of one row, in the same order, so the same bits
(tests/test_bits.py).
"""

from typing import Any, NamedTuple

import numpy as np

from fastnn.compiler.arithmetic import fma
from fastnn.compiler.groups import read_group
from fastnn.compiler.jit import inner
from fastnn.compiler.launch import chunked
from fastnn.compiler.tile_products import add_product, add_products_of_rows
from fastnn.compiler.tiles import (
    broadcast_like,
    element,
    flat,
    lanes_of,
    like,
    load,
    load_row,
    splat,
    store,
)
from fastnn.kernels.activations import activate, slope
from fastnn.kernels.epochs import SCALE, STEPS, note_step
from fastnn.kernels.groups import (
    ONE,
    Batches,
    Data,
    Network,
    Place,
    Record,
    Rule,
    Targets,
    last_layer,
    layer_of,
    wanted_of,
)
from fastnn.kernels.layers import SPARSE_AFFINE
from fastnn.kernels.losses import loss_backward, loss_forward
from fastnn.kernels.rules import STORE, RateAndDecay, of_step, update, without_decay

# Vectors of outputs that a wide layer sums together.
WIDE = 4


class Inputs(NamedTuple):
    """What a layer gets for one row: ``array[at : at + count]``."""

    array: Any
    at: int
    count: int
    column: Any  # of each of them, if zeros are left out
    sparse: bool


@inner(forceinline=True)
def _row_of(data, row, first):
    """A row of the data, as inputs of the first layer."""
    if first.kind == SPARSE_AFFINE:
        at, end = data.bounds[row, 0], data.bounds[row, 1]
        return Inputs(data.value, at, end - at, data.column, True)
    return Inputs(flat(data.x), row * first.inputs, first.inputs, data.column, False)


@inner(forceinline=True)
def _inputs_of(layer, data, values):
    """The inputs of a layer behind the first."""
    return Inputs(values, layer.x, layer.inputs, data.column, False)


@inner(forceinline=True)
def _column(inputs, e):
    """The place of an input among all."""
    return int(element(inputs.column, e)) if inputs.sparse else e - inputs.at


@inner(forceinline=True)
def _sums(vectors, column, network, layer, inputs):
    """Sums z of one layer for one row, some vectors of them from a column on."""
    params, w, w_row = network.params, layer.weights + column, layer.weights_row
    total = load_row(params, layer.biases + column, vectors)
    if inputs.sparse:
        for e in range(inputs.at, inputs.at + inputs.count):
            at = w + element(inputs.column, e) * w_row
            total = add_product(total, inputs.array, e, params, at)
    else:
        for k in range(inputs.count):
            total = add_product(total, inputs.array, inputs.at + k, params, w + k * w_row)
    return total


@inner(forceinline=True)
def _forward(network, layer, inputs, values):
    """One layer for one row."""
    lanes = lanes_of(values)
    # Several vectors at once where there are as many, or each product waits for the one before.
    wide = layer.outputs // (WIDE * lanes) * WIDE * lanes
    for n in range(0, wide, WIDE * lanes):
        store(values, layer.y + n, _sums(WIDE, n, network, layer, inputs))
    for n in range(0, layer.outputs, lanes):
        z = load(values, layer.y + n) if n < wide else _sums(1, n, network, layer, inputs)
        store(values, layer.y + n, activate(layer.activation, z))


@inner(forceinline=True)
def _deltas(network, layer, below, values, deltas):
    """Deltas of the layer below, for one row."""
    params, inputs, lanes = network.params, layer.inputs, lanes_of(values)
    if inputs % lanes:  # the padding, which updates of the layer below read
        zero = splat(params.dtype.type(0), 1)
        store(deltas, below.dz + inputs - inputs % lanes, zero)
    if lanes > inputs:
        for k in range(inputs):
            total, w = params.dtype.type(0), layer.weights + k * layer.weights_row
            for o in range(layer.outputs):
                total = fma(element(deltas, layer.dz + o), element(params, w + o), total)
            deltas[below.dz + k] = total
        dy = load(deltas, below.dz)
        store(deltas, below.dz, dy * slope(below.activation, load(values, below.y)))
        return
    for i in range(0, inputs, lanes):
        k = min(i, inputs - lanes)  # the last rows overlap the ones before
        y, w = load(values, below.y + k), layer.weights + k * layer.weights_row
        dy = like(y, 0)
        for o in range(0, layer.outputs, lanes):  # the padding is zero on both sides
            dy = add_products_of_rows(dy, deltas, layer.dz + o, params, w + o, layer.weights_row)
        store(deltas, below.dz + k, dy * slope(below.activation, y))


@inner(forceinline=True)
def _update(network, layer, inputs, rule, deltas):
    """Update of one layer for one row."""
    lanes, of_biases = lanes_of(deltas), without_decay(rule)
    for n in range(0, layer.outputs, lanes):
        dz = load(deltas, layer.dz + n)
        for e in range(inputs.at, inputs.at + inputs.count):
            g = fma(broadcast_like(inputs.array, e, dz), dz, like(dz, 0))
            at = layer.weights + _column(inputs, e) * layer.weights_row + n
            update(rule, g, network.params, at)
    for n in range(0, layer.outputs, lanes):
        dz = load(deltas, layer.dz + n)
        update(of_biases, like(dz, 0) + dz, network.params, layer.biases + n)


@chunked
def train_one_by_one(
    chunk,
    chunks,
    network: Network,
    rule: Rule,
    data: Data,
    targets: Targets,
    batches: Batches,
    values,
    deltas,
    record: Record,
):
    """A step on each of the rows ``batches.index``, one after the other; see `train.train`.

    Chunk 0 makes all of them.  Compressed inputs leave the weights of zeros alone, so the rule must
    be one that a zero gradient does not move: plain descent without weight decay.
    """
    if chunk > 0:
        return
    layers, last, done = network.plan.shape[0], last_layer(network), record.done
    watch, one = record.watch[0], network.params.dtype.type(1)
    first, y, dz = layer_of(network, 0), Place(values, last.y), Place(deltas, last.dz)
    for s in range(batches.index.size):
        row = batches.index[s]
        inputs = _row_of(data, row, first)
        _forward(network, first, inputs, values)
        for number in range(1, layers):
            layer = layer_of(network, number)
            _forward(network, layer, _inputs_of(layer, data, values), values)
        wanted = wanted_of(targets, row, last.outputs)
        row_loss = loss_forward(network.loss, last.outputs, wanted, y)
        record.step_loss[s], ends = row_loss, False
        if watch[STEPS]:
            record.step_loss[s] = row_loss * watch[SCALE]
            ends = note_step(watch, record.epoch_loss, record.step_loss[s], ONE, True)
        done[0], done[1] = s + np.isfinite(row_loss), s + 1
        if not np.isfinite(row_loss) and rule.code != STORE:  # a gradient is what it is
            return
        loss_backward(network.loss, last.outputs, wanted, one, y, dz)
        now = of_step(rule, read_group(RateAndDecay, batches.rates, s))
        for number in range(layers - 1, 0, -1):
            layer = layer_of(network, number)
            _deltas(network, layer, layer_of(network, number - 1), values, deltas)
            _update(network, layer, _inputs_of(layer, data, values), now, deltas)
        _update(network, first, inputs, now, deltas)
        if ends:
            return
