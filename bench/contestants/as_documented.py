"""The loops and classes of the source documents, as a reader would type them in."""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.cases import Case
from bench.inputs import SEED_OF_LOOPS
from bench.reference import LOSS_EPSILON, Arrays, Run, parameters

# A hidden layer's function, and what its gradient makes of the one above it.
ACTIVATIONS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "sigmoid": (lambda u: sigmoid(u), lambda grad_y, y: differential_sigmod(grad_y, y)),
    "relu": (lambda u: np.maximum(0, u), lambda grad_y, y: grad_y * (y > 0)),
}
# Each loss is written out in the one loop that has it, as are the update and, in
# `numerical_gradient`, the sigmoid.
LOSSES = {"cross_entropy": "numerical_gradient", "squared_error": "training"}
RULES = ("sgd",)

wb_width = 0.01


# Document 003 -------------------------------------------------------------------------


class Neuron:
    """A layer, with its weights, inputs, outputs and gradients."""

    def __init__(
        self, n_upper: int, n: int, activation_function: Any, differential_function: Any
    ) -> None:
        self.w = wb_width * np.random.randn(n_upper, n)
        self.b = wb_width * np.random.randn(n)
        self.grad_w = np.zeros((n_upper, n))
        self.grad_b = np.zeros(n)
        self.activation_function = activation_function
        self.differential_function = differential_function

    def update(self, eta: float) -> None:
        """Descend."""
        self.w -= eta * self.grad_w
        self.b -= eta * self.grad_b

    def forward(self, x: Any) -> Any:
        """Keep x and the outputs."""
        self.x = x
        u = x.dot(self.w) + self.b
        self.y = self.activation_function(u)
        return self.y

    def backword(self, t: Any) -> Any:
        """Keep the gradients, return that of x."""
        delta = self.differential_function(self.y, t)
        self.grad_w = self.x.T.dot(delta)
        self.grad_b = np.sum(delta, axis=0)
        self.grad_x = delta.dot(self.w.T)
        return self.grad_x


def identity_func(u: Any) -> Any:
    """The output's function."""
    return u


def differential_output(y: Any, t: Any) -> Any:
    """Its derivative with that of the squared error."""
    return y - t


class Output(Neuron):
    """The last layer."""


def sigmoid(u: Any) -> Any:
    """The middle layer's function."""
    return 1 / (1 + np.exp(-u))


def differential_sigmod(grad_y: Any, y: Any) -> Any:
    """What its gradient makes of the one above it."""
    return grad_y * (1 - y) * y


class Middle(Neuron):
    """A hidden layer."""

    def backword(self, grad_y: Any) -> Any:
        """Keep the gradients, return that of x."""
        delta = self.differential_function(grad_y, self.y)
        self.grad_w = self.x.T.dot(delta)
        self.grad_b = delta.sum(axis=0)
        self.grad_x = delta.dot(self.w.T)
        return self.grad_x


def neurons_loop(case: Case, given: Arrays, library: Any = sys.modules[__name__]) -> Run:
    """The document's epochs, by its classes or by a library's of the same names."""
    input_data, correct_data = given["x"], given["t"]
    n_data, eta = len(correct_data), case.lr

    def run(steps: int) -> Arrays:
        middle_layer, output_layer = neurons(case, given, library)
        np.random.seed(SEED_OF_LOOPS)
        for first in range(0, steps, n_data):
            index_random = np.arange(n_data)
            np.random.shuffle(index_random)
            for idx in index_random[: steps - first]:
                x = input_data[idx : idx + 1]
                t = correct_data[idx : idx + 1]
                output_layer.forward(middle_layer.forward(x.reshape(1, 1)))
                middle_layer.backword(output_layer.backword(t.reshape(1, 1)))
                middle_layer.update(eta)
                output_layer.update(eta)
        return weights_of(middle_layer, output_layer)

    return run


def neurons(case: Case, given: Arrays, library: Any) -> tuple[Any, Any]:
    """The two layers with the given weights."""
    n_in, n_mid, n_out = case.sizes
    middle = library.Middle(n_in, n_mid, library.sigmoid, library.differential_sigmod)
    output = library.Output(n_mid, n_out, library.identity_func, library.differential_output)
    for layer, place in ((middle, 1), (output, 2)):
        layer.w[:], layer.b[:] = given[f"W{place}"], given[f"b{place}"]
    return middle, output


def weights_of(middle: Any, output: Any) -> Arrays:
    """The weights of the two layers by name."""
    return {"W1": middle.w, "b1": middle.b, "W2": output.w, "b2": output.b}


def training(case: Case, given: Arrays) -> Run | None:
    """The loop of documents 000 and 003; their losses are computed after it, from the outputs."""
    if case.data not in ("sine", "quadratic") or case.batch != 1 or LOSSES[case.loss] != case.kind:
        return None
    x, t = given["x"], given["t"]

    def run(steps: int) -> Arrays:
        order = given["batches"][:steps, 0]
        middle, output = neurons(case, given, sys.modules[__name__])
        middle.activation_function, middle.differential_function = ACTIVATIONS[case.activation]
        outputs = []
        for i in order:
            outputs.append(output.forward(middle.forward(x[i : i + 1])))
            middle.backword(output.backword(t[i : i + 1]))
            middle.update(case.lr)
            output.update(case.lr)
        losses = np.square(np.concatenate(outputs) - t[order]).sum(axis=1) / 2
        return {"losses": losses} | weights_of(middle, output)

    return run


# Documents 001 and 004 ----------------------------------------------------------------


def softmax(x: Any) -> Any:
    """The book's."""
    x = x - np.max(x, axis=-1, keepdims=True)
    return np.exp(x) / np.sum(np.exp(x), axis=-1, keepdims=True)


def cross_entropy_error(y: Any, t: Any) -> Any:
    """The book's."""
    if t.size == y.size:
        t = t.argmax(axis=1)
    batch_size = y.shape[0]
    return -np.sum(np.log(y[np.arange(batch_size), t] + LOSS_EPSILON)) / batch_size


def sigmoid_grad(x: Any) -> Any:
    """The book's."""
    return (1.0 - sigmoid(x)) * sigmoid(x)


class TwoLayerNet:
    """Document 001's network, with given weights."""

    def __init__(self, params: Arrays):
        self.params = params

    def predict(self, x: Any) -> Any:
        """Class probabilities."""
        W1, W2 = self.params["W1"], self.params["W2"]
        b1, b2 = self.params["b1"], self.params["b2"]

        a1 = np.dot(x, W1) + b1
        z1 = sigmoid(a1)
        a2 = np.dot(z1, W2) + b2
        return softmax(a2)

    def loss(self, x: Any, t: Any) -> Any:
        """Their cross entropy."""
        y = self.predict(x)
        return cross_entropy_error(y, t)

    def accuracy(self, x: Any, t: Any) -> float:
        """The share of rows whose largest probability is the right one."""
        y = self.predict(x)
        y = np.argmax(y, axis=1)
        t = np.argmax(t, axis=1)
        return np.sum(y == t) / float(x.shape[0])

    def gradient(self, x: Any, t: Any) -> Arrays:
        """Its gradient by backpropagation."""
        W1, W2 = self.params["W1"], self.params["W2"]
        b1, b2 = self.params["b1"], self.params["b2"]
        grads = {}

        batch_num = x.shape[0]

        a1 = np.dot(x, W1) + b1
        z1 = sigmoid(a1)
        a2 = np.dot(z1, W2) + b2
        y = softmax(a2)

        dy = (y - t) / batch_num
        grads["W2"] = np.dot(z1.T, dy)
        grads["b2"] = np.sum(dy, axis=0)

        dz1 = np.dot(dy, W2.T)
        da1 = sigmoid_grad(a1) * dz1
        grads["W1"] = np.dot(x.T, da1)
        grads["b1"] = np.sum(da1, axis=0)
        return grads


class Relu:
    """Document 004's."""

    def __init__(self) -> None:
        self.mask: Any = None

    def forward(self, x: Any) -> Any:
        """Keep where the inputs are 0 or less."""
        self.mask = x <= 0
        out = x.copy()
        out[self.mask] = 0
        return out

    def backward(self, dout: Any) -> Any:
        """Change dout."""
        dout[self.mask] = 0
        return dout


class Affine:
    """Document 004's."""

    def __init__(self, W: Any, b: Any):
        self.W = W
        self.b = b

    def forward(self, x: Any) -> Any:
        """Keep the inputs."""
        self.original_x_shape = x.shape
        x = x.reshape(x.shape[0], -1)
        self.x = x
        return np.dot(self.x, self.W) + self.b

    def backward(self, dout: Any) -> Any:
        """Keep the gradients, return that of x."""
        dx = np.dot(dout, self.W.T)
        self.dW = np.dot(self.x.T, dout)
        self.db = np.sum(dout, axis=0)
        return dx.reshape(*self.original_x_shape)


class SoftmaxWithLoss:
    """The book's."""

    def forward(self, x: Any, t: Any) -> Any:
        """Keep the outputs."""
        self.t = t
        self.y = softmax(x)
        self.loss = cross_entropy_error(self.y, self.t)
        return self.loss

    def backward(self, dout: Any = 1) -> Any:
        """Of one-hot rows."""
        batch_size = self.t.shape[0]
        return (self.y - self.t) / batch_size


class LayeredNet:
    """Document 004's network with given weights, of its layers or of a library's."""

    def __init__(self, params: Arrays, library: Any):
        self.params = params
        self.layers = OrderedDict()
        self.layers["Affine1"] = library.Affine(params["W1"], params["b1"])
        self.layers["Relu1"] = library.Relu()
        self.layers["Affine2"] = library.Affine(params["W2"], params["b2"])
        self.last_layer = library.SoftmaxWithLoss()

    def predict(self, x: Any) -> Any:
        """Scores."""
        for layer in self.layers.values():
            x = layer.forward(x)
        return x

    def loss(self, x: Any, t: Any) -> Any:
        """Their cross entropy."""
        y = self.predict(x)
        return self.last_layer.forward(y, t)

    def gradient(self, x: Any, t: Any) -> Arrays:
        """Its gradient by backpropagation."""
        self.loss(x, t)
        dout: Any = 1
        dout = self.last_layer.backward(dout)
        layers = list(self.layers.values())
        layers.reverse()
        for layer in layers:
            dout = layer.backward(dout)
        first, second = self.layers["Affine1"], self.layers["Affine2"]
        return {"W1": first.dW, "b1": first.db, "W2": second.dW, "b2": second.db}


def train(network: Any, case: Case, x_train: np.ndarray, t_train: np.ndarray, steps: int) -> Arrays:
    """The loop of both, with its evaluations where the case has them."""
    np.random.seed(SEED_OF_LOOPS)
    train_size, batch_size, learning_rate = x_train.shape[0], case.batch, case.lr
    iter_per_epoch = max(train_size // batch_size, 1)
    train_loss_list, train_acc_list = [], []
    for i in range(steps):
        batch_mask = np.random.choice(train_size, batch_size)
        x_batch = x_train[batch_mask]
        t_batch = t_train[batch_mask]
        grad = network.gradient(x_batch, t_batch)
        for key in ("W1", "b1", "W2", "b2"):
            network.params[key] -= learning_rate * grad[key]
        loss = network.loss(x_batch, t_batch)
        train_loss_list.append(loss)
        if case.has_evaluations and i % iter_per_epoch == 0:
            train_acc_list.append(network.accuracy(x_train, t_train))
    if case.has_evaluations:
        return {"accuracy": np.array(train_acc_list[-1:])}
    return {"losses": np.array(train_loss_list)} | dict(network.params)


def book_loop(case: Case, given: Arrays) -> Run:
    """Document 001's in the case's precision, targets included."""
    t = given["t"].astype(case.dtype)
    return lambda steps: train(TwoLayerNet(params_of(case, given)), case, given["x"], t, steps)


book_program = book_loop


def layers_loop(case: Case, given: Arrays, library: Any = sys.modules[__name__]) -> Run:
    """Document 004's, with its layers or with a library's of the same names."""
    x, t = given["x"], given["t"]
    return lambda steps: train(LayeredNet(params_of(case, given), library), case, x, t, steps)


def params_of(case: Case, given: Arrays) -> Arrays:
    """New arrays."""
    return dict(zip(("W1", "b1", "W2", "b2"), parameters(given, case.dtype), strict=True))


# Differences --------------------------------------------------------------------------


def numerical_gradient(case: Case, given: Arrays) -> Run | None:
    """The book's, parameter by parameter."""
    if case.activation != "sigmoid" or len(case.sizes) != 3 or LOSSES[case.loss] != case.kind:
        return None
    x, t = given["x"], given["t"]

    def run(calls: int) -> Arrays:
        params = params_of(case, given)
        for _ in range(calls):
            found = {name: gradient(lambda _: loss(params, x, t), params[name]) for name in params}
        return found

    return run


def loss(params: Arrays, x: np.ndarray, t: np.ndarray) -> float:
    """Cross entropy of the two-layer network, as in the book's functions."""
    h = 1 / (1 + np.exp(-(np.dot(x, params["W1"]) + params["b1"])))
    z = np.dot(h, params["W2"]) + params["b2"]
    e = np.exp(z - np.max(z, axis=-1, keepdims=True))
    y = e / np.sum(e, axis=-1, keepdims=True)
    return float(-np.sum(np.log(y[np.arange(len(x)), t] + LOSS_EPSILON)) / len(x))


def gradient(f: Callable[[np.ndarray], float], x: np.ndarray, h: float = 1e-4) -> np.ndarray:
    """Central differences element by element, with an iterator as in the book."""
    grad = np.zeros_like(x)
    iterator = np.nditer(x, flags=["multi_index"], op_flags=["readwrite"])
    while not iterator.finished:
        at = iterator.multi_index
        kept = x[at]
        x[at] = float(kept) + h
        above = f(x)
        x[at] = kept - h
        grad[at] = (above - f(x)) / (2 * h)
        x[at] = kept
        iterator.iternext()
    return grad
