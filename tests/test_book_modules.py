"""What fastnn.book's modules have beside layers, what they hand on, and what they have not."""

import numpy as np
import pytest
from book_reference import close
from numpy.testing import assert_array_equal

from fastnn.book import functions, layers, util

# Functions that are only formulas -----------------------------------------------------


def test_small_functions():
    x = np.array([-1.0, 0.0, 2.0])
    assert functions.identity_function(x) is x
    assert functions.step_function(x).tolist() == [0, 0, 1]
    assert functions.step_function(x).dtype == int
    assert functions.relu(x).tolist() == [0, 0, 2]
    assert functions.relu_grad(x).tolist() == [0, 1, 1]
    assert functions.relu_grad(np.array([-1, 0, 2])).dtype == int


def test_tools_of_the_scripts(rng):
    curve = rng.normal(size=50)
    smooth = util.smooth_curve(list(curve))
    window = np.kaiser(11, 2)
    assert len(smooth) == 50
    close(smooth[20], np.sum(curve[15:26] * window) / window.sum())
    assert len(util.smooth_curve([1.0, 2.0, 3.0])) == 0
    for shape in ((20, 3), (20, 1, 2, 2)):
        x = np.arange(np.prod(shape)).reshape(shape)
        np.random.seed(4)
        found, t = util.shuffle_dataset(x, np.arange(20))
        np.random.seed(4)
        order = np.random.permutation(20)
        assert_array_equal(found, x[order])
        assert_array_equal(t, order)
    with pytest.raises(IndexError):
        util.shuffle_dataset(np.zeros((5, 2, 2)), np.arange(5))


# What a module hands on, and what it does not have ------------------------------------


def names_of_star(module):
    namespace = {}
    exec(f"from fastnn.book.{module} import *", namespace)
    return namespace


@pytest.mark.parametrize("module", ["functions", "gradient", "layers", "optimizer", "trainer"])
def test_a_star_import_gives_numpy_too(module):
    assert names_of_star(module)["np"] is np


def test_a_star_import_of_the_layers_gives_the_functions():
    found = names_of_star("layers")
    assert found["softmax"] is functions.softmax
    assert {"Affine", "Relu", "sigmoid_grad", "cross_entropy_error"} <= set(found)


def test_other_names_are_just_not_there():
    assert not hasattr(layers, "Recurrent")
    with pytest.raises(AttributeError, match=r"'fastnn\.book\.util' has no attribute 'Recurrent'"):
        util.Recurrent  # noqa: B018
