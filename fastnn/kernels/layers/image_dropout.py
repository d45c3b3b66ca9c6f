"""A kind of layer, "image_dropout": pixels of which some are zero for a step, each on its own."""

from fastnn.compiler.jit import inner
from fastnn.compiler.tiles import element, put
from fastnn.kernels.dropout import PARTS, is_dropped, row_salt
from fastnn.kernels.groups import Data, Layer, Network, Rows, Scratch
from fastnn.kernels.images import (
    clear_border,
    clear_deltas,
    copy_planes,
    deltas_in_lanes,
    image_of,
    outputs_in_lanes,
    through_activation,
)


@inner
def forward(
    network: Network, layer: Layer, data: Data, rows: Rows, scratch: Scratch, low: int, high: int
):
    """Pixels for a group of images, those that are kept so much larger."""
    image = image_of(network, layer.number)
    x = outputs_in_lanes(network, layer.number - 1, scratch.work, rows)
    y = outputs_in_lanes(network, layer.number, scratch.work, rows)
    if image.dropped > 0:
        _drop(layer, image, rows, x, y)
    else:
        copy_planes(image, x, y)
    clear_border(image, y)


@inner
def backward(
    network: Network, layer: Layer, below: Layer, rows: Rows, scratch: Scratch, low: int, high: int
):
    """Deltas of the layer below: those of pixels that were kept."""
    dy = deltas_in_lanes(network, layer.number, scratch.work, rows)
    dx = deltas_in_lanes(network, below.number, scratch.work, rows)
    clear_deltas(network, below.number, scratch.work, rows)
    _drop(layer, image_of(network, layer.number), rows, dy, dx)
    through_activation(network, below.number, scratch.work, rows)


@inner
def _drop(layer, image, rows, planes, out):
    """Copy pixels of a group, or put zeros in place of those that are dropped."""
    zero = out.array.dtype.type(0)
    scale = out.array.dtype.type(PARTS / (PARTS - image.dropped))
    for g in range(planes.pixel):
        salt, unit = row_salt(rows.salt, layer.number, rows.slot + g), 0
        for c in range(image.channels):
            for i in range(image.height):
                at = planes.at + c * planes.plane + i * planes.line + g
                to = out.at + c * out.plane + i * out.line + g
                for j in range(image.width):
                    kept = element(planes.array, at + j * planes.pixel) * scale
                    drops = is_dropped(salt, unit, image.dropped)
                    put(out.array, to + j * out.pixel, zero if drops else kept)
                    unit += 1
