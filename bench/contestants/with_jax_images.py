"""JAX's networks of images: one jitted step, whose parameters and memories are donated.

Steps are not in a scan, inside which XLA's convolutions on a CPU are several times as slow; and
the largest pixels are found by `reshape` and `max`, as `reduce_window` is slower, too.  Channels of
a pixel lie side by side: with channels first, steps take up to twice as long.  Batches are gathered
in the step.  A step is not waited for: the next one is, by what it needs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bench.cases import Case
from bench.contestants.with_jax import begin, cross_entropy, on_device, update
from bench.networks import Conv, Pool
from bench.reference import Arrays, Run, by_name, parameters

# Rows of an evaluation that pass together.
BLOCK_OF_ROWS = 500


def image_training(case: Case, given: Arrays) -> Run:
    """One jitted step after another."""
    x, t = on_device(case, laid(given), "x", "t")
    batches, step = given["batches"].astype(np.int32), step_of(case)

    def run(steps: int) -> Arrays:
        state, losses = begin(case, parameters(given, case.dtype)), []
        for rows in batches[:steps]:
            state, loss = step(state, x, t, rows)
            losses.append(loss)
        jax.block_until_ready(state)
        return {"losses": np.array(losses)} | by_name(state[0])

    return run


def image_job(case: Case, given: Arrays) -> Run:
    """Training, and then the accuracy."""
    x, t, x_test = on_device(case, laid(given), "x", "t", "x_test")
    batches, step = given["batches"].astype(np.int32), step_of(case)
    classes = jax.jit(lambda params, x: scores(case, params, x).argmax(axis=1))

    def run(steps: int) -> Arrays:
        state = begin(case, parameters(given, case.dtype))
        for rows in batches[:steps]:
            state, _ = step(state, x, t, rows)
        blocks = range(0, len(x_test), BLOCK_OF_ROWS)
        found = [np.asarray(classes(state[0], x_test[n : n + BLOCK_OF_ROWS])) for n in blocks]
        return {"accuracy": np.array([np.mean(np.concatenate(found) == given["t_test"])])}

    return run


def image_prediction(case: Case, given: Arrays) -> Run:
    """A jitted network on images that are on the device already, waited for each time."""
    (x,) = on_device(case, laid(given), "x")
    params = [jnp.array(array) for array in parameters(given, case.dtype)]
    formula = jax.jit(lambda params, x: jax.nn.softmax(scores(case, params, x)))

    def run(calls: int) -> Arrays:
        for _ in range(calls):
            y = jax.block_until_ready(formula(params, x))
        return {"y": np.asarray(y)}

    return run


def laid(given: Arrays) -> Arrays:
    """Images (N, H, W, C)."""
    images = {name: given[name] for name in ("x", "x_test") if name in given}
    return given | {name: x.transpose(0, 2, 3, 1) for name, x in images.items()}


def step_of(case: Case) -> Callable[..., Any]:
    """A step: the state after it, and its loss."""

    @partial(jax.jit, donate_argnums=0)
    def step(state: Any, x: Any, t: Any, rows: Any) -> Any:
        x_batch = x.at[rows].get(mode="promise_in_bounds")
        t_batch = t.at[rows].get(mode="promise_in_bounds")
        loss_of = lambda params: cross_entropy(scores(case, params, x_batch), t_batch)  # noqa: E731
        loss, gradients = jax.value_and_grad(loss_of)(state[0])
        return update(case, state, gradients), loss

    return step


def scores(case: Case, params: Any, x: Any) -> Any:
    """The network's outputs, before any softmax."""
    assert case.network is not None
    k = 0
    for layer in case.network.layers:
        if isinstance(layer, Conv):
            x = jax.nn.relu(_convolved(layer, x, params[k], params[k + 1]))
            k += 2
        else:
            x = _largest(layer, x)
    x = x.transpose(0, 3, 1, 2).reshape(len(x), -1)  # the order of the weights
    *hidden, W, b = params[k:]
    for k in range(0, len(hidden), 2):
        x = jax.nn.relu(x @ hidden[k] + hidden[k + 1])
    return x @ W + b


def _convolved(layer: Conv, x: Any, W: Any, b: Any) -> Any:
    around, orders = [(layer.pad, layer.pad)] * 2, ("NHWC", "OIHW", "NHWC")
    return jax.lax.conv_general_dilated(x, W, (1, 1), around, dimension_numbers=orders) + b


def _largest(layer: Pool, x: Any) -> Any:
    N, H, W, C = x.shape
    size, lines, pixels = layer.size, H // layer.size, W // layer.size
    whole = x[:, : lines * size, : pixels * size]
    return whole.reshape(N, lines, size, pixels, size, C).max(axis=(2, 4))
