"""Desks: memory for one call at a time, and the calls of kernels that use it.

What a call needs beside the rows lies on a desk, which is kept for the next call on a network of
the same shape.  A desk at work is not among those kept, so threads share none.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastnn.compiler import runtime
from fastnn.compiler.launch import Chunked
from fastnn.compiler.team import new_team
from fastnn.kernels import epochs, train
from fastnn.kernels import evaluate as kernels
from fastnn.kernels.given import add_up
from fastnn.kernels.groups import ROW_BLOCK, Examples, Rule
from fastnn.kernels.nonzeros import Found
from fastnn.kernels.rules import STORE, Numbers
from fastnn.kernels.steps import ON_GIVEN
from fastnn.training.data import (
    COMPRESS_WORK,
    SPARSE_BELOW,
    blocks_of,
    column_kind,
    looks_sparse,
    room_of,
)
from fastnn.training.evaluation import EVALUATION_WORK, NO_SUMS, rows_of_a_call, spans
from fastnn.training.model import Model
from fastnn.training.parts import Answers, Training
from fastnn.training.plan import aligned_zeros
from fastnn.training.steps import LONG_STEP, StepScratch, with_few
from fastnn.training.targets import GivenTargets

# Desks that are kept, and bytes of all of them.  Networks of the same shape share them: a thousand
# of 4-64-64-2 would touch 400 MB of their own.
KEPT_DESKS, KEPT_BYTES = 16, 64 << 20
_kept: list[Desk] = []
FEWEST = 16  # rows that memory is made for
# Multiply-adds of rows up to which lists of their nonzeros are not worth making: 13 rows of
# 784-50-10.
FEW_WORK = 500_000
# Share of nonzeros that is expected of the first rows that look sparse, and multiply-adds that one
# of a list takes as long as.
FIRST_DENSITY, LISTED = 0.2, 2.4


class Given(NamedTuple):
    """Rows as kernels can read them; no number has been looked at."""

    x: np.ndarray
    targets: GivenTargets


class Seen:
    """Memory for what kernels see in up to so many rows, `listed` of which have lists at a time."""

    def __init__(self, model: Model, rows: int, listed: int, chunks: int):
        width = model.layer_sizes[0]
        self.rows, self.chunks = rows, chunks
        room = room_of(listed, width)
        self.bounds, self.labels = np.empty((rows, 2), np.int64), np.empty(rows, np.int64)
        self.column, self.value = np.empty(room, column_kind(width)), np.empty(room, model.dtype)
        self.found = np.zeros((chunks, len(Found._fields)), np.int64)
        self.arrays = [self.bounds, self.labels, self.column, self.value]

    def examples(self, given: Given) -> Examples:
        """Given rows as kernels take them."""
        self.found.fill(0)
        x, targets = given
        labels = self.labels[: max(len(targets.one_hot), len(targets.given))]
        data = x, self.bounds, self.column, self.value
        return Examples._make((*data, labels, *targets, self.found))


class DenseMemory:
    """Memory for outputs of any number of dense rows."""

    rows = sys.maxsize

    def __init__(self, model: Model, rows: int, chunks: int):
        plan = model.params.plan(chunks * ROW_BLOCK, gathers=False)
        self.chunks = chunks
        self.values = aligned_zeros(plan.values_size, model.dtype)
        self.arrays = [self.values]
        self.strange, self.between = (
            np.zeros(chunks),
            (np.empty(0, column_kind(model.layer_sizes[0])), self.values),
        )


class AnswerMemory(Seen):
    """Memory for passes of up to so many rows, `slots` at a time."""

    def __init__(self, model: Model, rows: int, chunks: int):
        slots = chunks * ROW_BLOCK
        super().__init__(model, rows, slots, chunks)
        plan, width = model.params.plan(slots, gathers=False), model.layer_sizes[0]
        self.slots, self.order, self.sums = slots, np.arange(rows), np.empty(3)
        self.values = aligned_zeros(plan.values_size, model.dtype)
        self.cursor = np.empty((blocks_of(width), slots), np.int64)
        self.row_loss = np.empty(rows)
        self.arrays += [self.values, self.cursor, self.row_loss]


class StepMemory(Seen):
    """Memory for a step on up to so many rows."""

    def __init__(self, model: Model, rows: int, chunks: int):
        super().__init__(model, rows, rows, chunks)
        dtype = model.dtype
        self.scratch = StepScratch(model.params, rows, chunks)
        self.gradient = aligned_zeros(model.params.block.size, dtype)
        self.arrays += [*self.scratch.arrays, self.gradient]
        self.index, self.begin, self.loss = np.arange(rows), np.zeros(2, np.int64), np.empty(1)
        self.watch = np.zeros((chunks, epochs.WATCH_COLUMNS))
        self.no_share, self.nothing = np.empty(0, dtype), np.empty(0)
        zero, numbers = dtype.type(0), np.zeros(len(Numbers._fields), dtype)
        self.storing = Rule(STORE, numbers, self.gradient, zero, zero)


class Desk:
    """Memory for one call at a time on networks of one shape; what is in it means nothing."""

    def __init__(self, model: Model):
        self.shape = model.shape
        self._dense: DenseMemory | None = None
        self._answer: AnswerMemory | None = None
        self._step: StepMemory | None = None
        self.nbytes, self.has_grown = 0, True
        self._jobs: dict[Any, runtime.Job] = {}
        # Whether the last rows were mostly zero, and their share of nonzeros.
        self._sparse, self._density = False, FIRST_DENSITY

    def _made(self, model: Model, kind: type[Any], at_hand: Any, rows: int, chunks: int) -> Any:
        """Memory for so many rows and chunks: that at hand, if it is large enough."""
        if at_hand is None or at_hand.rows < rows or at_hand.chunks < chunks:
            before = 0 if at_hand is None else _bytes_of(at_hand)
            at_hand = kind(model, room_for(rows), chunks)
            self.nbytes, self.has_grown = self.nbytes + _bytes_of(at_hand) - before, True
        return at_hand

    def _way(self, call: str, sparse: bool, rows: int, chunks: int) -> Callable[..., None]:
        """How to run calls of a kind: each kind has its pace, alone and with threads."""
        if chunks == 1:
            return _run_alone
        kind = call, sparse, rows.bit_length()
        job = self._jobs.get(kind)
        if job is None:
            job = self._jobs[kind] = runtime.Job()
        return job.run

    def _looks_sparse(self, model: Model, x: np.ndarray) -> bool:
        """Whether lists of nonzeros are likely to pay; of rows like the last ones they are."""
        few = model.params.multiply_adds * len(x) < FEW_WORK
        if few or model.params.images or not room_of(*x.shape):
            return False
        return self._sparse or looks_sparse(x)

    def _cost(self, model: Model, sparse: bool) -> float:
        """Multiply-adds that a row's forward pass takes as long as, a look at it included."""
        params, (width, first, *_) = model.params, model.layer_sizes
        if not sparse:
            return params.multiply_adds
        skipped = 1 - LISTED * self._density
        return params.multiply_adds - skipped * width * first + COMPRESS_WORK * width

    def _passes(self, found: np.ndarray, sparse: bool, size: int) -> bool | None:
        """Whether a kernel has found rows to be as they should; None if they are not sparse."""
        seen = found[0] if len(found) == 1 else found.sum(axis=0)
        entries, without_room, not_finite, not_wanted = seen.tolist()
        if not_finite or not_wanted:
            return False
        self._sparse = sparse and not without_room and entries <= SPARSE_BELOW * size
        if without_room:
            return None
        if sparse:
            self._density = entries / size
        return True

    def outputs(self, model: Model, x: np.ndarray) -> np.ndarray | None:
        """Outputs of rows; None if a number is not finite."""
        outputs = np.empty((len(x), model.layer_sizes[-1]), x.dtype)
        work = model.params.multiply_adds * len(x)
        if work >= FEW_WORK and self._looks_sparse(model, x):
            given = Given(x, model.wanted.none)
            return None if self.answer(model, given, outputs, with_loss=False) is None else outputs
        chunks = runtime.most_chunks(work)
        self._dense = memory = self._made(model, DenseMemory, self._dense, 0, chunks)
        plan, strange = model.params.plan(memory.chunks * ROW_BLOCK, gathers=False), memory.strange
        plan.parts.have(Answers(model.loss, False))
        before, between = (plan.table, model.loss, model.params.block), memory.between
        strange.fill(0)
        if chunks == 1 and work <= EVALUATION_WORK:
            kernels.predict.serial(1, *before, x, *between, outputs, strange)
        else:
            most = rows_of_a_call(model.params.multiply_adds, memory.chunks * ROW_BLOCK)
            run, calls = self._way("outputs", False, len(x), chunks), -(-len(x) // most)
            calls = 1 if work <= EVALUATION_WORK else calls
            for rows, y in zip(
                np.array_split(x, calls), np.array_split(outputs, calls), strict=True
            ):
                run(kernels.predict, work / calls, *before, rows, *between, y, strange)
        return None if 1.0 in strange.tolist() else outputs  # any() would take a fifth of it

    def answer(
        self,
        model: Model,
        given: Given,
        outputs: np.ndarray,
        with_loss: bool,
        may_be_sparse: bool = True,
    ) -> AnswerMemory | None:
        """Fill in outputs, if there is an array for them; losses are in the memory returned.

        None if a row is not as it should be.
        """
        x, rows = given.x, len(given.x)
        sparse = may_be_sparse and self._looks_sparse(model, x)
        cost = self._cost(model, sparse)
        chunks = runtime.most_chunks(cost * rows)
        self._answer = memory = self._made(model, AnswerMemory, self._answer, rows, chunks)
        first = "sparse_affine" if sparse else "affine"
        plan = model.params.plan(memory.slots, gathers=False, first=first)
        plan.parts.have(Answers(model.loss, with_loss, True))
        examples = memory.examples(given)
        before = plan.table, model.loss, model.params.block, *examples
        between, losses = (memory.values, memory.cursor), memory.row_loss[: rows * with_loss]
        sums, run = (
            memory.sums if with_loss else NO_SUMS,
            self._way("answer", sparse, rows, chunks),
        )
        memory.sums.fill(0)
        if cost * rows <= EVALUATION_WORK:
            after = outputs, losses, sums
            run(kernels.evaluate, cost * rows, *before, memory.order[:rows], *between, *after)
        else:
            for start, end in spans(0, rows, rows_of_a_call(cost, memory.slots)):
                order, part = memory.order[start:end], slice(start, end)
                after = outputs[part], losses[part], sums
                run(kernels.evaluate, cost * (end - start), *before, order, *between, *after)
        passed = self._passes(memory.found, sparse, x.size)
        if passed is None:  # they are not mostly zero
            return self.answer(model, given, outputs, with_loss, may_be_sparse=False)
        if passed and with_loss and sums[2] != rows:  # by many chunks, so not in one order
            memory.sums.fill(0)
            wanted = examples.labels, examples.targets, examples.numbers
            add_up.serial(1, losses, outputs, *wanted, memory.sums)
        return memory if passed else None

    def scratch(self, model: Model, rows: int) -> StepScratch | None:
        """Memory for many steps on so many rows; None if it would be too large to keep."""
        if not is_short(model, rows):
            return None
        work = model.params.multiply_adds * rows / runtime.STEP_SHARE
        chunks = runtime.most_chunks(work)
        self._step = self._made(model, StepMemory, self._step, rows, chunks)
        return self._step.scratch

    def step(
        self,
        model: Model,
        given: Given,
        rule: Rule | None,
        pace: np.ndarray,
        done: np.ndarray,
        may_be_sparse: bool = True,
    ) -> StepMemory | None:
        """Make a step on all rows, with the rate and decay of a `pace`, or leave their gradient.

        None if a row is not as it should be; then nothing has changed.  ``done[0]`` becomes 1 if
        weights have changed.
        """
        x, rows = given.x, len(given.x)
        sparse = may_be_sparse and self._looks_sparse(model, x)
        work = 2 * self._cost(model, sparse) * rows
        chunks = runtime.most_chunks(work)
        self._step = memory = self._made(model, StepMemory, self._step, rows, chunks)
        plan = model.params.plan(memory.rows, first="sparse_affine" if sparse else "affine")
        asked = Training(model.loss, STORE if rule is None else rule.code, True)
        plan.parts.have(with_few(asked, model.params, rows, chunks))
        memory.begin[1] = rows
        self._way("step", sparse, rows, chunks)(
            train.train,
            work,
            *(ON_GIVEN, 0, 1, 0, 1, new_team()),
            *(plan.table, model.loss, model.params.block),
            *(memory.storing if rule is None else rule),
            *memory.examples(given),
            *(memory.index, memory.begin, memory.no_share, pace, memory.nothing, 0),
            *memory.scratch.arrays,
            *(memory.loss, memory.watch, memory.nothing, done),
        )
        passed = self._passes(memory.found, sparse, x.size)
        if passed is None:
            return self.step(model, given, rule, pace, done, may_be_sparse=False)
        return memory if passed else None


def _run_alone(kernel: Chunked, work: float, *args: Any) -> None:
    kernel.serial(1, *args)


def _bytes_of(memory: Seen | DenseMemory) -> int:
    return sum([array.nbytes for array in memory.arrays])


def room_for(rows: int) -> int:
    """Rows that memory is made for, so that other numbers of rows find it large enough."""
    return 1 << (max(rows, FEWEST) - 1).bit_length()


def take_desk(model: Model) -> Desk:
    """A desk for a network, to be given back."""
    for desk in reversed(_kept):
        if desk.shape == model.shape:
            try:
                _kept.remove(desk)
            except ValueError:  # another thread has it
                continue
            return desk
    return Desk(model)


def give_back(desk: Desk) -> None:
    """Keep a desk for the next call on a network of this shape."""
    _kept.append(desk)
    if not desk.has_grown and len(_kept) <= KEPT_DESKS:
        return
    desk.has_grown = False
    while len(_kept) > KEPT_DESKS or sum([kept.nbytes for kept in _kept]) > KEPT_BYTES:
        try:
            _kept.pop(0)
        except IndexError:  # other threads have all
            return


def is_short(model: Model, rows: int) -> bool:
    """Whether a step on so many rows is made in one call, in memory that can be kept."""
    numbers = 2 * room_for(rows) * sum(model.layer_sizes) + 4 * model.params.block.size
    short = 3 * model.params.multiply_adds * rows < LONG_STEP
    return short and numbers * model.dtype.itemsize <= KEPT_BYTES
