"""Who looks at a network between its steps: evaluations, and after them callbacks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from fastnn import gate
from fastnn.history import History
from fastnn.training.data import Examples
from fastnn.training.model import Model
from fastnn.training.optimizer_state import OptimizerState

# Takes the network and its history so far; a true answer ends training.
Callback = Callable[[Any, History], Any]


class Trained(Protocol):
    """The network that is trained, as callbacks get it."""

    optimizer_state: OptimizerState | None


class Looks(NamedTuple):
    """Who is to look, and when: arguments of `MLP.fit`, as they are given."""

    validation_data: Any = None
    evaluate_every: Any = None
    callbacks: Any = ()


@dataclass
class Watch:
    """All that looks at one fit, each `every` steps and at the end."""

    net: Trained
    model: Model
    callbacks: list[Callback]
    every: int
    validation: Examples | None

    @property
    def is_idle(self) -> bool:
        """Whether there is nobody to look."""
        return self.validation is None and not self.callbacks

    def start(self) -> None:
        """Tell callbacks what the evaluations will measure; one may refuse."""
        for callback in self.callbacks:
            if hasattr(callback, "start"):
                callback.start(self.net, self._measures())

    def _measures(self) -> list[str]:
        if self.validation is None:
            return []
        kinds = ["loss", "accuracy"] if self.model.has_classes else ["loss"]
        return [f"{data}_{kind}" for kind in kinds for data in ("train", "test")]

    def look(self, examples: Examples, history: History) -> bool:
        """Evaluate, and call all callbacks; whether one wants training to end."""
        if self.validation is not None:
            measured: dict[str, float] = {}
            for data, rows in (("train", examples), ("test", self.validation)):
                loss, accuracy = self.model.measure(rows)
                measured[f"{data}_loss"] = loss
                if self.model.has_classes:
                    measured[f"{data}_accuracy"] = accuracy
            history.record_evaluation(history.steps, **measured)
        wishes = [callback(self.net, history) for callback in self.callbacks]  # all are called
        return any(wishes)

    def finish(self, history: History) -> None:
        """Tell callbacks that training is over: all of them, whatever one raises."""
        with contextlib.ExitStack() as stack:
            for callback in reversed(self.callbacks):
                if hasattr(callback, "finish"):
                    stack.callback(callback.finish, self.net, history)


def checked_callbacks(callbacks: Any) -> list[Callback]:
    """A list of what can be called."""
    if callable(callbacks) or not isinstance(callbacks, Iterable):
        raise TypeError(f"callbacks must be a sequence of callables, got {callbacks!r}")
    found = list(callbacks)
    for i, callback in enumerate(found):
        if not callable(callback):
            raise TypeError(f"callbacks[{i}] must be callable, got {callback!r}")
        if isinstance(callback, type):
            raise TypeError(f"callbacks[{i}] must be an object, not the class {callback.__name__}")
    return found


def make_watch(
    net: Trained, model: Model, callbacks: list[Callback], wanted: Looks, per_epoch: int
) -> Watch:
    """Check what is wanted for a fit of so many steps an epoch; callbacks have been checked."""
    every, validation = per_epoch, None
    if wanted.evaluate_every is not None:
        every = gate.positive_integer(wanted.evaluate_every, "evaluate_every")
    data = wanted.validation_data
    if data is not None:
        if not isinstance(data, tuple | list) or len(data) != 2:
            raise TypeError(f"validation_data must be a pair (x, t), got {type(data).__name__}")
        x, t = data
        validation = model.examples(x, t, "validation_data[0]", "validation_data[1]")
    return Watch(net, model, callbacks, every, validation)
