"""scikit-learn's MLPClassifier and MLPRegressor, with as many steps of the same batch size.

In training they draw weights and batches of their own, so they are timed but not compared, but for
passes over one batch, which start from the weights that they draw.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import sklearn
from sklearn import neural_network

from bench.cases import Case
from bench.reference import Arrays, Run, by_name, parameters

NOT_COMPARED = {"training"}

ACTIVATIONS = {"identity": "identity", "relu": "relu", "sigmoid": "logistic", "tanh": "tanh"}
LOSSES = {"cross_entropy": "MLPClassifier", "squared_error": "MLPRegressor"}
RULES: dict[str, dict[str, Any]] = {
    "sgd": {"solver": "sgd", "momentum": 0.0, "nesterovs_momentum": False},
    "momentum": {"solver": "sgd", "momentum": 0.9, "nesterovs_momentum": False},
    "nesterov": {"solver": "sgd", "momentum": 0.9, "nesterovs_momentum": True},
    "adam": {"solver": "adam", "epsilon": 1e-7},
}


def training(case: Case, given: Arrays) -> Run:
    """As many passes of `partial_fit`, each shuffled, as have so many steps."""
    x, t = given["x"], given["t"]
    per_pass = len(x) // case.batch
    more = _classes(case)
    if t.shape[1:] == (1,):
        t = t[:, 0]

    def run(steps: int) -> Arrays:
        model = _model(case)
        with sklearn.config_context(assume_finite=True):  # spares a look at all rows a pass
            for first in range(0, steps, per_pass):
                rows = min(per_pass, steps - first) * case.batch
                model.partial_fit(x[:rows], t[:rows], **more)
        return _weights(model)

    return run


def prediction(case: Case, given: Arrays) -> Run | None:
    """`predict_proba` of a model that has the given weights; two classes are one output there."""
    if case.sizes[-1] == 2:
        return None
    x, params = given["x"], parameters(given, case.dtype)
    # A first pass makes all that a model needs; then its weights are replaced.
    model = _model(replace(case, batch=1))
    model.partial_fit(x[:1], np.zeros(1, int), classes=np.arange(case.sizes[-1]))
    model.coefs_, model.intercepts_ = params[::2], params[1::2]

    def run(calls: int) -> Arrays:
        for _ in range(calls):
            y = model.predict_proba(x)
        return {"y": y}

    return run


def partial_fit_call(case: Case, given: Arrays, library: Any = neural_network) -> Run:
    """Passes over one and the same batch, by this library's estimators or those of another."""
    x, t = given["x"], given["t"]
    more = _classes(case)

    def run(calls: int) -> Arrays:
        model = _model(case, library)
        for _ in range(calls):
            model.partial_fit(x, t, **more)
        return _weights(model)

    return run


def _classes(case: Case) -> dict[str, Any]:
    """What `partial_fit` asks of a classifier besides."""
    return {"classes": np.arange(case.sizes[-1])} if LOSSES[case.loss] == "MLPClassifier" else {}


def _weights(model: Any) -> Arrays:
    pairs = zip(model.coefs_, model.intercepts_, strict=True)
    return by_name([array for pair in pairs for array in pair])


def _model(case: Case, library: Any = neural_network) -> Any:
    """A new model of the case, before its first pass."""
    return getattr(library, LOSSES[case.loss])(
        hidden_layer_sizes=case.sizes[1:-1],
        activation=ACTIVATIONS[case.activation],
        alpha=0.0,
        batch_size=case.batch,
        learning_rate="constant",
        learning_rate_init=case.lr,
        random_state=0,
        **RULES[case.optimizer],
    )
