"""Learning rates that change: give one as ``lr`` of an optimiser.

A schedule is a function of the number of steps made so far.  Any callable will
do; the classes here are the usual ones.  In the next `fit` an equal schedule
goes on counting, another one counts from 0.  A function is equal to itself only,
so one that shall go on needs a name: two lambdas are two schedules.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastnn import gate

__all__ = ["Cosine", "InverseScaling", "StepDecay"]


@dataclass(frozen=True)
class StepDecay:
    """Multiply the learning rate by `factor` after every so many steps.

    Parameters
    ----------
    lr : float
        Rate of the first step, above 0.
    every : int
        Steps between two changes.
    factor : float, default 0.1
        At least 0.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.

    Examples
    --------
    >>> import fastnn
    >>> lr = fastnn.schedules.StepDecay(0.1, every=1000, factor=0.5)
    >>> lr(0), lr(999), lr(1000), lr(2000)
    (0.1, 0.1, 0.05, 0.025)
    >>> fastnn.SGD(lr)
    SGD(lr=StepDecay(lr=0.1, every=1000, factor=0.5), weight_decay=0.0)
    """

    lr: float
    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        gate.real_number(self.lr, "lr", 0, above=True)
        gate.positive_integer(self.every, "every")
        gate.real_number(self.factor, "factor", 0)

    def __call__(self, step: int) -> float:
        """Give the rate after so many steps."""
        return float(self.rates(np.array([step]))[0])

    def rates(self, steps: np.ndarray) -> np.ndarray:
        """Give the rates after so many steps each, with the array's shape.

        Parameters
        ----------
        steps : ndarray of int
            Counts of steps.

        Returns
        -------
        ndarray of float64

        Examples
        --------
        See `StepDecay`.
        """
        with np.errstate(over="ignore"):
            return self.lr * float(self.factor) ** (steps // self.every)


@dataclass(frozen=True)
class InverseScaling:
    """``lr / (step + 1) ** power``, scikit-learn's ``"invscaling"`` counted in steps.

    Parameters
    ----------
    lr : float
        Rate of the first step, above 0.
    power : float, default 0.5
        At least 0.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.

    Examples
    --------
    >>> import fastnn
    >>> lr = fastnn.schedules.InverseScaling(0.5)
    >>> lr(0), lr(3)
    (0.5, 0.25)
    """

    lr: float
    power: float = 0.5

    def __post_init__(self) -> None:
        gate.real_number(self.lr, "lr", 0, above=True)
        gate.real_number(self.power, "power", 0)

    def __call__(self, step: int) -> float:
        """Give the rate after so many steps."""
        return float(self.rates(np.array([step]))[0])

    def rates(self, steps: np.ndarray) -> np.ndarray:
        """Give the rates after so many steps each, with the array's shape.

        Parameters
        ----------
        steps : ndarray of int
            Counts of steps.

        Returns
        -------
        ndarray of float64

        Examples
        --------
        See `InverseScaling`.
        """
        with np.errstate(under="ignore"):
            return self.lr * (steps + 1.0) ** -float(self.power)


@dataclass(frozen=True)
class Cosine:
    """Half a cosine from `lr` down to `end`, which stays.

    Parameters
    ----------
    lr : float
        Rate of the first step, above 0.
    steps : int
        Steps until `end` is reached.
    end : float, default 0
        Last rate, at least 0.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.

    Notes
    -----
    Source: Loshchilov and Hutter, SGDR (2017), without restarts.

    Examples
    --------
    >>> import fastnn
    >>> lr = fastnn.schedules.Cosine(0.2, steps=100)
    >>> lr(0), round(lr(50), 6), lr(100), lr(1000)
    (0.2, 0.1, 0.0, 0.0)
    """

    lr: float
    steps: int
    end: float = 0.0

    def __post_init__(self) -> None:
        gate.real_number(self.lr, "lr", 0, above=True)
        gate.positive_integer(self.steps, "steps")
        gate.real_number(self.end, "end", 0)

    def __call__(self, step: int) -> float:
        """Give the rate after so many steps."""
        return float(self.rates(np.array([step]))[0])

    def rates(self, steps: np.ndarray) -> np.ndarray:
        """Give the rates after so many steps each, with the array's shape.

        Parameters
        ----------
        steps : ndarray of int
            Counts of steps.

        Returns
        -------
        ndarray of float64

        Examples
        --------
        See `Cosine`.
        """
        share = np.minimum(steps / self.steps, 1.0)
        return self.end + (self.lr - self.end) * (1 + np.cos(np.pi * share)) / 2
