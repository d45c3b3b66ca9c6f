"""Where pickles of version 0.1 look for what a network's optimiser remembers."""

from fastnn.training.optimizer_state import OptimizerState
from fastnn.training.optimizer_state import unpacked as _unpacked

__all__ = ["OptimizerState", "_unpacked"]
