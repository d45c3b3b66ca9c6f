"""Rows that have come through to the last layer: their outputs, losses and deltas.

Each loss has its own code for them, made of its formulas in `losses` and `narrow_outputs`.
"""

from fastnn.compiler.groups import Doubles, Float, Floats
from fastnn.compiler.jit import inner
from fastnn.compiler.parts import Choice
from fastnn.compiler.tiles import lanes_of
from fastnn.kernels.groups import (
    ZERO,
    Layer,
    Place,
    Rows,
    Targets,
    deltas_of,
    last_layer,
    outputs_of,
    parts_of,
    shifted,
    wanted_of,
)
from fastnn.kernels.losses import LOSS_CODES, LOSSES
from fastnn.kernels.narrow_outputs import NARROW, NARROW_LOSSES, to_columns, to_rows
from fastnn.kernels.places import Places


def _make_losses(forward):
    @inner
    def losses(
        layer: Layer,
        targets: Targets,
        rows: Rows,
        values: Floats,
        columns: Place,
        row_loss: Doubles,
    ):
        """Outputs in place of the inputs of the last activation, and the rows' losses."""
        y = outputs_of(layer, values, rows.slot)
        for r in range(rows.count):
            wanted = wanted_of(targets, rows.numbers[r], layer.outputs)
            row_loss[r] = forward(layer.outputs, wanted, Place(y.array, y.at + r * y.row))

    return losses


def _make_losses_of_few_outputs(forward, narrow_forward):
    @inner
    def losses(
        layer: Layer,
        targets: Targets,
        rows: Rows,
        values: Floats,
        columns: Place,
        row_loss: Doubles,
    ):
        """The same, of few outputs many rows at once; `columns` is scratch for these."""
        y, outputs, lanes = outputs_of(layer, values, rows.slot), layer.outputs, lanes_of(values)
        many = rows.count - rows.count % lanes if outputs <= NARROW else ZERO
        for done in range(0, many, lanes):
            numbers, here = rows.numbers[done : done + lanes], shifted(y, done, ZERO)
            narrow_forward(outputs, targets, numbers, here, columns, row_loss[done:])
            to_rows(outputs, columns, here)
        for r in range(many, rows.count):
            wanted = wanted_of(targets, rows.numbers[r], outputs)
            row_loss[r] = forward(outputs, wanted, Place(y.array, y.at + r * y.row))

    return losses


def _make_deltas(backward):
    @inner
    def deltas(
        layer: Layer, targets: Targets, rows: Rows, values: Floats, to: Floats, scale: Float
    ):
        """Deltas of rows with outputs.

        A row counts its share in the loss of the batch, or `scale` if there are no shares.
        """
        y, dz = outputs_of(layer, values, rows.slot), deltas_of(layer, to, rows.slot)
        for r in range(rows.count):
            backward(
                layer.outputs,
                wanted_of(targets, rows.numbers[r], layer.outputs),
                rows.share[r] if rows.share.size else scale,
                Place(y.array, y.at + r * y.row),
                Place(dz.array, dz.at + r * dz.row),
            )

    return deltas


def _make_outputs(make_outputs):
    @inner
    def outputs(layer: Layer, rows: Rows, values: Floats, columns: Place):
        """Outputs, if no loss is asked for."""
        y = outputs_of(layer, values, rows.slot)
        for r in range(rows.count):
            make_outputs(layer.outputs, Place(y.array, y.at + r * y.row))

    return outputs


def _make_few_outputs(make_outputs, make_narrow_outputs):
    @inner
    def outputs(layer: Layer, rows: Rows, values: Floats, columns: Place):
        """The same, of few outputs many rows at once."""
        y, lanes = outputs_of(layer, values, rows.slot), lanes_of(values)
        many = rows.count - rows.count % lanes if layer.outputs <= NARROW else ZERO
        for done in range(0, many, lanes):
            here = shifted(y, done, ZERO)
            to_columns(layer.outputs, here, columns)
            make_narrow_outputs(layer.outputs, columns)
            to_rows(layer.outputs, columns, here)
        for r in range(many, rows.count):
            make_outputs(layer.outputs, Place(y.array, y.at + r * y.row))

    return outputs


def _losses_of(name):
    row, narrow = LOSSES[name], NARROW_LOSSES.get(name)
    if narrow is None:
        return _make_losses(row.forward)
    return _make_losses_of_few_outputs(row.forward, narrow.forward)


def _outputs_of(name):
    row, narrow = LOSSES[name], NARROW_LOSSES.get(name)
    if narrow is None:
        return _make_outputs(row.make_outputs)
    return _make_few_outputs(row.make_outputs, narrow.outputs)


LOSSES_OF_ROWS = Choice(Places.LOSSES, {c: _losses_of(name) for name, c in LOSS_CODES.items()})
OUTPUTS_OF_ROWS = Choice(Places.OUTPUTS, {c: _outputs_of(name) for name, c in LOSS_CODES.items()})
DELTAS_OF_ROWS = Choice(
    Places.DELTAS, {c: _make_deltas(LOSSES[name].backward) for name, c in LOSS_CODES.items()}
)


@inner
def losses_of_rows(network, targets, rows, scratch, columns, row_loss):
    """Outputs and losses of rows that have come through; `columns` is scratch for few outputs."""
    arguments = (last_layer(network), targets, rows, scratch.values, columns, row_loss)
    LOSSES_OF_ROWS(parts_of(network), network.loss, arguments)


@inner
def deltas_of_rows(network, targets, rows, scratch, scale):
    """Deltas of the last layer, for rows with outputs."""
    arguments = (last_layer(network), targets, rows, scratch.values, scratch.deltas, scale)
    DELTAS_OF_ROWS(parts_of(network), network.loss, arguments)


@inner
def outputs_of_rows(network, rows, scratch, columns):
    """Outputs of rows that have come through, if no loss is asked for."""
    arguments = (last_layer(network), rows, scratch.values, columns)
    OUTPUTS_OF_ROWS(parts_of(network), network.loss, arguments)
