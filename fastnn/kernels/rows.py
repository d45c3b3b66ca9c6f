"""The sweeps over rows: a batch, or a part of it, through all layers, forwards and back.

Row sweep: a block of rows goes through the whole network while it is in cache; blocks are
independent.  Few rows of a wide network are shared out by columns instead, with a wait for each
layer.
"""

from fastnn.compiler.groups import Ints
from fastnn.compiler.jit import inner
from fastnn.compiler.parts import Choice
from fastnn.compiler.team import barrier
from fastnn.compiler.tiles import flat, prefetch
from fastnn.kernels.groups import (
    GRADIENT,
    ROW_BLOCK,
    ZERO,
    Data,
    Network,
    Place,
    Rows,
    Scratch,
    Targets,
    layer_of,
    part_of,
    parts_of,
    share_of,
)
from fastnn.kernels.image_rows import BACKWARD_IMAGES, FORWARD_IMAGES
from fastnn.kernels.images import block_of, rows_of_part
from fastnn.kernels.last_layer import deltas_of_rows
from fastnn.kernels.layers import image_layers, layer_backward, layer_forward
from fastnn.kernels.places import Places


@inner
def forward_rows(network, data, rows, scratch):
    """Send rows of data through all layers; the last activation is left to the loss."""
    first = image_layers(network)
    if first > 0:
        FORWARD_IMAGES(parts_of(network), 0, (first, network, data, rows, scratch))
    for number in range(first, network.plan.shape[0]):
        layer = layer_of(network, number)
        layer_forward(network, layer, data, rows, scratch, ZERO, layer.vectors)


@inner
def backward_rows(network, rows, scratch):
    """Deltas of all layers but the last, whose deltas are given."""
    first = image_layers(network)
    for number in range(network.plan.shape[0] - 1, max(first, 1) - 1, -1):
        below = layer_of(network, number - 1)
        layer = layer_of(network, number)
        layer_backward(network, layer, below, rows, scratch, ZERO, below.vectors)
    if first > 0:
        BACKWARD_IMAGES(parts_of(network), 0, (first, network, rows, scratch))


@inner
def _ask_for(data, targets, numbers):
    """Ask for what there is of rows of data beside their inputs; they lie anywhere in memory."""
    lists, classes = data.bounds.size > 0, targets.labels.size > 0
    for row in numbers:
        if lists:
            prefetch(flat(data.bounds), 2 * row)
        if classes:
            prefetch(targets.labels, row)
        else:
            prefetch(flat(targets.targets), row * targets.targets.shape[1])


@inner
def work_of(scratch, chunk):
    """The scratch of a chunk."""
    return Scratch(
        scratch.values,
        scratch.deltas,
        scratch.work[chunk],
        scratch.cursor,
        scratch.row_loss,
    )


@inner
def _scale(network, batch):
    """What each row counts in the loss of a batch."""
    return network.params.dtype.type(1) / network.params.dtype.type(batch.count)


@inner
def row_sweep(part, parts, network, data, targets, batch, scratch):
    """A part of the rows of a batch: outputs, losses and deltas."""
    begin, end = share_of(batch.count, part, parts)
    _ask_for(data, targets, batch.ahead)
    for first in range(begin, end, ROW_BLOCK):
        rows = part_of(batch, first, min(first + ROW_BLOCK, end))
        send_rows(network, data, targets, batch, rows, scratch)


@inner
def image_sweep(
    part: int,
    parts: int,
    network: Network,
    data: Data,
    targets: Targets,
    batch: Rows,
    scratch: Scratch,
):
    """What `row_sweep` does, for images: parts are groups whose gradients are summed together."""
    (begin, end), block = rows_of_part(batch.count, part, parts, scratch.work), block_of(network)
    _ask_for(data, targets, batch.ahead)
    for first in range(begin, end, block):
        rows = part_of(batch, first, min(first + block, end))
        send_rows(network, data, targets, batch, rows, scratch)


IMAGE_SWEEP = Choice(Places.IMAGE_SWEEP, {0: image_sweep})


@inner
def send_rows(network, data, targets, batch, rows, scratch):
    """Some rows of a batch, forwards and back; their losses go to the place of the first."""
    _ask_for(data, targets, rows.numbers)
    forward_rows(network, data, rows, scratch)
    columns, row_loss = Place(scratch.work, GRADIENT), scratch.row_loss[rows.slot :]
    deltas_of_rows(network, targets, rows, scratch, columns, row_loss, _scale(network, batch))
    backward_rows(network, rows, scratch)


@inner
def column_sweep(
    chunk: int,
    chunks: int,
    network: Network,
    data: Data,
    targets: Targets,
    batch: Rows,
    scratch: Scratch,
    team: Ints,
):
    """What `row_sweep` does, but a chunk has its share of each layer's columns, for all rows.

    So each reads its own weights only: with 16 rows of 784-1024-1024-10 that is most of the work.
    The price is a wait for each layer, forwards and back.  Rows of dense data are copied by every
    chunk, to the same place.
    """
    layers = network.plan.shape[0]
    for number in range(layers):
        layer = layer_of(network, number)
        low, high = share_of(layer.vectors, chunk, chunks)
        layer_forward(network, layer, data, batch, scratch, low, high)
        barrier(team, chunks)
    first, end = share_of(batch.count, chunk, chunks)
    rows = part_of(batch, first, end)
    scale, columns = _scale(network, batch), Place(scratch.work, GRADIENT)
    deltas_of_rows(network, targets, rows, scratch, columns, scratch.row_loss[first:], scale)
    for number in range(layers - 1, 0, -1):
        barrier(team, chunks)
        layer, below = layer_of(network, number), layer_of(network, number - 1)
        low, high = share_of(below.vectors, chunk, chunks)
        layer_backward(network, layer, below, batch, scratch, low, high)


COLUMN_SWEEP = Choice(Places.COLUMN_SWEEP, {0: column_sweep})
