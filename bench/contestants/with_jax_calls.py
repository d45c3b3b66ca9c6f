"""JAX, one jitted call at a time, on arrays that are on the device.

Labels are made of one-hot rows once.  Losses are asked for as numbers; other answers are waited
for.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bench.cases import Case
from bench.contestants import number, repeated
from bench.contestants.with_jax import begin, loss_of, on_device, scores, update
from bench.inputs import SEED_OF_LOOPS
from bench.reference import Arrays, Run, by_name, labels, parameters


def loss_call(case: Case, given: Arrays) -> Run:
    """The loss."""
    formula = jax.jit(partial(loss_of, case))
    return repeated(number("loss"), lambda *rows: float(formula(*rows)), *_call(case, given))


def accuracy_call(case: Case, given: Arrays) -> Run:
    """The share of rows whose largest score is the right one."""
    formula = jax.jit(partial(share_right, case))
    return repeated(number("accuracy"), lambda *rows: float(formula(*rows)), *_call(case, given))


def gradient_call(case: Case, given: Arrays) -> Run:
    """The loss's gradient."""
    formula = jax.jit(jax.grad(partial(loss_of, case)))
    waited_for = lambda *rows: jax.block_until_ready(formula(*rows))  # noqa: E731
    return repeated(by_name, waited_for, *_call(case, given))


def step_call(case: Case, given: Arrays) -> Run:
    """A step whose parameters and memories are donated."""
    _, x, t = _call(case, given)

    @partial(jax.jit, donate_argnums=0)
    def step(state: Any, x: Any, t: Any) -> Any:
        loss, gradients = jax.value_and_grad(partial(loss_of, case))(state[0], x, t)
        return update(case, state, gradients), loss

    def run(steps: int) -> Arrays:
        state = begin(case, parameters(given, case.dtype))
        for _ in range(steps):
            state, loss = step(state, x, t)
            found = float(loss)
        return {"loss": np.array([found])} | by_name(state[0])

    return run


def book_loop(case: Case, given: Arrays) -> Run:
    """The loop of document 001: a step with its gathering, and the loss after it, in one call."""
    _, x, t = _call(case, given)
    accuracy_of, every = jax.jit(partial(share_right, case)), len(x) // case.batch

    @partial(jax.jit, donate_argnums=0)
    def step(state: Any, x: Any, t: Any, mask: Any) -> Any:
        x_batch = x.at[mask].get(mode="promise_in_bounds")
        t_batch = t.at[mask].get(mode="promise_in_bounds")
        gradients = jax.grad(partial(loss_of, case))(state[0], x_batch, t_batch)
        state = update(case, state, gradients)
        return state, loss_of(case, state[0], x_batch, t_batch)

    def run(steps: int) -> Arrays:
        np.random.seed(SEED_OF_LOOPS)
        state, losses, accuracy = begin(case, parameters(given, case.dtype)), [], 0.0
        for taken in range(steps):
            mask = np.random.choice(len(x), case.batch).astype(np.int32)
            state, loss = step(state, x, t, mask)
            losses.append(float(loss))
            if case.has_evaluations and taken % every == 0:
                accuracy = float(accuracy_of(state[0], x, t))
        if case.has_evaluations:
            return {"accuracy": np.array([accuracy])}
        return {"losses": np.array(losses)} | by_name(state[0])

    return run


book_program = book_loop


def share_right(case: Case, params: Any, x: Any, t: Any) -> Any:
    """The share of rows whose largest score is the right one."""
    return jnp.mean(scores(case, params, x).argmax(axis=1) == t)


def _call(case: Case, given: Arrays) -> tuple[Any, Any, Any]:
    """Parameters, rows and labels on the device."""
    x, t = on_device(case, {"x": given["x"], "t": labels(given)}, "x", "t")
    return [jnp.array(array) for array in parameters(given, case.dtype)], x, t
