"""Outputs and losses of few outputs: as many rows at once as a vector has lanes.

`losses` has a vector, or a few, for the outputs of a row.  Of ten outputs in 16 lanes that leaves
room empty, and each row waits for its largest output, its sum and its logarithm.  Here rows are
turned to columns, a vector of one output of many rows, which takes about half the time.  Each
number is made of the same operations in the same order, so the bits are those of `losses`
(test_many_rows_of_few_outputs_have_the_bits_of_single_rows).
"""

from fastnn.compiler.jit import inner
from fastnn.compiler.lanes import (
    GROUP_BYTES,
    VECTOR_BYTES,
    element,
    load,
    load_transposed,
    maximum,
    put,
    splat,
    store,
)
from fastnn.kernels.activations import exp, log, sigmoid
from fastnn.kernels.losses import (
    BINARY_CROSS_ENTROPY,
    CLIPPED_BINARY_CROSS_ENTROPY,
    CLIPPED_CROSS_ENTROPY,
    CROSS_ENTROPY,
    binary_cross_entropy,
    largest_loss,
)

# The most outputs, and elements of scratch for as many vectors twice, and one.
NARROW = 16
SCRATCH = (2 * NARROW + 1) * (GROUP_BYTES // 4)


@inner
def is_narrow(loss, O):
    """Whether rows of so many outputs go through here."""
    return O <= NARROW and loss in (
        CROSS_ENTROPY,
        CLIPPED_CROSS_ENTROPY,
        BINARY_CROSS_ENTROPY,
        CLIPPED_BINARY_CROSS_ENTROPY,
    )


@inner
def _to_columns(O, Y, y, y_row, S, s, lanes):
    """Turn `lanes` rows of Y, `y_row` apart, into columns: vectors of S that follow each other."""
    for n in range(0, O, lanes):
        store(S, s + n * lanes, lanes, load_transposed(Y, y + n, y_row))


@inner
def _to_rows(O, S, s, Y, y, y_row, lanes):
    """Turn columns back into rows, whose last group of 64 bytes is padded with zeros."""
    end = O + -O % (GROUP_BYTES // Y.itemsize)
    for o in range(O, end):
        store(S, s + o * lanes, 0, splat(Y.dtype.type(0), 1, 1))
    for n in range(0, end, lanes):
        store(Y, y + n, y_row, load_transposed(S, s + n * lanes, lanes))


@inner
def _sum_of_columns(O, S, s, to, lanes):
    """What `lane_sum` makes of groups of 64 bytes of each row; scratch from `to` on."""
    group = GROUP_BYTES // S.itemsize
    count = min(O, group)
    for o in range(count):
        total = load(S, s + o * lanes, 0, 1, 1)
        if o + group < O:
            total = total + load(S, s + (o + group) * lanes, 0, 1, 1)
        store(S, to + o * lanes, 0, total)
    half = group // 2
    while half > 0:
        for o in range(half, min(count, 2 * half)):  # the others are added to zeros
            total = load(S, to + (o - half) * lanes, 0, 1, 1) + load(S, to + o * lanes, 0, 1, 1)
            store(S, to + (o - half) * lanes, 0, total)
        half //= 2
    return load(S, to, 0, 1, 1)


@inner
def _softmax(O, S, s, lanes):
    """Replace columns of z by those of softmax(z); return ``log(sum(exp(z)))``."""
    top = load(S, s, 0, 1, 1)
    for o in range(1, O):
        top = maximum(load(S, s + o * lanes, 0, 1, 1), top)
    for o in range(O):
        store(S, s + o * lanes, 0, exp(load(S, s + o * lanes, 0, 1, 1) - top))
    total = _sum_of_columns(O, S, s, s + NARROW * lanes, lanes)
    for o in range(O):
        store(S, s + o * lanes, 0, load(S, s + o * lanes, 0, 1, 1) / total)
    return top + log(total)


@inner
def narrow_loss_forward(loss, O, labels, T, batch, Y, y, y_row, S, s, row_loss):
    """`loss_forward` for `lanes` rows of Y, whose labels, or targets in T, are those of `batch`."""
    lanes = VECTOR_BYTES // Y.itemsize
    columns, more = s, s + NARROW * lanes
    losses = more + NARROW * lanes
    if loss in (CROSS_ENTROPY, CLIPPED_CROSS_ENTROPY):
        for r in range(lanes):
            put(S, losses + r, element(Y, y + r * y_row + labels[batch[r]]))
        _to_columns(O, Y, y, y_row, S, columns, lanes)
        logarithm = _softmax(O, S, columns, lanes)
        found, most = logarithm - load(S, losses, 0, 1, 1), largest_loss(loss, Y)
        store(S, losses, 0, found)
        for r in range(lanes):
            one = element(S, losses + r)
            row_loss[r] = most if one > most else one  # NaN stays
    else:
        for o in range(O):
            for r in range(lanes):
                put(S, more + o * lanes + r, element(T, batch[r] * O + o))
        _to_columns(O, Y, y, y_row, S, columns, lanes)
        for o in range(O):
            z, t = load(S, columns + o * lanes, 0, 1, 1), load(S, more + o * lanes, 0, 1, 1)
            store(S, more + o * lanes, 0, binary_cross_entropy(loss, Y, t, z))
            store(S, columns + o * lanes, 0, sigmoid(z))
        store(S, losses, 0, _sum_of_columns(O, S, more, more, lanes))
        for r in range(lanes):
            row_loss[r] = element(S, losses + r)
    _to_rows(O, S, columns, Y, y, y_row, lanes)


@inner
def narrow_outputs_forward(loss, O, Y, y, y_row, S, s):
    """`outputs_forward` for `lanes` rows of Y."""
    lanes = VECTOR_BYTES // Y.itemsize
    _to_columns(O, Y, y, y_row, S, s, lanes)
    if loss in (CROSS_ENTROPY, CLIPPED_CROSS_ENTROPY):
        _softmax(O, S, s, lanes)
    else:
        for o in range(O):
            store(S, s + o * lanes, 0, sigmoid(load(S, s + o * lanes, 0, 1, 1)))
    _to_rows(O, S, s, Y, y, y_row, lanes)
