"""Vectors and tiles: what every operation computes and touches, and that bits are the same
everywhere."""

import ctypes
import json
import mmap
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import kernel_entries as kernels
import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from kernel_entries import DTYPES, lanes_of
from numpy.testing import assert_array_equal

TESTS = Path(__file__).parent

each_dtype = pytest.mark.parametrize("dtype", DTYPES)


def of_all_sizes(rng, count, dtype):
    """Numbers of many magnitudes, so that sums in another order have other bits."""
    return (rng.normal(size=count) * 2.0 ** rng.integers(-8, 9, count)).astype(dtype)


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
    found = kernels.map_lanes(name, *arguments)
    assert_array_equal(found, expected)
    ordered = ~np.isnan(expected)
    assert_array_equal(np.signbit(found[ordered]), np.signbit(expected[ordered]))


@each_dtype
def test_scalars_are_fused_as_lanes_are(dtype, rng):
    a, b, c = (of_all_sizes(rng, 100, dtype) for _ in "abc")
    assert_array_equal(kernels.fma_scalars(a, b, c), reference.fma(a, b, c))


@each_dtype
def test_a_polynomial_is_a_chain_of_fma(dtype, rng):
    x = of_all_sizes(rng, 100, dtype)
    first, second, third = (dtype(c) for c in kernels.COEFFICIENTS)
    expected = reference.fma(reference.fma(first, x, second), x, third)
    assert_array_equal(kernels.map_lanes("polynomial", x), expected)


@each_dtype
def test_mantissa_and_exponent_take_every_normal_number_apart(dtype, rng):
    limits = np.finfo(dtype)
    exponents = np.arange(limits.minexp, limits.maxexp)
    x = np.ldexp(rng.uniform(1, 2, exponents.size).astype(dtype), exponents)
    x = np.append(x, np.array([limits.tiny, limits.max, 1, np.nextafter(dtype(1), dtype(0))]))
    mantissa, exponent = np.frexp(x)
    assert_array_equal(kernels.map_lanes("mantissa_part", x), 2 * mantissa)
    assert_array_equal(kernels.map_lanes("exponent_part", x), exponent.astype(dtype) - 1)


@each_dtype
def test_powers_of_two_are_added_to_the_exponent(dtype, rng):
    limits = np.finfo(dtype)
    n = np.arange(limits.minexp, limits.maxexp)
    shifted = (1.5 * 2.0**limits.nmant + n).astype(dtype)
    found = kernels.map_lanes("times_power_of_two", np.ones_like(shifted), shifted)
    assert_array_equal(found, np.ldexp(dtype(1), n))
    half = kernels.map_lanes("times_power_of_two", np.full_like(shifted, -1.5), shifted)
    assert_array_equal(half, np.ldexp(dtype(-1.5), n))


# Across lanes -------------------------------------------------------------------------


@each_dtype
def test_lanes_are_summed_in_halves(dtype, rng):
    lanes = lanes_of(dtype)
    for _ in range(20):
        X = of_all_sizes(rng, 4 * lanes, dtype)
        expected = [reference.lane_sum(X[: vectors * lanes]) for vectors in (1, 2, 4)]
        assert_array_equal(kernels.across(X)[0], expected)


@each_dtype
def test_the_largest_lane_is_found_wherever_it_is(dtype, rng):
    lanes = lanes_of(dtype)
    for at in range(4 * lanes):
        X = -np.abs(of_all_sizes(rng, 4 * lanes, dtype)) - 1
        X[at] = -0.5
        expected = [X[: vectors * lanes].max() for vectors in (1, 2, 4)]
        assert_array_equal(kernels.across(X)[1], expected)


@each_dtype
def test_keep_first_takes_the_other_lanes_from_elsewhere(dtype, rng):
    lanes = lanes_of(dtype)
    X, Y = (of_all_sizes(rng, 2 * lanes, dtype) for _ in "XY")
    for count in (-1, 0, 1, 2, lanes - 1, lanes, lanes + 1, 2 * lanes - 1, 2 * lanes, 3 * lanes):
        kept = max(count, 0)
        expected = np.append(X[:kept], Y[kept:])
        assert_array_equal(kernels.keep_first_of_two(X, count, Y), expected)


@each_dtype
@pytest.mark.parametrize("always", [False, True])
def test_nonzeros_are_listed_in_their_order(always, dtype, rng):
    limits = np.finfo(dtype)
    values = np.array([0, -0.0, 1, -1, limits.smallest_subnormal, np.inf, np.nan], dtype)
    for first in (0, 5, 1 << 20):
        for _ in range(20):
            X = rng.choice(values, lanes_of(dtype), p=[0.5, 0.25, *[0.05] * 5])
            listed, before = kernels.nonzeros_listed(X, always, first)
            assert_array_equal(listed, first + np.flatnonzero((X != 0) | always))
            assert before == -1


# Memory -------------------------------------------------------------------------------


@each_dtype
def test_tiles_are_loaded_and_stored_row_by_row(dtype, rng):
    lanes = lanes_of(dtype)
    tile = of_all_sizes(rng, 6 * lanes, dtype).reshape(3, 2 * lanes)
    for margin, gap in ((0, 0), (1, 0), (3, 5)):
        memory = kernels.Memory(tile, margin, gap)
        assert_array_equal(kernels.access("load", *memory.place), tile)
        empty = kernels.Memory(np.full_like(tile, np.nan), margin, gap)
        kernels.access("store", *empty.place, out=tile.copy())
        assert_array_equal(empty.read(), tile)


@each_dtype
def test_single_elements_and_rows_are_read_where_they_lie(dtype, rng):
    lanes = lanes_of(dtype)
    X = of_all_sizes(rng, 3 * lanes, dtype)
    for at in (0, 1, lanes):
        assert kernels.access("element", X, at)[0, 0] == X[at]
        assert (kernels.access("broadcast_like", X, at) == X[at]).all()
        assert_array_equal(kernels.access("load_like", X, at)[0], X[at : at + 2 * lanes])
        kernels.access("prefetch", X, at - 10**6)  # touches nothing


@each_dtype
def test_a_square_tile_can_be_loaded_transposed(dtype, rng):
    lanes = lanes_of(dtype)
    square = np.arange(lanes**2, dtype=dtype).reshape(lanes, lanes)
    for margin, gap in ((0, 0), (3, 5)):
        found = kernels.access("load_transposed", *kernels.Memory(square, margin, gap).place)
        assert_array_equal(found, square.T)


@each_dtype
def test_products_of_rows_are_added_one_after_the_other(dtype, rng):
    lanes = lanes_of(dtype)
    for _ in range(20):
        T, A = of_all_sizes(rng, lanes, dtype), of_all_sizes(rng, lanes, dtype)
        B = of_all_sizes(rng, lanes**2, dtype).reshape(lanes, lanes)
        expected = T
        for a, column in zip(A, B.T, strict=True):
            expected = reference.fma(np.full_like(column, a), column, expected)
        assert_array_equal(kernels.products_of_rows(T, A, B), expected)


@each_dtype
def test_rank_one_adds_the_products_of_a_column_and_a_row(dtype, rng):
    column = kernels.Memory(of_all_sizes(rng, 3, dtype).reshape(3, 1), margin=2, gap=4)
    row = of_all_sizes(rng, 2 * lanes_of(dtype), dtype)
    out = np.array([row, row, row])
    kernels.access("rank_one_left", *column.place, out=out)
    assert_array_equal(out, column.read() * row)
    factors = np.zeros_like(out)
    factors.flat[:3] = 2, 3, 5
    kernels.access("rank_one_right", np.append(dtype(np.nan), row), 1, out=factors)
    assert_array_equal(factors, np.outer(np.array([2, 3, 5], dtype), row))


@each_dtype
def test_load_first_reads_no_more_than_it_should(dtype, rng):
    lanes = lanes_of(dtype)
    for count in (-lanes, 0, 1, 2, lanes - 1, lanes, lanes + 1, 2 * lanes - 1, 2 * lanes, 99):
        kept = min(max(count, 0), 2 * lanes)
        row = of_all_sizes(rng, kept, dtype)
        memory = kernels.Memory(row.reshape(1, -1), margin=2 * lanes)
        found = kernels.access("load_first", memory.flat, memory.at, count=count)[0]
        assert_array_equal(found, np.append(row, np.zeros(2 * lanes - kept, dtype)))


@pytest.mark.skipif(sys.platform != "linux", reason="needs mprotect")
@each_dtype
def test_load_first_does_not_touch_the_next_page(dtype):
    """If it did, that would end the process."""
    memory = np.frombuffer(mmap.mmap(-1, 2 * mmap.PAGESIZE), dtype)
    memory[:] = 7
    X = memory[: memory.size // 2]
    page_behind = ctypes.c_void_p(X.ctypes.data + X.nbytes)
    assert ctypes.CDLL(None).mprotect(page_behind, mmap.PAGESIZE, 0) == 0
    for count in range(1, 2 * lanes_of(dtype)):
        found = kernels.access("load_first", X, X.size - count, count=count)[0]
        assert found.sum() == 7 * count


# Other builds, in processes of their own --------------------------------------------------


def run(code, **environment):
    kept = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_")}
    path = os.pathsep.join([str(TESTS), str(TESTS.parent)])
    process = subprocess.run(
        [sys.executable, "-c", code],
        env=kept | {"PYTHONPATH": path} | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


def fingerprints(arguments, **environment):
    code = f"import kernel_entries; print(kernel_entries.fingerprints(**{arguments}))"
    return json.loads(run(code, **environment))


def test_kernels_stay_inside_their_arrays(code_folder):
    """Bounds checks are on, the optimiser is off, and the memory of the exercises has no margin."""
    asked = {"dtypes": ("float32",)}
    checked = {"NUMBA_BOUNDSCHECK": "1", "NUMBA_OPT": "0", "FASTNN_CACHE_DIR": str(code_folder)}
    assert fingerprints(asked, **checked) == json.loads(kernels.fingerprints(**asked))


def test_bounds_checks_see_every_access(code_folder):
    """The check itself: each access at its first and last place, and one before and behind."""
    code = """
import numpy as np, kernel_entries as kernels
lanes, length = kernels.lanes_of(np.float32), 100
X = np.zeros(length, np.float32)
sizes = {"element": 1, "broadcast_like": 1, "load_like": 2 * lanes, "load_first": 0,
         "rank_one_left": 3, "rank_one_right": 2 * lanes, "load": 2 * lanes + 2,
         "store": 2 * lanes + 2, "load_transposed": 2 * lanes - 1,
         "product_left": 4, "product_right": 2 * lanes + 1, "product_start": 2 * lanes + 2}
for name, size in sizes.items():
    for at in (0, length - size):
        kernels.access(name, X, at, stride=1)
    for at in (-1, length - size + 1):
        try:
            kernels.access(name, X, at, stride=1)
        except IndexError:
            continue
        raise AssertionError(f"{name} at {at} of {length}")
"""
    run(code, NUMBA_BOUNDSCHECK="1", FASTNN_CACHE_DIR=str(code_folder))


def test_a_processor_with_narrow_vectors_and_no_fma_gives_the_same_bits(code_folder):
    names = ["exp", "multiply", "outputs of loss 0"]
    environment = {"NUMBA_CPU_NAME": "generic", "FASTNN_VECTOR_BYTES": "16"}
    other = fingerprints({"names": names}, FASTNN_CACHE_DIR=str(code_folder), **environment)
    assert len(other) == len(DTYPES) * len(names)
    assert other == json.loads(kernels.fingerprints(names))
