"""The first layer on sparse inputs: the bits of the dense products, and the rows' inspection."""

import kernel_entries as kernels
import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from kernel_entries import DTYPES, lanes_of
from numpy.testing import assert_array_equal
from reference import assert_same_bits

from fastnn.compiler.lanes import LIST_SLACK
from fastnn.kernels.nonzeros import COLUMN_BLOCK, PANEL
from fastnn.kernels.updates import SGD, STORE

each_dtype = pytest.mark.parametrize("dtype", DTYPES)
each_width = pytest.mark.parametrize(
    "inputs", [1, 2, COLUMN_BLOCK - 1, COLUMN_BLOCK, COLUMN_BLOCK + 1, 2 * COLUMN_BLOCK + 1]
)


def sparse(rng, rows, inputs, dtype, density=0.2):
    x = rng.normal(size=(rows, inputs)).astype(dtype)
    x[rng.random(x.shape) >= density] = 0
    return x


def normal(rng, dtype, *shape):
    return rng.normal(size=shape).astype(dtype)


# Products ---------------------------------------------------------------------------------


@each_width
@each_dtype
def test_outputs_are_those_of_the_dense_product_to_the_bit(inputs, dtype, rng):
    for vectors in range(2 * PANEL + 2):
        N = vectors * lanes_of(dtype)
        x = sparse(rng, 5, inputs, dtype)
        W, b = normal(rng, dtype, inputs, N), normal(rng, dtype, N)
        assert_same_bits(kernels.nonzeros_forward(x, W, b), kernels.multiply(x, W, b))


@each_width
@each_dtype
def test_gradients_are_those_of_the_dense_product_to_the_bit(inputs, dtype, rng):
    for vectors in range(2 * PANEL + 2):
        x, D = sparse(rng, 5, inputs, dtype), normal(rng, dtype, 5, vectors * lanes_of(dtype))
        params, dW = kernels.nonzeros_backward(x, D)
        zeros = np.zeros(D.shape[1], dtype)
        assert_same_bits(dW, kernels.multiply(x.T, D, zeros, by_columns=True))
        assert np.isnan(params).all()


@each_dtype
@pytest.mark.parametrize("most", [1, 4, 5, 7])
def test_sums_of_many_rows_are_added_up(dtype, most, rng):
    x, D = sparse(rng, 12, COLUMN_BLOCK + 3, dtype), normal(rng, dtype, 12, 3 * lanes_of(dtype))
    expected = np.zeros((x.shape[1], D.shape[1]), dtype)
    for r in range(0, 12, most):
        expected += kernels.nonzeros_backward(x[r : r + most], D[r : r + most])[1]
    assert_same_bits(kernels.nonzeros_backward(x, D, most=most)[1], expected)


@each_dtype
def test_descent_by_a_sparse_gradient_is_descent_by_the_dense_one(dtype, rng):
    inputs, N = 2 * COLUMN_BLOCK + 1, 5 * lanes_of(dtype)
    x, D = sparse(rng, 7, inputs, dtype), normal(rng, dtype, 7, N)
    W, rate = normal(rng, dtype, inputs, N), dtype(0.1)
    found, memory = kernels.nonzeros_backward(x, D, rule=SGD, learning_rate=rate, W=W)
    dense = reference.nonzeros_backward(x, D)
    assert_same_bits(found, reference.update_block(SGD, rate, dense, W, None)[0])
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
    _, dW = kernels.nonzeros_backward(x, D, batch, STORE, **layout)
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
    D = kernels.padded(normal(rng, dtype, 5, lanes + 1))
    _, dW = kernels.nonzeros_backward(sparse(rng, 5, 9, dtype), D)
    assert (dW[:, lanes + 1 :] == 0).all()


# Compression ---------------------------------------------------------------------------------

FULL, NOT_FINITE = -1, -2


def shares(rows, room, chunks):
    """The rows of each chunk and how many nonzeros it has room for."""
    for c in range(chunks):
        yield (
            range(rows * c // chunks, rows * (c + 1) // chunks),
            range(room * c // chunks, room * (c + 1) // chunks),
        )


@each_dtype
@settings(max_examples=50)
@given(data=st.data())
def test_compression_lists_the_nonzeros_of_each_row_that_it_has_room_for(dtype, data):
    # -0.0 is a zero; the smallest and the largest numbers are not.
    limits = np.finfo(dtype)
    elements = st.sampled_from([0.0, 0.0, -0.0, 1.5, -limits.smallest_subnormal, limits.max])
    shape = data.draw(st.tuples(st.integers(0, 5), st.integers(1, 2 * lanes_of(dtype) + 1)))
    x = data.draw(hnp.arrays(dtype, shape, elements=elements))
    room, chunks = (
        data.draw(st.integers(0, 4 * (x.size + LIST_SLACK))),
        data.draw(st.integers(1, 4)),
    )
    bounds, column, value = kernels.compress_rows(x, room, chunks)
    expected = reference.compress_rows(x)
    for rows, entries in shares(len(x), room, chunks):
        used = entries.start
        for r in rows:
            first, end = bounds[r]
            assert first == used
            if used + x.shape[1] + LIST_SLACK > entries.stop:
                assert end == FULL
                continue
            columns, values = expected[r]
            assert_array_equal(column[first:end], columns)
            assert_array_equal(value[first:end], values)
            used = end
        assert np.isnan(value[used : entries.stop]).all()


@each_dtype
def test_the_values_of_each_column_are_found_in_the_lists(dtype, rng):
    for rows in range(5):
        x = sparse(rng, rows, 40, dtype)
        x[:, 7] = 0
        assert_array_equal(kernels.values_of_columns(x), x)


@each_dtype
@pytest.mark.parametrize("strange", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("room", [0, 1000])
def test_a_row_with_a_number_that_is_not_finite_is_marked(strange, room, dtype, rng):
    for inputs in (1, lanes_of(dtype) - 1, lanes_of(dtype), 2 * lanes_of(dtype) + 1):
        for place in range(inputs):
            x = sparse(rng, 3, inputs, dtype)
            x[1, place] = strange
            bounds, _, _ = kernels.compress_rows(x, room)
            assert_array_equal(bounds[:, 1] == NOT_FINITE, [False, True, False])
