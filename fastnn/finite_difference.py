"""Numerical gradients of a network: scratch and pieces for the compiled differences."""

from __future__ import annotations

import numpy as np

from fastnn.compiler import runtime
from fastnn.compiler.rounding import rounding_to_nearest
from fastnn.kernels.differences import CHANGES, Asked, Tried, differences
from fastnn.kernels.groups import Network, Targets
from fastnn.kernels.losses import LOSS_CODES
from fastnn.training.data import Samples
from fastnn.training.evaluation import evaluate, rows_of_a_call, spans
from fastnn.training.parameters import Parameters
from fastnn.training.plan import aligned_zeros

# Rows whose layers are kept at a time.
ROWS = 128
# Multiply-adds that a loss costs beside its layer's, per output: exponential, logarithm, division.
LOSS_WORK = 30


def gradient(
    params: Parameters,
    loss: int,
    x: np.ndarray,
    wanted: Targets,
    h: float,
    added: float = 0.0,
) -> dict[str, np.ndarray]:
    """Central differences of the mean loss, for every parameter of a float64 network.

    With cross entropy a number may be `added` to the probability in the logarithm.
    """
    if params.images or loss >= len(LOSS_CODES):  # which `differences` do not know
        return _gradient_of_passes(params, loss, x, wanted, h)
    rows = min(ROWS, len(x))
    dtype, sizes = params.block.dtype, params.layer_sizes
    plan, block_plan = params.plan(rows), params.plan(CHANGES)
    cost, units = _work_of_an_input(sizes, rows), sum(sizes[:-1]) + len(sizes) - 1
    chunks = runtime.most_chunks(cost * units)
    network, behind = (Network(p.table, loss, params.block) for p in (plan, block_plan))
    tried = Tried(
        values=aligned_rows(chunks, plan.values_size, dtype),
        before=aligned_rows(chunks, plan.values_size, dtype),
        block=aligned_rows(chunks, block_plan.values_size, dtype),
        change=aligned_rows(chunks, max(sizes), dtype),
        units=np.empty((chunks, CHANGES), np.int64),
        usual=np.empty((chunks, rows), dtype),
    )
    block = aligned_zeros(params.block.size, dtype)
    for first, end in spans(0, len(x), rows):
        most = max(chunks, rows_of_a_call(cost, 4 * chunks))
        for begin, stop in spans(0, units, most):
            asked = Asked(h, added, first, end - first, begin, stop)
            work = cost * (stop - begin)
            runtime.run(differences, work, *network, *behind, *asked, x, *wanted, *tried, block)
    with rounding_to_nearest():
        block /= 2 * h * len(x)
    return {name: view.copy() for name, view in params.views_of(block).items()}


def aligned_rows(count: int, size: int, dtype: np.dtype) -> np.ndarray:
    """Zeros of shape (count, size or a little more), each row on a 64-byte boundary."""
    row = -(-size * dtype.itemsize // 64) * 64 // dtype.itemsize
    return aligned_zeros(count * row, dtype).reshape(count, row)


def _work_of_an_input(sizes: tuple[int, ...], rows: int) -> float:
    """Multiply-adds, at most, for the weights from one input of the costliest layer."""
    costs = []
    for layer in range(len(sizes) - 1):
        behind = sum(i * o for i, o in zip(sizes[layer + 2 : -1], sizes[layer + 3 :], strict=True))
        reached = sizes[min(layer + 2, len(sizes) - 1)]
        costs.append(sizes[layer + 1] * (behind + reached + LOSS_WORK * sizes[-1]))
    return 2.0 * rows * max(costs)


def _gradient_of_passes(
    params: Parameters,
    loss: int,
    x: np.ndarray,
    wanted: Targets,
    h: float,
) -> dict[str, np.ndarray]:
    """The same of any network: two whole passes for each parameter."""
    samples, outputs = Samples(x, lists=False), np.empty((0, params.layer_sizes[-1]), x.dtype)
    losses, found = [np.empty(len(x)), np.empty(len(x))], {}
    for name, view in params.items():
        gradient = found[name] = np.empty(view.shape)
        for at in np.ndindex(view.shape):
            kept = view[at]
            for moved, row_loss in zip((kept + h, kept - h), losses, strict=True):
                view[at] = moved
                evaluate(params, loss, samples, wanted, outputs, row_loss)
            view[at] = kept
            gradient[at] = (losses[0] - losses[1]).sum() / (2 * h * len(x))
    return found
