"""Images on their way through the layers of images, a group at a time while it is in cache."""

from fastnn.compiler.jit import inner
from fastnn.compiler.parts import Choice
from fastnn.kernels.groups import (
    ROW_BLOCK,
    ZERO,
    Data,
    Network,
    Rows,
    Scratch,
    has_weights,
    layer_of,
    part_of,
    parts_of,
)
from fastnn.kernels.images import image_of, images_of
from fastnn.kernels.layers import BACKWARD, FORWARD
from fastnn.kernels.places import Places


@inner
def forward_images(first: int, network: Network, data: Data, rows: Rows, scratch: Scratch):
    """Rows of data through the layers below the first that is for rows."""
    mine, parts = _with_work(network, rows, scratch), parts_of(network)
    images = images_of(scratch.values)
    for row in range(0, rows.count, images):
        group = part_of(rows, row, min(row + images, rows.count))
        for number in range(first):
            layer = layer_of(network, number)
            FORWARD(parts, layer.kind, (network, layer, data, group, mine, ZERO, ZERO))


@inner
def _with_work(network, rows, scratch):
    """Scratch; in a pass that makes no deltas with the chunk's work, which then is in `values`."""
    image = image_of(network, ZERO)
    if image.work_size == 0:
        return scratch
    at = image.work + rows.slot // ROW_BLOCK * image.work_size
    work = scratch.values[at : at + image.work_size]
    return Scratch(scratch.values, scratch.deltas, work, scratch.cursor, scratch.row_loss)


@inner
def backward_images(first: int, network: Network, rows: Rows, scratch: Scratch):
    """Deltas of rows back through these layers, and what they say of the weights."""
    parts, images = parts_of(network), images_of(scratch.values)
    for row in range(0, rows.count, images):
        group = part_of(rows, row, min(row + images, rows.count))
        for number in range(first - 1, 0, -1):
            layer, below = layer_of(network, number), layer_of(network, number - 1)
            if number == 1 and not has_weights(layer):  # of the data no deltas are asked for
                continue
            BACKWARD(parts, layer.kind, (network, layer, below, group, scratch, ZERO, ZERO))


FORWARD_IMAGES = Choice(Places.FORWARD_IMAGES, {0: forward_images})
BACKWARD_IMAGES = Choice(Places.BACKWARD_IMAGES, {0: backward_images})
