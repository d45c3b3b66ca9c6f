"""Layers of images: where their outputs, deltas and gradients lie, as the kernels read it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fastnn.compiler.tiles import GROUP_BYTES
from fastnn.kernels.activations import ACTIVATION_CODES
from fastnn.kernels.groups import ROW_BLOCK
from fastnn.kernels.images import MOST_SUMS, Image, has_border

# Bytes of outputs of images that go through a network together, if it is more than a group.
BLOCK_BYTES = 4 << 20


class ImageLayer(NamedTuple):
    """What a layer of images makes of those of the layer below it."""

    kind: str  # of kernels.layers.KINDS: "images" first, "flatten" last
    channels: int
    height: int
    width: int
    size: tuple[int, int] = (1, 1)  # of filters, or windows
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int] = (0, 0)
    activation: str = "identity"

    @property
    def units(self) -> int:
        """Numbers that it makes of an image."""
        return self.channels * self.height * self.width


class Weighted(NamedTuple):
    """The weights of a layer: rows and columns of them, and multiply-adds for each."""

    inputs: int
    outputs: int
    uses: int


def weights_of(images: Sequence[ImageLayer]) -> list[Weighted]:
    """Of each layer the weights; no inputs if it has none."""
    found = []
    for number, image in enumerate(images):
        if image.kind == "convolution":
            taps = images[number - 1].channels * image.size[0] * image.size[1]
            found.append(Weighted(taps, image.channels, image.height * image.width))
        else:
            found.append(Weighted(0, image.units if image.kind == "flatten" else 0, 0))
    return found


class Room(NamedTuple):
    """Where the outputs and deltas of a layer of images lie in `work`."""

    image: Image
    x: int
    y: int
    y_row: int
    dz: int


def placed(
    images: Sequence[ImageLayer], dtype: np.dtype, first: int, goes_back: bool
) -> tuple[list[Room], int]:
    """Places from an element of `work` on, and where they end.

    If no pass `goes_back`, outputs of a group are enough, and there are no deltas.
    """
    group = GROUP_BYTES // dtype.itemsize
    at, found = first + group * row_of_images(images[0].units, dtype), []
    block = _block(images, dtype) if goes_back else group
    for number, image in enumerate(images[:-1]):  # but for "flatten", which makes rows
        made = _image(images, number, group, block)
        height, width = image.height + 2 * made.border_y, image.width + 2 * made.border_x
        # And a group behind each group: whole vectors are written from its last pixel on.
        y_row = image.channels * height * width + 1
        found.append(Room(made, first if number == 0 else 0, at, y_row, 0))
        at += block * y_row
    for number, places in enumerate(found):
        found[number], made = places._replace(dz=at), places.image
        # The first layer has none, but for images that have no border yet.
        if has_border.py_func(made) if number == 0 else goes_back:
            at += made.channels * made.deltas_lines * made.deltas_pixels * group + group
    return found, at


def row_of_images(units: int, dtype: np.dtype) -> int:
    """Elements of a row of data that is copied, in whole groups."""
    group = GROUP_BYTES // dtype.itemsize
    return -(-units // group) * group


def _border(images: Sequence[ImageLayer], number: int) -> tuple[int, int]:
    """Lines and pixels of zeros around the outputs of a layer, for the one above it."""
    return images[number + 1].pad


def _block(images: Sequence[ImageLayer], dtype: np.dtype) -> int:
    """Rows that go through all layers of images before the layers behind these: whole groups."""
    group, units = GROUP_BYTES // dtype.itemsize, 0
    for number, image in enumerate(images[:-1]):
        y, x = _border(images, number)
        units += image.channels * (image.height + 2 * y) * (image.width + 2 * x)
    rows = BLOCK_BYTES // (units * dtype.itemsize)
    return max(min(rows, ROW_BLOCK) // group, 1) * group


def _image(images: Sequence[ImageLayer], number: int, group: int, block: int) -> Image:
    image, (border_y, border_x) = images[number], _border(images, number)
    deltas = Deltas(image.height, image.width)
    if image.kind == "convolution" and number > 1:  # the deltas of its inputs are asked for
        deltas = _deltas_of_convolution(image, images[number - 1])
    return Image(
        image.channels,
        image.height,
        image.width,
        *image.size,
        *image.stride,
        *image.pad,
        ACTIVATION_CODES[image.activation],
        0,
        border_y,
        border_x,
        *deltas,
        fewest=_fewest(images, group),
        block=block,
        work=0,
        work_size=0,
    )


def _fewest(images: Sequence[ImageLayer], group: int) -> int:
    """Images that pixels have room for at least: all, if filters do not go from one to the next."""
    strides = [layer.stride[1] for layer in images if layer.kind == "convolution"]
    return group if max(strides, default=1) > 1 else 1


class Deltas(NamedTuple):
    """The same fields of an `Image`."""

    lines: int
    pixels: int
    left: int = 0
    step_y: int = 1
    step_x: int = 1


def _deltas_of_convolution(image: ImageLayer, below: ImageLayer) -> Deltas:
    """Deltas a stride apart; beside them zeros, as far as filters that are turned round reach."""
    lines = (image.height - 1) * image.stride[0] + 1
    left = max(image.size[1] - 1 - image.pad[1], 0)
    last = (image.width - 1) * image.stride[1]
    right = max(below.width - 1 + image.pad[1] - last, 0)
    return Deltas(lines, left + last + 1 + right, left, *image.stride)


def most_sums(rows: int, dtype: np.dtype) -> int:
    """Parts of a batch of up to so many rows that have gradients of their own."""
    group = GROUP_BYTES // dtype.itemsize
    return min(-(-rows // group), MOST_SUMS)
