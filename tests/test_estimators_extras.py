"""What the estimators do and scikit-learn's do not."""

import warnings

import numpy as np
import pytest
import reference
from estimator_pairs import KINDS, PAIRS, SOLVERS, assert_same, problem, small
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import neural_network
from sklearn.exceptions import ConvergenceWarning

import fastnn
from fastnn.compiler import runtime

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


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
