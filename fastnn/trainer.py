"""Where pickles of version 0.1 look for what a network's optimiser remembers."""

from fastnn.training.fit import OptimizerState, _unpacked

__all__ = ["OptimizerState", "_unpacked"]
