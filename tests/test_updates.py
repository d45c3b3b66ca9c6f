"""Rules of the optimisers on blocks of gradients."""

import kernel_entries as kernels
import numpy as np
import pytest
import reference
from kernel_entries import DTYPES, lanes_of
from reference import assert_same_bits

from fastnn.kernels.updates import SGD, STORE

each_dtype = pytest.mark.parametrize("dtype", DTYPES)
SHAPES = [(0, 2), (1, 0), (1, 1), (3, 2), (7, 5)]  # rows, vectors
LAYOUTS = [{}, {"margin": 3, "gap": 5}]


def blocks(rng, dtype):
    for rows, vectors in SHAPES:
        yield rng.normal(size=(2, rows, vectors * lanes_of(dtype))).astype(dtype)


@each_dtype
@pytest.mark.parametrize("layout", LAYOUTS)
def test_gradients_are_stored_and_parameters_left_alone(layout, dtype, rng):
    for G, params in blocks(rng, dtype):
        empty = np.full_like(G, np.nan)
        found_params, memory = kernels.update_block(STORE, np.nan, G, params, empty, **layout)
        expected_params, expected = reference.update_block(STORE, np.nan, G, params, empty)
        assert_same_bits(memory, expected)
        assert_same_bits(found_params, expected_params)


@each_dtype
@pytest.mark.parametrize("layout", LAYOUTS)
def test_descent_is_one_fused_step_and_needs_no_memory(layout, dtype, rng):
    rate = dtype(0.1)
    for G, params in blocks(rng, dtype):
        empty = np.full_like(G, np.nan)
        found, memory = kernels.update_block(SGD, rate, G, params, empty, **layout)
        expected, _ = reference.update_block(SGD, rate, G, params, empty)
        assert_same_bits(found, expected)
        assert np.isnan(memory).all()


@each_dtype
def test_padding_of_zero_gradients_and_parameters_stays_zero(dtype):
    zeros = np.zeros((3, lanes_of(dtype)), dtype)
    params, memory = kernels.update_block(SGD, dtype(0.1), zeros, zeros, zeros)
    assert_same_bits(params, zeros)
    params, memory = kernels.update_block(STORE, dtype(0.1), zeros, zeros, zeros + 1)
    assert_same_bits(memory, zeros)
