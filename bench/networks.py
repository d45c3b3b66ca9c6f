"""Networks of images: their layers, shapes, weights, and what they multiply."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple


class Conv(NamedTuple):
    """Square filters, a pixel apart, with ReLU."""

    filters: int
    size: int
    pad: int = 0


class Pool(NamedTuple):
    """The largest pixels of square windows that lie side by side."""

    size: int


class ImageNetwork(NamedTuple):
    """Layers of images, and dense ones behind them: ReLU, and at the end a softmax.

    Weights are W1, b1 of the first filters, (filters, C, h, w) as in the book and in PyTorch, and
    so on; dense ones are (I, O).
    """

    shape: tuple[int, int, int]
    layers: tuple[Conv | Pool, ...]
    dense: tuple[int, ...]

    @property
    def shapes(self) -> list[tuple[int, int, int]]:
        """Channels, height and width of what each layer of images reads, and of the outputs."""
        found = [self.shape]
        for layer in self.layers:
            C, H, W = found[-1]
            if isinstance(layer, Conv):
                more = 2 * layer.pad - layer.size + 1
                found.append((layer.filters, H + more, W + more))
            else:
                found.append((C, H // layer.size, W // layer.size))
        return found

    @property
    def weights(self) -> list[tuple[int, ...]]:
        """Shapes of the weights, a layer each."""
        filters: list[tuple[int, ...]] = [
            (layer.filters, shape[0], layer.size, layer.size)
            for layer, shape in zip(self.layers, self.shapes, strict=False)
            if isinstance(layer, Conv)
        ]
        widths = [math.prod(self.shapes[-1]), *self.dense]
        return filters + list(pairwise(widths))

    @property
    def multiply_adds(self) -> list[int]:
        """Of one image, forwards, a layer with weights each; zeros around images do not count."""
        filters = [
            shape[0] * layer.filters * math.prod(taps_inside(layer, side) for side in shape[1:])
            for layer, shape in zip(self.layers, self.shapes, strict=False)
            if isinstance(layer, Conv)
        ]
        return filters + list(map(math.prod, self.weights[len(filters) :]))


def taps_inside(layer: Conv, side: int) -> int:
    """How many taps of filters meet a pixel, along a side of the images, over all outputs."""
    firsts = range(-layer.pad, side + layer.pad - layer.size + 1)
    return sum(min(first + layer.size, side) - max(first, 0) for first in firsts)


LENET = ImageNetwork((1, 28, 28), (Conv(6, 5), Pool(2), Conv(16, 5), Pool(2)), (120, 84, 10))
# Of the book's chapters 7 and 8; its dropout is left out by all.
CH07 = ImageNetwork((1, 28, 28), (Conv(30, 5), Pool(2)), (100, 10))
CH08 = ImageNetwork(
    (1, 28, 28),
    (Conv(16, 3, 1), Conv(16, 3, 1), Pool(2), Conv(32, 3, 1), Conv(32, 3, 2), Pool(2),
     Conv(64, 3, 1), Conv(64, 3, 1), Pool(2)),
    (50, 10),
)  # fmt: skip
NETWORKS = {"LeNet": LENET, "ch07": CH07, "ch08": CH08}
