"""Affine layers, ``x @ W + b``, on dense inputs."""

from typing import NamedTuple

from fastnn.compiler.groups import Floats
from fastnn.compiler.jit import inner
from fastnn.compiler.tile_products import Matrix
from fastnn.compiler.tiles import (
    VECTOR_BYTES,
    flat,
    lanes_of,
    load,
    load_first,
    prefetch,
    store,
)
from fastnn.kernels.groups import (
    ANOTHER,
    GATHER,
    GRADIENT,
    GRADIENT_ROWS,
    ONE,
    PANEL,
    ZERO,
    Data,
    Layer,
    Network,
    Place,
    Rows,
    Rule,
    Scratch,
    Share,
    biases_of,
    deltas_of,
    inputs_of,
    outputs_of,
    parts_of,
    rows_at,
    shifted,
    transposed,
    weights_of,
)
from fastnn.kernels.products import (
    MULTIPLY,
    add_block,
    column_sums,
    multiply_few,
    multiply_transposed,
    multiply_transposed_few,
)
from fastnn.kernels.rules import SGD, update_block

# Rows of data are asked for so long before they are copied; after so many columns the processor's
# own prefetcher follows.
AHEAD, AHEAD_COLUMNS = 8, 256
# Vectors of a row of weights whose gradient is summed together, GRADIENT_ROWS rows of them.
WEIGHT_VECTORS = 1024 // VECTOR_BYTES
# Those that are updated together.  Pieces of rows of 1024 weights, each in a page of its own, take
# three times as long as whole rows, with SGD as with Adam; but dz is then read anew for each block
# of weights, and of 512 rows of 1024 that costs as much.
UPDATE_VECTORS, UPDATE_BATCH = 4096 // VECTOR_BYTES, 256
# Rows of a batch whose gradient is one sum; sums of more are added up.  A single chain of 3,000,000
# float32 terms was wrong by 3e-3, as each is rounded to the sum so far.
SUM_ROWS = 16384


@inner
def forward(
    network: Network, layer: Layer, data: Data, rows: Rows, scratch: Scratch, low: int, high: int
):
    """Inputs z of the activation, vectors low .. high of them."""
    lanes = lanes_of(network.params)
    column, columns = low * lanes, (high - low) * lanes
    z = shifted(outputs_of(layer, scratch.values, rows.slot), ZERO, column)
    x, W = _inputs(layer, data, rows, scratch.values), weights_of(network, layer)
    biases = shifted(biases_of(network, layer), ZERO, column)
    W = shifted(W, ZERO, column)
    MULTIPLY(parts_of(network), 0, (rows.count, columns, layer.inputs, x, W, biases, z))


@inner
def _inputs(layer, data, rows, values):
    """The layer's inputs: of the first layer rows of data, copied first if they lie anywhere."""
    if layer.number == 0 and rows.first != GATHER:
        return rows_at(flat(data.x), rows.first * layer.inputs, layer.inputs)
    x = inputs_of(layer, values, rows.slot)
    if layer.number == 0:
        gather(data.x, rows.numbers, x)
    return x


@inner(separate=True)
def gather(x, numbers, out):
    """Copy rows of x side by side."""
    X, inputs = flat(x), x.shape[1]
    lanes = lanes_of(X)
    whole = inputs - inputs % lanes
    for r in range(numbers.size):
        if r + AHEAD < numbers.size:  # rows lie anywhere in memory
            ahead = numbers[r + AHEAD] * inputs
            for i in range(0, min(inputs, AHEAD_COLUMNS), 64 // X.itemsize):
                prefetch(X, ahead + i)
        row, to = numbers[r] * inputs, out.at + r * out.row
        for i in range(0, whole, lanes):
            store(out.array, to + i, load(X, row + i))
        if whole < inputs:
            store(out.array, to + whole, load_first(X, row + whole, inputs - whole, 1))


class _Backward(NamedTuple):
    """The product ``dy = dz @ W.T``, some columns of it."""

    columns: int
    dz: Matrix
    weights: Matrix
    dy: Matrix


@inner
def _backward_of(network, layer, below, rows, scratch, low, high):
    column = low * lanes_of(network.params)
    columns = min(layer.inputs, high * lanes_of(network.params)) - column
    dz = deltas_of(layer, scratch.deltas, rows.slot)
    dy = shifted(deltas_of(below, scratch.deltas, rows.slot), ZERO, column)
    return _Backward(columns, dz, shifted(weights_of(network, layer), column, ZERO), dy)


@inner
def backward(
    network: Network, layer: Layer, below: Layer, rows: Rows, scratch: Scratch, low: int, high: int
):
    """Write dy of the layer below, vectors low .. high of it."""
    columns, dz, weights, dy = _backward_of(network, layer, below, rows, scratch, low, high)
    zeros = rows_at(scratch.work, ZERO, ZERO)
    parts, panel = parts_of(network), Place(scratch.work, PANEL)
    multiply_transposed(parts, rows.count, columns, layer.outputs, dz, weights, zeros, dy, panel)


@inner
def backward_few(
    network: Network, layer: Layer, below: Layer, rows: Rows, scratch: Scratch, low: int, high: int
):
    """`backward` for few rows."""
    columns, dz, weights, dy = _backward_of(network, layer, below, rows, scratch, low, high)
    multiply_transposed_few(rows.count, columns, layer.outputs, dz, weights, dy)


@inner
def shared_rows(layer):
    """How many rows of weights are shared out with those of other layers."""
    return layer.inputs


@inner
def update_few(
    network: Network,
    layer: Layer,
    rule: Rule,
    data: Data,
    rows: Rows,
    scratch: Scratch,
    share: Share,
):
    """`update` for few rows."""
    x = transposed(inputs_of(layer, scratch.values, ZERO))  # of the first layer, as copied forwards
    for i in range(share.low, share.high):
        update_row_of_few(network, layer, rule, rows, scratch, i, shifted(x, i, ZERO))


@inner
def update(
    network: Network,
    layer: Layer,
    rule: Rule,
    data: Data,
    rows: Rows,
    scratch: Scratch,
    share: Share,
):
    """Gradient and update of rows ``share.low .. share.high`` of the weights."""
    x = transposed(inputs_of(layer, scratch.values, rows.slot))  # of the first as copied forwards
    lanes, dz = lanes_of(network.params), deltas_of(layer, scratch.deltas, rows.slot)
    weights = weights_of(network, layer)
    most = UPDATE_VECTORS if rows.count <= UPDATE_BATCH else WEIGHT_VECTORS
    for first in range(0, layer.vectors, most):
        end = min(first + most, layer.vectors)
        gradient = rows_at(scratch.work, GRADIENT, (end - first) * lanes)
        for i in range(share.low, share.high, GRADIENT_ROWS):
            height = min(GRADIENT_ROWS, share.high - i)
            for v in range(first, end, WEIGHT_VECTORS):
                width = min(WEIGHT_VECTORS, end - v) * lanes
                _sum_products(
                    parts_of(network),
                    height,
                    width,
                    rows.count,
                    shifted(x, i, ZERO),
                    shifted(dz, ZERO, v * lanes),
                    scratch.work,
                    shifted(gradient, ZERO, (v - first) * lanes),
                )
            to = shifted(weights, i, first * lanes)
            update_block(network, rule, height, gradient.row, gradient, to)


@inner
def gradient(network: Network, layer: Layer, rows: Rows, scratch: Scratch, out: Floats):
    """The gradient of all weights over some rows, of which there are few, laid out like them."""
    x = transposed(inputs_of(layer, scratch.values, rows.slot))
    lanes, dz = lanes_of(scratch.work), deltas_of(layer, scratch.deltas, rows.slot)
    zeros = rows_at(scratch.work, ZERO, ZERO)
    for v in range(0, layer.vectors, WEIGHT_VECTORS):
        width = min(WEIGHT_VECTORS, layer.vectors - v) * lanes
        right = shifted(dz, ZERO, v * lanes)
        to = rows_at(out, layer.weights + v * lanes, layer.weights_row)
        arguments = (layer.inputs, width, rows.count, x, right, zeros, to)
        MULTIPLY(parts_of(network), 0, arguments)


@inner
def _sum_products(parts, rows, columns, depth, left, right, work, out):
    """``out = left @ right``, sums of more than SUM_ROWS terms added up from shorter ones."""
    zeros, another = rows_at(work, ZERO, ZERO), rows_at(work, ANOTHER, columns)
    for k in range(0, max(depth, 1), SUM_ROWS):  # of no rows the sum is zero
        some, to = min(depth - k, SUM_ROWS), out if k == 0 else another
        terms = shifted(left, ZERO, k), shifted(right, k, ZERO)
        MULTIPLY(parts, 0, (rows, columns, some, terms[0], terms[1], zeros, to))
        if k > 0:
            add_block(rows, columns, another, out)


@inner
def update_biases(network, layer, rule, batch, scratch):
    """Gradient and update of the biases."""
    rows, lanes = batch.count, lanes_of(network.params)
    for v in range(0, layer.vectors, WEIGHT_VECTORS):
        columns = min(WEIGHT_VECTORS, layer.vectors - v) * lanes
        dz = shifted(deltas_of(layer, scratch.deltas, batch.slot), ZERO, v * lanes)
        gradient = rows_at(scratch.work, GRADIENT, columns)
        another = rows_at(scratch.work, ANOTHER, columns)
        column_sums(min(rows, SUM_ROWS), columns, dz, gradient)
        for r in range(SUM_ROWS, rows, SUM_ROWS):
            column_sums(min(rows - r, SUM_ROWS), columns, shifted(dz, r, ZERO), another)
            add_block(ONE, columns, another, gradient)
        biases = shifted(biases_of(network, layer), ZERO, v * lanes)
        update_block(network, rule, ONE, columns, gradient, biases)


@inner(forceinline=True)
def update_row_of_few(network, layer, rule, rows, scratch, row, x):
    """Gradient and update of a row of W for few samples, whose inputs there are a row of x."""
    moves = rule.code != SGD or rule.decay != 0  # or a gradient of zero moves nothing
    for k in range(rows.count):
        moves |= x.array[x.at + k * x.column] != 0
    if not moves:
        return
    lanes, dz = lanes_of(network.params), deltas_of(layer, scratch.deltas, ZERO)
    for v in range(0, layer.vectors, UPDATE_VECTORS):
        columns = min(UPDATE_VECTORS, layer.vectors - v) * lanes
        gradient = rows_at(scratch.work, GRADIENT, columns)
        multiply_few(columns, rows.count, x, shifted(dz, ZERO, v * lanes), gradient)
        to = shifted(weights_of(network, layer), row, v * lanes)
        update_block(network, rule, ONE, columns, gradient, to)


def forward_parts(layer, by_columns):
    """What `forward` calls, and `backward`."""
    return [(MULTIPLY, 0)]


def update_parts(layer):
    """What `update` calls."""
    return [(MULTIPLY, 0)]
