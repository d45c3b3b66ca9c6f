"""Kinds of layers between rows and images: the first of a network of images, and its last.

"images" takes rows of data into lanes, "flatten" makes rows of them again, in the order channel,
line, pixel.  They have no weights.
"""

from fastnn.compiler.jit import inner
from fastnn.compiler.tap_products import Planes
from fastnn.compiler.tiles import element, flat, put
from fastnn.kernels.groups import (
    GATHER,
    ZERO,
    Data,
    Layer,
    Network,
    Rows,
    Rule,
    Scratch,
    Share,
    deltas_of,
    outputs_of,
    rows_at,
    shifted,
)
from fastnn.kernels.images import (
    clear,
    clear_border,
    clear_deltas,
    copy_planes,
    deltas_in_lanes,
    has_border,
    image_of,
    images_of,
    lanes_to_rows,
    outputs_in_lanes,
    pixels_to_rows,
    rows_to_lanes,
    rows_to_pixels,
    through_activation,
)
from fastnn.kernels.layers.affine import gather


@inner
def images_forward(
    network: Network, layer: Layer, data: Data, rows: Rows, scratch: Scratch, low: int, high: int
):
    """Rows of data as lanes; lanes that have no row are zero."""
    image, work = image_of(network, layer.number), scratch.work
    y = outputs_in_lanes(network, layer.number, work, rows)
    group, units = images_of(work), image.channels * image.height * image.width
    given = _rows_side_by_side(data, rows, y.pixel, rows_at(work, layer.x, layer.x_row))
    if y.pixel < group:
        _rows_to_planes(image, given, y)
    elif has_border(image):  # first without what is between lines
        line = image.width * group
        plain = Planes(work, layer.dz, image.height * line, line, group)
        rows_to_lanes(units, given, rows_at(work, plain.at, group))
        copy_planes(image, plain, y)
    else:
        rows_to_lanes(units, given, rows_at(work, y.at, group))
    clear_border(image, y)


@inner
def _rows_side_by_side(data, rows, images, out):
    """Rows of data and zeros, so many; copied, if rows lie anywhere or are fewer."""
    X, units = flat(data.x), data.x.shape[1]
    if rows.first != GATHER and rows.count == images:
        return rows_at(X, rows.first * units, units)
    if rows.first == GATHER:
        gather(data.x, rows.numbers, out)
    else:
        for r in range(rows.count):
            at = (rows.first + r) * units
            for n in range(units):
                put(out.array, out.at + r * out.row + n, element(X, at + n))
    for r in range(rows.count, images):
        clear(out.array, out.at + r * out.row, out.row)
    return out


@inner
def flatten_forward(
    network: Network, layer: Layer, data: Data, rows: Rows, scratch: Scratch, low: int, high: int
):
    """Lanes as rows, also those that no row of data is in: there is room for them."""
    image = image_of(network, layer.number - 1)
    x = outputs_in_lanes(network, layer.number - 1, scratch.work, rows)
    y = outputs_of(layer, scratch.values, rows.slot)
    if x.pixel == images_of(x.array):
        lanes_to_rows(layer.outputs, rows_at(x.array, x.at, x.pixel), y)
        return
    for line in range(image.channels * image.height):
        at = x.at + line // image.height * x.plane + line % image.height * x.line
        pixels = rows_at(x.array, at, x.pixel)
        pixels_to_rows(image.width, pixels, shifted(y, ZERO, line * image.width))


@inner
def flatten_backward(
    network: Network, layer: Layer, below: Layer, rows: Rows, scratch: Scratch, low: int, high: int
):
    """Deltas of a group of rows as lanes, those without a row zero."""
    work, image, group = scratch.work, image_of(network, below.number), images_of(scratch.work)
    dy = deltas_of(layer, scratch.deltas, rows.slot)
    for r in range(rows.count, group):
        clear(dy.array, dy.at + r * dy.row, dy.row)
    to = deltas_in_lanes(network, below.number, work, rows)
    if to.pixel == group and to.line == image.width * group:
        rows_to_lanes(layer.outputs, dy, rows_at(work, to.at, group))
    else:
        clear_deltas(network, below.number, work, rows)
        _rows_to_planes(image, dy, to)
    through_activation(network, below.number, work, rows)


@inner
def _rows_to_planes(image, rows, out):
    """Rows as lanes, between whose lines and pixels there is something; or as few pixels."""
    for c in range(image.channels):
        for i in range(image.height):
            first = (c * image.height + i) * image.width
            here = rows_at(rows.array, rows.at + first, rows.row)
            to = rows_at(out.array, out.at + c * out.plane + i * out.line, out.pixel)
            if out.pixel < images_of(out.array):
                rows_to_pixels(image.width, here, to)
            else:
                rows_to_lanes(image.width, here, to)


@inner
def no_update(
    network: Network,
    layer: Layer,
    rule: Rule,
    data: Data,
    rows: Rows,
    scratch: Scratch,
    share: Share,
):
    """There is nothing to update."""
    return


def no_parts(layer, *by_columns):
    """Nothing is called."""
    return []
