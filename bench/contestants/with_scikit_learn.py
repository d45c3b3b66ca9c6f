"""scikit-learn's MLPClassifier and MLPRegressor, with as many steps of the same batch size.

In training they draw weights and batches of their own, so they are timed but not compared.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import sklearn
from sklearn.neural_network import MLPClassifier, MLPRegressor

from bench.cases import Case
from bench.reference import Arrays, Run, by_name, parameters

NOT_COMPARED = {"training"}

ACTIVATIONS = {"identity": "identity", "relu": "relu", "sigmoid": "logistic", "tanh": "tanh"}
LOSSES = {"cross_entropy": MLPClassifier, "squared_error": MLPRegressor}
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
    of_classes = LOSSES[case.loss] is MLPClassifier
    more = {"classes": np.arange(case.sizes[-1])} if of_classes else {}
    if t.shape[1:] == (1,):
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


def prediction(case: Case, given: Arrays) -> Run:
    """`predict_proba` of a model that has the given weights."""
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
    return LOSSES[case.loss](
        hidden_layer_sizes=case.sizes[1:-1],
        activation=ACTIVATIONS[case.activation],
        alpha=0.0,
        batch_size=case.batch,
        learning_rate="constant",
        learning_rate_init=case.lr,
        random_state=0,
        **RULES[case.optimizer],
    )
