"""The sweeps over rows: a batch, or a part of it, through all layers, forwards and back.

Row sweep: a block of rows goes through the whole network while it is in cache; blocks are
independent.  Few rows of a wide network are shared out by columns instead, with a wait for each
layer.
"""

from fastnn.compiler.jit import inner
from fastnn.compiler.team import barrier
from fastnn.compiler.tiles import flat, lanes_of, prefetch
from fastnn.kernels.groups import (
    GRADIENT,
    ZERO,
    Place,
    Rows,
    Scratch,
    deltas_of,
    last_layer,
    layer_of,
    outputs_of,
    share_of,
    shifted,
    wanted_of,
)
from fastnn.kernels.layers import layer_backward, layer_forward
from fastnn.kernels.losses import loss_backward, loss_forward, outputs_forward
from fastnn.kernels.narrow_outputs import is_narrow, narrow_loss_forward, narrow_outputs_forward

# Rows that pass through the network together: a batch of 100 in one piece on one thread, too.
ROW_BLOCK = 128


@inner
def forward_rows(network, data, rows, scratch):
    """Send rows of data through all layers; the last activation is left to the loss."""
    for number in range(network.plan.shape[0]):
        layer = layer_of(network, number)
        layer_forward(network, layer, data, rows, scratch, ZERO, layer.vectors)


@inner
def backward_rows(network, rows, scratch):
    """Deltas of all layers but the last, whose deltas are given."""
    for number in range(network.plan.shape[0] - 1, 0, -1):
        below = layer_of(network, number - 1)
        layer = layer_of(network, number)
        layer_backward(network, layer, below, rows, scratch, ZERO, below.vectors)


@inner
def losses_of_rows(network, targets, rows, scratch, columns, row_loss):
    """Outputs and losses of rows that have come through; `columns` is scratch for narrow ones."""
    layer, lanes, done = last_layer(network), lanes_of(network.params), ZERO
    outputs, y = layer.outputs, outputs_of(layer, scratch.values, rows.slot)
    if is_narrow(network.loss, outputs):
        while done + lanes <= rows.count:
            narrow_loss_forward(
                network,
                outputs,
                targets,
                rows.numbers[done : done + lanes],
                shifted(y, done, ZERO),
                columns,
                row_loss[done:],
            )
            done += lanes
    for r in range(done, rows.count):
        wanted = wanted_of(targets, rows.numbers[r], outputs)
        row_loss[r] = loss_forward(network.loss, outputs, wanted, Place(y.array, y.at + r * y.row))


@inner
def deltas_of_rows(network, targets, rows, scratch, scale):
    """Deltas of the last layer, for rows with outputs.

    A row counts its share in the loss of the batch, or `scale` if there are no shares.
    """
    layer = last_layer(network)
    y = outputs_of(layer, scratch.values, rows.slot)
    dz = deltas_of(layer, scratch.deltas, rows.slot)
    for r in range(rows.count):
        wanted = wanted_of(targets, rows.numbers[r], layer.outputs)
        weight = rows.share[r] if rows.share.size else scale
        loss_backward(
            network.loss,
            layer.outputs,
            wanted,
            weight,
            Place(y.array, y.at + r * y.row),
            Place(dz.array, dz.at + r * dz.row),
        )


@inner
def outputs_of_rows(network, rows, scratch, columns):
    """Outputs of rows that have come through, if no loss is asked for."""
    layer, done = last_layer(network), ZERO
    y, lanes = outputs_of(layer, scratch.values, rows.slot), lanes_of(network.params)
    if is_narrow(network.loss, layer.outputs):
        while done + lanes <= rows.count:
            narrow_outputs_forward(network, layer.outputs, shifted(y, done, ZERO), columns)
            done += lanes
    outputs_forward(network.loss, rows.count - done, layer.outputs, shifted(y, done, ZERO))


@inner
def _ask_for(data, targets, numbers):
    """Ask for what there is of rows of data beside their inputs; they lie anywhere in memory."""
    for row in numbers:
        prefetch(flat(data.bounds), 2 * row)
        prefetch(targets.labels, row)
        prefetch(flat(targets.targets), row * targets.targets.shape[1])


@inner
def part_of(rows, first, end):
    """Some of the rows of a batch, which lie anywhere."""
    share = rows.share[first:end] if rows.share.size else rows.share
    return Rows(
        rows.numbers[first:end],
        end - first,
        rows.first,
        rows.slot + first,
        rows.salt,
        rows.few,
        share,
    )


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
    for first in range(begin, end, ROW_BLOCK):
        rows = part_of(batch, first, min(first + ROW_BLOCK, end))
        send_rows(network, data, targets, batch, rows, scratch)


@inner
def send_rows(network, data, targets, batch, rows, scratch):
    """Some rows of a batch, forwards and back."""
    _ask_for(data, targets, rows.numbers)
    forward_rows(network, data, rows, scratch)
    columns, row_loss = Place(scratch.work, GRADIENT), scratch.row_loss[rows.slot :]
    losses_of_rows(network, targets, rows, scratch, columns, row_loss)
    deltas_of_rows(network, targets, rows, scratch, _scale(network, batch))
    backward_rows(network, rows, scratch)


@inner
def column_sweep(chunk, chunks, network, data, targets, batch, scratch, team):
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
    losses_of_rows(
        network, targets, rows, scratch, Place(scratch.work, GRADIENT), scratch.row_loss[first:]
    )
    deltas_of_rows(network, targets, rows, scratch, _scale(network, batch))
    for number in range(layers - 1, 0, -1):
        barrier(team, chunks)
        layer, below = layer_of(network, number), layer_of(network, number - 1)
        low, high = share_of(below.vectors, chunk, chunks)
        layer_backward(network, layer, below, batch, scratch, low, high)
