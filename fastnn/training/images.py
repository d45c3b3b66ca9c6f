"""Layers of images: where their outputs, deltas and gradients lie, as the kernels read it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fastnn.compiler.tiles import GROUP_BYTES
from fastnn.kernels.activations import ACTIVATION_CODES
from fastnn.kernels.groups import ROW_BLOCK
from fastnn.kernels.images import MOST_SUMS, Image

# Bytes of outputs of images that go through a network together, if it is more than a group.
BLOCK_BYTES = 4 << 20
# Images beyond whole groups that are computed one by one: LeNet predicts one in 19 us, five in 72,
# and a group in 91, however few are in it.
MOST_FEW = 5


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
        y_row = image.channels * made.plane // group
        found.append(Room(made, first if number == 0 else 0, at, y_row, 0))
        at += block * y_row
    if not goes_back:
        found, at = _with_few(found, images, group, at)
    for number, places in enumerate(found):
        found[number] = places._replace(dz=at)
        if goes_back or number == 0:  # in which images without a border lie
            at += places.image.deltas_size
    return found, at


def _with_few(
    places: list[Room], images: Sequence[ImageLayer], group: int, at: int
) -> tuple[list[Room], int]:
    """Room for the outputs of one image by itself, if all filters go from pixel to pixel."""
    if any(layer.kind == "convolution" and layer.stride[1] > 1 for layer in images):
        return places, at
    found = []
    for place in places:
        image = place.image._replace(few=at, most_few=MOST_FEW)
        found.append(place._replace(image=image))
        at += -(-image.channels * image.few_plane // group) * group
    # Vectors are read beyond the last pixels.
    widest = max(layer.size[1] for layer in images)
    return found, at + -(-(widest + 2 * group) // group) * group


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
    line = (image.width + 2 * border_x) * group
    # Whole vectors are written from the first pixel on.
    few_line = border_x + max(-(-image.width // group) * group, image.width + border_x)
    plain = image.channels * image.height * image.width * group
    deltas = {
        "deltas_size": plain,
        "deltas_first": 0,
        "deltas_plane": image.height * image.width * group,
        "deltas_line": image.width * group,
        "deltas_pixel": group,
    }
    if number == 0 and not (border_y or border_x):
        deltas["deltas_size"] = 0
    if image.kind == "convolution" and number > 1:  # the deltas of its inputs are asked for
        deltas = _deltas_of_convolution(image, images[number - 1], group)
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
        (image.height + 2 * border_y) * line,
        line,
        **deltas,
        few=0,
        few_plane=(image.height + 2 * border_y) * few_line,
        few_line=few_line,
        most_few=0,
        block=block,
        work=0,
        work_size=0,
    )


def _deltas_of_convolution(image: ImageLayer, below: ImageLayer, group: int) -> dict[str, int]:
    """Deltas a stride apart; beside them zeros, as far as filters that are turned round reach."""
    lines = (image.height - 1) * image.stride[0] + 1
    left = max(image.size[1] - 1 - image.pad[1], 0)
    last = (image.width - 1) * image.stride[1]
    right = max(below.width - 1 + image.pad[1] - last, 0)
    width = left + last + 1 + right
    return {
        "deltas_size": image.channels * lines * width * group,
        "deltas_first": left * group,
        "deltas_plane": lines * width * group,
        "deltas_line": image.stride[0] * width * group,
        "deltas_pixel": image.stride[1] * group,
    }


def most_sums(rows: int, dtype: np.dtype) -> int:
    """Parts of a batch of up to so many rows that have gradients of their own."""
    group = GROUP_BYTES // dtype.itemsize
    return min(-(-rows // group), MOST_SUMS)
