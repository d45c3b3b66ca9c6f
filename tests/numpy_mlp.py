"""A slow, obvious multilayer perceptron in NumPy, float64; and small problems to compare it on."""

import hashlib

import numpy as np
import reference as twins
from numpy.testing import assert_allclose

from fastnn.kernels.losses import COUNTS, LABELS, LOSSES, PROBABILITIES

DTYPES = ["float32", "float64"]

OUTPUTS_AND_LOSSES = [(row.output, name) for name, row in LOSSES.items() if row.offered]
OUTPUTS = list(dict.fromkeys(output for output, _ in OUTPUTS_AND_LOSSES))


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
                inputs.append(self._active(layer, zs[-1]))
        return inputs, zs

    def _active(self, layer, z):
        """Outputs of a hidden layer, counted from 1."""
        return twins.activate(self.activations[layer - 1], z).astype(np.float64)

    def _wanted(self, t, shape):
        """A label and targets for each row; one of them means nothing."""
        targets = np.asarray(t, np.float64)
        if LOSSES[self.loss_name].targets != LABELS:
            return zip([0] * shape[0], targets.reshape(shape), strict=True)
        labels = targets if targets.ndim == 1 else targets.argmax(axis=1)
        return zip(labels.astype(int), [None] * shape[0], strict=True)

    def predict(self, x):
        z = self._forward(x)[1][-1]
        return twins.outputs_forward(self.loss_name, z).astype(np.float64)

    def loss(self, x, t):
        z = self._forward(x)[1][-1]
        rows = zip(self._wanted(t, z.shape), z, strict=True)
        losses = [twins.loss_forward(self.loss_name, *wanted, row)[1] for wanted, row in rows]
        return float(np.mean(losses))

    def gradient(self, x, t):
        inputs, zs = self._forward(x)
        y, scale = twins.outputs_forward(self.loss_name, zs[-1]), 1 / len(zs[-1])
        rows = zip(self._wanted(t, y.shape), y, strict=True)
        dz = [twins.loss_backward(self.loss_name, *wanted, scale, row) for wanted, row in rows]
        dz, gradients = np.array(dz, np.float64), {}
        for layer in range(self.depth, 0, -1):
            gradients[f"W{layer}"] = inputs[layer - 1].T @ dz
            gradients[f"b{layer}"] = dz.sum(axis=0)
            if layer > 1:
                slopes = twins.slope(self.activations[layer - 2], inputs[layer - 1])
                dz = dz @ self.params[f"W{layer}"].T * slopes.astype(np.float64)
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
    shape, kind = (rows, net.layer_sizes[-1]), LOSSES[net.loss_name].targets
    if kind == LABELS:
        return rng.integers(0, shape[1], rows)
    if kind == PROBABILITIES:
        return rng.integers(0, 2, shape).astype(float)
    if kind == COUNTS:
        return rng.poisson(2, shape).astype(float)
    return rng.normal(size=shape)


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
