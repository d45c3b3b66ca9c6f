"""Training steps: a step is two sweeps, over rows and over weights, with a wait behind each."""

import numpy as np

from fastnn.compiler.groups import read_group
from fastnn.compiler.jit import inner
from fastnn.compiler.launch import chunked
from fastnn.compiler.team import assemble, barrier
from fastnn.kernels.epochs import SCALE, STEPS, note_step
from fastnn.kernels.given import any_strange, take_rows
from fastnn.kernels.groups import (
    GATHER,
    ZERO,
    AllScratch,
    Batches,
    Call,
    Examples,
    Network,
    Record,
    Rows,
    Rule,
    data_of,
    layer_of,
    share_of,
    targets_of,
)
from fastnn.kernels.layers import SPARSE_AFFINE
from fastnn.kernels.row_groups import (
    copy_to_own,
    group_sweep,
    has_few,
    loss_of_groups,
    own_network,
    own_rule,
    rows_of_part,
    update_by_groups,
)
from fastnn.kernels.rows import column_sweep, row_sweep, work_of
from fastnn.kernels.rules import STORE, RateAndDecay, of_step, storing, without_decay
from fastnn.kernels.weights import (
    number_of_weights,
    squares_of_weights,
    update_from,
    weight_sweep,
)

# Networks of so many weights: batches of few rows are shared out by columns, and for very few
# reading and writing the weights is all that counts.
WIDE_WEIGHTS, COLUMN_ROWS, FEW_ROWS = 200_000, 64, 4
# Stages of `Call`: one step on rows that are given, whole steps, or pieces of one.
ON_GIVEN, WHOLE_STEPS, SOME_ROWS, SOME_GRADIENTS, UPDATE = range(5)
# How a step goes on when its loss is known.
GO_ON, STOP_BEFORE_UPDATE, STOP_AFTER_UPDATE = range(3)
# Parts that the sum of the squares of all weights is made of.
SQUARES = 16


@inner
def _batch_of(wide, batches, step):
    """The rows of a step."""
    first, end = batches.begin[step], batches.begin[step + 1]
    share = batches.share[first:end] if batches.share.size else batches.share
    numbers, few = batches.index[first:end], wide and end - first <= FEW_ROWS
    return Rows(numbers, numbers.size, GATHER, ZERO, batches.salt + step, few, share)


@inner
def _losses_of(batch, scratch):
    """Losses of all rows, added up by every chunk, with the same result in each."""
    total, share = 0.0, batch.share
    for r in range(batch.count):
        total += scratch.row_loss[r] * share[r] if share.size else scratch.row_loss[r]
    return total


@inner
def _note_loss(chunk, step, total, batch, batches, squares, record):
    """Record the loss of a step, whose rows all chunks have finished, and say how to go on."""
    share = batch.share
    mean = total if share.size else total / batch.count
    ends, watch = False, record.watch[chunk]
    if watch[STEPS]:
        mean *= watch[SCALE]
        if batches.penalty.size:
            mean += batches.penalty[step] * squares.sum()
        ends = note_step(watch, record.epoch_loss, mean, batch.count, chunk == 0)
    if chunk == 0:
        record.step_loss[step] = mean
        record.done[0], record.done[1] = step + np.isfinite(total), step + 1
    if not np.isfinite(total):
        return STOP_BEFORE_UPDATE
    return STOP_AFTER_UPDATE if ends else GO_ON


@inner
def _rule_of(call, rule, batches, scratch, step):
    """The rule of a step; of pieces of gradients, which are not yet updates, that stores them."""
    if call.stage == SOME_GRADIENTS:  # the update adds the decay
        return without_decay(storing(rule, scratch.gradient))
    return of_step(rule, read_group(RateAndDecay, batches.rates, step))


@inner
def _train_few(chunk, chunks, call, network, rule, examples, batches, scratch, record):
    """`train` for a network of few weights, in groups of rows; see `row_groups`."""
    data, targets, own = data_of(examples), targets_of(examples), scratch.own[chunk]
    part, parts = call.piece * chunks + chunk, call.pieces * chunks
    if chunk > 0 and call.end - call.first > 1:  # before the first chunk changes anything
        copy_to_own(network, rule, own)
        rule, network = own_rule(network, rule, own), own_network(network, own)
    for s in range(call.first, call.end):
        batch = _batch_of(False, batches, s)
        # Pieces of a step need not be made by as many chunks.
        turn = s % 2 if chunks > 1 and call.stage == WHOLE_STEPS else 0
        squares = scratch.squares[turn * SQUARES : (turn + 1) * SQUARES]
        if call.stage == ON_GIVEN:
            lists = layer_of(network, 0).kind == SPARSE_AFFINE
            begin, end = rows_of_part(batch.count, chunk, chunks)
            take_rows(chunk, chunks, lists, examples, begin, end)
        if call.stage <= SOME_ROWS:
            group_sweep(chunk, part, parts, turn, network, rule, data, targets, batch, scratch)
        if call.stage in (SOME_ROWS, SOME_GRADIENTS):
            return
        if batches.penalty.size:
            squares_of_weights(chunk, chunks, network, squares)
        barrier(call.team, chunks)
        if call.stage == ON_GIVEN and any_strange(examples.found):
            return
        total = loss_of_groups(turn, batch.count, scratch)
        then = _note_loss(chunk, s, total, batch, batches, squares, record)
        if then == STOP_BEFORE_UPDATE and rule.code != STORE:  # a gradient is what it is
            return
        if chunk == 0 or s + 1 < call.end:
            rule_of_step = _rule_of(call, rule, batches, scratch, s)
            update_by_groups(turn, batch.count, network, rule_of_step, scratch)
        if then == STOP_AFTER_UPDATE:
            return


@chunked
def train(
    chunk,
    chunks,
    call: Call,
    network: Network,
    rule: Rule,
    examples: Examples,
    batches: Batches,
    scratch: AllScratch,
    record: Record,
):
    """A chunk's share of some of the steps of `batches`.

    Records the mean loss of each batch before its update, the means of epochs as ``record.watch``
    says (see `note_step`), and the numbers of updates and of losses.  Stops before the update of a
    step whose loss is not finite, unless the rule is STORE, or after the one that ends training.

    The steps of the `call` are whole; or there are many calls for one: of all
    pieces of SOME_ROWS, then of all of SOME_GRADIENTS, which go to ``scratch.gradient``, and last
    UPDATE.  Or it is one step, ON_GIVEN, on rows that come with the call and are looked at first:
    if one is not as it should be, nothing is changed or recorded.
    """
    chunks = assemble(call.team, chunk, chunks)
    if chunks == 0:
        return
    weights = number_of_weights(network)
    if has_few(weights, layer_of(network, 0).inputs):
        _train_few(chunk, chunks, call, network, rule, examples, batches, scratch, record)
        return
    mine, wide = work_of(scratch, chunk), weights >= WIDE_WEIGHTS
    data, targets = data_of(examples), targets_of(examples)
    part, parts = call.piece * chunks + chunk, call.pieces * chunks
    for s in range(call.first, call.end):
        batch = _batch_of(wide, batches, s)
        by_columns = wide and chunks > 1 and batch.count <= COLUMN_ROWS
        if call.stage == ON_GIVEN:
            lists = layer_of(network, 0).kind == SPARSE_AFFINE
            begin, end = share_of(batch.count, chunk, chunks)
            take_rows(chunk, chunks, lists, examples, begin, end)
            if by_columns:
                barrier(call.team, chunks)
        if call.stage <= WHOLE_STEPS and by_columns:
            column_sweep(chunk, chunks, network, data, targets, batch, mine, call.team)
        elif call.stage <= SOME_ROWS:
            row_sweep(part, parts, network, data, targets, batch, mine)
        if call.stage == SOME_ROWS:
            return
        then = GO_ON
        if call.stage != SOME_GRADIENTS:
            if batches.penalty.size:
                squares_of_weights(chunk, chunks, network, scratch.squares[:SQUARES])
            barrier(call.team, chunks)
            if call.stage == ON_GIVEN and any_strange(examples.found):
                return
            total = _losses_of(batch, scratch)
            then = _note_loss(chunk, s, total, batch, batches, scratch.squares[:SQUARES], record)
        if then == STOP_BEFORE_UPDATE and rule.code != STORE:  # a gradient is what it is
            return
        rule_of_step = _rule_of(call, rule, batches, scratch, s)
        if call.stage == UPDATE:
            update_from(scratch.gradient, chunk, chunks, network, rule_of_step)
        else:
            weight_sweep(part, parts, network, rule_of_step, data, batch, mine)
        if call.stage == SOME_GRADIENTS:
            return
        barrier(call.team, chunks)
        if then == STOP_AFTER_UPDATE:
            return
