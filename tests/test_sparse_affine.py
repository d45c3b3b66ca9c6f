"""The first layer on sparse inputs: the bits of the dense products."""

import layer_entries as kernels
import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_entries import DTYPES, lanes_of, normal, padded, sparse
from layer_entries import OneLayer
from product_entries import multiply
from reference import assert_same_bits

from fastnn.kernels.layers.affine import SUM_ROWS
from fastnn.kernels.layers.sparse_affine import COLUMN_BLOCK, WIDTHS

each_dtype = pytest.mark.parametrize("dtype", DTYPES)
each_width = pytest.mark.parametrize(
    "inputs", [1, 2, COLUMN_BLOCK - 1, COLUMN_BLOCK, COLUMN_BLOCK + 1, 2 * COLUMN_BLOCK + 1]
)


@each_width
@each_dtype
def test_outputs_are_those_of_the_dense_product_to_the_bit(inputs, dtype, rng):
    for vectors in range(2 * WIDTHS[0] + 2):
        N = vectors * lanes_of(dtype)
        x = sparse(rng, 5, inputs, dtype)
        W, b = normal(rng, dtype, inputs, N), normal(rng, dtype, N)
        assert_same_bits(kernels.nonzeros_forward(x, W, b), multiply(x, W, b))


@each_width
@each_dtype
def test_gradients_are_those_of_the_dense_product_to_the_bit(inputs, dtype, rng):
    for vectors in range(2 * WIDTHS[0] + 2):
        x, D = sparse(rng, 5, inputs, dtype), normal(rng, dtype, 5, vectors * lanes_of(dtype))
        params, dW = kernels.nonzeros_backward(x, D)
        zeros = np.zeros(D.shape[1], dtype)
        assert_same_bits(dW, multiply(x.T, D, zeros, by_columns=True))
        assert np.isnan(params).all()


@each_dtype
@pytest.mark.parametrize("rows", [SUM_ROWS, SUM_ROWS + 1, 2 * SUM_ROWS + 7])
def test_sums_of_many_rows_are_added_up(dtype, rows, rng):
    x = sparse(rng, rows, COLUMN_BLOCK + 3, dtype, density=0.02)
    D = normal(rng, dtype, rows, 3 * lanes_of(dtype))
    expected = np.zeros((x.shape[1], D.shape[1]), dtype)
    for r in range(0, rows, SUM_ROWS):
        expected += kernels.nonzeros_backward(x[r : r + SUM_ROWS], D[r : r + SUM_ROWS])[1]
    assert_same_bits(kernels.nonzeros_backward(x, D)[1], expected)


@each_dtype
def test_descent_by_a_sparse_gradient_is_descent_by_the_dense_one(dtype, rng):
    inputs, N = 2 * COLUMN_BLOCK + 1, 5 * lanes_of(dtype)
    x, D = sparse(rng, 7, inputs, dtype), normal(rng, dtype, 7, N)
    W, rate = normal(rng, dtype, inputs, N), dtype(0.1)
    found, memory = kernels.nonzeros_backward(x, D, rule="sgd", learning_rate=rate, W=W)
    dense = reference.nonzeros_backward(x, D)
    assert_same_bits(found, reference.update_block("sgd", rate, dense, W, None)[0])
    assert np.isnan(memory).all()


@each_dtype
@settings(max_examples=30)
@given(data=st.data())
def test_products_of_any_batch_are_those_of_its_rows(dtype, data):
    """Rows in any order, repeated, left out; a batch of none; a place of their own for cursors."""
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    inputs = data.draw(st.integers(1, 3 * COLUMN_BLOCK))
    density = data.draw(st.sampled_from([0, 0.01, 0.2, 1]))
    x = sparse(rng, 4, inputs, dtype, density)
    batch = data.draw(st.lists(st.integers(0, 3), max_size=9))
    layout = {"margin": data.draw(st.integers(0, 9)), "gap": data.draw(st.integers(0, 9))}
    slot = data.draw(st.integers(0, 3))
    N = data.draw(st.integers(1, 6)) * lanes_of(dtype)
    W, b, D = (
        normal(rng, dtype, inputs, N),
        normal(rng, dtype, N),
        normal(rng, dtype, len(batch), N),
    )
    y = kernels.nonzeros_forward(x, W, b, batch, slot, **layout)
    assert_same_bits(y, reference.nonzeros_forward(x[batch], W, b))
    _, dW = kernels.nonzeros_backward(x, D, batch, "store", **layout)
    assert_same_bits(dW, reference.nonzeros_backward(x[batch], D))


@each_dtype
def test_rows_without_nonzeros_have_the_bias_for_outputs(dtype, rng):
    x, N = np.zeros((3, 2 * COLUMN_BLOCK), dtype), lanes_of(dtype)
    x[1, -1] = 2
    W, b = normal(rng, dtype, 2 * COLUMN_BLOCK, N), normal(rng, dtype, N)
    y = kernels.nonzeros_forward(x, W, b)
    assert_same_bits(y, [b, reference.fma(dtype(2), W[-1], b), b])


@each_dtype
def test_gradients_of_padding_are_zero(dtype, rng):
    lanes = lanes_of(dtype)
    D = padded(normal(rng, dtype, 5, lanes + 1))
    _, dW = kernels.nonzeros_backward(sparse(rng, 5, 9, dtype), D)
    assert (dW[:, lanes + 1 :] == 0).all()


# Parts of a layer ---------------------------------------------------------------------------


@each_dtype
def test_columns_of_outputs_are_made_apart(dtype, rng):
    lanes, vectors = lanes_of(dtype), 2 * WIDTHS[0] + 3
    x = sparse(rng, 4, COLUMN_BLOCK + 5, dtype)
    W, b = normal(rng, dtype, x.shape[1], vectors * lanes), normal(rng, dtype, vectors * lanes)
    expected = multiply(x, W, b)
    for low, high in ((0, 1), (1, 9), (5, vectors), (3, 3)):
        mine = np.s_[low * lanes : high * lanes]
        found = OneLayer("sparse_affine", x, W, b).forward(low, high)
        assert_same_bits(found[:, mine], expected[:, mine])
        assert np.isnan(np.delete(found, mine, axis=1)).all()


@each_dtype
@pytest.mark.parametrize("few", [False, True])
@pytest.mark.parametrize("rule", ["store", "sgd"])
def test_chunks_update_the_weights_of_blocks_of_columns(few, rule, dtype, rng):
    inputs, N, rate = 3 * COLUMN_BLOCK + 1, 3 * lanes_of(dtype), dtype(0.1)
    x, D = sparse(rng, 3, inputs, dtype), normal(rng, dtype, 3, N)
    W, b = normal(rng, dtype, inputs, N), normal(rng, dtype, N)
    dense = reference.nonzeros_backward(x, D)
    expected = reference.update_block(rule, rate, dense, W, np.full_like(W, np.nan))
    for parts in (1, 2, 3, 5):
        seen = np.zeros(inputs, int)
        for part in range(parts):
            layer = OneLayer("sparse_affine", x, W, b, margin=3, gap=5)
            layer.forward()
            params, memory = layer.update(D, rule, few, (0, 0, part, parts), rate=rate)
            assert_same_bits(params[-1], b)
            assert np.isnan(memory[-1]).all()
            changed = memory if rule == "store" else params
            mine = ~np.isnan(memory[:-1, 0]) if rule == "store" else (params[:-1] != W).any(axis=1)
            seen += mine
            wanted = expected[1] if rule == "store" else expected[0]
            assert_same_bits(changed[:-1][mine], wanted[mine])
            assert_same_bits(params[:-1][~mine], W[~mine])
        assert (seen == (1 if rule == "store" else (dense != 0).any(axis=1))).all()


@each_dtype
@pytest.mark.parametrize("rows", [5, SUM_ROWS + 3])
def test_a_sweep_over_weights_takes_the_biases_along(rows, dtype, rng):
    x, N = sparse(rng, rows, 9, dtype), 2 * lanes_of(dtype)
    W, b, D = normal(rng, dtype, 9, N), normal(rng, dtype, N), normal(rng, dtype, rows, N)
    layer = OneLayer("sparse_affine", x, W, b)
    layer.forward()
    params, memory = layer.update(D)
    parts = [slice(0, SUM_ROWS), slice(SUM_ROWS, None)]
    expected = [reference.column_sums(D[part]) for part in parts]
    assert_same_bits(memory[-1], expected[0] + expected[1] if rows > SUM_ROWS else expected[0])
    assert_same_bits(memory[:-1], kernels.nonzeros_backward(x, D)[1])
    assert_same_bits(params, np.vstack([W, b]))
