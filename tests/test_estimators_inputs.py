"""What the estimators are given: looked at once, and refused by name."""

import numpy as np
import pytest
from estimator_pairs import assert_same, problem, small
from numpy.testing import assert_array_equal
from sklearn import config_context, get_config, neural_network
from sklearn.utils import validation

import fastnn
from fastnn.training.data import Samples

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def test_many_inputs_are_seen_once(monkeypatch):
    rng = np.random.default_rng(0)
    X = rng.random((1300, 800), dtype=np.float32) * (rng.random((1300, 800)) < 0.2)
    y = rng.integers(0, 2, 1300)
    options = {"hidden_layer_sizes": (3,), "max_iter": 2, "random_state": 0}
    expected = neural_network.MLPClassifier(**options).fit(X, y)
    assert_same(fastnn.MLPClassifier(**options).fit(X, y), expected, 1e-4)
    options["solver"] = "lbfgs"
    expected = neural_network.MLPClassifier(**options).fit(X, y)
    assert_same(fastnn.MLPClassifier(**options).fit(X, y), expected, 1e-3)
    for place, number in ((0, np.nan), (700, np.inf)):
        strange = X.copy()
        strange[place, 5] = number
        texts = []
        for estimator in (fastnn.MLPClassifier(**options), expected):
            with pytest.raises(ValueError, match="Input X contains") as caught:
                estimator.fit(strange, y)
            texts.append(str(caught.value))
        assert texts[0] == texts[1]
    with pytest.raises(ValueError, match="Input y contains NaN"):
        fastnn.MLPClassifier(**options).fit(X, np.where(y, np.nan, 1.0))
    shapes, looked_at = [], Samples.__init__

    def note(self, x, *chosen):
        shapes.append(x.shape)
        looked_at(self, x, *chosen)

    def look(X, **names):
        if np.shape(X) == (1300, 800):
            assert get_config()["assume_finite"]
            shapes.append("scikit-learn does not look")

    monkeypatch.setattr(Samples, "__init__", note)
    monkeypatch.setattr(validation, "_assert_all_finite", look)
    for solver in ("adam", "lbfgs"):
        fastnn.MLPClassifier(**{**options, "solver": solver}).fit(X, y)
    assert shapes == 2 * [(1300, 800), "scikit-learn does not look"]
    monkeypatch.undo()
    monkeypatch.setattr(Samples, "__init__", note)
    fastnn.MLPClassifier((3,), max_iter=2, early_stopping=True).fit(X, y)
    assert shapes[4:] == [(1170, 800), (130, 800)]


def test_plain_arrays_are_predicted_without_the_long_validation(monkeypatch):
    _, X, y = problem("classes")
    estimator = fastnn.MLPClassifier((6,), random_state=1, max_iter=5).fit(X, y)
    expected = estimator.predict(X.tolist())

    def validated(*args, **options):
        raise AssertionError("not for plain arrays")

    with monkeypatch.context() as patch:
        patch.setattr("fastnn.estimators.on_engine.validate_data", validated)
        assert_array_equal(estimator.predict(X), expected)
        assert_array_equal(estimator.predict(X[:1].astype(np.float32)), expected[:1])
        with pytest.raises(AssertionError, match="not for plain"):
            estimator.predict(X.tolist())
    for wrong in (X[:, :5], X[0], np.where(X > 1, np.inf, X), X.astype(str)):
        with pytest.raises(ValueError, match=r"(?i)expect|infinity|convert"):
            estimator.predict(wrong)


def test_weights_of_other_shapes_are_refused_between_partial_fits():
    _, X, y = problem("classes")
    estimator = fastnn.MLPClassifier(**small()).partial_fit(X, y, classes=[0, 10, 20])
    estimator.coefs_[0] = np.full((12, 900), 0.01)
    with pytest.raises(ValueError, match="must have the shapes"):
        estimator.predict(X)
    estimator.coefs_[1], estimator.intercepts_[0] = np.full((900, 3), 0.01), np.ones(900)
    assert estimator.predict(X).shape == y.shape
    with pytest.raises(ValueError, match="weights of other shapes"):
        estimator.partial_fit(X, y)
    estimator.coefs_[0] = np.ones((5, 900))
    with pytest.raises(ValueError, match="has 5 rows"):
        estimator.predict(X.tolist())


def test_weights_of_another_precision_are_refused_between_partial_fits():
    _, X, y = problem("classes")
    estimator = fastnn.MLPClassifier(**small()).partial_fit(X, y, classes=[0, 10, 20])
    estimator.coefs_ = [W.astype(np.float32) for W in estimator.coefs_]
    with pytest.raises(ValueError, match="another precision"):
        estimator.partial_fit(X, y)


def test_targets_of_another_width_are_refused():
    _, X, y = problem("numbers")
    for first, then in ((y, y[:, 0]), (y[:, 0], y)):
        estimator = fastnn.MLPRegressor(**small(solver="sgd")).partial_fit(X, first)
        with pytest.raises(ValueError, match=r"y has \d outputs, but the network has \d"):
            estimator.partial_fit(X, then)


def test_a_strange_row_leaves_the_others_alone():
    _, X, y = problem("classes")
    estimator = fastnn.MLPClassifier(**small()).fit(X.astype(np.float32), y)
    expected, strange = estimator.predict_proba(X), X.copy()
    strange[3, 0] = np.nan
    with config_context(assume_finite=True):
        found = estimator.predict_proba(strange)
    assert_array_equal(np.delete(found, 3, 0), np.delete(expected, 3, 0))


def test_texts_and_dates_are_no_numbers():
    _, X, y = problem("number")
    for bad in (y.astype(str), np.full(len(y), "2026-11-29", "datetime64[D]")):
        with pytest.raises(ValueError, match="y must hold numbers"):
            fastnn.MLPRegressor().fit(X, bad)
    estimator = fastnn.MLPRegressor(max_iter=2).fit(X, y)
    with pytest.raises(TypeError, match="X must hold numbers"):
        estimator.predict(np.zeros((2, X.shape[1]), "datetime64[s]"))
