"""Networks of images as the book's own layers compute them; the code is ours, not the book's.

What each filter sees at each place is a row of a matrix (N * H * W, C * h * w), so that a layer is
one product forwards and two back, and pooling takes the largest of each row of another such matrix.
In float64, whatever the images are, as the book's `im2col` makes it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bench.cases import Case
from bench.contestants import with_numpy_images
from bench.contestants.with_numpy_images import Filters, Network, patches, summed
from bench.networks import Pool
from bench.reference import Arrays, Run


def image_training(case: Case, given: Arrays) -> Run:
    """As NumPy's."""
    return with_numpy_images.image_training(*_double(case, given), Documented)


def image_prediction(case: Case, given: Arrays) -> Run:
    """As NumPy's."""
    return with_numpy_images.image_prediction(*_double(case, given), Documented)


def _double(case: Case, given: Arrays) -> tuple[Case, Arrays]:
    images = given["x"].astype("float64")
    return replace(case, dtype="float64"), given | {"x": images}


class Rows(Filters):
    """Filters with ReLU, what each has seen in rows."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Outputs (N, O, H, W), a view of what lies pixel by pixel."""
        self.shape, seen = x.shape, patches(self.layer, x)
        N, _, H, W, *_ = seen.shape
        self.rows = seen.transpose(0, 2, 3, 1, 4, 5).reshape(N * H * W, -1)
        y = self.rows @ self.W.reshape(len(self.W), -1).T
        y += self.b
        np.maximum(y, 0, out=y)
        self.outputs = y
        return y.reshape(N, H, W, -1).transpose(0, 3, 1, 2)

    def backward(self, dy: np.ndarray, is_first: bool) -> np.ndarray | None:
        """The gradients, and the deltas of x unless nobody needs them."""
        N, O, H, W = dy.shape
        dz = dy.transpose(0, 2, 3, 1).reshape(-1, O) * (self.outputs > 0)
        self.dW = (dz.T @ self.rows).reshape(self.W.shape)
        self.db = dz.sum(axis=0)
        if is_first:
            return None
        size, C = self.layer.size, self.shape[1]
        each = (dz @ self.W.reshape(O, -1)).reshape(N, H, W, C, size, size)
        return summed(self.layer, each.transpose(0, 4, 5, 3, 1, 2), self.shape)


class LargestOfRows:
    """Pooling, each window a row."""

    W = None

    def __init__(self, layer: Pool):
        self.size = layer.size

    def forward(self, x: np.ndarray) -> np.ndarray:
        """The largest pixel of each window, and which it was."""
        (N, C, H, W), size = x.shape, self.size
        self.shape, lines, pixels = x.shape, H // size, W // size
        whole = x[:, :, : lines * size, : pixels * size].reshape(N, C, lines, size, pixels, size)
        rows = whole.transpose(0, 2, 4, 1, 3, 5).reshape(-1, size * size)
        self.largest = rows.argmax(axis=1)
        y = rows.max(axis=1)
        return y.reshape(N, lines, pixels, C).transpose(0, 3, 1, 2)

    def backward(self, dy: np.ndarray, is_first: bool) -> np.ndarray:
        """Deltas of x."""
        (N, C, lines, pixels), size = dy.shape, self.size
        rows = np.zeros((dy.size, size * size), dy.dtype)
        rows[np.arange(dy.size), self.largest] = dy.transpose(0, 2, 3, 1).ravel()
        spread = rows.reshape(N, lines, pixels, C, size, size).transpose(0, 3, 1, 4, 2, 5)
        dx = np.zeros(self.shape, dy.dtype)
        dx[:, :, : lines * size, : pixels * size] = spread.reshape(N, C, lines * size, -1)
        return dx


class Documented(Network):
    """A network of these layers."""

    kinds = (Rows, LargestOfRows)
