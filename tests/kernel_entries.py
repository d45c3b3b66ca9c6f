"""The kernels, called from Python on matrices, under the kernels' names.

Inner kernels can only be called by compiled code: here are entries that do, and functions that
put matrices into flat memory, call an entry there and read the result. The memory is NaN wherever
no matrix lies. An entry costs seconds to compile, so one may serve several kernels.
"""

import functools
import hashlib
import json

import numpy as np

from fastnn.compiler import cache, jit
from fastnn.compiler.lanes import (
    GROUP_BYTES,
    LIST_SLACK,
    TILE_VECTORS,
    VECTOR_BYTES,
    absolute,
    add_products_of_rows,
    broadcast_like,
    copysign,
    element,
    exponent_part,
    fma,
    is_single,
    keep_first,
    lane_max,
    lane_sum,
    like,
    list_nonzeros,
    load,
    load_first,
    load_like,
    load_transposed,
    mantissa_part,
    maximum,
    polynomial,
    prefetch,
    put,
    rank_one,
    splat,
    square_root,
    store,
    tile_product,
    times_power_of_two,
    where_less,
)
from fastnn.kernels import (
    activations,
    affine,
    dropout,
    losses,
    narrow_outputs,
    nonzeros,
    updates,
)

# Compiled code of this file is kept like the library's, and made again when this file changes.
CODE = cache.CodeStore(cache.Sources([*cache.STORE.sources.files, __file__]))

DTYPES = (np.float32, np.float64)


def entry(function):
    return jit.Entry(function, parallel=False, store=CODE).serial


def lanes_of(dtype):
    return VECTOR_BYTES // np.dtype(dtype).itemsize


def group_of(dtype):
    """Elements that rows are padded to multiples of, and losses summed in."""
    return GROUP_BYTES // np.dtype(dtype).itemsize


def padded(matrix, padding=0, multiple=None):
    """The matrix with more columns of `padding`, up to whole groups or another multiple."""
    more = -matrix.shape[1] % (multiple or group_of(matrix.dtype))
    return np.pad(matrix, ((0, 0), (0, more)), constant_values=padding)


class Memory:
    """A matrix in flat memory, rows `gap` elements apart, with NaN before, between and behind."""

    def __init__(self, matrix, margin=0, gap=0):
        rows, columns = matrix.shape
        self.at, self.row = margin, columns + gap
        length = (rows - 1) * self.row + columns if rows else 0
        self.flat = np.full(margin + length + margin, np.nan, matrix.dtype)
        self._matrix = np.lib.stride_tricks.as_strided(
            self.flat[margin:], matrix.shape, (self.row * matrix.itemsize, matrix.itemsize)
        )
        self._matrix[...] = matrix

    @property
    def place(self):
        """Array, offset and stride, as kernels take them."""
        return self.flat, self.at, self.row

    def read(self):
        """The matrix; nothing may have been written around it."""
        matrix = self._matrix.copy()
        self._matrix[...] = np.nan
        assert np.isnan(self.flat).all(), "a kernel wrote outside of its output"
        return matrix


def nothing(rows, columns, dtype):
    """A matrix of NaN, for a kernel to overwrite."""
    return np.full((rows, columns), np.nan, dtype)


# Lanes --------------------------------------------------------------------------------

LANE_FUNCTIONS = (
    "add", "subtract", "multiply", "divide", "fma", "absolute", "copysign", "square_root",
    "where_less", "maximum", "times_power_of_two", "exponent_part", "mantissa_part", "polynomial",
    "like_a_tenth", "is_single",
)  # fmt: skip
(
    ADD, SUBTRACT, MULTIPLY, DIVIDE, FMA, ABSOLUTE, COPYSIGN, SQUARE_ROOT,
    WHERE_LESS, MAXIMUM, TIMES_POWER_OF_TWO, EXPONENT_PART, MANTISSA_PART, POLYNOMIAL,
    LIKE_A_TENTH, IS_SINGLE,
) = range(len(LANE_FUNCTIONS))  # fmt: skip
COEFFICIENTS = (0.1, -0.7, 1.5)


@entry
def _map_lanes(function, A, B, C, OUT):
    lanes = VECTOR_BYTES // A.itemsize
    for i in range(0, A.size, 2 * lanes):
        a, b, c = load(A, i, lanes, 2, 1), load(B, i, lanes, 2, 1), load(C, i, lanes, 2, 1)
        if function == ADD:
            out = a + b
        elif function == SUBTRACT:
            out = a - b
        elif function == MULTIPLY:
            out = a * b
        elif function == DIVIDE:
            out = a / b
        elif function == FMA:
            out = fma(a, b, c)
        elif function == ABSOLUTE:
            out = absolute(a)
        elif function == COPYSIGN:
            out = copysign(a, b)
        elif function == SQUARE_ROOT:
            out = square_root(a)
        elif function == WHERE_LESS:
            out = where_less(a, b, c, a)
        elif function == MAXIMUM:
            out = maximum(a, b)
        elif function == TIMES_POWER_OF_TWO:
            out = times_power_of_two(a, b)
        elif function == EXPONENT_PART:
            out = exponent_part(a)
        elif function == MANTISSA_PART:
            out = mantissa_part(a)
        elif function == POLYNOMIAL:
            out = polynomial(a, COEFFICIENTS)
        elif function == LIKE_A_TENTH:
            out = like(a, 0.1)
        else:
            out = like(a, 1) if is_single(a) else like(a, 0)
        store(OUT, i, lanes, out)


def map_lanes(name, a, b=None, c=None):
    """One of LANE_FUNCTIONS on tiles of two rows; ``where_less`` is ``c if a < b else a``."""
    b, c = a if b is None else b, a if c is None else c
    length = -a.size % (2 * lanes_of(a.dtype))
    a, b, c = (np.pad(x, (0, length), constant_values=1) for x in (a, b, c))
    out = np.full_like(a, np.nan)
    _map_lanes(LANE_FUNCTIONS.index(name), a, b, c, out)
    return out[: out.size - length]


@entry
def _fma_scalars(A, B, C, OUT):
    for i in range(A.size):
        OUT[i] = fma(A[i], B[i], C[i])


def fma_scalars(a, b, c):
    out = np.full_like(a, np.nan)
    _fma_scalars(a, b, c, out)
    return out


ACCESSES = (
    "element", "load", "load_like", "broadcast_like", "load_first", "load_transposed", "store",
    "rank_one_left", "rank_one_right", "product_left", "product_right", "product_start", "prefetch",
)  # fmt: skip
(
    ELEMENT, LOAD, LOAD_LIKE, BROADCAST_LIKE, LOAD_FIRST, LOAD_TRANSPOSED, STORE,
    RANK_ONE_LEFT, RANK_ONE_RIGHT, PRODUCT_LEFT, PRODUCT_RIGHT, PRODUCT_START, PREFETCH,
) = range(len(ACCESSES))  # fmt: skip


@entry
def _access(function, X, x, stride, count, OUT):
    lanes = VECTOR_BYTES // X.itemsize
    zeros = splat(X.dtype.type(0), 3, 2)
    if function == ELEMENT:
        OUT[0] = element(X, x)
    elif function == LOAD:
        store(OUT, 0, 2 * lanes, load(X, x, stride, 3, 2))
    elif function == LOAD_LIKE:
        store(OUT, 0, 0, load_like(X, x, splat(X.dtype.type(0), 1, 2)))
    elif function == BROADCAST_LIKE:
        store(OUT, 0, 2 * lanes, broadcast_like(X, x, zeros))
    elif function == LOAD_FIRST:
        store(OUT, 0, 0, load_first(X, x, count, 2))
    elif function == LOAD_TRANSPOSED:
        store(OUT, 0, lanes, load_transposed(X, x, stride))
    elif function == STORE:
        store(X, x, stride, load(OUT, 0, 2 * lanes, 3, 2))
    elif function == RANK_ONE_LEFT:
        store(OUT, 0, 2 * lanes, rank_one(zeros, X, x, stride, OUT, 0))
    elif function == RANK_ONE_RIGHT:
        store(OUT, 0, 2 * lanes, rank_one(zeros, OUT, 0, 1, X, x))
    elif function == PRODUCT_LEFT:
        store(OUT, 0, 2 * lanes, tile_product(3, 2, 2, X, x, stride, 1, OUT, 0, 1, OUT, 0, 1))
    elif function == PRODUCT_RIGHT:
        store(OUT, 0, 2 * lanes, tile_product(3, 2, 2, OUT, 0, 1, 1, X, x, stride, OUT, 0, 1))
    elif function == PRODUCT_START:
        store(OUT, 0, 2 * lanes, tile_product(3, 2, 2, OUT, 0, 1, 1, OUT, 0, 1, X, x, stride))
    else:
        prefetch(X, x)


def access(name, X, x, stride=0, count=0, out=None):
    """Read, or write, X at x by one of ACCESSES; tiles have 3 rows of 2 vectors."""
    lanes = lanes_of(X.dtype)
    if out is None:
        out = nothing(*((lanes, lanes) if name == "load_transposed" else (3, 2 * lanes)), X.dtype)
    _access(ACCESSES.index(name), X, x, stride, count, out.reshape(-1))
    return out


@entry
def _products_of_rows(T, A, B, stride, OUT):
    store(OUT, 0, 0, add_products_of_rows(load(T, 0, 0, 1, 1), A, 1, B, 2, stride))


def products_of_rows(T, A, B):
    """T plus the products of a square B and a vector A."""
    lanes, stride, out = len(T), len(T) + 3, np.empty_like(T)
    block = np.full(2 + lanes * stride, np.nan, T.dtype)
    block[2:].reshape(lanes, stride)[:, :lanes] = B
    _products_of_rows(T, np.append(T.dtype.type(np.nan), A), block, stride, out)
    return out


@entry
def _across(X, SUMS, MAXIMA):
    SUMS[0], MAXIMA[0] = lane_sum(load(X, 0, 0, 1, 1)), lane_max(load(X, 0, 0, 1, 1))
    SUMS[1], MAXIMA[1] = lane_sum(load(X, 0, 0, 1, 2)), lane_max(load(X, 0, 0, 1, 2))
    SUMS[2], MAXIMA[2] = lane_sum(load(X, 0, 0, 1, 4)), lane_max(load(X, 0, 0, 1, 4))


def across(X):
    """Sums and maxima of the first vector of X, of two and of four."""
    sums, maxima = np.full(3, np.nan, X.dtype), np.full(3, np.nan, X.dtype)
    _across(X, sums, maxima)
    return sums, maxima


@entry
def _first_lanes(X, Y, count, OUT):
    store(OUT, 0, 0, keep_first(load(X, 0, 0, 1, 2), count, load(Y, 0, 0, 1, 2)))


@entry
def _list_nonzeros(X, always, first, LIST, COUNT):
    COUNT[0] = list_nonzeros(LIST, 1, load(X, 0, 0, 1, 1), always, first)
    put(COUNT, 1, 7)


def nonzeros_listed(X, always, first):
    """The list of the nonzeros of a vector, or of all of it, and what lies before the list."""
    found, count = np.full(1 + max(8, len(X)), -1, np.int32), np.zeros(2, np.int64)
    _list_nonzeros(X, -1 if always else 0, first, found, count)
    assert count[1] == 7
    return found[1 : 1 + count[0]], found[0]


def keep_first_of_two(X, count, Y):
    """The first elements of two vectors of X, then those of Y."""
    out = np.full_like(X, np.nan)
    _first_lanes(X, Y, count, out)
    return out


# Elementary functions and activations ---------------------------------------------------

FUNCTIONS = ("exp", "expm1", "log", "log1p", "sigmoid", "tanh", "softplus")
EXP, EXPM1, LOG, LOG1P, SIGMOID, TANH, SOFTPLUS, ACTIVATE, SLOPE = range(len(FUNCTIONS) + 2)


@entry
def _map(function, code, X, Y):
    lanes = VECTOR_BYTES // X.itemsize
    for i in range(0, X.size, lanes):
        x = load(X, i, 0, 1, 1)
        if function == EXP:
            y = activations.exp(x)
        elif function == EXPM1:
            y = activations.expm1(x)
        elif function == LOG:
            y = activations.log(x)
        elif function == LOG1P:
            y = activations.log1p(x)
        elif function == SIGMOID:
            y = activations.sigmoid(x)
        elif function == TANH:
            y = activations.tanh(x)
        elif function == SOFTPLUS:
            y = activations.softplus(x)
        elif function == ACTIVATE:
            y = activations.activate(code, x)
        else:
            y = activations.slope(code, x)
        store(Y, i, 0, y)


def _mapped(function, x, code=0):
    wide = padded(x.reshape(1, -1), 0.5).reshape(-1)
    y = np.full_like(wide, np.nan)
    _map(function, code, wide, y)
    return y[: x.size].reshape(x.shape)


exp, expm1, log, log1p, sigmoid, tanh, softplus = (
    functools.partial(_mapped, i) for i in range(len(FUNCTIONS))
)


def activate(code, z):
    return _mapped(ACTIVATE, z, code)


def slope(code, y):
    return _mapped(SLOPE, y, code)


@entry
def _activation_forward(code, rows, vectors, lanes, Y, y, stride):
    activations.activation_forward(code, rows, vectors, lanes, Y, y, stride)


@entry
def _activation_backward(code, rows, vectors, lanes, Y, y, D, d, stride):
    activations.activation_backward(code, rows, vectors, lanes, Y, y, D, d, stride)


def activation_forward(code, Y, **layout):
    """`Y` has whole vectors."""
    lanes = lanes_of(Y.dtype)
    memory = Memory(Y, **layout)
    _activation_forward(code, Y.shape[0], Y.shape[1] // lanes, lanes, *memory.place)
    return memory.read()


def activation_backward(code, Y, D, margin=0, gap=0):
    """`Y` and `D` have whole vectors."""
    lanes = lanes_of(Y.dtype)
    y, d = Memory(Y, margin + 1, gap), Memory(D, margin, gap)
    _activation_backward(
        code, Y.shape[0], Y.shape[1] // lanes, lanes, y.flat, y.at, d.flat, d.at, d.row
    )
    return d.read()


# Products -----------------------------------------------------------------------------


@entry
def _multiply(M, N, K, A, a, a_row, a_col, B, b, b_row, S, s, s_row, C, c, c_row):
    affine.multiply(M, N, K, A, a, a_row, a_col, B, b, b_row, S, s, s_row, C, c, c_row)


@entry
def _multiply_transposed(M, N, K, A, a, a_row, W, w, w_row, S, s, s_row, C, c, c_row, panel):
    affine.multiply_transposed(M, N, K, A, a, a_row, W, w, w_row, S, s, s_row, C, c, c_row, panel)


@entry
def _multiply_transposed_few(M, N, K, A, a, a_row, W, w, w_row, C, c, c_row):
    affine.multiply_transposed_few(M, N, K, A, a, a_row, W, w, w_row, C, c, c_row)


@entry
def _multiply_few(N, K, A, a, a_col, B, b, b_row, C, c):
    affine.multiply_few(N, K, A, a, a_col, B, b, b_row, C, c)


@entry
def _column_sums(M, N, A, a, a_row, C, c):
    affine.column_sums(M, N, A, a, a_row, C, c)


def multiply(A, B, S, by_columns=False, in_place=False, **layout):
    """`B` and `S` have whole vectors; `S` may be one row for all; ``by_columns`` is how A lies."""
    left, right = Memory(A.T if by_columns else A, **layout), Memory(B, **layout)
    strides = (1, left.row) if by_columns else (left.row, 1)
    start = Memory(np.atleast_2d(S), **layout)
    total = start if in_place else Memory(nothing(len(A), B.shape[1], A.dtype), **layout)
    _multiply(
        *(len(A), B.shape[1], B.shape[0], left.flat, left.at, *strides, *right.place),
        *(start.flat, start.at, 0 if S.ndim == 1 else start.row, *total.place),
    )
    return total.read()


def multiply_transposed(A, W, S, in_place=False, **layout):
    """`S` has whole vectors; it may be one row of zeros for all."""
    (M, K), (N, _) = A.shape, W.shape
    start = Memory(np.atleast_2d(S), **layout)
    total = start if in_place else Memory(nothing(M, S.shape[-1], A.dtype), **layout)
    _multiply_transposed(
        *(M, N, K, *Memory(A, **layout).place, *Memory(W, **layout).place),
        *(start.flat, start.at, 0 if S.ndim == 1 else start.row, *total.place),
        np.full(K * TILE_VECTORS * lanes_of(A.dtype), np.nan, A.dtype),
    )
    return total.read()


def multiply_transposed_few(A, W, **layout):
    """With the columns up to a whole vector."""
    (M, K), (N, _) = A.shape, W.shape
    total = Memory(nothing(M, N + -N % lanes_of(A.dtype), A.dtype), **layout)
    _multiply_transposed_few(
        M, N, K, *Memory(A, **layout).place, *Memory(W, **layout).place, *total.place
    )
    return total.read()


def multiply_few(A, B, column, **layout):
    """The products of one column of A, as a row, with B, which has whole vectors."""
    left, right = Memory(A, **layout), Memory(B, **layout)
    total = Memory(nothing(1, B.shape[1], B.dtype), **layout)
    _multiply_few(B.shape[1], len(B), left.flat, left.at + column, left.row, *right.place,
                  total.flat, total.at)  # fmt: skip
    return total.read()[0]


def column_sums(A, **layout):
    """`A` has whole vectors."""
    sums = Memory(nothing(1, A.shape[1], A.dtype), **layout)
    _column_sums(*A.shape, *Memory(A, **layout).place, sums.flat, sums.at)
    return sums.read()[0]


# Losses -------------------------------------------------------------------------------


@entry
def _loss_forward(loss, O, label, T, t, Y, y):
    return losses.loss_forward(loss, O, label, T, t, Y, y)


@entry
def _loss_backward(loss, O, label, T, t, scale, Y, y, D, d):
    losses.loss_backward(loss, O, label, T, t, scale, Y, y, D, d)


@entry
def _outputs_forward(loss, rows, O, Y, y, y_row):
    losses.outputs_forward(loss, rows, O, Y, y, y_row)


def loss_forward(loss, label, t, z, margin=0):
    """The outputs, in whole groups whose ends were NaN, and the loss; `t` has no padding."""
    Y, T = Memory(padded(z.reshape(1, -1), np.nan), margin), Memory(t.reshape(1, -1), margin)
    total = _loss_forward(loss, z.size, label, T.flat, T.at, Y.flat, Y.at)
    return Y.read()[0], total


def loss_backward(loss, label, t, scale, y, margin=0):
    """All of ``dz``, padding included, for `y` as `loss_forward` returns it."""
    Y, T = Memory(y.reshape(1, -1), margin), Memory(t.reshape(1, -1), margin)
    D = Memory(nothing(1, y.size, y.dtype), margin + 1)
    scale = y.dtype.type(scale)
    _loss_backward(loss, t.size, label, T.flat, T.at, scale, Y.flat, Y.at, D.flat, D.at)
    return D.read()[0]


def outputs_forward(loss, Z, **layout):
    Y = Memory(padded(Z, np.nan), **layout)
    _outputs_forward(loss, *Z.shape, *Y.place)
    return Y.read()[:, : Z.shape[1]]


@entry
def _narrow_loss_forward(loss, O, labels, T, batch, Y, y, y_row, S, s, row_loss):
    narrow_outputs.narrow_loss_forward(loss, O, labels, T, batch, Y, y, y_row, S, s, row_loss)


@entry
def _narrow_outputs_forward(loss, O, Y, y, y_row, S, s):
    narrow_outputs.narrow_outputs_forward(loss, O, Y, y, y_row, S, s)


def narrow_loss_forward(loss, batch, labels, T, Z):
    """Outputs and losses of as many rows as a vector has lanes; `T` is contiguous."""
    Y, S = Memory(padded(Z, np.nan), margin=3, gap=5), _narrow_scratch(Z.dtype)
    row_loss = np.full(len(Z), np.nan)
    _narrow_loss_forward(loss, Z.shape[1], labels, T.ravel(), batch, *Y.place, *S.place[:2],
                         row_loss)  # fmt: skip
    S.read()
    return Y.read()[:, : Z.shape[1]], row_loss


def narrow_outputs_forward(loss, Z):
    Y, S = Memory(padded(Z, np.nan), margin=3, gap=5), _narrow_scratch(Z.dtype)
    _narrow_outputs_forward(loss, Z.shape[1], *Y.place, *S.place[:2])
    S.read()
    return Y.read()[:, : Z.shape[1]]


def _narrow_scratch(dtype):
    return Memory(nothing(1, narrow_outputs.SCRATCH, dtype), margin=2)


# Updates ------------------------------------------------------------------------------


@entry
def _update_block(rule, hyper, rate, decay, M, N, G, g, g_row, params, memory, at, row):
    updates.update_block(rule, hyper, rate, decay, M, N, G, g, g_row, params, memory, at, row)


def hyper(dtype, numbers=None):
    """The array of a rule's numbers, given by place; NaN in the others."""
    values = np.full(updates.HYPER_SIZE, np.nan, dtype)
    for place, number in (numbers or {}).items():
        values[place] = number
    return values


def update_block(rule, learning_rate, G, params, memory, margin=0, gap=0, decay=0, numbers=None):
    """The parameters and the memory after the update; all have whole vectors.

    A memory of shape (2, ...) is two arrays like the parameters.
    """
    rate, decay = (G.dtype.type(number) for number in (learning_rate, decay))
    gradients, p = Memory(G, margin, 2 * gap), Memory(params, margin, gap)
    parts = [Memory(part, margin, gap) for part in (memory if memory.ndim == 3 else [memory])]
    flat = np.concatenate([part.flat for part in parts])
    _update_block(
        *(rule, hyper(G.dtype, numbers), rate, decay, *G.shape, *gradients.place),
        *(p.flat, flat, p.at, p.row),
    )
    for part, found in zip(parts, np.split(flat, len(parts)), strict=True):
        part.flat[:] = found
    found = np.array([part.read() for part in parts])
    return p.read(), found if memory.ndim == 3 else found[0]


# The first layer on sparse inputs -------------------------------------------------------


@entry
def _nonzeros_forward(batch, I, vectors, bounds, column, value, W, w, w_row, b, Y, y, y_row,
                      cursor, slot):  # fmt: skip
    nonzeros.nonzeros_forward(batch, I, vectors, bounds, column, value, W, w, w_row, b, Y, y, y_row,
                              cursor, slot)  # fmt: skip


@entry
def _nonzeros_backward(block, I, rows, vectors, column, value, D, d, d_row,
                       rule, hyper, rate, decay, params, memory, w, w_row, G, g, most,
                       cursor):  # fmt: skip
    nonzeros.nonzeros_backward(block, I, rows, vectors, column, value, D, d, d_row,
                               rule, hyper, rate, decay, params, memory, w, w_row, G, g, most,
                               cursor)  # fmt: skip


@entry
def _values_of_column(i, rows, first, last, column, value, out, o):
    nonzeros.values_of_column(i, rows, first, last, column, value, out, o)


def values_of_columns(x):
    """x, put together from its lists column by column."""
    bounds, column, value = compress_rows(x, x.size + LIST_SLACK)
    found, first = nothing(x.shape[1], len(x), x.dtype), bounds[:, 0].copy()
    for i, row in enumerate(found):
        _values_of_column(i, len(x), first, bounds[:, 1].copy(), column, value, row, 0)
    return found.T


@entry
def _compress_chunks(chunks, x, chosen, bounds, column, value):
    for chunk in range(chunks):
        nonzeros.compress_chunk(chunk, chunks, x, chosen, bounds, column, value)


def compress_rows(x, room, chunks=1):
    """``bounds``, ``column`` and ``value``, with room for so many nonzeros."""
    bounds = np.full((len(x), 2), -(10**9), np.int64)
    # The library has both kinds of columns, for narrow and for wide inputs.
    column = np.full(room, 9999, np.uint16 if x.dtype == np.float32 else np.int32)
    value = np.full(room, np.nan, x.dtype)
    _compress_chunks(chunks, x, np.arange(len(x)), bounds, column, value)
    return bounds, column, value


class SparseRows:
    """Rows of `x`, picked by `batch`, compressed; and where their blocks begin."""

    def __init__(self, x, batch, slot=0):
        self.batch = np.arange(len(x)) if batch is None else np.asarray(batch, np.int64)
        self.lists = compress_rows(x, x.size + LIST_SLACK)
        self.inputs, self.slot = x.shape[1], slot
        self.blocks = -(-self.inputs // nonzeros.COLUMN_BLOCK)
        self.cursor = np.full((self.blocks + 1, slot + self.batch.size), -(10**9))


def _sparse_forward(rows, W, b, **layout):
    params = Memory(np.vstack([W, b]), **layout)
    Y = Memory(nothing(rows.batch.size, W.shape[1], W.dtype), **layout)
    _nonzeros_forward(
        *(rows.batch, rows.inputs, W.shape[1] // lanes_of(W.dtype)),
        *(*rows.lists, *params.place, params.at + len(W) * params.row),
        *(*Y.place, rows.cursor, rows.slot),
    )
    return Y.read()


def nonzeros_forward(x, W, b, batch=None, slot=0, **layout):
    """`W` and `b` have whole vectors; `slot` counts the cursors of other rows before these."""
    return _sparse_forward(SparseRows(x, batch, slot), W, b, **layout)


def nonzeros_backward(
    x, D, batch=None, rule=updates.STORE, learning_rate=0, W=None, most=10**6, **layout
):
    """The parameters and the memory after the update by ``x.T @ D``; `D` has whole vectors."""
    lanes, N = lanes_of(D.dtype), D.shape[1]
    rows = SparseRows(x, batch)
    _sparse_forward(rows, np.zeros((rows.inputs, N), D.dtype), np.zeros(N, D.dtype))
    W = nothing(rows.inputs, N, D.dtype) if W is None else W
    params, memory = Memory(W, **layout), Memory(nothing(*W.shape, W.dtype), **layout)
    scratch = np.full(2 * nonzeros.COLUMN_BLOCK * nonzeros.PANEL * lanes, np.nan, D.dtype)
    for block in range(rows.blocks):
        _nonzeros_backward(
            *(block, rows.inputs, rows.batch.size, N // lanes, *rows.lists[1:]),
            *(*Memory(D, **layout).place, rule, hyper(D.dtype)),
            *(D.dtype.type(learning_rate), D.dtype.type(0)),
            *(params.flat, memory.flat, params.at, params.row, scratch, 0, most, rows.cursor),
        )
    return params.read(), memory.read()


# Dropout ------------------------------------------------------------------------------


@entry
def _dropout_forward(drop, salt, layer, first, rows, low, high, Y, y, y_row):
    dropout.dropout_forward(drop, salt, layer, first, rows, low, high, Y, y, y_row)


@entry
def _dropout_backward(drop, salt, layer, first, rows, low, high, code, Y, y, D, d, row):
    dropout.dropout_backward(drop, salt, layer, first, rows, low, high, code, Y, y, D, d, row)


def dropout_forward(drop, salt, layer, Y, low=0, first=0, **layout):
    """The outputs Y, those of units `low` on and of rows `first` on, in whole vectors."""
    memory = Memory(padded(Y), **layout)
    high = low + Y.shape[1]
    _dropout_forward(drop, salt, layer, first, len(Y), low, high, *memory.place)
    return memory.read()[:, : Y.shape[1]]


def dropout_backward(drop, salt, layer, code, Y, D, low=0, first=0, margin=0, gap=0):
    y, d = Memory(padded(Y), margin + 1, gap), Memory(padded(D), margin, gap)
    high = low + Y.shape[1]
    _dropout_backward(
        drop, salt, layer, first, len(Y), low, high, code, y.flat, y.at, d.flat, d.at, d.row
    )
    return d.read()[:, : Y.shape[1]]


# All of them --------------------------------------------------------------------------


def exercises(dtype):
    """A call of every kernel, by name, on odd sizes in memory with not an element to spare."""
    rng, group = np.random.default_rng(5), group_of(dtype)

    def normal(*shape):
        return rng.normal(size=shape).astype(dtype)

    outputs = 4 * group + 3
    z, t = 4 * normal(outputs), rng.uniform(size=outputs).astype(dtype)
    Y, D, S = (padded(normal(15, outputs)) for _ in range(3))
    z2 = np.tanh(Y)
    A, B, W = normal(15, 259), padded(normal(259, outputs)), normal(outputs, Y.shape[1])
    x = np.where(rng.random((7, 197)) < 0.3, normal(7, 197), dtype.type(0))
    calls = {name: lambda name=name: globals()[name](np.abs(z) / 99) for name in FUNCTIONS}
    for code in activations.ACTIVATION_CODES.values():
        calls |= {
            f"activation {code} forward": lambda code=code: activation_forward(code, Y),
            f"activation {code} backward": lambda code=code: activation_backward(code, Y, D),
        }
    for loss in range(7):
        calls |= {
            f"loss {loss} forward": lambda loss=loss: np.append(*loss_forward(loss, 2, t, z)),
            f"loss {loss} backward": lambda loss=loss: loss_backward(loss, 2, t, 0.1, Y[0]),
            f"outputs of loss {loss}": lambda loss=loss: outputs_forward(loss, Y[:, :outputs]),
        }
    narrow = padded(4 * normal(lanes_of(dtype), 11))[:, :11]
    calls |= {
        f"narrow outputs of loss {loss}": lambda loss=loss: narrow_outputs_forward(loss, narrow)[0]
        for loss in (losses.CROSS_ENTROPY, losses.BINARY_CROSS_ENTROPY)
    }
    return calls | {
        "multiply": lambda: multiply(A, B, S),
        "multiply, bias": lambda: multiply(A, B, S[0]),
        "multiply, by columns": lambda: multiply(A, B, S, by_columns=True),
        "multiply_transposed": lambda: multiply_transposed(Y, W, S),
        "multiply_transposed_few": lambda: multiply_transposed_few(Y[:3], W),
        "multiply_few": lambda: multiply_few(Y, S, 2),
        "column_sums": lambda: column_sums(B),
        "update_block, store": lambda: update_block(updates.STORE, 0.1, Y, D, S)[1],
        "update_block, SGD": lambda: update_block(updates.SGD, 0.1, Y, D, S)[0],
        "nonzeros_forward": lambda: nonzeros_forward(x, B[:197], B[0], slot=1),
        "dropout_forward": lambda: dropout_forward(20_000, 3, 1, Y, 8, 5),
        "dropout_backward": lambda: dropout_backward(20_000, 3, 1, activations.TANH, z2, D),
        "values_of_column": lambda: values_of_columns(x),
        "nonzeros_backward": lambda: nonzeros_backward(x, D[:7])[1],
    }


def fingerprints(names=None, dtypes=DTYPES):
    """Digests of the bits of all exercises, or of those named, as JSON."""
    digests = {}
    for dtype in map(np.dtype, dtypes):
        for name, call in exercises(dtype).items():
            if names is None or name in names:
                digest = hashlib.sha256(call().tobytes()).hexdigest()
                digests[f"{name} {dtype}"] = digest
    return json.dumps(digests)
