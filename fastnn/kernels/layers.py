"""Layers, losses and update rules on arrays of anyone's: the kernels of `fastnn.book`.

The arrays are contiguous but not padded, and x may be float32 where all else
is float64.  So W, x and gradients are copied into padded scratch first, a few
microseconds for 784 x 50 weights, and the kernels of the networks do the rest.
Anything may be NaN or infinite.  Zeros are skipped only where what they would
be multiplied with is finite, as 0 times infinity is NaN.
"""

import numpy as np

from fastnn.jit import entry, inner
from fastnn.kernels.activations import log, sigmoid
from fastnn.kernels.affine import ONE, ZERO, column_sums, multiply, multiply_transposed
from fastnn.kernels.losses import softmax_forward
from fastnn.lanes import (
    TILE_VECTORS,
    VECTOR_BYTES,
    element,
    flat,
    fma,
    lane_max,
    lane_sum,
    like,
    load,
    load_first,
    nonzero_lanes,
    rank_one,
    splat,
    store,
)
from fastnn.launch import Chunked, run_or_pack

# Rows of x that pass together.
ROW_BLOCK = 128
# Columns of x that are skipped together, if they are all zero: 18,400 of the inputs of 100 images
# are left then, 14,700 if each is looked at alone, which takes longer.
COLUMNS = 4
# Columns of x, rows of W or of its gradient, that pass together: 56 rows of 50 float64 are 23 KiB
# and stay in a first-level cache, and 784 is 14 x 56.
BLOCK = np.int64(56)
# Vectors of outputs that have code of their own.  A row of outputs is padded to passes of one of
# these: 50 are 13 vectors of 4 float64, as many as 16 registers hold beside the operands.
WIDTHS = (13, 12, 8, 4, 2, 1)

RELU, CLEAR, SIGMOID = range(3)
SGD, MOMENTUM, NESTEROV, ADAGRAD, RMSPROP, ADAM = range(6)
FLOOR = 1e-7  # added to what is divided by, and to probabilities
NO_LOSS = -np.inf


# Between arrays and padded scratch ---------------------------------------------------


@inner
def _pad(M, N, A, a, a_row, P, p, row):
    """Copy M rows of N elements, `a_row` apart, to rows `row` apart; return if all are finite."""
    lanes = VECTOR_BYTES // A.itemsize
    # Four vectors at a time, as a sum of single ones would wait for each addition.
    strange, rest = splat(A.dtype.type(0), 1, 4), splat(A.dtype.type(0), 1, 1)
    for m in range(M):
        n, from_, to = 0, a + m * a_row, p + m * row
        while n + 4 * lanes <= N:
            four = load(A, from_ + n, 0, 1, 4)
            strange = fma(four, like(four, 0), strange)
            store(P, to + n, 0, four)
            n += 4 * lanes
        while n < N:
            one = load_first(A, from_ + n, N - n, 1)
            rest = fma(one, like(one, 0), rest)
            store(P, to + n, 0, one)
            n += lanes
    return lane_sum(strange) + lane_sum(rest) == 0


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
def _groups(X, x, count, first, e, column):
    """List groups of columns, ``first ..``, of ``X[x : x + count]`` that are not all zero; the end.

    Without a branch: which groups are zero is beyond guessing, and a wrong guess
    costs as much as the products of two inputs.
    """
    lanes = VECTOR_BYTES // X.itemsize
    whole = count - count % COLUMNS
    if lanes < COLUMNS:
        for i in range(0, whole, COLUMNS):
            column[e] = first + i
            found = ZERO
            for k in range(i, i + COLUMNS):
                found |= element(X, x + k) != 0
            e += found
        return e
    for i in range(0, whole, lanes):
        bits = nonzero_lanes(load_first(X, x + i, whole - i, 1))
        for k in range(0, lanes, COLUMNS):
            column[e] = first + i + k
            e += (bits >> k) & (2**COLUMNS - 1) != 0
    return e


# Affine ------------------------------------------------------------------------------


def _make_forward(vectors):
    @inner
    def forward(rows, low, end, first, behind, last, column, X, x, I, B, b_row, Y, y, y_row):
        for r in range(rows):
            e, stop, at = first[r], last[r], x + r * I
            total = load(Y, y + r * y_row, 0, 1, vectors)
            while e < stop and element(column, e) < end:
                k = element(column, e)
                for i in range(k, k + COLUMNS):
                    one = splat(B.dtype.type(element(X, at + i)), 1, vectors)
                    total = fma(one, load(B, (i - low) * b_row, 0, 1, vectors), total)
                e += 1
            if end == I:
                for i in range(I - I % COLUMNS, I):
                    one = splat(B.dtype.type(element(X, at + i)), 1, vectors)
                    total = fma(one, load(B, (i - low) * b_row, 0, 1, vectors), total)
            store(Y, y + r * y_row, 0, total)
            behind[r] = e

    return forward


def _make_backward(vectors):
    @inner
    def backward(height, count, rows, column, value, D, d, d_row, G, g_row):
        for k in range(height):
            total, at = splat(D.dtype.type(0), 1, vectors), k * rows
            for e in range(at, at + count[k]):
                total = rank_one(total, value, e, 0, D, d + element(column, e) * d_row)
            store(G, k * g_row, 0, total)

    return backward


_forward_a, _forward_b, _forward_c, _forward_d, _forward_e, _forward_f = map(_make_forward, WIDTHS)
_backward_a, _backward_b, _backward_c, _backward_d, _backward_e, _backward_f = map(
    _make_backward, WIDTHS
)


@inner
def _forward(width, rows, low, end, first, behind, last, column, X, x, I, B, b_row, Y, n, row):
    """Add to rows of Y, from column n, products of columns ``low .. end`` of x."""
    if width == WIDTHS[0]:
        _forward_a(rows, low, end, first, behind, last, column, X, x, I, B, b_row, Y, n, row)
    elif width == WIDTHS[1]:
        _forward_b(rows, low, end, first, behind, last, column, X, x, I, B, b_row, Y, n, row)
    elif width == WIDTHS[2]:
        _forward_c(rows, low, end, first, behind, last, column, X, x, I, B, b_row, Y, n, row)
    elif width == WIDTHS[3]:
        _forward_d(rows, low, end, first, behind, last, column, X, x, I, B, b_row, Y, n, row)
    elif width == WIDTHS[4]:
        _forward_e(rows, low, end, first, behind, last, column, X, x, I, B, b_row, Y, n, row)
    else:
        _forward_f(rows, low, end, first, behind, last, column, X, x, I, B, b_row, Y, n, row)


@inner
def _backward(width, height, count, rows, column, value, D, n, row, G, g_row):
    """Rows of G: for each column of x its products with rows of D, from column n, summed."""
    if width == WIDTHS[0]:
        _backward_a(height, count, rows, column, value, D, n, row, G, g_row)
    elif width == WIDTHS[1]:
        _backward_b(height, count, rows, column, value, D, n, row, G, g_row)
    elif width == WIDTHS[2]:
        _backward_c(height, count, rows, column, value, D, n, row, G, g_row)
    elif width == WIDTHS[3]:
        _backward_d(height, count, rows, column, value, D, n, row, G, g_row)
    elif width == WIDTHS[4]:
        _backward_e(height, count, rows, column, value, D, n, row, G, g_row)
    else:
        _backward_f(height, count, rows, column, value, D, n, row, G, g_row)


@inner
def _sparse_rows(X, x, rows, I, O, row, width, W, B, Y, column, cursor):
    """Add ``x @ W`` to rows of Y without the zeros of x; return whether W is finite."""
    begin, last, e, finite = cursor[0], cursor[1], 0, True
    for r in range(rows):
        begin[r] = e
        e = _groups(X, x + r * I, I, 0, e, column)
        last[r] = e
    panel = width * (VECTOR_BYTES // B.itemsize)
    for n in range(0, row, panel):
        for low in range(0, I, BLOCK):
            height, turn = min(BLOCK, I - low), low // BLOCK % 2
            finite &= _pad(height, min(panel, O - n), W, low * O + n, O, B, ZERO, panel)
            first = begin if low == 0 else cursor[2 + turn]
            _forward(width, rows, low, low + height, first, cursor[3 - turn], last, column,
                     X, x, I, B, panel, Y, n, row)  # fmt: skip
    return finite


@inner
def _dense_rows(X, x, rows, I, O, row, W, B, Y, value):
    """Add ``x @ W`` to rows of Y."""
    for i in range(rows * I):
        value[i] = X[x + i]
    for low in range(0, I, BLOCK):
        height = min(BLOCK, I - low)
        _pad(height, O, W, low * O, O, B, ZERO, row)
        multiply(rows, row, height, value, low, I, ONE, B, ZERO, row, Y, ZERO, row,
                 Y, ZERO, row)  # fmt: skip


@inner
def _fill(rows, b, Y, row):
    """Begin every row of Y with the biases."""
    for r in range(rows):
        _pad(ONE, b.size, b, ZERO, ZERO, Y, r * row, row)


@inner
def affine_chunk(chunk, chunks, x, W, b, out, row, width, outputs, inputs, weights, column, cursor):
    """A chunk's share of the rows of ``x @ W + b``, of mostly zeros in x.

    A row of outputs is padded to ``row``, passes of ``width`` vectors.
    Scratch of a chunk: ROW_BLOCK rows of ``outputs``, padded, of ``inputs`` and
    of their ``column``, and BLOCK rows of ``weights``, padded.
    """
    (N, I), O = x.shape, W.shape[1]
    X, Y, B = flat(x), outputs[chunk], weights[chunk]
    low, high = N * chunk // chunks, N * (chunk + 1) // chunks
    sparse = True
    for first in range(low, high, ROW_BLOCK):
        rows = min(ROW_BLOCK, high - first)
        _fill(rows, b, Y, row)
        if sparse:
            sparse = _sparse_rows(X, first * I, rows, I, O, row, width, flat(W), B, Y,
                                  column[chunk], cursor[chunk])  # fmt: skip
            if not sparse:
                _fill(rows, b, Y, row)
        if not sparse:
            _dense_rows(X, first * I, rows, I, O, row, flat(W), B, Y, inputs[chunk])
        _unpad(rows, O, Y, ZERO, row, flat(out), first * O, O)


@Chunked
@entry(parallel=False)
def affine(chunks, context, *args):
    """`affine_chunk` in so many chunks."""
    run_or_pack(chunks, context, affine_chunk, args)


@inner
def _by_columns(X, rows, I, low, height, value, column, count, groups):
    """List the nonzeros of each column ``low ..`` of x: from ``k * rows`` on, ``count[k]`` of them.

    Their rows go to ``column``.  Then a sum over rows stays in registers.
    """
    whole = height - height % COLUMNS
    for k in range(height):
        count[k] = 0
    for r in range(rows):
        at = r * I + low
        for q in range(_groups(X, at, height, ZERO, ZERO, groups)):
            first = element(groups, q)
            for k in range(first, first + COLUMNS):
                e = k * rows + element(count, k)
                value[e], column[e] = element(X, at + k), r
                count[k] += element(X, at + k) != 0
        for k in range(whole, height):
            e = k * rows + element(count, k)
            value[e], column[e] = element(X, at + k), r
            count[k] += element(X, at + k) != 0


@inner
def _sparse_gradient(X, rows, I, low, height, row, width, D, value, column, count, groups, G,
                     dW, O):  # fmt: skip
    """Rows ``low ..`` of dW, ``x[:, low : low + height].T @ dz``, without the zeros of x."""
    _by_columns(X, rows, I, low, height, value, column, count, groups)
    panel = width * (VECTOR_BYTES // D.itemsize)
    for n in range(0, row, panel):
        _backward(width, height, count, rows, column, value, D, n, row, G, panel)
        _unpad(height, min(panel, O - n), G, ZERO, panel, dW, low * O + n, O)


@inner
def _dense_gradient(X, rows, I, low, height, row, D, value, G, dW, O):
    """The same of any x."""
    for r in range(rows):
        for k in range(height):
            value[r * height + k] = X[r * I + low + k]
    for i in range(height * row):
        G[i] = 0.0
    multiply(height, row, rows, value, ZERO, ONE, height, D, ZERO, row, G, ZERO, row,
             G, ZERO, row)  # fmt: skip
    _unpad(height, O, G, ZERO, row, dW, low * O, O)


@inner
def _input_gradient(low, high, I, O, D, row, W, dx, work):
    """Rows ``low .. high`` of ``dx = dz @ W.T``; `work` is scratch for a panel and for rows."""
    lanes = VECTOR_BYTES // D.itemsize
    width, dx_row = TILE_VECTORS * lanes, (I + lanes - 1) // lanes * lanes
    for n in range(width):
        work[n] = 0.0
    panel, out = work[width:], work[width + O * width :]
    if dx_row == I:
        multiply_transposed(high - low, I, O, D, low * row, row, W, ZERO, O, work, ZERO, ZERO,
                            dx, low * I, I, panel)  # fmt: skip
        return
    for first in range(low, high, ROW_BLOCK):
        rows = min(ROW_BLOCK, high - first)
        multiply_transposed(rows, I, O, D, first * row, row, W, ZERO, O, work, ZERO, ZERO,
                            out, ZERO, dx_row, panel)  # fmt: skip
        _unpad(rows, I, out, ZERO, dx_row, dx, first * I, I)


@inner
def affine_gradients_chunk(chunk, chunks, x, W, dout, dW, db, dx, row, width, padded, inputs,
                           sums, work, column, lists):  # fmt: skip
    """A chunk's share of dW, db and, unless it is empty, dx; for x as in `affine_chunk`.

    Scratch of a chunk: ``padded`` for dout, N rows of BLOCK ``inputs`` and their
    ``column``, BLOCK rows of ``sums``, padded, and ``work`` for `_input_gradient`.
    """
    (N, I), O = x.shape, W.shape[1]
    X, D, G, value = flat(x), padded[chunk], sums[chunk], inputs[chunk]
    sparse = _pad(N, O, flat(dout), ZERO, O, D, ZERO, row)
    blocks = (I + BLOCK - 1) // BLOCK
    for block in range(blocks * chunk // chunks, blocks * (chunk + 1) // chunks):
        low = block * BLOCK
        height = min(BLOCK, I - low)
        if sparse:
            _sparse_gradient(X, N, I, low, height, row, width, D, value, column[chunk],
                             lists[chunk, 0], lists[chunk, 1], G, flat(dW), O)  # fmt: skip
        else:
            _dense_gradient(X, N, I, low, height, row, D, value, G, flat(dW), O)
    if chunk == chunks - 1:
        column_sums(N, row, D, ZERO, row, G, ZERO)
        _unpad(ONE, O, G, ZERO, row, db, ZERO, O)
    if dx.size:
        _input_gradient(N * chunk // chunks, N * (chunk + 1) // chunks, I, O, D, row, flat(W),
                        flat(dx), work[chunk])  # fmt: skip


@Chunked
@entry(parallel=False)
def affine_gradients(chunks, context, *args):
    """`affine_gradients_chunk` in so many chunks."""
    run_or_pack(chunks, context, affine_gradients_chunk, args)


# Element by element ------------------------------------------------------------------


@inner
def map_chunk(chunk, chunks, function, x, y, mask):
    """A chunk's share of y: ReLU of x with its `mask`, y cleared where the mask is, or sigmoid.

    For sigmoid a share must have a whole vector.
    """
    low, high = x.size * chunk // chunks, x.size * (chunk + 1) // chunks
    if function == SIGMOID:
        lanes = VECTOR_BYTES // x.itemsize
        for i in range(low, high, lanes):
            at = min(i, high - lanes)  # the last vector overlaps the one before
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
