"""Affine layers on arrays of anyone's: a kernel of `fastnn.book`.

The arrays are contiguous but not padded, and x may be float32 where all else
is float64.  So blocks of W and of gradients are copied into padded scratch
first, a few microseconds for 784 x 50 weights.  Products run over lists of the
nonzeros of their left factor: images of digits are 81 % zeros, what ReLU has
passed is half zeros, and where there are none, a list of all inputs costs
little beside a multiply-add for each output; but gradients of inputs, which no
zeros shorten early in training, then come from register tiles.  Anything may be NaN or infinite:
zeros are skipped only where what they would be multiplied with is finite, as 0
times infinity is NaN.
"""

from typing import Any, NamedTuple

import numpy as np

from fastnn.compiler.arithmetic import fma
from fastnn.compiler.choice import one_of
from fastnn.compiler.jit import inner
from fastnn.compiler.launch import chunked
from fastnn.compiler.tile_products import Matrix, add_product
from fastnn.compiler.tiles import (
    TILE_VECTORS,
    VECTOR_BYTES,
    element,
    flat,
    lanes_of,
    load,
    load_first,
    load_row,
    put,
    splat,
    store,
)
from fastnn.kernels.groups import ONE, ZERO, Place, rows_at, share_of, shifted
from fastnn.kernels.nonzeros import all_finite, list_row
from fastnn.kernels.products import K_BLOCK, column_sums, multiply, transpose_rows

# Rows of x that pass together in a product, and in a gradient, whose lists and rows of dout, 50
# float64 each, then stay in a first-level cache.
ROW_BLOCK, ROWS_OF_A_GRADIENT = 128, 64
# Columns of x, rows of W or of its gradient, that pass together: 84 rows of 50 float64 are 34 KiB,
# of which a first-level cache keeps those that are in use; a row of x ends ten times, and each end
# is beyond guessing.  A gradient's block has its lists beside it.
BLOCK, WEIGHT_BLOCK = np.int64(84), np.int64(56)
# Of the column in a place: it is ``row << BLOCK_BITS`` + column.
BLOCK_BITS = 7
# Vectors of outputs that have code of their own: 50 outputs are 13 vectors of 4 float64, as many
# as 16 registers hold beside the operands, or 7 of 8.  Of 13 wide vectors a block of W would fill
# more than a first-level cache.
WIDTHS = (8, 7, 4, 2, 1) if VECTOR_BYTES == 64 else (13, 12, 8, 4, 2, 1)


class ProductScratch(NamedTuple):
    """Scratch of a product, a row for each chunk."""

    outputs: Any  # rows of them
    weights: Any  # a block of W
    column: Any  # lists of nonzeros
    cursor: Any  # where they begin, and places in them


class GradientScratch(NamedTuple):
    """Scratch of a gradient, a row for each chunk."""

    row: int  # elements of a row of dout, whole vectors
    padded: Any  # dout
    value: Any  # nonzeros of x by columns
    of: Any  # their rows
    places: Any  # a list
    ends: Any  # of columns in it
    sums: Any  # gradients of a block


class Gradients(NamedTuple):
    """What is wanted; dx may be empty."""

    dW: Any  # noqa: N815  # the book's names
    db: Any
    dx: Any


class Factor(NamedTuple):
    """W or its transpose, (depth, columns)."""

    array: Any
    depth: int
    columns: int
    transposed: bool


@inner
def pad(rows, columns, matrix, out):
    """Copy a matrix whose rows end anywhere; zeros fill a last vector."""
    lanes = lanes_of(out.array)
    whole = columns - columns % lanes
    for m in range(rows):
        a, p = matrix.at + m * matrix.row, out.at + m * out.row
        for n in range(0, whole, lanes):
            store(out.array, p + n, load(matrix.array, a + n))
        if whole < columns:
            store(out.array, p + whole, load_first(matrix.array, a + whole, columns - whole, 1))


@inner
def unpad(rows, columns, matrix, out):
    """Copy a padded matrix back."""
    lanes = lanes_of(out.array)
    whole = columns - columns % lanes
    for m in range(rows):
        p, a = matrix.at + m * matrix.row, out.at + m * out.row
        for n in range(0, whole, lanes):
            store(out.array, a + n, load(matrix.array, p + n))
        for n in range(whole, columns):
            out.array[a + n] = element(matrix.array, p + n)


@inner
def _block_of(factor, row, column, height, columns, out):
    """Copy so many rows and columns of a factor, from a row and column on, padded."""
    if not factor.transposed:
        pad(
            height,
            columns,
            rows_at(factor.array, row * factor.columns + column, factor.columns),
            out,
        )
        return
    lanes = lanes_of(out.array)
    for c in range(0, columns, lanes):
        rows = rows_at(factor.array, (column + c) * factor.depth + row, factor.depth)
        transpose_rows(min(lanes, columns - c), height, rows, shifted(out, ZERO, c))


@inner
def _always_listed(array):
    """-1 if zeros of x are to be listed, too, as the other factor is not finite; else 0."""
    return np.int64(0) if all_finite(array, ZERO, array.size) else np.int64(-1)


def _make_forward(vectors):
    @inner
    def forward(rows, low, end, at, column, x, weights, outputs):
        """Add to rows of outputs products of columns low .. end of x."""
        row = vectors * lanes_of(weights)
        for r in range(rows):
            e, from_ = at[r], x.at + r * x.row
            total = load_row(outputs, r * row, vectors)
            k = element(column, e)
            while k < end:
                one = splat(weights.dtype.type(element(x.array, from_ + k)), vectors)
                total = fma(one, load_row(weights, (k - low) * row, vectors), total)
                e += 1
                k = element(column, e)
            store(outputs, r * row, total)
            at[r] = e

    return forward


def _make_backward(vectors):
    @inner
    def backward(height, rows, ends, value, of, dout, gradient):
        """Add to rows of the gradient, for each column of x, its products with rows of dout."""
        for k in range(height):
            at = gradient.at + k * gradient.row
            total = load_row(gradient.array, at, vectors)
            for e in range(k * rows, ends[k]):
                d = dout.at + element(of, e) * dout.row
                total = add_product(total, value, e, dout.array, d)
            store(gradient.array, at, total)

    return backward


_forward = one_of({width: _make_forward(width) for width in WIDTHS})
_backward = one_of({width: _make_backward(width) for width in WIDTHS})


@inner
def _width(vectors):
    """Vectors of the next pass: enough for all, or the most that there is code for.

    `layers.sparse_affine` has the most that fit: here a narrow rest would list its columns anew.
    """
    width = WIDTHS[0]
    for narrower in WIDTHS:
        if narrower >= vectors:
            width = narrower
    return width


@inner
def _product(low, high, x, factor, start, out, scratch):
    """Rows ``low .. high`` of ``start + x @ factor``."""
    lanes, always = lanes_of(factor.array), _always_listed(factor.array)
    columns, begin, at = scratch.column, scratch.cursor[0], scratch.cursor[1]
    for first in range(low, high, ROW_BLOCK):
        rows, e = min(ROW_BLOCK, high - first), 0
        block = rows_at(x, first * factor.depth, factor.depth)
        for r in range(rows):
            begin[r] = e
            row = Place(x, block.at + r * block.row)
            e, _ = list_row(row, factor.depth, always, columns, e, ZERO)
            columns[e] = factor.depth  # beyond every block, so that it ends the row
            e += 1
        n = 0
        while n < factor.columns:
            width = _width((factor.columns - n + lanes - 1) // lanes)
            some = min(width * lanes, factor.columns - n)
            outputs = rows_at(scratch.outputs, ZERO, width * lanes)
            _start_rows(rows, some, start[n:], outputs)
            for r in range(rows):
                at[r] = begin[r]
            for k in range(0, factor.depth, BLOCK):
                height = min(BLOCK, factor.depth - k)
                _block_of(factor, k, n, height, some, rows_at(scratch.weights, ZERO, outputs.row))
                _forward(
                    width,
                    (rows, k, k + height, at, columns, block, scratch.weights, scratch.outputs),
                )
            unpad(rows, some, outputs, rows_at(out, first * factor.columns + n, factor.columns))
            n += some


@inner
def _product_of_all(low, high, left, factor, start, out, scratch):
    """Rows ``low .. high`` of ``start + left @ factor``, zeros included: the bits of `_product`.

    On register tiles, which take two thirds of the time of lists for each product of two numbers.
    """
    lanes = lanes_of(factor.array)
    width = TILE_VECTORS * lanes
    panel, begin = rows_at(scratch.weights, ZERO, width), K_BLOCK * width
    for first in range(low, high, ROW_BLOCK):
        rows = min(ROW_BLOCK, high - first)
        for n in range(0, factor.columns, width):
            some = min(width, factor.columns - n)
            wanted = rows_at(out, first * factor.columns + n, factor.columns)
            tiles = wanted if some == width else rows_at(scratch.outputs, ZERO, width)
            for i in range(width):
                scratch.weights[begin + i] = start[n + i] if i < some and start.size else 0.0
            before = rows_at(scratch.weights, begin, ZERO)
            for k in range(0, factor.depth, K_BLOCK):
                height = min(K_BLOCK, factor.depth - k)
                _block_of(factor, k, n, height, some, panel)
                block = rows_at(left, first * factor.depth + k, factor.depth)
                whole = (some + lanes - 1) // lanes * lanes
                multiply(rows, whole, height, block, panel, before, tiles)
                before = tiles
            if some < width:
                unpad(rows, some, tiles, wanted)


@inner
def _has_zeros(array, at, size):
    """Whether so many elements are zero that lists of the others make a product faster."""
    nonzeros = 0
    for i in range(at, at + size):
        nonzeros += array[i] != 0.0
    return 3 * nonzeros < 2 * size


@inner
def _start_rows(rows, columns, start, outputs):
    """Begin rows of outputs with `start`, or with zeros if it is empty."""
    for i in range(rows * outputs.row):
        outputs.array[i] = 0.0
    if start.size:
        pad(rows, columns, rows_at(start, ZERO, ZERO), outputs)


@inner
def _product_scratch(scratch, chunk):
    return ProductScratch(
        scratch.outputs[chunk], scratch.weights[chunk], scratch.column[chunk], scratch.cursor[chunk]
    )


@chunked
def affine(chunk, chunks, x, W, b, out, scratch: ProductScratch):
    """A chunk's share of the rows of ``x @ W + b``."""
    factor = Factor(flat(W), W.shape[0], W.shape[1], False)
    low, high = share_of(len(x), chunk, chunks)
    _product(
        low,
        high,
        flat(x),
        factor,
        b,
        flat(out),
        _product_scratch(scratch, chunk),
    )


@inner
def _by_columns(rows, height, always, block, scratch):
    """List the nonzeros of each of `height` columns of x: from ``k * rows`` to ``ends[k]``.

    Their rows go to ``of``.  Then a sum over rows stays in registers.
    """
    for k in range(height):
        scratch.ends[k] = k * rows
    last = 0
    for r in range(rows):
        row = Place(block.array, block.at + r * block.row)
        last, _ = list_row(row, height, always, scratch.places, last, r << BLOCK_BITS)
    for p in range(last):
        place = element(scratch.places, p)
        r, k = place >> BLOCK_BITS, place & ((1 << BLOCK_BITS) - 1)
        e = element(scratch.ends, k)
        put(scratch.value, e, element(block.array, block.at + r * block.row + k))
        put(scratch.of, e, r)
        put(scratch.ends, k, e + 1)


@inner
def _weight_gradient(low, height, x, always, dW, scratch):
    """Rows ``low ..`` of ``dW = x.T @ dout``."""
    (count, inputs), outputs = x.shape, dW.shape[1]
    dout = rows_at(scratch.padded, ZERO, scratch.row)
    gradient = rows_at(scratch.sums, ZERO, scratch.row)
    for i in range(height * gradient.row):
        gradient.array[i] = 0.0
    for first in range(0, count, ROWS_OF_A_GRADIENT):
        rows = min(ROWS_OF_A_GRADIENT, count - first)
        _by_columns(rows, height, always, rows_at(flat(x), first * inputs + low, inputs), scratch)
        n = 0
        while n < outputs:
            width = _width((outputs - n + lanes_of(dW) - 1) // lanes_of(dW))
            _backward(
                width,
                (
                    height,
                    rows,
                    scratch.ends,
                    scratch.value,
                    scratch.of,
                    shifted(dout, first, n),
                    shifted(gradient, ZERO, n),
                ),
            )
            n += width * lanes_of(dW)
    unpad(height, outputs, gradient, rows_at(flat(dW), low * outputs, outputs))


@inner
def _gradient_scratch(scratch, chunk):
    return GradientScratch(
        scratch.row,
        scratch.padded[chunk],
        scratch.value[chunk],
        scratch.of[chunk],
        scratch.places[chunk],
        scratch.ends[chunk],
        scratch.sums[chunk],
    )


@chunked
def affine_gradients(
    chunk, chunks, x, W, dout, wanted: Gradients, scratch: GradientScratch, product: ProductScratch
):
    """A chunk's share of dW, db and, unless it is empty, dx."""
    (count, inputs), outputs = x.shape, W.shape[1]
    mine = _gradient_scratch(scratch, chunk)
    padded = rows_at(mine.padded, ZERO, mine.row)
    pad(count, outputs, rows_at(flat(dout), ZERO, outputs), padded)
    always = _always_listed(flat(dout))
    blocks = (inputs + WEIGHT_BLOCK - 1) // WEIGHT_BLOCK
    first, end = share_of(blocks, chunk, chunks)
    for block in range(first, end):
        low = block * WEIGHT_BLOCK
        _weight_gradient(low, min(WEIGHT_BLOCK, inputs - low), x, always, wanted.dW, mine)
    if chunk == chunks - 1:
        sums = rows_at(mine.sums, ZERO, ZERO)
        column_sums(count, mine.row, padded, sums)
        unpad(ONE, outputs, sums, rows_at(wanted.db, ZERO, outputs))
    if wanted.dx.size:
        factor = Factor(flat(W), outputs, inputs, True)
        low, high = share_of(count, chunk, chunks)
        left, out, own = flat(dout), flat(wanted.dx), _product_scratch(product, chunk)
        if _has_zeros(left, low * outputs, (high - low) * outputs):
            _product(low, high, left, factor, mine.sums[:0], out, own)
        else:
            _product_of_all(low, high, left, factor, mine.sums[:0], out, own)


@chunked
def large_affine(chunk, chunks, x, W, b, out, scratch: ProductScratch):
    """`affine` on tiles alone, for weights that lists would read once too often."""
    factor, own = Factor(flat(W), W.shape[0], W.shape[1], False), _product_scratch(scratch, chunk)
    low, high = share_of(len(x), chunk, chunks)
    _product_of_all(low, high, flat(x), factor, b, flat(out), own)


@chunked
def large_affine_gradients(
    chunk, chunks, x, W, dout, wanted: Gradients, row, padded, product: ProductScratch
):
    """`affine_gradients` on tiles alone; `padded` has room for dout with rows of `row` elements."""
    (count, inputs), outputs, own = x.shape, W.shape[1], _product_scratch(product, chunk)
    deltas = rows_at(padded[chunk], ZERO, row)
    pad(count, outputs, rows_at(flat(dout), ZERO, outputs), deltas)
    sums, tiles = rows_at(own.weights, ZERO, ZERO), rows_at(own.outputs, ZERO, row)
    for i in range(row):
        own.weights[i] = 0.0
    low, high = share_of(inputs, chunk, chunks)
    block = own.outputs.size // row
    for first in range(low, high, block):
        height = min(block, high - first)
        columns = Matrix(flat(x), first, ONE, inputs)
        multiply(height, row, count, columns, deltas, sums, tiles)
        unpad(height, outputs, tiles, rows_at(flat(wanted.dW), first * outputs, outputs))
    if chunk == chunks - 1:
        column_sums(count, row, deltas, sums)
        unpad(ONE, outputs, sums, rows_at(wanted.db, ZERO, outputs))
    if wanted.dx.size:
        factor = Factor(flat(W), outputs, inputs, True)
        low, high = share_of(count, chunk, chunks)
        _product_of_all(low, high, flat(dout), factor, own.weights[:0], flat(wanted.dx), own)
