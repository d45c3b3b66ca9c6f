"""The estimators: scikit-learn's weights, losses, scores, words and habits."""

import copy
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
import reference
import scipy.sparse
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context, datasets, get_config, neural_network
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import validation
from sklearn.utils.estimator_checks import parametrize_with_checks

import fastnn
from fastnn import gate
from fastnn.compiler import runtime
from fastnn.training.data import Samples

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

PAIRS = {
    "classifier": (fastnn.MLPClassifier, neural_network.MLPClassifier),
    "regressor": (fastnn.MLPRegressor, neural_network.MLPRegressor),
}
SOLVERS = ("sgd", "adam")
ACTIVATIONS = ("identity", "logistic", "tanh", "relu")


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


# The same weights ---------------------------------------------------------------------------------


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


def assert_same_predictions(ours, theirs, X, tolerance=1e-6):
    if hasattr(theirs, "predict_proba"):
        assert_array_equal(ours.predict(X), theirs.predict(X))
        assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=tolerance)
        assert_allclose(ours.predict_log_proba(X), theirs.predict_log_proba(X), rtol=1e-4)
    else:
        assert_allclose(ours.predict(X), theirs.predict(X), rtol=tolerance, atol=tolerance)


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


# What scikit-learn has not ----------------------------------------------------------------------


def test_class_weights_are_weights_of_samples():
    _, X, y = problem("classes")
    weights = {0: 1.0, 10: 3.0, 20: 0.5}
    of_samples = np.array([weights[label] for label in y])
    options = {"hidden_layer_sizes": (6,), "random_state": 1, "max_iter": 4}
    asked = fastnn.MLPClassifier(class_weight=weights, **options).fit(X, y)
    expected = neural_network.MLPClassifier(**options).fit(X, y, of_samples)
    assert_same(asked, expected)
    both = fastnn.MLPClassifier(class_weight=weights, **options).fit(X, y, of_samples)
    assert_same(both, neural_network.MLPClassifier(**options).fit(X, y, of_samples**2))
    balanced = fastnn.MLPClassifier(class_weight="balanced", **options).fit(X, y)
    counts = {label: (y == label).sum() for label in np.unique(y)}
    of_samples = np.array([len(y) / 3 / counts[label] for label in y])
    assert_same(balanced, neural_network.MLPClassifier(**options).fit(X, y, of_samples))
    with pytest.raises(ValueError, match="class_weight='balanced' needs all of y"):
        balanced.partial_fit(X, y)
    # What is wrong with the data is said as without class_weight.
    for bad in (y[:-1], y.astype(float) * np.nan):
        texts = []
        for cls in (fastnn.MLPClassifier(class_weight="balanced"), neural_network.MLPClassifier()):
            with pytest.raises(ValueError) as caught:  # noqa: PT011
                cls.fit(X, bad)
            texts.append(str(caught.value))
        assert texts[0] == texts[1]


def test_callbacks_see_every_epoch_and_may_end_training():
    _, X, y = problem("number")
    seen = []

    def watch(estimator):
        seen.append((estimator.n_iter_, estimator.loss_, estimator.coefs_[0].sum()))
        return estimator.n_iter_ == 7

    found = fastnn.MLPRegressor(
        hidden_layer_sizes=(6,), random_state=1, callbacks=[watch, lambda estimator: None]
    ).fit(X, y)
    expected = neural_network.MLPRegressor(hidden_layer_sizes=(6,), random_state=1, max_iter=7).fit(
        X, y
    )
    assert_same(found, expected)
    assert [epoch for epoch, _, _ in seen] == list(range(1, 8))
    assert_allclose([loss for _, loss, _ in seen], expected.loss_curve_)
    assert seen[-1][2] == found.coefs_[0].sum()


def test_lbfgs_is_watched_as_well(capsys):
    _, X, y = problem("number")
    options = {"hidden_layer_sizes": (6,), "random_state": 1, "solver": "lbfgs", "tol": 0}
    seen = []

    def watch(estimator):
        seen.append((estimator.n_iter_, estimator.loss_, estimator.coefs_[0].sum()))
        return estimator.n_iter_ == 7

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # who asks for the end is not told that it came early
        found = fastnn.MLPRegressor(callbacks=[watch], progress=True, **options).fit(X, y)
    expected = neural_network.MLPRegressor(max_iter=7, **options).fit(X, y)
    assert_same(found, expected)
    assert [iteration for iteration, _, _ in seen] == list(range(1, 8))
    assert seen[-1][1:] == (found.loss_, found.coefs_[0].sum())
    assert "7/200" in capsys.readouterr().err
    slow = fastnn.MLPRegressor(max_time=1e-9, **options)
    with pytest.warns(ConvergenceWarning, match="seconds are over after 1 iterations"):
        slow.fit(X, y)
    for name in ("dropout", "validation_loss"):
        with pytest.raises(ValueError, match=f"{name} needs solver='sgd' or 'adam'"):
            fastnn.MLPRegressor(**{name: True if name[0] == "v" else 0.1}, **options).fit(X, y)


def test_training_ends_when_the_time_is_up():
    _, X, y = problem("number")
    estimator = fastnn.MLPRegressor(
        hidden_layer_sizes=(6,), random_state=1, max_iter=10**6, n_iter_no_change=10**6,
        max_time=0.2,
    )  # fmt: skip
    with pytest.warns(ConvergenceWarning, match=r"max_time=0.2 seconds are over after \d+ epochs"):
        estimator.fit(X, y)
    assert 1 < estimator.n_iter_ < 10**6


def test_a_bar_shows_the_epochs(capsys):
    _, X, y = problem("number")
    fastnn.MLPRegressor(hidden_layer_sizes=(6,), max_iter=12, progress=True).fit(X, y)
    assert "12/12" in capsys.readouterr().err


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_of_the_rows_held_out_is_recorded(kind):
    name, X, y = problem(kind)
    options = {"loss": "poisson"} if kind == "counts" else {}
    found = PAIRS[name][0](
        hidden_layer_sizes=(6,), random_state=1, max_iter=6, early_stopping=True, alpha=0.0,
        validation_loss=True, **options,
    ).fit(X, y)  # fmt: skip
    assert len(found.validation_loss_curve_) == found.n_iter_
    assert_allclose(found.validation_loss_curve_, found.loss_curve_, 0.6)  # other rows, later
    assert (np.diff(found.validation_loss_curve_) < 0).all()
    without = PAIRS[name][0](hidden_layer_sizes=(6,), max_iter=2, **options).fit(X, y)
    assert without.validation_loss_curve_ is None
    with pytest.raises(ValueError, match="validation_loss=True needs early_stopping=True"):
        PAIRS[name][0](validation_loss=True, **options).fit(X, y)


def test_each_layer_may_have_an_activation_of_its_own():
    _, X, y = problem("number")
    options = {"random_state": 1, "max_iter": 4}
    mixed = fastnn.MLPRegressor(
        hidden_layer_sizes=(6, 5), activation=["tanh", "softplus"], **options
    ).fit(X, y)
    h = np.tanh(X @ mixed.coefs_[0] + mixed.intercepts_[0])
    h = np.logaddexp(0, h @ mixed.coefs_[1] + mixed.intercepts_[1])
    assert_allclose(mixed.predict(X), (h @ mixed.coefs_[2] + mixed.intercepts_[2])[:, 0])
    same = fastnn.MLPRegressor(
        hidden_layer_sizes=(6, 5), activation=["tanh", "tanh"], **options
    ).fit(X, y)
    one = fastnn.MLPRegressor(hidden_layer_sizes=(6, 5), activation="tanh", **options).fit(X, y)
    assert_array_equal(same.coefs_[0], one.coefs_[0])
    for wrong in (["tanh"], ["tanh", "step"], ["tanh"] * 3):
        with pytest.raises(ValueError, match="activation must be one of"):
            fastnn.MLPRegressor(hidden_layer_sizes=(6, 5), activation=wrong).fit(X, y)


def test_dropout_is_that_of_a_numpy_loop():
    _, X, y = problem("number")
    options = {"hidden_layer_sizes": (30, 20), "random_state": 1, "alpha": 0.0, "momentum": 0.0,
               "solver": "sgd", "learning_rate_init": 0.05, "shuffle": False,
               "batch_size": 100, "max_iter": 3}  # fmt: skip
    start = fastnn.MLPRegressor(**{**options, "learning_rate_init": 1e-300}).fit(X, y)
    found = fastnn.MLPRegressor(dropout=[0.25, 0.5], **options).fit(X, y)
    W, b = [w.copy() for w in start.coefs_], [v.copy() for v in start.intercepts_]
    state = np.random.RandomState(1)
    for layer in zip(W, b, strict=True):
        for array in layer:
            state.uniform(size=array.shape)
    salt, losses = int(state.randint(1 << 31)), []
    for _ in range(3):
        total = 0
        for rows in (slice(0, 100), slice(100, 200), slice(200, 230)):
            loss = numpy_step(W, b, X[rows], y[rows], salt, [0.25, 0.5])
            total, salt = total + loss * (rows.stop - rows.start), salt + 1
        losses.append(total / 230)
    assert_allclose(found.loss_curve_, losses)
    for mine, other in zip([*found.coefs_, *found.intercepts_], [*W, *b], strict=True):
        assert_allclose(mine, other, rtol=1e-9, atol=1e-12)


def numpy_step(W, b, x, t, salt, dropout):
    """A step of gradient descent on half the squared error, ReLU, with dropout."""
    inputs, masks = [x], []
    for layer in range(2):
        drop = round(dropout[layer] * 65536)
        units = W[layer].shape[1]
        out = [reference.dropped(drop, salt, layer, r, units) for r in range(len(x))]
        masks.append(np.where(out, 0.0, 65536 / (65536 - drop)))
        inputs.append(np.maximum(inputs[-1] @ W[layer] + b[layer], 0) * masks[-1])
    error = inputs[-1] @ W[2] + b[2] - t[:, np.newaxis]
    dz = error / len(x)
    for layer in (2, 1, 0):
        dW, db = inputs[layer].T @ dz, dz.sum(axis=0)
        if layer:
            dz = dz @ W[layer].T * (inputs[layer] > 0) * masks[layer - 1]
        W[layer] -= 0.05 * dW
        b[layer] -= 0.05 * db
    return np.mean(error**2) / 2


@pytest.mark.parametrize("solver", SOLVERS)
def test_threads_do_not_change_the_bits(solver):
    _, X, y = problem("classes")
    weights = np.random.default_rng(0).uniform(0.5, 2, len(X))
    found = []
    for parallel in (False, True):
        with runtime.forced(parallel=parallel):
            estimator = fastnn.MLPClassifier((30, 20), random_state=1, max_iter=6, solver=solver,
                                             dropout=0.3).fit(X, y, weights)  # fmt: skip
            found.append([estimator.loss_curve_, *(W.tobytes() for W in estimator.coefs_)])
    assert found[0] == found[1]


def test_without_dropout_no_random_numbers_are_drawn_for_it():
    for wrong in (1.0, -0.1, [0.1], [0.1, 0.1, 0.1], "0.1"):
        with pytest.raises(ValueError, match="dropout"):
            fastnn.MLPClassifier((4, 3), dropout=wrong).fit(*problem("classes")[1:])
    with pytest.raises(ValueError, match="dropout needs solver='sgd' or 'adam'"):
        fastnn.MLPClassifier((4, 3), dropout=0.1, solver="lbfgs").fit(*problem("classes")[1:])


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
    shapes = []

    class Samples(Samples):
        def __init__(self, x):
            shapes.append(x.shape)
            super().__init__(x)

    def look(X, **names):
        if np.shape(X) == (1300, 800):
            assert get_config()["assume_finite"]
            shapes.append("scikit-learn does not look")

    monkeypatch.setattr(gate, "Samples", Samples)
    monkeypatch.setattr(validation, "_assert_all_finite", look)
    for solver in ("adam", "lbfgs"):
        fastnn.MLPClassifier(**{**options, "solver": solver}).fit(X, y)
    assert shapes == 2 * [(1300, 800), "scikit-learn does not look"]
    monkeypatch.undo()
    monkeypatch.setattr(gate, "Samples", Samples)
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


# What a fresh user broke --------------------------------------------------------------------------


def small(**options):
    return {"hidden_layer_sizes": (6,), "random_state": 0, "max_iter": 4, **options}


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


@pytest.mark.parametrize("label", [1, "only"])
def test_a_single_class_is_predicted(label):
    _, X, _ = problem("classes")
    y = np.array([label] * len(X))
    ours, theirs = (cls(**small()).fit(X, y) for cls in PAIRS["classifier"])
    assert_array_equal(ours.predict(X), theirs.predict(X))
    assert ours.score(X, y) == 1


def test_another_activation_counts_at_once():
    _, X, y = problem("classes")
    estimator = fastnn.MLPClassifier(**small(warm_start=True)).fit(X, y)
    estimator.set_params(activation="tanh")
    twin = pickle.loads(pickle.dumps(estimator))
    assert_array_equal(estimator.predict_proba(X), twin.predict_proba(X))
    assert_array_equal(estimator.fit(X, y).coefs_[0], twin.fit(X, y).coefs_[0])


def test_a_strange_row_leaves_the_others_alone():
    _, X, y = problem("classes")
    estimator = fastnn.MLPClassifier(**small()).fit(X.astype(np.float32), y)
    expected, strange = estimator.predict_proba(X), X.copy()
    strange[3, 0] = np.nan
    with config_context(assume_finite=True):
        found = estimator.predict_proba(strange)
    assert_array_equal(np.delete(found, 3, 0), np.delete(expected, 3, 0))


@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_callback_may_replace_the_weights(early_stopping):
    _, X, y = problem("classes")

    def forget(estimator):
        estimator.coefs_ = [0 * W for W in estimator.coefs_]
        estimator.intercepts_ = [0 * b for b in estimator.intercepts_]

    estimator = fastnn.MLPClassifier(
        **small(callbacks=[forget], early_stopping=early_stopping, alpha=0.0)
    ).fit(X, y)
    assert_allclose(estimator.loss_curve_[1:], np.log(3), 0.01)
    assert_array_equal(estimator.predict_proba(X).std(axis=0) < 1e-12, not early_stopping)


@pytest.mark.parametrize("solvers", [("adam", "sgd"), ("sgd", "adam")])
def test_partial_fits_go_on_with_the_optimizer_at_hand(solvers):
    _, X, y = problem("classes")
    found = []
    for cls in PAIRS["classifier"]:
        estimator = cls(**small(solver=solvers[0])).partial_fit(X, y, classes=[0, 10, 20])
        found.append(estimator.set_params(solver=solvers[1]).partial_fit(X, y))
    assert_same(*found)


def test_what_cannot_be_is_refused_by_name():
    _, X, y = problem("counts")
    with pytest.raises(ValueError, match="y must be at least 0 with loss='poisson'"):
        fastnn.MLPRegressor("poisson").fit(X, y - 5)
    with pytest.raises(ValueError, match="dropout must be"):
        fastnn.MLPRegressor(dropout=["a"]).fit(X, y)
    with pytest.raises(ValueError, match="callbacks must be callables"):
        fastnn.MLPRegressor(callbacks=[5]).fit(X, y)
    fastnn.MLPRegressor(max_iter=2, callbacks=None, max_time=np.inf).fit(X, y)


def test_a_list_of_one_activation_is_that_activation():
    _, X, y = problem("classes")
    options = {"hidden_layer_sizes": (6, 5), "random_state": 1, "max_iter": 2}
    for name in ("logistic", "tanh"):
        expected = neural_network.MLPClassifier(activation=name, **options).fit(X, y)
        for activation in ([name, name], np.array([name, name])):
            found = fastnn.MLPClassifier(activation=activation, **options).fit(X, y)
            assert_same(found, expected)
            assert found.activation is activation


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


def test_what_is_asked_for_between_warm_starts_counts():
    _, X, y = problem("classes")
    options = {"early_stopping": True, "warm_start": True, "max_iter": 3, "random_state": 0}
    estimator = fastnn.MLPClassifier((6,), **options).fit(X, y)
    assert estimator.validation_loss_curve_ is None
    estimator.set_params(validation_loss=True).fit(X, y)
    assert len(estimator.validation_loss_curve_) == 3
    assert estimator.set_params(validation_loss=False).fit(X, y).validation_loss_curve_ is None
    for sizes, solver in (((6, 4), "adam"), ((4,), "lbfgs")):
        estimator.set_params(hidden_layer_sizes=sizes, solver=solver)
        with pytest.raises(ValueError, match=r"hidden_layer_sizes is .* hidden layers of \[6\]"):
            estimator.fit(X, y)


def test_divergence_with_early_stopping_is_an_error_as_in_scikit_learn():
    _, X, y = problem("classes")
    for cls in PAIRS["classifier"]:
        estimator = cls((6,), solver="sgd", learning_rate_init=1e300, early_stopping=True)
        text = "Solver produced non-finite parameter weights"
        with np.errstate(all="ignore"), pytest.raises(ValueError, match=text):
            estimator.fit(X, y)


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


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"class_weight": [1, 2]}, "class_weight must be a dictionary"),
        ({"class_weight": {0: 0, 10: 0, 20: 0}}, "class_weight must hold finite numbers"),
        ({"class_weight": {0: -1.0}}, "class_weight must hold finite numbers"),
        ({"class_weight": {0: np.nan}}, "class_weight must hold finite numbers"),
        ({"activation": [["relu"]]}, "activation must be one of"),
        ({"callbacks": [lambda estimator: np.ones(3)]}, "callbacks must return something true"),
    ],
)
def test_extras_that_cannot_be_are_refused_by_name(options, text):
    _, X, y = problem("classes")
    with pytest.raises(ValueError, match=text):
        fastnn.MLPClassifier((6,), **options).fit(X, y)


def test_texts_and_dates_are_no_numbers():
    _, X, y = problem("number")
    for bad in (y.astype(str), np.full(len(y), "2026-11-29", "datetime64[D]")):
        with pytest.raises(ValueError, match="y must hold numbers"):
            fastnn.MLPRegressor().fit(X, bad)
    estimator = fastnn.MLPRegressor(max_iter=2).fit(X, y)
    with pytest.raises(TypeError, match="X must hold numbers"):
        estimator.predict(np.zeros((2, X.shape[1]), "datetime64[s]"))


def test_a_regressor_that_diverges_with_early_stopping_warns_of_nothing_else():
    _, X, y = problem("number")
    estimator = fastnn.MLPRegressor(
        hidden_layer_sizes=(6,), solver="sgd", learning_rate_init=1e3, early_stopping=True,
        random_state=1, max_iter=5,
    )  # fmt: skip
    estimator.fit(X, y)  # any other warning is an error here
    assert min(estimator.validation_scores_) < -1e100  # squares of such errors overflow
