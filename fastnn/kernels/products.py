"""Matrix products on register tiles.

One routine, `multiply`, makes all three products of a layer: outputs
``x @ W + b``, input deltas ``dz @ W.T`` and weight gradients ``x.T @ dz``.
They differ in the strides of the left matrix; ``W.T``, whose rows are not
contiguous, is first copied panel by panel.  Sizes are those of the result and of the sum:
`rows` x `columns`, `depth`.  Columns are contiguous but for the left matrix.
"""

from fastnn.compiler.arithmetic import fma, lane_sum
from fastnn.compiler.jit import inner
from fastnn.compiler.parts import Choice
from fastnn.compiler.tile_products import Matrix, add_product, load_transposed, tile_product
from fastnn.compiler.tiles import (
    GROUP,
    GROUP_BYTES,
    TILE_ROWS,
    TILE_VECTORS,
    element,
    lanes_of,
    load,
    load_first,
    load_like,
    load_row,
    put,
    splat,
    store,
    store_rows,
)
from fastnn.kernels.groups import ZERO, rows_at, shifted
from fastnn.kernels.places import Places

# Indices summed per pass: the part of the right matrix that is in use (264 x 64 bytes) and the rows
# of the left that meet it then stay in a first-level cache of 32 KiB.  Where the left one is read
# by columns each index takes a line of its own, and as long sums lose more than they gain.
K_BLOCK, K_BLOCK_OF_COLUMNS = 264, 160


def _make_strip(height, vectors, narrower):
    """Code for ``rows // height`` tiles of `height` rows; `narrower` does the end of each row."""

    @inner
    def strip(column, rows, columns, depth, left, right, start, out):
        width = vectors * lanes_of(out.array)
        # Columns outside, rows inside: a panel of `right` is used by all rows while it is cached.
        while column + width <= columns:
            panel = shifted(right, ZERO, column)
            for row in range(0, rows - height + 1, height):
                tile = tile_product(
                    height,
                    vectors,
                    depth,
                    shifted(left, row, ZERO),
                    panel,
                    shifted(start, row, column),
                )
                store_rows(out.array, out.at + row * out.row + column, out.row, tile)
            column += width
        if column < columns:
            narrower(column, rows, columns, depth, left, right, start, out)

    return strip


@inner
def _none(column, rows, columns, depth, left, right, start, out):
    """Nothing is left after tiles of single vectors."""
    return


# Eight vector registers of totals at least, or the latency of the multiply-add shows.  So few rows
# get narrower tiles by halves: with single vectors one row of 784-50-10 took twice as long.
_strip_full = _make_strip(TILE_ROWS, TILE_VECTORS, _make_strip(TILE_ROWS, 1, _none))
_strip_4 = _make_strip(4, TILE_VECTORS, _make_strip(4, 1, _none))
_strip_2 = _make_strip(2, 4, _make_strip(2, 2, _make_strip(2, 1, _none)))
_strip_1 = _make_strip(1, 8, _make_strip(1, 4, _make_strip(1, 2, _make_strip(1, 1, _none))))


@inner
def _multiply_block(rows, columns, depth, left, right, start, out):
    done = rows - rows % TILE_ROWS
    _strip_full(ZERO, done, columns, depth, left, right, start, out)
    some = rows - done - (rows - done) % 4
    if some:
        _strip_4(
            ZERO,
            some,
            columns,
            depth,
            shifted(left, done, ZERO),
            right,
            shifted(start, done, ZERO),
            shifted(out, done, ZERO),
        )
        done += some
    if rows - done >= 2:
        _strip_2(
            ZERO,
            2,
            columns,
            depth,
            shifted(left, done, ZERO),
            right,
            shifted(start, done, ZERO),
            shifted(out, done, ZERO),
        )
        done += 2
    if done < rows:
        _strip_1(
            ZERO,
            1,
            columns,
            depth,
            shifted(left, done, ZERO),
            right,
            shifted(start, done, ZERO),
            shifted(out, done, ZERO),
        )


@inner
def multiply(
    rows: int,
    columns: int,
    depth: int,
    left: Matrix,
    right: Matrix,
    start: Matrix,
    out: Matrix,
):
    """``out = start + left @ right``; `columns` counts whole vectors.

    A `start` whose rows lie 0 apart is one vector for all, say a bias.
    `out` may be `start`, not `left` or `right`.
    """
    block = K_BLOCK if left.column == 1 else K_BLOCK_OF_COLUMNS
    first = min(depth, block)
    _multiply_block(rows, columns, first, left, right, start, out)
    for k in range(first, depth, block):
        _multiply_block(
            rows,
            columns,
            min(block, depth - k),
            shifted(left, ZERO, k),
            shifted(right, k, ZERO),
            out,
            out,
        )


MULTIPLY = Choice(Places.MULTIPLY, {0: multiply})


@inner(separate=True)
def transpose_rows(rows, depth, weights, panel):
    """Write up to `lanes` rows of `depth` elements as columns of `panel`."""
    lanes = lanes_of(panel.array)
    k = 0
    if rows == lanes:
        while k + lanes <= depth:
            square = load_transposed(weights.array, weights.at + k, weights.row)
            store_rows(panel.array, panel.at + k * panel.row, panel.row, square)
            k += lanes
    else:
        for i in range(depth):
            zero = splat(panel.array.dtype.type(0), 1)
            store(panel.array, panel.at + i * panel.row, zero)
    for row in range(rows):
        for i in range(k, depth):
            one = element(weights.array, weights.at + row * weights.row + i)
            panel.array[panel.at + i * panel.row + row] = one


@inner
def multiply_transposed(parts, rows, columns, depth, left, weights, start, out, panel):
    """``out = start + left @ weights.T`` for weights with `columns` rows of `depth` elements.

    The columns of `out` beyond, up to a whole vector, become those of `start`.
    `parts` is the address of the table that has `MULTIPLY`.
    ``panel`` is scratch for rows of TILE_VECTORS vectors, `depth` up to a whole vector of them.
    """
    lanes = lanes_of(out.array)
    width, whole = TILE_VECTORS * lanes, depth + -depth % lanes
    if whole > weights.row:
        whole = depth
    for n in range(0, columns, width):
        done = 0
        while done < width and n + done < columns:
            count = min(lanes, columns - n - done)
            transpose_rows(
                count,
                whole if count == lanes else depth,  # with the padding, as vectors are faster
                shifted(weights, n + done, ZERO),
                rows_at(panel.array, panel.at + done, width),
            )
            done += lanes
        right = rows_at(panel.array, panel.at, width)
        begin = shifted(start, ZERO, n if start.row else ZERO)
        MULTIPLY(parts, 0, (rows, done, depth, left, right, begin, shifted(out, ZERO, n)))


@inner
def multiply_transposed_few(rows, columns, depth, left, weights, out):
    """`multiply_transposed` from sums of zero, for so few rows that a panel is not worth making.

    Each row of the weights is read once, in one piece, which the processor's prefetcher follows:
    1024 x 1024 weights for one row take less than half as long.  The order of a sum is another one,
    the same for all widths of vectors.
    """
    zero, w = out.array.dtype.type(0), weights.array
    for n in range(0, columns, 2):  # two sums, or each product waits for the one before
        other = min(n + 1, columns - 1)
        for m in range(rows):
            first, second = _two_products(
                depth,
                left.array,
                left.at + m * left.row,
                w,
                weights.at + n * weights.row,
                weights.at + other * weights.row,
            )
            put(out.array, out.at + m * out.row + n, lane_sum(first))
            put(out.array, out.at + m * out.row + other, lane_sum(second))
    for m in range(rows):
        for n in range(columns, columns + -columns % lanes_of(out.array)):
            put(out.array, out.at + m * out.row + n, zero)


@inner
def _two_products(depth, left, at, weights, first_at, second_at):
    """Sums, lane by lane, of the products of a row with two rows of weights."""
    lanes, zero = GROUP_BYTES // left.itemsize, left.dtype.type(0)
    whole, first, second = depth - depth % lanes, splat(zero, GROUP), splat(zero, GROUP)
    for k in range(0, whole, lanes):
        x = load_row(left, at + k, GROUP)
        first = fma(x, load_like(weights, first_at + k, x), first)
        second = fma(x, load_like(weights, second_at + k, x), second)
    if whole < depth:
        x = load_first(left, at + whole, depth - whole, GROUP)
        first = fma(x, load_first(weights, first_at + whole, depth - whole, GROUP), first)
        second = fma(x, load_first(weights, second_at + whole, depth - whole, GROUP), second)
    return first, second


@inner(separate=True)
def multiply_few(columns, depth, left, right, out):
    """``out = left @ right`` for one row of few elements: a row of a gradient of few samples."""
    lanes, zero, n = lanes_of(out.array), out.array.dtype.type(0), ZERO
    while n + 4 * lanes <= columns:
        store(out.array, out.at + n, _row_product(depth, splat(zero, 4), left, right, n))
        n += 4 * lanes
    while n < columns:
        store(out.array, out.at + n, _row_product(depth, splat(zero, 1), left, right, n))
        n += lanes


@inner
def _row_product(depth, total, left, right, column):
    for k in range(depth):
        total = add_product(
            total,
            left.array,
            left.at + k * left.column,
            right.array,
            right.at + k * right.row + column,
        )
    return total


@inner(separate=True)
def add_block(rows, columns, more, out):
    """Add `more` to `out`, `columns` in whole vectors."""
    for m in range(rows):
        for n in range(0, columns, lanes_of(out.array)):
            at = out.at + m * out.row + n
            total = load(out.array, at) + load(more.array, more.at + m * more.row + n)
            store(out.array, at, total)


@inner(separate=True)
def column_sums(rows, columns, summed, out):
    """``out[n] = summed[0, n] + summed[1, n] + ...``, `columns` in whole vectors."""
    lanes, zero, n = lanes_of(out.array), out.array.dtype.type(0), ZERO
    while n + 4 * lanes <= columns:  # or each sum waits for the one before
        four = splat(zero, 4)
        for m in range(rows):
            four = four + load_row(summed.array, summed.at + m * summed.row + n, 4)
        store(out.array, out.at + n, four)
        n += 4 * lanes
    while n < columns:
        one = splat(zero, 1)
        for m in range(rows):
            one = one + load(summed.array, summed.at + m * summed.row + n)
        store(out.array, out.at + n, one)
        n += lanes
