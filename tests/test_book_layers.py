"""fastnn.book's layers and their functions: the book's numbers, arrays and habits."""

import book_reference as reference
import numpy as np
import pytest
from book_reference import close
from numpy.testing import assert_allclose, assert_array_equal

from fastnn.book import functions, gradient
from fastnn.book.layers import Affine, BatchNormalization, Dropout, Relu, Sigmoid, SoftmaxWithLoss

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
