"""Layers of images for few of them, forwards: pixels of a line in lanes, one image after the other.

A group would take as long for one image as for all that it has room for.  Each output is the same
chain of sums, so its bits are those of an image in a group.
"""

from fastnn.compiler.jit import inner
from fastnn.compiler.tap_products import Filters, Planes, Window, tap_product
from fastnn.compiler.tile_products import Matrix
from fastnn.compiler.tiles import (
    element,
    flat,
    lanes_of,
    load_first,
    put,
    store,
    store_rows,
)
from fastnn.kernels.activations import activation_forward
from fastnn.kernels.convolution import TILE_OUTPUTS, filters_at, fits, planes_at
from fastnn.kernels.groups import (
    GATHER,
    ONE,
    Data,
    Layer,
    Network,
    Rows,
    Scratch,
    outputs_of,
    parts_of,
    rows_at,
)
from fastnn.kernels.images import image_of


@inner
def _outputs(network, number, work):
    """Outputs of a layer for one image."""
    image = image_of(network, number)
    at = image.few + image.border_y * image.few_line + image.border_x
    return Planes(work, at, image.few_plane, image.few_line, ONE)


@inner
def _whole(count, lanes):
    """So many elements, up to a whole vector."""
    return (count + lanes - 1) // lanes * lanes


@inner
def _clear_border(image, y):
    """Zeros around outputs, in place of what whole vectors have written there."""
    if image.border_y == 0 and image.border_x == 0:
        return
    zero, height, width = y.array.dtype.type(0), image.height, image.width
    for c in range(image.channels):
        first = y.at + c * y.plane
        for i in range(-image.border_y, height + image.border_y):
            inside = 0 <= i < height
            for j in range(-image.border_x, width + image.border_x):
                if not inside or j < 0 or j >= width:
                    put(y.array, first + i * y.line + j, zero)


@inner
def images_forward(
    network: Network, layer: Layer, data: Data, rows: Rows, scratch: Scratch, low: int, high: int
):
    """A row of data, line by line."""
    image, y = image_of(network, layer.number), _outputs(network, layer.number, scratch.work)
    X, lanes, width = flat(data.x), lanes_of(scratch.work), image.width
    row = rows.numbers[0] if rows.first == GATHER else rows.first
    at = row * data.x.shape[1]
    for line in range(image.channels * image.height):
        c, i = line // image.height, line % image.height
        to = y.at + c * y.plane + i * y.line
        for j in range(0, width, lanes):
            store(y.array, to + j, load_first(X, at + line * width + j, width - j, 1))
    _clear_border(image, y)


def _make_tiles(height, vectors):
    """Code for `height` outputs and so many vectors of pixels of a line."""

    @inner
    def tiles(o, y, x, window, images, weights, start, out):
        tile = tap_product(
            height,
            vectors,
            window,
            filters_at(weights, weights.at + o * weights.output),
            planes_at(images, images.at + x),
            start.array,
            start.at + o * start.row,
            start.row,
        )
        store_rows(out.array, out.at + o * out.plane + y * out.line + x, out.plane, tile)

    return tiles


def _make_line(height, narrower):
    """Code for a line of as many outputs as are left; `narrower` does the rest."""
    two, one = _make_tiles(height, 2), _make_tiles(height, 1)

    @inner
    def line(o, y, outputs, width, window, images, weights, start, out):
        lanes = lanes_of(out.array)
        while fits(height, outputs - o):
            for x in range(0, width, 2 * lanes):  # in whole vectors
                if width - x > lanes:
                    two(o, y, x, window, images, weights, start, out)
                else:
                    one(o, y, x, window, images, weights, start, out)
            o += height
        if o < outputs:
            narrower(o, y, outputs, width, window, images, weights, start, out)

    return line


@inner
def _none(o, y, outputs, width, window, images, weights, start, out):
    """Nothing is left after single outputs."""
    return


_line = _make_line(TILE_OUTPUTS, _make_line(4, _make_line(1, _none)))


@inner
def convolution_forward(
    network: Network, layer: Layer, data: Data, rows: Rows, scratch: Scratch, low: int, high: int
):
    """Outputs of an image, for filters that go from pixel to pixel of a line."""
    work, image, number = scratch.work, image_of(network, layer.number), layer.number
    below, x = image_of(network, number - 1), _outputs(network, number - 1, work)
    y, row = _outputs(network, number, work), layer.weights_row
    size = image.lines * image.pixels * row
    start = Matrix(network.params, layer.biases, ONE, ONE)
    for i in range(image.height):
        top = i * image.stride_y - image.pad_y
        first = max(-top, 0)
        end = max(min(below.height - top, image.lines), first)
        at = layer.weights + first * image.pixels * row
        filters = Filters(network.params, at, ONE, size, image.pixels * row, row)
        window = Window(below.channels, end - first, image.pixels)
        at = x.at + (top + first) * x.line - image.pad_x
        images = Planes(work, at, x.plane, x.line, ONE)
        _line(0, i, layer.outputs, image.width, window, images, filters, start, y)
    columns = _whole(image.width, lanes_of(work))
    for c in range(image.channels):
        lines = rows_at(work, y.at + c * y.plane, y.line)
        activation_forward(parts_of(network), image.activation, image.height, columns, lines)
    _clear_border(image, y)


@inner
def max_pool_forward(
    network: Network, layer: Layer, data: Data, rows: Rows, scratch: Scratch, low: int, high: int
):
    """The largest pixel of each window; NaN if one is."""
    work, image = scratch.work, image_of(network, layer.number)
    x, y = _outputs(network, layer.number - 1, work), _outputs(network, layer.number, work)
    for c in range(image.channels):
        for i in range(image.height):
            line = x.at + c * x.plane + i * image.stride_y * x.line
            for j in range(image.width):
                first = line + j * image.stride_x
                largest = element(work, first)
                for k in range(image.lines):
                    for m in range(image.pixels):
                        pixel = element(work, first + k * x.line + m)
                        if pixel > largest or pixel != pixel:
                            largest = pixel
                put(work, y.at + c * y.plane + i * y.line + j, largest)
    _clear_border(image, y)


@inner
def image_dropout_forward(
    network: Network, layer: Layer, data: Data, rows: Rows, scratch: Scratch, low: int, high: int
):
    """What it reads: where few images pass by themselves, nothing is dropped."""
    work, image = scratch.work, image_of(network, layer.number)
    x, y = _outputs(network, layer.number - 1, work), _outputs(network, layer.number, work)
    for line in range(image.channels * image.height):
        c, i = line // image.height, line % image.height
        for j in range(image.width):
            pixel = element(work, x.at + c * x.plane + i * x.line + j)
            put(work, y.at + c * y.plane + i * y.line + j, pixel)
    _clear_border(image, y)


@inner
def flatten_forward(
    network: Network, layer: Layer, data: Data, rows: Rows, scratch: Scratch, low: int, high: int
):
    """An image as a row."""
    below = layer.number - 1
    image, x = image_of(network, below), _outputs(network, below, scratch.work)
    y = outputs_of(layer, scratch.values, rows.slot)
    for line in range(image.channels * image.height):
        c, i = line // image.height, line % image.height
        at, to = x.at + c * x.plane + i * x.line, y.at + line * image.width
        for j in range(image.width):
            put(y.array, to + j, element(x.array, at + j))
