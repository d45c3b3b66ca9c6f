"""Arithmetic on lanes and across them: what every operation computes."""

from fractions import Fraction

import numpy as np
import pytest
import reference
import tile_entries as tiles
from hypothesis import given
from hypothesis import strategies as st
from kernel_entries import DTYPES, lanes_of, of_all_sizes
from numpy.testing import assert_array_equal

each_dtype = pytest.mark.parametrize("dtype", DTYPES)


# The twin of fma, on which the other tests rely -------------------------------------------


def exact_fma(a, b, c, dtype):
    """``a * b + c`` in fractions, rounded once to the nearest of three neighbours."""
    true = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
    near = dtype(float(true))
    candidates = [np.nextafter(near, dtype(-np.inf)), near, np.nextafter(near, dtype(np.inf))]
    distance = [abs(Fraction(float(x)) - true) for x in candidates]
    nearest = [x for x, d in zip(candidates, distance, strict=True) if d == min(distance)]
    even = [x for x in nearest if (x.view(f"i{x.itemsize}") & 1) == 0]
    return nearest[0] if len(nearest) == 1 else even[0]


@each_dtype
@given(data=st.data())
def test_the_twin_of_fma_rounds_once(dtype, data):
    digits = np.finfo(dtype).nmant + 1
    ordinary = st.floats(2.0**-60, 2.0**60, width=8 * np.dtype(dtype).itemsize)
    # Two such odd numbers have a product half way between two floats, or close to that.
    half = st.integers(2 ** (digits // 2 - 1), 2 ** (digits // 2) - 1).map(lambda i: 2 * i + 1)
    a, b = (dtype(x) for x in data.draw(st.tuples(ordinary, ordinary) | st.tuples(half, half)))
    # c near -a * b leaves few bits, a tiny c decides which float is nearer.
    factors = [0.0, 1.0, -1.0, 2.0**-23, 2.0**-53, 2.0**-70, 2.0**-120, -(2.0**-120)]
    c = dtype(data.draw(st.sampled_from(factors)) * float(a) * float(b))
    assert reference.fma(a, b, c) == exact_fma(a, b, c, dtype)


@each_dtype
def test_the_twin_of_fma_keeps_signed_zeros_infinities_and_nan(dtype):
    a = np.array([-0.0, 0.0, np.inf, np.inf, np.nan, 1], dtype)
    b = np.array([1, 1, 1, 1, 1, -np.inf], dtype)
    c = np.array([-0.0, -0.0, 1, -np.inf, 1, 1], dtype)
    expected = np.array([-0.0, 0.0, np.inf, np.nan, np.nan, -np.inf], dtype)
    found = reference.fma(a, b, c)
    assert_array_equal(found, expected)
    assert_array_equal(np.signbit(found[:2]), [True, False])


# Arithmetic ---------------------------------------------------------------------------


@each_dtype
@pytest.mark.parametrize(
    ("name", "twin"),
    [
        ("add", np.add),
        ("subtract", np.subtract),
        ("multiply", np.multiply),
        ("divide", np.divide),
        ("copysign", np.copysign),
        ("fma", reference.fma),
        ("where_less", lambda a, b, c: np.where(a < b, c, a)),
        ("maximum", lambda a, b: np.where(a > b, a, b)),
        ("absolute", np.abs),
        ("square_root", lambda a: np.sqrt(a)),
        ("is_single", lambda a: np.full_like(a, a.dtype == np.float32)),
        ("like_a_tenth", lambda a: np.full_like(a, 0.1)),
    ],
)
def test_arithmetic_is_the_machines_on_every_lane(name, twin, dtype, rng):
    special = np.array([0, -0.0, np.inf, -np.inf, np.nan, 1], dtype)
    a, b, c = (
        np.append(np.repeat(special, 6), of_all_sizes(rng, 101, dtype)),
        np.append(np.tile(special, 6), of_all_sizes(rng, 101, dtype)),
        of_all_sizes(rng, 137, dtype),
    )
    arguments = {"fma": (a, b, c), "where_less": (a, b, c)}.get(name, (a, b))
    if name in ("absolute", "square_root", "is_single", "like_a_tenth"):
        arguments = (a,)
    with np.errstate(all="ignore"):
        expected = twin(*arguments)
    found = tiles.map_lanes(name, *arguments)
    assert_array_equal(found, expected)
    ordered = ~np.isnan(expected)
    assert_array_equal(np.signbit(found[ordered]), np.signbit(expected[ordered]))


@each_dtype
def test_scalars_are_fused_as_lanes_are(dtype, rng):
    a, b, c = (of_all_sizes(rng, 100, dtype) for _ in "abc")
    assert_array_equal(tiles.fma_scalars(a, b, c), reference.fma(a, b, c))


@each_dtype
def test_a_polynomial_is_a_chain_of_fma(dtype, rng):
    x = of_all_sizes(rng, 100, dtype)
    first, second, third = (dtype(c) for c in tiles.COEFFICIENTS)
    expected = reference.fma(reference.fma(first, x, second), x, third)
    assert_array_equal(tiles.map_lanes("polynomial", x), expected)


@each_dtype
def test_mantissa_and_exponent_take_every_normal_number_apart(dtype, rng):
    limits = np.finfo(dtype)
    exponents = np.arange(limits.minexp, limits.maxexp)
    x = np.ldexp(rng.uniform(1, 2, exponents.size).astype(dtype), exponents)
    x = np.append(x, np.array([limits.tiny, limits.max, 1, np.nextafter(dtype(1), dtype(0))]))
    mantissa, exponent = np.frexp(x)
    assert_array_equal(tiles.map_lanes("mantissa_part", x), 2 * mantissa)
    assert_array_equal(tiles.map_lanes("exponent_part", x), exponent.astype(dtype) - 1)


@each_dtype
def test_powers_of_two_are_added_to_the_exponent(dtype, rng):
    limits = np.finfo(dtype)
    n = np.arange(limits.minexp, limits.maxexp)
    shifted = (1.5 * 2.0**limits.nmant + n).astype(dtype)
    found = tiles.map_lanes("times_power_of_two", np.ones_like(shifted), shifted)
    assert_array_equal(found, np.ldexp(dtype(1), n))
    half = tiles.map_lanes("times_power_of_two", np.full_like(shifted, -1.5), shifted)
    assert_array_equal(half, np.ldexp(dtype(-1.5), n))


# Across lanes -------------------------------------------------------------------------


@each_dtype
def test_lanes_are_summed_in_halves(dtype, rng):
    lanes = lanes_of(dtype)
    for _ in range(20):
        X = of_all_sizes(rng, 4 * lanes, dtype)
        expected = [reference.lane_sum(X[: vectors * lanes]) for vectors in (1, 2, 4)]
        assert_array_equal(tiles.across(X)[0], expected)


@each_dtype
def test_the_largest_lane_is_found_wherever_it_is(dtype, rng):
    lanes = lanes_of(dtype)
    for at in range(4 * lanes):
        X = -np.abs(of_all_sizes(rng, 4 * lanes, dtype)) - 1
        X[at] = -0.5
        expected = [X[: vectors * lanes].max() for vectors in (1, 2, 4)]
        assert_array_equal(tiles.across(X)[1], expected)


@each_dtype
def test_keep_first_takes_the_other_lanes_from_elsewhere(dtype, rng):
    lanes = lanes_of(dtype)
    X, Y = (of_all_sizes(rng, 2 * lanes, dtype) for _ in "XY")
    for count in (-1, 0, 1, 2, lanes - 1, lanes, lanes + 1, 2 * lanes - 1, 2 * lanes, 3 * lanes):
        kept = max(count, 0)
        expected = np.append(X[:kept], Y[kept:])
        assert_array_equal(tiles.keep_first_of_two(X, count, Y), expected)
