"""The fit loop: when Python looks up from the kernels, and what becomes of a fit that fails."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fastnn import hints
from fastnn.history import History
from fastnn.optimizers import Optimizer
from fastnn.progress import progress_bar
from fastnn.training.batches import Piece, Sampling, Schedule, make_schedule
from fastnn.training.calls import weights_are_finite
from fastnn.training.data import Examples
from fastnn.training.desk import Desk, give_back, take_desk
from fastnn.training.model import Model
from fastnn.training.optimizer_state import ComingRates, OptimizerState, continued
from fastnn.training.pace import Pacer
from fastnn.training.steps import Steps
from fastnn.training.watch import Looks, Trained, Watch, checked_callbacks, make_watch
from fastnn.training.way_back import WayBack


def fit(
    net: Trained,
    model: Model,
    x: Any,
    t: Any,
    optimizer: Optimizer,
    sampling: Sampling,
    looks: Looks,
    random: np.random.Generator,
    progress: bool | None,
) -> History:
    """`MLP.fit` of a network and its model; `random` draws the batches."""
    callbacks = checked_callbacks(looks.callbacks)
    rows = model.rows(x)
    schedule = make_schedule(len(rows), sampling, random)
    watch = make_watch(net, model, callbacks, looks, schedule.per_epoch)
    with _unchanged_by_errors(random):
        chosen = None if watch.validation is not None else schedule.few_rows(len(rows))
        examples = model.with_targets(model.samples(rows, x, "x", chosen), t)
    salt = int(random.integers(1 << 31)) if any(model.dropout) else 0
    state = continued(net.optimizer_state, optimizer, model.params.block)
    rates = ComingRates(state, schedule.iterations, model.dtype)
    watch.start()
    desk = take_desk(model)
    run = _Run(watch, examples, state, rates, schedule, desk, salt)
    try:
        with progress_bar(progress, schedule.iterations, "step") as bar:
            return run.train(bar.update)
    except BaseException as error:  # of a callback's `finish`, too
        run.end_by(error)
        raise
    finally:
        give_back(desk)


@contextlib.contextmanager
def _unchanged_by_errors(random: np.random.Generator) -> Iterator[None]:
    """Batches that were drawn for a fit that is refused are drawn again by the next."""
    state = random.bit_generator.state
    try:
        yield
    except (TypeError, ValueError):
        random.bit_generator.state = state
        raise


class _Run:
    """One fit under way."""

    def __init__(
        self,
        watch: Watch,
        examples: Examples,
        state: OptimizerState,
        rates: ComingRates,
        schedule: Schedule,
        desk: Desk,
        salt: int,
    ):
        model = watch.model
        self._salt = salt  # what a step drops depends on it
        self.watch, self.model, self.examples = watch, model, examples
        self.state, self.rates, self.schedule = state, rates, schedule
        self.history = History(steps_per_epoch=schedule.per_epoch)
        self.steps = Steps(
            model.params,
            model.loss,
            examples,
            schedule.batch_size,
            state.rule,
            state.memory,
            model.dropout,
            scratch=desk.scratch(model, schedule.batch_size),
        )
        self.way_back = WayBack(self.steps, model.params.block, state)
        self.pacer = Pacer()
        self.error: BaseException | None = None  # that ended it
        watch.net.optimizer_state = state

    def train(self, tell: Callable[[int], Any]) -> History:
        """All steps, and what is said of them at the end; `tell` is told how many were made."""
        began = time.perf_counter()
        self.history.stop_reason = "finished"
        try:
            self._make_all(tell)
            if not weights_are_finite(self.model.params.block):
                self._diverged()
        except BaseException as error:
            self.end_by(error)
            raise
        finally:
            self.history.seconds += time.perf_counter() - began
            self.watch.finish(self.history)
        self.history.hint = hints.after(self.model, self.examples, self.history)
        return self.history

    def _make_all(self, tell: Callable[[int], Any]) -> None:
        """All steps, with a look at the network now and then and at the end."""
        iterations, every = self.schedule.iterations, self.watch.every
        if self.watch.is_idle:
            every = iterations  # nothing to look up for: with epochs of 63 rows half as long again
        for index, begin in self._until_each(every):
            self._make_piece(index, begin)
            tell(begin.size - 1)
            made = self.history.steps
            if made % every == 0 or made == iterations:
                wants_to_end = self.watch.look(self.examples, self.history)
                if self.watch.callbacks:  # they may have changed the weights, or made steps
                    self.way_back.begin_anew()
                    self.rates.follow(self.state.steps)
                if wants_to_end:
                    self.history.stop_reason = "callback"
                    break

    def _until_each(self, every: int) -> Iterator[Piece]:
        """The schedule's pieces, cut at evaluations and as long as the pacer says."""
        for index, begin in self.schedule.pieces:
            s = 0
            while s < begin.size - 1:
                most = s + self.pacer.most(self.steps.share)
                end = min(begin.size - 1, most, s + every - self.history.steps % every)
                yield index, begin[s : end + 1]
                s = end

    def _make_piece(self, index: np.ndarray, begin: np.ndarray) -> None:
        """All steps of a piece, or those before the first whose learning rate is wrong."""
        wanted, rates = begin.size - 1, self.rates.take(begin.size - 1)
        if rates.size:
            self._make_steps(index, begin[: rates.size + 1], rates)
        if rates.size < wanted and self.rates.error is not None:
            raise self.rates.error

    def _make_steps(self, index: np.ndarray, begin: np.ndarray, rates: np.ndarray) -> None:
        started = time.perf_counter()
        self.way_back.note(index, begin, rates)
        salt = self._salt + self.history.steps
        done, _ = self.steps.run(index, begin, rates, salt=salt, watching=self._keep_count)
        elapsed = time.perf_counter() - started
        self.way_back.note_made(done)
        if done < begin.size - 1:
            self._diverged()
        self.pacer.note(done, elapsed)

    def _keep_count(self, loss: np.ndarray, done: np.ndarray, epochs: np.ndarray) -> None:
        """Before a call: what it will count, wherever it is interrupted, is counted here."""
        self.state.count.count_on(done)
        self.history.record_running(loss, done[1:])

    # Ends that are none ------------------------------------------------------

    def _diverged(self) -> None:
        """Go back to the last weights whose loss was finite, and say so."""
        self.way_back.go()
        history = self.history
        what, last = f"loss became {history.loss[-1]} at", max(history.steps - 1, 1)
        if np.isfinite(history.loss[-1]):
            what, last = "weights were no longer finite after", history.steps
        history.stop_reason = "diverged"
        left = f"as it was before step {last}, the last whose loss was finite"
        if history.steps == 1 and not np.isfinite(history.loss[-1]):
            left = "unchanged"
        raise FloatingPointError(
            f"the {what} step {history.steps}; the network is {left}. "
            f"A smaller learning rate may help.{hints.advice(self.examples)}"
        )

    def end_by(self, error: BaseException) -> None:
        """Have an error say what has become of the fit, once, and carry its history."""
        history = self.history
        if self.error is error:
            return
        self.error = error
        with contextlib.suppress(Exception):  # it may take no attributes
            error.history = history  # type: ignore[attr-defined]
        if isinstance(error, KeyboardInterrupt):
            history.stop_reason = "interrupted"
        elif history.stop_reason != "diverged":  # which says so itself
            history.stop_reason = "error"
            kept = f"steps of this fit that were made and are kept: {history.steps:,}"
            if error is self.rates.error and type(error) in (ValueError, TypeError):
                error.args = (f"{error}; {kept}",)
            else:
                with contextlib.suppress(Exception):
                    error.add_note(f"{kept}; the error has its history")
