"""Steps of networks of few weights: groups of rows have gradients of their own, added up.

A chunk sends its groups of rows forwards and back, and sums the gradient of all weights over each
while their values are in its cache.  Then all chunks wait for each other once, and each adds up all
gradients, in the order of the groups, and updates a copy of the weights that is its own.  So a
few KB pass from chunk to chunk in a step, where the sweep over weights has to read what others have
made of their rows: 36 KB of 100 rows of 20-50-10.  How rows are cut into groups depends
on their number alone, so the bits are the same for any number of chunks.
"""

from fastnn.compiler.jit import inner
from fastnn.compiler.tiles import flat, lanes_of, load, store
from fastnn.kernels.groups import (
    ONE,
    ZERO,
    Network,
    Rows,
    Rule,
    Share,
    deltas_of,
    layer_of,
    rows_at,
    share_of,
)
from fastnn.kernels.layers import AFFINE, shared_rows, update_weights
from fastnn.kernels.layers.affine import SUM_ROWS, affine_gradient
from fastnn.kernels.products import add_block, column_sums
from fastnn.kernels.rows import ROW_BLOCK, part_of, send_rows, work_of
from fastnn.kernels.rules import storing, update, without_decay
from fastnn.kernels.weights import number_of_weights

# Weights of all layers up to which a network is small enough.
FEW_WEIGHTS = 8000
# A group has so many rows at least, or there is one; up to so many groups, of powers of two.
FIRST_ROWS, MOST_GROUPS = 32, 16
# Elements of the losses of groups, a line of the cache for each.
LINE = 8
# Blocks like the parameters that a chunk has of its own: these, memories of a rule, a gradient.
OWN_BLOCKS = 4


@inner
def has_few_weights(network):
    """Whether steps are made in groups of rows."""
    return number_of_weights(network) <= FEW_WEIGHTS


@inner
def count_groups(rows):
    """How many groups so many rows are cut into."""
    groups = 1
    while groups < MOST_GROUPS and rows >= FIRST_ROWS * groups * groups:
        groups *= 2
    return max(groups, (rows + SUM_ROWS - 1) // SUM_ROWS)


@inner
def rows_of_part(rows, part, parts):
    """First and end of the rows of a part of the groups."""
    groups = count_groups(rows)
    first, end = share_of(groups, part, parts)
    return rows * first // groups, rows * end // groups


@inner
def _at(turn, group, scratch):
    """Where a group's results are: those of one step and of the next in places of their own."""
    return turn * (scratch.partial.shape[0] // 2) + group


@inner
def group_sweep(chunk, part, parts, turn, network, rule, data, targets, batch, scratch):
    """Losses of a part of the groups of rows, and gradients of all weights over each."""
    count, groups, mine = batch.count, count_groups(batch.count), work_of(scratch, chunk)
    (low, high), (slot, _) = share_of(groups, part, parts), rows_of_part(count, part, parts)
    own = scratch.own[chunk, (OWN_BLOCKS - 1) * network.params.size :]
    together = max(ONE, ROW_BLOCK // ((count + groups - 1) // groups))
    for g in range(low, high, together):
        last = min(g + together, high)
        begin, end = count * g // groups, count * last // groups
        for first in range(begin, end, ROW_BLOCK):  # one, or of a group that is longer
            rows = _reusing(slot, part_of(batch, first, min(first + ROW_BLOCK, end)))
            send_rows(network, data, targets, batch, rows, mine)
            for one in range(g, last):
                low_row, high_row = share_of(count, one, groups)
                at, begins = _at(turn, one, scratch), low_row >= first
                some = part_of(rows, max(low_row - first, 0), min(high_row - first, rows.count))
                to = scratch.partial[at] if begins else own
                _gradients(network, rule, data, some, mine, to)
                loss = _loss_of(some, mine)
                if begins:
                    scratch.group_loss[at * LINE] = loss
                else:
                    _add(network.params.size, to, scratch.partial[at])
                    scratch.group_loss[at * LINE] += loss


@inner
def _reusing(slot, rows):
    """Rows that go where others were, whose values are no longer needed."""
    return Rows(rows.numbers, rows.count, rows.first, slot, rows.salt, rows.few, rows.share)


@inner
def _loss_of(rows, scratch):
    """Losses of rows, added up."""
    total, share = 0.0, rows.share
    for r in range(rows.count):
        loss = scratch.row_loss[rows.slot + r]
        total += loss * share[r] if share.size else loss
    return total


@inner
def _add(size, more, out):
    add_block(ONE, size, rows_at(more, ZERO, ZERO), rows_at(out, ZERO, ZERO))


@inner
def _gradients(network, rule, data, rows, scratch, out):
    """Gradients of all weights over some rows, laid out like the parameters."""
    for number in range(network.plan.shape[0]):
        layer = layer_of(network, number)
        columns = layer.vectors * lanes_of(network.params)
        gradient = rows_at(out, layer.weights, layer.weights_row)
        if layer.kind == AFFINE:
            affine_gradient(layer, rows, scratch, gradient)
        else:
            share = Share(ZERO, shared_rows(layer), ZERO, ONE)
            update_weights(network, layer, storing(rule, out), data, rows, scratch, share)
        dz = deltas_of(layer, scratch.deltas, rows.slot)
        column_sums(rows.count, columns, dz, rows_at(out, layer.biases, ZERO))


@inner
def loss_of_groups(turn, rows, scratch):
    """Losses of all groups, added up."""
    total = 0.0
    for g in range(count_groups(rows)):
        total += scratch.group_loss[_at(turn, g, scratch) * LINE]
    return total


@inner
def update_by_groups(turn, rows, network, rule, scratch):
    """Add up the gradients of all groups, and update all weights."""
    groups, at, row = count_groups(rows), _at(turn, ZERO, scratch), scratch.partial.shape[1]
    gradients = rows_at(flat(scratch.partial), at * row, row)
    for number in range(network.plan.shape[0]):
        layer = layer_of(network, number)
        begin, end, columns = layer.weights, layer.biases, layer.weights_row
        _update(rule, groups, end - begin, gradients, network.params, begin)
        _update(without_decay(rule), groups, columns, gradients, network.params, end)


@inner(separate=True)
def _update(rule, groups, columns, gradients, params, first):
    """Update so many parameters, in whole vectors, by the sums of so many gradients."""
    array, row = gradients.array, gradients.row
    for n in range(first, first + columns, lanes_of(params)):
        at = gradients.at + n
        gradient = load(array, at)
        for g in range(1, groups):
            gradient = gradient + load(array, at + g * row)
        update(rule, gradient, params, n)


@inner
def own_network(chunk, network, own):
    """The network that a chunk updates: the first that of the caller, others a copy."""
    params = network.params if chunk == 0 else own[: network.params.size]
    return Network(network.plan, network.loss, params)


@inner
def own_rule(chunk, network, rule, own):
    """The rule with what it remembers, likewise."""
    first = network.params.size
    memory = rule.memory if chunk == 0 else own[first : first + rule.memory.size]
    return Rule(rule.code, rule.numbers, memory, rule.rate, rule.decay)


@inner
def copy_to_own(network, rule, own):
    """Copy parameters and memories to a chunk's own."""
    size = network.params.size
    for i in range(0, size, lanes_of(own)):
        store(own, i, load(network.params, i))
    for i in range(0, rule.memory.size, lanes_of(own)):
        store(own, size + i, load(rule.memory, i))
