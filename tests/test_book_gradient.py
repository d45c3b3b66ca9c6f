"""fastnn.book's numerical gradients of functions."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from fastnn import differences_of_functions
from fastnn.book import gradient


def test_a_numerical_gradient_changes_x_itself_and_puts_it_back():
    x, seen = np.array([[1.0, 2.0], [3.0, 4.0]]), []

    def f(given):
        seen.append(given is x)
        return np.sum(x**3)  # not of what is given

    assert_allclose(gradient.numerical_gradient(f, x), 3 * x**2, 1e-6)
    assert seen == [True] * 8
    assert x.tolist() == [[1, 2], [3, 4]]
    rows = gradient.numerical_gradient_2d(lambda row: np.sum(row**3), x)
    assert_allclose(rows, 3 * x**2, 1e-6)
    one = gradient.numerical_gradient_2d(lambda row: np.sum(row**3), x[0])
    assert_allclose(one, 3 * x[0] ** 2, 1e-6)


BOTH = pytest.mark.parametrize(
    ("numerical_gradient", "name"),
    [(gradient.numerical_gradient, "x"), (gradient.numerical_gradient_2d, "X")],
)


@BOTH
def test_a_numerical_gradient_refuses_what_holds_no_floats(numerical_gradient, name):
    """The book's gives 25000 and 35000 for 3**2 and 4**2, or zeros."""
    for kind in (int, bool, np.uint8):
        x = np.array([3, 4], kind)
        words = f"{name} must hold floats, got dtype {x.dtype}, .* use {name}.astype\\(float\\)"
        with pytest.raises(TypeError, match=f"^{words}$"):
            numerical_gradient(np.sum, x)
    with pytest.raises(TypeError, match=f"^{name} must be a NumPy array, got list$"):
        numerical_gradient(np.sum, [3.0, 4.0])


@pytest.mark.parametrize("shape", [(), (2, 2, 2)])
def test_rows_of_a_numerical_gradient_are_vectors(shape):
    with pytest.raises(ValueError, match=r"^X must have one or two dimensions, got shape \(.*\)$"):
        gradient.numerical_gradient_2d(np.sum, np.ones(shape))


@BOTH
@pytest.mark.parametrize("dtype", [np.float32, np.float16, ">f4"])
def test_steps_that_a_narrow_dtype_rounds_or_loses(numerical_gradient, name, dtype):
    """Four takes some digits of a step, 3000 nothing."""
    x = np.array([3000, 4, 0, -7, 0.001], dtype)
    kept, seen = x.copy(), []

    def f(given):
        assert given.dtype == np.dtype(np.float64)
        assert given.tolist() == x.tolist()
        seen.append(given.copy())
        given *= 2  # its own affair
        return np.sum(seen[-1] ** 2) / 8

    found = numerical_gradient(f, x)
    assert found.dtype == x.dtype
    assert_allclose(found.astype(float), kept.astype(float) / 4, 1e-3, 2e-6)
    assert_array_equal(x, kept)
    # One element is changed at a time.
    assert np.argwhere(np.array(seen) != kept)[:, 1].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_the_largest_number_has_one_neighbour():
    x = np.array([65504, -65504], np.float16)
    found = gradient.numerical_gradient(lambda x: np.sum(x**2) / 8, x)
    assert_allclose(found, [16376, -16376], 1e-3)


def test_the_points_of_an_element():
    for kept, above, below, *h in [
        (np.float64(3), 3.0001, 2.9999),
        (np.float32(3), np.float32(3.0001), np.float32(2.9999)),
        (np.float32(3000), 3000 + 2**-12, 3000 - 2**-12),
        (np.float16(1), 1 + 2**-10, 1 - 2**-11),
        (np.float16(0), np.float16(1e-4), -np.float16(1e-4)),
        (np.float16(65504), 65504, 65472),
        (np.float16(-65504), -65472, -65504),
        (np.float16(1), 65504, -65504, 1e6),
    ]:
        found = differences_of_functions.points(kept, *h or [1e-4])
        assert found == (above, below)
        assert {type(point) for point in found} == {type(kept)}
    assert np.isnan(differences_of_functions.points(np.float32(np.nan), 1e-4)).all()


def test_a_function_that_ignores_its_argument_sees_the_points_in_the_array_it_shares():
    x = np.array([3000, 4], np.float32)
    found = gradient.numerical_gradient(lambda _: np.sum(x.astype(np.float64) ** 2), x)
    assert_allclose(found, [6000, 8], 1e-6)


def test_results_of_a_narrow_dtype_are_subtracted_as_float64():
    x = np.array([3000], np.float32)
    assert gradient.numerical_gradient(lambda x: np.uint8(x[0] < 3000), x).tolist() == [-2048]


@pytest.mark.parametrize("wrong", [KeyboardInterrupt, ZeroDivisionError])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@BOTH
def test_an_array_is_restored_if_a_numerical_gradient_is_cut_off(
    numerical_gradient, name, dtype, wrong
):
    for calls in range(4):
        x, left = np.array([3000, 4], dtype), iter(range(calls))

        def f(given, left=left):
            if next(left, None) is None:
                raise wrong
            return 1.0

        with pytest.raises(wrong):
            numerical_gradient(f, x)
        assert x.tolist() == [3000, 4]
