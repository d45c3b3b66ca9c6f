"""The training of seed 004 on fastnn.book's layers, against its layers in plain NumPy."""

from collections import OrderedDict

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from fastnn.book import layers as ours
from fastnn.book.mnist import load_mnist


class Relu:
    def __init__(self):
        self.mask = None

    def forward(self, x):
        self.mask = x <= 0
        out = x.copy()
        out[self.mask] = 0
        return out

    def backward(self, dout):
        dout[self.mask] = 0
        dx = dout
        return dx


class Affine:
    def __init__(self, W, b):
        self.W = W
        self.b = b
        self.x = None
        self.original_x_shape = None
        self.dW = None
        self.db = None

    def forward(self, x):
        self.original_x_shape = x.shape
        x = x.reshape(x.shape[0], -1)
        self.x = x
        out = np.dot(self.x, self.W) + self.b
        return out

    def backward(self, dout):
        dx = np.dot(dout, self.W.T)
        self.dW = np.dot(self.x.T, dout)
        self.db = np.sum(dout, axis=0)
        dx = dx.reshape(*self.original_x_shape)
        return dx


class SoftmaxWithLoss:
    def forward(self, x, t):
        self.t = t
        shifted = np.exp(x - x.max(axis=1, keepdims=True))
        self.y = shifted / shifted.sum(axis=1, keepdims=True)
        labels = t.argmax(axis=1)
        return -np.sum(np.log(self.y[np.arange(len(t)), labels] + 1e-7)) / len(t)

    def backward(self, dout=1):
        return (self.y - self.t) / len(self.t)


class PlainLayers:
    Affine, Relu, SoftmaxWithLoss = Affine, Relu, SoftmaxWithLoss


class TwoLayerNet:
    """The document's, on the layers of a module."""

    def __init__(self, layers, input_size, hidden_size, output_size, weight_init_std=0.01):
        self.params = {}
        self.params["W1"] = weight_init_std * np.random.randn(input_size, hidden_size)
        self.params["b1"] = np.zeros(hidden_size)
        self.params["W2"] = weight_init_std * np.random.randn(hidden_size, output_size)
        self.params["b2"] = np.zeros(output_size)
        self.layers = OrderedDict()
        self.layers["Affine1"] = layers.Affine(self.params["W1"], self.params["b1"])
        self.layers["Relu1"] = layers.Relu()
        self.layers["Affine2"] = layers.Affine(self.params["W2"], self.params["b2"])
        self.lastLayer = layers.SoftmaxWithLoss()

    def predict(self, x):
        for layer in self.layers.values():
            x = layer.forward(x)
        return x

    def loss(self, x, t):
        y = self.predict(x)
        return self.lastLayer.forward(y, t)

    def accuracy(self, x, t):
        return np.mean(self.predict(x).argmax(axis=1) == t.argmax(axis=1))

    def gradient(self, x, t):
        self.loss(x, t)
        dout = self.lastLayer.backward(1)
        layers = list(self.layers.values())
        layers.reverse()
        for layer in layers:
            dout = layer.backward(dout)
        self.dx = dout
        return {
            "W1": self.layers["Affine1"].dW,
            "b1": self.layers["Affine1"].db,
            "W2": self.layers["Affine2"].dW,
            "b2": self.layers["Affine2"].db,
        }


def train(layers, data, iters_num, learning_rate=0.1, batch_size=100):
    """The network, its losses, and the gradients by inputs of the last step."""
    np.random.seed(4)
    x_train, t_train = data
    network = TwoLayerNet(layers, input_size=784, hidden_size=50, output_size=10)
    train_loss_list = []
    for _ in range(iters_num):
        batch_mask = np.random.choice(len(x_train), batch_size)
        x_batch = x_train[batch_mask]
        t_batch = t_train[batch_mask]
        grad = network.gradient(x_batch, t_batch)
        for key in ("W1", "b1", "W2", "b2"):
            network.params[key] -= learning_rate * grad[key]
        train_loss_list.append(network.loss(x_batch, t_batch))
    return network, np.array(train_loss_list)


@pytest.fixture(scope="module")
def digits():
    (x_train, t_train), _ = load_mnist(normalize=True, one_hot_label=True)
    return x_train, t_train


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.usefixtures("both_builds")
def test_the_documents_training_gives_its_numbers(dtype, digits):
    data = digits[0].astype(dtype), digits[1]
    found, losses = train(ours, data, 300)
    expected, expected_losses = train(PlainLayers, data, 300)
    assert_allclose(losses, expected_losses, rtol=1e-11)
    for key, array in expected.params.items():
        assert_allclose(found.params[key], array, rtol=1e-10, atol=1e-13)
    assert_allclose(found.dx, expected.dx, rtol=1e-9, atol=1e-15)
    assert found.dx.shape == (100, 784)
    few = slice(2000)
    assert found.accuracy(*(array[few] for array in data)) > 0.85


def test_results_of_a_step_are_the_callers(digits):
    """Nothing that a layer has returned changes with the next step, nor when inputs change."""
    x, t = digits[0][:100].copy(), digits[1][:100]
    np.random.seed(4)
    network = TwoLayerNet(ours, 784, 50, 10)
    kept = [*network.gradient(x, t).values(), network.dx, network.lastLayer.y]
    copies = [array.copy() for array in kept]
    network.gradient(digits[0][100:200], t)
    for array, before in zip(kept, copies, strict=True):
        assert_array_equal(array, before)


def test_inputs_that_change_between_forward_and_backward_count_as_they_are(digits):
    """As in NumPy: the layer keeps the array, not a copy of it or a list of its nonzeros."""
    x, t = digits[0][:100].copy(), digits[1][:100]
    weights = []
    for layers in (ours, PlainLayers):
        np.random.seed(4)
        network, mine = TwoLayerNet(layers, 784, 50, 10), x.copy()
        network.loss(mine, t)
        mine[:] = mine[::-1].copy()
        dout = network.lastLayer.backward(1)
        for layer in reversed(network.layers.values()):
            dout = layer.backward(dout)
        weights.append(network.layers["Affine1"].dW)
    assert_allclose(weights[0], weights[1], rtol=1e-11, atol=1e-15)
