"""PyTorch eager, without modules and optimiser objects, whose cost small networks show.

Gradients of networks come from ``torch.autograd.grad`` and are applied in place; kernels call the
operations that autograd itself would, and write into tensors made once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional

from bench.cases import Case
from bench.formulas import MEMORIES
from bench.reference import Arrays, Run, by_name, parameters

aten = torch.ops.aten


class Activation(NamedTuple):
    """What a network calls, and the kernels that write ``y = f(z)`` and ``dz = dy * f'(z)``."""

    of: Callable[[Any], Any]
    forward: Callable[..., Any]
    backward: Callable[..., Any]


ACTIVATIONS = {
    "identity": Activation(
        lambda z: z,
        lambda z, y: y.copy_(z),
        lambda dy, z, y, dz: dz.copy_(dy),
    ),
    "relu": Activation(
        torch.relu_,
        lambda z, y: torch.clamp_min(z, 0, out=y),
        lambda dy, z, y, dz: aten.threshold_backward.grad_input(dy, y, 0, grad_input=dz),
    ),
    "leaky_relu": Activation(
        functional.leaky_relu_,
        lambda z, y: aten.leaky_relu.out(z, 0.01, out=y),
        lambda dy, z, y, dz: aten.leaky_relu_backward.grad_input(dy, y, 0.01, True, grad_input=dz),
    ),
    "sigmoid": Activation(
        torch.sigmoid_,
        lambda z, y: torch.sigmoid(z, out=y),
        lambda dy, z, y, dz: aten.sigmoid_backward.grad_input(dy, y, grad_input=dz),
    ),
    "tanh": Activation(
        torch.tanh_,
        lambda z, y: torch.tanh(z, out=y),
        lambda dy, z, y, dz: aten.tanh_backward.grad_input(dy, y, grad_input=dz),
    ),
    "softplus": Activation(
        functional.softplus,
        lambda z, y: aten.softplus.out(z, out=y),
        lambda dy, z, y, dz: aten.softplus_backward.grad_input(dy, z, 1, 20, grad_input=dz),
    ),
}


def squared_error(y: Any, t: Any) -> Any:
    """Half the squared error of a row, on average."""
    return functional.mse_loss(y, t, reduction="sum") / (2 * len(y))


LOSSES: dict[str, Callable[..., Any]] = {
    "cross_entropy": functional.cross_entropy, "squared_error": squared_error,
}  # fmt: skip


def _sgd(lr: float, params: list[Any]) -> Callable[[Any], None]:
    def update(gradients: Any) -> None:
        # No fused kernel here: for a few small tensors one addition each is faster.
        for tensor, gradient in zip(params, gradients, strict=True):
            tensor.add_(gradient, alpha=-lr)

    return update


def _momentum(
    lr: float, params: list[Any], velocities: list[Any], nesterov: bool = False
) -> Callable[[Any], None]:
    def update(gradients: Any) -> None:
        torch._fused_sgd_(params, gradients, velocities, weight_decay=0, momentum=0.9, lr=lr,
                          dampening=0, nesterov=nesterov, maximize=False,
                          is_first_step=False)  # fmt: skip

    return update


def _nesterov(lr: float, params: list[Any], velocities: list[Any]) -> Callable[[Any], None]:
    return _momentum(lr, params, velocities, nesterov=True)


def _adagrad(lr: float, params: list[Any], sums: list[Any]) -> Callable[[Any], None]:
    steps = [torch.ones(()) for _ in params]

    def update(gradients: Any) -> None:
        torch._fused_adagrad_(params, gradients, sums, steps, lr=lr, lr_decay=0, weight_decay=0,
                              eps=1e-7, maximize=False)  # fmt: skip

    return update


def _rmsprop(lr: float, params: list[Any], squares: list[Any]) -> Callable[[Any], None]:
    def update(gradients: Any) -> None:  # the library has no fused kernel for it
        torch._foreach_mul_(squares, 0.99)
        torch._foreach_addcmul_(squares, gradients, gradients, value=0.01)
        roots = torch._foreach_sqrt(squares)
        torch._foreach_add_(roots, 1e-7)
        torch._foreach_addcdiv_(params, gradients, roots, value=-lr)

    return update


def _adam(
    lr: float, params: list[Any], means: list[Any], squares: list[Any]
) -> Callable[[Any], None]:
    steps, taken = [torch.zeros(()) for _ in params], 0

    def update(gradients: Any) -> None:
        nonlocal taken
        taken += 1
        torch._foreach_add_(steps, 1)
        # Its kernel adds epsilon to the corrected root: that of fastnn's, of the book, is smaller.
        epsilon = 1e-7 / math.sqrt(1 - 0.999**taken)
        torch._fused_adam_(params, gradients, means, squares, [], steps, lr=lr, beta1=0.9,
                           beta2=0.999, weight_decay=0, eps=epsilon, amsgrad=False,
                           maximize=False)  # fmt: skip

    return update


RULES: dict[str, Callable[..., Any]] = {
    "sgd": _sgd, "momentum": _momentum, "nesterov": _nesterov, "adagrad": _adagrad,
    "rmsprop": _rmsprop, "adam": _adam,
}  # fmt: skip


def threads(n: int) -> None:
    """The threads that one operation is split over."""
    torch.set_num_threads(n)


# Kernels ------------------------------------------------------------------------------


def affine_forward(case: Case, given: Arrays) -> Run:
    """Bias and product in one operation, then the ReLU in place."""
    x, W, b = _tensors(given, "x", "W", "b")
    y = torch.empty((len(x), len(b)), dtype=x.dtype)

    @torch.inference_mode()
    def run(calls: int) -> Arrays:
        for _ in range(calls):
            torch.addmm(b, x, W, out=y)
            torch.relu_(y)
        return {"y": y.numpy()}

    return run


def affine_backward(case: Case, given: Arrays) -> Run:
    """What autograd would call, into tensors made once."""
    x, W, y, dy = _tensors(given, "x", "W", "y", "dy")
    dz, dW, db, dx = (torch.empty_like(array) for array in (y, W, y[0], x))

    @torch.inference_mode()
    def run(calls: int) -> Arrays:
        for _ in range(calls):
            aten.threshold_backward.grad_input(dy, y, 0, grad_input=dz)
            torch.mm(x.t(), dz, out=dW)
            torch.sum(dz, 0, out=db)
            torch.mm(dz, W.t(), out=dx)
        return {"dW": dW.numpy(), "db": db.numpy(), "dx": dx.numpy()}

    return run


def softmax_cross_entropy(case: Case, given: Arrays) -> Run:
    """Autograd of the library's own loss."""
    z, t = _tensors(given, "z", "t")
    z = z.requires_grad_()

    def run(calls: int) -> Arrays:
        for _ in range(calls):
            loss = functional.cross_entropy(z, t)
            (dz,) = torch.autograd.grad(loss, z)
        return {"loss": loss.detach().numpy().reshape(1), "dz": dz.numpy()}

    return run


def activation(case: Case, given: Arrays) -> Run:
    """What autograd would call, into tensors made once."""
    z, dy = _tensors(given, "z", "dy")
    y, dz = torch.empty_like(z), torch.empty_like(z)
    row = ACTIVATIONS[case.activation]
    forward, backward = row.forward, row.backward

    @torch.inference_mode()
    def run(calls: int) -> Arrays:
        for _ in range(calls):
            forward(z, y)
            backward(dy, z, y, dz)
        return {"y": y.numpy(), "dz": dz.numpy()}

    return run


def optimizer(case: Case, given: Arrays) -> Run:
    """Updates of one tensor."""
    (gradient,) = _tensors(given, "gradient")

    @torch.inference_mode()
    def run(steps: int) -> Arrays:
        params = torch.tensor(given["params"])
        update = rule(case, [params])
        for _ in range(steps):
            update([gradient])
        return {"params": params.numpy()}

    return run


# Networks -----------------------------------------------------------------------------


def training(case: Case, given: Arrays) -> Run:
    """One eager step after another."""
    x, t, batches = _tensors(given, "x", "t", "batches")

    def run(steps: int) -> Arrays:
        params = first_weights(case, given)
        update, losses = rule(case, params), []
        for rows in batches[:steps]:
            loss = loss_of(case, params, x.index_select(0, rows), t.index_select(0, rows))
            gradients = torch.autograd.grad(loss, params)
            update(gradients)
            losses.append(loss.detach())
        return {"losses": torch.stack(losses).numpy()} | weights(params)

    return run


def mnist_job(case: Case, given: Arrays) -> Run:
    """Training, with an evaluation of all rows once an epoch."""
    x, t, batches = _tensors(given, "x", "t", "batches")
    every = len(x) // case.batch

    def run(steps: int) -> Arrays:
        params = first_weights(case, given)
        update, accuracy = rule(case, params), 0.0
        for step, rows in enumerate(batches[:steps]):
            loss = loss_of(case, params, x.index_select(0, rows), t.index_select(0, rows))
            update(torch.autograd.grad(loss, params))
            if step % every == 0:
                with torch.inference_mode():
                    found = scores(case, params, x).argmax(1)
                    accuracy = int((found == t).sum()) / len(t)
        return {"accuracy": np.array([accuracy])}

    return run


def prediction(case: Case, given: Arrays) -> Run:
    """Scores and softmax in inference mode."""
    (x,) = _tensors(given, "x")
    params = [torch.from_numpy(array) for array in parameters(given, case.dtype)]

    @torch.inference_mode()
    def run(calls: int) -> Arrays:
        for _ in range(calls):
            y = torch.softmax(scores(case, params, x), 1)
        return {"y": y.numpy()}

    return run


# Parts --------------------------------------------------------------------------------


def scores(case: Case, params: list[Any], x: Any) -> Any:
    """The network's outputs, before any softmax."""
    activate = ACTIVATIONS[case.activation].of
    *hidden, W, b = params
    for k in range(0, len(hidden), 2):
        x = activate(torch.addmm(hidden[k + 1], x, hidden[k]))
    return torch.addmm(b, x, W)


def loss_of(case: Case, params: list[Any], x: Any, t: Any) -> Any:
    """The mean loss of a batch."""
    return LOSSES[case.loss](scores(case, params, x), t)


def first_weights(case: Case, given: Arrays) -> list[Any]:
    """Tensors that autograd follows, on copies of the given weights."""
    return [torch.from_numpy(array).requires_grad_() for array in parameters(given, case.dtype)]


def weights(params: list[Any]) -> Arrays:
    """Tensors as arrays by name."""
    return by_name([tensor.detach().numpy() for tensor in params])


def rule(case: Case, params: list[Any]) -> Callable[[Any], None]:
    """A function of gradients that updates the tensors in place, by the library's fused kernels.

    They are what ``torch.optim`` calls with ``fused=True``, without its bookkeeping.
    """
    params = [tensor.detach() for tensor in params]
    memories = [[torch.zeros_like(tensor) for tensor in params]
                for _ in range(MEMORIES[case.optimizer])]  # fmt: skip
    made: Callable[[Any], None] = RULES[case.optimizer](case.lr, params, *memories)
    return made


def _tensors(given: Arrays, *names: str) -> list[Any]:
    """Tensors on the memory of the arrays."""
    return [torch.from_numpy(given[name]) for name in names]
