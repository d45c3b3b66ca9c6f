"""The way back, from weights that are no longer finite to the last whose loss was."""

from __future__ import annotations

import time

import numpy as np

from fastnn.training.optimizer_state import OptimizerState
from fastnn.training.steps import Steps

# Share of the time that copies of the weights may take.
COPY_SHARE = 0.01


class WayBack:
    """Copies of weights and memory, made now and then, and the calls that followed them."""

    def __init__(self, steps: Steps, block: np.ndarray, state: OptimizerState):
        self._steps, self._block, self._state = steps, block, state
        self._stretches: list[_Stretch] = []  # the latest, and the one before

    def note(self, index: np.ndarray, begin: np.ndarray, rates: np.ndarray) -> None:
        """Note a call of `Steps.run` that is about to be made."""
        if not self._stretches or time.perf_counter() > self._stretches[-1].until:
            del self._stretches[:-1]  # before there are new copies
            self._stretches.append(_Stretch(self._block, self._state))
        self._stretches[-1].calls.append((index, begin, rates))

    def note_made(self, steps: int) -> None:
        """Note how many steps the call has made."""
        self._stretches[-1].steps += steps

    def begin_anew(self) -> None:
        """Make copies before the next call, as others may have changed the weights."""
        for stretch in self._stretches:
            stretch.until = 0.0

    def go(self) -> None:
        """Set weights, memory and count to what they were before the last update."""
        stretch = self._stretches[-1]
        if stretch.steps == 0:
            stretch = self._stretches[0]
        self._state.count.go_back(
            stretch.steps_before,
            (self._block, self._state.memory),
            (stretch.block, stretch.memory),
        )
        self._make_again(stretch.calls, stretch.steps - 1)

    def _make_again(
        self, calls: list[tuple[np.ndarray, np.ndarray, np.ndarray]], count: int
    ) -> None:
        for index, begin, rates in calls:
            part = min(count, begin.size - 1)
            if part > 0:
                self._steps.run(index, begin[: part + 1], rates[:part], watching=self._keep_count)
            count -= part

    def _keep_count(self, loss: np.ndarray, done: np.ndarray, epochs: np.ndarray) -> None:
        self._state.count.count_on(done)


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
