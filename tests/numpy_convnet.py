"""A slow, obvious network of images in NumPy, float64; and small networks to compare it on."""

import image_reference as twins
import numpy as np
import reference
from numpy.testing import assert_allclose
from numpy_mlp import TOLERANCE, NumpyMLP, assert_close

import fastnn
from fastnn import Conv, Dense, Dropout, MaxPool
from fastnn.kernels.dropout import PARTS


class NumpyConvNet:
    """A network with the weights of a `fastnn.ConvNet`, and the masks of its dropout."""

    def __init__(self, net):
        self.net = net
        self.params = {name: value.astype(np.float64) for name, value in net.params.items()}

    # Layers, each a function of inputs that returns outputs and the way back

    def _weights(self, grads):
        self.number += 1
        names = f"W{self.number}", f"b{self.number}"

        def keep(*gradients):
            grads.update(zip(names, gradients, strict=True))

        return *(self.params[name] for name in names), keep

    def _active(self, layer, z):
        name = layer.activation or self.net.activation
        y = reference.activate(name, z).astype(np.float64)
        return y, reference.slope(name, y).astype(np.float64)

    def _conv(self, layer, x, grads):
        W, b, keep = self._weights(grads)
        stride, pad = pair(layer.stride), pair(layer.pad)
        size = twins.outputs_of(x.shape[2:], W.shape[2:], stride, pad)
        wide = twins.surrounded(x, pad)
        taps = list(twins.windows(wide, W.shape[2:], stride, size))
        z = b[:, None, None] + sum(np.einsum("ncyx,oc->noyx", p, W[..., i, j]) for i, j, p in taps)
        y, slope = self._active(layer, z)

        def back(d):
            d = d * slope
            dW, dx = np.zeros_like(W), np.zeros_like(wide)
            views = twins.windows(dx, W.shape[2:], stride, size)
            for (i, j, pixels), (_, _, there) in zip(taps, views, strict=True):
                dW[..., i, j] = np.einsum("noyx,ncyx->oc", d, pixels)
                there += np.einsum("noyx,oc->ncyx", d, W[..., i, j])
            keep(dW, d.sum(axis=(0, 2, 3)))
            top, left = pad
            return dx[:, :, top : top + x.shape[2], left : left + x.shape[3]]

        return y, back

    def _pool(self, layer, x, grads):
        size = pair(layer.size)
        stride = size if layer.stride is None else pair(layer.stride)
        y = twins.max_pool(x, size, stride)
        return y, lambda d: twins.max_pool_backward(x, d, size, stride)

    def _dense(self, layer, x, grads, last):
        W, b, keep = self._weights(grads)
        rows = x.reshape(len(x), -1)
        z = rows @ W + b
        y, slope = (z, 1.0) if last else self._active(layer, z)

        def back(d):
            d = d * slope
            keep(rows.T @ d, d.sum(axis=0))
            return (d @ W.T).reshape(x.shape)

        return y, back

    def _dropout(self, layer, x, salt):
        """The place of a layer in the kernels' plan goes into its mask; that of rows is the same
        as that of the dense layer below."""
        if salt is None:
            return x, lambda d: d
        parts = round(layer.rate * PARTS)
        kept = twins.drop(np.ones_like(x), parts, salt, self.place)
        return x * kept, lambda d: d * kept

    # Answers

    def _pass(self, x, salt=None):
        """z of the last layer, and what turns its dz into gradients."""
        backs, grads, self.number, self.place = [], {}, 0, 0
        x = np.asarray(x, np.float64).reshape(len(x), *self.net.input_shape)
        for at, layer in enumerate(self.net.layers):
            if isinstance(layer, Dropout):
                self.place += x.ndim == 4
                x, back = self._dropout(layer, x, salt)
            elif isinstance(layer, Dense):
                self.place += 1 + (x.ndim == 4)  # and the layer that makes rows
                x, back = self._dense(layer, x, grads, at == len(self.net.layers) - 1)
            else:
                self.place += 1
                kind = self._conv if isinstance(layer, Conv) else self._pool
                x, back = kind(layer, x, grads)
            backs.append(back)
        return x, backs, grads

    def predict(self, x):
        z, *_ = self._pass(x)
        return reference.outputs_forward(self.net.loss_name, z).astype(np.float64)

    def loss_and_gradient(self, x, t, salt=None):
        z, backs, grads = self._pass(x, salt)
        name, scale = self.net.loss_name, 1 / len(z)
        wanted = list(NumpyMLP._wanted(self.net, t, z.shape))
        rows = list(zip(wanted, z, strict=True))
        loss = np.mean([reference.loss_forward(name, *w, row)[1] for w, row in rows])
        y = reference.outputs_forward(name, z)
        d = [reference.loss_backward(name, *w, scale, r) for w, r in zip(wanted, y, strict=True)]
        d = np.array(d, np.float64)
        for back in reversed(backs):
            d = back(d)
        return float(loss), {key: grads[key] for key in self.params}


def pair(size):
    return size if isinstance(size, tuple) else (size, size)


# Networks with layers of every kind, by what is special about them.
NETWORKS = {
    "like LeNet": (
        (1, 13, 12), [Conv(4, 3), MaxPool(2), Conv(5, 2), MaxPool(2), Dense(7), Dense(3)]),
    "dense only": ((2, 3, 4), [Dense(5), Dense(3)]),
    "one filter": ((1, 4, 4), [Conv(1, 2), Dense(3)]),
    "pool on the input": ((2, 7, 6), [MaxPool(2), Conv(3, 2), Dense(3)]),
    "nothing but pools": ((2, 9, 8), [MaxPool(2), MaxPool(2, 1), Dense(3)]),
    "overlapping pools": (
        (2, 8, 9), [Conv(3, 2), MaxPool(3, 1), Conv(2, 2), MaxPool((2, 3), (1, 2)), Dense(3)]),
    "filters on filters": ((2, 6, 7), [Conv(3, 3, pad=1), Conv(7, 2), Conv(2, (1, 3)), Dense(3)]),
    "strides": (
        (1, 11, 10), [Conv(3, 3, 2, 1), Conv(4, 2, (2, 1), (0, 2)), Conv(2, 1, 2), Dense(3)]),
    "a stride below rows": ((1, 7, 9), [Conv(2, 1), Conv(3, (2, 3), 2), Dense(3)]),
    "pads beyond filters": (
        (1, 4, 3), [Conv(3, 2, pad=(3, 2)), Conv(2, 1, 1, 2), MaxPool(2), Dense(3)]),
    "many pixels": ((1, 29, 31), [Conv(2, 2, 1, 1), Conv(3, 3, (2, 1)), MaxPool((3, 4)), Dense(3)]),
    "one pixel wide": (
        (3, 9, 1), [Conv(4, (2, 1)), MaxPool((2, 1)), Conv(5, (2, 1), pad=(1, 0)), Dense(3)]),
    "pixels left out": ((3, 9, 10), [Conv(2, 2, 3), MaxPool((2, 3)), Dense(3)]),
    "dropout": (
        (2, 6, 6), [Dropout(0.2), Conv(3, 3, pad=1), Dropout(0.4), Conv(2, 2, 2), Dropout(0.3),
                    Dense(6), Dropout(0.5), Dense(3)]),
    "dropout and pools": (
        (1, 8, 7), [Conv(4, 2), MaxPool(2), Dropout(0.3), MaxPool((1, 2), 1), Dropout(0.2),
                    Dense(3)]),
}  # fmt: skip


def made(name, activation="tanh", dtype="float64", output="softmax", **options):
    shape, layers = NETWORKS[name]
    options = {"seed": 3, "bias_init": 0.1} | options
    return fastnn.ConvNet(shape, layers, activation, output, dtype=dtype, **options)


def images(net, rows, seed=1):
    """Normal images, and what is wanted of them."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, *net.input_shape)).astype(net.dtype)
    outputs = net.layers[-1].units
    if net.output == "softmax":
        return x, rng.integers(0, outputs, rows)
    return x, rng.random((rows, outputs))


def assert_same_answers(net, x, t):
    """The network's answers are those of the NumPy network."""
    twin, dtype = NumpyConvNet(net), net.dtype.name
    loss, expected = twin.loss_and_gradient(x, t)
    assert_close(net.predict(x), twin.predict(x), dtype)
    assert_close(net.loss(x, t), loss, dtype)
    found = net.gradient(x, t)
    assert list(found) == list(expected)
    # Of one parameter all may be small beside what cancels in them.
    largest = max(np.abs(gradient).max() for gradient in expected.values())
    for name, gradient in found.items():
        assert gradient.shape == net.params[name].shape
        assert_allclose(gradient, expected[name], 0, TOLERANCE[dtype] * max(largest, 1e-3))
