"""Numerical gradients of a network: scratch for the compiled loop."""

from __future__ import annotations

import numpy as np

from fastnn import passes
from fastnn.parameters import Parameters


def gradient(
    params: Parameters, loss: int, examples: passes.Examples, h: float
) -> dict[str, np.ndarray]:
    """Central differences of the mean loss, for every parameter of a float64 network."""
    nothing = np.empty((0, params.layer_sizes[-1]), params.block.dtype)
    row_loss = np.empty(examples.rows)

    def mean_loss() -> float:
        passes.evaluate(params, loss, examples.samples, examples.wanted, nothing, row_loss)
        return passes.mean_loss(row_loss)

    gradients = {}
    for name, view in params.items():
        result = np.empty(view.shape)
        for at in np.ndindex(view.shape):
            kept = view[at]
            view[at] = kept + h
            above = mean_loss()
            view[at] = kept - h
            result[at] = (above - mean_loss()) / (2 * h)
            view[at] = kept
        gradients[name] = result
    return gradients
