"""Training steps: calls of the compiled sweeps, their scratch, and long steps in pieces."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from operator import setitem
from typing import Any

import numpy as np

from fastnn.compiler import runtime
from fastnn.compiler.rounding import rounding_to_nearest
from fastnn.compiler.team import new_team
from fastnn.compiler.tiles import GROUP_BYTES
from fastnn.kernels import epochs, row_groups, samples, train
from fastnn.kernels.groups import AllScratch, Batches, Call, Network, Record, Rule
from fastnn.kernels.losses import LOSS_CODES
from fastnn.kernels.rules import SGD, STORE, Numbers
from fastnn.kernels.steps import (
    COLUMN_ROWS,
    FEW_ROWS,
    SOME_GRADIENTS,
    SOME_ROWS,
    SQUARES,
    UPDATE,
    WHOLE_STEPS,
    WIDE_WEIGHTS,
)
from fastnn.training.data import Examples, blocks_of, looked_at
from fastnn.training.evaluation import LONG_PIECE, multiply_adds
from fastnn.training.parameters import Parameters
from fastnn.training.parts import Training
from fastnn.training.plan import aligned_zeros, padded

# Multiply-adds of a step from which it is made in several calls, and of each of them: 0.1 to 0.3 s
# on a slow machine, so that Ctrl-C is never far from any size of batch and of network.
LONG_STEP = 6e9


class StepCount:
    """How many steps are in the weights, counted by the compiled code that makes them.

    So weights and count agree, whatever interrupts a fit, and wherever.
    """

    def __init__(self, steps: int = 0):
        # Steps before the latest call, and what the call has made of them.
        self._counted: tuple[int, np.ndarray] = steps, np.zeros(2, np.int64)

    @property
    def steps(self) -> int:
        """All that were made."""
        before, done = self._counted
        return before + int(done[0])

    def count_on(self, done: np.ndarray) -> None:
        """Count ``done[0]`` more from now on, of the call that is about to be made."""
        self._counted = self.steps, done

    def go_back(
        self, steps: int, arrays: Sequence[np.ndarray], values: Sequence[np.ndarray]
    ) -> None:
        """Set the count and, all at once, arrays that go with it.

        In one call of C code, as an interrupt may come between any two lines of Python.
        """
        before, done = self._counted
        places = (*[slice(None)] * len(arrays), 0)
        new: tuple[Any, ...] = (*values, steps - before)
        moves = map(setitem, (*arrays, done), places, new)  # type: ignore[arg-type]
        deque(moves, maxlen=0)


class StepScratch:
    """Memory of steps of up to so many rows, in up to so many chunks; what is in it means nothing.

    Attributes
    ----------
    rows, chunks : int
    arrays : AllScratch
    """

    def __init__(self, params: Parameters, rows: int, chunks: int):
        self.rows, self.chunks = rows, chunks
        dtype, plan = params.block.dtype, params.plan(rows)
        self.arrays = AllScratch(
            aligned_zeros(plan.values_size, dtype),
            aligned_zeros(plan.deltas_size, dtype),
            aligned_zeros(chunks * plan.work_size, dtype).reshape(chunks, plan.work_size),
            np.empty((blocks_of(params.layer_sizes[0]), rows), np.int64),
            np.empty(rows),
            np.empty(2 * SQUARES),
            np.empty(0, dtype),
            *_group_scratch(params, rows, chunks),
        )


def _group_scratch(params: Parameters, rows: int, chunks: int) -> tuple[np.ndarray, ...]:
    """Gradients and losses of groups of rows, and what a chunk has of its own, or nothing."""
    block, groups = params.block, row_groups.count_groups.py_func(rows)
    few = row_groups.has_few.py_func(params.weights, params.layer_sizes[0])
    if params.images or not few:
        groups = chunks = 0
    # Two lines of the cache are one to some processors' prefetchers.
    size = padded(block.size, block.dtype, 2 * GROUP_BYTES)
    shapes = (2 * groups, size), (chunks, row_groups.OWN_BLOCKS * size)
    partial, own = (aligned_zeros(math.prod(shape), block.dtype).reshape(shape) for shape in shapes)
    return partial, np.empty(2 * groups * row_groups.LINE), own


class Steps:
    """Training steps on one set of examples, with the scratch they share."""

    def __init__(
        self,
        params: Parameters,
        loss: int,
        examples: Examples,
        batch_size: int,
        rule: tuple[int, np.ndarray, float],
        memory: np.ndarray,
        dropout: Sequence[float] = (),
        scratch: StepScratch | None = None,
    ):
        dtype, rows = params.block.dtype, examples.samples
        self._work = multiply_adds(params, rows) * batch_size
        chunks = runtime.most_chunks(self._work / runtime.STEP_SHARE)
        if scratch is None or scratch.rows < batch_size or scratch.chunks < chunks:
            scratch = StepScratch(params, batch_size, chunks)
        self._scratch = scratch.arrays
        plan = self._plan = params.plan(scratch.rows, first=rows.kind, dropout=dropout)
        self._chunks, self._params = chunks, params
        self._pace = runtime.Pace(work=self._work) if chunks > 1 else None
        self._watch = np.zeros((chunks, epochs.WATCH_COLUMNS))
        code, hyper, decay = rule
        with rounding_to_nearest():
            self._decay = dtype.type(decay)
        plain = code == SGD and self._decay == 0
        small = params.weights < WIDE_WEIGHTS and not any(dropout)
        self._one_by_one = batch_size == 1 and (plain or not rows.sparse) and small
        self._one_by_one &= plan.fused and loss < len(LOSS_CODES)
        self._network = Network(plan.table, loss, params.block)
        self._rule = Rule(code, hyper, memory, dtype.type(0), dtype.type(0))
        self._sparse = rows.sparse
        self._data: tuple[Any, ...] = rows.data
        self._targets: tuple[Any, ...] = examples.wanted
        self._examples = looked_at(rows, examples.wanted)

    def take(self, examples: Examples) -> bool:
        """Go on with as many other examples, all of their inputs dense; False if they are not."""
        if examples.samples.sparse or self._sparse:
            return False
        self._data, self._targets = examples.samples.data, examples.wanted
        self._examples = looked_at(examples.samples, examples.wanted)
        return True

    def forget(self) -> None:
        """Hold the examples no longer; before the next step others are taken."""
        self._data = self._targets = self._examples = ()

    @property
    def share(self) -> float:
        """How much of a call's usual length the next one should have."""
        return runtime.Pace.TRIAL if self._pace is not None and self._pace.trying else 1.0

    def watch(self, steps: int, rows: int, scale: float) -> None:
        """Have `run` note the means of `scale` times the losses in epochs of so many steps."""
        places = [epochs.STEPS, epochs.ROWS, epochs.SCALE, epochs.PATIENCE]
        self._watch[:, places] = steps, rows, scale, np.inf

    def stop_when(self, best: float, tolerance: float, waited: int, patience: int) -> None:
        """Have `run` end after epochs without an improvement: scikit-learn's rule.

        `waited` of them have gone by without a loss of ``best - tolerance`` or less, and more than
        `patience` are too many.
        """
        places = [epochs.BEST, epochs.TOLERANCE, epochs.WAITED, epochs.PATIENCE]
        self._watch[:, places] = best, tolerance, waited, patience

    def run(
        self,
        index: np.ndarray,
        begin: np.ndarray,
        rates: np.ndarray,
        *,
        decays: np.ndarray | None = None,
        share: np.ndarray | None = None,
        penalty: np.ndarray | None = None,
        epoch_loss: np.ndarray | None = None,
        salt: int = 0,
        watching: Callable[[np.ndarray, np.ndarray, np.ndarray], None] | None = None,
    ) -> tuple[int, np.ndarray]:
        """Make the steps ``index[begin[s] : begin[s + 1]]`` with learning rates ``rates[s]``.

        If given, ``decays[s]`` is the weight decay of a step, not that of the rule; ``share`` are
        the parts of the rows `index` in the losses of their batches, which add up to one.  In
        steps that are watched, ``penalty[s]`` times the squares of all weights are part of the
        loss, and the mean losses of the epochs that end go to `epoch_loss`, from its beginning.
        What step s drops depends on ``salt + s``.  `watching` is called before anything is made,
        with the array that gets the losses, one that gets the numbers of updates and of losses,
        and one that gets the number of epochs that end.

        Returns the number of updates made, and the losses of the batches seen:
        one more than updates if the last loss is not finite.
        """
        step_loss, done = np.empty(begin.size - 1), np.zeros(2, np.int64)
        dtype = rates.dtype
        paces = np.empty((rates.size, 2), dtype)  # see rules.RateAndDecay
        paces[:, 0], paces[:, 1] = rates, self._decay if decays is None else decays
        if self._watch[0, epochs.STEPS]:
            self._watch = np.repeat(self._watch[:1], len(self._watch), axis=0)
            self._watch[:, epochs.EPOCH] = 0
        nothing = np.empty(0)
        record = Record(step_loss, self._watch, nothing if epoch_loss is None else epoch_loss, done)
        if watching is not None:
            watching(step_loss, done, self._watch[0, epochs.EPOCH : epochs.EPOCH + 1])
        one_by_one = self._one_by_one and penalty is None
        if not one_by_one:
            self._have_parts(begin, penalty is not None)
        share = np.empty(0, dtype) if share is None else share
        penalty = nothing if penalty is None else penalty
        batches = Batches(index, begin, share, paces, penalty, salt)
        if one_by_one:
            batches = batches._replace(index=index[begin[0] : begin[-1]])
            self._make_one_by_one(batches, record)
            return int(done[0]), step_loss[: done[1]]
        if 3 * self._work < LONG_STEP:
            began = time.perf_counter()
            call = Call(WHOLE_STEPS, 0, begin.size - 1, 0, 1, new_team())
            self._call(begin.size - 1, call, batches, record)
            self._note_pace(int(done[0]), began)
        else:
            self._make_long_steps(begin.size - 1, batches, record)
        return int(done[0]), step_loss[: done[1]]

    def _have_parts(self, begin: np.ndarray, penalty: bool) -> None:
        wide = self._params.weights >= WIDE_WEIGHTS
        fewest = int(np.diff(begin).min()) if wide and len(begin) > 1 else 0
        codes = [self._rule.code] if 3 * self._work < LONG_STEP else [self._rule.code, STORE]
        for code in codes:
            asked = Training(self._network.loss, code, penalty=penalty)
            self._plan.parts.have(with_few(asked, self._params, fewest, self._chunks))

    def _make_one_by_one(self, batches: Batches, record: Record) -> None:
        """Steps on one row each, in a loop that is serial and fused."""
        runtime.run(
            samples.train_one_by_one,
            0,
            *self._network,
            *self._rule,
            *self._data,
            *self._targets,
            *batches,
            self._scratch.values,
            self._scratch.deltas,
            *record,
        )

    def _call(self, count: float, call: Call, batches: Batches, record: Record) -> None:
        """Have the kernel make so many steps, or such a share of one."""
        work = self._work * min(count, 1 / runtime.STEP_SHARE)
        if self._pace is not None and not self._pace.parallel:
            work = 0
        if self._watch[0, epochs.STEPS]:
            self._watch[:] = self._watch[0]  # a call of fewer chunks has left the others behind
        runtime.run(
            train.train,
            work,
            *call,
            *self._network,
            *self._rule,
            *self._examples,
            *batches,
            *self._scratch,
            *record,
        )

    def _note_pace(self, steps: float, began: float) -> None:
        if self._pace is not None:
            self._pace.record(steps, time.perf_counter() - began)

    def _make_long_steps(self, count: int, batches: Batches, record: Record) -> None:
        """Steps of which each takes many calls, and only the last of them changes weights.

        Between calls Ctrl-C is noticed.  The bits are those of a step made in one.
        """
        params = self._network.params
        if self._scratch.gradient.size == 0:
            gradient = aligned_zeros(params.size, params.dtype)
            self._scratch = self._scratch._replace(gradient=gradient)
        rows, weights = (math.ceil(work * self._work / LONG_PIECE) for work in (2, 1))
        for s in range(count):
            for stage, pieces in ((SOME_ROWS, rows), (SOME_GRADIENTS, weights)):
                for piece in range(pieces):
                    began, share = time.perf_counter(), 1 / (rows + weights)
                    self._call(
                        share, Call(stage, s, s + 1, piece, pieces, new_team()), batches, record
                    )
                    self._note_pace(share, began)
            self._call(1, Call(UPDATE, s, s + 1, 0, 1, new_team()), batches, record)
            if record.done[0] == s or self._has_ended:
                return

    @property
    def _has_ended(self) -> bool:
        """Whether the step just made ends training, as `stop_when` says."""
        watch = self._watch[0]
        at_end = watch[epochs.STEPS] and watch[epochs.MADE] == 0
        return bool(at_end and watch[epochs.WAITED] > watch[epochs.PATIENCE])


def with_few(asked: Training, params: Parameters, fewest: int, chunks: int) -> Training:
    """The same for batches of which some have so few rows, shared out among so many chunks."""
    if params.weights < WIDE_WEIGHTS or params.images:
        return asked
    by_columns = chunks > 1 and fewest <= COLUMN_ROWS
    return asked._replace(few=fewest <= FEW_ROWS, by_columns=by_columns)


def gradient_block(params: Parameters, loss: int, examples: Examples) -> tuple[float, np.ndarray]:
    """Mean loss over all rows, and a block of its gradients, laid out like the parameters."""
    dtype, rows = params.block.dtype, examples.rows
    block = aligned_zeros(params.block.size, dtype)
    rule = (STORE, np.zeros(len(Numbers._fields), dtype), 0.0)
    one_step = np.arange(rows), np.array([0, rows]), np.zeros(1, dtype)
    _, losses = Steps(params, loss, examples, rows, rule, block).run(*one_step)
    return float(losses[0]), block
