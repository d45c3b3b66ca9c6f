"""The estimators' words and habits are scikit-learn's: errors, copies, searches, Ctrl-C."""

import copy
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
from estimator_pairs import PAIRS, problem, small
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import datasets
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import fastnn

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


# Words ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"max_iter": 3},
        {"max_iter": 40, "tol": 0.3, "n_iter_no_change": 2},
        {"max_iter": 40, "tol": 0.3, "n_iter_no_change": 2, "early_stopping": True},
        {"max_iter": 60, "tol": 0.3, "n_iter_no_change": 2, "solver": "sgd",
         "learning_rate": "adaptive"},
    ],
)  # fmt: skip
def test_what_is_printed_is_what_scikit_learn_prints(options, capsys):
    _, X, y = problem("classes")
    printed, warned = [], []
    for cls in PAIRS["classifier"]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            cls((6,), random_state=1, verbose=True, **options).fit(X, y)
        printed.append(capsys.readouterr().out)
        warned.append([(w.category, str(w.message)) for w in caught])
    assert printed[0] == printed[1]
    assert warned[0] == warned[1]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # scikit-learn's own, of numbers too large
@pytest.mark.parametrize(
    ("options", "change"),
    [
        ({"hidden_layer_sizes": (3, -1)}, None),
        ({"solver": "newton"}, None),
        ({"activation": "relu6"}, None),
        ({"alpha": -1}, None),
        ({"early_stopping": True, "validation_fraction": 0.001}, None),
        ({}, lambda X: X[:, :0]),
        ({}, lambda X: np.where(X > 1, np.nan, X)),
        ({"learning_rate_init": 1e300, "solver": "sgd"}, None),
    ],
)
def test_errors_are_those_of_scikit_learn(options, change):
    _, X, y = problem("classes")
    X = X if change is None else change(X)
    texts = []
    for cls in PAIRS["classifier"]:
        estimator = cls(**{"hidden_layer_sizes": (4,), "random_state": 0, **options})
        with pytest.raises(ValueError) as caught:  # noqa: PT011  # the texts are compared below
            estimator.fit(X, y)
        texts.append(str(caught.value).replace("MLPClassifier", ""))
    if "activation" not in options:
        assert texts[0] == texts[1]


def test_without_scikit_learn_the_error_says_what_to_install():
    program = (
        "import sys; sys.modules['sklearn'] = None\n"
        "import fastnn\n"
        "try:\n    fastnn.MLPClassifier\n"
        "except ImportError as error:\n    print(error)\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "fastnn[scikit-learn]" in found.stdout


def test_importing_fastnn_does_not_import_scikit_learn():
    program = "import fastnn, sys; print('sklearn' in sys.modules, 'scipy' in sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert found.stdout.split()[0] == "False"


# Habits -----------------------------------------------------------------------------------------


@parametrize_with_checks([fastnn.MLPClassifier(), fastnn.MLPRegressor()])
def test_every_common_check_of_scikit_learn(estimator, check):
    check(estimator)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy,
                                    lambda e: pickle.loads(pickle.dumps(e))])  # fmt: skip
def test_copies_predict_the_same(copied):
    _, X, y = problem("classes")
    estimator = fastnn.MLPClassifier((6,), random_state=1, max_iter=5).fit(X, y)
    twin = copied(estimator)
    assert_array_equal(twin.predict_proba(X), estimator.predict_proba(X))
    assert clone(estimator).get_params() == estimator.get_params()


def test_copies_do_not_share_their_weights():
    _, X, y = problem("classes")
    estimator = fastnn.MLPClassifier((6,), random_state=1, max_iter=5).fit(X, y)
    expected = estimator.predict_proba(X)
    copy.deepcopy(estimator).fit(X, y).coefs_[0][:] = 0
    assert_array_equal(estimator.predict_proba(X), expected)


def test_weights_may_be_changed_and_replaced():
    _, X, y = problem("classes")
    estimator = fastnn.MLPClassifier((6,), random_state=1, max_iter=5).fit(X, y)
    estimator.coefs_[-1][:] = 0
    estimator.intercepts_[-1][:] = 0
    assert_allclose(estimator.predict_proba(X), 1 / 3)
    estimator.intercepts_[-1] = np.array([0.0, 50.0, 0.0])
    assert (estimator.predict(X) == 10).all()


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_searches_in_parallel_find_what_they_find_alone(backend):
    import joblib

    X, y = datasets.load_iris(return_X_y=True)
    pipeline = make_pipeline(
        StandardScaler(), fastnn.MLPClassifier((8,), random_state=0, max_iter=15)
    )
    grid = {"mlpclassifier__alpha": [1e-4, 1.0]}
    found = []
    for jobs in (1, 2):
        with joblib.parallel_config(backend, n_jobs=jobs):
            search = GridSearchCV(pipeline, grid, cv=2).fit(X, y)
            found.append(
                [cross_val_score(pipeline, X, y, cv=4), search.cv_results_["mean_test_score"]]
            )
    for alone, together in zip(*found, strict=True):
        assert_array_equal(alone, together)


def test_a_halving_search_finds_what_it_finds_with_scikit_learns():
    from scipy.stats import loguniform
    from sklearn.experimental import enable_halving_search_cv  # noqa: F401
    from sklearn.model_selection import HalvingRandomSearchCV

    X, y = datasets.load_iris(return_X_y=True)
    found = [
        HalvingRandomSearchCV(
            cls((8,), random_state=0), {"alpha": loguniform(1e-5, 1), "tol": [1e-4, 1e-3]},
            resource="max_iter", max_resources=80, min_resources=20, random_state=0, cv=3,
            n_jobs=2,
        ).fit(X, y)
        for cls in PAIRS["classifier"]
    ]  # fmt: skip
    assert found[0].best_params_ == found[1].best_params_


def test_ctrl_c_keeps_the_model():
    _, X, y = problem("classes")
    estimator = fastnn.MLPClassifier((6,), random_state=1, max_iter=50)
    shuffled = np.random.RandomState.shuffle

    class Interrupted(np.random.RandomState):
        calls = 0

        def shuffle(self, x):
            type(self).calls += 1
            if self.calls == 4:
                raise KeyboardInterrupt
            shuffled(self, x)

    estimator.set_params(random_state=Interrupted(1))
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        estimator.fit(X, y)
    assert estimator.n_iter_ <= 3  # epochs are drawn ahead
    assert estimator.predict(X).shape == y.shape


def test_a_fit_that_ends_early_warns():
    _, X, y = problem("classes")
    with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(2\) reached"):
        fastnn.MLPClassifier((6,), random_state=1, max_iter=2).fit(X, y)


def test_another_activation_counts_at_once():
    _, X, y = problem("classes")
    estimator = fastnn.MLPClassifier(**small(warm_start=True)).fit(X, y)
    estimator.set_params(activation="tanh")
    twin = pickle.loads(pickle.dumps(estimator))
    assert_array_equal(estimator.predict_proba(X), twin.predict_proba(X))
    assert_array_equal(estimator.fit(X, y).coefs_[0], twin.fit(X, y).coefs_[0])


def test_divergence_with_early_stopping_is_an_error_as_in_scikit_learn():
    _, X, y = problem("classes")
    for cls in PAIRS["classifier"]:
        estimator = cls((6,), solver="sgd", learning_rate_init=1e300, early_stopping=True)
        text = "Solver produced non-finite parameter weights"
        with np.errstate(all="ignore"), pytest.raises(ValueError, match=text):
            estimator.fit(X, y)


def test_a_regressor_that_diverges_with_early_stopping_warns_of_nothing_else():
    _, X, y = problem("number")
    estimator = fastnn.MLPRegressor(
        hidden_layer_sizes=(6,), solver="sgd", learning_rate_init=1e3, early_stopping=True,
        random_state=1, max_iter=5,
    )  # fmt: skip
    estimator.fit(X, y)  # any other warning is an error here
    assert min(estimator.validation_scores_) < -1e100  # squares of such errors overflow
