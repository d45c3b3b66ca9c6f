"""What `MLPClassifier` and `MLPRegressor` have in common: scikit-learn's, but for the arithmetic.

Checks, attributes, messages, and the order in which random numbers are drawn, are inherited from
scikit-learn's classes.  What is replaced are the loops over batches and the passes through the
network; what is added are keyword-only parameters whose defaults change nothing.
"""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar

import numpy as np
from sklearn import config_context
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import validate_data

from fastnn import gate, intake
from fastnn.compiler.rounding import rounding_to_nearest
from fastnn.estimators.lbfgs import WithLBFGS
from fastnn.estimators.online import Online
from fastnn.estimators.with_engine import ACTIVATIONS
from fastnn.training import calls
from fastnn.training.data import Samples

# Inputs of which to see whether all are finite takes longer than to find their zeros.
MANY_INPUTS = 1_000_000


class OnEngine(Online, WithLBFGS):
    """What both estimators do in fastnn's way."""

    _parameter_constraints: ClassVar[dict] = {
        "activation": [StrOptions(set(ACTIVATIONS)), "array-like"],
        "dropout": [Interval(Real, 0, 1, closed="left"), "array-like"],
        "callbacks": ["array-like", None],
        "max_time": [Interval(Real, 0, None, closed="right"), None],
        "progress": ["boolean"],
        "validation_loss": ["boolean"],
    }

    # Passes ------------------------------------------------------------------

    def __sklearn_is_fitted__(self) -> bool:
        """Or scikit-learn looks through all attributes, a third of what a row takes."""
        return hasattr(self, "coefs_")

    def _forward_pass_fast(self, X: Any, check_input: bool = True) -> np.ndarray:
        found = self._outputs_of_plain(X) if check_input else None
        if found is None:
            if check_input:
                intake.refuse_masked(X, "X")
                X = validate_data(self, X, accept_sparse=["csr", "csc"], reset=False)
            if X.dtype.kind not in "biuf":
                raise TypeError(f"X must hold numbers, got dtype {X.dtype}")
            found = self._engine_at_hand().outputs(X)
        if found.dtype == X.dtype:
            return found
        # The type of NumPy's products; the precision is that of the weights.
        return found.astype(np.result_type(found.dtype, X.dtype), copy=False)

    def _outputs_of_plain(self, X: Any) -> np.ndarray | None:
        """Outputs for an array in which scikit-learn's checks would find nothing.

        They take ten times as long as one row takes the network, so an array of floats, of the
        right shape, without names, is seen by fastnn's checks only.
        """
        if "feature_names_in_" in self.__dict__:
            return None
        engine = self._engine_at_hand()
        rows = gate.plain_rows(X, engine.params.layer_sizes[0], engine.dtype)
        return None if rows is None else calls.outputs(engine.model, rows)

    def score(self, X, y, sample_weight=None):
        """scikit-learn's score of a prediction; what is masked is refused.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The input data.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            The true labels or values.
        sample_weight : array-like of shape (n_samples,), default=None
            Sample weights.

        Returns
        -------
        score : float
            The accuracy of a classifier, the coefficient of determination of a regressor.
        """
        _refuse_masked(X, y, sample_weight)
        return super().score(X, y, sample_weight=sample_weight)

    # Training ----------------------------------------------------------------

    def _fit(self, X, y, sample_weight=None, incremental=False):
        if incremental and sample_weight is None and self._takes_more(X, y):
            return self
        _refuse_masked(X, y, sample_weight)
        self._refuse_other_layers(incremental)
        try:
            return super()._fit(X, y, sample_weight=sample_weight, incremental=incremental)
        finally:
            self.__dict__.pop("_seen", None)
            self.__dict__.pop("_class_weights", None)

    def _refuse_other_layers(self, incremental: bool) -> None:
        """Refuse to go on with a network of another depth; L-BFGS also with other widths.

        scikit-learn breaks there, or finds numbers of no meaning.
        """
        if not hasattr(self, "coefs_") or not (self.warm_start or incremental):
            return
        found = [len(intercepts) for intercepts in self.intercepts_[:-1]]
        wanted = np.ravel(self.hidden_layer_sizes).tolist()
        if len(found) != len(wanted) or (self.solver == "lbfgs" and found != wanted):
            raise ValueError(
                f"hidden_layer_sizes is {self.hidden_layer_sizes}, but the network to go on with "
                f"has hidden layers of {found} units: give these sizes, or warm_start=False"
            )

    def _validate_input(self, X, y, incremental, reset):
        """scikit-learn's checks; and numbers too large for the network's precision are refused."""
        X, y = self._seen_by_kernels(X, y, incremental, reset)
        dtype = X.dtype if reset else self._engine_at_hand().dtype
        gate.refuse_too_large(X, dtype, "X")
        gate.refuse_too_large(y, dtype, "y")
        used = ["alpha"]
        if self.solver != "lbfgs":
            used.append("learning_rate_init")
        if self.solver == "adam":
            used.append("epsilon")
        for name in used:
            gate.refuse_too_large(gate.numbers(getattr(self, name), name), dtype, name)
        return X, y

    def _seen_by_kernels(self, X, y, incremental, reset):
        """scikit-learn's checks, but whether many inputs are finite is seen by the kernels.

        They look at all of them anyway, for zeros, but not where the rows are split before.  Of
        60,000 images that saves 10 ms of 70.
        """
        many = _is_plain(X) and X.size >= MANY_INPUTS and not self.early_stopping
        if many and _is_finite_array(y):
            samples = Samples(gate.kernel_array(X, X.dtype))
            if samples.finite:
                with config_context(assume_finite=True):
                    X, y = super()._validate_input(X, y, incremental, reset)
                self._seen = X, samples
                return X, y
        return super()._validate_input(X, y, incremental, reset)

    def _initialize(self, y, layer_units, dtype):
        self.n_layers_ = len(layer_units)
        if not all(callable(callback) for callback in self.callbacks or ()):
            raise ValueError(f"callbacks must be callables, got {self.callbacks!r}")
        self._activations()  # before random numbers are drawn for layers that cannot be
        self._dropout()
        with rounding_to_nearest():
            super()._initialize(y, layer_units, dtype)
        self.validation_loss_curve_ = None

    def _init_coef(self, fan_in, fan_out, dtype):
        """scikit-learn's, which is told the activation of the layer, or of the one before."""
        if isinstance(self.activation, str):
            return super()._init_coef(fan_in, fan_out, dtype)
        given, names = self.activation, self._activations()
        self.activation = names[min(len(self.coefs_), len(names) - 1)] if names else "relu"
        try:
            return super()._init_coef(fan_in, fan_out, dtype)
        finally:
            self.activation = given


def _refuse_masked(X: Any, y: Any, sample_weight: Any) -> None:
    """scikit-learn takes the numbers under a mask for data."""
    for name, given in (("X", X), ("y", y), ("sample_weight", sample_weight)):
        intake.refuse_masked(given, name)


def _is_plain(X: Any) -> bool:
    """Whether scikit-learn's checks would hand X on as it is, if its numbers are finite."""
    return (
        type(X) is np.ndarray
        and X.ndim == 2
        and X.dtype in (np.float32, np.float64)
        and X.flags.c_contiguous
    )


def _is_finite_array(y: Any) -> bool:
    return type(y) is np.ndarray and (
        y.dtype.kind in "biuU" or (y.dtype.kind == "f" and bool(np.isfinite(y).all()))
    )
