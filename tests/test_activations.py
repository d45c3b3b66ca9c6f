"""Activations and their slopes, and blocks of them."""

import activation_entries as kernels
import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from kernel_entries import DTYPES, lanes_of, nothing, padded
from numpy.testing import assert_allclose, assert_array_equal
from reference import assert_same_bits

from fastnn.kernels.activations import ACTIVATIONS, LEAK

each_dtype = pytest.mark.parametrize("dtype", DTYPES)
each_activation = pytest.mark.parametrize("name", ACTIVATIONS)


@each_dtype
@settings(max_examples=50)
@given(data=st.data())
def test_activations_of_finite_numbers_are_finite_and_in_range(dtype, data):
    finite = st.floats(width=8 * np.dtype(dtype).itemsize, allow_nan=False, allow_infinity=False)
    z = data.draw(hnp.arrays(dtype, st.integers(1, 20), elements=finite))
    y = {name: kernels.activate(name, z) for name in ACTIVATIONS}
    assert all(np.isfinite(outputs).all() for outputs in y.values())
    assert ((y["sigmoid"] >= 0) & (y["sigmoid"] <= 1)).all()
    assert (np.abs(y["tanh"]) <= 1).all()
    assert (y["softplus"] >= np.maximum(z, 0)).all()


@each_activation
@each_dtype
def test_activations_are_those_of_the_twin(name, dtype, rng):
    z = rng.normal(0, 5, 1000).astype(dtype)
    assert_allclose(kernels.activate(name, z), reference.activate(name, z), 4 * np.finfo(dtype).eps)


@each_activation
@each_dtype
def test_an_activation_of_nan_is_nan(name, dtype):
    assert np.isnan(kernels.activate(name, np.array([np.nan], dtype)))[0]


@each_dtype
def test_rectifiers_bend_at_zero(dtype):
    z = np.array([-np.inf, -2, -0.0, 0, 3, np.inf], dtype)
    assert_array_equal(kernels.activate("relu", z), np.maximum(z, 0))
    leaky = np.where(z < 0, z * dtype(LEAK), z)
    assert_array_equal(kernels.activate("leaky_relu", z), leaky)
    assert_array_equal(kernels.slope("relu", np.maximum(z, 0)), z > 0)
    assert_array_equal(kernels.slope("leaky_relu", leaky), np.where(z > 0, dtype(1), dtype(LEAK)))


@each_activation
@each_dtype
def test_slopes_are_those_of_the_twin(name, dtype, rng):
    y = kernels.activate(name, np.append(rng.normal(0, 5, 1000), [0, 1e3, -1e3]).astype(dtype))
    eps = np.finfo(dtype).eps
    assert_allclose(kernels.slope(name, y), reference.slope(name, y), 2 * eps, 2 * eps)


@each_activation
def test_slopes_are_those_of_finite_differences(name, rng):
    z = rng.normal(0, 3, 500)
    z = z[np.abs(z) > 1e-3]  # not across the bend of a rectifier
    h = 1e-5
    difference = (kernels.activate(name, z + h) - kernels.activate(name, z - h)) / (2 * h)
    assert_allclose(kernels.slope(name, kernels.activate(name, z)), difference, 0, 1e-9)


# Blocks -----------------------------------------------------------------------------------

SHAPES = [(0, 2), (1, 0), (1, 1), (3, 2), (7, 5)]  # rows, vectors
LAYOUTS = [{}, {"margin": 3, "gap": 5}]


@each_activation
@each_dtype
def test_a_block_is_activated_element_by_element(name, dtype, rng):
    for rows, vectors in SHAPES:
        Z = rng.normal(size=(rows, vectors * lanes_of(dtype))).astype(dtype)
        expected = kernels.activate(name, Z.reshape(-1)).reshape(Z.shape)
        for layout in LAYOUTS:
            assert_same_bits(kernels.activation_forward(name, Z, **layout), expected)


@each_activation
@each_dtype
def test_a_block_of_deltas_is_multiplied_by_the_slopes(name, dtype, rng):
    for rows, vectors in SHAPES:
        Z, D = rng.normal(size=(2, rows, vectors * lanes_of(dtype))).astype(dtype)
        Y = kernels.activate(name, Z.reshape(-1)).reshape(Z.shape)
        slopes = kernels.slope(name, Y.reshape(-1)).reshape(Y.shape)
        for layout in LAYOUTS:
            assert_same_bits(kernels.activation_backward(name, Y, D, **layout), D * slopes)
        twin = reference.activation_backward(name, Y, D)
        eps = np.finfo(dtype).eps
        assert_allclose(kernels.activation_backward(name, Y, D), twin, 4 * eps, 10 * eps)


@each_activation
@each_dtype
def test_the_padding_of_deltas_stays_zero(name, dtype, rng):
    lanes = lanes_of(dtype)
    Y = kernels.activation_forward(name, padded(np.ones((3, lanes + 1), dtype)))
    D = padded(rng.normal(size=(3, lanes + 1)).astype(dtype))
    assert (kernels.activation_backward(name, Y, D)[:, lanes + 1 :] == 0).all()


@each_dtype
def test_the_identity_reads_no_outputs(dtype):
    Y, D = nothing(2, 16, dtype), np.ones((2, 16), dtype)
    assert_same_bits(kernels.activation_backward("identity", Y, D), D)
