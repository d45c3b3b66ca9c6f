"""Numbers too large for the precision of a network are refused by name, wherever it gets them."""

import functools
import pickle
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_array_equal
from refusals import assert_refused
from sklearn import config_context

import fastnn
from fastnn import files

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

TEXT = "is 1e+39, too large for float32"
RNG = np.random.default_rng(0)
X = RNG.normal(size=(30, 5))
LABELS, VALUES = RNG.integers(0, 3, 30), RNG.normal(size=30)
SMALL = X.astype(np.float32)


def with_value(array, at, value=1e39):
    array = np.array(array, np.float64 if isinstance(value, float) else np.longdouble)
    array[at] = value
    return array


BAD = with_value(X, (4, 3))
FORMS = {
    "array": np.array,
    "Fortran's order": np.asfortranarray,
    "few rows": lambda x: x[4:6],
    "list": np.ndarray.tolist,
    "csr": sp.csr_matrix,
    "csc": sp.csc_array,
}


def fitted(kind, **options):
    """An estimator of float32, and what it was trained to give."""
    cls, y = (
        (fastnn.MLPClassifier, LABELS) if kind == "classifier" else (fastnn.MLPRegressor, VALUES)
    )
    options = {"hidden_layer_sizes": (4,), "max_iter": 2, "random_state": 0, **options}
    return cls(**options).fit(SMALL, y), y


def weights_of(estimator):
    return [array.tobytes() for array in (*estimator.coefs_, *estimator.intercepts_)]


# Estimators --------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["classifier", "regressor"])
@pytest.mark.parametrize(
    "method", ["predict", "predict_proba", "predict_log_proba", "score", "partial_fit", "fit"]
)
def test_inputs_are_refused_by_estimators(method, kind, form):
    estimator, y = fitted(kind, warm_start=method == "fit")
    wants_all_classes = method == "fit" and kind == "classifier"
    if not hasattr(estimator, method) or (form == "few rows" and wants_all_classes):
        return
    bad = FORMS[form](BAD)
    row, before = (0 if form == "few rows" else 4), weights_of(estimator)
    given = (bad, y[:2] if form == "few rows" else y) if method in GETS_Y else (bad,)
    call = functools.partial(getattr(estimator, method), *given)
    assert_refused(call, ValueError, f"X[{row}, 3] {TEXT}")
    assert weights_of(estimator) == before


GETS_Y = ("score", "partial_fit", "fit")


def test_what_double_precision_cannot_hold_is_refused_too():
    estimator = fastnn.MLPRegressor(hidden_layer_sizes=(4,), max_iter=2).fit(X, VALUES)
    bad = with_value(X, (4, 3), np.longdouble("1e4000"))
    text = "X[4, 3] is 1e+4000, too large for float64"
    assert_refused(lambda: estimator.predict(bad), ValueError, text)


def test_a_double_precision_estimator_holds_it():
    estimator = fastnn.MLPClassifier((4,), max_iter=2).fit(X, LABELS)
    assert np.isfinite(estimator.predict_proba(BAD)).all()


@pytest.mark.parametrize("form", ["array", "csr"])
def test_rows_that_nobody_was_to_look_at_stay_as_they_are(form):
    estimator, _ = fitted("classifier")
    bad = FORMS[form](with_value(X, (4, 3), np.nan))
    with config_context(assume_finite=True):
        found = estimator.predict_proba(bad)
    assert_array_equal(np.isnan(found).all(axis=1), np.arange(30) == 4)


@pytest.mark.parametrize(
    "options", [{}, {"early_stopping": True}, {"solver": "sgd"}, {"solver": "lbfgs"}]
)
@pytest.mark.parametrize("outputs", [1, 2])
def test_targets_are_refused_by_the_row_they_were_given_in(outputs, options):
    y = np.column_stack([VALUES] * outputs) if outputs > 1 else VALUES
    at, name = ((7, 1), "y[7, 1]") if outputs > 1 else (7, "y[7]")
    for value in (1e39, -1e39):
        net = fastnn.MLPRegressor(hidden_layer_sizes=(4,), max_iter=2, **options)
        text = f"{name} is {value}, too large for float32"
        assert_refused(
            functools.partial(net.fit, SMALL, with_value(y, at, value)), ValueError, text
        )
        assert not hasattr(net, "coefs_")


def test_targets_are_refused_by_partial_fit():
    estimator, y = fitted("regressor")
    before = weights_of(estimator)
    bad = with_value(y, 7)
    assert_refused(lambda: estimator.partial_fit(SMALL, bad), ValueError, f"y[7] {TEXT}")
    assert weights_of(estimator) == before


@pytest.mark.parametrize("name", ["alpha", "learning_rate_init", "epsilon"])
def test_parameters_are_refused_where_they_are_used(name):
    net = fastnn.MLPRegressor(hidden_layer_sizes=(4,), max_iter=2, **{name: 1e39})
    assert_refused(lambda: net.fit(SMALL, VALUES), ValueError, f"{name} {TEXT}")
    if name != "alpha":
        net.set_params(solver="lbfgs").fit(SMALL, VALUES)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_large_weights_of_samples_count_as_small_ones_do(solver):
    nets = [
        fastnn.MLPClassifier((4,), max_iter=3, random_state=0, solver=solver, alpha=0.0).fit(
            SMALL, LABELS, sample_weight=np.full(30, weight)
        )
        for weight in (1.0, 2.0**130)
    ]
    assert weights_of(nets[0]) == weights_of(nets[1])


@pytest.mark.parametrize("options", [{}, {"early_stopping": True}, {"solver": "lbfgs"}])
def test_weights_of_samples_that_have_no_sum_are_refused(options):
    net = fastnn.MLPClassifier((4,), max_iter=2, **options)
    call = functools.partial(net.fit, X, LABELS, sample_weight=np.full(30, 1e308))
    assert_refused(
        call, ValueError, "sample_weight must have a finite sum, got numbers up to 1e+308"
    )
    net.set_params(class_weight={0: 1e200, 1: 1.0, 2: 1.0})
    call = functools.partial(net.fit, X, LABELS, sample_weight=np.full(30, 1e200))
    assert_refused(call, ValueError, "sample_weight times class_weight must have a finite sum")
    net.set_params(class_weight={0: 1e308, 1: 1e308, 2: 1e308})
    assert_refused(lambda: net.fit(X, LABELS), ValueError, "class_weight must have a finite sum")


@pytest.mark.parametrize("part", ["coefs_", "intercepts_"])
def test_weights_that_are_put_in_place_of_an_estimators_are_refused(part):
    estimator, _ = fitted("classifier")
    arrays = list(getattr(estimator, part))
    arrays[1] = with_value(arrays[1], (0,) * arrays[1].ndim)
    setattr(estimator, part, arrays)
    at = "[0, 0]" if part == "coefs_" else "[0]"
    assert_refused(lambda: estimator.predict(X), ValueError, f"{part}[1]{at} {TEXT}")


def test_weights_that_a_callback_puts_in_place_are_refused():
    def enlarge(estimator):
        estimator.coefs_ = [np.full(W.shape, 1e39) for W in estimator.coefs_]

    net = fastnn.MLPClassifier((4,), max_iter=2, callbacks=[enlarge])
    assert_refused(lambda: net.fit(SMALL, LABELS), ValueError, f"coefs_[0][0, 0] {TEXT}")


def test_a_search_of_lbfgs_may_go_beyond_the_precision():
    estimator, _ = fitted("regressor")
    engine = estimator._engine_at_hand()
    engine.assign([np.full(W.shape, 1e39) for W in engine.coefs], engine.intercepts)
    assert np.isinf(engine.coefs[0]).all()


# Masks, in estimators ----------------------------------------------------------------------------


def masked(array, at):
    mask = np.zeros(np.shape(array), bool)
    mask[at] = True
    return np.ma.array(array, mask=mask)


METHODS = ["fit", "partial_fit", "score", "predict", "predict_proba"]


@pytest.mark.parametrize("kind", ["classifier", "regressor"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("form", [lambda x: x, list], ids=["array", "list"])
def test_what_is_masked_is_refused_by_estimators(method, kind, form):
    estimator, y = fitted(kind)
    if not hasattr(estimator, method):
        return
    call, before = getattr(estimator, method), weights_of(estimator)
    bad = form(masked(X, (4, 3)))
    given = (bad, y) if method in GETS_Y else (bad,)
    text = "must have no masked values, got one at"
    assert_refused(lambda: call(*given), ValueError, f"X {text} X[4, 3]")
    if method in GETS_Y:
        bad = form(masked(y, 7))
        assert_refused(lambda: call(X, bad), ValueError, f"y {text} y[7]")
        bad = form(masked(np.ones(30), 7))
        name = "sample_weight"
        assert_refused(
            lambda: call(X, y, sample_weight=bad), ValueError, f"{name} {text} {name}[7]"
        )
    assert weights_of(estimator) == before


@pytest.mark.parametrize("kind", ["classifier", "regressor"])
def test_masked_arrays_that_are_complete_are_used(kind):
    estimator, y = fitted(kind)
    whole = np.ma.array(X, mask=np.zeros(X.shape, bool))
    again = type(estimator)(**estimator.get_params())
    again.fit(np.ma.array(SMALL), np.ma.array(y), np.ma.array(np.ones(30)))
    assert_array_equal(again.predict(whole), again.predict(X))
    assert again.score(whole, np.ma.array(y)) == again.score(X, y)


# Networks ----------------------------------------------------------------------------------------


def test_parameters_of_a_network_are_refused():
    net = fastnn.MLP([3, 4, 2], seed=0)
    before = {name: array.copy() for name, array in net.params.items()}
    for name, at in (("W1", (2, 3)), ("b2", (1,))):
        for value in (1e39, -1e39):
            bad = with_value(net.params[name], at, value)
            text = f"params['{name}']{[*at]} is {value}, too large for float32"
            assert_refused(
                lambda name=name, bad=bad: net.params.update({name: bad}), ValueError, text
            )
            assert_array_equal(net.params[name], before[name])
    double = fastnn.MLP([3, 4, 2], dtype="float64")
    double.params["W1"] = np.full((3, 4), 1e39)
    bad = np.full((3, 4), np.longdouble("1e4000"))
    text = "params['W1'][0, 0] is 1e+4000, too large for float64"
    assert_refused(lambda: double.params.update(W1=bad), ValueError, text)


def test_parameters_may_be_what_the_precision_holds():
    net, largest = fastnn.MLP([1, 3]), float(np.finfo(np.float32).max)
    net.params["b1"] = [largest, np.inf, np.nan]  # these two are no mistake of the cast
    assert_array_equal(net.params["b1"], np.float32([largest, np.inf, np.nan]))
    net.params["b1"] = [2**63, 10**30, 0]
    assert_array_equal(net.params["b1"], np.float32([2**63, 10**30, 0]))


def test_a_file_of_larger_numbers_than_its_network_holds_is_refused(tmp_path):
    net, path = fastnn.MLP([3, 2]), tmp_path / "net"
    arrays = {"W1": np.full((3, 2), 1e39), "b1": np.zeros(2)}
    files.write_model(path, net._description(), arrays)
    assert_refused(lambda: fastnn.load(path), fastnn.ModelFileError, f"params['W1'][0, 0] {TEXT}")


def test_networks_that_are_not_finite_are_kept_all_the_same(tmp_path):
    net = fastnn.MLP([1, 2])
    net.params["b1"] = [np.inf, np.nan]
    net.save(tmp_path / "net")
    for again in (fastnn.load(tmp_path / "net"), pickle.loads(pickle.dumps(net))):
        assert_array_equal(again.params["b1"], net.params["b1"])


@pytest.mark.parametrize("name", ["weight_init", "bias_init"])
def test_initial_weights_are_refused(name):
    for dtype, most, least in (("float32", 8e36, 9e36), ("float64", 4e306, 5e306)):
        net = fastnn.MLP([50, 50], dtype=dtype, seed=0, **{name: most})
        assert all(np.isfinite(array).all() for array in net.params.values())
        call = functools.partial(fastnn.MLP, [50, 50], dtype=dtype, **{name: least})
        assert_refused(call, ValueError, f"{name} must be at most", f"in {dtype}, got {least}")


# Scalars of NumPy's narrow types, and weights of an estimator that are no numbers ---------------


@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_narrow_scalars_are_numbers_like_others(kind):
    """No warning comes from a comparison in their own precision: here it would be an error."""
    numbers = {"lr": kind(0.125), "weight_decay": kind(0.25)}
    net = fastnn.MLP([2, 2], dtype="float64", bias_init=kind(0.5), seed=0)
    other = fastnn.MLP([2, 2], dtype="float64", bias_init=0.5, seed=0)
    net.fit([[1, 2]], [0], batch_size=1, optimizer=fastnn.SGD(**numbers))
    given = {name: float(number) for name, number in numbers.items()}
    other.fit([[1, 2]], [0], batch_size=1, optimizer=fastnn.SGD(**given))
    assert (net.params["W1"] == other.params["W1"]).all()
    h = kind(2.0**-10)
    assert fastnn.numerical_gradient(lambda x: x[0] * 2, np.ones(1), h=h)[0] == 2


def test_an_epsilon_too_large_is_refused_by_name():
    with pytest.raises(ValueError, match=r"epsilon must fit float32, got 1e\+39"):
        fastnn.MLP([2, 2]).fit([[1, 2]], [0], batch_size=1, optimizer=fastnn.Adam(epsilon=1e39))


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (lambda W: np.ma.array(W, mask=True), ValueError, r"coefs_\[0\] must have no masked"),
        (lambda W: W + 1j, TypeError, r"coefs_\[0\] must hold real numbers, got dtype complex"),
        (lambda W: W.astype(str), TypeError, r"coefs_\[0\] must hold real numbers"),
    ],
)
def test_weights_put_into_an_estimator_are_numbers(change, error, text):
    X = np.random.default_rng(0).random((30, 3))
    estimator = fastnn.MLPRegressor(hidden_layer_sizes=(2,), max_iter=5, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator.fit(X, X[:, 0])
    estimator.coefs_[0] = change(estimator.coefs_[0])
    with pytest.raises(error, match=text):
        estimator.predict(X)
