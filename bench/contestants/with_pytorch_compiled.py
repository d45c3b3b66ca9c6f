"""PyTorch with the whole training step, gradients and update included, in one `torch.compile`."""

from __future__ import annotations

import os
from typing import Any

import torch

from bench.cases import Case
from bench.contestants.with_pytorch import ACTIVATIONS, LOSSES, loss_of, threads, weights
from bench.reference import Arrays, Run, parameters

__all__ = ["ACTIVATIONS", "LOSSES", "RULES", "threads", "training"]

RULES = ("sgd",)  # alone, as what is timed has little else

# Processes that compile side by side would outlive this one, which is killed at the end, and leave
# semaphores behind.
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")


def training(case: Case, given: Arrays) -> Run:
    """One compiled step after another."""
    x, t, batches = (torch.from_numpy(given[name]) for name in ("x", "t", "batches"))

    def step(params: list[Any], rows: Any) -> Any:
        x_batch, t_batch = x.index_select(0, rows), t.index_select(0, rows)
        gradients, loss = torch.func.grad_and_value(
            lambda params: loss_of(case, params, x_batch, t_batch)
        )(params)
        # Not in place: with `add_` here PyTorch 2.13 compiled a program with wrong answers.
        moved = [tensor - case.lr * g for tensor, g in zip(params, gradients, strict=True)]
        return loss, moved

    compiled = torch.compile(step, fullgraph=True, dynamic=False)

    @torch.no_grad()
    def run(steps: int) -> Arrays:
        params = [torch.from_numpy(array) for array in parameters(given, case.dtype)]
        losses = []
        for rows in batches[:steps]:
            loss, params = compiled(params, rows)
            losses.append(loss)
        return {"losses": torch.stack(losses).numpy()} | weights(params)

    return run
