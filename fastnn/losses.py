"""Losses that have numbers of their own, as plain descriptions; all others go by their names."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from fastnn import gate

__all__ = ["Huber", "Loss", "Quantile"]


@dataclass(frozen=True)
class Loss:
    """A loss that is described; `Huber` and `Quantile` are."""

    name: ClassVar[str]

    def numbers(self, outputs: int) -> tuple[float, ...]:
        """What the loss has for each of so many outputs."""
        raise NotImplementedError

    def description(self) -> dict[str, Any]:
        """The same for a file."""
        return {"name": self.name} | {own.name: getattr(self, own.name) for own in fields(self)}


@dataclass(frozen=True)
class Huber(Loss):
    """Half the square of small errors, and linear in large ones: outliers count less.

    ``(y - t)**2 / 2`` up to `delta`, and ``delta * (abs(y - t) - delta / 2)`` beyond it, the mean
    over the outputs and rows.

    Parameters
    ----------
    delta : float, default 1
        From which error on it is linear, in units of the targets; above 0.

    Raises
    ------
    TypeError, ValueError
        If `delta` is not as above.

    Notes
    -----
    Source: P. Huber, Robust estimation of a location parameter (1964); as PyTorch's `HuberLoss`.

    Examples
    --------
    >>> import fastnn
    >>> net = fastnn.MLP([2, 8, 1], output="identity", loss=fastnn.losses.Huber(0.5), seed=0)
    >>> net.loss([[0, 0]], [2.0])
    0.875
    """

    name: ClassVar[str] = "huber"
    delta: float = 1.0

    def __post_init__(self) -> None:
        if gate.real_number(self.delta, "delta", 0) == 0:
            raise ValueError("delta must be above 0, got 0")

    def numbers(self, outputs: int) -> tuple[float, ...]:
        """`delta` for each output."""
        return (float(self.delta),) * outputs


@dataclass(frozen=True)
class Quantile(Loss):
    """Errors whose best outputs are quantiles of the targets: 0.5 is their median.

    ``q * (t - y)`` of an output that is too small, ``(1 - q) * (y - t)`` of one that is too large,
    the mean over the outputs and rows.

    Parameters
    ----------
    q : float or sequence of float, default 0.5
        Share of the targets that shall be below, above 0 and below 1; or one for each output.

    Raises
    ------
    TypeError, ValueError
        If `q` is not as above; by the network, if it has not one for each of its outputs.

    Notes
    -----
    Source: R. Koenker and G. Bassett, Regression quantiles (1978).

    Examples
    --------
    >>> import fastnn
    >>> bounds = fastnn.losses.Quantile([0.1, 0.9])
    >>> net = fastnn.MLP([2, 8, 2], output="identity", loss=bounds, seed=0)
    >>> round(net.loss([[0, 0]], [[1.0, 1.0]]), 6)
    0.5
    """

    name: ClassVar[str] = "quantile"
    q: float | tuple[float, ...] = 0.5

    def __post_init__(self) -> None:
        if isinstance(self.q, Iterable) and not isinstance(self.q, str):
            object.__setattr__(self, "q", tuple(self.q))
        several = isinstance(self.q, tuple)
        for i, q in enumerate(self.q if isinstance(self.q, tuple) else (self.q,)):
            name = f"q[{i}]" if several else "q"
            if not 0 < gate.real_number(q, name, 0) < 1:
                raise ValueError(f"{name} must be above 0 and below 1, got {q!r}")

    def numbers(self, outputs: int) -> tuple[float, ...]:
        """`q` of each output."""
        if not isinstance(self.q, tuple):
            return (float(self.q),) * outputs
        if len(self.q) != outputs:
            raise ValueError(
                f"q must be one number, or one for each of {outputs} outputs, got {self.q}"
            )
        return tuple(map(float, self.q))


# By their names, with which their numbers are the defaults.
DESCRIBED: dict[str, type[Loss]] = {"huber": Huber, "quantile": Quantile}
