"""PyTorch eager, one call at a time, on tensors made once, labels of one-hot rows among them.

A step is written as its users write it, with an optimiser of `torch.optim`, of which the fused kind
is the fastest here; but the layers are no modules.  Losses are asked for as numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from bench.cases import Case
from bench.contestants import number, repeated
from bench.contestants.with_pytorch import first_weights, loss_of, rule, scores, weights
from bench.inputs import SEED_OF_LOOPS
from bench.reference import Arrays, Run, by_name, labels, parameters

OPTIMIZERS: dict[str, Callable[..., Any]] = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}


def loss_call(case: Case, given: Arrays) -> Run:
    """The loss in inference mode."""
    x, t, params = _rows(case, given)

    @torch.inference_mode()
    def loss() -> float:
        return float(loss_of(case, params, x, t).item())

    return repeated(number("loss"), loss)


def accuracy_call(case: Case, given: Arrays) -> Run:
    """The classes of the largest scores in inference mode."""
    x, t, params = _rows(case, given)

    @torch.inference_mode()
    def accuracy() -> float:
        return accuracy_of(case, params, x, t)

    return repeated(number("accuracy"), accuracy)


def gradient_call(case: Case, given: Arrays) -> Run:
    """Autograd."""
    x, t, _ = _rows(case, given)
    params = first_weights(case, given)

    def gradient() -> Any:
        return torch.autograd.grad(loss_of(case, params, x, t), params)

    return repeated(lambda found: by_name([g.numpy() for g in found]), gradient)


def step_call(case: Case, given: Arrays) -> Run | None:
    """`zero_grad`, `backward` and `step`."""
    if case.optimizer not in OPTIMIZERS:
        return None
    x, t, _ = _rows(case, given)

    def run(steps: int) -> Arrays:
        params = first_weights(case, given)
        optimizer = OPTIMIZERS[case.optimizer](params, lr=case.lr, fused=True)
        for taken in range(1, steps + 1):
            if case.optimizer == "adam":  # epsilon is added to the corrected root: see `rule`
                optimizer.param_groups[0]["eps"] = 1e-7 / math.sqrt(1 - 0.999**taken)
            optimizer.zero_grad()
            loss = loss_of(case, params, x, t)
            loss.backward()
            optimizer.step()
            found = loss.item()
        return {"loss": np.array([found])} | weights(params)

    return run


def book_loop(case: Case, given: Arrays) -> Run:
    """The loop of document 001, with gradients by autograd, on data in tensors."""
    x, t, _ = _rows(case, given)
    every = len(x) // case.batch

    def run(steps: int) -> Arrays:
        np.random.seed(SEED_OF_LOOPS)
        params = first_weights(case, given)
        update, losses, accuracy = rule(case, params), [], 0.0
        for step in range(steps):
            mask = torch.from_numpy(np.random.choice(len(x), case.batch))
            x_batch, t_batch = x.index_select(0, mask), t.index_select(0, mask)
            update(torch.autograd.grad(loss_of(case, params, x_batch, t_batch), params))
            with torch.no_grad():
                losses.append(loss_of(case, params, x_batch, t_batch).item())
                if case.has_evaluations and step % every == 0:
                    accuracy = accuracy_of(case, params, x, t)
        if case.has_evaluations:
            return {"accuracy": np.array([accuracy])}
        return {"losses": np.array(losses)} | weights(params)

    return run


book_program = book_loop


def accuracy_of(case: Case, params: list[Any], x: Any, t: Any) -> float:
    """The share of rows whose largest score is the right one."""
    return int((scores(case, params, x).argmax(1) == t).sum()) / len(t)


def _rows(case: Case, given: Arrays) -> tuple[Any, Any, list[Any]]:
    """The rows and their labels, and weights without gradients."""
    params = [torch.from_numpy(array) for array in parameters(given, case.dtype)]
    x = given["x"].astype(case.dtype, copy=False)
    return torch.from_numpy(x), torch.from_numpy(labels(given)), params
