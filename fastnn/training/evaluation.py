"""Outputs and losses of many rows: calls of the kernels that go through a network once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from fastnn.compiler import runtime
from fastnn.compiler.rounding import rounding_to_nearest
from fastnn.kernels import evaluate as kernels
from fastnn.kernels.rows import ROW_BLOCK
from fastnn.training.data import Samples
from fastnn.training.parameters import Parameters, aligned_zeros

# Multiply-adds of one evaluation call: about 20 ms on one slow core, so that Ctrl-C is never far.
# Wide networks take whole blocks of rows, as each reads all weights.
EVALUATION_WORK = 200_000_000
# Multiply-adds of rows up to which lists of their nonzeros are not worth making: 100 rows of
# 784-50-10.  Of 8 rows the lists, and what comes with them, were four fifths of the time.
FEW_WORK = 4_000_000
# The same of a piece of a long call, 0.1 to 0.3 s on a slow machine.
LONG_PIECE = 4e9
# Scratch of a prediction that a network keeps for the next one.
KEPT_BYTES = 4 << 20


def multiply_adds(params: Parameters, rows: Samples) -> float:
    """Multiply-adds of one row's forward pass, skipped zeros not counted; at least one."""
    sizes = params.layer_sizes
    return max(1.0, params.multiply_adds - (1 - rows.density) * sizes[0] * sizes[1])


def rows_of_a_call(cost: float, slots: int) -> int:
    """Rows, of so many multiply-adds each, that a call takes: whole `slots`, if they are quick."""
    return max(1, int(EVALUATION_WORK / cost), min(slots, int(LONG_PIECE / cost)))


class Passage(NamedTuple):
    """Memory of passes through a network, so many rows at a time."""

    slots: int
    order: np.ndarray  # 0, 1, ..., a number for each row
    values: np.ndarray  # what is in these means nothing
    cursor: np.ndarray


def passage_of(params: Parameters, rows: int, most: int, blocks: int) -> Passage:
    """Memory for passes of `rows` rows in all, and of `most` at a time."""
    plan = params.plan(most, gathers=False)
    values = aligned_zeros(plan.values_size, params.block.dtype)
    return Passage(most, np.arange(rows), values, np.empty((blocks, most), np.int64))


def slots_for(work: float, rows: int) -> int:
    """Rows that the chunks of a call of so much work take at a time."""
    chunks = runtime.most_chunks(work)
    return chunks * ROW_BLOCK if chunks > 1 else min(ROW_BLOCK, rows)


def evaluate(
    params: Parameters,
    loss: int,
    inputs: Samples,
    wanted: tuple[np.ndarray, np.ndarray],
    outputs: np.ndarray,
    row_loss: np.ndarray,
    memory: Passage | None = None,
) -> None:
    """Fill in the outputs of all rows and their losses against what is `wanted`.

    An empty `outputs` or `row_loss` is left out.
    """
    cost, rows = multiply_adds(params, inputs), inputs.rows
    slots = slots_for(cost * rows, rows)
    if memory is None or memory.slots < slots:
        memory = passage_of(params, rows, slots, inputs.blocks)
    plan = params.plan(memory.slots, gathers=False, first=inputs.kind)
    before = plan.table, loss, params.block, *inputs.data, *wanted
    most = rows_of_a_call(cost, slots)
    for first, end in spans(0, rows, most):
        runtime.run(
            kernels.evaluate,
            cost * (end - first),
            *before,
            memory.order[first:end],
            memory.values,
            memory.cursor,
            outputs[first:end],
            row_loss[first:end],
        )


def outputs_of_dense(params: Parameters, loss: int, x: np.ndarray) -> np.ndarray | None:
    """Outputs of rows that lie in an array, with scratch that is kept; None if x is not finite."""
    kept, work = params.kept_scratch, params.multiply_adds * len(x)
    outputs = np.empty((len(x), params.layer_sizes[-1]), x.dtype)
    most = runtime.most_chunks(work)
    try:
        scratch = kept.pop()
    except IndexError:  # none yet, or all at work in other threads
        scratch = None
    if scratch is None or scratch[0].size < most:
        plan = params.plan(most * ROW_BLOCK, gathers=False)
        values = aligned_zeros(plan.values_size, x.dtype)
        scratch = np.zeros(most), plan.table, np.empty(0, np.uint16), values
    strange, table, no_column, values = scratch
    network = table, loss, params.block
    calls = 1
    if work > EVALUATION_WORK:
        calls = -(-len(x) // rows_of_a_call(params.multiply_adds, most * ROW_BLOCK))
    if calls == 1:
        runtime.run(kernels.predict, work, *network, x, no_column, values, outputs, strange)
    else:
        for rows, y in zip(np.array_split(x, calls), np.array_split(outputs, calls), strict=True):
            runtime.run(
                kernels.predict, work / calls, *network, rows, no_column, values, y, strange
            )
    if 1.0 in strange.tolist():  # any() would take a fifth of a short call
        return None
    if values.nbytes <= KEPT_BYTES:
        kept.append(scratch)
    return outputs


def mean_loss(row_loss: np.ndarray) -> float:
    """Mean of the rows' losses, summed one after the other as the kernels do."""
    with rounding_to_nearest():
        return float(np.add.accumulate(row_loss)[-1] / row_loss.size)


def spans(first: int, end: int, most: int) -> Iterator[tuple[int, int]]:
    """Cut ``first .. end`` into pieces of at most `most`."""
    for at in range(first, end, most):
        yield at, min(at + most, end)
