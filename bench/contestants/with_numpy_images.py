"""Networks of images in NumPy: im2col, and a product for each layer and image.

What a filter's pixels see is copied into matrices (C * h * w, H * W), one for each image, line by
line of the outputs: products make outputs as they lie, and nothing is turned round afterwards.
That is some times as fast as the rows of the book, see `images_as_documented`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from bench.cases import Case
from bench.contestants.with_numpy import CrossEntropy
from bench.networks import Conv, Pool
from bench.reference import Arrays, Run, by_name, parameters

BLOCK_OF_ROWS = 100


def image_training(case: Case, given: Arrays, kind: type[Network] | None = None) -> Run:
    """One step after another."""
    x, t = given["x"], given["t"]

    def run(steps: int) -> Arrays:
        network, losses = (kind or Network)(case, given), []
        for rows in given["batches"][:steps]:
            losses.append(network.step(x[rows], t[rows]))
        return {"losses": np.array(losses)} | by_name(network.params)

    return run


def image_prediction(case: Case, given: Arrays, kind: type[Network] | None = None) -> Run:
    """Scores and softmax, in blocks of rows."""
    x, network = given["x"], (kind or Network)(case, given)

    def run(calls: int) -> Arrays:
        for _ in range(calls):
            blocks = range(0, len(x), BLOCK_OF_ROWS)
            z = np.concatenate([network.scores(x[n : n + BLOCK_OF_ROWS]) for n in blocks])
            e = np.exp(z - z.max(axis=1, keepdims=True))
            y = e / e.sum(axis=1, keepdims=True)
        return {"y": y}

    return run


def image_job(case: Case, given: Arrays, kind: type[Network] | None = None) -> Run:
    """Training, and then the accuracy."""
    x, t, x_test = given["x"], given["t"], given["x_test"]

    def run(steps: int) -> Arrays:
        network = (kind or Network)(case, given)
        for rows in given["batches"][:steps]:
            network.step(x[rows], t[rows])
        blocks = range(0, len(x_test), BLOCK_OF_ROWS)
        found = [network.scores(x_test[n : n + BLOCK_OF_ROWS]).argmax(axis=1) for n in blocks]
        return {"accuracy": np.array([np.mean(np.concatenate(found) == given["t_test"])])}

    return run


class Filters:
    """Filters with ReLU."""

    def __init__(self, layer: Conv, W: np.ndarray, b: np.ndarray):
        self.layer, self.W, self.b = layer, W, b

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Outputs (N, O, H, W)."""
        seen = patches(self.layer, x)
        N, _, H, W, *_ = seen.shape
        self.shape = x.shape
        self.seen = seen.transpose(0, 1, 4, 5, 2, 3).reshape(N, -1, H * W)
        y = self.W.reshape(len(self.W), -1) @ self.seen
        y += self.b[:, None]
        self.y = np.maximum(y, 0, out=y)
        return y.reshape(N, -1, H, W)

    def backward(self, dy: np.ndarray, is_first: bool) -> np.ndarray | None:
        """The gradients, and the deltas of x unless nobody needs them."""
        N, O, H, W = dy.shape
        dz = dy.reshape(N, O, -1) * (self.y > 0)
        self.dW = (dz @ self.seen.transpose(0, 2, 1)).sum(axis=0).reshape(self.W.shape)
        self.db = dz.sum(axis=(0, 2))
        if is_first:
            return None
        size = self.layer.size
        each = self.W.reshape(O, -1).T @ dz
        each = each.reshape(N, -1, size, size, H, W).transpose(0, 2, 3, 1, 4, 5)
        return summed(self.layer, each, self.shape)


def patches(layer: Conv, x: np.ndarray) -> np.ndarray:
    """What each filter sees at each place, (N, C, H, W, h, w), a view."""
    pad = layer.pad
    if pad:
        x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    return sliding_window_view(x, (layer.size, layer.size), axis=(2, 3))


def summed(layer: Conv, each: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Deltas of x, from those of what each pixel (N, h, w, C, H, W) of a filter has seen."""
    (N, C, lines, pixels), pad = shape, layer.pad
    H, W = each.shape[4:]
    dx = np.zeros((N, C, lines + 2 * pad, pixels + 2 * pad), each.dtype)
    for i in range(layer.size):
        for j in range(layer.size):
            dx[:, :, i : i + H, j : j + W] += each[:, i, j]
    return dx[:, :, pad : pad + lines, pad : pad + pixels]


class Largest:
    """Pooling: as many views of the images as a window has pixels."""

    W = None

    def __init__(self, layer: Pool):
        self.size = layer.size

    def forward(self, x: np.ndarray) -> np.ndarray:
        """The largest pixel of each window."""
        self.x, views = x, self.views(x)
        y = views[0].copy()
        for view in views[1:]:
            np.maximum(y, view, out=y)
        self.y = y
        return y

    def backward(self, dy: np.ndarray, is_first: bool) -> np.ndarray:
        """Deltas of x, each to the first of the largest."""
        dx = np.zeros_like(self.x)
        left = dy.copy()
        for pixel, delta in zip(self.views(self.x), self.views(dx), strict=True):
            np.multiply(left, pixel == self.y, out=delta)
            left -= delta
        return dx

    def views(self, x: np.ndarray) -> list[np.ndarray]:
        """Each pixel of all windows."""
        size, (H, W) = self.size, x.shape[2:]
        ends = H // size * size, W // size * size
        places = range(size)
        return [x[:, :, i : ends[0] : size, j : ends[1] : size] for i in places for j in places]


class Units:
    """A dense layer, with ReLU unless it is the last."""

    def __init__(self, W: np.ndarray, b: np.ndarray, is_last: bool):
        self.W, self.b, self.is_last = W, b, is_last

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Outputs of rows, or of images, channel by channel."""
        self.shape, self.x = x.shape, x.reshape(len(x), -1)
        self.y = self.x @ self.W
        self.y += self.b
        if not self.is_last:
            np.maximum(self.y, 0, out=self.y)
        return self.y

    def backward(self, dy: np.ndarray, is_first: bool) -> np.ndarray:
        """The gradients, and the deltas of x."""
        dz = dy if self.is_last else dy * (self.y > 0)
        self.dW, self.db = self.x.T @ dz, dz.sum(axis=0)
        return (dz @ self.W.T).reshape(self.shape)


class Network:
    """Layers, and Adam."""

    kinds: tuple[type, type] = (Filters, Largest)

    def __init__(self, case: Case, given: Arrays):
        assert case.network is not None
        self.params = parameters(given, case.dtype)
        self.layers: list[Any] = []
        filters, largest = self.kinds
        pairs = list(zip(self.params[::2], self.params[1::2], strict=True))
        for layer in case.network.layers:
            is_conv = isinstance(layer, Conv)
            self.layers.append(filters(layer, *pairs.pop(0)) if is_conv else largest(layer))
        while pairs:
            self.layers.append(Units(*pairs.pop(0), not pairs))
        self.memories = [(np.zeros_like(p), np.zeros_like(p)) for p in self.params]
        self.loss = CrossEntropy(case.batch, case.network.dense[-1], self.params[0].dtype.name)
        self.lr, self.steps = case.lr, 0

    def scores(self, x: np.ndarray) -> np.ndarray:
        """What the softmax is taken of."""
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def step(self, x: np.ndarray, t: np.ndarray) -> float:
        """A step; its loss before the update."""
        delta: Any = self.scores(x)
        loss = self.loss(delta, t, 1 / len(x))
        for layer in reversed(self.layers):
            delta = layer.backward(delta, layer is self.layers[0])
        self.steps += 1
        weighted = [layer for layer in self.layers if layer.W is not None]
        gradients = [g for layer in weighted for g in (layer.dW, layer.db)]
        rate = self.lr * np.sqrt(1 - 0.999**self.steps) / (1 - 0.9**self.steps)
        for p, g, (m, s) in zip(self.params, gradients, self.memories, strict=True):
            m += 0.1 * (g - m)
            s += 0.001 * (g * g - s)
            p -= float(rate) * m / (np.sqrt(s) + 1e-7)
        return loss
