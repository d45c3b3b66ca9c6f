"""Kernels of images, and a network of their layers in memory that is NaN where nothing lies."""

import numpy as np
from image_reference import MOST_SUMS, outputs_of
from kernel_entries import Memory, PartEntry, entry_of, group_of, table_for
from numpy.testing import assert_array_equal
from product_entries import rule_of

from fastnn.compiler.tap_products import Filters, Planes
from fastnn.compiler.tile_products import Matrix
from fastnn.kernels import convolution, images, layers
from fastnn.kernels.activations import ACTIVATION_CODES
from fastnn.kernels.activations import BACKWARD as ACTIVATION_BACKWARD
from fastnn.kernels.activations import FORWARD as ACTIVATION_FORWARD
from fastnn.kernels.convolution import FilterSums, Sums
from fastnn.kernels.groups import (
    GATHER,
    GRADIENT,
    Data,
    Layer,
    Network,
    Place,
    Rows,
    Scratch,
    Share,
)
from fastnn.kernels.images import Image
from fastnn.kernels.rules import UPDATE_BY_SUMS
from fastnn.training.images import most_sums
from fastnn.training.parameters import Parameters

_convolve, _gradient = map(PartEntry, (convolution.CONVOLVE, convolution.FILTER_GRADIENT))
_rows_to_lanes, _lanes_to_rows = map(entry_of, (images.rows_to_lanes, images.lanes_to_rows))


class Lanes:
    """A group of images (N, C, H, W) in flat memory, with room between lines and pixels.

    The room beside pixels, `sides`, is of zeros, all other is NaN. Pixels are `step` apart.
    """

    def __init__(self, x, margin=0, gap=0, sides=(0, 0), step=1):
        group, (_, C, H, W) = len(x), x.shape
        self.pixel = group * step
        width = (W + sum(sides)) * self.pixel
        line, plane = width + gap, H * (width + gap) + gap
        self.flat = np.full(2 * margin + C * plane, np.nan, x.dtype)
        shape, strides = (C, H, W + sum(sides), group), (plane, line, self.pixel, 1)
        here = _view(self.flat[margin:], shape, strides)
        here[...] = 0
        self.array = here[:, :, sides[0] : sides[0] + W]
        self.array[...] = x.transpose(1, 2, 3, 0)
        self.planes = Planes(self.flat, margin + sides[0] * self.pixel, plane, line, self.pixel)

    def moved(self, lines, pixels):
        """Planes whose first pixel lies so much further."""
        p = self.planes
        return p._replace(at=p.at + lines * p.line + pixels * p.pixel)

    def read(self):
        """The images; nothing may have been written beside them."""
        found = self.array.transpose(3, 0, 1, 2).copy()
        self.array[...] = np.nan
        assert np.isnan(self.flat).all(), "a kernel wrote outside of its output"
        return found


def _view(flat, shape, strides):
    strides = [n * flat.itemsize for n in strides]
    return np.lib.stride_tricks.as_strided(flat, shape, strides)


def convolve(x, W, b, stride=(1, 1), pad=(0, 0), step=1, activation="identity", **layout):
    """Outputs of a group of images; `step` is how far their pixels lie apart, in pixels.

    Above and below the images nothing may be read, left and right of them are zeros.
    """
    (_, C, H, width), (O, _, lines, pixels) = x.shape, W.shape
    size = outputs_of(x.shape[2:], W.shape[2:], stride, pad)
    given = Lanes(x, sides=(pad[1], pad[1]), **layout)
    out = Lanes(np.full((len(x), O, *size), np.nan, x.dtype), step=step, **layout)
    # Filters as a network has them: a row for each tap.
    filters = Memory(W.transpose(1, 2, 3, 0).reshape(-1, O), **layout)
    row, bias = filters.row, Memory(b[None], **layout)
    sums = Sums(
        *(O, *size, C, lines, pixels, *stride),
        *(pad[0], pad[0] + H, pad[1], pad[1] + width),
        *(table_for(x.dtype).address, ACTIVATION_CODES[activation]),
    )
    taps = Filters(filters.flat, filters.at, 1, lines * pixels * row, pixels * row, row)
    start = Matrix(bias.flat, bias.at, 1, 1)
    if activation != "identity":
        table_for(x.dtype).have(ACTIVATION_FORWARD, sums.activation)
    _convolve(0, sums, given.moved(-pad[0], -pad[1]), taps, start, out.planes)
    return out.read()


def filter_gradient(d, x, size, before, stride=(1, 1), step=1, **layout):
    """Gradients (O, C, h, w) that were there before, and those of a group of images."""
    (_, O, *outputs), C = d.shape, x.shape[1]
    deltas, given = Lanes(d, step=step, **layout), Lanes(x, **layout)
    out = Memory(before.transpose(1, 2, 3, 0).reshape(-1, O), **layout)
    fold = np.full(convolution.FOLD + 3, np.nan, d.dtype)
    sums = FilterSums(O, *outputs, C, *size, *stride)
    _gradient(0, sums, deltas.planes, given.planes, out.matrix, Place(fold, 3))
    assert np.isnan(fold[:3]).all(), "a kernel wrote outside of its scratch"
    return out.read().reshape(C, *size, O).transpose(3, 0, 1, 2)


def rows_to_lanes(rows, units, **layout):
    """As many rows as a group has; lane r of row n of the result is number n of row r."""
    out = Memory(np.full((units, len(rows)), np.nan, rows.dtype), **layout)
    _rows_to_lanes(units, Memory(rows, **layout).matrix, out.matrix)
    return out.read()


def lanes_to_rows(lanes, **layout):
    """The same turned back."""
    units, group = lanes.shape
    out = Memory(np.full((group, units), np.nan, lanes.dtype), **layout)
    _lanes_to_rows(units, Memory(lanes, **layout).matrix, out.matrix)
    return out.read()


# Layers ------------------------------------------------------------------------------------

_forward, _backward, _update = map(PartEntry, (layers.FORWARD, layers.BACKWARD, layers.UPDATE))


class ImageLayers:
    """Layers of images, and a batch of `count` rows on their way through them.

    The memory of a step is NaN wherever the call of a layer finds nothing, and a call may write
    only where its outputs are.
    """

    def __init__(self, chain, dtype, count, dropout=(), outputs=3, seed=0, gathers=True):
        self.dtype, self.count, self.group = np.dtype(dtype), count, group_of(dtype)
        self.images = chain
        params = Parameters((chain[0].units, chain[-1].units, outputs), self.dtype, chain)
        rng = np.random.default_rng(seed)
        for name, view in params.items():
            params[name] = rng.normal(size=view.shape)
        self.params, plan = params, params.plan(count, dropout=dropout, gathers=gathers)
        self.table = table_for(dtype)
        rows = plan.table.copy()
        rows[:, Layer._fields.index("parts")] = self.table.address
        split = len(Layer._fields)
        self.layers = [Layer(*row[:split]) for row in rows.tolist()]
        self.places = [Image(*row[split:]) for row in rows.tolist()]
        self.network = Network(rows, 0, params.block)
        self.values = np.full(plan.values_size, np.nan, dtype)
        self.deltas = np.full(plan.deltas_size, np.nan, dtype)
        self.work = np.full(plan.work_size, np.nan, dtype)
        self.work[: int(GRADIENT)] = 0
        self._have(chain)

    def _have(self, chain):
        for choice in (convolution.CONVOLVE, convolution.FILTER_GRADIENT):
            self.table.have(choice)
        for name in {image.activation for image in chain} - {"identity"}:
            for choice in (ACTIVATION_FORWARD, ACTIVATION_BACKWARD):
                self.table.have(choice, ACTIVATION_CODES[name])

    # Where things lie

    def pixel(self, slot=0):
        """How many images a pixel has room for: of the last group as few as will do."""
        images = self.places[0].fewest
        while images < min(self.group, self.count - slot):
            images *= 2
        return images

    def _line(self, pixels, left, width, pixel):
        """A line has room for whole groups from its first pixel on."""
        whole = -(-width * pixel // self.group) * self.group
        return max(pixels * pixel, left * pixel + whole)

    def _lie(self, number, slot, deltas):
        """Where the memory of a layer begins, its first pixel, and the strides of its pixels."""
        layer, image, pixel = self.layers[number], self.places[number], self.pixel(slot)
        if deltas:
            left, steps = image.deltas_left, (image.deltas_step_y, image.deltas_step_x)
            line = self._line(image.deltas_pixels, left, image.width, pixel)
            strides = image.deltas_lines * line, steps[0] * line, steps[1] * pixel, 1
            return layer.dz, layer.dz + left * pixel, strides
        top, left = image.border_y, image.border_x
        line = self._line(image.width + 2 * left, left, image.width, pixel)
        at = layer.y + slot % image.block * layer.y_row
        strides = (image.height + 2 * top) * line, line, pixel, 1
        return at, at + top * line + left * pixel, strides

    def _planes(self, number, slot, deltas):
        _, at, strides = self._lie(number, slot, deltas)
        image = self.places[number]
        shape = image.channels, image.height, image.width, self.pixel(slot)
        return _view(self.work[at:], shape, strides)

    def _room(self, number, slot, deltas):
        """Where in `work` all lies that belongs to the outputs or deltas of a group."""
        at, _, strides = self._lie(number, slot, deltas)
        end = at + self.places[number].channels * strides[0]
        if not deltas and self.pixel(slot) < self.group:  # and what is read with the last line
            end += self.group
        return slice(at, end)

    def read(self, number, slot=0, deltas=False):
        return self._planes(number, slot, deltas).transpose(3, 0, 1, 2).copy()

    def write(self, number, x, slot=0, deltas=False):
        """Outputs or deltas as a kernel would leave them, with zeros around and between."""
        self.work[self._room(number, slot, deltas)] = 0
        self._planes(number, slot, deltas)[...] = x.transpose(1, 2, 3, 0)

    def is_zero_around(self, number, slot=0, deltas=False):
        """Whether all is zero that belongs to a layer and is no pixel."""
        kept = self.work.copy()
        self._planes(number, slot, deltas)[...] = 0
        found = not self.work[self._room(number, slot, deltas)].any()
        self.work[:] = kept
        return found

    # Calls

    def _rows(self, slot, numbers, first, salt):
        numbers = (
            np.arange(slot, min(slot + self.group, self.count)) if numbers is None else numbers
        )
        none = np.empty(0, self.dtype)
        return Rows(numbers, len(numbers), int(first), slot, salt, False, none, numbers, self.count)

    def _scratch(self):
        cursor = np.zeros((1, self.count), np.int64)
        return Scratch(self.values, self.deltas, self.work, cursor, np.empty(0))

    def _data(self, x):
        nothing = np.empty(0, {4: np.uint16, 8: np.int32}[self.dtype.itemsize])
        return Data(x, np.empty((0, 2), np.int64), nothing, x.ravel()[:0])

    def _call(self, call, number, *arguments, work=(), values=(), deltas=()):
        """Make a call; nothing but these parts of our memory may change."""
        mine = ((self.work, work), (self.values, values), (self.deltas, deltas))
        kept = [array.copy() for array, _ in mine]
        call(self.layers[number].kind, self.network, self.layers[number], *arguments)
        for before, (array, parts) in zip(kept, mine, strict=True):
            others = np.ones(array.size, bool)
            for part in parts:
                others[part] = False
            assert_array_equal(array[others], before[others])

    def forward(self, number, slot=0, x=None, numbers=None, first=GATHER, salt=0):
        """Make outputs of a group of images, for the first layer from rows of x."""
        x = np.empty((0, self.images[0].units), self.dtype) if x is None else x
        rows, layer = self._rows(slot, numbers, first, salt), self.layers[number]
        arguments = (self._data(x), rows, self._scratch(), 0, layer.vectors)
        if number == len(self.images) - 1:
            self._call(
                _forward, number, *arguments, values=[self._part(layer.y, layer.y_row, slot)]
            )
            return
        mine = [self._room(number, slot, False)]
        if number == 0:  # also copies of rows, and images that have no border yet
            plain = self.images[0].units * self.group
            mine += [self._part(layer.x, layer.x_row), slice(layer.dz, layer.dz + plain)]
        self._call(_forward, number, *arguments, work=mine)

    def _part(self, at, row, slot=0):
        return slice(at + slot * row, at + (slot + self.group) * row)

    def backward(self, number, slot=0, salt=0):
        """Make deltas of the layer below, and gradients of filters."""
        rows, layer = self._rows(slot, None, GATHER, salt), self.layers[number]
        below, last = self.layers[number - 1], number == len(self.images) - 1
        mine, deltas = [self._room(number - 1, slot, True)], []
        if layer.inputs:
            mine += [slice(int(GRADIENT), int(GRADIENT) + convolution.FOLD)]
            deltas = [slice(layer.x, layer.x + most_sums(self.count, self.dtype) * layer.x_row)]
        if layer.kind == layers.KIND_CODES["max_pool"]:  # dy becomes dz in place
            mine += [self._room(number, slot, True)]
        if last:  # deltas of no row
            deltas = [self._part(layer.dz, layer.y_row, slot)]
        arguments = (below, rows, self._scratch(), 0, below.vectors)
        self._call(_backward, number, *arguments, work=mine, deltas=deltas)

    def update(self, number, rule="store", chunks=1, **options):
        """Gradients, or parameters after an update, of a layer of filters: taps, and biases."""
        how = rule_of(rule, np.full(self.params.block.size, np.nan, self.dtype), **options)
        self.table.have(UPDATE_BY_SUMS, how.code)
        rows = self._rows(0, np.arange(self.count), GATHER, 0)
        layer, found = self.layers[number], how.memory if rule == "store" else self.params.block
        for chunk in range(chunks):
            low, high = (layer.inputs * n // chunks for n in (chunk, chunk + 1))
            share = Share(low, high, chunk, chunks, chunk == chunks - 1)
            nothing = self._data(np.empty((0, 1), self.dtype))
            _update(layer.kind, self.network, layer, how, nothing, rows, self._scratch(), share)
        end = layer.biases + layer.weights_row
        return found[layer.weights : end].reshape(layer.inputs + 1, -1)[:, : layer.outputs]

    def gradients(self, number):
        """Of each part of the batch the gradients of filters and biases, (parts, O, C, h, w)."""
        layer, image, group = self.layers[number], self.images[number], self.group
        parts = min(-(-self.count // group), MOST_SUMS)
        rows = _view(
            self.deltas[layer.x + layer.weights :],
            (parts, layer.inputs + 1, layer.outputs),
            (layer.x_row, layer.weights_row, 1),
        )
        filters = rows[:, :-1].reshape(parts, -1, *image.size, layer.outputs)
        return filters.transpose(0, 4, 1, 2, 3).copy(), rows[:, -1].copy()

    def rows_of_flatten(self, array, slot=0):
        """The outputs of the last layer, or their deltas, as rows in `values` or `deltas`."""
        layer = self.layers[len(self.images) - 1]
        at = (layer.y if array is self.values else layer.dz) + slot * layer.y_row
        return _view(array[at:], (self.group, layer.outputs), (layer.y_row, 1))
