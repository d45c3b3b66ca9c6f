"""Elementary functions within their bounds."""

import activation_entries as kernels
import numpy as np
import pytest
import reference
from kernel_entries import DTYPES
from numpy.testing import assert_array_equal
from reference import assert_same_bits

# Errors in units of the last place of the true result. All of float32 between 2**-27 and the
# ends of the domains was tried: 1.06, 1.65, 1.97, 1.97, 2.41, 2.50 and 2.80 are its worst.
BOUNDS = {
    "exp": 1.2, "expm1": 1.9, "log": 2, "log1p": 2, "sigmoid": 2.5, "tanh": 2.7, "softplus": 3,
}  # fmt: skip
# exp(x) is a normal number between these and 0 below.
LOWEST = {np.float32: -87.3, np.float64: -708.3}
HIGHEST = {np.float32: 88.0, np.float64: 709.0}

each_dtype = pytest.mark.parametrize("dtype", DTYPES)
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


def test_every_function_has_a_bound():
    assert list(BOUNDS) == list(kernels.FUNCTIONS)


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
