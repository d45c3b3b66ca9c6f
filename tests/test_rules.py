"""Rules of the optimisers on blocks of gradients."""

import numpy as np
import product_entries as kernels
import pytest
import reference
from kernel_entries import DTYPES, lanes_of
from reference import assert_same_bits

from fastnn.kernels.rules import RULES

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
        found_params, memory = kernels.update_block("store", np.nan, G, params, empty, **layout)
        expected_params, expected = reference.update_block("store", np.nan, G, params, empty)
        assert_same_bits(memory, expected)
        assert_same_bits(found_params, expected_params)
        decay = dtype(0.25)
        _, memory = kernels.update_block("store", np.nan, G, params, empty, decay=decay, **layout)
        assert_same_bits(memory, reference.update_block("store", 0, G, params, empty, decay)[1])


@each_dtype
@pytest.mark.parametrize("layout", LAYOUTS)
def test_descent_is_one_fused_step_and_needs_no_memory(layout, dtype, rng):
    rate = dtype(0.1)
    for G, params in blocks(rng, dtype):
        empty = np.full_like(G, np.nan)
        found, memory = kernels.update_block("sgd", rate, G, params, empty, **layout)
        expected, _ = reference.update_block("sgd", rate, G, params, empty)
        assert_same_bits(found, expected)
        assert np.isnan(memory).all()


# Of these two every bit is promised, above.
REMEMBERING = [name for name in RULES if name not in ("store", "sgd")]
each_memory = pytest.mark.parametrize("rule", REMEMBERING)


@each_dtype
@each_memory
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("decay", [0, 0.5])
def test_rules_that_remember_follow_the_book_over_100_steps(rule, layout, decay, dtype, rng):
    tolerance = 2e-4 if dtype == np.float32 else 1e-12  # 100 roundings of numbers of about 1
    for _, start in blocks(rng, dtype):
        params = wanted = start
        memory = expected = kernels.memory_of(rule, params)
        for _ in range(100):
            G = rng.normal(size=params.shape).astype(dtype)
            options = {"decay": decay, "numbers": kernels.NUMBERS}
            params, memory = kernels.update_block(
                rule, 0.01, G, params, memory, **layout, **options
            )
            wanted, expected = reference.update_block(rule, 0.01, G, wanted, expected, **options)
        np.testing.assert_allclose(params, wanted, rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(memory, expected, rtol=tolerance, atol=tolerance)


@each_dtype
@each_memory
def test_zeros_stay_zero_under_rules_that_remember(rule, dtype):
    zeros = np.zeros((3, lanes_of(dtype)), dtype)
    memory = kernels.memory_of(rule, zeros)
    for _ in range(3):
        params, memory = kernels.update_block(
            rule, 0.1, zeros, zeros, memory, decay=0.5, numbers=kernels.NUMBERS
        )
        assert (params == 0).all()
        assert (memory == 0).all()


@each_dtype
def test_descent_with_weight_decay_adds_it_to_the_gradient(dtype, rng):
    rate, decay = dtype(0.1), dtype(0.25)
    for G, params in blocks(rng, dtype):
        found, _ = kernels.update_block("sgd", rate, G, params, np.zeros_like(G), decay=decay)
        expected, _ = reference.update_block("sgd", rate, G, params, None, decay=decay)
        assert_same_bits(found, expected)


@each_dtype
def test_padding_of_zero_gradients_and_parameters_stays_zero(dtype):
    zeros = np.zeros((3, lanes_of(dtype)), dtype)
    params, memory = kernels.update_block("sgd", dtype(0.1), zeros, zeros, zeros)
    assert_same_bits(params, zeros)
    params, memory = kernels.update_block("store", dtype(0.1), zeros, zeros, zeros + 1)
    assert_same_bits(memory, zeros)
