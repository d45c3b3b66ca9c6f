"""One call on rows that are given once: losses, gradients, single steps."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn import hints
from fastnn.compiler.tiles import VECTOR_BYTES
from fastnn.kernels.given import look_at_weights, without_padding
from fastnn.kernels.groups import Rule
from fastnn.optimizers import Optimizer
from fastnn.sparse_rows import SparseRows
from fastnn.training.desk import Given, give_back, is_short, take_desk
from fastnn.training.model import Model, means
from fastnn.training.optimizer_state import continued
from fastnn.training.parameters import Parameters
from fastnn.training.steps import gradient_block
from fastnn.training.watch import Trained

LANES = VECTOR_BYTES // 4  # of the narrower precision


def _given(model: Model, x: Any, t: Any) -> Given | None:
    """What is given; None if `Model.examples` has to see it, to make examples or an error."""
    rows = model.plain_rows(x)
    if rows is None:
        matrix = model.rows(x)
        if isinstance(matrix, SparseRows):
            return None
        rows = matrix
    targets = model.wanted.given(t, len(rows))
    return None if targets is None else Given(rows, targets)


def outputs(model: Model, x: np.ndarray) -> np.ndarray | None:
    """Outputs of rows that kernels can take; None if a number is not finite."""
    desk = take_desk(model)
    try:
        return desk.outputs(model, x)
    finally:
        give_back(desk)


def measured(model: Model, x: Any, t: Any, with_accuracy: bool = False) -> tuple[float, float]:
    """Mean loss over the rows, and accuracy if it is asked for."""
    given = _given(model, x, t)
    if given is None:
        return model.measure(model.examples(x, t), with_accuracy)
    desk, rows = take_desk(model), len(given.x)
    try:
        outputs = model.no_outputs
        if with_accuracy:
            outputs = np.empty((rows, model.layer_sizes[-1]), model.dtype)
        memory = desk.answer(model, given, outputs, with_loss=True)
        if memory is not None:
            return means(memory.sums)
    finally:
        give_back(desk)
    return model.measure(model.examples(x, t), with_accuracy)


def gradient(model: Model, x: Any, t: Any) -> tuple[float, dict[str, np.ndarray]]:
    """Mean loss over the rows, and its gradient in new arrays."""
    given = _given(model, x, t)
    if given is not None and is_short(model, len(given.x)):
        desk = take_desk(model)
        try:
            pace, done = np.zeros((1, 2), model.dtype), np.empty(2, np.int64)
            memory = desk.step(model, given, None, pace, done)
            if memory is not None:
                return float(memory.loss[0]), handed_out(model.params, memory.gradient)
        finally:
            give_back(desk)
    loss, block = gradient_block(model.params, model.loss, model.examples(x, t))
    return loss, handed_out(model.params, block)


def loss_of_step(net: Trained, model: Model, x: Any, t: Any, optimizer: Optimizer) -> float | None:
    """Make a step on all rows, and give the loss before it; None if that is for `fit` to do."""
    given = None if model.dropout else _given(model, x, t)
    if given is None or not is_short(model, len(given.x)):
        return None
    before = net.optimizer_state
    state = continued(before, optimizer, model.params.block)
    (code, numbers, _), zero = state.rule, model.dtype.type(0)
    rule = Rule(code, numbers, state.memory, zero, zero)
    pace, done = state.next_pace(), np.zeros(2, np.int64)
    desk = take_desk(model)
    try:
        if state is not before:
            net.optimizer_state = state
        state.count.count_on(done)  # what the kernel makes counts, wherever an interrupt comes
        memory = desk.step(model, given, rule, pace, done)
        if not done[0]:
            net.optimizer_state = before
        if memory is None:
            return None
        loss = float(memory.loss[0])
    finally:
        give_back(desk)
    if not done[0]:
        what = f"the loss became {loss} in this step; the network is unchanged"
    elif not weights_are_finite(model.params.block):
        what = f"weights were no longer finite after step {state.steps}, and the network has them"
    else:
        return loss
    advice = hints.advice(model.examples(x, t))
    raise FloatingPointError(f"{what}. A smaller learning rate may help.{advice}")


def weights_are_finite(block: np.ndarray) -> bool:
    """Whether all weights of a network are."""
    finite = np.empty(1, np.int64)
    look_at_weights.serial(1, block, finite)
    return bool(finite[0])


def handed_out(params: Parameters, block: np.ndarray) -> dict[str, np.ndarray]:
    """What lies in a block like that of the weights, by name, in new arrays without padding."""
    out = np.empty(params.places[-1].end + LANES, block.dtype)
    without_padding.serial(1, params.plan(1).table, block, out)
    return {name: _shaped(out[first:end], shape) for name, first, end, shape in params.places}


def _shaped(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers of a parameter as they lie in a block; filters lie in columns."""
    if len(shape) == 4:
        return array.reshape(*shape[1:], shape[0]).transpose(3, 0, 1, 2)
    return array.reshape(shape)
