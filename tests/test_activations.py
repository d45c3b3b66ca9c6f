"""Elementary functions within their bounds, activations and their slopes."""

import kernel_entries as kernels
import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from kernel_entries import DTYPES, lanes_of
from numpy.testing import assert_allclose, assert_array_equal
from reference import assert_same_bits

from fastnn.kernels.activations import (
    ACTIVATION_CODES,
    IDENTITY,
    LEAK,
    LEAKY_RELU,
    RELU,
    SIGMOID,
    SOFTPLUS,
    TANH,
)

# Errors in units of the last place of the true result. All of float32 between 2**-27 and the
# ends of the domains was tried: 1.06, 1.65, 1.97, 1.97, 2.41, 2.50 and 2.80 are its worst.
BOUNDS = {
    "exp": 1.2, "expm1": 1.9, "log": 2, "log1p": 2, "sigmoid": 2.5, "tanh": 2.7, "softplus": 3,
}  # fmt: skip
# exp(x) is a normal number between these and 0 below.
LOWEST = {np.float32: -87.3, np.float64: -708.3}
HIGHEST = {np.float32: 88.0, np.float64: 709.0}

each_dtype = pytest.mark.parametrize("dtype", DTYPES)
each_code = pytest.mark.parametrize("code", ACTIVATION_CODES.values(), ids=list(ACTIVATION_CODES))
# Whatever is no larger than the twins can tell apart needs a wider float: not on every system.
wide = np.finfo(reference.WIDEST).nmant > 60
each_tellable_dtype = pytest.mark.parametrize("dtype", DTYPES if wide else DTYPES[:1])


def all_magnitudes(rng, low, high, dtype, count=20_000):
    """Positive numbers between two, as many in each power of two."""
    integer = f"i{np.dtype(dtype).itemsize}"
    ends = np.array([low, high], dtype).view(integer)
    return rng.integers(*ends, count, integer, endpoint=True).view(dtype)


def domain(name, dtype, rng):
    """Numbers of all sizes and signs that a function takes; dense where it is curved."""
    limits = np.finfo(dtype)
    smallest, lowest, highest = limits.smallest_subnormal, LOWEST[dtype], HIGHEST[dtype]
    if name == "log":
        near_one = [rng.uniform(0.5, 16, 20_000), 1 + rng.uniform(-1e-3, 1e-3, 20_000)]
        x = [all_magnitudes(rng, limits.tiny, limits.max, dtype), *near_one]
        return np.concatenate([*x, [limits.tiny, limits.max]], dtype=dtype, casting="same_kind")
    if name == "log1p":
        x = [all_magnitudes(rng, smallest, 1, dtype), rng.uniform(0, 1, 20_000), [0, smallest, 1]]
        return np.concatenate(x, dtype=dtype, casting="same_kind")
    if name in ("sigmoid", "softplus"):
        lowest += 0.5  # below, exp(x) is 0 already
    x = [
        all_magnitudes(rng, smallest, highest, dtype),
        -all_magnitudes(rng, smallest, -lowest, dtype),
        rng.uniform(lowest, highest, 20_000),
        rng.uniform(-5, 5, 20_000),
        [0, -0.0, smallest, -smallest, lowest, highest],
    ]
    if name in ("sigmoid", "tanh", "softplus"):
        x.append(all_magnitudes(rng, highest, limits.max, dtype))
    return np.concatenate(x, dtype=dtype, casting="same_kind")


# Elementary functions ---------------------------------------------------------------------


@each_tellable_dtype
@pytest.mark.parametrize("name", BOUNDS)
def test_functions_are_within_their_bounds_in_the_last_place(name, dtype, rng):
    x = domain(name, dtype, rng)
    found = getattr(kernels, name)(x)
    error = reference.ulps(found, getattr(reference, name)(x))
    worst = np.argmax(error)  # NaN counts as the largest
    assert error[worst] <= BOUNDS[name], f"{name}({x[worst]!r}) is {error[worst]:.2f} ulp off"


@each_dtype
@pytest.mark.parametrize(
    ("name", "x", "expected"),
    [
        ("exp", [0, -0.0, -np.inf, -1e4, -3e38], [1, 1, 0, 0, 0]),
        ("expm1", [0, -0.0, -np.inf, -1e4, -3e38], [0, 0, -1, -1, -1]),
        ("log", [1, 2.0**-126], [0, -126 * np.log(2)]),
        ("log1p", [0], [0]),
        ("sigmoid", [0, -0.0, np.inf, -np.inf, 3e38, -3e38], [0.5, 0.5, 1, 0, 1, 0]),
        ("tanh", [0, np.inf, -np.inf, 3e38, -3e38], [0, 1, -1, 1, -1]),
        ("softplus", [np.inf, -np.inf, 3e38, -3e38], [np.inf, 0, 3e38, 0]),
    ],
)
def test_functions_of_special_numbers_are_exact(name, x, expected, dtype):
    found = getattr(kernels, name)(np.array(x, dtype))
    assert_array_equal(found, np.array(expected, dtype))


@each_dtype
def test_the_exponential_ends_where_its_result_is_no_normal_number(dtype):
    end = dtype(LOWEST[dtype])
    below, above = np.nextafter(end, dtype(-np.inf)), np.nextafter(end, dtype(0))
    assert_array_equal(kernels.exp(np.array([below, end])) > 0, [False, True])
    assert_array_equal(kernels.expm1(np.array([below])), [-1])
    assert kernels.exp(np.array([above]))[0] >= np.finfo(dtype).tiny


@each_dtype
@pytest.mark.parametrize("name", BOUNDS)
def test_nan_stays_nan(name, dtype):
    assert np.isnan(getattr(kernels, name)(np.array([np.nan, -np.nan], dtype))).all()


@each_dtype
def test_sigmoid_tanh_and_softplus_saturate_once_and_for_all(dtype, rng):
    digits = np.finfo(dtype).nmant
    far = np.append(all_magnitudes(rng, digits, np.finfo(dtype).max, dtype), dtype(np.inf))
    assert (kernels.sigmoid(far) == 1).all()
    assert (kernels.tanh(far) == 1).all()
    assert_array_equal(kernels.softplus(far), far)
    farther = far[far > -LOWEST[dtype]]
    assert (kernels.sigmoid(-farther) == 0).all()
    assert (kernels.softplus(-farther) == 0).all()


@each_dtype
def test_tanh_is_odd_to_the_bit_and_keeps_the_sign_of_zero(dtype, rng):
    z = np.append(all_magnitudes(rng, np.finfo(dtype).tiny, 100, dtype), dtype(0))
    assert_same_bits(kernels.tanh(-z), -kernels.tanh(z))


@each_dtype
@settings(max_examples=50)
@given(data=st.data())
def test_activations_of_finite_numbers_are_finite_and_in_range(dtype, data):
    finite = st.floats(width=8 * np.dtype(dtype).itemsize, allow_nan=False, allow_infinity=False)
    z = data.draw(hnp.arrays(dtype, st.integers(1, 20), elements=finite))
    y = {code: kernels.activate(code, z) for code in ACTIVATION_CODES.values()}
    assert all(np.isfinite(outputs).all() for outputs in y.values())
    assert ((y[SIGMOID] >= 0) & (y[SIGMOID] <= 1)).all()
    assert (np.abs(y[TANH]) <= 1).all()
    assert (y[SOFTPLUS] >= np.maximum(z, 0)).all()


# Activations ------------------------------------------------------------------------------


@each_code
@each_dtype
def test_activations_are_those_of_the_twin(code, dtype, rng):
    z = rng.normal(0, 5, 1000).astype(dtype)
    assert_allclose(kernels.activate(code, z), reference.activate(code, z), 4 * np.finfo(dtype).eps)


@each_code
@each_dtype
def test_an_activation_of_nan_is_nan(code, dtype):
    assert np.isnan(kernels.activate(code, np.array([np.nan], dtype)))[0]


@each_dtype
def test_rectifiers_bend_at_zero(dtype):
    z = np.array([-np.inf, -2, -0.0, 0, 3, np.inf], dtype)
    assert_array_equal(kernels.activate(RELU, z), np.maximum(z, 0))
    leaky = np.where(z < 0, z * dtype(LEAK), z)
    assert_array_equal(kernels.activate(LEAKY_RELU, z), leaky)
    assert_array_equal(kernels.slope(RELU, np.maximum(z, 0)), z > 0)
    assert_array_equal(kernels.slope(LEAKY_RELU, leaky), np.where(z > 0, dtype(1), dtype(LEAK)))


@each_code
@each_dtype
def test_slopes_are_those_of_the_twin(code, dtype, rng):
    y = kernels.activate(code, np.append(rng.normal(0, 5, 1000), [0, 1e3, -1e3]).astype(dtype))
    eps = np.finfo(dtype).eps
    assert_allclose(kernels.slope(code, y), reference.slope(code, y), 2 * eps, 2 * eps)


@each_code
def test_slopes_are_those_of_finite_differences(code, rng):
    z = rng.normal(0, 3, 500)
    z = z[np.abs(z) > 1e-3]  # not across the bend of a rectifier
    h = 1e-5
    difference = (kernels.activate(code, z + h) - kernels.activate(code, z - h)) / (2 * h)
    assert_allclose(kernels.slope(code, kernels.activate(code, z)), difference, 0, 1e-9)


# Blocks -----------------------------------------------------------------------------------

SHAPES = [(0, 2), (1, 0), (1, 1), (3, 2), (7, 5)]  # rows, vectors
LAYOUTS = [{}, {"margin": 3, "gap": 5}]


@each_code
@each_dtype
def test_a_block_is_activated_element_by_element(code, dtype, rng):
    for rows, vectors in SHAPES:
        Z = rng.normal(size=(rows, vectors * lanes_of(dtype))).astype(dtype)
        expected = kernels.activate(code, Z.reshape(-1)).reshape(Z.shape)
        for layout in LAYOUTS:
            assert_same_bits(kernels.activation_forward(code, Z, **layout), expected)


@each_code
@each_dtype
def test_a_block_of_deltas_is_multiplied_by_the_slopes(code, dtype, rng):
    for rows, vectors in SHAPES:
        Z, D = rng.normal(size=(2, rows, vectors * lanes_of(dtype))).astype(dtype)
        Y = kernels.activate(code, Z.reshape(-1)).reshape(Z.shape)
        slopes = kernels.slope(code, Y.reshape(-1)).reshape(Y.shape)
        for layout in LAYOUTS:
            assert_same_bits(kernels.activation_backward(code, Y, D, **layout), D * slopes)
        twin = reference.activation_backward(code, Y, D)
        eps = np.finfo(dtype).eps
        assert_allclose(kernels.activation_backward(code, Y, D), twin, 4 * eps, 10 * eps)


@each_code
@each_dtype
def test_the_padding_of_deltas_stays_zero(code, dtype, rng):
    lanes = lanes_of(dtype)
    Y = kernels.activation_forward(code, kernels.padded(np.ones((3, lanes + 1), dtype)))
    D = kernels.padded(rng.normal(size=(3, lanes + 1)).astype(dtype))
    assert (kernels.activation_backward(code, Y, D)[:, lanes + 1 :] == 0).all()


@each_dtype
def test_the_identity_reads_no_outputs(dtype):
    Y, D = kernels.nothing(2, 16, dtype), np.ones((2, 16), dtype)
    assert_same_bits(kernels.activation_backward(IDENTITY, Y, D), D)
