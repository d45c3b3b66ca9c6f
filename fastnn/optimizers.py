"""Optimisers: plain descriptions of a rule that is compiled into the weight sweep.

An optimiser holds no state.  What its rule remembers belongs to the network,
which goes on with it in the next `fit` with the same rule and numbers, whatever
the learning rate: a smaller rate for the last epochs, or a schedule, is no
reason to forget.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from fastnn import gate
from fastnn.optimizer import LostRate, Optimizer, Rate  # noqa: F401  # pickles look for them here
from fastnn.rules import RULES, Rule, adam_corrections

__all__ = ["OPTIMIZERS", "SGD", "AdaGrad", "Adam", "Momentum", "Nesterov", "Optimizer", "RMSprop"]


def _share(value: Any, name: str) -> None:
    """Refuse what is not in 0 .. 1, 1 left out."""
    if gate.real_number(value, name, 0) >= 1:
        raise ValueError(f"{name} must be below 1, got {value!r}")


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent: ``W -= lr * dW``.

    Parameters
    ----------
    lr : float or callable, default 0.1
        Learning rate, above 0; or a function of the number of steps made so
        far, such as those of `fastnn.schedules`.  The default is that of the
        book's MNIST job.
    weight_decay : float, default 0
        ``weight_decay * W`` is added to the gradients of the weights.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.SGD(lr=0.5)
    SGD(lr=0.5, weight_decay=0.0)
    """


@dataclass(frozen=True)
class Momentum(Optimizer):
    """Descent with momentum: ``v = momentum * v - lr * dW;  W += v``.

    Parameters
    ----------
    lr : float or callable, default 0.01
        Learning rate, as for `SGD`.
    momentum : float, default 0.9
        Share of the velocity that stays, from 0 to below 1.
    weight_decay : float, default 0
        As for `SGD`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.

    Notes
    -----
    Source: the book, section 6.1.4.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.Momentum(0.05)
    Momentum(lr=0.05, weight_decay=0.0, momentum=0.9)
    """

    lr: Rate = 0.01
    momentum: float = 0.9

    _rule: ClassVar[Rule] = RULES["momentum"]

    def __post_init__(self) -> None:
        super().__post_init__()
        _share(self.momentum, "momentum")

    def _numbers(self) -> dict[str, float]:
        return {"velocity_kept": self.momentum}


@dataclass(frozen=True)
class Nesterov(Momentum):
    """Nesterov's momentum: ``v = momentum * v - lr * dW;  W += momentum * v - lr * dW``.

    Parameters
    ----------
    lr : float or callable, default 0.01
        Learning rate, as for `SGD`.
    momentum : float, default 0.9
        Share of the velocity that stays, from 0 to below 1.
    weight_decay : float, default 0
        As for `SGD`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.

    Notes
    -----
    The form of the book's ``common/optimizer.py`` and of scikit-learn, in which
    the gradient is taken where the weights are.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.Nesterov(0.05, momentum=0.8)
    Nesterov(lr=0.05, weight_decay=0.0, momentum=0.8)
    """

    _rule: ClassVar[Rule] = RULES["nesterov"]


@dataclass(frozen=True)
class AdaGrad(Optimizer):
    """``h += dW**2;  W -= lr * dW / (sqrt(h) + epsilon)``.

    Parameters
    ----------
    lr : float or callable, default 0.01
        Learning rate, as for `SGD`.
    epsilon : float, default 1e-7
        Above 0, so that nothing is divided by zero; the book's.
    weight_decay : float, default 0
        As for `SGD`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.

    Notes
    -----
    Source: the book, section 6.1.5.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.AdaGrad()
    AdaGrad(lr=0.01, weight_decay=0.0, epsilon=1e-07)
    """

    lr: Rate = 0.01
    epsilon: float = 1e-7

    _rule: ClassVar[Rule] = RULES["adagrad"]

    def __post_init__(self) -> None:
        super().__post_init__()
        gate.real_number(self.epsilon, "epsilon", 0, above=True)

    def _numbers(self) -> dict[str, float]:
        return {"epsilon": self.epsilon}


@dataclass(frozen=True)
class RMSprop(Optimizer):
    """``h = decay_rate * h + (1 - decay_rate) * dW**2;  W -= lr * dW / (sqrt(h) + epsilon)``.

    Parameters
    ----------
    lr : float or callable, default 0.01
        Learning rate, as for `SGD`.
    decay_rate : float, default 0.99
        Share of the mean square that stays, from 0 to below 1.
    epsilon : float, default 1e-7
        Above 0; the book's.
    weight_decay : float, default 0
        As for `SGD`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.

    Notes
    -----
    Source: ``common/optimizer.py`` of the book.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.RMSprop(0.001)
    RMSprop(lr=0.001, weight_decay=0.0, decay_rate=0.99, epsilon=1e-07)
    """

    lr: Rate = 0.01
    decay_rate: float = 0.99
    epsilon: float = 1e-7

    _rule: ClassVar[Rule] = RULES["rmsprop"]

    def __post_init__(self) -> None:
        super().__post_init__()
        _share(self.decay_rate, "decay_rate")
        gate.real_number(self.epsilon, "epsilon", 0, above=True)

    def _numbers(self) -> dict[str, float]:
        return {"squares_kept": self.decay_rate, "epsilon": self.epsilon}


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam: means of the gradients over the roots of the means of their squares.

    Parameters
    ----------
    lr : float or callable, default 0.001
        Learning rate, as for `SGD`.
    beta1 : float, default 0.9
        Share of the mean that stays, from 0 to below 1.
    beta2 : float, default 0.999
        Share of the mean square that stays, from 0 to below 1.
    epsilon : float, default 1e-7
        Above 0; the book's.  scikit-learn and PyTorch have 1e-8.
    weight_decay : float, default 0
        As for `SGD`: added to the gradient, so not the "decoupled" one of AdamW.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.

    Notes
    -----
    ``m += (1 - beta1) * (dW - m);  v += (1 - beta2) * (dW**2 - v);
    W -= lr * sqrt(1 - beta2**t) / (1 - beta1**t) * m / (sqrt(v) + epsilon)``
    at step t = 1, 2, ....  Source: ``common/optimizer.py`` of the book, after
    Kingma and Ba (2015), section 2.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.Adam(lr=0.01)
    Adam(lr=0.01, weight_decay=0.0, beta1=0.9, beta2=0.999, epsilon=1e-07)
    """

    lr: Rate = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-7

    _rule: ClassVar[Rule] = RULES["adam"]

    def __post_init__(self) -> None:
        super().__post_init__()
        _share(self.beta1, "beta1")
        _share(self.beta2, "beta2")
        gate.real_number(self.epsilon, "epsilon", 0, above=True)

    def _numbers(self) -> dict[str, float]:
        return {
            "mean_kept": self.beta1,
            "squares_kept": self.beta2,
            "epsilon": self.epsilon,
        }

    def _corrections(self, first: int, count: int) -> np.ndarray:
        """For means that began at zero."""
        factor, divisor = adam_corrections(self.beta1, self.beta2, first, count)
        return factor / divisor


# By the names of the command line; the book's Trainer has rules of its own.
OPTIMIZERS: dict[str, type[Optimizer]] = {
    "sgd": SGD,
    "momentum": Momentum,
    "nesterov": Nesterov,
    "adagrad": AdaGrad,
    "rmsprop": RMSprop,
    "adam": Adam,
}
