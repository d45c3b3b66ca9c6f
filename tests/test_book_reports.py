"""The programs of two course reports, on fastnn.book."""

from collections import OrderedDict

import book_reference as reference
import numpy as np
import pytest
from networks_of_the_book import MNIST, a_batch
from numpy.testing import assert_allclose

from fastnn.book.functions import *  # noqa: F403
from fastnn.book.functions import cross_entropy_error, sigmoid, sigmoid_grad, softmax
from fastnn.book.gradient import numerical_gradient
from fastnn.book.layers import Affine, Relu, SoftmaxWithLoss

pytestmark = pytest.mark.usefixtures("numpys_seed")


# A report on chapter 4: a network of functions ----------------------------------------


class FunctionsNet:
    """784-50-10 with a sigmoid, of functions and ``np.dot``."""

    def __init__(self, input_size, hidden_size, output_size, weight_init_std=0.01):
        self.params = {}
        self.params["W1"] = weight_init_std * np.random.randn(input_size, hidden_size)
        self.params["b1"] = np.zeros(hidden_size)
        self.params["W2"] = weight_init_std * np.random.randn(hidden_size, output_size)
        self.params["b2"] = np.zeros(output_size)

    def predict(self, x):
        self.a1 = np.dot(x, self.params["W1"]) + self.params["b1"]
        self.z1 = sigmoid(self.a1)
        return softmax(np.dot(self.z1, self.params["W2"]) + self.params["b2"])

    def loss(self, x, t):
        return cross_entropy_error(self.predict(x), t)

    def accuracy(self, x, t):
        return np.sum(np.argmax(self.predict(x), axis=1) == np.argmax(t, axis=1)) / len(x)

    def gradient(self, x, t):
        dy = (self.predict(x) - t) / x.shape[0]
        da1 = sigmoid_grad(self.a1) * np.dot(dy, self.params["W2"].T)
        return {
            "W1": np.dot(x.T, da1),
            "b1": np.sum(da1, axis=0),
            "W2": np.dot(self.z1.T, dy),
            "b2": np.sum(dy, axis=0),
        }

    def numerical_gradient(self, x, t):
        def loss(_):
            return self.loss(x, t)

        return {key: numerical_gradient(loss, self.params[key]) for key in self.params}


# A report on chapter 5: a network of layers -------------------------------------------


class LayersNet:
    """784-50-10 with ReLU, of layers."""

    def __init__(self, input_size, hidden_size, output_size, weight_init_std=0.01):
        FunctionsNet.__init__(self, input_size, hidden_size, output_size, weight_init_std)
        self.layers = OrderedDict()
        self.layers["Affine1"] = Affine(self.params["W1"], self.params["b1"])
        self.layers["Relu1"] = Relu()
        self.layers["Affine2"] = Affine(self.params["W2"], self.params["b2"])
        self.last_layer = SoftmaxWithLoss()

    accuracy = FunctionsNet.accuracy
    numerical_gradient = FunctionsNet.numerical_gradient

    def predict(self, x):
        for layer in self.layers.values():
            x = layer.forward(x)
        return x

    def loss(self, x, t):
        return self.last_layer.forward(self.predict(x), t)

    def gradient(self, x, t):
        self.loss(x, t)
        dout = self.last_layer.backward(1)
        for layer in reversed(list(self.layers.values())):
            dout = layer.backward(dout)
        grads = {}
        for i in ("1", "2"):
            grads["W" + i], grads["b" + i] = (
                self.layers["Affine" + i].dW,
                self.layers["Affine" + i].db,
            )
        return grads


def train(network, iterations, batch_size=100, learning_rate=0.1):
    """The loop of both reports; the losses, and the accuracy at the end."""
    (x_train, t_train), (x_test, t_test) = MNIST
    losses = []
    for _ in range(iterations):
        batch_mask = np.random.choice(len(x_train), batch_size)
        x_batch, t_batch = x_train[batch_mask], t_train[batch_mask]
        grad = network.gradient(x_batch, t_batch)
        for key in ("W1", "b1", "W2", "b2"):
            network.params[key] -= learning_rate * grad[key]
        losses.append(network.loss(x_batch, t_batch))
    return losses, network.accuracy(x_test, t_test)


def trained_by_formulas(iterations, activation, slope):
    """The same training of the same network in plain NumPy."""
    (x_train, t_train), (x_test, t_test) = MNIST
    p = FunctionsNet(784, 50, 10).params
    losses = []
    for _ in range(iterations):
        batch = np.random.choice(60000, 100)
        x, t = x_train[batch].astype(float), t_train[batch]
        a1 = x @ p["W1"] + p["b1"]
        dy = (reference.softmax(activation(a1) @ p["W2"] + p["b2"]) - t) / 100
        da1 = slope(a1) * (dy @ p["W2"].T)
        steps = {"W1": x.T @ da1, "b1": da1.sum(0), "W2": activation(a1).T @ dy, "b2": dy.sum(0)}
        for key, step in steps.items():
            p[key] = p[key] - 0.1 * step
        y = reference.softmax(activation(x @ p["W1"] + p["b1"]) @ p["W2"] + p["b2"])
        losses.append(reference.cross_entropy(y, t.argmax(axis=1)))
    y = activation(x_test @ p["W1"] + p["b1"]) @ p["W2"] + p["b2"]
    return losses, np.mean(y.argmax(axis=1) == t_test.argmax(axis=1))


def test_a_network_of_functions_learns_as_in_numpy():
    np.random.seed(7)
    losses, accuracy = train(FunctionsNet(784, 50, 10), 60)
    np.random.seed(7)
    expected = trained_by_formulas(60, sigmoid, sigmoid_grad)
    assert_allclose(losses, expected[0], 1e-10)
    assert accuracy == expected[1]


def test_a_network_of_layers_learns_as_in_numpy():
    np.random.seed(7)
    losses, accuracy = train(LayersNet(784, 50, 10), 300)
    np.random.seed(7)
    expected = trained_by_formulas(300, lambda a: np.maximum(a, 0), lambda a: a > 0)
    assert_allclose(losses, expected[0], 1e-9)
    assert accuracy == expected[1]
    assert accuracy > 0.85


@pytest.mark.parametrize("kind", [FunctionsNet, LayersNet])
def test_the_gradient_check_of_the_reports(kind):
    (x_train, t_train), _ = MNIST
    x, t = x_train[:3, 300:340].copy(), t_train[:3]
    network = kind(40, 6, 10)
    numerical, backprop = network.numerical_gradient(x, t), network.gradient(x, t)
    for key in numerical:
        assert np.average(np.abs(backprop[key] - numerical[key])) < 1e-6


def test_a_gradient_as_a_function_that_has_a_last_layer_of_its_own():
    """Its slip, a loss layer that saw no forward pass, fails as it did for the author."""
    network, (x, t) = LayersNet(784, 50, 10), a_batch(3)
    network.loss(x, t)
    with pytest.raises(AttributeError, match="NoneType"):
        SoftmaxWithLoss().backward(1)
