"""The first layer on inputs that are mostly zero, such as images of digits.

A product skips the zeros: ``fma(0, w, s)`` is ``s``, so the bits are those of the dense product.
19 % of the pixels of MNIST are nonzero, which beats the dense product at the
peak of the machine.
"""

from typing import NamedTuple

from fastnn.compiler.arithmetic import fma
from fastnn.compiler.groups import Ints
from fastnn.compiler.jit import inner
from fastnn.compiler.parts import Choice
from fastnn.compiler.tile_products import Matrix, add_product
from fastnn.compiler.tiles import (
    broadcast_like,
    element,
    lanes_of,
    load,
    load_like,
    load_row,
    prefetch,
    prefetch_far,
    splat,
    store,
)
from fastnn.kernels.groups import (
    GRADIENT,
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
    outputs_of,
    parts_of,
    rows_at,
    share_of,
    shifted,
    weights_of,
)
from fastnn.kernels.layers.affine import SUM_ROWS, update_row_of_few
from fastnn.kernels.nonzeros import values_of_column
from fastnn.kernels.places import Places
from fastnn.kernels.products import add_block
from fastnn.kernels.rules import update_block

# Columns of x that all rows pass before the next ones.  Of 196 (784 is 4 x 196) the weights, or the
# sums, of 8 vectors of 32 bytes, or of 4 of 64, are 50 KiB, a little more than a first-level cache,
# but half as many blocks mean half as many ends of loops that the processor guesses wrong:
# 784-50-10, 784-32-16-10 take 3 % less than with 98 (8 % with vectors of 64 bytes), and
# 784-512-512-10 as long.
COLUMN_BLOCK = 196
# Widths in vectors that have code of their own, of outputs that pass at once: each entry is then
# read once.  50 outputs are 7 vectors of 8 float32, 100 are 7 of 16: 784-100-10, batch 200, takes
# 5 % less than with 4.
WIDTHS = (8, 7, 4, 2, 1)


class Entries(NamedTuple):
    """Of each row's list: the first entry in a block of columns, that in the next, the end."""

    first: Ints
    next: Ints
    last: Ints


class Ahead(NamedTuple):
    """Rows whose lists are asked for on the way, every so many lines of them from one on."""

    numbers: Ints
    first: int
    every: int


@inner
def _ask_for_list(data, row, ahead):
    """Have lines of a list in the second-level cache when its row is next.

    Lists that lie anywhere in 54 MB of memory are 22 of the 108 us of a step of 784-50-10 on one
    thread; asked for while the weights are swept they are 16, and 8 of 80 us on two.
    """
    line = 64 // data.value.itemsize
    for e in range(
        data.bounds[row, 0] + ahead.first * line, data.bounds[row, 1], ahead.every * line
    ):
        prefetch_far(data.value, e)
        prefetch_far(data.column, e)


def _make_forward(vectors):
    @inner
    def sparse_forward(
        rows: int, end: int, entries: Entries, data: Data, weights: Matrix, y: Matrix
    ):
        """Add the products of columns of x below `end` to y."""
        column = data.column
        for r in range(rows):
            e, stop = entries.first[r], entries.last[r]
            total = load_row(y.array, y.at + r * y.row, vectors)
            while e < stop and element(column, e) < end:
                w = weights.at + element(column, e) * weights.row
                total = add_product(total, data.value, e, weights.array, w)
                e += 1
            store(y.array, y.at + r * y.row, total)
            entries.next[r] = e

    return sparse_forward


def _make_gradient(vectors):
    @inner
    def sparse_gradient(
        rows: int,
        low: int,
        entries: Entries,
        data: Data,
        dz: Matrix,
        gradient: Matrix,
        ahead: Ahead,
    ):
        """The gradient of the weights of columns from `low` on."""
        array, row = gradient.array, vectors * lanes_of(gradient.array)
        for i in range(0, COLUMN_BLOCK * row, lanes_of(array)):
            store(array, gradient.at + i, splat(array.dtype.type(0), 1))
        for r in range(rows):
            d = load_row(dz.array, dz.at + r * dz.row, vectors)
            if r < ahead.numbers.size:
                _ask_for_list(data, ahead.numbers[r], ahead)
            for e in range(entries.first[r], entries.next[r]):
                at = gradient.at + (element(data.column, e) - low) * row
                x = broadcast_like(data.value, e, d)
                store(array, at, fma(x, d, load_like(array, at, d)))

    return sparse_gradient


FORWARD_BLOCK = Choice(Places.SPARSE_FORWARD, {width: _make_forward(width) for width in WIDTHS})
GRADIENT_BLOCK = Choice(Places.SPARSE_GRADIENT, {width: _make_gradient(width) for width in WIDTHS})


@inner
def _width(vectors):
    """The widest of WIDTHS that fits."""
    width = WIDTHS[0]
    for narrower in WIDTHS:
        if width > vectors:
            width = narrower
    return width


@inner
def column_blocks(inputs):
    """Number of blocks that the columns of x are passed in."""
    return (inputs + COLUMN_BLOCK - 1) // COLUMN_BLOCK


@inner
def _entries(cursor, block, slot, end):
    """The entries in a block of columns, of rows slot .. end."""
    last = cursor.shape[0] - 1
    return Entries(cursor[block, slot:end], cursor[block + 1, slot:end], cursor[last, slot:end])


@inner
def forward(
    network: Network, layer: Layer, data: Data, rows: Rows, scratch: Scratch, low: int, high: int
):
    """Inputs z of the activation, vectors low .. high of them.

    ``cursor[block, row]`` becomes the first entry of a row in each block
    of columns, with one more block for the end: `update` starts there.
    """
    lanes, cursor, end = lanes_of(network.params), scratch.cursor, rows.slot + rows.count
    _begin_lists(data, rows, cursor)
    v = low
    while v < high:
        width = _width(high - v)
        weights = shifted(weights_of(network, layer), ZERO, v * lanes)
        y = shifted(outputs_of(layer, scratch.values, rows.slot), ZERO, v * lanes)
        _start_with(shifted(biases_of(network, layer), ZERO, v * lanes), rows.count, width, y)
        for block in range(column_blocks(layer.inputs)):
            below = min(layer.inputs, (block + 1) * COLUMN_BLOCK)
            entries = _entries(cursor, block, rows.slot, end)
            arguments = (rows.count, below, entries, data, weights, y)
            FORWARD_BLOCK(parts_of(network), width, arguments)
        v += width


@inner
def _begin_lists(data, rows, cursor):
    last = cursor.shape[0] - 1
    for r in range(rows.count):
        first, end = data.bounds[rows.numbers[r], 0], data.bounds[rows.numbers[r], 1]
        cursor[0, rows.slot + r], cursor[last, rows.slot + r] = first, end
        # All of them now: each block reads a little of every row, a pattern
        # that the processor's own prefetcher does not follow.
        for e in range(first, end, 64 // data.value.itemsize):
            prefetch(data.value, e)
            prefetch(data.column, e)


@inner
def _start_with(biases, rows, vectors, y):
    lanes = lanes_of(y.array)
    for n in range(0, vectors * lanes, lanes):
        bias = load(biases.array, biases.at + n)
        for r in range(rows):
            store(y.array, y.at + r * y.row + n, bias)


@inner
def shared_rows(layer):
    """None: the weights are shared out by blocks of columns."""
    return ZERO


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
    """Gradient and update of the weights, ``x.T @ dz``, of a part of the blocks of columns."""
    first, end = share_of(column_blocks(layer.inputs), share.part, share.parts)
    for block in range(first, end):
        ahead = Ahead(rows.ahead, block - first, end - first)
        _update_block(network, layer, rule, data, rows, scratch, block, ahead)


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
    first, end = share_of(column_blocks(layer.inputs), share.part, share.parts)
    for block in range(first, end):
        _update_block_of_few(network, layer, rule, data, rows, scratch, block)


@inner
def _update_block(network, layer, rule, data, rows, scratch, block, ahead):
    """Sums run over the batch in ascending order, those of more than SUM_ROWS rows are added up."""
    lanes, low = lanes_of(network.params), block * COLUMN_BLOCK
    height, v = min(COLUMN_BLOCK, layer.inputs - low), ZERO
    while v < layer.vectors:
        width = _width(layer.vectors - v)
        dz = shifted(deltas_of(layer, scratch.deltas, rows.slot), ZERO, v * lanes)
        gradient = rows_at(scratch.work, GRADIENT, width * lanes)
        size = COLUMN_BLOCK * gradient.row
        another = rows_at(scratch.work, GRADIENT + size, ZERO)  # ends before PANEL
        for r in range(0, max(rows.count, 1), SUM_ROWS):  # of no rows the gradient is zero
            some, to = min(rows.count - r, SUM_ROWS), gradient if r == 0 else another
            begin = rows.slot + r
            entries = _entries(scratch.cursor, block, begin, begin + some)
            arguments = (some, low, entries, data, shifted(dz, r, ZERO), to, ahead)
            GRADIENT_BLOCK(parts_of(network), width, arguments)
            if r > 0:
                add_block(ONE, size, another, gradient)
        to = shifted(weights_of(network, layer), low, v * lanes)
        update_block(network, rule, height, gradient.row, gradient, to)
        v += width


@inner
def _update_block_of_few(network, layer, rule, data, rows, scratch, block):
    """`update_row_of_few` for a block of columns."""
    entries = _entries(scratch.cursor, block, ZERO, rows.count)
    for i in range(block * COLUMN_BLOCK, min(layer.inputs, (block + 1) * COLUMN_BLOCK)):
        values_of_column(
            i, rows.count, entries.first, entries.last, data, Place(scratch.work, PANEL)
        )
        update_row_of_few(network, layer, rule, rows, scratch, i, rows_at(scratch.work, PANEL, ONE))


def forward_parts(layer, by_columns):
    """What `forward` calls for all vectors of a layer, or for a chunk's share of its columns."""
    return [(FORWARD_BLOCK, width) for width in _widths(layer.vectors, by_columns)]


def update_parts(layer):
    """What `update` calls."""
    return [(GRADIENT_BLOCK, width) for width in _widths(layer.vectors, False)]


def _widths(vectors, any_share):
    """The widths in which so many vectors pass, or which any share of them might pass in."""
    found = []
    for width in WIDTHS:
        if any_share or vectors >= width:
            found.append(width)
            vectors %= width
    return found
