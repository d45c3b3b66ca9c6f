"""Optimisers: plain descriptions of a rule that is compiled into the weight sweep.

An optimiser holds no state.  What its rule remembers belongs to the network,
which goes on with it in the next `fit` with the same rule and numbers, whatever
the learning rate: a smaller rate for the last epochs, or a schedule, is no
reason to forget.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from fastnn import gate
from fastnn.kernels import updates

__all__ = ["OPTIMIZERS", "SGD", "AdaGrad", "Adam", "Momentum", "Nesterov", "Optimizer", "RMSprop"]

Rate = float | Callable[[int], float]


@dataclass(frozen=True)
class Optimizer:
    """What all optimisers have; use one of its kinds.

    Parameters
    ----------
    lr : float or callable
        Learning rate, above 0; or a function of the number of steps made so
        far, such as those of `fastnn.schedules`.
    weight_decay : float, default 0
        ``weight_decay * W`` is added to the gradients of the weights, not of
        the biases.  The losses that `fit` records do not count it.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.

    Examples
    --------
    >>> import fastnn
    >>> isinstance(fastnn.Adam(), fastnn.optimizers.Optimizer)
    True
    """

    lr: Rate = 0.1
    weight_decay: float = field(default=0.0, kw_only=True)
    # Steps that the rule had made before the first with this `lr`, which counts from there.
    _earlier_steps: int = field(default=0, init=False, repr=False, compare=False)

    _code: ClassVar[int] = updates.SGD
    # Arrays of the size of the parameters that the rule remembers.
    memories: ClassVar[int] = 0

    def __post_init__(self) -> None:
        if not callable(self.lr):
            gate.real_number(self.lr, "lr", 0, above=True)
        gate.real_number(self.weight_decay, "weight_decay", 0)

    def _numbers(self) -> dict[int, float]:
        """What the rule reads from `hyper`, by place."""
        return {}

    def rule(self, dtype: np.dtype) -> tuple[int, np.ndarray, float]:
        """Give the rule as the kernels take it.

        Parameters
        ----------
        dtype : numpy.dtype
            Precision of the network.

        Returns
        -------
        tuple of (int, ndarray, float)
            Code of the rule, its numbers in `dtype`, and the weight decay.

        Raises
        ------
        ValueError
            If a number is too large or too small for `dtype`.

        Examples
        --------
        >>> import fastnn, numpy as np
        >>> code, numbers, decay = fastnn.Momentum(weight_decay=0.25).rule(np.dtype("float32"))
        >>> float(numbers[0]), decay
        (0.8999999761581421, 0.25)
        """
        if not callable(self.lr):
            _cast(self.lr, dtype, "lr")
        hyper = np.zeros(updates.HYPER_SIZE, dtype)
        decay = float(_cast(self.weight_decay, dtype, "weight_decay"))
        for place, number in self._numbers().items():
            hyper[place] = number
        if updates.EPSILON in self._numbers() and hyper[updates.EPSILON] == 0:
            raise ValueError(
                f"epsilon must not vanish in {dtype}, got {self._numbers()[updates.EPSILON]}"
            )
        return self._code, hyper, decay

    def following(self, before: Optimizer, steps: int) -> Optimizer | None:
        """Give this optimiser as it goes on with what another remembers.

        Parameters
        ----------
        before : Optimizer
            The other.
        steps : int
            Steps that its rule has made.

        Returns
        -------
        Optimizer or None
            None if the rules or their numbers differ.  Else an equal one, whose
            schedule begins now, or is under way if it is equal to the other's.

        Examples
        --------
        >>> import fastnn, numpy as np
        >>> before = fastnn.Momentum(0.5)
        >>> after = fastnn.Momentum(lambda step: 0.5**step).following(before, 100)
        >>> after.rates(100, 3, np.dtype("float64"))
        array([1.  , 0.5 , 0.25])
        >>> fastnn.Momentum(momentum=0.8).following(before, 100) is None
        True
        """
        if replace(before, lr=self.lr) != self:
            return None
        if before.lr == self.lr:
            return before
        following = copy.copy(self)
        object.__setattr__(following, "_earlier_steps", steps)
        return following

    def rates(self, first: int, count: int, dtype: np.dtype) -> np.ndarray:
        """Learning rates of the steps ``first, first + 1, ...``.

        Parameters
        ----------
        first : int
            Steps that the rule has made before.
        count : int
            Number of rates.
        dtype : numpy.dtype
            Precision of the network.

        Returns
        -------
        ndarray, shape (count,)
            As the kernels take them.

        Raises
        ------
        TypeError, ValueError
            If a schedule gives something else than a finite number of at least 0.

        Examples
        --------
        >>> import fastnn, numpy as np
        >>> fastnn.SGD(lambda step: 0.5**step).rates(1, 3, np.dtype("float64"))
        array([0.5  , 0.25 , 0.125])
        """
        if not callable(self.lr):
            return np.full(count, _cast(self.lr, dtype, "lr"), dtype)
        first -= self._earlier_steps
        if hasattr(self.lr, "rates"):  # a class of fastnn.schedules: all at once
            found = self.lr.rates(np.arange(first, first + count))
        else:
            found = np.empty(count)
            for i in range(count):
                found[i] = gate.real_number(self.lr(first + i), f"lr({first + i})", 0)
        good = (found >= 0) & (found <= float(np.finfo(dtype).max))
        if not good.all():
            at = int(np.argmin(good))
            raise ValueError(
                f"lr({first + at}) must be at least 0 and fit {dtype}, got {found[at]}"
            )
        return found.astype(dtype)


def _cast(number: float, dtype: np.dtype, name: str) -> float:
    if number > float(np.finfo(dtype).max):
        raise ValueError(f"{name} must fit {dtype}, got {number}")
    return float(number)


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

    _code: ClassVar[int] = updates.MOMENTUM
    memories: ClassVar[int] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        _share(self.momentum, "momentum")

    def _numbers(self) -> dict[int, float]:
        return {updates.MOMENTUM_KEPT: self.momentum}


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

    _code: ClassVar[int] = updates.NESTEROV


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

    _code: ClassVar[int] = updates.ADAGRAD
    memories: ClassVar[int] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        gate.real_number(self.epsilon, "epsilon", 0, above=True)

    def _numbers(self) -> dict[int, float]:
        return {updates.EPSILON: self.epsilon}


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

    _code: ClassVar[int] = updates.RMSPROP
    memories: ClassVar[int] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        _share(self.decay_rate, "decay_rate")
        gate.real_number(self.epsilon, "epsilon", 0, above=True)

    def _numbers(self) -> dict[int, float]:
        return {updates.SQUARES_NEW: 1 - self.decay_rate, updates.EPSILON: self.epsilon}


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

    _code: ClassVar[int] = updates.ADAM
    memories: ClassVar[int] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        _share(self.beta1, "beta1")
        _share(self.beta2, "beta2")
        gate.real_number(self.epsilon, "epsilon", 0, above=True)

    def _numbers(self) -> dict[int, float]:
        return {
            updates.MEAN_NEW: 1 - self.beta1,
            updates.SQUARES_NEW: 1 - self.beta2,
            updates.EPSILON: self.epsilon,
        }

    def rates(self, first: int, count: int, dtype: np.dtype) -> np.ndarray:
        """Learning rates with the corrections for means that began at zero.

        Parameters
        ----------
        first : int
            Steps that the rule has made before.
        count : int
            Number of rates.
        dtype : numpy.dtype
            Precision of the network.

        Returns
        -------
        ndarray, shape (count,)
            As the kernels take them.

        Raises
        ------
        TypeError, ValueError
            If a schedule gives something else than a finite number of at least 0.

        Examples
        --------
        >>> import fastnn, numpy as np
        >>> fastnn.Adam(0.1).rates(0, 2, np.dtype("float64")).round(4)
        array([0.0316, 0.0235])
        """
        t = np.arange(first + 1, first + count + 1, dtype=np.float64)
        correction = np.sqrt(1 - self.beta2**t) / (1 - self.beta1**t)
        rates = super().rates(first, count, np.dtype(np.float64)) * correction
        return rates.astype(dtype)


# By the names of the command line and of the book's Trainer.
OPTIMIZERS: dict[str, type[Optimizer]] = {
    "sgd": SGD,
    "momentum": Momentum,
    "nesterov": Nesterov,
    "adagrad": AdaGrad,
    "rmsprop": RMSprop,
    "adam": Adam,
}
