"""What a training step begins and ends with, however it is made: its rows, its rule, its loss."""

import numpy as np

from fastnn.compiler.groups import read_group
from fastnn.compiler.jit import inner
from fastnn.kernels.epochs import SCALE, STEPS, note_step
from fastnn.kernels.groups import GATHER, ZERO, Rows, share_of
from fastnn.kernels.rules import RateAndDecay, of_step, storing, without_decay

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
def batch_of(chunk, chunks, wide, call, batches, step):
    """The rows of a step; and a chunk's of the next, if this call makes it."""
    first, end = batches.begin[step], batches.begin[step + 1]
    share = batches.share[first:end] if batches.share.size else batches.share
    numbers, few = batches.index[first:end], wide and end - first <= FEW_ROWS
    ahead = numbers[:0]
    if step + 1 < call.end:
        first, last = share_of(batches.begin[step + 2] - end, chunk, chunks)
        ahead = batches.index[end + first : end + last]
    salt, count = batches.salt + step, numbers.size
    return Rows(numbers, count, GATHER, ZERO, salt, few, share, ahead, count)


@inner
def losses_of(batch, scratch):
    """Losses of all rows, added up by every chunk, with the same result in each."""
    total, share = 0.0, batch.share
    for r in range(batch.count):
        total += scratch.row_loss[r] * share[r] if share.size else scratch.row_loss[r]
    return total


@inner
def note_loss(chunk, step, total, batch, batches, squares, record):
    """Record the loss of a step, whose rows all chunks have finished, and say how to go on."""
    share = batch.share
    mean = total if share.size else total / batch.count
    ends, watch = False, record.watch[chunk]
    if watch[STEPS]:
        mean *= watch[SCALE]
        if batches.penalty.size:
            all_squares = 0.0
            for some in squares:
                all_squares += some
            mean += batches.penalty[step] * all_squares
        ends = note_step(watch, record.epoch_loss, mean, batch.count, chunk == 0)
    if chunk == 0:
        record.step_loss[step] = mean
        record.done[0], record.done[1] = step + np.isfinite(total), step + 1
    if not np.isfinite(total):
        return STOP_BEFORE_UPDATE
    return STOP_AFTER_UPDATE if ends else GO_ON


@inner
def rule_of(call, rule, batches, scratch, step):
    """The rule of a step; of pieces of gradients, which are not yet updates, that stores them."""
    if call.stage == SOME_GRADIENTS:  # the update adds the decay
        return without_decay(storing(rule, scratch.gradient))
    return of_step(rule, read_group(RateAndDecay, batches.rates, step))
