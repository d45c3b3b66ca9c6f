"""Matrix products on register tiles.

One routine, `multiply`, makes all three products of a layer: outputs
``x @ W + b``, input deltas ``dz @ W.T`` and weight gradients ``x.T @ dz``.
They differ in the strides of the left matrix; ``W.T``, whose rows are not
contiguous, is first copied panel by panel.
"""

import numpy as np

from fastnn.compiler.jit import inner
from fastnn.compiler.lanes import (
    GROUP,
    GROUP_BYTES,
    TILE_ROWS,
    TILE_VECTORS,
    VECTOR_BYTES,
    element,
    fma,
    lane_sum,
    load,
    load_first,
    load_like,
    load_transposed,
    put,
    rank_one,
    splat,
    store,
    tile_product,
)

# Indices summed per pass: the part of B that is in use (264 x 64 bytes) and the rows of A that meet
# it then stay in a first-level cache of 32 KiB.  Where A is read by columns each index takes a line
# of its own, and as long sums lose more than they gain.
K_BLOCK, K_BLOCK_OF_COLUMNS = 264, 160


# Plain 0 and 1 are types of their own to Numba, and every mix of them one more build.
ZERO, ONE = np.int64(0), np.int64(1)


def _make_strip(rows, vectors, rest):
    """Code for ``M // rows`` tiles of `rows` rows, over columns n .. N; `rest` does narrow ends."""

    @inner
    def strip(n, M, N, K, A, a, a_row, a_col, B, b, b_row, S, s, s_row, C, c, c_row):
        lanes = VECTOR_BYTES // A.itemsize
        # Columns outside, rows inside: a panel of B is used by all rows while it is cached.
        while n + vectors * lanes <= N:
            for m in range(0, M - rows + 1, rows):
                tile = tile_product(rows, vectors, K, A, a + m * a_row, a_row, a_col,
                                    B, b + n, b_row, S, s + m * s_row + n, s_row)  # fmt: skip
                store(C, c + m * c_row + n, c_row, tile)
            n += vectors * lanes
        if n < N:
            rest(n, M, N, K, A, a, a_row, a_col, B, b, b_row, S, s, s_row, C, c, c_row)

    return strip


@inner
def _none(n, M, N, K, A, a, a_row, a_col, B, b, b_row, S, s, s_row, C, c, c_row):
    """Nothing is left after tiles of single vectors."""
    return


# Eight vector registers of totals at least, or the latency of the multiply-add shows.  So few rows
# get narrower tiles by halves: with single vectors one row of 784-50-10 took twice as long.
_strip_full = _make_strip(TILE_ROWS, TILE_VECTORS, _make_strip(TILE_ROWS, 1, _none))
_strip_4 = _make_strip(4, TILE_VECTORS, _make_strip(4, 1, _none))
_strip_2 = _make_strip(2, 4, _make_strip(2, 2, _make_strip(2, 1, _none)))
_strip_1 = _make_strip(1, 8, _make_strip(1, 4, _make_strip(1, 2, _make_strip(1, 1, _none))))


@inner
def _multiply_block(M, N, K, A, a, a_row, a_col, B, b, b_row, S, s, s_row, C, c, c_row):
    m = M - M % TILE_ROWS
    _strip_full(ZERO, m, N, K, A, a, a_row, a_col, B, b, b_row, S, s, s_row, C, c, c_row)
    left = M - m - (M - m) % 4
    if left:
        _strip_4(ZERO, left, N, K, A, a + m * a_row, a_row, a_col, B, b, b_row,
                 S, s + m * s_row, s_row, C, c + m * c_row, c_row)  # fmt: skip
        m += left
    if M - m >= 2:
        _strip_2(ZERO, 2, N, K, A, a + m * a_row, a_row, a_col, B, b, b_row,
                 S, s + m * s_row, s_row, C, c + m * c_row, c_row)  # fmt: skip
        m += 2
    if m < M:
        _strip_1(ZERO, 1, N, K, A, a + m * a_row, a_row, a_col, B, b, b_row,
                 S, s + m * s_row, s_row, C, c + m * c_row, c_row)  # fmt: skip


@inner
def multiply(M, N, K, A, a, a_row, a_col, B, b, b_row, S, s, s_row, C, c, c_row):
    """``C = S + A @ B`` for A (M, K), B (K, N), S and C (M, N).

    Element (m, k) of A is ``A[a + m * a_row + k * a_col]``; rows of B, S and C
    lie ``b_row``, ``s_row``, ``c_row`` apart and are contiguous.  N counts whole
    vectors.  ``s_row = 0`` starts every row from the same vector, say a bias.
    C may be S, not A or B.
    """
    block = K_BLOCK if a_col == 1 else K_BLOCK_OF_COLUMNS
    first = min(K, block)
    _multiply_block(M, N, first, A, a, a_row, a_col, B, b, b_row, S, s, s_row, C, c, c_row)
    for k in range(first, K, block):
        _multiply_block(M, N, min(block, K - k), A, a + k * a_col, a_row, a_col,
                        B, b + k * b_row, b_row, C, c, c_row, C, c, c_row)  # fmt: skip


@inner
def transpose_rows(rows, K, W, w, w_row, panel, at, width):
    """Write up to `lanes` rows of K elements side by side: ``panel[at + k * width + row]``."""
    lanes = VECTOR_BYTES // W.itemsize
    k = 0
    if rows == lanes:
        while k + lanes <= K:
            store(panel, at + k * width, width, load_transposed(W, w + k, w_row))
            k += lanes
    else:
        for i in range(K):
            store(panel, at + i * width, 0, splat(W.dtype.type(0), 1, 1))
    for row in range(rows):
        for i in range(k, K):
            panel[at + i * width + row] = element(W, w + row * w_row + i)


@inner
def multiply_transposed(M, N, K, A, a, a_row, W, w, w_row, S, s, s_row, C, c, c_row, panel):
    """``C = S + A @ W.T`` for W with N rows of K elements.

    The columns of C beyond N, up to a whole vector, become those of S.
    ``panel`` is scratch for K rows of TILE_VECTORS vectors.
    """
    lanes = VECTOR_BYTES // A.itemsize
    width = TILE_VECTORS * lanes
    for n in range(0, N, width):
        columns = 0
        while columns < width and n + columns < N:
            transpose_rows(min(lanes, N - n - columns), K, W, w + (n + columns) * w_row, w_row,
                            panel, columns, width)  # fmt: skip
            columns += lanes
        multiply(M, columns, K, A, a, a_row, ONE, panel, ZERO, width,
                 S, s + (n if s_row else 0), s_row, C, c + n, c_row)  # fmt: skip


@inner
def multiply_transposed_few(M, N, K, A, a, a_row, W, w, w_row, C, c, c_row):
    """`multiply_transposed` from sums of zero, for so few rows that a panel is not worth making.

    Each row of W is read once, in one piece, which the processor's prefetcher follows: 1024 x 1024
    weights for one row take less than half as long.  The order of a sum is another one, the same
    for all widths of vectors.
    """
    lanes, zero = GROUP_BYTES // A.itemsize, A.dtype.type(0)
    whole = K - K % lanes
    for n in range(0, N, 2):  # two sums, or each product waits for the one before
        other = min(n + 1, N - 1)
        W_n, W_other = w + n * w_row, w + other * w_row
        for m in range(M):
            row, first, second = a + m * a_row, splat(zero, 1, GROUP), splat(zero, 1, GROUP)
            for k in range(0, whole, lanes):
                left = load(A, row + k, 0, 1, GROUP)
                first = fma(left, load_like(W, W_n + k, left), first)
                second = fma(left, load_like(W, W_other + k, left), second)
            if whole < K:
                left = load_first(A, row + whole, K - whole, GROUP)
                first = fma(left, load_first(W, W_n + whole, K - whole, GROUP), first)
                second = fma(left, load_first(W, W_other + whole, K - whole, GROUP), second)
            put(C, c + m * c_row + n, lane_sum(first))
            put(C, c + m * c_row + other, lane_sum(second))
    for m in range(M):
        for n in range(N, N + -N % (VECTOR_BYTES // A.itemsize)):
            put(C, c + m * c_row + n, zero)


@inner
def multiply_few(N, K, A, a, a_col, B, b, b_row, C, c):
    """``C = A @ B`` for one row of few elements: a row of a gradient of few samples."""
    lanes, zero, n = VECTOR_BYTES // A.itemsize, A.dtype.type(0), ZERO
    while n + 4 * lanes <= N:
        total = splat(zero, 1, 4)
        for k in range(K):
            total = rank_one(total, A, a + k * a_col, ZERO, B, b + k * b_row + n)
        store(C, c + n, 0, total)
        n += 4 * lanes
    while n < N:
        total = splat(zero, 1, 1)
        for k in range(K):
            total = rank_one(total, A, a + k * a_col, ZERO, B, b + k * b_row + n)
        store(C, c + n, 0, total)
        n += lanes


@inner
def add_block(M, N, A, a, a_row, c, c_row):
    """Add M rows of N elements of A (whole vectors) to those from ``A[c]`` on."""
    lanes = VECTOR_BYTES // A.itemsize
    for m in range(M):
        for n in range(0, N, lanes):
            at = c + m * c_row + n
            store(A, at, 0, load(A, at, 0, 1, 1) + load(A, a + m * a_row + n, 0, 1, 1))


@inner
def column_sums(M, N, A, a, a_row, C, c):
    """``C[n] = A[0, n] + A[1, n] + ...``, N in whole vectors."""
    lanes, zero, n = VECTOR_BYTES // A.itemsize, A.dtype.type(0), ZERO
    while n + 4 * lanes <= N:  # or each sum waits for the one before
        four = splat(zero, 1, 4)
        for m in range(M):
            four = four + load(A, a + m * a_row + n, 0, 1, 4)
        store(C, c + n, 0, four)
        n += 4 * lanes
    while n < N:
        one = splat(zero, 1, 1)
        for m in range(M):
            one = one + load(A, a + m * a_row + n, 0, 1, 1)
        store(C, c + n, 0, one)
        n += lanes
