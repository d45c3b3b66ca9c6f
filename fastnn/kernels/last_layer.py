"""Rows that have come through to the last layer: their outputs, losses and deltas.

Each loss has its own code for them with each output, made of its formulas in `losses`,
`elementwise_losses` and `narrow_outputs`.
"""

from fastnn.compiler.groups import Doubles, Float, Floats
from fastnn.compiler.jit import inner
from fastnn.compiler.parts import Choice
from fastnn.compiler.tiles import lanes_of, load, splat
from fastnn.kernels.elementwise_losses import PAIR_CODES, PAIRS
from fastnn.kernels.groups import (
    ZERO,
    Layer,
    Place,
    Rows,
    Targets,
    deltas_of,
    last_layer,
    outputs_of,
    part_of,
    parts_of,
    shifted,
    wanted_of,
)
from fastnn.kernels.losses import LOSSES
from fastnn.kernels.narrow_outputs import NARROW, NARROW_LOSSES, to_columns, to_rows
from fastnn.kernels.places import Places


def _make_row_by_row(loss):
    forward, backward = loss.forward, loss.backward

    @inner
    def row_by_row(layer, targets, rows, values, deltas, row_loss, scale, with_deltas):
        y, dz = outputs_of(layer, values, rows.slot), deltas_of(layer, deltas, rows.slot)
        for r in range(rows.count):
            wanted = wanted_of(targets, rows.numbers[r], layer.outputs)
            here = Place(y.array, y.at + r * y.row)
            row_loss[r] = forward(layer.outputs, wanted, here)
            if with_deltas:
                weight = rows.share[r] if rows.share.size else scale
                backward(layer.outputs, wanted, weight, here, Place(dz.array, dz.at + r * dz.row))

    return row_by_row


def _make_losses(loss):
    row_by_row = _make_row_by_row(loss)

    @inner
    def losses(
        layer: Layer,
        targets: Targets,
        rows: Rows,
        values: Floats,
        deltas: Floats,
        columns: Place,
        row_loss: Doubles,
        scale: Float,
        with_deltas: bool,
    ):
        """Outputs in place of the inputs of the last activation, and the rows' losses.

        And their deltas, if asked for; outputs then may be left out.  A row counts its share in the
        loss of the batch, or `scale` if there are no shares.
        """
        row_by_row(layer, targets, rows, values, deltas, row_loss, scale, with_deltas)

    return losses


def _make_losses_of_few_outputs(loss, narrow):
    row_by_row = _make_row_by_row(loss)
    forward, backward = narrow.forward, narrow.backward

    @inner
    def losses(
        layer: Layer,
        targets: Targets,
        rows: Rows,
        values: Floats,
        deltas: Floats,
        columns: Place,
        row_loss: Doubles,
        scale: Float,
        with_deltas: bool,
    ):
        """The same, of few outputs many rows at once; `columns` is scratch for these."""
        y, dz = outputs_of(layer, values, rows.slot), deltas_of(layer, deltas, rows.slot)
        outputs, lanes = layer.outputs, lanes_of(values)
        many = rows.count - rows.count % lanes if outputs <= NARROW else ZERO
        for done in range(0, many, lanes):
            numbers = rows.numbers[done : done + lanes]
            here, to = shifted(y, done, ZERO), shifted(dz, done, ZERO)
            forward(outputs, targets, numbers, here, columns, row_loss[done:])
            if with_deltas:
                weights = load(rows.share, done) if rows.share.size else splat(scale, 1)
                backward(outputs, targets, numbers, weights, columns)
                to_rows(outputs, columns, to)
            else:
                to_rows(outputs, columns, here)
        others = part_of(rows, many, rows.count)
        row_by_row(layer, targets, others, values, deltas, row_loss[many:], scale, with_deltas)

    return losses


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


def _losses_of(pair):
    row, narrow = PAIRS[pair], _narrow(pair)
    if narrow is None:
        return _make_losses(row)
    return _make_losses_of_few_outputs(row, narrow)


def _outputs_of(pair):
    row, narrow = PAIRS[pair], _narrow(pair)
    if narrow is None:
        return _make_outputs(row.make_outputs)
    return _make_few_outputs(row.make_outputs, narrow.outputs)


def _narrow(pair):
    """The loss of few outputs, if it is one that knows its output."""
    output, name = pair
    return NARROW_LOSSES.get(name) if name in LOSSES and LOSSES[name].output == output else None


LOSSES_OF_ROWS = Choice(Places.LOSSES, {c: _losses_of(pair) for pair, c in PAIR_CODES.items()})
OUTPUTS_OF_ROWS = Choice(Places.OUTPUTS, {c: _outputs_of(pair) for pair, c in PAIR_CODES.items()})


@inner
def losses_of_rows(network, targets, rows, scratch, columns, row_loss):
    """Outputs and losses of rows that have come through; `columns` is scratch for few outputs."""
    values, no_scale = scratch.values, network.params.dtype.type(0)
    arguments = (targets, rows, values, values, columns, row_loss, no_scale, False)
    LOSSES_OF_ROWS(parts_of(network), network.loss, (last_layer(network), *arguments))


@inner
def deltas_of_rows(network, targets, rows, scratch, columns, row_loss, scale):
    """Losses, and deltas of the last layer; what is in the place of its outputs means nothing."""
    where = (scratch.values, scratch.deltas, columns)
    arguments = (last_layer(network), targets, rows, *where, row_loss, scale, True)
    LOSSES_OF_ROWS(parts_of(network), network.loss, arguments)


@inner
def outputs_of_rows(network, rows, scratch, columns):
    """Outputs of rows that have come through, if no loss is asked for."""
    arguments = (last_layer(network), rows, scratch.values, columns)
    OUTPUTS_OF_ROWS(parts_of(network), network.loss, arguments)
