"""What an optimiser remembers from step to step, and the learning rates of the steps to come."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn.compiler.rounding import rounding_to_nearest
from fastnn.optimizers import Optimizer
from fastnn.training.parameters import Parameters
from fastnn.training.plan import aligned_zeros
from fastnn.training.steps import StepCount

# Learning rates asked for at once.
ASKED_AHEAD = 1 << 18
# The same for steps that are made one by one.
RATES_AHEAD = 64


class OptimizerState:
    """What a network's optimiser remembers from step to step, and from fit to fit."""

    def __init__(self, optimizer: Optimizer, memory: np.ndarray, steps: int = 0):
        self.optimizer, self.memory, self.count = optimizer, memory, StepCount(steps)
        self._rule: tuple[int, np.ndarray, float] | None = None
        # For single steps: rates and decays from a step on.
        self._ahead: tuple[int, np.ndarray] = 0, memory[:0]

    @property
    def steps(self) -> int:
        """Steps that are in the weights and in the memory."""
        return self.count.steps

    @property
    def rule(self) -> tuple[int, np.ndarray, float]:
        """What `Optimizer.rule` gives, made once."""
        if self._rule is None:
            self._rule = self.optimizer.rule(self.memory.dtype)
        return self._rule

    def next_pace(self) -> np.ndarray:
        """Learning rate and weight decay of the next step, in an array (1, 2)."""
        at, (first, paces) = self.steps, self._ahead
        if not first <= at < first + len(paces):
            # A function is asked for each step when it is due.
            count = 1 if callable(self.optimizer.lr) else RATES_AHEAD
            rates, error = self.optimizer.good_rates(at, count, self.memory.dtype)
            if error is not None and not rates.size:
                raise error
            first, paces = at, np.empty((rates.size, 2), self.memory.dtype)
            with rounding_to_nearest():
                paces[:, 0], paces[:, 1] = rates, self.optimizer.weight_decay
            self._ahead = first, paces
        return paces[at - first : at - first + 1]

    def following(self, optimizer: Optimizer) -> OptimizerState:
        """The same memory and count, for an optimiser that goes on with them."""
        return OptimizerState(optimizer, self.memory, self.steps)

    def with_memory(self, memory: np.ndarray) -> OptimizerState:
        """The same optimiser and count, and what is remembered in another array."""
        return OptimizerState(self.optimizer, memory, self.steps)

    def __deepcopy__(self, memo: dict[int, Any]) -> OptimizerState:
        return OptimizerState(self.optimizer, self.memory.copy(), self.steps)

    def __reduce__(self) -> tuple[Any, ...]:
        """For pickles, which cannot hold most functions; then memory and count are kept without."""
        return unpacked, (self.optimizer.packed(), self.memory, self.steps)


def unpacked(packed: tuple[Any, ...], memory: np.ndarray, steps: int) -> OptimizerState:
    """The state that a pickle holds."""
    return OptimizerState(Optimizer.unpacked(*packed), memory, steps)


def refuse_other_state(state: Any, params: Parameters) -> None:
    """Refuse what is not a state of a network with weights like these."""
    if isinstance(state, OptimizerState):
        size = state.optimizer.memories * params.block.size
        if state.memory.dtype == params.block.dtype and state.memory.shape == (size,):
            return
    raise ValueError(
        "optimizer_state must be None, to begin anew, or that of a network of the same "
        f"layer_sizes and dtype, got {type(state).__name__}"
    )


def continued(
    state: OptimizerState | None, optimizer: Optimizer, block: np.ndarray
) -> OptimizerState:
    """The state to train with: the one at hand if `optimizer` can go on with it, else a new one."""
    if state is not None:
        if state.optimizer is optimizer and not callable(optimizer.lr):
            return state
        following = optimizer.following(state.optimizer, state.steps)
        if following is not None:
            return state.following(following)
    return OptimizerState(optimizer, aligned_zeros(optimizer.memories * block.size, block.dtype))


class ComingRates:
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
        count = min(ASKED_AHEAD, self._end - self._next)
        more, self.error = self._optimizer.good_rates(self._next, count, self._ahead.dtype)
        self._ahead = np.concatenate([self._ahead, more]) if self._ahead.size else more
        self._next += count

    def follow(self, steps: int) -> None:
        """Go on from so many steps: a callback may have made some on the network itself.

        A schedule of the user's is not asked anew.
        """
        more = steps - (self._next - self._ahead.size)
        if more and not callable(self._optimizer.lr):
            self._next, self._end, self._ahead = steps, self._end + more, self._ahead[:0]

    def take(self, count: int) -> np.ndarray:
        """Those of the next so many steps; of fewer if there is an `error` behind them."""
        while self._ahead.size < count and self.error is None:
            self._fill()
        taken, self._ahead = self._ahead[:count], self._ahead[count:]
        return taken
