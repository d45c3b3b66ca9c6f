"""Calls of the compiled sweeps: scratch is made here, and work cut so that Python stays in charge."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fastnn import runtime
from fastnn.gate import Samples
from fastnn.kernels import sweeps, updates
from fastnn.parameters import Parameters, Plan, aligned_zeros

# Multiply-adds of one evaluation call: about 20 ms on one slow core, so that
# Ctrl-C is never far.
EVALUATION_WORK = 200_000_000


class Examples:
    """Samples with what is wanted of them, as the kernels read both."""

    def __init__(self, samples: Samples, labels: np.ndarray, targets: np.ndarray):
        self.rows, self.sparse = samples.rows, samples.sparse
        self.inputs, self.wanted = samples.arguments, (labels, targets)


def multiply_adds(params: Parameters, samples: Samples | Examples) -> float:
    """Multiply-adds of one forward pass of one row, skipped zeros not counted."""
    sizes = params.plan(0).table[:, : sweeps.OUTPUTS + 1]
    total = float((sizes[:, 0] * sizes[:, 1]).sum())
    if samples.sparse:
        value = (samples.arguments if isinstance(samples, Samples) else samples.inputs)[4]
        total -= sizes[0].prod() * (1 - value.size / (samples.rows * sizes[0, 0]))
    return total


class Scratch:
    """Memory of one pass, or of many in turn; never shared between calls at the same time."""

    def __init__(self, plan: Plan, rows: int, chunks: int, dtype: np.dtype):
        self.values = aligned_zeros(plan.values_size, dtype)
        self.deltas = aligned_zeros(plan.deltas_size, dtype)
        self.work = aligned_zeros(chunks * plan.work_size, dtype).reshape(chunks, plan.work_size)
        self.cursor = np.empty((chunks, rows), np.int64)
        self.last = np.empty((chunks, rows), np.int64)


def evaluate(
    params: Parameters,
    loss: int,
    samples: Samples | Examples,
    wanted: tuple[np.ndarray, np.ndarray] | None,
    outputs: np.ndarray,
    row_loss: np.ndarray,
) -> None:
    """Fill in the outputs and, where targets are `wanted`, the losses of all rows.

    An empty `outputs` or `row_loss` is left out.
    """
    cost = multiply_adds(params, samples)
    inputs = samples.arguments if isinstance(samples, Samples) else samples.inputs
    dtype = params.block.dtype
    labels, targets = wanted or (np.empty(0, np.int64), np.empty((0, 1), dtype))
    chunks = runtime.most_chunks(cost * samples.rows)
    block = min(sweeps.ROW_BLOCK, samples.rows)
    plan = params.plan(chunks * sweeps.ROW_BLOCK if chunks > 1 else block)
    values = aligned_zeros(plan.values_size, dtype)
    cursor = np.empty((2, chunks, block), np.int64)
    order = np.arange(samples.rows)
    step = max(block * chunks, int(EVALUATION_WORK / cost))
    for first in range(0, samples.rows, step):
        rows = slice(first, first + step)
        runtime.run(
            sweeps.evaluate, cost * min(step, samples.rows), plan.table, loss, params.block, *inputs, labels, targets,
            order[rows], values, cursor[0], cursor[1], outputs[rows], row_loss[rows],
        )  # fmt: skip


def mean_loss(row_loss: np.ndarray) -> float:
    """Mean of the rows' losses, summed one after the other as the kernels do."""
    return float(np.add.accumulate(row_loss)[-1] / row_loss.size)


class Steps:
    """Training steps on one set of examples, with the scratch they share."""

    def __init__(
        self,
        params: Parameters,
        loss: int,
        examples: Examples,
        batch_size: int,
        rule: tuple[int, np.ndarray],
        memory: np.ndarray,
    ):
        dtype = params.block.dtype
        self.params, self.loss, self.examples = params, loss, examples
        self.rule, self.memory = rule, memory
        self.work = multiply_adds(params, examples) * batch_size
        chunks = runtime.most_chunks(self.work)
        self.plan = params.plan(batch_size)
        self.scratch = Scratch(self.plan, batch_size, chunks, dtype)
        self.row_loss = np.empty(batch_size)

    def run(self, index: np.ndarray, begin: np.ndarray) -> tuple[int, np.ndarray]:
        """Make the steps ``index[begin[s] : begin[s + 1]]``.

        Returns the number of updates made, and the losses of the batches seen:
        one more than updates if the last loss is not finite.
        """
        step_loss = np.empty(begin.size - 1)
        s = self.scratch
        done = runtime.run(
            sweeps.train, self.work, self.plan.table, self.loss, *self.rule, self.params.block,
            self.memory, *self.examples.inputs, *self.examples.wanted, index, begin,
            s.values, s.deltas, s.work, s.cursor, s.last, self.row_loss, step_loss,
        )  # fmt: skip
        return done, step_loss[: done + 1]


def gradient(params: Parameters, loss: int, examples: Examples) -> np.ndarray:
    """Block of the gradients of the mean loss over all rows, laid out like the parameters."""
    dtype = params.block.dtype
    block = aligned_zeros(params.block.size, dtype)
    rule = (updates.STORE, np.zeros(updates.HYPER_SIZE, dtype))
    steps = Steps(params, loss, examples, examples.rows, rule, block)
    steps.run(np.arange(examples.rows), np.array([0, examples.rows]))
    return block


def spans(first: int, end: int, most: int) -> Iterator[tuple[int, int]]:
    """Cut ``first .. end`` into pieces of at most `most`."""
    for at in range(first, end, most):
        yield at, min(at + most, end)
