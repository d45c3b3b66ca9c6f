"""The fit loop: which rows make each batch, and when Python looks up from the kernels."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastnn import gate, hints
from fastnn.history import History
from fastnn.optimizers import Optimizer
from fastnn.progress import progress_bar
from fastnn.training.data import Examples, samples_of
from fastnn.training.evaluation import evaluate, mean_loss, spans
from fastnn.training.pace import Pacer
from fastnn.training.parameters import aligned_zeros
from fastnn.training.steps import StepCount, Steps

# Share of the time that copies of the weights may take.
COPY_SHARE = 0.01
# Share of the rows up to which those that the batches use are chosen from the others.
FEW_ROWS = 0.5
# Row numbers drawn at once; also bounds the first, untimed call.
INDEX_BLOCK = 1 << 18


class _Stretch:
    """Steps of one or more calls, with the weights and the optimiser's memory before them."""

    def __init__(self, block: np.ndarray, state: OptimizerState):
        began = time.perf_counter()
        self.block, self.memory = block.copy(), state.memory.copy()
        self.steps_before = state.steps
        self.calls: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []  # of `Steps.run`
        self.steps = 0
        now = time.perf_counter()
        self.until = now + (now - began) / COPY_SHARE

    def make_again(self, steps: Steps, count: int, state: OptimizerState) -> None:
        """Make the first so many steps from the copies."""
        for index, begin, rates in self.calls:
            part = min(count, begin.size - 1)
            if part > 0:
                steps.run(
                    index, begin[: part + 1], rates[:part],
                    watching=lambda loss, done, epochs: state.count.count_on(done),
                )  # fmt: skip
            count -= part


@dataclass
class Schedule:
    """Batches of one fit, as pieces of row numbers.

    `pieces` yields ``(index, begin)``: batch s is ``index[begin[s] : begin[s + 1]]``.
    """

    iterations: int
    per_epoch: int
    batch_size: int
    pieces: Iterable[tuple[np.ndarray, np.ndarray]]

    def few_rows(self, rows: int) -> np.ndarray | None:
        """The rows that the batches use, in ascending order, if they are few of so many.

        One step on 60,000 images would else begin with a look at all of them: 40 ms.
        """
        if self.iterations * self.batch_size > rows * FEW_ROWS:
            return None
        self.pieces = list(self.pieces)
        used = np.zeros(rows, bool)
        for index, begin in self.pieces:
            used[index[: begin[-1]]] = True
        return np.flatnonzero(used)


def fit(
    net: Any,
    x: Any,
    t: Any,
    *,
    epochs: int | None,
    iterations: int | None,
    batch_size: int,
    optimizer: Optimizer,
    sampling: str,
    batches: Any,
    validation_data: Any,
    evaluate_every: int | None,
    random: np.random.Generator,
    progress: bool | None,
    callbacks: Iterable[Callable[[Any, History], Any]],
) -> History:
    """`MLP.fit`, whose arguments these are; `random` draws the batches."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer must be one of fastnn's, such as SGD(0.1), got {optimizer!r}")
    callbacks = _checked_callbacks(callbacks)
    rows = gate.matrix(x, net.layer_sizes[0], net.dtype, "x")
    schedule = make_schedule(len(rows), epochs, iterations, batch_size, sampling, batches, random)
    every, validation = _evaluation(net, evaluate_every, validation_data, schedule)
    with _unchanged_by_errors(random):
        chosen = None if validation is not None else schedule.few_rows(len(rows))
        examples = net._with_targets(samples_of(rows, x, "x", chosen), t)
    state = continued(net.optimizer_state, optimizer, net.params.block)
    rates = _Rates(state, schedule.iterations, net.dtype)
    for callback in callbacks:
        if hasattr(callback, "start"):
            callback.start(net, _measures(net, validation))
    run = _Run(net, examples, validation, state, rates, schedule, callbacks)
    try:
        with progress_bar(progress, schedule.iterations, "step") as bar:
            return run.train(every, bar)
    except BaseException as error:  # of a callback's `finish`, too
        run.end_by(error)
        raise


@contextlib.contextmanager
def _unchanged_by_errors(random: np.random.Generator) -> Iterator[None]:
    """Batches that were drawn for a fit that is refused are drawn again by the next."""
    state = random.bit_generator.state
    try:
        yield
    except (TypeError, ValueError):
        random.bit_generator.state = state
        raise


class OptimizerState:
    """What a network's optimiser remembers from step to step, and from fit to fit."""

    def __init__(self, optimizer: Optimizer, memory: np.ndarray, steps: int = 0):
        self.optimizer, self.memory, self.count = optimizer, memory, StepCount(steps)

    @property
    def steps(self) -> int:
        """Steps that are in the weights and in the memory."""
        return self.count.steps

    def following(self, optimizer: Optimizer) -> OptimizerState:
        """The same memory and count, for an optimiser that goes on with them."""
        return OptimizerState(optimizer, self.memory, self.steps)

    def __deepcopy__(self, memo: dict[int, Any]) -> OptimizerState:
        return OptimizerState(self.optimizer, self.memory.copy(), self.steps)

    def __reduce__(self) -> tuple[Any, ...]:
        """For pickles, which cannot hold most functions; then memory and count are kept without."""
        return _unpacked, (self.optimizer.packed(), self.memory, self.steps)


def _unpacked(packed: tuple[Any, ...], memory: np.ndarray, steps: int) -> OptimizerState:
    return OptimizerState(Optimizer.unpacked(*packed), memory, steps)


def continued(
    state: OptimizerState | None, optimizer: Optimizer, block: np.ndarray
) -> OptimizerState:
    """The state to train with: the one at hand if `optimizer` can go on with it, else a new one."""
    if state is not None:
        following = optimizer.following(state.optimizer, state.steps)
        if following is not None:
            return state.following(following)
    return OptimizerState(optimizer, aligned_zeros(optimizer.memories * block.size, block.dtype))


class _Rates:
    """Learning rates of a fit: each asked for once, the first before anything changes.

    What is wrong with a later one is said when its step is due, and the steps before it are made.
    """

    def __init__(self, state: OptimizerState, steps: int, dtype: np.dtype):
        self._optimizer, self._next, self._end = state.optimizer, state.steps, state.steps + steps
        self._ahead = np.empty(0, dtype)
        self.error: Exception | None = None
        self._fill()
        if self.error is not None:
            raise self.error

    def _fill(self) -> None:
        count = min(INDEX_BLOCK, self._end - self._next)
        more, self.error = self._optimizer.good_rates(self._next, count, self._ahead.dtype)
        self._ahead = np.concatenate([self._ahead, more])
        self._next += count

    def take(self, count: int) -> np.ndarray:
        """Those of the next so many steps; of fewer if there is an `error` behind them."""
        while self._ahead.size < count and self.error is None:
            self._fill()
        taken, self._ahead = self._ahead[:count], self._ahead[count:]
        return taken


class _Run:
    """One fit under way."""

    def __init__(self, net, examples, validation, state, rates, schedule, callbacks):
        self.net, self.examples, self.validation = net, examples, validation
        self.state, self.rates = state, rates
        self.schedule, self.callbacks = schedule, callbacks
        self.history = History(steps_per_epoch=schedule.per_epoch)
        self.steps = Steps(
            net.params, net._loss, examples, schedule.batch_size, state.optimizer.rule(net.dtype),
            state.memory,
        )  # fmt: skip
        net.optimizer_state = state
        self.error: BaseException | None = None  # that ended it
        self.pacer = Pacer()
        self.stretch: _Stretch | None = None  # that the next steps belong to
        self.behind: _Stretch | None = None  # the one before

    def train(self, every: int, bar: Any) -> History:
        """All steps, with an evaluation or callbacks each `every` steps and at the end."""
        began = time.perf_counter()
        history, iterations = self.history, self.schedule.iterations
        if self.validation is None and not self.callbacks:
            every = iterations  # nothing to look up for: with epochs of 63 rows half as long again
        history.stop_reason = "finished"
        try:
            for index, begin in self._until_each(every):
                self._run_piece(index, begin)
                bar.update(begin.size - 1)
                made = history.steps
                if made % every == 0 or made == iterations:
                    self._evaluate()
                    wishes = [callback(self.net, history) for callback in self.callbacks]
                    if self.callbacks and self.stretch is not None:
                        self.stretch.until = 0.0  # they may have changed the weights
                    if any(wishes):
                        history.stop_reason = "callback"
                        break
            if self.stretch is not None and not np.isfinite(self.net.params.block).all():
                self._diverged(self.stretch, self.stretch.steps)
        except BaseException as error:
            self.end_by(error)
            raise
        finally:
            history.seconds += time.perf_counter() - began
            with contextlib.ExitStack() as stack:  # all of them, whatever one raises
                for callback in reversed(self.callbacks):
                    if hasattr(callback, "finish"):
                        stack.callback(callback.finish, self.net, history)
        history.hint = hints.after(self.net, self.examples, history)
        return history

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

    def _until_each(self, every: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The schedule's pieces, cut at evaluations and as long as the pacer says."""
        for index, begin in self.schedule.pieces:
            s = 0
            while s < begin.size - 1:
                most = s + self.pacer.most(self.steps.share)
                end = min(begin.size - 1, most, s + every - self.history.steps % every)
                yield index, begin[s : end + 1]
                s = end

    def _run_piece(self, index: np.ndarray, begin: np.ndarray) -> None:
        wanted, rates = begin.size - 1, self.rates.take(begin.size - 1)
        if rates.size:
            self._make_steps(index, begin[: rates.size + 1], rates)
        if rates.size < wanted and self.rates.error is not None:
            raise self.rates.error

    def _make_steps(self, index: np.ndarray, begin: np.ndarray, rates: np.ndarray) -> None:
        started = time.perf_counter()
        if self.stretch is None or started > self.stretch.until:
            self.behind = self.stretch  # what was behind goes before there are new copies
            self.stretch = _Stretch(self.net.params.block, self.state)
        self.stretch.calls.append((index, begin, rates))
        done, _ = self.steps.run(index, begin, rates, watching=self._watch)
        elapsed = time.perf_counter() - started
        self.stretch.steps += done
        if done < begin.size - 1:
            self._diverged(self.stretch, self.stretch.steps)
        self.pacer.note(done, elapsed)

    def _watch(self, loss: np.ndarray, done: np.ndarray, epochs: np.ndarray) -> None:
        """Before a call: what it will count, wherever it is interrupted, is counted here."""
        self.state.count.count_on(done)
        self.history.record_running(loss, done[1:])

    def _diverged(self, stretch: _Stretch, done: int) -> None:
        """Go back to the last weights whose loss was finite, and say so."""
        if done == 0 and self.behind is not None:
            stretch, done = self.behind, self.behind.steps
        self.state.count.go_back(
            stretch.steps_before,
            (self.net.params.block, self.state.memory),
            (stretch.block, stretch.memory),
        )
        stretch.make_again(self.steps, done - 1, self.state)  # but for the last update
        history = self.history
        what, last = f"loss became {history.loss[-1]} at", max(history.steps - 1, 1)
        if np.isfinite(history.loss[-1]):
            what, last = "weights were no longer finite after", history.steps
        history.stop_reason = "diverged"
        left = f"as it was before step {last}, the last whose loss was finite"
        if history.steps == 1 and not np.isfinite(history.loss[-1]):
            left = "unchanged"
        largest = hints.large_inputs(self.examples)
        advice = "" if largest is None else f" Inputs reach {largest:g}: {hints.scale(largest)}."
        raise FloatingPointError(
            f"the {what} step {history.steps}; the network is {left}. "
            f"A smaller learning rate may help.{advice}"
        )

    def _evaluate(self) -> None:
        if self.validation is None:
            return
        names = ("train_loss", "train_accuracy"), ("test_loss", "test_accuracy")
        measured: dict[str, float] = {}
        for keys, examples in zip(names, (self.examples, self.validation), strict=True):
            values = measure(self.net, examples)
            measured.update(zip(keys, values, strict=True))
        if self.net.output == "identity":
            del measured["train_accuracy"], measured["test_accuracy"]
        self.history.record_evaluation(self.history.steps, **measured)


def measure(net: Any, examples: Examples) -> tuple[float, float]:
    """Mean loss and accuracy (NaN for real outputs) on some examples."""
    outputs = np.empty((examples.rows, net.layer_sizes[-1]), net.dtype)
    row_loss = np.empty(examples.rows)
    evaluate(net.params, net._loss, examples.samples, examples.wanted, outputs, row_loss)
    labels, targets = examples.wanted
    accuracy = float("nan")
    if net.output != "identity":
        right = (
            outputs.argmax(axis=1) == labels
            if net.output == "softmax"
            else ((outputs > 0.5) == (targets > 0.5)).all(axis=1)
        )
        accuracy = float(np.mean(right & ~np.isnan(row_loss)))  # NaN is no answer
    return mean_loss(row_loss), accuracy


def make_schedule(
    rows: int,
    epochs: Any,
    iterations: Any,
    batch_size: Any,
    sampling: str,
    batches: Any,
    random: np.random.Generator,
) -> Schedule:
    """Check what says how long and on what to train, and make the batches of it."""
    given = {"epochs": epochs, "iterations": iterations, "batches": batches}
    given = {name: value for name, value in given.items() if value is not None}
    if len(given) > 1:
        raise ValueError(f"give only one of epochs, iterations, batches, got {', '.join(given)}")
    if batches is not None:
        table = gate.batches(batches, rows)
        count, size = table.shape
        return Schedule(count, -(-rows // size), size, _replayed(table))
    size = gate.positive_integer(batch_size, "batch_size")
    if size > rows:
        raise ValueError(f"batch_size must be at most the number of rows, {rows}, got {size}")
    gate.choice(sampling, ("shuffle", "replacement"), "sampling")
    per_epoch = -(-rows // size)
    if iterations is not None:
        count = gate.positive_integer(iterations, "iterations")
    else:
        count = per_epoch * (1 if epochs is None else gate.positive_integer(epochs, "epochs"))
    draw = _shuffled if sampling == "shuffle" else _drawn
    return Schedule(count, per_epoch, size, draw(rows, size, count, random))


def _replayed(table: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    yield table.ravel(), np.arange(len(table) + 1) * table.shape[1]


def _shuffled(rows, size, count, random):
    """Whole epochs, as many at once as fit a block; the rest of the last is dropped."""
    per_epoch = -(-rows // size)
    cuts = np.minimum(np.arange(per_epoch) * size, rows)
    while count > 0:
        epochs = min(-(-count // per_epoch), max(1, INDEX_BLOCK // rows))
        order = np.broadcast_to(np.arange(rows), (epochs, rows))
        index = random.permuted(order, axis=1).ravel()
        starts = (cuts + rows * np.arange(epochs)[:, np.newaxis]).ravel()
        begin = np.append(starts, index.size)[: count + 1]
        yield index, begin
        count -= begin.size - 1


def _drawn(rows, size, count, random):
    for first, end in spans(0, count, max(1, INDEX_BLOCK // size)):
        index = random.integers(0, rows, (end - first) * size)
        yield index, np.arange(end - first + 1) * size


def _evaluation(net, evaluate_every, validation_data, schedule):
    """Steps between evaluations, and the checked data to evaluate on."""
    every = schedule.per_epoch
    if evaluate_every is not None:
        every = gate.positive_integer(evaluate_every, "evaluate_every")
    if validation_data is None:
        return every, None
    if not isinstance(validation_data, tuple | list) or len(validation_data) != 2:
        raise TypeError(
            f"validation_data must be a pair (x, t), got {type(validation_data).__name__}"
        )
    names = "validation_data[0]", "validation_data[1]"
    return every, net._examples(*validation_data, *names)


def _checked_callbacks(callbacks: Any) -> list[Callable]:
    if callable(callbacks) or not isinstance(callbacks, Iterable):
        raise TypeError(f"callbacks must be a sequence of callables, got {callbacks!r}")
    found = list(callbacks)
    for i, callback in enumerate(found):
        if not callable(callback):
            raise TypeError(f"callbacks[{i}] must be callable, got {callback!r}")
        if isinstance(callback, type):
            raise TypeError(f"callbacks[{i}] must be an object, not the class {callback.__name__}")
    return found


def _measures(net: Any, validation: Any) -> list[str]:
    """Names of what the fit's evaluations will measure."""
    if validation is None:
        return []
    kinds = ["loss"] if net.output == "identity" else ["loss", "accuracy"]
    return [f"{data}_{kind}" for kind in kinds for data in ("train", "test")]
