"""fastnn.book's functions and layers: the book's numbers, arrays and habits."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import book_reference as reference
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from reference import assert_same_bits

import fastnn
from fastnn import differences_of_functions
from fastnn.book import compiled, functions, gradient, layers, util
from fastnn.book.layers import Affine, BatchNormalization, Dropout, Relu, Sigmoid, SoftmaxWithLoss
from fastnn.compiler import runtime
from fastnn.kernels.layers import BLOCK, GRADIENT_ROWS, ROW_BLOCK, WEIGHT_BLOCK

# Rows, inputs and outputs: for kernels, for NumPy, and at the edges of blocks, widths and vectors.
SHAPES = [(1, 1, 1), (2, 3, 4), (100, 784, 50), (100, 50, 10), (3, 784, 50), (1, 784, 33),
          (ROW_BLOCK + 1, int(BLOCK) + 1, 27), (2 * ROW_BLOCK + 3, 111, 13),
          (400, 33, 120), (2 * GRADIENT_ROWS + 1, int(WEIGHT_BLOCK) + 9, 53)]  # fmt: skip
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)
each_x = pytest.mark.parametrize("x_dtype", [np.float32, np.float64])
each_density = pytest.mark.parametrize("density", [0.0, 0.2, 1.0])


@pytest.fixture
def kernels_of_any_size(monkeypatch):
    """Small products, too, which NumPy makes faster."""
    monkeypatch.setattr(compiled, "PRODUCT_FROM", 1)


def close(found, expected):
    expected = np.asarray(expected)
    largest = np.abs(expected[np.isfinite(expected)]).max(initial=0)
    assert_allclose(found, expected, rtol=1e-12, atol=1e-13 * largest)


def data(rng, shape, x_dtype=np.float64, density=0.2):
    """x, W, b and a gradient of the outputs."""
    N, inputs, outputs = shape
    x = rng.normal(size=(N, inputs)) * (rng.random((N, inputs)) < density)
    W, b = rng.normal(size=(inputs, outputs)), rng.normal(size=outputs)
    return x.astype(x_dtype), W, b, rng.normal(size=(N, outputs))


# Affine -------------------------------------------------------------------------------


@each_shape
@each_x
@each_density
@pytest.mark.usefixtures("both_builds", "kernels_of_any_size")
def test_affine_is_the_product_and_its_gradients(shape, x_dtype, density, rng):
    x, W, b, dout = data(rng, shape, x_dtype, density)
    layer = Affine(W, b)
    close(layer.forward(x), reference.affine(x, W, b))
    dx, dW, db = reference.affine_gradients(x, W, dout)
    close(layer.backward(dout), dx)
    close(layer.dW, dW)
    close(layer.db, db)


@each_shape
@pytest.mark.usefixtures("kernels_of_any_size")
def test_gradients_alone_are_those_of_the_whole_backward_pass(shape, rng):
    x, W, b, dout = data(rng, shape)
    whole, alone = Affine(W, b), Affine(W, b)
    for layer in (whole, alone):
        layer.forward(x)
    whole.backward(dout)
    alone.backward_to_data(dout)
    assert_same_bits(alone.dW, whole.dW)
    assert_same_bits(alone.db, whole.db)


def test_the_kernels_take_what_they_are_for_and_nothing_else(rng):
    x, W, b, dout = data(rng, (100, 784, 50), np.float32)
    assert compiled.affine(x, W, b) is not None
    assert compiled.affine_gradients(x, W, dout) is not None
    assert compiled.affine(np.ones_like(x), W, b) is not None  # or OpenBLAS starts its threads
    read_only = W.copy()
    read_only.flags.writeable = False
    for strange in (
        (x.astype(np.uint8), W, b),
        (x.astype(object), W, b),
        (x[:, ::-1], W, b),
        (np.asfortranarray(x), W, b),
        (x, W.astype(np.float32), b),
        (x, read_only, b),
        (x, W, b[:1]),
        (x[:, :-1].copy(), W, b),
        (x.view(np.matrix), W, b),
        (x[:2, :2].copy(), W[:2].copy(), b),
        (x, np.zeros((784, 1 << 10)), np.zeros(1 << 10)),
    ):
        assert compiled.affine(*strange) is None


@pytest.mark.parametrize("change", ["integers", "float32", "columns first", "broadcast bias"])
def test_affine_takes_any_arrays_that_numpy_multiplies(change, rng):
    x, W, b, dout = data(rng, (100, 784, 50))
    if change == "integers":
        x = (4 * x).astype(int)
    elif change == "float32":
        W, b, x = (array.astype(np.float32) for array in (W, b, x))
    elif change == "columns first":
        x, W = np.asfortranarray(x), np.asfortranarray(W)
    else:
        b = b[:1]
    layer = Affine(W, b)
    found = layer.forward(x)
    assert found.dtype == np.result_type(x, W)
    expected = np.dot(x, W) + b
    assert_array_equal(found, expected)
    assert_array_equal(layer.backward(dout), np.dot(dout, W.T))


@pytest.mark.usefixtures("both_builds", "kernels_of_any_size")
def test_many_rows_are_multiplied_in_several_calls(rng, monkeypatch):
    x, W, b, _ = data(rng, (300, 40, 7))
    whole = Affine(W, b).forward(x)
    monkeypatch.setattr(compiled, "LONG_PIECE", 70 * W.size)
    assert_same_bits(Affine(W, b).forward(x), whole)


def test_affine_makes_one_vector_of_what_belongs_to_a_row(rng):
    x, W, b, dout = data(rng, (100, 784, 50))
    layer = Affine(W, b)
    images = x.reshape(100, 1, 28, 28)
    close(layer.forward(images), reference.affine(x, W, b))
    assert layer.x.shape == (100, 784)
    assert layer.original_x_shape == (100, 1, 28, 28)
    assert layer.backward(dout).shape == (100, 1, 28, 28)
    with pytest.raises(ValueError, match="shapes"):
        layer.forward(x[0])


def test_affine_reads_its_arrays_at_every_call(rng):
    x, W, b, _ = data(rng, (100, 784, 50))
    layer = Affine(W, b)
    layer.forward(x)
    W *= 2
    b += 1
    assert layer.W is W
    assert layer.b is b
    close(layer.forward(x), reference.affine(x, W, b))


@pytest.mark.parametrize("strange", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["x", "W", "b", "dout"])
@pytest.mark.parametrize("place", [0, -1])
def test_what_is_not_finite_goes_where_arithmetic_takes_it(where, place, strange, rng):
    """Even through zeros of x, which are not skipped then: 0 times infinity is NaN."""
    arrays = dict(zip(("x", "W", "b", "dout"), data(rng, (100, 784, 50)), strict=True))
    arrays["x"][:, 0] = arrays["x"][:, -1] = 0
    arrays[where].flat[place] = strange
    x, W, b, dout = arrays.values()
    layer = Affine(W, b)
    with np.errstate(invalid="ignore"):
        close(layer.forward(x), np.dot(x, W) + b)
        close(layer.backward(dout), np.dot(dout, W.T))
        close(layer.dW, np.dot(x.T, dout))
        close(layer.db, dout.sum(axis=0))


@pytest.mark.parametrize("density", [0.0, 0.2])
@pytest.mark.usefixtures("kernels_of_any_size")
def test_a_row_has_the_bits_it_has_in_any_batch_in_one_thread_or_more(density, rng):
    x, W, b, dout = data(rng, (300, 784, 50), density=density)
    outputs, gradients = [], []
    for parallel in (False, True):
        with runtime.forced(parallel):
            outputs.append(compiled.affine(x, W, b))
            gradients.append(compiled.affine_gradients(x, W, dout))
    assert_same_bits(*outputs)
    for one, other in zip(*gradients, strict=True):
        assert_same_bits(one, other)
    assert_same_bits(compiled.affine(x[17:24].copy(), W, b), outputs[0][17:24])


ALL_KERNELS = """
import sys, numpy as np
from fastnn.compiler import runtime
from fastnn import differences_of_functions
from fastnn.book import compiled
compiled.PRODUCT_FROM = 1
rng = np.random.default_rng(1)
found = []
with runtime.forced(True):
    for N, I, O in [(70, 100, 50), (3, 9, 90), (130, 21, 27)]:
        for dtype in (np.float32, np.float64):
            x = (rng.normal(size=(N, I)) * (rng.random((N, I)) < 0.4)).astype(dtype)
            W, b, t = rng.normal(size=(I, O)), rng.normal(size=O), rng.integers(0, O, N)
            y, dout = compiled.affine(x, W, b), rng.normal(size=(N, O))
            found += [y, *compiled.affine_gradients(x, W, dout)]
            found += [*compiled.softmax_with_loss(y, t), compiled.sigmoid(y), *compiled.relu(y)]
            assert compiled.clear(dout, y > 0)
            v = np.zeros_like(W)
            assert compiled.update("momentum", W, found[-7], (v,), (0.1, 0.9))
            found += [dout, W, v]
np.savez(sys.argv[1], *found)
"""


@pytest.mark.parametrize(
    "setting",
    [{"FASTNN_VECTOR_BYTES": "16"}, {"FASTNN_VECTOR_BYTES": "64"}, {"NUMBA_BOUNDSCHECK": "1"}],
    ids=str,
)
def test_vectors_of_other_widths_and_bounds_checks_change_nothing(setting, tmp_path, code_folder):
    results = []
    for environment in ({}, setting | {"FASTNN_CACHE_DIR": str(code_folder)}):
        file = tmp_path / f"{len(results)}.npz"
        command = [sys.executable, "-c", ALL_KERNELS, str(file)]
        path = {"PYTHONPATH": str(Path(fastnn.__file__).parent.parent)}
        subprocess.run(command, env=dict(os.environ) | path | environment, check=True, timeout=300)
        results.append(np.load(file))
    assert len(results[0]) == 6 * 12
    for name in results[0]:
        close(results[1][name], results[0][name])


# Activations --------------------------------------------------------------------------

SIZES = [(1,), (5,), (3, 4), (100, 50), (33, 9), (4, 1, 11, 7)]


@pytest.mark.parametrize("shape", SIZES, ids=str)
@pytest.mark.usefixtures("both_builds")
def test_relu_keeps_what_is_positive_and_its_gradient(shape, rng):
    x, dout = rng.normal(size=shape), rng.normal(size=shape)
    x.flat[::3] = 0
    layer, given, before = Relu(), x.copy(), dout.copy()
    assert_array_equal(layer.forward(x), np.where(x > 0, x, 0))
    assert_array_equal(x, given)
    assert_array_equal(layer.mask, x <= 0)
    found = layer.backward(dout)
    assert found is dout
    assert_array_equal(dout, np.where(x > 0, before, 0))


def test_relu_lets_nan_pass_and_keeps_dtypes():
    x = np.resize([np.nan, -np.inf, np.inf, -0.0], 1000)
    assert_array_equal(Relu().forward(x), np.resize([np.nan, 0, np.inf, 0], 1000))
    for dtype in (np.float32, int, object):
        found = Relu().forward(np.resize([-1, 2], 1000).astype(dtype))
        assert found.dtype == dtype
        assert_array_equal(found, np.resize([0, 2], 1000))
    layer, dout = Relu(), np.ones((40, 40))
    layer.forward(-np.ones((40, 40)))
    assert layer.backward(dout.T).base is dout
    assert not dout.any()


@pytest.mark.parametrize("shape", SIZES, ids=str)
@pytest.mark.usefixtures("both_builds")
def test_sigmoid_is_the_logistic_function(shape, rng):
    x, dout = 5 * rng.normal(size=shape), rng.normal(size=shape)
    y = reference.sigmoid(x)
    layer = Sigmoid()
    close(layer.forward(x), y)
    close(layer.backward(dout), dout * y * (1 - y))
    close(functions.sigmoid(x), y)
    close(functions.sigmoid_grad(x), y * (1 - y))


def test_sigmoid_of_anything():
    x = np.resize([np.nan, np.inf, -np.inf, 800.0, -800.0, 0.0], 600)
    expected = np.resize([np.nan, 1, 0, 1, 0, 0.5], 600)
    assert_array_equal(functions.sigmoid(x), expected)
    assert functions.sigmoid(0) == 0.5
    assert_array_equal(functions.sigmoid(np.zeros(600, int)), np.full(600, 0.5))
    single = functions.sigmoid(np.zeros(600, np.float32))
    assert single.dtype == np.float32
    close(functions.sigmoid(np.ones((60, 60))[:, ::2]), np.full((60, 30), 1 / (1 + np.exp(-1))))


# Softmax and losses -------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3,), (2, 3), (100, 10), (77, 17), (300, 1), (2, 3, 4)], ids=str)
@pytest.mark.usefixtures("both_builds")
def test_softmax_is_along_the_last_axis(shape, rng):
    x = 10 * rng.normal(size=shape)
    given = x.copy()
    close(functions.softmax(x), reference.softmax(x))
    assert_array_equal(x, given)
    close(functions.softmax(np.array([[1, 1000], [3, 3]])), [[0, 1], [0.5, 0.5]])


def test_softmax_of_what_is_not_finite_is_as_in_numpy(rng):
    x = rng.normal(size=(100, 10))
    x[1, 3], x[2, 4], x[3, 5], x[4] = np.nan, np.inf, -np.inf, -np.inf
    with np.errstate(invalid="ignore"):
        close(functions.softmax(x), reference.softmax(x))


def test_losses_as_functions():
    y, t = np.array([[0.25, 0.75], [1.0, 0.0]]), np.array([1, 1])
    expected = -(np.log(0.75 + 1e-7) + np.log(1e-7)) / 2
    for wanted in (t, reference.one_hot(t, 2)):
        assert functions.cross_entropy_error(y, wanted) == pytest.approx(expected, rel=1e-14)
    assert functions.cross_entropy_error(y[0], np.array([0, 1])) == -np.log(0.75 + 1e-7)
    perfect = functions.cross_entropy_error(np.array([1.0, 0.0]), np.array([1, 0]))
    assert perfect == pytest.approx(-1e-7, rel=1e-6)
    assert functions.sum_squared_error(y, np.zeros((2, 2))) == 0.5 * (0.0625 + 0.5625 + 1)
    x = np.array([[1.0, 3.0]])
    assert functions.softmax_loss(x, np.array([0])) == pytest.approx(2.126928, rel=1e-5)


@pytest.mark.parametrize("shape", [(1, 2), (2, 3), (100, 10), (77, 17)], ids=str)
@pytest.mark.parametrize("kind", ["int64", "uint8", "one-hot", "soft", "float32 one-hot"])
@pytest.mark.usefixtures("both_builds")
def test_softmax_with_loss(shape, kind, rng):
    N, O = shape
    x, labels = 3 * rng.normal(size=shape), rng.integers(0, O, N)
    t = labels.astype(kind) if "int" in kind else reference.one_hot(labels, O)
    if kind == "soft":
        t = 0.9 * t + 0.1 / O
    elif kind == "float32 one-hot":
        t = t.astype(np.float32)
    layer, y = SoftmaxWithLoss(), reference.softmax(x)
    expected = reference.cross_entropy(y, labels)
    assert layer.forward(x, t) == pytest.approx(expected, rel=1e-12)
    assert layer.loss == layer.forward(x, t)
    assert layer.t is t
    close(layer.y, y)
    difference = y - (reference.one_hot(labels, O) if t.ndim == 1 else t)
    close(layer.backward(), difference / N)
    assert_array_equal(layer.backward(7.0), layer.backward())


def test_softmax_with_loss_of_one_vector():
    """The book divides by the number of classes there."""
    x, t = np.array([1.0, 2.0, 3.0]), np.array([0, 1, 0])
    layer, y = SoftmaxWithLoss(), reference.softmax(x)
    assert layer.forward(x, t) == pytest.approx(-np.log(y[1] + 1e-7), rel=1e-14)
    close(layer.backward(), (y - t) / 3)


def test_labels_that_are_none():
    layer, x, t = SoftmaxWithLoss(), np.zeros((100, 10)), np.zeros(100, int)
    x[0, 9] = 3
    t[0] = -1  # as an index of NumPy: the last
    assert layer.forward(x, t) == pytest.approx(functions.softmax_loss(x, t), rel=1e-14)
    t[0] = 10
    with pytest.raises(IndexError):
        layer.forward(x, t)


@pytest.mark.parametrize("strange", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_is_returned(strange, rng):
    x = rng.normal(size=(100, 10))
    x[3, 4] = strange
    with np.errstate(invalid="ignore"):
        assert np.isnan(SoftmaxWithLoss().forward(x, np.zeros(100, int)))
        assert np.isnan(SoftmaxWithLoss().forward(x, reference.one_hot(np.zeros(100, int), 10)))


def test_a_nan_in_one_hot_rows_marks_the_class_as_argmax_has_it(rng):
    x, t = rng.normal(size=(100, 10)), reference.one_hot(rng.integers(0, 10, 100), 10)
    t[5, 7] = np.nan
    found = SoftmaxWithLoss().forward(x, t)
    assert found == pytest.approx(reference.cross_entropy(functions.softmax(x), t.argmax(axis=1)))


# Dropout and batch normalisation ------------------------------------------------------


def test_dropout_draws_from_numpys_random_state(rng):
    x, dout = rng.normal(size=(30, 20)), rng.normal(size=(30, 20))
    layer = Dropout(0.3)
    np.random.seed(8)
    found, after = layer.forward(x), np.random.rand()
    np.random.seed(8)
    kept = np.random.rand(30, 20) > 0.3
    assert after == np.random.rand()
    assert_array_equal(found, np.where(kept, x, 0))
    assert_array_equal(layer.backward(dout), np.where(kept, dout, 0))
    assert_array_equal(layer.forward(x, False), x * 0.7)


def test_batch_normalisation_in_training_and_in_use(rng):
    x, gamma, beta = 3 + 2 * rng.normal(size=(40, 5)), rng.normal(size=5), rng.normal(size=5)
    layer = BatchNormalization(gamma, beta, momentum=0.8)
    normal = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-6)
    close(layer.forward(x), gamma * normal + beta)
    close(layer.running_mean, 0.2 * x.mean(axis=0))
    close(layer.running_var, 0.2 * x.var(axis=0))
    layer.forward(x)
    mean, variance = layer.running_mean, layer.running_var
    close(mean, 0.36 * x.mean(axis=0))
    found = layer.forward(x, train_flg=False)
    close(found, gamma * (x - mean) / np.sqrt(variance + 1e-6) + beta)
    assert layer.running_mean is mean


def test_batch_normalisation_of_images(rng):
    x, dout = rng.normal(size=(6, 2, 3, 4)), rng.normal(size=(6, 2, 3, 4))
    four, two = (BatchNormalization(np.ones(24), np.zeros(24)) for _ in range(2))
    assert four.forward(x).shape == x.shape
    assert_array_equal(four.forward(x).reshape(6, 24), two.forward(x.reshape(6, 24)))
    assert_array_equal(four.backward(dout).reshape(6, 24), two.backward(dout.reshape(6, 24)))
    with pytest.raises(ValueError, match="unpack"):
        four.forward(x[0])


@pytest.mark.parametrize(
    "layer",
    [
        lambda rng: Affine(rng.normal(size=(4, 4)), rng.normal(size=4)),
        lambda rng: Sigmoid(),
        lambda rng: Relu(),
        lambda rng: BatchNormalization(rng.normal(size=4), rng.normal(size=4)),
    ],
    ids=["Affine", "Sigmoid", "Relu", "BatchNormalization"],
)
def test_backward_passes_are_what_finite_differences_give(layer, rng):
    layer, x, weights = layer(rng), rng.normal(size=(6, 4)), rng.normal(size=(6, 4))

    def total(_):
        return np.sum(weights * layer.forward(x))

    expected = gradient.numerical_gradient(total, x)
    layer.forward(x)
    assert_allclose(layer.backward(weights.copy()), expected, 1e-6, 1e-8)
    for name in ("W", "b", "gamma", "beta"):
        if hasattr(layer, name):
            expected = gradient.numerical_gradient(total, getattr(layer, name))
            layer.forward(x)
            layer.backward(weights.copy())
            assert_allclose(getattr(layer, f"d{name}"), expected, 1e-6, 1e-8)


# Functions that are only formulas -----------------------------------------------------


def test_small_functions():
    x = np.array([-1.0, 0.0, 2.0])
    assert functions.identity_function(x) is x
    assert functions.step_function(x).tolist() == [0, 0, 1]
    assert functions.step_function(x).dtype == int
    assert functions.relu(x).tolist() == [0, 0, 2]
    assert functions.relu_grad(x).tolist() == [0, 1, 1]
    assert functions.relu_grad(np.array([-1, 0, 2])).dtype == int


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


@pytest.mark.parametrize(
    ("module", "name"),
    [("layers", "Convolution"), ("layers", "Pooling"), ("layers", "im2col"), ("util", "col2im")],
)
def test_convolution_is_refused_in_one_line(module, name):
    found = importlib.import_module(f"fastnn.book.{module}")
    with pytest.raises(AttributeError, match=f"fastnn.book has no convolution, so .* no {name}$"):
        getattr(found, name)


def test_other_names_are_just_not_there():
    assert not hasattr(layers, "Recurrent")
    with pytest.raises(AttributeError, match=r"'fastnn\.book\.util' has no attribute 'Recurrent'"):
        util.Recurrent  # noqa: B018
