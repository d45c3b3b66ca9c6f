"""Vectors and tiles: an entry for what is done lane by lane, and one for what touches memory."""

import numpy as np
from kernel_entries import entry, lanes_of, nothing

from fastnn.compiler import tiles
from fastnn.compiler.arithmetic import (
    absolute,
    copysign,
    exponent_part,
    fma,
    keep_first,
    lane_max,
    lane_sum,
    mantissa_part,
    maximum,
    polynomial,
    square_root,
    times_power_of_two,
    where_less,
)
from fastnn.compiler.choice import one_of
from fastnn.compiler.jit import inner
from fastnn.compiler.tile_products import (
    Matrix,
    add_product,
    add_products_of_rows,
    load_transposed,
    tile_product,
)
from fastnn.compiler.tiles import (
    broadcast_like,
    element,
    is_single,
    like,
    list_nonzeros,
    load,
    load_first,
    load_like,
    load_row,
    load_rows,
    prefetch,
    put,
    splat,
    store,
    store_rows,
)
from fastnn.kernels.groups import ONE, ZERO

# Lane by lane ---------------------------------------------------------------------------

COEFFICIENTS = (0.1, -0.7, 1.5)
LANE_FUNCTIONS = {
    "add": inner(lambda a, b, c: a + b),
    "subtract": inner(lambda a, b, c: a - b),
    "multiply": inner(lambda a, b, c: a * b),
    "divide": inner(lambda a, b, c: a / b),
    "fma": inner(lambda a, b, c: fma(a, b, c)),
    "absolute": inner(lambda a, b, c: absolute(a)),
    "copysign": inner(lambda a, b, c: copysign(a, b)),
    "square_root": inner(lambda a, b, c: square_root(a)),
    "where_less": inner(lambda a, b, c: where_less(a, b, c, a)),
    "maximum": inner(lambda a, b, c: maximum(a, b)),
    "times_power_of_two": inner(lambda a, b, c: times_power_of_two(a, b)),
    "exponent_part": inner(lambda a, b, c: exponent_part(a)),
    "mantissa_part": inner(lambda a, b, c: mantissa_part(a)),
    "polynomial": inner(lambda a, b, c: polynomial(a, COEFFICIENTS)),
    "like_a_tenth": inner(lambda a, b, c: like(a, 0.1)),
    "is_single": inner(lambda a, b, c: like(a, 1) if is_single(a) else like(a, 0)),
}
_lane_function = one_of(dict(enumerate(LANE_FUNCTIONS.values())))


@entry
def _map_lanes(function, A, B, C, OUT):
    lanes = tiles.lanes_of(A)
    for i in range(0, A.size, 2 * lanes):
        a, b, c = (
            load_rows(A, i, lanes, 2, 1),
            load_rows(B, i, lanes, 2, 1),
            load_rows(C, i, lanes, 2, 1),
        )
        store_rows(OUT, i, lanes, _lane_function(function, (a, b, c)))


def map_lanes(name, a, b=None, c=None):
    """One of LANE_FUNCTIONS on tiles of two rows; ``where_less`` is ``c if a < b else a``."""
    b, c = a if b is None else b, a if c is None else c
    length = -a.size % (2 * lanes_of(a.dtype))
    a, b, c = (np.pad(x, (0, length), constant_values=1) for x in (a, b, c))
    out = np.full_like(a, np.nan)
    _map_lanes(list(LANE_FUNCTIONS).index(name), a, b, c, out)
    return out[: out.size - length]


@entry
def _fma_scalars(A, B, C, OUT):
    for i in range(A.size):
        OUT[i] = fma(A[i], B[i], C[i])


def fma_scalars(a, b, c):
    out = np.full_like(a, np.nan)
    _fma_scalars(a, b, c, out)
    return out


# Across lanes ---------------------------------------------------------------------------


@entry
def _across(X, SUMS, MAXIMA):
    SUMS[0], MAXIMA[0] = lane_sum(load(X, 0)), lane_max(load(X, 0))
    SUMS[1], MAXIMA[1] = lane_sum(load_row(X, 0, 2)), lane_max(load_row(X, 0, 2))
    SUMS[2], MAXIMA[2] = lane_sum(load_row(X, 0, 4)), lane_max(load_row(X, 0, 4))


def across(X):
    """Sums and maxima of the first vector of X, of two and of four."""
    sums, maxima = np.full(3, np.nan, X.dtype), np.full(3, np.nan, X.dtype)
    _across(X, sums, maxima)
    return sums, maxima


@entry
def _first_lanes(X, Y, count, OUT):
    store(OUT, 0, keep_first(load_row(X, 0, 2), count, load_row(Y, 0, 2)))


def keep_first_of_two(X, count, Y):
    """The first elements of two vectors of X, then those of Y."""
    out = np.full_like(X, np.nan)
    _first_lanes(X, Y, count, out)
    return out


@entry
def _list_nonzeros(X, always, first, LIST, COUNT):
    COUNT[0] = list_nonzeros(LIST, 1, load(X, 0), always, first)
    put(COUNT, 1, 7)


def nonzeros_listed(X, always, first):
    """The list of the nonzeros of a vector, or of all of it, and what lies before the list."""
    found, count = np.full(1 + max(8, len(X)), -1, np.int32), np.zeros(2, np.int64)
    _list_nonzeros(X, -1 if always else 0, first, found, count)
    assert count[1] == 7
    return found[1 : 1 + count[0]], found[0]


@entry
def _products_of_rows(T, A, B, stride, OUT):
    store(OUT, 0, add_products_of_rows(load(T, 0), A, 1, B, 2, stride))


def products_of_rows(T, A, B):
    """T plus the products of a square B and a vector A."""
    lanes, stride, out = len(T), len(T) + 3, np.empty_like(T)
    block = np.full(2 + lanes * stride, np.nan, T.dtype)
    block[2:].reshape(lanes, stride)[:, :lanes] = B
    _products_of_rows(T, np.append(T.dtype.type(np.nan), A), block, stride, out)
    return out


# Memory: each of these reads, or writes, X from x on; tiles have 3 rows of 2 vectors --------


@inner
def _element(X, x, stride, count, OUT):
    OUT[0] = element(X, x)


@inner
def _put(X, x, stride, count, OUT):
    put(X, x, OUT[0])


@inner
def _load(X, x, stride, count, OUT):
    store(OUT, 0, load(X, x))


@inner
def _load_row(X, x, stride, count, OUT):
    store(OUT, 0, load_row(X, x, 2))


@inner
def _load_rows(X, x, stride, count, OUT):
    store_rows(OUT, 0, 2 * tiles.lanes_of(X), load_rows(X, x, stride, 3, 2))


@inner
def _load_like(X, x, stride, count, OUT):
    store(OUT, 0, load_like(X, x, load_row(OUT, 0, 2)))


@inner
def _broadcast_like(X, x, stride, count, OUT):
    row = 2 * tiles.lanes_of(X)
    store_rows(OUT, 0, row, broadcast_like(X, x, load_rows(OUT, 0, row, 3, 2)))


@inner
def _load_first(X, x, stride, count, OUT):
    store(OUT, 0, load_first(X, x, count, 2))


@inner
def _load_transposed(X, x, stride, count, OUT):
    store_rows(OUT, 0, tiles.lanes_of(X), load_transposed(X, x, stride))


@inner
def _store(X, x, stride, count, OUT):
    store(X, x, load_row(OUT, 0, 2))


@inner
def _store_rows(X, x, stride, count, OUT):
    store_rows(X, x, stride, load_rows(OUT, 0, 2 * tiles.lanes_of(X), 3, 2))


@inner
def _splat(X, x, stride, count, OUT):
    store(OUT, 0, splat(element(X, x), 2))


@inner
def _product_left(X, x, stride, count, OUT):
    """Row 0 of OUT plus X[x] times row 1."""
    row = 2 * tiles.lanes_of(X)
    store(OUT, 0, add_product(load_row(OUT, 0, 2), X, x, OUT, row))


@inner
def _product_right(X, x, stride, count, OUT):
    """Row 0 of OUT plus the first element of row 1 times X[x:]."""
    row = 2 * tiles.lanes_of(X)
    store(OUT, 0, add_product(load_row(OUT, 0, 2), OUT, row, X, x))


@inner
def _products_of_rows_left(X, x, stride, count, OUT):
    store(OUT, 0, add_products_of_rows(load(OUT, 0), X, x, OUT, 0, ZERO))


@inner
def _products_of_rows_right(X, x, stride, count, OUT):
    store(OUT, 0, add_products_of_rows(load(OUT, 0), OUT, 0, X, x, stride))


@inner
def _tile_product_left(X, x, stride, count, OUT):
    _tile_product(Matrix(X, x, stride, ONE), _rows(OUT), _rows(OUT), OUT)


@inner
def _tile_product_right(X, x, stride, count, OUT):
    _tile_product(_rows(OUT), Matrix(X, x, stride, ONE), _rows(OUT), OUT)


@inner
def _tile_product_start(X, x, stride, count, OUT):
    _tile_product(_rows(OUT), _rows(OUT), Matrix(X, x, stride, ONE), OUT)


@inner
def _rows(OUT):
    return Matrix(OUT, ZERO, ZERO, ONE)


@inner
def _tile_product(left, right, start, OUT):
    product = tile_product(3, 2, 2, left, right, start)
    store_rows(OUT, 0, 2 * tiles.lanes_of(OUT), product)


@inner
def _prefetch(X, x, stride, count, OUT):
    prefetch(X, x)


ACCESSES = {
    "element": _element,
    "put": _put,
    "load": _load,
    "load_row": _load_row,
    "load_rows": _load_rows,
    "load_like": _load_like,
    "broadcast_like": _broadcast_like,
    "load_first": _load_first,
    "load_transposed": _load_transposed,
    "store": _store,
    "store_rows": _store_rows,
    "splat": _splat,
    "product_left": _product_left,
    "product_right": _product_right,
    "products_of_rows_left": _products_of_rows_left,
    "products_of_rows_right": _products_of_rows_right,
    "tile_product_left": _tile_product_left,
    "tile_product_right": _tile_product_right,
    "tile_product_start": _tile_product_start,
    "prefetch": _prefetch,
}
_access_of = one_of(dict(enumerate(ACCESSES.values())))


@entry
def _access(function, X, x, stride, count, OUT):
    _access_of(function, (X, x, stride, count, OUT))


def access(name, X, x, stride=0, count=0, out=None):
    """Read, or write, X at x by one of ACCESSES; tiles have 3 rows of 2 vectors."""
    lanes = lanes_of(X.dtype)
    if out is None:
        out = nothing(*((lanes, lanes) if name == "load_transposed" else (3, 2 * lanes)), X.dtype)
    _access(list(ACCESSES).index(name), X, x, stride, count, out.reshape(-1))
    return out


@entry
def _three_by_two(depth, A, B, S, OUT):
    store_rows(OUT, 0, 2 * tiles.lanes_of(OUT), tile_product(3, 2, depth, A, B, S))


def three_by_two(depth, A, B, S):
    """``S + A @ B`` for a tile of 3 rows of 2 vectors, and operands that are a `Matrix`."""
    out = nothing(3, 2 * lanes_of(S.array.dtype), S.array.dtype)
    _three_by_two(depth, A, B, S, out.reshape(-1))
    return out
