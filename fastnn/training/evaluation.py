"""Outputs and losses of many rows: calls of the kernels that go through a network once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fastnn.compiler import runtime
from fastnn.kernels import evaluate as kernels
from fastnn.kernels.groups import ROW_BLOCK, Targets
from fastnn.training.data import Samples, looked_at
from fastnn.training.parameters import Parameters
from fastnn.training.parts import Answers
from fastnn.training.plan import aligned_zeros

NO_SUMS = np.empty(0)
# Multiply-adds of one evaluation call: about 20 ms on one slow core, so that Ctrl-C is never far.
# Wide networks take whole blocks of rows, as each reads all weights.
EVALUATION_WORK = 200_000_000
# The same of a piece of a step that takes many calls, 0.1 to 0.3 s on a slow machine.
LONG_PIECE = 4e9


def multiply_adds(params: Parameters, rows: Samples) -> float:
    """Multiply-adds of one row's forward pass, skipped zeros not counted; at least one."""
    sizes = params.layer_sizes
    return max(1.0, params.multiply_adds - (1 - rows.density) * sizes[0] * sizes[1])


def rows_of_a_call(cost: float, slots: int) -> int:
    """Rows, of so many multiply-adds each, that a call takes: whole `slots`, if they are quick."""
    return max(1, int(EVALUATION_WORK / cost), min(slots, int(LONG_PIECE / cost)))


def evaluate(
    params: Parameters,
    loss: int,
    inputs: Samples,
    wanted: Targets,
    outputs: np.ndarray,
    row_loss: np.ndarray,
) -> None:
    """Fill in the outputs of all rows and their losses against what is `wanted`.

    An empty `outputs` or `row_loss` is left out.
    """
    cost, rows = multiply_adds(params, inputs), inputs.rows
    slots = slots_of(cost * rows, rows)
    plan = params.plan(slots, gathers=False, first=inputs.kind)
    plan.parts.have(Answers(loss, with_loss=row_loss.size > 0))
    before = plan.table, loss, params.block, *looked_at(inputs, wanted)
    values = aligned_zeros(plan.values_size, params.block.dtype)
    cursor, order = np.empty((inputs.blocks, slots), np.int64), np.arange(rows)
    for first, end in spans(0, rows, rows_of_a_call(cost, slots)):
        runtime.run(
            kernels.evaluate,
            cost * (end - first),
            *before,
            order[first:end],
            values,
            cursor,
            outputs[first:end],
            row_loss[first:end],
            NO_SUMS,
        )


def slots_of(work: float, rows: int) -> int:
    """Rows that the chunks of a call of so much work take at a time."""
    chunks = runtime.most_chunks(work)
    return chunks * ROW_BLOCK if chunks > 1 else min(ROW_BLOCK, rows)


def spans(first: int, end: int, most: int) -> Iterator[tuple[int, int]]:
    """Cut ``first .. end`` into pieces of at most `most`."""
    for at in range(first, end, most):
        yield at, min(at + most, end)
