"""What all optimisers have: a learning rate, a rule of kernels, and a form for pickles."""

from __future__ import annotations

import contextlib
import copy
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from fastnn import gate
from fastnn.compiler.rounding import rounding_to_nearest
from fastnn.rules import RULES, Rule, fitting
from fastnn.schedules import Cosine, InverseScaling, StepDecay

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

    _rule: ClassVar[Rule] = RULES["sgd"]

    def __post_init__(self) -> None:
        if not callable(self.lr):
            gate.real_number(self.lr, "lr", 0, above=True)
        gate.real_number(self.weight_decay, "weight_decay", 0)

    @property
    def memories(self) -> int:
        """Arrays of the size of the parameters that the rule remembers."""
        return self._rule.memories

    def _numbers(self) -> dict[str, float]:
        """What the rule reads."""
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
            fitting(self.lr, dtype, "lr")
        decay = fitting(self.weight_decay, dtype, "weight_decay")
        return self._rule.code, self._rule.hyper(dtype, **self._numbers()), decay

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
