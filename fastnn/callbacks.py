"""Callbacks of `fit`: called after every evaluation, they may end training."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn import gate
from fastnn.history import History

__all__ = ["EarlyStopping"]

MONITORS = {
    "test_loss": -1,
    "test_accuracy": 1,
    "train_loss": -1,
    "train_accuracy": 1,
}  # sign of what is better


class EarlyStopping:
    """End training when the network no longer gets better on data it does not learn from.

    Parameters
    ----------
    patience : int, default 10
        Evaluations without a better value after which training ends.
    min_delta : float, default 0
        By how much a value must be better to count.
    monitor : {"test_loss", "test_accuracy", "train_loss", "train_accuracy"}
        What to look at; default "test_loss".  `fit` measures them if it is
        given ``validation_data``, every ``evaluate_every`` steps.
    restore_best : bool, default True
        At the end of `fit`, stopped or not, give the network the weights of
        the best evaluation.

    Attributes
    ----------
    best : float
        The best value seen in the latest fit; not a number before there is one.
    best_step : int
        Steps of that fit made when it was seen.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above, or `fit` has no ``validation_data``.

    Notes
    -----
    Each `fit` starts anew.  What the optimiser remembers stays as it was at the
    last step, also when the weights go back to the best.

    Examples
    --------
    >>> import fastnn, numpy as np
    >>> x = np.random.default_rng(0).normal(size=(60, 5))
    >>> t = np.random.default_rng(1).integers(0, 2, 60)  # nothing to learn
    >>> net = fastnn.MLP([5, 30, 2], weight_init="he", seed=0)
    >>> stop = fastnn.EarlyStopping(patience=3)
    >>> history = net.fit(x[:30], t[:30], epochs=1000, batch_size=10,
    ...                   validation_data=(x[30:], t[30:]), callbacks=[stop])
    >>> history.stop_reason, history.steps == stop.best_step + 3 * 3
    ('callback', True)
    >>> bool(net.loss(x[30:], t[30:]) == stop.best)
    True
    """

    def __init__(
        self,
        patience: int = 10,
        *,
        min_delta: float = 0.0,
        monitor: str = "test_loss",
        restore_best: bool = True,
    ):
        self.patience = gate.positive_integer(patience, "patience")
        self.min_delta = gate.real_number(min_delta, "min_delta", 0)
        self.monitor = gate.choice(monitor, MONITORS, "monitor")
        if not isinstance(restore_best, bool | np.bool_):
            raise TypeError(f"restore_best must be True or False, got {restore_best!r}")
        self.restore_best = bool(restore_best)
        self.best, self.best_step = float("nan"), 0
        self._waited = 0
        self._weights: np.ndarray | None = None

    def start(self, net: Any, measures: list[str]) -> None:
        """Begin anew; `fit` calls this before anything else.

        Parameters
        ----------
        net : MLP
            The network to be trained.
        measures : list of str
            What the evaluations of the `fit` will measure.

        Raises
        ------
        ValueError
            If `monitor` is not among them.

        Examples
        --------
        See `EarlyStopping`.
        """
        if self.monitor not in measures:
            raise ValueError(
                f"EarlyStopping looks at {self.monitor!r}, which this fit does not measure: "
                "give validation_data, and for an accuracy an output of classes"
            )
        self.best, self.best_step, self._waited, self._weights = float("nan"), 0, 0, None

    def __call__(self, net: Any, history: History) -> bool:
        """Note the latest evaluation; true when it is time to end."""
        value, sign = float(getattr(history, self.monitor)[-1]), MONITORS[self.monitor]
        if np.isnan(self.best) or sign * value > sign * self.best + self.min_delta:
            self.best, self.best_step, self._waited = value, history.steps, 0
            if self.restore_best:
                self._weights = net.params.block.copy()
            return False
        self._waited += 1
        return self._waited >= self.patience

    def finish(self, net: Any, history: History) -> None:
        """Restore the best weights; `fit` calls this at its end.

        Parameters
        ----------
        net : MLP
            The network in training.
        history : History
            That of the `fit` that ends.

        Examples
        --------
        See `EarlyStopping`.
        """
        if self._weights is not None:
            net.params.block[:] = self._weights
        self._weights = None
