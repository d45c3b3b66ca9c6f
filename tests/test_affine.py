"""Affine layers on dense inputs: forwards, back, and the update of their weights."""

import numpy as np
import pytest
import reference
from kernel_entries import DTYPES, lanes_of, normal, padded, sparse
from layer_entries import OneLayer
from product_entries import multiply
from reference import assert_same_bits

from fastnn.kernels.groups import GRADIENT_ROWS
from fastnn.kernels.layers.affine import SUM_ROWS, UPDATE_BATCH, UPDATE_VECTORS, WEIGHT_VECTORS

each_dtype = pytest.mark.parametrize("dtype", DTYPES)
LAYOUTS = [{}, {"margin": 3, "gap": 5}]
each_layout = pytest.mark.parametrize("layout", LAYOUTS)


def parts_of(rng, dtype, rows, inputs, vectors):
    """x, W, b and deltas D of outputs."""
    N = vectors * lanes_of(dtype)
    return (
        normal(rng, dtype, rows, inputs),
        normal(rng, dtype, inputs, N),
        normal(rng, dtype, N),
        normal(rng, dtype, rows, N),
    )


def long_sum(x, D):
    """``x.T @ D``, sums of many rows added up from shorter ones."""
    total, zeros = None, np.zeros(D.shape[1], D.dtype)
    for r in range(0, len(x), SUM_ROWS):
        part = multiply(x[r : r + SUM_ROWS].T, D[r : r + SUM_ROWS], zeros, by_columns=True)
        total = part if total is None else total + part
    return total


# Forwards ---------------------------------------------------------------------------------


@each_dtype
@each_layout
def test_rows_of_data_are_gathered_or_read_where_they_lie(layout, dtype, rng):
    for inputs in (1, lanes_of(dtype), 2 * lanes_of(dtype) + 3):
        x, W, b, _ = parts_of(rng, dtype, 30, inputs, 3)
        batch = rng.integers(0, 30, 17)
        gathers = OneLayer("affine", x, W, b, batch, slot=2, **layout)
        assert_same_bits(gathers.forward(), multiply(x[batch], W, b))
        assert_same_bits(gathers.inputs, padded(x[batch], multiple=lanes_of(dtype)))
        reads = OneLayer("affine", x, W, b, range(4, 20), slot=2, **layout)
        assert_same_bits(reads.forward(first=4), multiply(x[4:20], W, b))
        assert np.isnan(reads.inputs).all()
        hidden = OneLayer("affine", x, W, b, batch, slot=2, first=False, **layout)
        assert_same_bits(hidden.forward(), multiply(x[batch], W, b))


@each_dtype
def test_columns_of_outputs_are_made_apart(dtype, rng):
    lanes, vectors = lanes_of(dtype), 9
    x, W, b, _ = parts_of(rng, dtype, 4, 7, vectors)
    expected = multiply(x, W, b)
    for low, high in ((0, 1), (2, 5), (3, vectors), (3, 3)):
        mine = np.s_[low * lanes : high * lanes]
        found = OneLayer("affine", x, W, b).forward(low, high)
        assert_same_bits(found[:, mine], expected[:, mine])
        assert np.isnan(np.delete(found, mine, axis=1)).all()


# Back -------------------------------------------------------------------------------------


@each_dtype
@each_layout
@pytest.mark.parametrize("few", [False, True])
def test_deltas_of_inputs_are_those_of_a_transposed_product(few, layout, dtype, rng):
    lanes, outputs = lanes_of(dtype), 2 * lanes_of(dtype) + 1
    for inputs in (1, lanes, 3 * lanes + 1):
        x, W, b, D = parts_of(rng, dtype, 4, inputs, 3)
        layer = OneLayer("affine", x, W, b, slot=2, outputs=outputs, **layout)
        D, W = D[:, :outputs], W[:, :outputs]
        zeros = np.zeros((4, inputs), dtype)
        expected = (
            reference.multiply_transposed_few(D, W)
            if few
            else reference.multiply_transposed(D, W, zeros)
        )
        D = np.pad(D, ((0, 0), (0, 3 * lanes - outputs)), constant_values=np.nan)
        found = layer.backward(D, few)
        assert_same_bits(found[:, :inputs], expected)
        assert (found[:, inputs:] == 0).all()
        vectors = -(-inputs // lanes)
        for low, high in ((0, 1), (vectors - 1, vectors)):
            mine = np.s_[low * lanes : high * lanes]
            part = layer.backward(D, few, low, high)
            assert_same_bits(part[:, mine], found[:, mine])
            assert np.isnan(np.delete(part, mine, axis=1)).all()


# Updates ----------------------------------------------------------------------------------


@each_dtype
@each_layout
@pytest.mark.parametrize("rows", [0, 1, UPDATE_BATCH, UPDATE_BATCH + 1])
def test_gradients_are_one_chain_for_any_blocks(rows, layout, dtype, rng):
    for inputs, vectors in (
        (GRADIENT_ROWS + 3, 2),
        (2, WEIGHT_VECTORS - 1),
        (2, UPDATE_VECTORS + WEIGHT_VECTORS + 1),
    ):
        x, W, b, D = parts_of(rng, dtype, rows, inputs, vectors)
        layer = OneLayer("affine", x, W, b, **layout)
        layer.forward()
        params, memory = layer.update(D)
        zeros = np.zeros(len(b), dtype)
        assert_same_bits(memory[:-1], multiply(x.T, D, zeros, by_columns=True))
        assert_same_bits(memory[-1], reference.column_sums(D))
        assert_same_bits(params, np.vstack([W, b]))


@each_dtype
@pytest.mark.parametrize("rows", [SUM_ROWS, SUM_ROWS + 1, 2 * SUM_ROWS + 7])
def test_sums_of_many_rows_are_added_up(rows, dtype, rng):
    x, W, b, D = parts_of(rng, dtype, rows, 5, 2)
    layer = OneLayer("affine", x, W, b, first=False)
    _, memory = layer.update(D)
    assert_same_bits(memory[:-1], long_sum(x, D))
    assert_same_bits(memory[-1:], long_sum(np.ones_like(x[:, :1]), D))


@each_dtype
@each_layout
@pytest.mark.parametrize("few", [False, True])
@pytest.mark.parametrize("rule", ["store", "sgd"])
def test_a_share_of_rows_is_updated_and_no_other(few, rule, layout, dtype, rng):
    x, W, b, D = parts_of(rng, dtype, 3, 2 * GRADIENT_ROWS + 5, 3)
    x, rate = sparse(rng, *x.shape, dtype, density=0.3), dtype(0.1)
    gradient = reference.multiply(x.T, D, np.zeros(len(b), dtype))
    wanted = reference.update_block(rule, rate, gradient, W, np.full_like(W, np.nan))
    for low, high in ((0, len(W)), (0, 0), (3, 4), (GRADIENT_ROWS - 1, len(W)), (len(W), len(W))):
        layer = OneLayer("affine", x, W, b, **layout)
        layer.forward()
        params, memory = layer.update(D, rule, few, (low, high, 0, 1), rate=rate)
        expected, remembered = np.vstack([W, b]), np.full_like(memory, np.nan)
        expected[low:high], remembered[low:high] = (part[low:high] for part in wanted)
        assert_same_bits(params, expected)
        assert_same_bits(memory[:-1], remembered[:-1])
