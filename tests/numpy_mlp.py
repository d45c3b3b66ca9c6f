"""A slow, obvious multilayer perceptron in NumPy, float64; and small problems to compare it on."""

import hashlib

import numpy as np
from numpy.testing import assert_allclose

DTYPES = ["float32", "float64"]


def sigmoid(z):
    return np.exp(-np.logaddexp(0, -z))


# Name: the function, and its derivative, both of z.
ACTIVATIONS = {
    "identity": (lambda z: z, lambda z: np.ones_like(z)),
    "relu": (lambda z: np.where(z > 0, z, 0), lambda z: np.where(z > 0, 1.0, 0.0)),
    "leaky_relu": (lambda z: np.where(z > 0, z, 0.01 * z), lambda z: np.where(z > 0, 1.0, 0.01)),
    "sigmoid": (sigmoid, lambda z: sigmoid(z) * (1 - sigmoid(z))),
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "softplus": (lambda z: np.logaddexp(0, z), sigmoid),
}


def log_softmax(z):
    z = z - z.max(axis=1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))


OUTPUTS = {
    "softmax": lambda z: np.exp(log_softmax(z)),
    "identity": lambda z: z,
    "sigmoid": sigmoid,
}

# Loss of each row, from the z of the last layer and targets t.
ROW_LOSSES = {
    "cross_entropy": lambda z, t: -(t * log_softmax(z)).sum(axis=1),
    "squared_error": lambda z, t: 0.5 * ((z - t) ** 2).sum(axis=1),
    "mse": lambda z, t: ((z - t) ** 2).mean(axis=1),
    "binary_cross_entropy": lambda z, t: (
        t * np.logaddexp(0, -z) + (1 - t) * np.logaddexp(0, z)
    ).sum(axis=1),
}

OUTPUTS_AND_LOSSES = [
    ("softmax", "cross_entropy"),
    ("identity", "squared_error"),
    ("identity", "mse"),
    ("sigmoid", "binary_cross_entropy"),
]


class NumpyMLP:
    """A network with the weights of a fastnn network, trained by a plain loop."""

    def __init__(self, net):
        self.activations, self.output, self.loss_name = net.activations, net.output, net.loss_name
        self.params = {name: value.astype(np.float64) for name, value in net.params.items()}
        self.depth = len(self.activations) + 1

    def _forward(self, x):
        """Inputs of every layer, and the z of every layer."""
        inputs, zs = [np.asarray(x, np.float64)], []
        for layer in range(1, self.depth + 1):
            zs.append(inputs[-1] @ self.params[f"W{layer}"] + self.params[f"b{layer}"])
            if layer < self.depth:
                function, _ = ACTIVATIONS[self.activations[layer - 1]]
                inputs.append(function(zs[-1]))
        return inputs, zs

    def _targets(self, t, shape):
        if self.output == "softmax" and np.ndim(t) == 1:
            return np.eye(shape[1])[np.asarray(t, int)]
        return np.asarray(t, np.float64).reshape(shape)

    def predict(self, x):
        return OUTPUTS[self.output](self._forward(x)[1][-1])

    def loss(self, x, t):
        z = self._forward(x)[1][-1]
        return ROW_LOSSES[self.loss_name](z, self._targets(t, z.shape)).mean()

    def gradient(self, x, t):
        inputs, zs = self._forward(x)
        dz = (OUTPUTS[self.output](zs[-1]) - self._targets(t, zs[-1].shape)) / len(zs[-1])
        if self.loss_name == "mse":
            dz *= 2 / zs[-1].shape[1]
        gradients = {}
        for layer in range(self.depth, 0, -1):
            gradients[f"W{layer}"] = inputs[layer - 1].T @ dz
            gradients[f"b{layer}"] = dz.sum(axis=0)
            if layer > 1:
                _, derivative = ACTIVATIONS[self.activations[layer - 2]]
                dz = dz @ self.params[f"W{layer}"].T * derivative(zs[layer - 2])
        return gradients

    def train(self, x, t, batches, lr):
        """The loss of every batch before its update."""
        losses = []
        for batch in batches:
            losses.append(self.loss(x[batch], t[batch]))
            for name, gradient in self.gradient(x[batch], t[batch]).items():
                self.params[name] -= lr * gradient
        return np.array(losses)


def inputs(rng, rows, width, nonzeros=1.0):
    """Normal numbers, of which about a share of `nonzeros` is not zero."""
    return rng.normal(size=(rows, width)) * (rng.random((rows, width)) < nonzeros)


def targets(rng, net, rows):
    """What a network may be trained to: labels, numbers, or zeros and ones."""
    O = net.layer_sizes[-1]
    if net.output == "softmax":
        return rng.integers(0, O, rows)
    if net.output == "sigmoid":
        return rng.integers(0, 2, (rows, O)).astype(float)
    return rng.normal(size=(rows, O))


def unaligned(array):
    """The same numbers one byte beyond where they should begin."""
    buffer = np.zeros(array.nbytes + 1, np.uint8)
    buffer[1:] = np.frombuffer(array.tobytes(), np.uint8)
    return np.ndarray(array.shape, array.dtype, buffer, 1)


def digest(array):
    return hashlib.sha256(np.asarray(array).tobytes()).hexdigest()


def bits(*arrays):
    """What two results must have in common to be the same to the bit."""
    return [(np.shape(array), digest(array)) for array in arrays]


def bits_of(net):
    return bits(*net.params.values())


# Relative to the largest number of each array: a few dozen units of the last place.
TOLERANCE = {"float32": 3e-6, "float64": 1e-14}


def assert_close(actual, expected, dtype):
    scale = max(np.abs(expected).max(), 1e-3)
    assert_allclose(actual, expected, rtol=0, atol=TOLERANCE[dtype] * scale)


def assert_same_answers(net, x, t):
    """The network's answers are those of the NumPy network."""
    reference = NumpyMLP(net)
    dtype = net.dtype.name
    x = x.astype(dtype)
    assert_close(net.predict(x), reference.predict(x), dtype)
    assert_close(net.loss(x, t), reference.loss(x, t), dtype)
    expected = reference.gradient(x, t)
    for name, gradient in net.gradient(x, t).items():
        assert_close(gradient, expected[name], dtype)
