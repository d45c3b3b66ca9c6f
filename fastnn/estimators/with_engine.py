"""An estimator with an engine: its weights in fastnn's form, in pickles and in copies."""

from __future__ import annotations

import copy
import time
import warnings
from numbers import Real
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network._multilayer_perceptron import BaseMultilayerPerceptron

from fastnn.estimators import callbacks
from fastnn.estimators.engine import ACTIVATIONS, Engine, Training
from fastnn.training.data import Samples

NOT_PICKLED = ("_engine", "_training_at_hand", "_drawn_at_hand")


class WithEngine(BaseMultilayerPerceptron):
    """What every solver needs."""

    activation: Any
    callbacks: Any
    coefs_: list
    intercepts_: list
    loss_: Any
    n_iter_: int
    # During a fit: X and what the kernels have seen of it; weights of the samples by class.
    _seen: tuple[Any, Samples] | None = None
    _class_weights: np.ndarray | None = None

    # The engine --------------------------------------------------------------

    def _engine_at_hand(self) -> Engine:
        """The engine that holds ``coefs_`` and ``intercepts_``; a new one if they were replaced."""
        engine, activations = self.__dict__.get("_engine"), self._activations()
        if (
            engine is None
            or engine.activations != activations
            or not engine.holds(self.coefs_, self.intercepts_)
        ):
            engine = self._new_engine(self.coefs_, self.intercepts_)
            self._view(engine)
        return engine

    def _new_engine(self, coefs: list[np.ndarray], intercepts: list[np.ndarray]) -> Engine:
        return Engine(coefs, intercepts, self._activations(), self.out_activation_)

    def _view(self, engine: Engine) -> None:
        """Show the weights of an engine as ``coefs_`` and ``intercepts_``."""
        self._engine = engine
        self.coefs_, self.intercepts_ = list(engine.coefs), list(engine.intercepts)

    def _activations(self) -> list[str]:
        """The activation of each hidden layer."""
        hidden, names = self.n_layers_ - 2, self.activation
        names = [names] * hidden if isinstance(names, str) else list(names)
        known = all(isinstance(name, str) and name in ACTIVATIONS for name in names)
        if len(names) != hidden or not known:
            raise ValueError(
                f"activation must be one of {', '.join(sorted(ACTIVATIONS))}, or one of them for "
                f"each of the {hidden} hidden layers, got {self.activation!r}"
            )
        return names

    def _dropout(self) -> list[float]:
        """The share of each hidden layer's outputs that is dropped."""
        hidden, shares = self.n_layers_ - 2, self.dropout
        shares = [shares] * hidden if isinstance(shares, Real) else list(shares)
        numbers = all(isinstance(share, Real) for share in shares)
        if len(shares) != hidden or not numbers or not all(0 <= share < 1 for share in shares):
            raise ValueError(
                "dropout must be a number from 0 to below 1, or one for each of the "
                f"{hidden} hidden layers, got {self.dropout!r}"
            )
        return shares

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        state = {name: value for name, value in state.items() if name not in NOT_PICKLED}
        if state.get("callbacks"):
            state["callbacks"] = callbacks.packed(state["callbacks"])
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({**state, "callbacks": callbacks.unpacked(state.get("callbacks"))})

    def __sklearn_clone__(self) -> Any:
        """Callbacks are shared, as by `__deepcopy__`."""
        without = copy.copy(self)
        without.callbacks = ()
        other = super(WithEngine, without).__sklearn_clone__()
        other.callbacks = self.callbacks
        return other

    def __copy__(self) -> Any:
        """With the callbacks themselves, which a pickle may be without."""
        other = type(self).__new__(type(self))
        other.__dict__.update(self.__dict__)
        for name in NOT_PICKLED:
            other.__dict__.pop(name, None)
        return other

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """Callbacks are shared: they are the user's, and may hold what cannot be copied."""
        other = copy.copy(self)
        memo[id(self)] = other
        for name, value in other.__dict__.items():
            if name != "callbacks":
                other.__dict__[name] = copy.deepcopy(value, memo)
        return other

    # For a solver ------------------------------------------------------------

    def _samples_of(self, X: Any) -> Samples:
        """Inputs as the kernels read them."""
        if self._seen is not None and self._seen[0] is X and X.dtype == self._engine.dtype:
            return self._seen[1]
        return self._engine.samples(X)

    def _all_weights(self, sample_weight: np.ndarray | None) -> np.ndarray | None:
        """Weights of the samples, those of their classes included."""
        names = ["sample_weight"] * (sample_weight is not None)
        if self._class_weights is not None:
            names.append("class_weight")
            given = 1.0 if sample_weight is None else sample_weight
            with np.errstate(over="ignore"):
                sample_weight = given * self._class_weights
        if sample_weight is None:
            return None
        # A batch's weights are divided by their sum: by an infinite one, all would be zero.
        with np.errstate(over="ignore"):
            total = np.abs(sample_weight).sum(dtype=np.float64)
        if np.isinf(total):
            largest = np.abs(sample_weight).max()
            raise ValueError(
                f"{' times '.join(names)} must have a finite sum, got numbers up to {largest}"
            )
        return sample_weight

    def _is_asked_to_stop(self, training: Training, began: float) -> bool:
        """Whether the time is up, or a callback returns something true; all are called."""
        wishes = [_wish(callback, self) for callback in self.callbacks or ()]
        if wishes and not training.engine.holds(self.coefs_, self.intercepts_):
            training.engine.take(self.coefs_, self.intercepts_)  # a callback replaced them
            self._view(training.engine)
        if self.max_time is not None and time.monotonic() - began > self.max_time:
            if self.n_iter_ < self.max_iter:
                unit = "iterations" if self.solver == "lbfgs" else "epochs"
                warnings.warn(
                    f"max_time={self.max_time} seconds are over after {self.n_iter_} {unit}, and "
                    "the optimization hasn't converged yet.",
                    ConvergenceWarning,
                    stacklevel=8,
                )
            return self.n_iter_ < self.max_iter
        return any(wishes)


def _wish(callback: Any, estimator: Any) -> bool:
    """Whether a callback wants training to end."""
    answer = callback(estimator)
    try:
        return bool(answer)
    except ValueError as error:
        raise ValueError(
            f"callbacks must return something true or false, {callback!r} returned "
            f"a {type(answer).__name__}"
        ) from error
