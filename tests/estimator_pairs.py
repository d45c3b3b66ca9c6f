"""Estimators of scikit-learn and of fastnn side by side, and problems to fit them to."""

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import neural_network

import fastnn
from fastnn.kernels import activations

PAIRS = {
    "classifier": (fastnn.MLPClassifier, neural_network.MLPClassifier),
    "regressor": (fastnn.MLPRegressor, neural_network.MLPRegressor),
}
SOLVERS = ("sgd", "adam")
# Under the names that both know.
ACTIVATIONS = [row.scikit_learn for row in activations.ACTIVATIONS.values() if row.scikit_learn]


def problem(kind, rows=230, columns=12, dtype=np.float64):
    """Data of a kind, and the name of the estimator for it."""
    rng = np.random.default_rng(4)
    X = rng.normal(size=(rows, columns)).astype(dtype)
    z = X @ rng.normal(size=(columns, 3)) + rng.normal(size=(rows, 3))
    if kind == "binary":
        return "classifier", X, np.where(z[:, 0] > 0, "yes", "no")
    if kind == "classes":
        return "classifier", X, 10 * z.argmax(axis=1)
    if kind == "labels":
        return "classifier", X, (z > 0.3).astype(int)
    if kind == "number":
        return "regressor", X, z[:, 0]
    if kind == "numbers":
        return "regressor", X, z
    return "regressor", X, np.random.default_rng(1).poisson(np.exp(z / 3)).astype(float)


KINDS = ("binary", "classes", "labels", "number", "numbers", "counts")


def pair(kind, X, y, sample_weight=None, **options):
    """fastnn's estimator and scikit-learn's, after the same fit."""
    name = problem(kind)[0]
    if kind == "counts":
        options["loss"] = "poisson"
    both = [cls(random_state=3, hidden_layer_sizes=(9, 5), **options) for cls in PAIRS[name]]
    for estimator in both:
        estimator.fit(X, y, sample_weight)
    return both


def assert_same(ours, theirs, tolerance=1e-6):
    for mine, other in zip(
        [*ours.coefs_, *ours.intercepts_], [*theirs.coefs_, *theirs.intercepts_], strict=True
    ):
        assert mine.dtype == other.dtype
        assert_allclose(mine, other, rtol=tolerance, atol=tolerance)
    for name in ("loss_curve_", "validation_scores_", "best_validation_score_", "loss_",
                 "best_loss_"):  # fmt: skip
        mine, other = getattr(ours, name, "missing"), getattr(theirs, name, "missing")
        if other is None or isinstance(other, str):
            assert mine is other or mine == other
        else:
            assert_allclose(mine, other, rtol=tolerance, atol=tolerance)
    for name in ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(ours, name) == getattr(theirs, name)


def assert_same_predictions(ours, theirs, X, tolerance=1e-6):
    if hasattr(theirs, "predict_proba"):
        assert_array_equal(ours.predict(X), theirs.predict(X))
        assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=tolerance)
        assert_allclose(ours.predict_log_proba(X), theirs.predict_log_proba(X), rtol=1e-4)
    else:
        assert_allclose(ours.predict(X), theirs.predict(X), rtol=tolerance, atol=tolerance)


def small(**options):
    return {"hidden_layer_sizes": (6,), "random_state": 0, "max_iter": 4, **options}
