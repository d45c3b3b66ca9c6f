"""Plans: a network, and the scratch of a pass through it, as the integers that kernels read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fastnn.compiler.parts import table_of
from fastnn.compiler.tiles import GROUP_BYTES, TILE_VECTORS, VECTOR_BYTES
from fastnn.kernels import narrow_outputs
from fastnn.kernels.groups import PANEL, ROW_BLOCK, Layer
from fastnn.kernels.images import Image
from fastnn.kernels.layers import KINDS
from fastnn.training.data import column_kind
from fastnn.training.images import ImageLayer, most_sums, row_of_images
from fastnn.training.images import placed as image_places
from fastnn.training.parts import Parts


def aligned_zeros(size: int, dtype: np.dtype) -> np.ndarray:
    """Zeros that begin on a 64-byte boundary, so that no vector lies across two cache lines."""
    nbytes = size * dtype.itemsize
    buffer = np.zeros(nbytes + GROUP_BYTES, np.uint8)
    start = -buffer.ctypes.data % GROUP_BYTES
    return buffer[start : start + nbytes].view(dtype)


def padded(width: int, dtype: np.dtype, unit: int = VECTOR_BYTES) -> int:
    """Elements of a row of `width` in memory.

    Whole units of so many bytes, and an odd number of them: rows a power of two
    apart would share a few sets of the cache.
    """
    units = -(-width * dtype.itemsize // unit)
    if units > 1:
        units |= 1
    return units * unit // dtype.itemsize


class Plan:
    """A network and the scratch of one pass, as the kernels read them.

    Attributes
    ----------
    table : ndarray of int64
        A row for each layer, in the order of `Layer`.
    values_size, deltas_size, work_size : int
        Elements of the arrays of `Scratch`; `work` is for one chunk.
    parts : Parts
        Of the kernels, those that are at hand.
    fused : bool
        Whether steps on single rows can be made in a loop that fuses all layers.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        rows: int,
        dtype: np.dtype,
        gathers: bool,
        images: tuple[ImageLayer, ...] = (),
    ):
        kinds = list(KINDS.values())
        self.fused = all(kinds[layer.kind].fused for layer in layers)
        widest = max(padded(max(layer.inputs, layer.outputs), dtype) for layer in layers)
        self.work_size = int(PANEL) + widest * TILE_VECTORS * VECTOR_BYTES // dtype.itemsize
        self.values_size = self.deltas_size = 0
        self._images: list[Image] = []
        placed = list(layers)
        if images:
            group = GROUP_BYTES // dtype.itemsize
            rows = -(-rows // group) * group
            self._place_images(placed, images, rows, dtype, gathers)
        self._place_rows(placed, len(images), rows, dtype, gathers)
        if images and not gathers:
            self._place_work(rows)
        table = table_of(dtype, column_kind(images[0].units if images else layers[0].inputs))
        placed = [layer._replace(parts=table.address) for layer in placed]
        self.table, self.parts = self._table(placed), Parts(table, placed, self._images)

    def _place_rows(
        self, layers: list[Layer], first: int, rows: int, dtype: np.dtype, gathers: bool
    ) -> None:
        """Values and deltas of the layers of rows, and of "flatten" below them."""
        x = x_row = 0
        if not first and gathers:
            x_row = padded(layers[0].inputs, dtype, GROUP_BYTES)
            self.values_size = rows * x_row
        for number in range(max(first - 1, 0), len(layers)):
            layer, y_row = layers[number], padded(layers[number].outputs, dtype, GROUP_BYTES)
            y, dz = self.values_size, self.deltas_size
            layers[number] = layer._replace(x=x, x_row=x_row, y=y, y_row=y_row, dz=dz)
            x, x_row = y, y_row
            self.values_size += rows * y_row
            self.deltas_size += rows * y_row
        layers[-1] = layers[-1]._replace(scratch=self.values_size)
        self.values_size += -(-rows // ROW_BLOCK) * narrow_outputs.SCRATCH

    def _place_images(
        self,
        layers: list[Layer],
        images: tuple[ImageLayer, ...],
        rows: int,
        dtype: np.dtype,
        gathers: bool,
    ) -> None:
        """What layers of images have in `work`, and gradients of filters, which are deltas."""
        group = GROUP_BYTES // dtype.itemsize
        first = -(-self.work_size // group) * group if gathers else 0
        places, self.work_size = image_places(images, dtype, first, goes_back=gathers)
        last = [layer for layer in layers[: len(images)] if layer.inputs][-1:]
        size = last[0].biases + last[0].weights_row if last else 0
        for number, place in enumerate(places):
            x, x_row = place.x, row_of_images(images[0].units, dtype)
            if layers[number].inputs:
                x, x_row = self.deltas_size, size
            own = {"x": x, "x_row": x_row, "y": place.y, "y_row": place.y_row, "dz": place.dz}
            layers[number] = layers[number]._replace(**own)
            self._images.append(place.image._replace(dropped=layers[number].dropped))
            layers[number] = layers[number]._replace(dropped=0)  # which is for rows
        if gathers:
            self.deltas_size += most_sums(rows, dtype) * size

    def _place_work(self, rows: int) -> None:
        """The `work` of each chunk of a pass that makes no deltas, in `values`."""
        at, size = self.values_size, self.work_size
        self._images = [image._replace(work=at, work_size=size) for image in self._images]
        self.values_size += -(-rows // ROW_BLOCK) * size

    def _table(self, layers: list[Layer]) -> np.ndarray:
        if not self._images:
            return np.array(layers, np.int64)
        nothing = [0] * len(Image._fields)
        behind = [*self._images, *[nothing] * (len(layers) - len(self._images))]
        return np.array([[*a, *b] for a, b in zip(layers, behind, strict=True)], np.int64)
