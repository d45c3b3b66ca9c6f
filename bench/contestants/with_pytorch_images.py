"""PyTorch's networks of images: eager, its own convolutions and pooling, and its fused Adam."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from bench.cases import Case
from bench.contestants.with_pytorch import first_weights, rule, weights
from bench.networks import Conv
from bench.reference import Arrays, Run, parameters

# Rows of an evaluation that pass together, so that outputs stay in caches.
BLOCK_OF_ROWS = 500

# Gives images and filters their order in memory.
Laid = Callable[[Any], Any]


def as_given(tensor: Any) -> Any:
    """Channels first."""
    return tensor


def image_training(case: Case, given: Arrays, laid: Laid = as_given) -> Run:
    """One eager step after another."""
    x, t, batches = data_of(given, laid)

    def run(steps: int) -> Arrays:
        params = laid_out(first_weights(case, given), laid)
        update, losses = rule(case, params), []
        for rows in batches[:steps]:
            # The rows of a batch keep the order of the data in memory.
            loss = loss_of(case, params, x.index_select(0, rows), t.index_select(0, rows))
            update(torch.autograd.grad(loss, params))
            losses.append(loss.detach())
        return {"losses": torch.stack(losses).numpy()} | weights(params)

    return run


def image_job(case: Case, given: Arrays, laid: Laid = as_given) -> Run:
    """Training, and then the accuracy."""
    x, t, batches = data_of(given, laid)
    x_test, t_test = laid(torch.from_numpy(given["x_test"])), torch.from_numpy(given["t_test"])

    def run(steps: int) -> Arrays:
        params = laid_out(first_weights(case, given), laid)
        update = rule(case, params)
        for rows in batches[:steps]:
            loss = loss_of(case, params, x.index_select(0, rows), t.index_select(0, rows))
            update(torch.autograd.grad(loss, params))
        with torch.inference_mode():
            blocks = x_test.split(BLOCK_OF_ROWS)
            found = torch.cat([scores(case, params, rows).argmax(1) for rows in blocks])
        return {"accuracy": np.array([int((found == t_test).sum()) / len(t_test)])}

    return run


def image_prediction(case: Case, given: Arrays, laid: Laid = as_given) -> Run:
    """Scores and softmax in inference mode."""
    x = laid(torch.from_numpy(given["x"]))
    params = [torch.from_numpy(array) for array in parameters(given, case.dtype)]
    params = [laid(each) if each.ndim == 4 else each for each in params]

    @torch.inference_mode()
    def run(calls: int) -> Arrays:
        for _ in range(calls):
            y = torch.softmax(scores(case, params, x), 1)
        return {"y": y.numpy()}

    return run


def data_of(given: Arrays, laid: Laid) -> tuple[Any, Any, Any]:
    """Images, labels, and the rows of each step."""
    x, t, batches = (torch.from_numpy(given[name]) for name in ("x", "t", "batches"))
    return laid(x), t, batches


def laid_out(params: list[Any], laid: Laid) -> list[Any]:
    """Filters in their order, the others as they are."""
    return [laid(each.detach()).requires_grad_() if each.ndim == 4 else each for each in params]


def scores(case: Case, params: list[Any], x: Any) -> Any:
    """The network's outputs, before any softmax."""
    assert case.network is not None
    k = 0
    for layer in case.network.layers:
        if isinstance(layer, Conv):
            x = torch.relu_(functional.conv2d(x, params[k], params[k + 1], padding=layer.pad))
            k += 2
        else:
            x = functional.max_pool2d(x, layer.size)
    x = x.flatten(1)
    *hidden, W, b = params[k:]
    for k in range(0, len(hidden), 2):
        x = torch.relu_(torch.addmm(hidden[k + 1], x, hidden[k]))
    return torch.addmm(b, x, W)


def loss_of(case: Case, params: list[Any], x: Any, t: Any) -> Any:
    """The mean loss of a batch."""
    return functional.cross_entropy(scores(case, params, x), t)
