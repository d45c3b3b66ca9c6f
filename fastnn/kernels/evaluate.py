"""Outputs and losses of many rows."""

from fastnn.compiler.jit import entry, inner
from fastnn.compiler.launch import Chunked, chunked, run_or_pack
from fastnn.compiler.tiles import flat
from fastnn.kernels.given import TAKE_ROWS, add_rows
from fastnn.kernels.groups import (
    ROW_BLOCK,
    ZERO,
    Data,
    Examples,
    Network,
    Place,
    Rows,
    Scratch,
    data_of,
    last_layer,
    layer_of,
    outputs_of,
    parts_of,
    share_of,
    targets_of,
)
from fastnn.kernels.last_layer import losses_of_rows, outputs_of_rows
from fastnn.kernels.layers import SPARSE_AFFINE
from fastnn.kernels.narrow_outputs import SCRATCH as NARROW_SCRATCH
from fastnn.kernels.nonzeros import all_finite
from fastnn.kernels.rows import forward_rows


@inner
def _hand_out(y, rows, outputs, first):
    """Copy the last layer's outputs, without the padding."""
    for r in range(rows):
        for o in range(outputs.shape[1]):
            outputs[first + r, o] = y.array[y.at + r * y.row + o]


@inner
def _scratch(values, cursor, row_loss):
    """Scratch of a pass that makes no deltas: in their place an array of the right type."""
    return Scratch(values, values, values, cursor, row_loss)


@inner
def _columns(layer, values, chunk):
    """Scratch of a chunk for narrow outputs."""
    return Place(values, layer.scratch + chunk * NARROW_SCRATCH)


@chunked
def evaluate(
    chunk,
    chunks,
    network: Network,
    examples: Examples,
    index,
    values,
    cursor,
    outputs,
    row_loss,
    sums,
):
    """A chunk's share of rows `index`: outputs and losses; an empty array of either is left out.

    `index` counts upwards by one.  Rows that come with the call are looked at while they are in
    cache, and each block's lists take the place of the last one's.  If one chunk makes all, it adds
    to `sums` what `add_up` would, unless they are empty.
    """
    layer, scratch = last_layer(network), _scratch(values, cursor, row_loss)
    data, targets = data_of(examples), targets_of(examples)
    slot, columns = chunk * ROW_BLOCK, _columns(layer, values, chunk)
    lists = layer_of(network, 0).kind == SPARSE_AFFINE
    y, (begin, end) = outputs_of(layer, values, slot), share_of(index.size, chunk, chunks)
    for first in range(begin, end, ROW_BLOCK):
        numbers = index[first : min(first + ROW_BLOCK, end)]
        if examples.found.size:
            where = numbers[0], numbers[0] + numbers.size
            TAKE_ROWS(parts_of(network), 0, (chunk, chunks, lists, examples, where[0], where[1]))
        no_share = network.params[:0]
        count, none = numbers.size, index[:0]
        rows = Rows(numbers, count, numbers[0], slot, ZERO, False, no_share, none, count)
        forward_rows(network, data, rows, scratch)
        if row_loss.size:
            losses_of_rows(network, targets, rows, scratch, columns, row_loss[first:])
        else:
            outputs_of_rows(network, rows, scratch, columns)
        if outputs.size:
            _hand_out(y, rows.count, outputs, first)
    if sums.size and chunks == 1:
        add_rows(row_loss, outputs, targets, index[0], sums)


@inner
def _predict_rows(chunk, chunks, network: Network, x, column, values, outputs, strange):
    """A chunk's share of the rows of dense x: outputs; 1 in `strange` if some are not finite.

    `column` is empty and stands for lists of nonzeros that there are not.
    """
    layer, inputs, X = last_layer(network), x.shape[1], flat(x)
    plan, params = network.plan, network.params
    scratch = _scratch(values, plan, strange)
    slot, columns = chunk * ROW_BLOCK, _columns(layer, values, chunk)
    y, (begin, end) = outputs_of(layer, values, slot), share_of(x.shape[0], chunk, chunks)
    # Arrays of the types that `evaluate` has, none of which is read.
    data = Data(x, plan, column, params)
    for first in range(begin, end, ROW_BLOCK):
        count = min(ROW_BLOCK, end - first)
        rows = Rows(plan[0], count, first, slot, ZERO, False, params[:0], plan[0], count)
        forward_rows(network, data, rows, scratch)
        outputs_of_rows(network, rows, scratch, columns)
        _hand_out(y, count, outputs, first)
        # Now, as the rows are in cache.
        if not all_finite(X, first * inputs, count * inputs):
            strange[chunk] = 1


@Chunked
@entry(parallel=False)
def predict(context, chunks, plan, loss, params, x, column, values, outputs, strange):
    """`_predict_rows` in so many chunks.

    Arguments by name: to look through a tuple of them takes Numba longer than a row of 4-16-3.
    """
    args = plan, loss, params, x, column, values, outputs, strange
    run_or_pack(chunks, context, _predict_rows, args)
