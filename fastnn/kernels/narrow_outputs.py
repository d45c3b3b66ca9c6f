"""Outputs and losses of few outputs: as many rows at once as a vector has lanes.

`losses` has a vector, or a few, for the outputs of a row.  Of ten outputs in 16 lanes that leaves
room empty, and each row waits for its largest output, its sum and its logarithm.  Here rows are
turned to columns, a vector of one output of many rows, which takes about half the time.  Each
number is made of the same operations in the same order, so the bits are those of `losses`
(test_many_rows_of_few_outputs_have_the_bits_of_single_rows).  A loss need not be here.
"""

from collections.abc import Callable
from typing import NamedTuple

from fastnn.compiler.arithmetic import maximum
from fastnn.compiler.jit import inner
from fastnn.compiler.tile_products import load_transposed
from fastnn.compiler.tiles import (
    GROUP_BYTES,
    element,
    flat,
    lanes_of,
    load,
    put,
    splat,
    store,
    store_rows,
)
from fastnn.kernels.elementary import exp, log, sigmoid
from fastnn.kernels.groups import Place
from fastnn.kernels.losses import (
    binary_cross_entropy,
    clipped_binary_cross_entropy,
    largest_clipped,
)

# The most outputs; and elements of scratch: vectors of outputs, of targets and of what is added up,
# and one of losses.
NARROW = 16
TARGETS, WORK, LOSSES_AT = NARROW, 2 * NARROW, 3 * NARROW
SCRATCH = (3 * NARROW + 1) * (GROUP_BYTES // 4)


@inner
def to_columns(outputs, y, columns):
    """Turn `lanes` rows of y into columns: vectors that follow each other."""
    lanes = lanes_of(y.array)
    for n in range(0, outputs, lanes):
        square = load_transposed(y.array, y.at + n, y.row)
        store_rows(columns.array, columns.at + n * lanes, lanes, square)


@inner
def to_rows(outputs, columns, y):
    """Turn columns back into rows, whose last group of 64 bytes is padded with zeros."""
    lanes, array = lanes_of(y.array), columns.array
    end = outputs + -outputs % (GROUP_BYTES // y.array.itemsize)
    for o in range(outputs, end):
        store(array, columns.at + o * lanes, splat(y.array.dtype.type(0), 1))
    for n in range(0, end, lanes):
        square = load_transposed(array, columns.at + n * lanes, lanes)
        store_rows(y.array, y.at + n, y.row, square)


@inner
def _sum_of_columns(outputs, columns, to):
    """What `lane_sum` makes of groups of 64 bytes of each row; scratch from `to` on."""
    array, at, lanes = columns.array, columns.at, lanes_of(columns.array)
    group = GROUP_BYTES // array.itemsize
    count = min(outputs, group)
    for o in range(count):
        total = load(array, at + o * lanes)
        if o + group < outputs:
            total = total + load(array, at + (o + group) * lanes)
        store(array, to + o * lanes, total)
    half = group // 2
    while half > 0:
        for o in range(half, min(count, 2 * half)):  # the others are added to zeros
            total = load(array, to + (o - half) * lanes) + load(array, to + o * lanes)
            store(array, to + (o - half) * lanes, total)
        half //= 2
    return load(array, to)


@inner
def _softmax(outputs, columns):
    """Replace columns of z by those of softmax(z); return ``log(sum(exp(z)))``."""
    array, at, lanes = columns.array, columns.at, lanes_of(columns.array)
    top = load(array, at)
    for o in range(1, outputs):
        top = maximum(load(array, at + o * lanes), top)
    for o in range(outputs):
        store(array, at + o * lanes, exp(load(array, at + o * lanes) - top))
    total = _sum_of_columns(outputs, columns, at + WORK * lanes)
    for o in range(outputs):
        store(array, at + o * lanes, load(array, at + o * lanes) / total)
    return top + log(total)


@inner
def _softmax_outputs(outputs, columns):
    _softmax(outputs, columns)


@inner
def _sigmoid_outputs(outputs, columns):
    lanes = lanes_of(columns.array)
    for o in range(outputs):
        at = columns.at + o * lanes
        store(columns.array, at, sigmoid(load(columns.array, at)))


@inner
def _cross_entropy(outputs, targets, numbers, y, columns, row_loss):
    """Outputs, as columns, and losses of `lanes` rows of y."""
    array, lanes = columns.array, lanes_of(columns.array)
    losses = columns.at + LOSSES_AT * lanes
    for r in range(lanes):
        put(array, losses + r, element(y.array, y.at + r * y.row + targets.labels[numbers[r]]))
    to_columns(outputs, y, columns)
    logarithm = _softmax(outputs, columns)
    store(array, losses, logarithm - load(array, losses))
    for r in range(lanes):
        row_loss[r] = element(array, losses + r)


@inner
def _clipped_cross_entropy(outputs, targets, numbers, y, columns, row_loss):
    _cross_entropy(outputs, targets, numbers, y, columns, row_loss)
    most = largest_clipped(columns.array)
    for r in range(lanes_of(columns.array)):
        row_loss[r] = most if row_loss[r] > most else row_loss[r]  # NaN stays


@inner
def _cross_entropy_backward(outputs, targets, numbers, weights, columns):
    """``(y - t) * weight`` in place of columns of softmax outputs y."""
    array, at, lanes = columns.array, columns.at, lanes_of(columns.array)
    one = array.dtype.type(1)
    for r in range(lanes):
        label = at + targets.labels[numbers[r]] * lanes + r
        put(array, label, element(array, label) - one)
    for o in range(0, outputs * lanes, lanes):
        store(array, at + o, load(array, at + o) * weights)


def _make_binary_cross_entropy(loss):
    @inner
    def forward(outputs, targets, numbers, y, columns, row_loss):
        array, at, lanes = columns.array, columns.at, lanes_of(columns.array)
        wanted, work = at + TARGETS * lanes, at + WORK * lanes
        for o in range(outputs):
            for r in range(lanes):
                t = element(flat(targets.targets), numbers[r] * outputs + o)
                put(array, wanted + o * lanes + r, t)
        to_columns(outputs, y, columns)
        for o in range(0, outputs * lanes, lanes):
            z = load(array, at + o)
            store(array, work + o, loss(load(array, wanted + o), z))
            store(array, at + o, sigmoid(z))
        losses = at + LOSSES_AT * lanes
        store(array, losses, _sum_of_columns(outputs, Place(array, work), work))
        for r in range(lanes):
            row_loss[r] = element(array, losses + r)

    return forward


@inner
def _error_backward(outputs, targets, numbers, weights, columns):
    """``(y - t) * weight`` in place of columns of y; those of t are where `forward` put them."""
    array, at, lanes = columns.array, columns.at, lanes_of(columns.array)
    for o in range(0, outputs * lanes, lanes):
        error = load(array, at + o) - load(array, at + TARGETS * lanes + o)
        store(array, at + o, error * weights)


class NarrowLoss(NamedTuple):
    """What a loss has here."""

    forward: Callable  # (outputs, targets, numbers of rows, y, columns, row_loss)
    backward: Callable  # (outputs, targets, numbers, weights, columns): dz in place of y
    outputs: Callable  # (outputs, columns)


NARROW_LOSSES = {
    "cross_entropy": NarrowLoss(_cross_entropy, _cross_entropy_backward, _softmax_outputs),
    "binary_cross_entropy": NarrowLoss(
        _make_binary_cross_entropy(binary_cross_entropy), _error_backward, _sigmoid_outputs
    ),
    "clipped_cross_entropy": NarrowLoss(
        _clipped_cross_entropy, _cross_entropy_backward, _softmax_outputs
    ),
    "clipped_binary_cross_entropy": NarrowLoss(
        _make_binary_cross_entropy(clipped_binary_cross_entropy), _error_backward, _sigmoid_outputs
    ),
}
