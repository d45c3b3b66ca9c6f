"""What `MLPClassifier` and `MLPRegressor` have in common: scikit-learn's, but for the arithmetic.

Checks, attributes, messages, and the order in which random numbers are drawn, are inherited from
scikit-learn's classes.  What is replaced are the loops over batches and the passes through the
network; what is added are keyword-only parameters whose defaults change nothing.
"""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Iterator
from numbers import Real
from typing import Any, ClassVar

import numpy as np
import scipy.optimize
from sklearn import config_context
from sklearn.base import is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network._base import LOSS_FUNCTIONS
from sklearn.neural_network._multilayer_perceptron import BaseMultilayerPerceptron
from sklearn.neural_network._stochastic_optimizers import AdamOptimizer, SGDOptimizer
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.fixes import _get_additional_lbfgs_options_dict
from sklearn.utils.optimize import _check_optimize_result
from sklearn.utils.parallel import _get_threadpool_controller
from sklearn.utils.validation import validate_data

from fastnn import gate, intake
from fastnn.compiler.rounding import rounding_to_nearest
from fastnn.estimators import callbacks
from fastnn.estimators.engine import Engine, Training
from fastnn.kernels import updates
from fastnn.progress import progress_bar
from fastnn.training.data import Samples

# Seconds of epochs that are made in one call.
AHEAD_SECONDS = 0.02
ACTIVATIONS = {"identity", "logistic", "tanh", "relu", "leaky_relu", "softplus"}
NOT_PICKLED = ("_engine",)
# SciPy's word for a callback that raised StopIteration.
STOPPED_BY_CALLBACK = 99
# Inputs of which to see whether all are finite takes longer than to find their zeros.
MANY_INPUTS = 1_000_000


class OnEngine(BaseMultilayerPerceptron):
    """What both estimators do in fastnn's way."""

    activation: Any
    callbacks: Any
    coefs_: list
    intercepts_: list
    best_loss_: Any
    best_validation_score_: float
    validation_scores_: list
    validation_loss_curve_: Any
    _no_improvement_count: int
    # During a fit: X and what the kernels have seen of it; weights of the samples by class.
    _seen: tuple[Any, Samples] | None = None
    _class_weights: np.ndarray | None = None

    _parameter_constraints: ClassVar[dict] = {
        "activation": [StrOptions(ACTIVATIONS), "array-like"],
        "dropout": [Interval(Real, 0, 1, closed="left"), "array-like"],
        "callbacks": ["array-like", None],
        "max_time": [Interval(Real, 0, None, closed="right"), None],
        "progress": ["boolean"],
        "validation_loss": ["boolean"],
    }

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
        other = super(OnEngine, without).__sklearn_clone__()
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
        return None if rows is None else engine.outputs_if_finite(rows)

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
        used = {"alpha": True, "learning_rate_init": self.solver != "lbfgs",
                "epsilon": self.solver == "adam"}  # fmt: skip
        for name in filter(used.get, used):
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

    def _fit_stochastic(
        self, X, y, sample_weight, activations, deltas, coef_grads, intercept_grads, layer_units,
        incremental,
    ):  # fmt: skip
        sample_weight = self._all_weights(sample_weight)
        if not incremental or not hasattr(self, "_optimizer"):
            self._optimizer = self._new_optimizer()
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        if self.validation_loss and not self.early_stopping:
            raise ValueError("validation_loss=True needs early_stopping=True, which holds rows out")
        if not self.validation_loss:
            self.validation_loss_curve_ = None
        elif self.__dict__.get("validation_loss_curve_") is None:  # or a warm start goes on with it
            self.validation_loss_curve_ = []
        train, held_out = [X, y, sample_weight], [None, None, None]
        if self.early_stopping:
            train, held_out = self._split(X, y, sample_weight)
        training = self._training(*train)
        if self.early_stopping:
            held_out[0] = training.engine.samples(held_out[0])
        best: list[tuple[float, np.ndarray]] | None = None  # a score, and the weights that have it
        if self.early_stopping:
            # After a warm start scikit-learn has nothing to go back to until the score improves.
            first = self.best_validation_score_, training.engine.params.block.copy()
            best = [] if self.validation_scores_ else [first]
        scores = 0 if best is None else len(self.validation_scores_)
        before = len(self.loss_curve_), scores, self.t_, getattr(self._optimizer, "t", 0)
        try:
            self._epochs(training, held_out, best, incremental)
        except KeyboardInterrupt:
            self._agree(training, best, *before)
            warnings.warn("Training interrupted by user.", stacklevel=4)
        if best:
            training.engine.params.block[:] = best[0][1]
            self._view(training.engine)

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
            raise ValueError(f"{' times '.join(names)} must have a finite sum, got numbers up to "
                             f"{np.abs(sample_weight).max()}")  # fmt: skip
        return sample_weight

    def _new_optimizer(self) -> Any:
        """scikit-learn's schedule of the learning rate, without arrays of its own."""
        if self.solver == "sgd":
            optimizer = SGDOptimizer([], self.learning_rate_init, self.learning_rate,
                                     self.momentum, self.nesterovs_momentum,
                                     self.power_t)  # fmt: skip
        else:
            optimizer = AdamOptimizer([], self.learning_rate_init, self.beta_1, self.beta_2,
                                      self.epsilon)  # fmt: skip
        optimizer.memory = None
        return optimizer

    def _split(self, X, y, sample_weight):
        """Rows to train on, and rows to score."""
        stratify = y if is_classifier(self) and self.n_outputs_ == 1 else None
        given = [X, y] if sample_weight is None else [X, y, sample_weight]
        parts = train_test_split(*given, random_state=self._random_state,
                                 test_size=self.validation_fraction, stratify=stratify)  # fmt: skip
        train, held_out = parts[::2], parts[1::2]
        if held_out[0].shape[0] < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' "
                "or the size of your dataset."
            )
        if sample_weight is None:
            train.append(None)
            held_out.append(None)
        return train, held_out

    def _training(self, X, y, sample_weight) -> Training:
        rows, optimizer = X.shape[0], self._optimizer
        batch_size = min(200, rows) if self.batch_size == "auto" else self.batch_size
        if batch_size > rows:
            warnings.warn(
                "Got `batch_size` less than 1 or larger than "
                "sample size. It is going to be clipped",
                stacklevel=5,
            )
        if isinstance(optimizer, AdamOptimizer):  # not by `solver`, which may be another one now
            rule = updates.ADAM
            numbers = {
                updates.MEAN_NEW: 1 - optimizer.beta_1,
                updates.SQUARES_NEW: 1 - optimizer.beta_2,
                updates.EPSILON: optimizer.epsilon,
            }
        elif optimizer.momentum == 0:
            rule, numbers = updates.SGD, {}
        else:
            rule = updates.NESTEROV if optimizer.nesterov else updates.MOMENTUM
            numbers = {updates.MOMENTUM_KEPT: optimizer.momentum}
        engine, dropout = self._engine_at_hand(), self._dropout()
        weights = engine.params.layer_sizes, engine.dtype
        if optimizer.memory is not None and optimizer.weights != weights:
            raise ValueError(
                "the optimizer has seen weights of other shapes, or of another precision: call fit"
            )
        salt = int(self._random_state.randint(1 << 31)) if any(dropout) else 0
        training = Training(
            engine, self._samples_of(X), y, sample_weight, self.alpha, int(min(batch_size, rows)),
            rule, numbers, optimizer.memory, dropout, salt,
        )  # fmt: skip
        optimizer.memory, optimizer.weights = training.memory, weights
        return training

    def _samples_of(self, X: Any) -> Samples:
        """Inputs as the kernels read them."""
        if self._seen is not None and self._seen[0] is X and X.dtype == self._engine.dtype:
            return self._seen[1]
        return self._engine.samples(X)

    def _epochs(self, training: Training, held_out, best, incremental: bool) -> None:
        """Epochs until there is a reason to stop."""
        began, self.n_iter_ = time.monotonic(), 0
        with progress_bar(self.progress, self.max_iter, "epoch") as bar:
            for loss in self._losses(training, incremental):
                self.loss_ = loss
                self.n_iter_ += 1
                self.t_ += training.rows
                self.loss_curve_.append(self.loss_)
                if self.verbose:
                    print(f"Iteration {self.n_iter_}, loss = {self.loss_:.8f}")
                self._look(held_out, best)
                bar.update(1)
                self._optimizer.iteration_ends(self.t_)
                asked = self._is_asked_to_stop(training, began)
                if self._has_converged() or asked or incremental:
                    break
                if training.diverged and best is None:
                    break  # the same to the end; `_fit` raises an error
                if self.n_iter_ == self.max_iter:
                    warnings.warn(
                        f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) "
                        "reached and the optimization hasn't converged yet.",
                        ConvergenceWarning,
                        stacklevel=6,
                    )

    def _agree(self, training: Training, best, losses, scores, rows, steps) -> None:
        """Set all that is counted to what is in the weights: an interrupt comes between any lines.

        Given is what there was before training: how many losses, scores, rows seen, and Adam's
        steps.  With early stopping the weights are the best, and an epoch counts with its score.
        """
        made = list(map(np.float64, training.losses.array.tolist()))
        if best is not None:
            if best:
                self.best_validation_score_ = best[0][0]
            # The last score may be better than the best, whose weights were not yet kept.
            while len(self.validation_scores_) > scores and (
                self.validation_scores_[-1] > self.best_validation_score_
            ):
                self.validation_scores_.pop()
            made = made[: len(self.validation_scores_) - scores]
            del (self.validation_loss_curve_ or [])[len(self.validation_scores_) :]
        self.loss_curve_[losses:] = made
        self.n_iter_, self.t_ = len(made), rows + len(made) * training.rows
        if made:
            self.loss_ = made[-1]
            if best is None:
                self.best_loss_ = min(self.best_loss_, *made)
        if isinstance(self._optimizer, AdamOptimizer):
            self._optimizer.t = steps
            self._rates(training.count.steps)
        self._optimizer.iteration_ends(self.t_)

    def _losses(self, training: Training, incremental: bool) -> Iterator[float]:
        """The losses of `max_iter` epochs, which are made when they are asked for, or before."""
        order, steps = np.arange(training.rows), len(training.counts)
        while self.n_iter_ < self.max_iter:
            ahead = 1 if incremental else self._ahead(training)
            if ahead > 1:  # training may end within, and then none of the later orders was drawn
                drawn = self._random_state.get_state(legacy=False)
                training.steps.stop_when(
                    self.best_loss_, self.tol, self._no_improvement_count, self.n_iter_no_change
                )
            orders, rates = self._orders(order, ahead), self._rates(ahead * steps)
            losses = training.epochs(orders, rates)
            made = len(losses)
            if made < ahead:
                self._random_state.set_state(drawn)
                self._orders(order, made)
                if isinstance(self._optimizer, AdamOptimizer):
                    self._optimizer.t -= (ahead - made) * steps
                    self._optimizer.learning_rate = float(rates[made * steps - 1])
            order = orders[made - 1]
            yield from map(np.float64, losses)  # of its type in scikit-learn, too

    def _orders(self, order: np.ndarray, epochs: int) -> list[np.ndarray]:
        """The orders of the rows in so many epochs after one with this `order`."""
        orders = []
        for _ in range(epochs):
            if self.shuffle:
                drawn = np.arange(order.size)  # as `sklearn.utils.shuffle` draws
                self._random_state.shuffle(drawn)
                order = order[drawn]
            orders.append(order)
        return orders

    def _ahead(self, training: Training) -> int:
        """Epochs to make in one call, as nobody looks between them."""
        looked_at = self.early_stopping or self.callbacks or self.max_time is not None
        if looked_at or self.learning_rate == "invscaling":
            return 1
        quick = training.pacer.rate * AHEAD_SECONDS / len(training.counts)
        return max(1, int(min(self.max_iter - self.n_iter_, quick)))

    def _rates(self, steps: int) -> np.ndarray:
        """Learning rates of the next so many steps."""
        optimizer = self._optimizer
        if isinstance(optimizer, SGDOptimizer):
            return np.full(steps, float(optimizer.learning_rate))
        t = optimizer.t + np.arange(1, steps + 1)
        optimizer.t += steps
        with rounding_to_nearest():
            rates = (
                optimizer.learning_rate_init
                * np.sqrt(1 - optimizer.beta_2**t)
                / (1 - optimizer.beta_1**t)
            )
        if steps:
            optimizer.learning_rate = float(rates[-1])
        return rates

    def _look(self, held_out, best) -> None:
        """Count the epochs without an improvement, and keep the best weights."""
        if best is None:
            self._update_no_improvement_count(False, None, None, None)
            return
        samples, y, sample_weight = held_out
        outputs = self._engine.outputs_of(samples)
        if self.validation_loss:
            name = "binary_log_loss" if self.out_activation_ == "logistic" else self.loss
            self.validation_loss_curve_.append(
                float(LOSS_FUNCTIONS[name](y, outputs, sample_weight))
            )
        score = self._score_of(outputs, y, sample_weight)
        self.validation_scores_.append(score)
        if self.verbose:
            print(f"Validation score: {score:f}")
        if score < self.best_validation_score_ + self.tol:
            self._no_improvement_count += 1
        else:
            self._no_improvement_count = 0
        if score > self.best_validation_score_:
            best[:] = [(score, self._engine.params.block.copy())]
            self.best_validation_score_ = score

    def _has_converged(self) -> bool:
        if self._no_improvement_count <= self.n_iter_no_change:
            return False
        what = "Validation score" if self.early_stopping else "Training loss"
        message = (
            f"{what} did not improve more than tol={self.tol:f} for {self.n_iter_no_change:d} "
            "consecutive epochs."
        )
        if self._optimizer.trigger_stopping(message, self.verbose):
            return True
        self._no_improvement_count = 0
        return False

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
                    stacklevel=7,
                )
            return self.n_iter_ < self.max_iter
        return any(wishes)

    # L-BFGS ------------------------------------------------------------------

    def _fit_lbfgs(self, X, y, sample_weight, *rest):
        asked = {"dropout": any(self._dropout()), "validation_loss": self.validation_loss}
        for name, given in asked.items():
            if given:
                raise ValueError(f"{name} needs solver='sgd' or 'adam', got solver='lbfgs'")
        training = self._training_lbfgs(X, y, self._all_weights(sample_weight))
        # The latest iterate: weights, loss and number.  In between, the weights are those that
        # SciPy tries, with which an interrupt must not leave the estimator.
        accepted = [(training.packed(training.engine.params.block), None, 0)]
        try:
            found = self._minimize(training, accepted)
        except BaseException:
            weights, loss, self.n_iter_ = accepted[0]
            training.engine.assign(*training.unpacked(weights))
            if loss is not None:
                self.loss_ = loss
            raise
        self.n_iter_, self.loss_ = min(found.nit, self.max_iter), found.fun
        if found.status != STOPPED_BY_CALLBACK:  # then it is said, or was asked for
            _check_optimize_result("lbfgs", found, self.max_iter)
        # In double precision as in scikit-learn, even if X is not.
        self._view(self._new_engine(*training.unpacked(found.x)))

    def _minimize(self, training: Training, accepted: list[tuple]) -> Any:
        """SciPy's result; each iterate takes the place of the one in `accepted`."""
        began, self.n_iter_ = time.monotonic(), 0
        # SciPy's products on threads of their own would fight with the kernels' for the cores, and
        # take eight times as long on two.  scikit-learn's KMeans does the same.
        blas = _get_threadpool_controller().limit(limits=1, user_api="blas")
        with blas, progress_bar(self.progress, self.max_iter, "iteration") as bar:

            def look(intermediate_result: Any) -> None:
                x, loss = intermediate_result.x.copy(), intermediate_result.fun
                accepted[0] = x, loss, self.n_iter_ + 1
                training.engine.assign(*training.unpacked(x))
                self.loss_, self.n_iter_ = loss, self.n_iter_ + 1
                bar.update(1)
                if self._is_asked_to_stop(training, began):
                    raise StopIteration

            return scipy.optimize.minimize(
                training.loss_and_gradient,
                accepted[0][0],
                method="L-BFGS-B",
                jac=True,
                callback=look,
                options={
                    "maxfun": self.max_fun,
                    "maxiter": self.max_iter,
                    "gtol": self.tol,
                    # What an older SciPy prints.
                    **_get_additional_lbfgs_options_dict("iprint", 1 if self.verbose else -1),
                },
            )

    def _training_lbfgs(self, X, y, sample_weight) -> Training:
        engine = self._engine_at_hand()
        return Training(engine, self._samples_of(X), y, sample_weight, self.alpha, X.shape[0],
                        updates.STORE, {}, None)  # fmt: skip

    def _loss_grad_lbfgs(self, packed_coef_inter, X, y, sample_weight, *rest):
        """As in scikit-learn, for who calls it there; `_fit_lbfgs` does not."""
        return self._training_lbfgs(X, y, sample_weight).loss_and_gradient(packed_coef_inter)


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
