"""The estimators' weights, losses, scores and predictions are scikit-learn's."""

import numpy as np
import pytest
import scipy.sparse
from estimator_pairs import (
    ACTIVATIONS,
    KINDS,
    PAIRS,
    SOLVERS,
    assert_same,
    assert_same_predictions,
    pair,
    problem,
    small,
)
from numpy.testing import assert_array_equal

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("kind", KINDS)
def test_weights_and_losses_are_those_of_scikit_learn(
    kind, solver, activation, early_stopping, weighted
):
    _, X, y = problem(kind)
    weights = np.random.default_rng(0).uniform(0.5, 2, len(X)) if weighted else None
    ours, theirs = pair(
        kind, X, y, weights, solver=solver, activation=activation, early_stopping=early_stopping,
        max_iter=5, batch_size=50,
    )  # fmt: skip
    assert_same(ours, theirs)
    assert_same_predictions(ours, theirs, X)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "options",
    [
        {"solver": "sgd", "momentum": 0.0},
        {"solver": "sgd", "nesterovs_momentum": False},
        {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.1},
        {"solver": "sgd", "learning_rate": "adaptive", "tol": 0.05, "n_iter_no_change": 2},
        {"alpha": 0.0},
        {"alpha": 3.0},
        {"shuffle": False},
        {"batch_size": 1, "max_iter": 1},
        {"batch_size": 7, "beta_1": 0.5, "beta_2": 0.7, "epsilon": 1e-3},
        {"tol": 0.1, "n_iter_no_change": 3, "max_iter": 60},
        {"early_stopping": True, "validation_fraction": 0.3, "n_iter_no_change": 2,
         "max_iter": 30, "learning_rate_init": 0.02},
    ],
)  # fmt: skip
def test_options_do_what_they_do_in_scikit_learn(kind, options):
    _, X, y = problem(kind)
    ours, theirs = pair(kind, X, y, **{"max_iter": 10, **options})
    assert_same(ours, theirs, 1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_single_precision_stays_single(kind):
    _, X, y = problem(kind, dtype=np.float32)
    ours, theirs = pair(kind, X, y, max_iter=3)
    assert_same(ours, theirs, 1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_lbfgs_finds_what_it_finds_in_scikit_learn(kind):
    _, X, y = problem(kind)
    ours, theirs = pair(kind, X, y, solver="lbfgs", max_iter=8)
    assert_same(ours, theirs, 1e-4)


@pytest.mark.parametrize("form", [scipy.sparse.csr_matrix, scipy.sparse.csc_matrix,
                                  scipy.sparse.csr_array])  # fmt: skip
@pytest.mark.parametrize("kind", KINDS)
def test_sparse_inputs_are_as_good_as_dense_ones(kind, form):
    _, X, y = problem(kind, columns=40)
    X[np.random.default_rng(9).random(X.shape) < 0.7] = 0
    ours, theirs = pair(kind, form(X), y, max_iter=4)
    assert_same(ours, theirs)
    assert_same_predictions(ours, theirs, form(X))


def test_sparse_rows_may_be_in_any_order():
    _, X, y = problem("classes", columns=40)
    X[np.random.default_rng(9).random(X.shape) < 0.7] = 0
    rows = scipy.sparse.csr_matrix(X)
    for r in range(len(X)):
        span = slice(rows.indptr[r], rows.indptr[r + 1])
        rows.indices[span], rows.data[span] = rows.indices[span][::-1], rows.data[span][::-1]
    rows.has_sorted_indices = rows.has_canonical_format = False
    before = rows.indices.copy()
    ours, theirs = pair("classes", rows, y, max_iter=2)
    assert_same(ours, theirs)
    assert_array_equal(rows.indices, before)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("kind", KINDS)
def test_partial_fits_go_on(kind, solver):
    name, X, y = problem(kind)
    options = {"loss": "poisson"} if kind == "counts" else {}
    found = []
    for cls in PAIRS[name]:
        estimator = cls(hidden_layer_sizes=(6,), solver=solver, random_state=1, **options)
        for part in range(0, 230, 60):
            first = {"classes": np.unique(y)} if name == "classifier" and kind != "labels" else {}
            if kind == "labels":
                first = {"classes": [0, 1, 2]}
            estimator.partial_fit(X[part : part + 60], y[part : part + 60], **first)
        found.append(estimator)
    assert_same(*found)


@pytest.mark.parametrize("solver", [*SOLVERS, "lbfgs"])
def test_a_warm_start_goes_on(solver):
    _, X, y = problem("classes")
    found = []
    for cls in PAIRS["classifier"]:
        estimator = cls((6,), solver=solver, random_state=1, warm_start=True, max_iter=3)
        found.append(estimator.fit(X, y).fit(X, y))
    assert_same(*found, 1e-4)


@pytest.mark.parametrize("options", [{"early_stopping": True}, {"tol": 0.5, "n_iter_no_change": 2}])
def test_a_fit_leaves_the_random_state_and_the_optimizer_as_scikit_learn_does(options):
    _, X, y = problem("classes")
    left, estimators = [], []
    for cls in PAIRS["classifier"]:
        state = np.random.RandomState(5)
        estimators.append(cls((6,), random_state=state, max_iter=40, **options).fit(X, y))
        left.append(state.random_sample(3))
        assert estimators[-1].n_iter_ < 40  # or nothing is tested: ended within a call of many
        if "tol" in options:  # Adam's rates depend on the number of steps so far
            estimators[-1].partial_fit(X, y)
    assert_array_equal(*left)
    assert_same(*estimators)


@pytest.mark.parametrize("label", [1, "only"])
def test_a_single_class_is_predicted(label):
    _, X, _ = problem("classes")
    y = np.array([label] * len(X))
    ours, theirs = (cls(**small()).fit(X, y) for cls in PAIRS["classifier"])
    assert_array_equal(ours.predict(X), theirs.predict(X))
    assert ours.score(X, y) == 1


@pytest.mark.parametrize("solvers", [("adam", "sgd"), ("sgd", "adam")])
def test_partial_fits_go_on_with_the_optimizer_at_hand(solvers):
    _, X, y = problem("classes")
    found = []
    for cls in PAIRS["classifier"]:
        estimator = cls(**small(solver=solvers[0])).partial_fit(X, y, classes=[0, 10, 20])
        found.append(estimator.set_params(solver=solvers[1]).partial_fit(X, y))
    assert_same(*found)


@pytest.mark.parametrize("kind", ["classes", "number"])
def test_a_warm_start_with_early_stopping_goes_on_as_in_scikit_learn(kind):
    _, X, y = problem(kind)
    found = []
    for cls in PAIRS[problem(kind)[0]]:
        estimator = cls(
            hidden_layer_sizes=(6,), early_stopping=True, warm_start=True, random_state=1,
            max_iter=40, learning_rate_init=0.3, n_iter_no_change=2,
        )  # fmt: skip
        found.append(estimator.fit(X, y).fit(X, y).fit(X, y))
    assert_same(*found, 1e-4)


def test_types_are_those_of_scikit_learn():
    _, X, y = problem("number")
    single = X.astype(np.float32)
    for kind in (np.float64, np.float32):
        found, expected = (
            cls(hidden_layer_sizes=(6,), max_iter=3, random_state=0).fit(X.astype(kind), y)
            for cls in PAIRS["regressor"]
        )
        for rows in (X, single, X.astype(np.float16), scipy.sparse.csr_matrix(X), X.tolist()):
            assert found.predict(rows).dtype == expected.predict(rows).dtype
        assert type(found.loss_) is type(expected.loss_) is type(found.loss_curve_[0])
