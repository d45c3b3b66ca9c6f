"""Tiles: how they come from memory and go there, and what else touches it."""

import ctypes
import mmap
import sys

import numpy as np
import pytest
import reference
import tile_entries as tiles
from kernel_entries import DTYPES, Memory, lanes_of, of_all_sizes
from numpy.testing import assert_array_equal

each_dtype = pytest.mark.parametrize("dtype", DTYPES)


@each_dtype
def test_tiles_are_loaded_and_stored_row_by_row(dtype, rng):
    lanes = lanes_of(dtype)
    tile = of_all_sizes(rng, 6 * lanes, dtype).reshape(3, 2 * lanes)
    for margin, gap in ((0, 0), (1, 0), (3, 5)):
        memory = Memory(tile, margin, gap)
        assert_array_equal(tiles.access("load_rows", memory.flat, memory.at, memory.row), tile)
        empty = Memory(np.full_like(tile, np.nan), margin, gap)
        tiles.access("store_rows", empty.flat, empty.at, empty.row, out=tile.copy())
        assert_array_equal(empty.read(), tile)


@each_dtype
def test_single_elements_and_rows_are_read_where_they_lie(dtype, rng):
    lanes = lanes_of(dtype)
    X = of_all_sizes(rng, 3 * lanes, dtype)
    for at in (0, 1, lanes):
        assert tiles.access("element", X, at)[0, 0] == X[at]
        assert (tiles.access("broadcast_like", X, at) == X[at]).all()
        assert (tiles.access("splat", X, at)[0] == X[at]).all()
        row = X[at : at + 2 * lanes]
        assert_array_equal(tiles.access("load_row", X, at)[0], row)
        assert_array_equal(tiles.access("load_like", X, at)[0], row)
        assert_array_equal(tiles.access("load", X, at)[0, :lanes], row[:lanes])
        tiles.access("prefetch", X, at - 10**6)  # touches nothing


@each_dtype
def test_single_elements_and_rows_are_written_where_they_lie(dtype, rng):
    row = of_all_sizes(rng, 6 * lanes_of(dtype), dtype).reshape(3, -1)
    for margin in (0, 1, 17):
        for name, written in (("store", row[:1]), ("put", row[:1, :1])):
            memory = Memory(np.full_like(written, np.nan), margin)
            tiles.access(name, memory.flat, memory.at, out=row.copy())
            assert_array_equal(memory.read(), written)


@each_dtype
def test_a_square_tile_can_be_loaded_transposed(dtype, rng):
    lanes = lanes_of(dtype)
    square = np.arange(lanes**2, dtype=dtype).reshape(lanes, lanes)
    for margin, gap in ((0, 0), (3, 5)):
        memory = Memory(square, margin, gap)
        found = tiles.access("load_transposed", memory.flat, memory.at, memory.row)
        assert_array_equal(found, square.T)


@each_dtype
def test_products_of_rows_are_added_one_after_the_other(dtype, rng):
    lanes = lanes_of(dtype)
    for _ in range(20):
        T, A = of_all_sizes(rng, lanes, dtype), of_all_sizes(rng, lanes, dtype)
        B = of_all_sizes(rng, lanes**2, dtype).reshape(lanes, lanes)
        expected = T
        for a, column in zip(A, B.T, strict=True):
            expected = reference.fma(np.full_like(column, a), column, expected)
        assert_array_equal(tiles.products_of_rows(T, A, B), expected)


@each_dtype
def test_the_product_of_a_number_and_a_row_is_added_in_one_step(dtype, rng):
    lanes = lanes_of(dtype)
    X = of_all_sizes(rng, 2 * lanes + 3, dtype)
    for at in (0, 1, 3):
        out = of_all_sizes(rng, 6 * lanes, dtype).reshape(3, 2 * lanes)
        start, row = out[0].copy(), out[1].copy()
        tiles.access("product_left", X, at, out=out)
        assert_array_equal(out[0], reference.fma(X[at], row, start))
        out[0] = start
        tiles.access("product_right", X, at, out=out)
        assert_array_equal(out[0], reference.fma(row[0], X[at : at + 2 * lanes], start))


@each_dtype
@pytest.mark.parametrize("depth", [0, 1, 2, 7])
def test_a_tile_of_a_product_is_one_chain_for_each_element(depth, dtype, rng):
    lanes = lanes_of(dtype)
    shapes = (3, depth), (depth, 2 * lanes), (3, 2 * lanes)
    for layout in ({}, {"margin": 3, "gap": 5}):
        A, B, S = (of_all_sizes(rng, M * N, dtype).reshape(M, N) for M, N in shapes)
        right, start = Memory(B, **layout).matrix, Memory(S, **layout)
        for left in (Memory(A, **layout).matrix, Memory(A.T, **layout).transposed):
            found = tiles.three_by_two(depth, left, right, start.matrix)
            assert_array_equal(found, reference.multiply(A, B, S))
            found = tiles.three_by_two(depth, left, right, start.same_rows)
            assert_array_equal(found, reference.multiply(A, B, S[0]))


@each_dtype
def test_load_first_reads_no_more_than_it_should(dtype, rng):
    lanes = lanes_of(dtype)
    for count in (-lanes, 0, 1, 2, lanes - 1, lanes, lanes + 1, 2 * lanes - 1, 2 * lanes, 99):
        kept = min(max(count, 0), 2 * lanes)
        row = of_all_sizes(rng, kept, dtype)
        memory = Memory(row.reshape(1, -1), margin=2 * lanes)
        found = tiles.access("load_first", memory.flat, memory.at, count=count)[0]
        assert_array_equal(found, np.append(row, np.zeros(2 * lanes - kept, dtype)))


@pytest.mark.skipif(sys.platform != "linux", reason="needs mprotect")
@each_dtype
def test_load_first_does_not_touch_the_next_page(dtype):
    """If it did, that would end the process."""
    memory = np.frombuffer(mmap.mmap(-1, 2 * mmap.PAGESIZE), dtype)
    memory[:] = 7
    X = memory[: memory.size // 2]
    page_behind = ctypes.c_void_p(X.ctypes.data + X.nbytes)
    assert ctypes.CDLL(None).mprotect(page_behind, mmap.PAGESIZE, 0) == 0
    for count in range(1, 2 * lanes_of(dtype)):
        found = tiles.access("load_first", X, X.size - count, count=count)[0]
        assert found.sum() == 7 * count


@each_dtype
@pytest.mark.parametrize("always", [False, True])
def test_nonzeros_are_listed_in_their_order(always, dtype, rng):
    limits = np.finfo(dtype)
    values = np.array([0, -0.0, 1, -1, limits.smallest_subnormal, np.inf, np.nan], dtype)
    for first in (0, 5, 1 << 20):
        for _ in range(20):
            X = rng.choice(values, lanes_of(dtype), p=[0.5, 0.25, *[0.05] * 5])
            listed, before = tiles.nonzeros_listed(X, always, first)
            assert_array_equal(listed, first + np.flatnonzero((X != 0) | always))
            assert before == -1
