"""PyTorch with the whole training step, gradients and update included, in one `torch.compile`.

Of networks of images the update is the library's fused Adam instead, which is no slower.
"""

from __future__ import annotations

import os
from typing import Any

import torch

from bench.cases import Case
from bench.contestants.with_pytorch import (
    ACTIVATIONS,
    LOSSES,
    first_weights,
    loss_of,
    rule,
    threads,
    weights,
)
from bench.contestants.with_pytorch_images import loss_of as image_loss
from bench.reference import Arrays, Run, parameters

__all__ = ["ACTIVATIONS", "LOSSES", "RULES", "image_training", "threads", "training"]

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


def image_training(case: Case, given: Arrays) -> Run:
    """Loss and gradients compiled, and the fused update."""
    x, t, batches = (torch.from_numpy(given[name]) for name in ("x", "t", "batches"))
    loss_of_rows = torch.compile(
        lambda params, rows: image_loss(
            case, params, x.index_select(0, rows), t.index_select(0, rows)
        ),
        fullgraph=True,
        dynamic=False,
    )

    def run(steps: int) -> Arrays:
        params = first_weights(case, given)
        update, losses = rule(case, params), []
        for rows in batches[:steps]:
            loss = loss_of_rows(params, rows)
            # A gradient may come with the channels last, and the fused kernel takes no notice.
            update([each.contiguous() for each in torch.autograd.grad(loss, params)])
            losses.append(loss.detach())
        return {"losses": torch.stack(losses).numpy()} | weights(params)

    return run
