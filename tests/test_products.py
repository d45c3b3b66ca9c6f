"""Products: one chain of fused multiply-adds per output, whatever the tiles and strides."""

import numpy as np
import product_entries as kernels
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_entries import DTYPES, group_of, lanes_of, padded
from numpy.testing import assert_allclose
from reference import assert_same_bits

from fastnn.compiler.tiles import TILE_ROWS, TILE_VECTORS
from fastnn.kernels.products import K_BLOCK, K_BLOCK_OF_COLUMNS

each_dtype = pytest.mark.parametrize("dtype", DTYPES)
LAYOUTS = [{}, {"margin": 3, "gap": 5}]


def matrices(rng, M, N, K, dtype):
    """A, B and S of a product."""
    return (rng.normal(size=shape).astype(dtype) for shape in ((M, K), (K, N), (M, N)))


# multiply -----------------------------------------------------------------------------


@each_dtype
@pytest.mark.parametrize("M", range(2 * TILE_ROWS + 2))
def test_a_product_is_one_chain_for_every_number_of_rows_and_vectors(M, dtype, rng):
    for vectors in (0, 1, 2, 3, 4, 5, 7, 8, 9, 17):
        A, B, S = matrices(rng, M, vectors * lanes_of(dtype), 3, dtype)
        assert_same_bits(kernels.multiply(A, B, S), reference.multiply(A, B, S))


@each_dtype
@pytest.mark.parametrize(
    "K",
    [0, 1, 2, *(k + d for k in (K_BLOCK_OF_COLUMNS, K_BLOCK) for d in (-1, 0, 1)), 2 * K_BLOCK + 1],
)
def test_a_product_is_one_chain_across_blocks_of_the_summed_index(K, dtype, rng):
    A, B, S = matrices(rng, TILE_ROWS + 1, 2 * lanes_of(dtype), K, dtype)
    expected = reference.multiply(A, B, S)
    assert_same_bits(kernels.multiply(A, B, S), expected)
    assert_same_bits(kernels.multiply(A, B, S, in_place=True), expected)
    assert_same_bits(kernels.multiply(A, B, S, by_columns=True), expected)


@each_dtype
@settings(max_examples=50)
@given(data=st.data())
def test_a_product_is_one_chain_for_any_shape_and_strides(dtype, data):
    M, K = data.draw(st.integers(0, 3 * TILE_ROWS)), data.draw(st.integers(0, 20))
    N = data.draw(st.integers(0, 18)) * lanes_of(dtype)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    A, B, S = matrices(rng, M, N, K, dtype)
    S = S[0] if M and data.draw(st.booleans(), "one bias for all rows") else S
    layout = {
        "margin": data.draw(st.integers(0, 17), "margin"),
        "gap": data.draw(st.integers(0, 17), "gap"),
        "by_columns": data.draw(st.booleans(), "by_columns"),
        "in_place": S.ndim == 2 and data.draw(st.booleans(), "in_place"),
    }
    assert_same_bits(kernels.multiply(A, B, S, **layout), reference.multiply(A, B, S))


@each_dtype
def test_rows_alone_and_columns_alone_have_the_bits_they_have_in_a_block(dtype, rng):
    lanes = lanes_of(dtype)
    A, B, S = matrices(rng, 2 * TILE_ROWS + 1, 19 * lanes, 300, dtype)
    C = kernels.multiply(A, B, S)
    for m in range(len(A)):
        assert_same_bits(kernels.multiply(A[m : m + 1], B, S[m : m + 1])[0], C[m])
    for n in range(0, B.shape[1], lanes):
        assert_same_bits(kernels.multiply(A, B[:, n : n + lanes], S[:, n : n + lanes]),
                         C[:, n : n + lanes])  # fmt: skip


@each_dtype
def test_products_of_padding_are_zero(dtype, rng):
    lanes = lanes_of(dtype)
    A, B, _ = matrices(rng, TILE_ROWS + 3, lanes + 1, 5, dtype)
    bias = padded(rng.normal(size=(1, lanes + 1)).astype(dtype))[0]
    padding = kernels.multiply(A, padded(B), bias)[:, lanes + 1 :]
    assert_same_bits(padding, np.zeros_like(padding))


# multiply_transposed ---------------------------------------------------------------------


@each_dtype
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_transposed_product_is_one_chain_for_any_number_of_columns(layout, dtype, rng):
    lanes = lanes_of(dtype)
    panel = TILE_VECTORS * lanes
    for N in (0, 1, 2, lanes - 1, lanes, lanes + 1, panel - 1, panel, panel + 1, 2 * panel + 3):
        for M, K in ((0, 3), (1, 0), (1, 1), (TILE_ROWS + 3, lanes - 1), (2, lanes),
                     (3, 2 * lanes + 1)):  # fmt: skip
            A, W, S = rng.normal(size=(M, K)), rng.normal(size=(N, K)), rng.normal(size=(M, N))
            A, W, S = (matrix.astype(dtype) for matrix in (A, W, S))
            S = padded(S, 7, multiple=lanes)
            found = kernels.multiply_transposed(A, W, S, **layout)
            assert_same_bits(found[:, :N], reference.multiply_transposed(A, W, S[:, :N]))
            assert (found[:, N:] == 7).all()


@each_dtype
def test_a_transposed_product_may_start_all_rows_from_zeros(dtype, rng):
    lanes, K = lanes_of(dtype), K_BLOCK + 3
    A, W = rng.normal(size=(5, K)).astype(dtype), rng.normal(size=(2 * lanes + 3, K)).astype(dtype)
    zeros = padded(np.zeros((len(A), len(W)), dtype), multiple=lanes)
    found = kernels.multiply_transposed(A, W, zeros[0])
    expected = reference.multiply_transposed(A, W, zeros[:, : len(W)])
    assert_same_bits(found[:, : len(W)], expected)
    assert (found[:, len(W) :] == 0).all()
    assert_same_bits(kernels.multiply_transposed(A, W, zeros, in_place=True), found)


# Products of few rows --------------------------------------------------------------------


@each_dtype
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_transposed_product_of_few_rows_adds_in_groups(layout, dtype, rng):
    lanes, group = lanes_of(dtype), group_of(dtype)
    for N in (0, 1, 2, 3, lanes, 2 * lanes + 1):
        for M, K in ((0, 3), (1, 0), (1, 1), (4, group - 1), (1, group), (2, group + 1),
                     (3, 3 * group + lanes)):  # fmt: skip
            A, W = rng.normal(size=(M, K)).astype(dtype), rng.normal(size=(N, K)).astype(dtype)
            found = kernels.multiply_transposed_few(A, W, **layout)
            assert_same_bits(found[:, :N], reference.multiply_transposed_few(A, W))
            assert (found[:, N:] == 0).all()


@each_dtype
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_gradient_of_few_samples_is_one_chain(layout, dtype, rng):
    for vectors in range(11):
        for K in range(6):
            A, B, S = matrices(rng, 3, vectors * lanes_of(dtype), K, dtype)
            expected = reference.multiply(A, B, np.zeros_like(S))
            for m in range(len(A)):
                found = kernels.multiply_few(np.ascontiguousarray(A.T), B, m, **layout)
                assert_same_bits(found, expected[m])


# column_sums -----------------------------------------------------------------------------


@each_dtype
@pytest.mark.parametrize("layout", LAYOUTS)
def test_columns_are_summed_from_the_first_row_down(layout, dtype, rng):
    for M in (0, 1, 2, 3, 100):
        for vectors in (0, 1, 2, 3):
            A = rng.normal(size=(M, vectors * lanes_of(dtype))).astype(dtype)
            assert_same_bits(kernels.column_sums(A, **layout), reference.column_sums(A))


@each_dtype
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_block_is_added_to_another(layout, dtype, rng):
    for M in (0, 1, 3):
        for vectors in (0, 1, 3):
            more, out = rng.normal(size=(2, M, vectors * lanes_of(dtype))).astype(dtype)
            assert_same_bits(kernels.add_block(more, out, **layout), out + more)


# The three products of a layer --------------------------------------------------------------


def test_a_layers_products_are_the_gradients_of_its_outputs(rng):
    M, inputs, N = 5, 7, lanes_of(np.float64)
    x, W, dy = (rng.normal(size=shape) for shape in ((M, inputs), (inputs, N), (M, N)))
    b = rng.normal(size=N)

    def weighted_outputs(x, W, b):
        return np.sum(dy * kernels.multiply(x, W, b))

    def assert_gradient(found, name, value):
        arguments = {"x": x, "W": W, "b": b}
        expected = reference.numerical_gradient(
            lambda changed: weighted_outputs(**arguments | {name: changed}), value, h=1.0
        )
        assert_allclose(found, expected, 0, 1e-13)

    dx = kernels.multiply_transposed(dy, W, padded(np.zeros((M, inputs))))
    assert_gradient(dx[:, :inputs], "x", x)
    assert_gradient(kernels.multiply(x.T, dy, np.zeros(N), by_columns=True), "W", W)
    assert_gradient(kernels.column_sums(dy), "b", b)
