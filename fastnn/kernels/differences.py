"""Numerical gradients: central differences of the loss, recomputing only what a weight reaches.

A weight of unit o in layer l changes z of that unit, and so one multiple of row
o of the next layer's weights in the next layer's z; only layers behind those
are multiplied anew, for many changes at a time.  A row whose input to the
weight is zero, or whose unit does not answer to the change (ReLU below zero),
keeps its loss.  On the first three images of MNIST, with sigmoid, 784-50-10 is
left with 49,560 of the brute force's 238,560 losses, most of them of the last
layer alone.
"""

from typing import Any, NamedTuple

from fastnn.compiler.arithmetic import fma, lane_max
from fastnn.compiler.jit import inner
from fastnn.compiler.launch import chunked
from fastnn.compiler.tiles import element, lanes_of, like, load, splat, store
from fastnn.kernels.activations import IDENTITY, activate
from fastnn.kernels.elementary import log
from fastnn.kernels.groups import (
    ZERO,
    Network,
    Place,
    Targets,
    biases_of,
    inputs_of,
    last_layer,
    layer_of,
    outputs_of,
    wanted_of,
    weights_of,
)
from fastnn.kernels.losses import loss_forward
from fastnn.kernels.products import multiply

# Changes that go through the last layers together.
CHANGES = 48


class Asked(NamedTuple):
    """Which differences are wanted."""

    h: float
    added: float  # with cross entropy, to the probability in the logarithm
    first: int  # rows first .. first + count of the data
    count: int
    begin: int  # inputs begin .. end of all layers, biases counted as inputs of 1
    end: int


class Tried(NamedTuple):
    """Scratch: what is known of some rows, and of changes that are tried.  A row for each chunk."""

    values: Any  # outputs y of all layers
    before: Any  # their z
    block: Any  # z and y of the layers behind a change, a row for each of CHANGES
    change: Any  # what a step of each weight does to its unit
    units: Any  # of the changes in the block
    usual: Any  # losses without a change


class Change(NamedTuple):
    """A step of all weights from one input of a layer, and the row of data it is tried on."""

    number: int  # of the layer
    input: int
    x: Any  # what the row has there
    row: int
    step: Any


@inner(separate=True)
def _activate(code, rows, columns, y):
    """Outputs in place of inputs z, so many rows of so many whole vectors."""
    if code == IDENTITY:
        return
    for r in range(rows):
        for n in range(0, columns, lanes_of(y.array)):
            at = y.at + r * y.row + n
            store(y.array, at, activate(code, load(y.array, at)))


@inner
def _forward(network, x, asked, tried):
    """Rows of x through all layers."""
    values, before = tried.values, tried.before
    for number in range(network.plan.shape[0]):
        layer = layer_of(network, number)
        if number == 0:
            for r in range(asked.count):
                for i in range(layer.inputs):
                    values[layer.x + r * layer.x_row + i] = x[asked.first + r, i]
        columns = layer.vectors * lanes_of(values)
        y = outputs_of(layer, values, ZERO)
        multiply(
            asked.count,
            columns,
            layer.inputs,
            inputs_of(layer, values, ZERO),
            weights_of(network, layer),
            biases_of(network, layer),
            outputs_of(layer, before, ZERO),
        )
        for i in range(layer.y, layer.y + asked.count * layer.y_row):
            values[i] = before[i]
        _activate(layer.activation, asked.count, columns, y)


@inner
def _weights_of(network, change):
    """Where the weights from the input lie; for the one behind the last, the biases."""
    layer = layer_of(network, change.number)
    return layer.weights + change.input * layer.weights_row


@inner(forceinline=True)
def _change_units(network, change, tried):
    """What the step of each weight does to its unit: to y, in the last layer to z."""
    params, layer = network.params, layer_of(network, change.number)
    weights, y = _weights_of(network, change), layer.y + change.row * layer.y_row
    for n in range(0, layer.outputs, lanes_of(params)):
        weight, z = load(params, weights + n), load(tried.before, y + n)
        moved = fma((weight + like(z, change.step)) - weight, like(z, change.x), z)
        if change.number == network.plan.shape[0] - 1:
            store(tried.change, n, moved - z)
        else:
            difference = activate(layer.activation, moved) - load(tried.values, y + n)
            store(tried.change, n, difference)


@inner(forceinline=True)
def _reach(network, behind, change, unit, k, tried):
    """Row k of the block: the first z behind a unit's change, as it was plus what is added."""
    params, amount, last = network.params, tried.change[unit], network.plan.shape[0] - 1
    layer = layer_of(network, min(change.number + 1, last))
    there = layer_of(behind, min(change.number + 1, last))
    z, at = layer.y + change.row * layer.y_row, there.y + k * there.y_row
    for n in range(0, layer.outputs, lanes_of(params)):
        total = load(tried.before, z + n)
        if change.number < last:
            weight = load(params, layer.weights + unit * layer.weights_row + n)
            total = fma(like(total, amount), weight, total)
        store(tried.block, at + n, total)
    if change.number == last:
        tried.block[at + unit] += amount


@inner
def _finish(behind, number, rows, block):
    """Send rows of the block from the z behind a layer to the last layer's z."""
    for after in range(number + 1, behind.plan.shape[0]):
        layer = layer_of(behind, after)
        columns, y = layer.vectors * lanes_of(block), outputs_of(layer, block, ZERO)
        if after > number + 1:
            multiply(
                rows,
                columns,
                layer.inputs,
                inputs_of(layer, block, ZERO),
                weights_of(behind, layer),
                biases_of(behind, layer),
                y,
            )
        _activate(layer.activation, rows, columns, y)


@inner(forceinline=True)
def _loss(network, added, wanted, y):
    """`loss_forward`; if something is `added` to y in the logarithm, ``-log(y + added)``."""
    found = loss_forward(network.loss, last_layer(network).outputs, wanted, y)
    if added > 0:
        return -lane_max(log(splat(y.array[y.at + wanted.label] + added, 1)))
    return found


@inner(forceinline=True)
def _add_losses(behind, asked, targets, change, rows, tried, gradient):
    """Add the losses of the block, beyond the usual one, to the gradients of their units."""
    last, row = last_layer(behind), asked.first + change.row
    wanted, usual = wanted_of(targets, row, last.outputs), tried.usual[change.row]
    sign, at = 1.0 if change.step > 0 else -1.0, _weights_of(behind, change)
    for k in range(rows):
        y = Place(tried.block, last.y + k * last.y_row)
        found = _loss(behind, asked.added, wanted, y)
        gradient[at + tried.units[k]] += sign * (found - usual)


@inner
def _try_change(network, behind, asked, targets, change, tried, gradient):
    """Add what a change does to the loss of a row to the gradients of the weights that change."""
    _change_units(network, change, tried)
    units, k = layer_of(network, change.number).outputs, 0
    for unit in range(units):
        if tried.change[unit] != 0:
            _reach(network, behind, change, unit, k, tried)
            tried.units[k] = unit
            k += 1
        if k == CHANGES or (unit == units - 1 and k > 0):
            _finish(behind, change.number, k, tried.block)
            _add_losses(behind, asked, targets, change, k, tried, gradient)
            k = 0


@inner
def _losses_without_a_change(network, behind, asked, targets, tried):
    layer, there = last_layer(network), last_layer(behind)
    for r in range(asked.count):
        for o in range(layer.y_row):
            tried.block[there.y + o] = tried.before[layer.y + r * layer.y_row + o]
        wanted = wanted_of(targets, asked.first + r, layer.outputs)
        tried.usual[r] = _loss(behind, asked.added, wanted, Place(tried.block, there.y))


@inner
def _of_chunk(tried, chunk):
    return Tried(
        tried.values[chunk],
        tried.before[chunk],
        tried.block[chunk],
        tried.change[chunk],
        tried.units[chunk],
        tried.usual[chunk],
    )


@chunked
def differences(
    chunk,
    chunks,
    network: Network,
    behind: Network,
    asked: Asked,
    x,
    targets: Targets,
    tried: Tried,
    gradient,
):
    """A chunk's share of inputs ``begin .. end`` of all layers, biases counted as inputs of 1.

    Adds to `gradient` the sums over the rows of ``loss(w + h) - loss(w - h)``.  `behind` is the
    same network with the plan of the block of changes.
    """
    mine = _of_chunk(tried, chunk)
    _forward(network, x, asked, mine)
    _losses_without_a_change(network, behind, asked, targets, mine)
    # Neighbours are dealt in turn: the inputs in the middle of an image have more nonzeros.
    number, lower = 0, 0
    for u in range(asked.begin + chunk, asked.end, chunks):
        while u - lower > layer_of(network, number).inputs:
            lower += layer_of(network, number).inputs + 1
            number += 1
        layer, i = layer_of(network, number), u - lower
        for r in range(asked.count):
            x = network.params.dtype.type(1)
            if i < layer.inputs:
                x = element(mine.values, layer.x + r * layer.x_row + i)
            if x != 0:
                for step in (asked.h, -asked.h):
                    change = Change(number, i, x, r, step)
                    _try_change(network, behind, asked, targets, change, mine, gradient)
