"""Steps of networks of few weights: groups of rows have gradients of their own, added up.

A chunk sends its groups of rows forwards and back, and sums the gradient of all weights over each
while their values are in its cache.  Then all chunks wait for each other, once, and each adds up
all gradients, in the order of the groups, and updates weights that are its own.  So what passes
between two chunks in a step is a gradient: of 100 rows of 20-50-10 9 KB, where a sweep over weights
reads 36 KB that others have made of their rows, and two waits become one.  With two threads such
steps take 9 % less, and those of 400 rows 18 %.

How rows are cut into groups depends on their number alone, and of those of one group the gradient
is one chain, or a sum of blocks' chains, so the bits are the same for any number of chunks.
"""

from fastnn.compiler.jit import inner
from fastnn.compiler.team import barrier
from fastnn.compiler.tiles import flat, lanes_of, load, store
from fastnn.kernels.given import TAKE_ROWS, any_strange
from fastnn.kernels.groups import (
    ONE,
    ROW_BLOCK,
    ZERO,
    AllScratch,
    Batches,
    Call,
    Examples,
    Network,
    Record,
    Rows,
    Rule,
    Share,
    biases_of,
    data_of,
    deltas_of,
    layer_of,
    part_of,
    parts_of,
    rows_at,
    share_of,
    targets_of,
    weights_of,
)
from fastnn.kernels.layers import AFFINE, SPARSE_AFFINE, affine, shared_rows, update_weights
from fastnn.kernels.layers.affine import SUM_ROWS
from fastnn.kernels.products import add_block, column_sums
from fastnn.kernels.rows import send_rows, work_of
from fastnn.kernels.rules import RULES, STORE, UPDATE_BY_SUMS, storing, without_decay
from fastnn.kernels.steps import (
    ON_GIVEN,
    SOME_GRADIENTS,
    SOME_ROWS,
    SQUARES,
    STOP_AFTER_UPDATE,
    STOP_BEFORE_UPDATE,
    WHOLE_STEPS,
    batch_of,
    note_loss,
    rule_of,
)
from fastnn.kernels.weights import SQUARES_OF_WEIGHTS

# Weights and inputs up to which steps are made like this.  Two threads gain 13 % with 7,000
# weights, 7 % with 14,000, 2 % with 17,000, where one thread loses 1 %.  Of wide rows that are
# mostly zero a gradient is more than what passes otherwise: 784-10 would lose 4 %.
FEW_WEIGHTS, FEW_INPUTS = 10_000, 256
# Rows from which on there are two groups; four times as many for each doubling, up to so many.
TWO_GROUPS, MOST_GROUPS = 32, 16
# Elements of `group_loss` for a group: a line of the cache, so that no two chunks write to one.
LINE = 8
# What a chunk has of its own, each like the parameters: these, what a rule remembers, a gradient.
OWN_BLOCKS = 2 + max(rule.memories for rule in RULES.values())


@inner
def has_few(weights, inputs):
    """Whether steps of a network of so many weights and inputs are made in groups of rows."""
    return weights <= FEW_WEIGHTS and inputs <= FEW_INPUTS


@inner
def count_groups(rows):
    """How many groups so many rows are cut into; none has more than SUM_ROWS."""
    groups = 1
    while groups < MOST_GROUPS and rows >= TWO_GROUPS * groups * groups:
        groups *= 2
    return max(groups, (rows + SUM_ROWS - 1) // SUM_ROWS)


@inner
def _rows_of_part(rows, part, parts):
    """First and end of the rows of a part of the groups."""
    groups = count_groups(rows)
    first, end = share_of(groups, part, parts)
    return rows * first // groups, rows * end // groups


@inner
def _place(turn, group, scratch):
    """Where the gradient and the loss of a group are."""
    return turn * (scratch.partial.shape[0] // 2) + group


@inner
def _drops(network):
    drops = False
    for number in range(network.plan.shape[0]):
        drops |= layer_of(network, number).dropped > 0
    return drops


@inner
def _moved(rows, slot):
    """Rows that go to another place, and there overwrite what is no longer needed."""
    none = rows.numbers[:0]
    return Rows(
        rows.numbers,
        rows.count,
        rows.first,
        slot,
        rows.salt,
        rows.few,
        rows.share,
        none,
        rows.batch,
    )


@inner
def _group_sweep(chunk, part, parts, turn, network, rule, data, targets, batch, scratch):
    """A part of the groups of a batch: losses, and gradients of all weights.

    Of two steps, one after the other, each has its `turn`, 0 or 1: while a chunk begins the second,
    others may still read what was made in the first.
    """
    count, groups, mine = batch.count, count_groups(batch.count), work_of(scratch, chunk)
    (low, high), (slot, _) = share_of(groups, part, parts), _rows_of_part(count, part, parts)
    stays = _drops(network)  # what is dropped of a row depends on its place
    together = max(ONE, ROW_BLOCK // max(ONE, (count + groups - 1) // groups))
    for g in range(low, high, together):
        last = min(g + together, high)
        begin, end = count * g // groups, count * last // groups
        for first in range(begin, max(end, begin + 1), ROW_BLOCK):  # one, but for a long group
            rows = part_of(batch, first, min(first + ROW_BLOCK, end))
            rows = _moved(rows, rows.slot if stays else slot)
            send_rows(network, data, targets, batch, rows, mine)
            for one in range(g, last):
                begins, ends = share_of(count, one, groups)
                some = part_of(rows, max(begins - first, 0), min(ends - first, rows.count))
                at, gradient = _place(turn, one, scratch), scratch.own[chunk]
                _add_group(at, begins >= first, network, rule, data, some, scratch, mine, gradient)


@inner
def _add_group(at, begins, network, rule, data, rows, scratch, mine, own):
    """Losses and gradients of rows of a group, the first of it or more."""
    size, total, share = network.params.size, 0.0, rows.share
    for r in range(rows.count):
        loss = mine.row_loss[rows.slot + r]
        total += loss * share[r] if share.size else loss
    if begins:
        _gradients(network, rule, data, rows, mine, scratch.partial[at])
        scratch.group_loss[at * LINE] = total
    else:
        more = own[(OWN_BLOCKS - 1) * size :]
        _gradients(network, rule, data, rows, mine, more)
        out = rows_at(scratch.partial[at], ZERO, ZERO)
        add_block(ONE, size, rows_at(more, ZERO, ZERO), out)
        scratch.group_loss[at * LINE] += total


@inner
def _gradients(network, rule, data, rows, scratch, out):
    """Gradients of all weights and biases over some rows, laid out like the parameters."""
    for number in range(network.plan.shape[0]):
        layer = layer_of(network, number)
        if layer.kind == AFFINE:
            affine.gradient(network, layer, rows, scratch, out)
        else:
            share = Share(ZERO, shared_rows(layer), ZERO, ONE, False)
            update_weights(network, layer, storing(rule, out), data, rows, scratch, share)
        columns, dz = layer.vectors * lanes_of(out), deltas_of(layer, scratch.deltas, rows.slot)
        column_sums(rows.count, columns, dz, rows_at(out, layer.biases, ZERO))


@inner
def _loss_of_groups(turn, rows, scratch):
    """Losses of all groups, added up."""
    total = 0.0
    for g in range(count_groups(rows)):
        total += scratch.group_loss[_place(turn, g, scratch) * LINE]
    return total


@inner
def _update_by_groups(turn, rows, network, rule, scratch):
    """Add up the gradients of all groups, and update all weights and biases."""
    groups, row = count_groups(rows), scratch.partial.shape[1]
    gradients = rows_at(flat(scratch.partial), _place(turn, ZERO, scratch) * row, row)
    for number in range(network.plan.shape[0]):
        layer = layer_of(network, number)
        columns = layer.vectors * lanes_of(network.params)
        weights, biases = weights_of(network, layer), biases_of(network, layer)
        together = rule.decay == 0  # the biases lie behind the last row of weights
        rows, table = layer.inputs + together, parts_of(network)
        sums = (groups, rows, columns, gradients, weights)
        UPDATE_BY_SUMS(table, rule.code, (rule, *sums))
        if not together:
            sums = (groups, ONE, columns, gradients, biases)
            UPDATE_BY_SUMS(table, rule.code, (without_decay(rule), *sums))


@inner
def _own_network(network, own):
    """The network, with weights that are a chunk's own."""
    return Network(network.plan, network.loss, own[: network.params.size])


@inner
def _own_rule(network, rule, own):
    """The rule, which remembers what is a chunk's own."""
    first = network.params.size
    memory = own[first : first + rule.memory.size]
    return Rule(rule.code, rule.numbers, memory, rule.rate, rule.decay)


@inner
def _copy_to_own(network, rule, own):
    """Make what is a chunk's own like what all have."""
    size = network.params.size
    for i in range(0, size, lanes_of(own)):
        store(own, i, load(network.params, i))
    for i in range(0, rule.memory.size, lanes_of(own)):
        store(own, size + i, load(rule.memory, i))


@inner
def in_groups(
    chunk: int,
    chunks: int,
    call: Call,
    network: Network,
    rule: Rule,
    examples: Examples,
    batches: Batches,
    scratch: AllScratch,
    record: Record,
):
    """`train.train` for a network of few weights."""
    data, targets, own = data_of(examples), targets_of(examples), scratch.own[chunk]
    part, parts = call.piece * chunks + chunk, call.pieces * chunks
    if chunk > 0 and call.end - call.first > 1:  # before the first chunk changes anything
        _copy_to_own(network, rule, own)
        rule, network = _own_rule(network, rule, own), _own_network(network, own)
    for s in range(call.first, call.end):
        batch = batch_of(chunk, chunks, False, call, batches, s)
        # Pieces of a step need not be made by as many chunks.
        turn = s % 2 if chunks > 1 and call.stage == WHOLE_STEPS else 0
        squares = scratch.squares[turn * SQUARES : (turn + 1) * SQUARES]
        if call.stage == ON_GIVEN:
            lists = layer_of(network, 0).kind == SPARSE_AFFINE
            begin, end = _rows_of_part(batch.count, chunk, chunks)
            TAKE_ROWS(parts_of(network), 0, (chunk, chunks, lists, examples, begin, end))
        if call.stage <= SOME_ROWS:
            _group_sweep(chunk, part, parts, turn, network, rule, data, targets, batch, scratch)
        if call.stage in (SOME_ROWS, SOME_GRADIENTS):
            return
        if batches.penalty.size:
            SQUARES_OF_WEIGHTS(parts_of(network), 0, (chunk, chunks, network, squares))
        barrier(call.team, chunks)
        if call.stage == ON_GIVEN and any_strange(examples.found):
            return
        total = _loss_of_groups(turn, batch.count, scratch)
        then = note_loss(chunk, s, total, batch, batches, squares, record)
        if then == STOP_BEFORE_UPDATE and rule.code != STORE:  # a gradient is what it is
            return
        if chunk == 0 or s + 1 < call.end:
            rule_of_step = rule_of(call, rule, batches, scratch, s)
            _update_by_groups(turn, batch.count, network, rule_of_step, scratch)
        if then == STOP_AFTER_UPDATE:
            return
