"""Layers, losses and update rules on arrays of anyone's: the kernels of `fastnn.book`.

The arrays are contiguous but not padded, and x may be float32 where all else
is float64.  So blocks of W and of gradients are copied into padded scratch
first, a few microseconds for 784 x 50 weights.  Products run over lists of the
nonzeros of their left factor: images of digits are 81 % zeros, what ReLU has
passed is half zeros, and where there are none, a list of all inputs costs
little beside a multiply-add for each output.  Anything may be NaN or infinite:
zeros are skipped only where what they would be multiplied with is finite, as 0
times infinity is NaN.
"""

import numpy as np

from fastnn.compiler.jit import entry, inner
from fastnn.compiler.lanes import (
    VECTOR_BYTES,
    element,
    flat,
    fma,
    lane_max,
    lane_sum,
    like,
    list_nonzeros,
    load,
    load_first,
    put,
    rank_one,
    splat,
    store,
)
from fastnn.compiler.launch import Chunked, run_or_pack
from fastnn.kernels.activations import log, sigmoid
from fastnn.kernels.affine import ONE, ZERO, column_sums, transpose_rows
from fastnn.kernels.losses import softmax_forward

# Rows of x that pass together in a product, and in a gradient, whose lists and rows of dout, 50
# float64 each, then stay in a first-level cache.
ROW_BLOCK, GRADIENT_ROWS = 128, 64
# Columns of x, rows of W or of its gradient, that pass together: 84 rows of 50 float64 are 34 KiB,
# of which a first-level cache keeps those that are in use; a row of x ends ten times, and each end
# is beyond guessing.  A gradient's block has its lists beside it.
BLOCK, WEIGHT_BLOCK = np.int64(84), np.int64(56)
# Of the column in a place: it is ``row << BLOCK_BITS`` + column.
BLOCK_BITS = 7
# Vectors of outputs that have code of their own: 50 outputs are 13 vectors of 4 float64, as many
# as 16 registers hold beside the operands.
WIDTHS = (13, 12, 8, 4, 2, 1)

RELU, CLEAR, SIGMOID = range(3)
SGD, MOMENTUM, NESTEROV, ADAGRAD, RMSPROP, ADAM = range(6)
FLOOR = 1e-7  # added to what is divided by, and to probabilities
NO_LOSS = -np.inf


# Between arrays and padded scratch ---------------------------------------------------


@inner
def _pad(M, N, A, a, a_row, P, p, row):
    """Copy M rows of N elements, `a_row` apart, to rows `row` apart; zeros fill a last vector."""
    lanes = VECTOR_BYTES // A.itemsize
    whole = N - N % lanes
    for m in range(M):
        for n in range(0, whole, lanes):
            store(P, p + m * row + n, 0, load(A, a + m * a_row + n, 0, 1, 1))
        if whole < N:
            rest = load_first(A, a + m * a_row + whole, N - whole, 1)
            store(P, p + m * row + whole, 0, rest)


@inner
def _unpad(M, N, P, p, row, A, a, a_row):
    """Copy M rows of N elements back."""
    lanes = VECTOR_BYTES // A.itemsize
    whole = N - N % lanes
    for m in range(M):
        for n in range(0, whole, lanes):
            store(A, a + m * a_row + n, 0, load(P, p + m * row + n, 0, 1, 1))
        for n in range(whole, N):
            A[a + m * a_row + n] = element(P, p + m * row + n)


@inner
def _pad_transposed(M, N, A, a, a_row, P, row):
    """Copy N rows of M elements, `a_row` apart, to the columns of M rows `row` apart."""
    lanes = VECTOR_BYTES // A.itemsize
    for n in range(0, N, lanes):
        transpose_rows(min(lanes, N - n), M, A, a + n * a_row, a_row, P, n, row)


@inner
def _always_listed(A):
    """-1 if zeros of x are to be listed, too, as the other factor A is not finite; else 0."""
    lanes = VECTOR_BYTES // A.itemsize
    # Four vectors at a time, as a sum of single ones would wait for each addition.
    strange, rest = splat(A.dtype.type(0), 1, 4), splat(A.dtype.type(0), 1, 1)
    whole = A.size - A.size % (4 * lanes)
    for i in range(0, whole, 4 * lanes):
        four = load(A, i, 0, 1, 4)
        strange = fma(four, like(four, 0), strange)
    for i in range(whole, A.size, lanes):
        one = load_first(A, i, A.size - i, 1)
        rest = fma(one, like(one, 0), rest)
    return np.int64(0) if lane_sum(strange) + lane_sum(rest) == 0 else np.int64(-1)


@inner
def _list(X, x, count, always, column, e, first):
    """List the nonzeros of ``X[x : x + count]``, as ``first`` + place, from column[e] on; the end.

    Or all of them if `always` is -1.  Without a branch: which are zero is beyond
    guessing, and a wrong guess costs as much as the products of two inputs.
    """
    lanes, i = VECTOR_BYTES // X.itemsize, 0
    while i + lanes <= count:
        e += list_nonzeros(column, e, load(X, x + i, 0, 1, 1), always, first + i)
        i += lanes
    if i < count:
        rest = load_first(X, x + i, count - i, 1)
        e += min(list_nonzeros(column, e, rest, always, first + i), count - i)
    return e


# Affine ------------------------------------------------------------------------------


def _make_forward(vectors):
    @inner
    def forward(rows, low, end, at, column, X, x, K, B, Y):
        row = vectors * (VECTOR_BYTES // B.itemsize)
        for r in range(rows):
            e, from_ = at[r], x + r * K
            total = load(Y, r * row, 0, 1, vectors)
            k = element(column, e)
            while k < end:
                one = splat(B.dtype.type(element(X, from_ + k)), 1, vectors)
                total = fma(one, load(B, (k - low) * row, 0, 1, vectors), total)
                e += 1
                k = element(column, e)
            store(Y, r * row, 0, total)
            at[r] = e

    return forward


def _make_backward(vectors):
    @inner
    def backward(height, rows, ends, value, of, D, d, row, G, g):
        for k in range(height):
            total = load(G, g + k * row, 0, 1, vectors)
            for e in range(k * rows, ends[k]):
                total = rank_one(total, value, e, 0, D, d + element(of, e) * row)
            store(G, g + k * row, 0, total)

    return backward


_forward_a, _forward_b, _forward_c, _forward_d, _forward_e, _forward_f = map(_make_forward, WIDTHS)
_backward_a, _backward_b, _backward_c, _backward_d, _backward_e, _backward_f = map(
    _make_backward, WIDTHS
)


@inner
def _width(vectors):
    """Vectors of the next pass: the most that there is code for, or enough for all."""
    width = WIDTHS[0]
    for narrower in WIDTHS:
        if narrower >= vectors:
            width = narrower
    return width


@inner
def _forward(width, rows, low, end, at, column, X, x, K, B, Y):
    """Add to rows of Y products of columns ``low .. end`` of x."""
    if width == WIDTHS[0]:
        _forward_a(rows, low, end, at, column, X, x, K, B, Y)
    elif width == WIDTHS[1]:
        _forward_b(rows, low, end, at, column, X, x, K, B, Y)
    elif width == WIDTHS[2]:
        _forward_c(rows, low, end, at, column, X, x, K, B, Y)
    elif width == WIDTHS[3]:
        _forward_d(rows, low, end, at, column, X, x, K, B, Y)
    elif width == WIDTHS[4]:
        _forward_e(rows, low, end, at, column, X, x, K, B, Y)
    else:
        _forward_f(rows, low, end, at, column, X, x, K, B, Y)


@inner
def _backward(width, height, rows, ends, value, of, D, d, row, G, g):
    """Add to rows of G, for each column of x, its products with rows of D."""
    if width == WIDTHS[0]:
        _backward_a(height, rows, ends, value, of, D, d, row, G, g)
    elif width == WIDTHS[1]:
        _backward_b(height, rows, ends, value, of, D, d, row, G, g)
    elif width == WIDTHS[2]:
        _backward_c(height, rows, ends, value, of, D, d, row, G, g)
    elif width == WIDTHS[3]:
        _backward_d(height, rows, ends, value, of, D, d, row, G, g)
    elif width == WIDTHS[4]:
        _backward_e(height, rows, ends, value, of, D, d, row, G, g)
    else:
        _backward_f(height, rows, ends, value, of, D, d, row, G, g)


@inner
def _product(low, high, K, N, X, W, transposed, start, out, Y, B, column, cursor):
    """Rows ``low .. high`` of ``start + x @ W``, or of ``x @ W.T``, for x of K columns, out of N.

    Y, B, column and cursor are scratch: rows of outputs, a block of W, lists and places in them.
    """
    lanes, always = VECTOR_BYTES // W.itemsize, _always_listed(W)
    begin, at = cursor[0], cursor[1]
    for first in range(low, high, ROW_BLOCK):
        rows, e = min(ROW_BLOCK, high - first), 0
        for r in range(rows):
            begin[r] = e
            e = _list(X, (first + r) * K, K, always, column, e, ZERO)
            column[e] = K  # beyond every block, so that it ends the row
            e += 1
        n = 0
        while n < N:
            width = _width((N - n + lanes - 1) // lanes)
            row, columns = width * lanes, min(width * lanes, N - n)
            _start_rows(rows, columns, start, n, Y, row, begin, at)
            for k in range(0, K, BLOCK):
                height = min(BLOCK, K - k)
                if transposed:
                    _pad_transposed(height, columns, W, n * K + k, K, B, row)
                else:
                    _pad(height, columns, W, k * N + n, N, B, ZERO, row)
                _forward(width, rows, k, k + height, at, column, X, first * K, K, B, Y)
            _unpad(rows, columns, Y, ZERO, row, out, first * N + n, N)
            n += columns


@inner
def _start_rows(rows, columns, start, n, Y, row, begin, at):
    """Begin rows of Y with ``start[n:]``, or with zeros if it is empty, and their lists anew."""
    for i in range(rows * row):
        Y[i] = 0.0
    for r in range(rows):
        at[r] = begin[r]
        if start.size:
            _pad(ONE, columns, start, n, ZERO, Y, r * row, row)


@inner
def affine_chunk(chunk, chunks, x, W, b, out, outputs, weights, column, cursor):
    """A chunk's share of the rows of ``x @ W + b``."""
    (N, I), O = x.shape, W.shape[1]
    _product(N * chunk // chunks, N * (chunk + 1) // chunks, I, O, flat(x), flat(W), False, b,
             flat(out), outputs[chunk], weights[chunk], column[chunk], cursor[chunk])  # fmt: skip


@Chunked
@entry(parallel=False)
def affine(chunks, context, *args):
    """`affine_chunk` in so many chunks."""
    run_or_pack(chunks, context, affine_chunk, args)


@inner
def _by_columns(X, x, rows, I, height, always, value, of, ends, places):
    """List the nonzeros of each of `height` columns of x: from ``k * rows`` to ``ends[k]``.

    Their rows go to ``of``.  Then a sum over rows stays in registers.
    """
    for k in range(height):
        ends[k] = k * rows
    last = 0
    for r in range(rows):
        last = _list(X, x + r * I, height, always, places, last, r << BLOCK_BITS)
    for p in range(last):
        place = element(places, p)
        r, k = place >> BLOCK_BITS, place & ((1 << BLOCK_BITS) - 1)
        e = element(ends, k)
        put(value, e, element(X, x + r * I + k))
        put(of, e, r)
        put(ends, k, e + 1)


@inner
def _weight_gradient(low, height, N, I, O, X, D, row, always, dW, G, value, of, places, ends):
    """Rows ``low ..`` of ``dW = x.T @ dz``."""
    lanes = VECTOR_BYTES // D.itemsize
    for i in range(height * row):
        G[i] = 0.0
    for first in range(0, N, GRADIENT_ROWS):
        rows = min(GRADIENT_ROWS, N - first)
        _by_columns(X, first * I + low, rows, I, height, always, value, of, ends, places)
        n = 0
        while n < O:
            width = _width((O - n + lanes - 1) // lanes)
            _backward(width, height, rows, ends, value, of, D, first * row + n, row, G, n)
            n += width * lanes
    _unpad(height, O, G, ZERO, row, dW, low * O, O)


@inner
def affine_gradients_chunk(chunk, chunks, x, W, dout, dW, db, dx, row, padded, value, of, places,
                           ends, sums, outputs, weights, column, cursor):  # fmt: skip
    """A chunk's share of dW, db and, unless it is empty, dx.

    ``padded`` is scratch for dout with rows of `row` elements, whole vectors.
    """
    (N, I), O = x.shape, W.shape[1]
    X, D, G = flat(x), padded[chunk], sums[chunk]
    _pad(N, O, flat(dout), ZERO, O, D, ZERO, row)
    always = _always_listed(flat(dout))
    blocks = (I + WEIGHT_BLOCK - 1) // WEIGHT_BLOCK
    for block in range(blocks * chunk // chunks, blocks * (chunk + 1) // chunks):
        low = block * WEIGHT_BLOCK
        _weight_gradient(low, min(WEIGHT_BLOCK, I - low), N, I, O, X, D, row, always, flat(dW), G,
                         value[chunk], of[chunk], places[chunk], ends[chunk])  # fmt: skip
    if chunk == chunks - 1:
        column_sums(N, row, D, ZERO, row, G, ZERO)
        _unpad(ONE, O, G, ZERO, row, db, ZERO, O)
    if dx.size:
        _product(N * chunk // chunks, N * (chunk + 1) // chunks, O, I, flat(dout), flat(W), True,
                 G[:0], flat(dx), outputs[chunk], weights[chunk], column[chunk],
                 cursor[chunk])  # fmt: skip


@Chunked
@entry(parallel=False)
def affine_gradients(chunks, context, *args):
    """`affine_gradients_chunk` in so many chunks."""
    run_or_pack(chunks, context, affine_gradients_chunk, args)


# Element by element ------------------------------------------------------------------


@inner
def map_chunk(chunk, chunks, function, x, y, mask):
    """A chunk's share of y: ReLU of x with its `mask`, y cleared where the mask is, or sigmoid.

    For sigmoid x must have a whole vector.
    """
    low, high = x.size * chunk // chunks, x.size * (chunk + 1) // chunks
    if function == SIGMOID:
        lanes = VECTOR_BYTES // x.itemsize
        for i in range(low, high, lanes):
            at = max(0, min(i, high - lanes))  # the last vector overlaps the one before
            store(y, at, 0, sigmoid(load(x, at, 0, 1, 1)))
        return
    X, Y, MASK = x[low:high], y[low:high], mask[low:high]
    if function == RELU:
        for i in range(X.size):
            MASK[i] = X[i] <= 0.0
            Y[i] = 0.0 if X[i] <= 0.0 else X[i]
    else:
        for i in range(Y.size):
            Y[i] = 0.0 if MASK[i] else Y[i]


@Chunked
@entry(parallel=False)
def map_elements(chunks, context, *args):
    """`map_chunk` in so many chunks."""
    run_or_pack(chunks, context, map_chunk, args)


# Softmax -----------------------------------------------------------------------------


@inner
def softmax_chunk(chunk, chunks, x, labels, hot, y, losses, work):
    """A chunk's share of the rows of softmax(x), and their losses if that array is not empty.

    The class of a row is ``labels[r]``, or marked by the largest element of
    ``hot[r]`` if there are no labels.  A label that is none makes the loss NO_LOSS.
    """
    (N, O), X, Y = x.shape, flat(x), flat(y)
    row = work[chunk]
    for r in range(N * chunk // chunks, N * (chunk + 1) // chunks):
        _pad(ONE, O, X, r * O, O, row, ZERO, ZERO)
        softmax_forward(O, row, ZERO)
        _unpad(ONE, O, row, ZERO, ZERO, Y, r * O, O)
        if losses.size:
            label = labels[r] if labels.size else _largest(hot[r])
            losses[r] = NO_LOSS
            if 0 <= label < O:
                losses[r] = -lane_max(log(splat(row[label] + FLOOR, 1, 1)))


@inner
def _largest(t):
    """Place of the largest element, or of the first NaN, as argmax finds it."""
    best = 0
    for n in range(1, t.size):
        if t[best] == t[best] and not t[n] <= t[best]:
            best = n
    return best


@Chunked
@entry(parallel=False)
def softmax(chunks, context, *args):
    """`softmax_chunk` in so many chunks."""
    run_or_pack(chunks, context, softmax_chunk, args)


# Update rules ------------------------------------------------------------------------


@inner
def update_chunk(chunk, chunks, rule, params, grads, first, second, rate, kept, squares):
    """A chunk's share of one step of an optimiser, with the book's formulas.

    ``first`` and ``second`` are what the rule remembers, ``kept`` and
    ``squares`` the shares of it that a step keeps.
    """
    low, high = params.size * chunk // chunks, params.size * (chunk + 1) // chunks
    P, G = params[low:high], grads[low:high]
    if rule == SGD:
        for i in range(P.size):
            P[i] -= rate * G[i]
        return
    A = first[low:high]
    if rule == MOMENTUM:
        for i in range(P.size):
            A[i] = kept * A[i] - rate * G[i]
            P[i] += A[i]
    elif rule == NESTEROV:
        for i in range(P.size):
            P[i] = (P[i] + kept * kept * A[i]) - (1.0 + kept) * rate * G[i]
            A[i] = A[i] * kept - rate * G[i]
    elif rule == ADAGRAD:
        for i in range(P.size):
            A[i] += G[i] * G[i]
            P[i] -= rate * G[i] / (np.sqrt(A[i]) + FLOOR)
    elif rule == RMSPROP:
        for i in range(P.size):
            A[i] = A[i] * kept + (1.0 - kept) * G[i] * G[i]
            P[i] -= rate * G[i] / (np.sqrt(A[i]) + FLOOR)
    else:
        B = second[low:high]
        for i in range(P.size):
            A[i] += (1.0 - kept) * (G[i] - A[i])
            B[i] += (1.0 - squares) * (G[i] * G[i] - B[i])
            P[i] -= rate * A[i] / (np.sqrt(B[i]) + FLOOR)


@Chunked
@entry(parallel=False)
def update(chunks, context, *args):
    """`update_chunk` in so many chunks."""
    run_or_pack(chunks, context, update_chunk, args)
