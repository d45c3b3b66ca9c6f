"""The first layer on inputs that are mostly zero, such as images of digits.

A row of inputs is a list of its nonzeros: those of row r are the entries
``bounds[r, 0] .. bounds[r, 1]`` of ``column`` and ``value``.  A product skips the
zeros: ``fma(0, w, s)`` is ``s``, so the bits are those of the dense product.
19 % of the pixels of MNIST are nonzero, which beats the dense product at the
peak of the machine.
"""

import numpy as np

from fastnn.compiler.jit import entry, inner
from fastnn.compiler.lanes import (
    LIST_SLACK,
    VECTOR_BYTES,
    broadcast_like,
    element,
    flat,
    fma,
    lane_sum,
    like,
    list_nonzeros,
    load,
    load_first,
    load_like,
    prefetch,
    put,
    rank_one,
    splat,
    store,
)
from fastnn.compiler.launch import Chunked, run_or_pack
from fastnn.kernels.affine import add_block
from fastnn.kernels.updates import update_block

# Columns of x that all rows pass before the next ones.  Of 196 (784 is 4 x 196) the weights, or the
# sums, of 8 vectors of 32 bytes, or of 4 of 64, are 50 KiB, a little more than a first-level cache,
# but half as many blocks mean half as many ends of loops that the processor guesses wrong:
# 784-50-10, 784-32-16-10 take 3 % less than with 98 (8 % with vectors of 64 bytes), and
# 784-512-512-10 as long.
COLUMN_BLOCK = 196
# Vectors at once.  100 float32 are 7 of 64 bytes: each entry is read once, and 784-100-10, batch
# 200, takes 5 % less than with 4.
PANEL = 8
# Widths in vectors that have code of their own; 50 outputs are 7 vectors of 8 float32, 100 are 7
# of 16.
WIDTHS = (8, 7, 4, 2, 1)


def _make_forward(vectors):
    @inner
    def forward(rows, end, first, cursor, last, column, value, W, w, w_row, Y, y, y_row):
        for r in range(rows):
            e, stop = first[r], last[r]
            total = load(Y, y + r * y_row, 0, 1, vectors)
            while e < stop and element(column, e) < end:
                total = rank_one(total, value, e, 0, W, w + element(column, e) * w_row)
                e += 1
            store(Y, y + r * y_row, 0, total)
            cursor[r] = e

    return forward


def _make_backward(vectors):
    @inner
    def backward(rows, low, first, last, column, value, D, d, d_row, G, g):
        lanes = VECTOR_BYTES // value.itemsize
        for i in range(0, COLUMN_BLOCK * vectors * lanes, lanes):
            store(G, g + i, 0, splat(value.dtype.type(0), 1, 1))
        for r in range(rows):
            dz = load(D, d + r * d_row, 0, 1, vectors)
            for e in range(first[r], last[r]):
                at = g + (element(column, e) - low) * vectors * lanes
                x = broadcast_like(value, e, dz)
                store(G, at, 0, fma(x, dz, load_like(G, at, dz)))

    return backward


_forward_a, _forward_b, _forward_c, _forward_d, _forward_e = map(_make_forward, WIDTHS)
_backward_a, _backward_b, _backward_c, _backward_d, _backward_e = map(_make_backward, WIDTHS)


@inner
def _width(vectors):
    """The widest of WIDTHS that fits."""
    width = WIDTHS[0]
    for narrower in WIDTHS:
        if width > vectors:
            width = narrower
    return width


@inner
def column_blocks(I):
    """Number of blocks that the columns of x are passed in."""
    return (I + COLUMN_BLOCK - 1) // COLUMN_BLOCK


@inner
def nonzeros_forward(batch, I, vectors, bounds, column, value, W, w, w_row, b, Y, y, y_row,
                     cursor, slot):  # fmt: skip
    """``Y = x @ W + b`` for rows `batch` of the compressed x; W and b lie in one array.

    ``cursor[block, slot + r]`` becomes the first entry of row r in each block
    of columns, with one more block for the end: `nonzeros_backward` starts there.
    """
    lanes = VECTOR_BYTES // value.itemsize
    rows, blocks = batch.size, column_blocks(I)
    for r in range(rows):
        first, last = bounds[batch[r], 0], bounds[batch[r], 1]
        cursor[0, slot + r], cursor[blocks, slot + r] = first, last
        # All of them now: each block reads a little of every row, a pattern
        # that the processor's own prefetcher does not follow.
        for e in range(first, last, 64 // value.itemsize):
            prefetch(value, e)
            prefetch(column, e)
    last = cursor[blocks, slot : slot + rows]
    v = 0
    while v < vectors:
        width, at = _width(vectors - v), v * lanes
        for n in range(at, at + width * lanes, lanes):
            bias = load(W, b + n, 0, 1, 1)
            for r in range(rows):
                store(Y, y + r * y_row + n, 0, bias)
        for block in range(blocks):
            _forward_block(width, rows, min(I, (block + 1) * COLUMN_BLOCK),
                           cursor[block, slot : slot + rows], cursor[block + 1, slot : slot + rows],
                           last, column, value, W, w + at, w_row, Y, y + at, y_row)  # fmt: skip
        v += width


@inner
def _forward_block(width, rows, end, first, cursor, last, column, value, W, w, w_row,
                   Y, y, y_row):  # fmt: skip
    if width == WIDTHS[0]:
        _forward_a(rows, end, first, cursor, last, column, value, W, w, w_row, Y, y, y_row)
    elif width == WIDTHS[1]:
        _forward_b(rows, end, first, cursor, last, column, value, W, w, w_row, Y, y, y_row)
    elif width == WIDTHS[2]:
        _forward_c(rows, end, first, cursor, last, column, value, W, w, w_row, Y, y, y_row)
    elif width == WIDTHS[3]:
        _forward_d(rows, end, first, cursor, last, column, value, W, w, w_row, Y, y, y_row)
    else:
        _forward_e(rows, end, first, cursor, last, column, value, W, w, w_row, Y, y, y_row)


@inner
def nonzeros_backward(block, I, rows, vectors, column, value, D, d, d_row,
                      rule, hyper, rate, decay, params, memory, w, w_row, G, g, most,
                      cursor):  # fmt: skip
    """Gradient of the rows of W in one block of columns of x, ``x.T @ dz``, and their update.

    Sums run over the batch in ascending order, those of more than `most` rows are added up.
    ``G`` is scratch for twice COLUMN_BLOCK rows of PANEL vectors.
    """
    lanes = VECTOR_BYTES // value.itemsize
    low, first, last = block * COLUMN_BLOCK, cursor[block, :rows], cursor[block + 1, :rows]
    height = min(COLUMN_BLOCK, I - low)
    v = 0
    while v < vectors:
        width, at = _width(vectors - v), v * lanes
        size = COLUMN_BLOCK * width * lanes
        _backward_block(width, min(rows, most), low, first, last, column, value, D, d + at, d_row,
                        G, g)  # fmt: skip
        for r in range(most, rows, most):
            _backward_block(width, min(rows - r, most), low, first[r:], last[r:], column, value, D,
                            d + r * d_row + at, d_row, G, g + size)  # fmt: skip
            add_block(1, size, G, g + size, 0, g, 0)
        update_block(rule, hyper, rate, decay, height, width * lanes, G, g, width * lanes,
                     params, memory, w + low * w_row + at, w_row)  # fmt: skip
        v += width


@inner
def _backward_block(width, rows, low, first, last, column, value, D, d, d_row, G, g):
    if width == WIDTHS[0]:
        _backward_a(rows, low, first, last, column, value, D, d, d_row, G, g)
    elif width == WIDTHS[1]:
        _backward_b(rows, low, first, last, column, value, D, d, d_row, G, g)
    elif width == WIDTHS[2]:
        _backward_c(rows, low, first, last, column, value, D, d, d_row, G, g)
    elif width == WIDTHS[3]:
        _backward_d(rows, low, first, last, column, value, D, d, d_row, G, g)
    else:
        _backward_e(rows, low, first, last, column, value, D, d, d_row, G, g)


@inner
def values_of_column(i, rows, first, last, column, value, out, o):
    """Write a batch's values in column i of x; `first`, the next entry of each row, moves on."""
    for r in range(rows):
        e = first[r]
        here = e < last[r] and element(column, e) == i
        put(out, o + r, element(value, e) if here else value.dtype.type(0))
        first[r] += here


@inner
def _compress_row(X, x, I, e, most, column, value):
    """Write the nonzeros of a row from entry e on; return their end.

    With no room up to entry `most` nothing is written and -1 returned; -2 for a
    NaN or an infinity in the row.
    """
    lanes, i, never = VECTOR_BYTES // X.itemsize, 0, np.int64(0)
    strange, first = splat(X.dtype.type(0), 1, 1), e
    room = e + I + LIST_SLACK <= most
    while i < I:
        v = load(X, x + i, 0, 1, 1) if i + lanes <= I else load_first(X, x + i, I - i, 1)
        strange = fma(v, like(v, 0), strange)  # NaN if v is not finite
        if room:
            e += list_nonzeros(column, e, v, never, i)
        i += lanes
    for k in range(first, e):
        put(value, k, element(X, x + element(column, k)))
    if lane_sum(strange) != 0:
        return -2
    return e if room else -1


@inner
def all_finite(X, x, size):
    """Whether so many elements of X from x on are."""
    lanes, zero = VECTOR_BYTES // X.itemsize, X.dtype.type(0)
    strange, rest = splat(zero, 1, 4), splat(zero, 1, 1)
    end = size - size % (4 * lanes)
    for i in range(0, end, 4 * lanes):
        v = load(X, x + i, 0, 1, 4)
        strange = fma(v, like(v, 0), strange)  # NaN if v is not finite
    for i in range(end, size, lanes):
        v = load_first(X, x + i, size - i, 1)
        rest = fma(v, like(v, 0), rest)
    return lane_sum(strange) + lane_sum(rest) == 0


@inner
def compress_chunk(chunk, chunks, x, chosen, bounds, column, value):
    """Compress a chunk's share of the `chosen` rows of x, in its share of `column` and `value`.

    ``bounds[r]`` become the first entry of row r and its end, which is -1 or -2
    for the reasons of `_compress_row`.
    """
    N, I, X = chosen.size, x.shape[1], flat(x)
    e, most = value.size * chunk // chunks, value.size * (chunk + 1) // chunks
    for r in chosen[N * chunk // chunks : N * (chunk + 1) // chunks]:
        end = _compress_row(X, r * I, I, e, most, column, value)
        bounds[r, 0], bounds[r, 1] = e, end
        e = max(e, end)


@Chunked
@entry(parallel=False)
def compress_rows(chunks, context, *args):
    """`compress_chunk` in so many chunks."""
    run_or_pack(chunks, context, compress_chunk, args)
