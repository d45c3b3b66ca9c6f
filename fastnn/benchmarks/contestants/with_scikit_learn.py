"""scikit-learn's MLPClassifier and MLPRegressor, with as many steps of the same batch size.

In training they draw weights and batches of their own, so they are timed but not compared.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import sklearn
from sklearn.neural_network import MLPClassifier, MLPRegressor

from fastnn.benchmarks.cases import Case
from fastnn.benchmarks.reference import Arrays, Run, by_name, parameters

NOT_COMPARED = {"training"}

ACTIVATIONS = {"identity": "identity", "relu": "relu", "sigmoid": "logistic", "tanh": "tanh"}
SOLVERS = {"sgd": "sgd", "momentum": "sgd", "nesterov": "sgd", "adam": "adam"}


def training(case: Case, given: Arrays) -> Run | None:
    """As many passes of `partial_fit`, each shuffled, as have so many steps."""
    if case.activation not in ACTIVATIONS or case.optimizer not in SOLVERS:
        return None
    x, t = given["x"], given["t"]
    per_pass = len(x) // case.batch
    more = {"classes": np.arange(case.sizes[-1])} if case.loss == "cross_entropy" else {}
    if case.loss == "squared_error" and case.sizes[-1] == 1:
        t = t[:, 0]

    def run(steps: int) -> Arrays:
        model = _model(case)
        with sklearn.config_context(assume_finite=True):  # spares a look at all rows a pass
            for first in range(0, steps, per_pass):
                rows = min(per_pass, steps - first) * case.batch
                model.partial_fit(x[:rows], t[:rows], **more)
        pairs = zip(model.coefs_, model.intercepts_, strict=True)
        return by_name([array for pair in pairs for array in pair])

    return run


def prediction(case: Case, given: Arrays) -> Run | None:
    """`predict_proba` of a model that has the given weights."""
    if case.activation not in ACTIVATIONS:
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


def _model(case: Case) -> Any:
    """A new model of the case, before its first pass."""
    kind = MLPClassifier if case.loss == "cross_entropy" else MLPRegressor
    return kind(
        hidden_layer_sizes=case.sizes[1:-1],
        activation=ACTIVATIONS[case.activation],
        solver=SOLVERS[case.optimizer],
        alpha=0.0,
        batch_size=case.batch,
        learning_rate="constant",
        learning_rate_init=case.lr,
        momentum=0.0 if case.optimizer == "sgd" else 0.9,
        nesterovs_momentum=case.optimizer == "nesterov",
        epsilon=1e-7,
        random_state=0,
    )
