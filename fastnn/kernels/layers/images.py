"""Kinds of layers between rows and images: the first of a network of images, and its last.

"images" takes rows of data into lanes, "flatten" makes rows of them again, in the order channel,
line, pixel.  They have no weights.
"""

from fastnn.compiler.jit import inner
from fastnn.compiler.tap_products import Planes
from fastnn.compiler.tiles import element, flat, put
from fastnn.kernels.groups import (
    GATHER,
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
    rows_to_lanes,
    through_activation,
)
from fastnn.kernels.layers.affine import gather


@inner
def images_forward(
    network: Network, layer: Layer, data: Data, rows: Rows, scratch: Scratch, low: int, high: int
):
    """Rows of data as lanes; lanes that have no row are zero."""
    image, work = image_of(network, layer.number), scratch.work
    y = outputs_in_lanes(network, layer.number, work, rows.slot)
    group, units = images_of(work), image.channels * image.height * image.width
    given = _rows_side_by_side(data, rows, rows_at(work, layer.x, layer.x_row))
    if not has_border(image):
        rows_to_lanes(units, given, rows_at(work, y.at, group))
        return
    # First without what is between lines.
    plain = Planes(work, layer.dz, image.height * image.width * group, image.width * group, group)
    rows_to_lanes(units, given, rows_at(work, plain.at, group))
    copy_planes(image, plain, y)
    clear_border(image, y)


@inner
def _rows_side_by_side(data, rows, out):
    """A group of rows of data; copied, if they lie anywhere or are not a whole group."""
    X, units, images = flat(data.x), data.x.shape[1], images_of(out.array)
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
    x = outputs_in_lanes(network, layer.number - 1, scratch.work, rows.slot)
    y = outputs_of(layer, scratch.values, rows.slot)
    lanes_to_rows(layer.outputs, rows_at(x.array, x.at, x.pixel), y)


@inner
def flatten_backward(
    network: Network, layer: Layer, below: Layer, rows: Rows, scratch: Scratch, low: int, high: int
):
    """Deltas of a group of rows as lanes, those without a row zero."""
    work, image = scratch.work, image_of(network, below.number)
    dy = deltas_of(layer, scratch.deltas, rows.slot)
    for r in range(rows.count, images_of(work)):
        clear(dy.array, dy.at + r * dy.row, dy.row)
    to = deltas_in_lanes(network, below.number, work)
    plain = to.pixel == images_of(work) and to.line == image.width * to.pixel
    if plain:
        rows_to_lanes(layer.outputs, dy, rows_at(work, to.at, to.pixel))
    else:
        clear_deltas(network, below.number, work)
        _rows_to_planes(image, dy, to)
    through_activation(network, below.number, work, rows.slot)


@inner
def _rows_to_planes(image, rows, out):
    """Rows as lanes, between whose lines and pixels there is something."""
    for c in range(image.channels):
        for i in range(image.height):
            first = (c * image.height + i) * image.width
            here = rows_at(rows.array, rows.at + first, rows.row)
            to = rows_at(out.array, out.at + c * out.plane + i * out.line, out.pixel)
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
