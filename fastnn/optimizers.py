"""Optimisers: plain descriptions of a rule that is compiled into the weight sweep.

An optimiser holds no state.  What its rule remembers belongs to the network,
which goes on with it in the next `fit` with the same rule and numbers, whatever
the learning rate: a smaller rate for the last epochs, or a schedule, is no
reason to forget.
"""

from __future__ import annotations

import contextlib
import copy
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from fastnn import gate
from fastnn.compiler.rounding import rounding_to_nearest
from fastnn.kernels import updates
from fastnn.schedules import Cosine, InverseScaling, StepDecay

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
        decay = float(_cast(self.weight_decay, dtype, "weight_decay"))
        return self._code, hyper_numbers(self._numbers(), dtype), decay

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
        with contextlib.suppress(Exception):  # of users' objects; then they are not equal
            if before.lr == self.lr:
                return before
        return self._with(_earlier_steps=steps)

    def rates(self, first: int, count: int, dtype: np.dtype) -> np.ndarray:
        """Learning rates of the steps ``first, first + 1, ...``, as the kernels take them.

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
            Those of Adam with the corrections for means that began at zero.

        Raises
        ------
        TypeError, ValueError
            If a schedule gives something else than a finite number of at least 0.

        Examples
        --------
        >>> import fastnn, numpy as np
        >>> fastnn.SGD(lambda step: 0.5**step).rates(1, 3, np.dtype("float64"))
        array([0.5  , 0.25 , 0.125])
        >>> fastnn.Adam(0.1).rates(0, 2, np.dtype("float64")).round(4)
        array([0.0316, 0.0235])
        """
        found, error = self.good_rates(first, count, dtype)
        if error is not None:
            raise error
        return found

    def good_rates(
        self, first: int, count: int, dtype: np.dtype
    ) -> tuple[np.ndarray, Exception | None]:
        """What `rates` gives, up to the first that is wrong, and what is wrong with it.

        Parameters
        ----------
        first, count, dtype
            As for `rates`.

        Returns
        -------
        ndarray, shape (count,) or less
            The good ones.
        Exception or None
            What `rates` would raise.

        Examples
        --------
        >>> import fastnn, numpy as np
        >>> fastnn.SGD(lambda step: 1 - step).good_rates(0, 3, np.dtype("float64"))
        (array([1., 0.]), ValueError('lr(2) must be a finite number at least 0, got -1'))
        """
        found, error = self._asked(first - self._earlier_steps, count)
        with np.errstate(all="ignore"), rounding_to_nearest():
            rates = (found * self._corrections(first, found.size)).astype(dtype)
        good = np.isfinite(rates) & (found >= 0)
        if not good.all():
            at = int(np.argmin(good))
            rates, step = rates[:at], first - self._earlier_steps + at
            error = ValueError(f"lr({step}) must be at least 0 and fit {dtype}, got {found[at]}")
        return rates, error

    def _asked(self, first: int, count: int) -> tuple[np.ndarray, Exception | None]:
        """Rates of steps of the schedule, up to the first that is no number, and why it is none."""
        if not callable(self.lr):
            return np.full(count, float(self.lr)), None
        if isinstance(self.lr, Cosine | InverseScaling | StepDecay):  # all at once
            with rounding_to_nearest():
                return self.lr.rates(np.arange(first, first + count)), None
        found = np.empty(count)
        for i in range(count):
            try:
                rate: Any = self.lr(first + i)
                if getattr(rate, "shape", None) == () and hasattr(rate, "item"):
                    rate = rate.item()  # an array or a tensor of no dimensions
                found[i] = gate.real_number(rate, f"lr({first + i})", 0)
            except Exception as error:  # the schedule's own, too
                return found[:i], error
        return found, None

    def _corrections(self, first: int, count: int) -> np.ndarray | float:
        """Factors of the rates."""
        return 1.0

    def packed(self) -> tuple[Optimizer, bytes | None, str]:
        """Give this optimiser as it can be pickled: a function apart, if it can be, and its name.

        Returns
        -------
        tuple of (Optimizer, bytes or None, str)
            See `unpacked`.

        Examples
        --------
        >>> import fastnn
        >>> fastnn.SGD(lambda step: 0.1).packed()[:2]
        (SGD(lr=None, weight_decay=0.0), None)
        """
        if not callable(self.lr):
            return self, None, ""
        kept = None
        with contextlib.suppress(Exception):  # a lambda, a local function, an open file in it
            kept = pickle.dumps(self.lr)
        return self._with(lr=None), kept, repr(self.lr)

    @staticmethod
    def unpacked(optimizer: Optimizer, kept: bytes | None, name: str) -> Optimizer:
        """Give the optimiser that was `packed`; instead of a function that was lost a `LostRate`.

        Parameters
        ----------
        optimizer, kept, name
            What `packed` returned.

        Returns
        -------
        Optimizer

        Examples
        --------
        >>> import fastnn
        >>> rule = fastnn.Momentum(lambda step: 0.1)
        >>> rule.unpacked(*rule.packed()).lr is rule.lr
        False
        """
        if not name:
            return optimizer
        lr: Any = LostRate(name)
        if kept is not None:
            with contextlib.suppress(Exception):  # its module is not here
                lr = pickle.loads(kept)
        return optimizer._with(lr=lr)

    def _with(self, **attributes: Any) -> Any:
        """A copy with other attributes, not checked."""
        other = copy.copy(self)
        for name, value in attributes.items():
            object.__setattr__(other, name, value)
        return other


class LostRate:
    """Stands where a function was that a pickle could not hold, and was equal to itself only.

    Parameters
    ----------
    name : str
        What the function was called.

    Examples
    --------
    >>> from fastnn.optimizers import LostRate
    >>> LostRate("<function schedule>")
    <lost: <function schedule>>
    """

    def __init__(self, name: str):
        self.name = name

    def __repr__(self) -> str:
        return f"<lost: {self.name}>"

    def __call__(self, step: int) -> float:
        """Refuse."""
        raise ValueError(f"lr was a function that could not be pickled, {self.name}; give it again")


def hyper_numbers(numbers: Mapping[int, float], dtype: np.dtype) -> np.ndarray:
    """Numbers of a rule by their places, in the array in which it reads them.

    Parameters
    ----------
    numbers : mapping of int to float
        See `fastnn.kernels.updates`.
    dtype : numpy.dtype
        Precision of the network.

    Returns
    -------
    ndarray

    Raises
    ------
    ValueError
        If what keeps a rule from dividing by zero counts as zero in `dtype`.

    Examples
    --------
    >>> import numpy as np
    >>> hyper_numbers({3: 0.5}, np.dtype("float32"))
    array([0. , 0. , 0. , 0.5], dtype=float32)
    """
    hyper = np.zeros(updates.HYPER_SIZE, dtype)
    _cast(numbers.get(updates.EPSILON, 0.0), dtype, "epsilon")
    with rounding_to_nearest():
        for place, number in numbers.items():
            hyper[place] = number
    smallest = float(np.finfo(dtype).tiny)  # below it numbers are zero in kernels
    if numbers.get(updates.EPSILON, smallest) < smallest:
        raise ValueError(
            f"epsilon must be at least {smallest:.3g} in {dtype}, got {numbers[updates.EPSILON]}"
        )
    return hyper


def _cast(number: float, dtype: np.dtype, name: str) -> float:
    if float(number) > float(np.finfo(dtype).max):  # one of NumPy's narrow types would overflow
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

    def _corrections(self, first: int, count: int) -> np.ndarray:
        """For means that began at zero."""
        t = np.arange(first + 1, first + count + 1, dtype=np.float64)
        return np.sqrt(1 - self.beta2**t) / (1 - self.beta1**t)


# By the names of the command line and of the book's Trainer.
OPTIMIZERS: dict[str, type[Optimizer]] = {
    "sgd": SGD,
    "momentum": Momentum,
    "nesterov": Nesterov,
    "adagrad": AdaGrad,
    "rmsprop": RMSprop,
    "adam": Adam,
}
