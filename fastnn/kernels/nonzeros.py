"""The first layer on inputs that are mostly zero, such as images of digits.

A row of inputs is a list of its nonzero columns and values (compressed rows:
``start``, ``column``, ``value``).  A product skips the zeros: ``fma(0, w, s)``
is ``s``, so the bits are those of the dense product.  19 % of the pixels of
MNIST are nonzero, which beats the dense product at the peak of the machine.
"""

from numba import prange

from fastnn.jit import entry, inner
from fastnn.kernels.updates import update_block
from fastnn.lanes import (
    VECTOR_BYTES,
    absolute,
    broadcast_like,
    element,
    fma,
    lane_max,
    lane_sum,
    like,
    load,
    load_first,
    load_like,
    prefetch,
    rank_one,
    splat,
    store,
    where_less,
)

# Columns of x that all rows pass before the next ones: their weights and sums of
# up to PANEL vectors (98 x 256 bytes; 784 is 8 x 98) stay in a first-level cache meanwhile.

COLUMN_BLOCK = 98
PANEL = 4


def _make_forward(vectors):
    @inner
    def forward(rows, end, cursor, last, column, value, W, w, w_row, Y, y, y_row):
        for r in range(rows):
            e, stop = cursor[r], last[r]
            total = load(Y, y + r * y_row, 0, 1, vectors)
            while e < stop and element(column, e) < end:
                total = rank_one(total, value, e, 0, W, w + element(column, e) * w_row)
                e += 1
            store(Y, y + r * y_row, 0, total)
            cursor[r] = e

    return forward


def _make_backward(vectors):
    @inner
    def backward(rows, low, end, cursor, last, column, value, D, d, d_row, G, g):
        lanes = VECTOR_BYTES // value.itemsize
        for i in range(0, COLUMN_BLOCK * vectors * lanes, lanes):
            store(G, g + i, 0, splat(value.dtype.type(0), 1, 1))
        for r in range(rows):
            e, stop = cursor[r], last[r]
            dz = load(D, d + r * d_row, 0, 1, vectors)
            while e < stop and element(column, e) < end:
                at = g + (element(column, e) - low) * vectors * lanes
                x = broadcast_like(value, e, dz)
                store(G, at, 0, fma(x, dz, load_like(G, at, dz)))
                e += 1
            cursor[r] = e

    return backward


_forward_1, _forward_2, _forward_3, _forward_4 = (_make_forward(v) for v in (1, 2, 3, 4))
_backward_1, _backward_2, _backward_3, _backward_4 = (_make_backward(v) for v in (1, 2, 3, 4))


@inner
def _find_rows(batch, low, start, column, value, cursor, last):
    """Where each row of a batch has its first nonzero from column `low` on, and its end."""
    for r in range(batch.size):
        first, end = start[batch[r]], start[batch[r] + 1]
        last[r] = end
        if low == 0:
            for e in range(first, end, 16):
                prefetch(value, e)
                prefetch(column, e)
        if low > 0:
            while first < end:
                middle = (first + end) // 2
                if column[middle] < low:
                    first = middle + 1
                else:
                    end = middle
        cursor[r] = first


@inner
def nonzeros_forward(batch, I, vectors, start, column, value, W, w, w_row, b, Y, y, y_row,
                     cursor, last):  # fmt: skip
    """``Y = x @ W + b`` for rows `batch` of the compressed x; W and b lie in one array."""
    lanes = VECTOR_BYTES // value.itemsize
    rows = batch.size
    for v in range(0, vectors, PANEL):
        width, at = min(PANEL, vectors - v), v * lanes
        for n in range(at, at + width * lanes, lanes):
            bias = load(W, b + n, 0, 1, 1)
            for r in range(rows):
                store(Y, y + r * y_row + n, 0, bias)
        _find_rows(batch, 0, start, column, value, cursor, last)
        for low in range(0, I, COLUMN_BLOCK):
            end = low + COLUMN_BLOCK
            if width == 4:
                _forward_4(rows, end, cursor, last, column, value, W, w + at, w_row,
                           Y, y + at, y_row)  # fmt: skip
            elif width == 3:
                _forward_3(rows, end, cursor, last, column, value, W, w + at, w_row,
                           Y, y + at, y_row)  # fmt: skip
            elif width == 2:
                _forward_2(rows, end, cursor, last, column, value, W, w + at, w_row,
                           Y, y + at, y_row)  # fmt: skip
            else:
                _forward_1(rows, end, cursor, last, column, value, W, w + at, w_row,
                           Y, y + at, y_row)  # fmt: skip


@inner
def nonzeros_backward(batch, first, stop, vectors, start, column, value, D, d, d_row,
                      rule, hyper, params, memory, w, w_row, G, g, cursor, last):  # fmt: skip
    """Gradient of rows ``first .. stop`` of W, ``x.T @ dz``, and their update.

    Sums run over the batch in ascending order.  ``G`` is scratch for
    COLUMN_BLOCK rows of PANEL vectors.
    """
    lanes = VECTOR_BYTES // value.itemsize
    rows = batch.size
    for v in range(0, vectors, PANEL):
        width, at = min(PANEL, vectors - v), v * lanes
        _find_rows(batch, first, start, column, value, cursor, last)
        for low in range(first, stop, COLUMN_BLOCK):
            end = min(low + COLUMN_BLOCK, stop)
            if width == 4:
                _backward_4(rows, low, end, cursor, last, column, value, D, d + at, d_row, G, g)
            elif width == 3:
                _backward_3(rows, low, end, cursor, last, column, value, D, d + at, d_row, G, g)
            elif width == 2:
                _backward_2(rows, low, end, cursor, last, column, value, D, d + at, d_row, G, g)
            else:
                _backward_1(rows, low, end, cursor, last, column, value, D, d + at, d_row, G, g)
            update_block(rule, hyper, end - low, width * lanes, G, g, width * lanes,
                         params, memory, w + low * w_row + at, w_row)  # fmt: skip


@inner
def _inspect_row(x, at, I):
    """Number of nonzeros in ``x[at : at + I]``, or -1 with a NaN or an infinity among them."""
    lanes = VECTOR_BYTES // x.itemsize
    zero = splat(x.dtype.type(0), 1, 1)
    nonzeros = strange = zero
    for i in range(0, I, lanes):
        v = load_first(x, at + i, I - i)
        nonzeros = nonzeros + where_less(zero, absolute(v), like(v, 1), zero)
        strange = strange + v * zero  # NaN if v is not finite
    return -1 if lane_sum(strange) != 0 else int(lane_sum(nonzeros))


@entry
def inspect_rows(chunks, x, count):
    """Count the nonzeros of every row of x; -1 marks a row with a NaN or an infinity."""
    N, I = x.shape
    for c in prange(chunks):
        for r in range(N * c // chunks, N * (c + 1) // chunks):
            count[r] = _inspect_row(x.ravel(), r * I, I)


@inner
def _compress_row(x, at, I, e, column, value):
    lanes = VECTOR_BYTES // x.itemsize
    for i in range(0, I, lanes):
        # Half of MNIST's blocks of 16 pixels are empty.
        if lane_max(absolute(load_first(x, at + i, I - i))) > 0:
            for j in range(i, min(i + lanes, I)):
                if x[at + j] != 0:
                    column[e] = j
                    value[e] = x[at + j]
                    e += 1


@entry
def compress_rows(chunks, x, start, column, value):
    """Fill in the columns and values of the nonzeros of x; ``start`` is given."""
    N, I = x.shape
    for c in prange(chunks):
        for r in range(N * c // chunks, N * (c + 1) // chunks):
            _compress_row(x.ravel(), r * I, I, start[r], column, value)
