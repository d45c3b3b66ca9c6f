"""The sweep over weights: gradients and updates, shared out in equal parts.

A block of one layer's weights sums its gradient over the batch and is updated on the spot; blocks
are independent, and no sum crosses a thread.
"""

from fastnn.compiler.arithmetic import fma, lane_sum
from fastnn.compiler.groups import Doubles
from fastnn.compiler.jit import inner
from fastnn.compiler.parts import Choice
from fastnn.compiler.tiles import GROUP, lanes_of, load_first, splat
from fastnn.kernels.groups import (
    ONE,
    ZERO,
    Network,
    Share,
    has_weights,
    layer_of,
    rows_at,
    share_of,
    weights_of,
)
from fastnn.kernels.layers import IMAGES, shared_rows, update_weights
from fastnn.kernels.layers.affine import update_biases
from fastnn.kernels.places import Places
from fastnn.kernels.rules import update_block, without_decay

# Rows of weights that stay together when chunks share them out; biases count as so many.
ROWS_TOGETHER = BIAS_ROWS = ONE * 4


@inner
def number_of_weights(network):
    """Weights of all layers, without biases."""
    weights = ZERO
    for number in range(network.plan.shape[0]):
        layer = layer_of(network, number)
        weights += layer.inputs * layer.outputs
    return weights


@inner
def _first_row(cost, rows, vectors):
    """First row of a layer for the chunk that begins so many vectors after it begins."""
    unit = ROWS_TOGETHER * vectors
    return min(max(cost + unit - 1, 0) // unit * ROWS_TOGETHER, rows)


@inner
def weight_sweep(part, parts, network, rule, data, batch, scratch):
    """A part of all weights: gradient and update.

    Weights that layers share out, and biases, stand in one row,
    of which all take equal parts: single layers may be too small to be cut evenly.
    """
    total = ZERO
    for number in range(network.plan.shape[0]):
        layer = layer_of(network, number)
        if has_weights(layer):
            total += (shared_rows(layer) + BIAS_ROWS) * layer.vectors
    begin, end = share_of(total, part, parts)
    for number in range(network.plan.shape[0]):
        layer = layer_of(network, number)
        if not has_weights(layer):
            continue
        shared = shared_rows(layer)
        rows = shared + BIAS_ROWS
        low, high = _first_row(begin, rows, layer.vectors), _first_row(end, rows, layer.vectors)
        begin -= rows * layer.vectors
        end -= rows * layer.vectors
        if batch.few:  # a row costs more than its vectors, and any cut is even; biases alternate
            turn = part if number % 2 == 0 else parts - 1 - part
            low, high = share_of(rows, turn, parts)
        biases = low <= shared < high
        share = Share(low, min(high, shared), part, parts, biases)
        update_weights(network, layer, rule, data, batch, scratch, share)
        if biases and layer.kind < IMAGES:
            update_biases(network, layer, without_decay(rule), batch, scratch)


@inner
def update_from(gradient, part, parts, network, rule):
    """A part of the rows of all weights, and of the biases: the update by a gradient at hand."""
    for number in range(network.plan.shape[0]):
        layer = layer_of(network, number)
        rows, row = layer.inputs + 1, layer.weights_row  # the biases lie behind the weights
        first, end = share_of(rows if has_weights(layer) else 0, part, parts)
        for i in range(first, end):
            at = layer.weights + i * row
            how = rule if i < layer.inputs else without_decay(rule)
            weights = rows_at(network.params, at, ZERO)
            update_block(network, how, ONE, row, rows_at(gradient, at, ZERO), weights)


@inner
def squares_of_weights(part: int, parts: int, network: Network, squares: Doubles):
    """A part of the sums that the squares of all weights add up to; biases do not count.

    There are as many sums for any number of chunks, so the bits are the same.
    """
    first, end = share_of(squares.size, part, parts)
    for piece in range(first, end):
        squares[piece] = _squares(network, piece, squares.size)


@inner
def _squares(network, piece, pieces):
    lanes = GROUP * lanes_of(network.params)
    total = splat(network.params.dtype.type(0), GROUP)
    for number in range(network.plan.shape[0]):
        layer = layer_of(network, number)
        W = weights_of(network, layer)
        first, end = share_of(layer.inputs, piece, pieces)
        for i in range(first, end):
            for n in range(0, layer.outputs, lanes):
                row = load_first(W.array, W.at + i * W.row + n, layer.outputs - n, GROUP)
                total = fma(row, row, total)
    return lane_sum(total)


SQUARES_OF_WEIGHTS = Choice(Places.SQUARES_OF_WEIGHTS, {0: squares_of_weights})
