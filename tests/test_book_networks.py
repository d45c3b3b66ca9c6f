"""fastnn.book's networks: the book's weights, numbers and arrays."""

from collections import OrderedDict

import book_reference as reference
import numpy as np
import pytest
from networks_of_the_book import a_batch, each_kind, outputs
from numpy.testing import assert_allclose, assert_array_equal

from fastnn.book.layers import Affine
from fastnn.book.multi_layer_net import MultiLayerNet
from fastnn.book.multi_layer_net_extend import MultiLayerNetExtend
from fastnn.book.optimizer import SGD

pytestmark = pytest.mark.usefixtures("numpys_seed")


@each_kind
def test_weights_come_from_numpys_random_state_layer_by_layer(kind):
    for init, scales in [
        ("relu", [np.sqrt(2 / 6), np.sqrt(2 / 5)]),
        ("He", [np.sqrt(2 / 6), np.sqrt(2 / 5)]),
        ("sigmoid", [np.sqrt(1 / 6), np.sqrt(1 / 5)]),
        ("xavier", [np.sqrt(1 / 6), np.sqrt(1 / 5)]),
        (0.01, [0.01, 0.01]),
    ]:
        np.random.seed(3)
        params = kind(6, [5], 4, weight_init_std=init).params
        np.random.seed(3)
        assert_array_equal(params["W1"], scales[0] * np.random.randn(6, 5))
        assert_array_equal(params["W2"], scales[1] * np.random.randn(5, 4))
        assert list(params) == ["W1", "b1", "W2", "b2"]
        assert not params["b1"].any()
        assert not params["b2"].any()


@each_kind
@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
@pytest.mark.parametrize("labels", [True, False])
def test_predictions_losses_and_accuracies(kind, activation, labels):
    x, t = a_batch()
    network = kind(784, [50, 20], 10, activation=activation, weight_decay_lambda=0.1)
    y = outputs(network.params, x, activation, 3)
    assert_allclose(network.predict(x), y, 1e-11, 1e-12)
    wanted = t.argmax(axis=1)
    squares = sum(np.sum(network.params[f"W{i}"] ** 2) for i in (1, 2, 3))
    expected = reference.cross_entropy(reference.softmax(y), wanted) + 0.05 * squares
    assert network.loss(x, wanted if labels else t) == pytest.approx(expected, rel=1e-12)
    found = network.accuracy(x, wanted if labels else t)
    assert found == np.mean(y.argmax(axis=1) == wanted)


@each_kind
@pytest.mark.parametrize("decay", [0, 0.1])
def test_gradients_are_those_of_finite_differences(kind, decay):
    np.random.seed(5)
    x, t = np.random.randn(4, 6), np.array([0, 3, 1, 1])
    network = kind(6, [5, 7], 4, weight_decay_lambda=decay)
    found, expected = network.gradient(x, t), network.numerical_gradient(x, t)
    assert list(found) == list(expected) == list(network.params)
    for key in found:
        assert_allclose(found[key], expected[key], 1e-4, 1e-6)


def test_gradients_with_batch_normalisation():
    np.random.seed(5)
    x, t = np.random.randn(8, 6), np.arange(8) % 4
    network = MultiLayerNetExtend(6, [5, 7], 4, activation="sigmoid", use_batchnorm=True)
    found, expected = network.gradient(x, t), network.numerical_gradient(x, t)
    assert {"gamma1", "beta2"} <= set(found) == set(expected) == set(network.params)
    for key in found:
        assert_allclose(found[key], expected[key], 1e-4, 1e-6)


@each_kind
def test_params_and_layers_hold_the_same_arrays(kind):
    network = kind(784, [50], 10)
    for i in (1, 2):
        assert network.layers[f"Affine{i}"].W is network.params[f"W{i}"]
        assert network.layers[f"Affine{i}"].b is network.params[f"b{i}"]
    x, t = a_batch()
    before = network.loss(x, t)
    gradient = network.gradient(x, t)
    for key in network.params:
        network.params[key] -= 0.1 * gradient[key]
    assert network.loss(x, t) < before
    assert_allclose(network.predict(x), outputs(network.params, x, "relu", 2), 1e-11, 1e-12)


@each_kind
def test_gradients_of_a_step_are_not_those_of_the_next(kind):
    network, (x, t) = kind(784, [50], 10), a_batch()
    first = network.gradient(x, t)
    kept = {key: value.copy() for key, value in first.items()}
    network.gradient(x[::-1][:50].copy(), t[:50])
    for key in first:
        assert_array_equal(first[key], kept[key])


def test_layers_can_be_taken_through_by_hand():
    """As `gradient` does it in the book, but outside of the class."""
    network, (x, t) = MultiLayerNet(784, [50], 10), a_batch()
    expected = network.gradient(x, t)
    network.loss(x, t)
    dout = network.last_layer.backward(1)
    for layer in reversed(network.layers.values()):
        dout = layer.backward(dout)
    assert dout.shape == x.shape
    assert_array_equal(network.layers["Affine1"].dW, expected["W1"])
    assert_array_equal(network.layers["Affine1"].x, x)


def test_layers_can_be_changed():
    network, (x, t) = MultiLayerNet(784, [50], 10), a_batch()

    class Half:
        def forward(self, x):
            return x / 2

        def backward(self, dout):
            self.dout = dout
            return dout / 2

    half = Half()
    network.layers = OrderedDict([("Half", half), *network.layers.items()])
    assert_allclose(network.predict(x), outputs(network.params, x / 2, "relu", 2), 1e-11, 1e-12)
    network.gradient(x, t)
    assert half.dout.shape == x.shape


def test_a_network_that_diverges_goes_on():
    network, (x, t) = MultiLayerNet(784, [50, 50], 10, weight_init_std=1), a_batch()
    rule = SGD(lr=1e200)
    with np.errstate(all="ignore"):
        for _ in range(6):
            rule.update(network.params, network.gradient(x, t))
        assert np.isnan(network.loss(x, t))
        assert np.isnan(network.params["W2"]).any()


def test_layers_of_a_network_with_everything():
    network = MultiLayerNetExtend(4, [5, 6], 3, use_dropout=True, dropout_ration=0.2,
                                  use_batchnorm=True)  # fmt: skip
    assert list(network.layers) == [
        "Affine1", "BatchNorm1", "Activation_function1", "Dropout1",
        "Affine2", "BatchNorm2", "Activation_function2", "Dropout2", "Affine3",
    ]  # fmt: skip
    assert network.layers["Dropout2"].dropout_ratio == 0.2
    assert network.layers["BatchNorm1"].gamma is network.params["gamma1"]
    x = np.random.randn(7, 4)
    np.random.seed(1)
    trained = network.predict(x, train_flg=True)
    np.random.seed(1)
    np.random.rand(7, 5)
    np.random.rand(7, 6)
    after = np.random.rand()
    np.random.seed(1)
    assert_array_equal(network.predict(x, train_flg=True), trained)
    assert np.random.rand() == after
    assert_array_equal(network.predict(x), network.predict(x))


# Arrays and methods of the book's readers -----------------------------------------------


@each_kind
@pytest.mark.parametrize("decay", [0, 0.1])
def test_gradients_of_weights_are_new_arrays_and_those_of_biases_the_layers(kind, decay):
    network, x, t = kind(6, [5], 4, weight_decay_lambda=decay), np.random.randn(7, 6), np.arange(7)
    gradient = network.gradient(x, t % 4)
    for i, layer in ((1, network.layers["Affine1"]), (2, network.layers["Affine2"])):
        assert not np.shares_memory(gradient[f"W{i}"], layer.dW)
        assert_array_equal(gradient[f"W{i}"], layer.dW + decay * layer.W)
        assert gradient[f"b{i}"] is layer.db


@each_kind
@pytest.mark.parametrize("of", ["class", "instance", "subclass"])
def test_a_backward_pass_of_the_readers_own_is_called_for_the_first_layer_too(
    kind, of, monkeypatch
):
    network, x, t = kind(6, [5], 4), np.random.randn(7, 6), np.arange(7) % 4
    expected, original, called = network.gradient(x, t), Affine.backward, []

    def backward(self, dout):
        called.append(self)
        return original(self, dout)

    first, second = (network.layers[key] for key in ("Affine1", "Affine2"))
    if of == "class":
        monkeypatch.setattr(Affine, "backward", backward)
    elif of == "instance":
        first.backward = lambda dout: backward(first, dout)
    else:
        first.__class__ = type("Watched", (Affine,), {"backward": backward})
    found = network.gradient(x, t)
    assert called == ([second, first] if of == "class" else [first])
    for key in expected:
        assert_array_equal(found[key], expected[key])
