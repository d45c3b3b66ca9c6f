"""`MLPRegressor`: scikit-learn's, on fastnn's kernels."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from sklearn import neural_network
from sklearn.metrics import r2_score

from fastnn import gate
from fastnn.estimators.engine import Engine
from fastnn.estimators.on_engine import OnEngine


class MLPRegressor(OnEngine, neural_network.MLPRegressor):
    """scikit-learn's `MLPRegressor`, trained and evaluated by fastnn's kernels.

    What it does, says and finds is what scikit-learn's does; the parameters from `dropout` on are
    new, and their defaults change nothing.

    Parameters
    ----------
    loss : {"squared_error", "poisson"}, default "squared_error"
        Half the squared error, or half the Poisson deviance of ``exp(z)``, for targets of 0 or
        more.
    hidden_layer_sizes : int or sequence of int, default (100,)
        Units of each hidden layer.
    activation : str or sequence of str, default "relu"
        Activation of the hidden layers, or one per hidden layer: ``"relu"``, ``"tanh"``,
        ``"logistic"``, ``"identity"``; and, beyond scikit-learn's, ``"leaky_relu"`` (slope 0.01)
        and ``"softplus"``.
    solver : {"adam", "sgd", "lbfgs"}, default "adam"
        Adam, gradient descent with momentum, or SciPy's L-BFGS on all rows at once.
    alpha : float, default 0.0001
        ``alpha / 2`` times the squares of all weights is added to the sum of a batch's losses.
    batch_size : int or "auto", default "auto"
        Rows per step; "auto" is 200, or all if there are fewer.
    learning_rate : {"constant", "invscaling", "adaptive"}, default "constant"
        Of ``solver="sgd"``: constant, divided by the `power_t`-th power of the rows seen, or
        divided by 5 each time that training makes no headway.
    learning_rate_init : float, default 0.001
        The learning rate at the start.
    power_t : float, default 0.5
        Of ``learning_rate="invscaling"``.
    max_iter : int, default 200
        Epochs at most; iterations with L-BFGS.
    shuffle : bool, default True
        Whether each epoch takes the rows in a new order.
    random_state : int, RandomState or None, default None
        Source of the weights, the split and the order of the rows.  With an int, the numbers are
        drawn in scikit-learn's order, and so the weights are scikit-learn's up to rounding.
    tol : float, default 0.0001
        What the loss, or the score, must at least improve by.
    verbose : bool, default False
        Whether to print the loss of each epoch.
    warm_start : bool, default False
        Whether `fit` goes on from the weights at hand.
    momentum : float, default 0.9
        Of ``solver="sgd"``.
    nesterovs_momentum : bool, default True
        Of ``solver="sgd"`` with momentum.
    early_stopping : bool, default False
        Whether to hold rows out, to score them after each epoch, to stop when the score does not
        improve, and to keep the weights of the best score.
    validation_fraction : float, default 0.1
        Share of the rows that `early_stopping` holds out.
    beta_1, beta_2, epsilon : float, default 0.9, 0.999, 1e-8
        Of ``solver="adam"``.
    n_iter_no_change : int, default 10
        Epochs without an improvement by `tol` after which training stops.
    max_fun : int, default 15000
        Evaluations of the loss at most; of ``solver="lbfgs"``.
    dropout : float or sequence of float, default 0
        Share of the outputs of the hidden layers, or of each of them, that is zero in a training
        step, while the others are larger to make up for it.  Not for ``solver="lbfgs"``.
    validation_loss : bool, default False
        Whether to record the loss of the rows held out, without the term of `alpha`, as
        ``validation_loss_curve_``.  Needs `early_stopping`, and so ``solver="sgd"`` or "adam".
    callbacks : sequence of callable, default ()
        Each is called with the estimator after every epoch, or iteration of L-BFGS; training stops
        if one returns something true.
    max_time : float or None, default None
        Seconds after which training stops at the end of an epoch, or of an iteration of L-BFGS,
        with a `ConvergenceWarning`.
    progress : bool, default False
        Whether to show a bar of the epochs or iterations.

    Attributes
    ----------
    coefs_, intercepts_ : list of ndarray
        Weights (I, O) and biases (O,) of each layer.  They are views of the memory that the
        kernels work on: what is written to them counts at once.
    loss_, best_loss_, loss_curve_, validation_scores_, best_validation_score_ : float or list
        As in scikit-learn.
    validation_loss_curve_ : list of float or None
        See `validation_loss`.
    n_iter_, t_, n_layers_, n_outputs_, out_activation_, n_features_in_ : int or str
        As in scikit-learn.

    Raises
    ------
    sklearn.utils._param_validation.InvalidParameterError, ValueError
        By `fit`, with scikit-learn's texts.
    ImportError
        If scikit-learn is not installed, when the name is imported.

    Notes
    -----
    A pickle keeps callbacks by name or by their code; those of which it can keep neither are left
    out.

    An array of floats is predicted without scikit-learn's validation, which takes ten times as long
    as a row takes the network: its shape and its numbers are checked by fastnn.  Lists, data
    frames, and estimators that have been trained with names of columns go the longer way.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import MLPRegressor
    >>> X = np.linspace(-3, 3, 200).reshape(-1, 1)
    >>> net = MLPRegressor(hidden_layer_sizes=(30,), activation="tanh", solver="lbfgs",
    ...                    max_iter=1000, random_state=0).fit(X, np.sin(X[:, 0]))
    >>> net.score(X, np.sin(X[:, 0])) > 0.99
    True
    """

    _parameter_constraints: ClassVar[dict] = {
        **neural_network.MLPRegressor._parameter_constraints,
        **OnEngine._parameter_constraints,
    }

    def __init__(
        self,
        loss="squared_error",
        hidden_layer_sizes=(100,),
        activation="relu",
        *,
        solver="adam",
        alpha=0.0001,
        batch_size="auto",
        learning_rate="constant",
        learning_rate_init=0.001,
        power_t=0.5,
        max_iter=200,
        shuffle=True,
        random_state=None,
        tol=1e-4,
        verbose=False,
        warm_start=False,
        momentum=0.9,
        nesterovs_momentum=True,
        early_stopping=False,
        validation_fraction=0.1,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        n_iter_no_change=10,
        max_fun=15000,
        dropout=0.0,
        validation_loss=False,
        callbacks=(),
        max_time=None,
        progress=False,
    ):
        super().__init__(
            loss=loss,
            hidden_layer_sizes=hidden_layer_sizes,
            activation=activation,
            solver=solver,
            alpha=alpha,
            batch_size=batch_size,
            learning_rate=learning_rate,
            learning_rate_init=learning_rate_init,
            power_t=power_t,
            max_iter=max_iter,
            shuffle=shuffle,
            random_state=random_state,
            tol=tol,
            verbose=verbose,
            warm_start=warm_start,
            momentum=momentum,
            nesterovs_momentum=nesterovs_momentum,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            n_iter_no_change=n_iter_no_change,
            max_fun=max_fun,
        )
        self.dropout = dropout
        self.validation_loss = validation_loss
        self.callbacks = callbacks
        self.max_time = max_time
        self.progress = progress

    def _score_of(self, outputs: np.ndarray, y: np.ndarray, sample_weight) -> float:
        """The coefficient of determination, the mean over the outputs."""
        if not np.isfinite(outputs).all():
            return float("nan")
        with np.errstate(over="ignore"):  # of squares of what diverges
            return r2_score(y, outputs, sample_weight=sample_weight)

    def _plain_targets(self, engine: Engine, y: np.ndarray) -> np.ndarray | None:
        """What the engine's loss wants, of a plain y; None if it is none."""
        if y.dtype.kind not in "fiu" or y.ndim > 2 or (y.ndim == 2 and y.shape[1] == 1):
            return None  # of one column in two dimensions there is a warning
        return gate.kernel_array(y if y.ndim == 2 else y[:, np.newaxis], engine.dtype)
