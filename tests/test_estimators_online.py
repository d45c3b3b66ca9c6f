"""`partial_fit` on plain arrays: without scikit-learn's checks, the same as with them."""

import copy
import gc
import pickle
import weakref

import numpy as np
import pytest

from fastnn import MLPClassifier, MLPRegressor
from fastnn.estimators.online import Online

OPTIONS = {
    "adam": {},
    "sgd": {"solver": "sgd"},
    "adaptive": {"solver": "sgd", "learning_rate": "adaptive", "momentum": 0.0},
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling"},
    "another generator": {"random_state": 7},
    "batches": {"batch_size": 7},
    "no alpha": {"alpha": 0.0},
    "no shuffle": {"shuffle": False},
    "a generator": {"random_state": np.random.RandomState},
}
TASKS = ("one output", "outputs", "sparse", "classes", "two classes")


def problem(task, dtype):
    """An estimator, rows, and what is wanted of them."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(32, 40 if task == "sparse" else 4)).astype(dtype)
    if task == "sparse":
        x *= rng.random(x.shape) < 0.1
    if task.endswith("classes"):
        return MLPClassifier, x, np.array([3, -1, 8])[rng.integers(0, 2 + (task == "classes"), 32)]
    return MLPRegressor, x, rng.normal(size=(32, 2) if task == "outputs" else 32)


def state_of(net):
    """All that further training depends on."""
    numbers = net.n_iter_, net.t_, net.loss_, net.best_loss_, net._no_improvement_count
    weights = [array.tobytes() for array in (*net.coefs_, *net.intercepts_)]
    drawn = net._random_state.get_state(legacy=False)["state"]
    return weights, [float(n) for n in numbers], list(net.loss_curve_), drawn["key"].tolist()


def train(task, options, dtype, calls=6):
    """States after calls of which some have fewer rows, or come after a pickle or a copy."""
    kind, x, y = problem(task, dtype)
    options = {"random_state": 3, **options}
    if options["random_state"] is np.random.RandomState:
        options["random_state"] = np.random.RandomState(3)
    net, states = kind(hidden_layer_sizes=(8, 5), **options), []
    for call in range(calls):
        rows = 20 if call == 2 else 32
        first = {"classes": np.unique(y)} if call == 0 and kind is MLPClassifier else {}
        net.partial_fit(x[:rows], y[:rows], **first)
        net = {3: lambda net: pickle.loads(pickle.dumps(net)), 4: copy.deepcopy}.get(
            call, lambda net: net
        )(net)
        states.append(state_of(net))
    return states


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("options", OPTIONS)
def test_the_short_way_is_the_long_one(options, task, dtype, monkeypatch):
    taken = []
    short = Online._takes_more
    monkeypatch.setattr(
        Online, "_takes_more", lambda *args: taken.append(short(*args)) or taken[-1]
    )
    found = train(task, OPTIONS[options], dtype)
    assert taken == [False] + 5 * [True]
    monkeypatch.setattr(Online, "_takes_more", lambda *args: False)
    assert train(task, OPTIONS[options], dtype) == found


def trained(task="outputs", **options):
    kind, x, y = problem(task, np.float64)
    net = kind(hidden_layer_sizes=(8,), random_state=0, **options)
    net.partial_fit(x, y, **({"classes": np.unique(y)} if kind is MLPClassifier else {}))
    return net, x, y


WRONG = {
    "NaN": (lambda x, y: (np.where(x == x[1, 1], np.nan, x), y), "Input X contains NaN"),
    "infinite y": (lambda x, y: (x, np.where(y == y[1, 1], np.inf, y)), "infinity"),
    "width": (lambda x, y: (x[:, 1:], y), "X has 3 features"),
    "rows": (lambda x, y: (x[1:], y), "inconsistent numbers of samples"),
    "outputs": (lambda x, y: (x, np.hstack([y, y])), "y has 4 outputs"),
    "no rows": (lambda x, y: (x[:0], y[:0]), "minimum of 1 is required"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_said_as_before_and_changes_nothing(wrong):
    net, x, y = trained()
    before = state_of(net)
    change, text = WRONG[wrong]
    with pytest.raises(ValueError, match=text):
        net.partial_fit(*change(x, y))
    assert state_of(net)[:3] == before[:3]
    net.partial_fit(x, y)


def test_a_class_that_was_not_announced_is_refused():
    net, x, y = trained("classes")
    y = y.copy()
    y[3] = 5
    with pytest.raises(ValueError, match="`y` has classes not in"):
        net.partial_fit(x, y)


def test_column_vectors_are_warned_of():
    net, x, y = trained("one output")
    with pytest.warns(Warning, match="A column-vector y was passed"):
        net.partial_fit(x, y[:, np.newaxis])


@pytest.mark.parametrize(
    "extra", [{"alpha": 0.5}, {"batch_size": 10}, {"random_state": 5}, {"shuffle": False}]
)
def test_parameters_that_change_between_calls_count(extra, monkeypatch):
    states = []
    for short in (True, False):
        net, x, y = trained()
        if not short:
            monkeypatch.setattr(Online, "_takes_more", lambda *args: False)
        net.partial_fit(x, y)
        net.set_params(**extra)
        net.partial_fit(x, y)
        states.append(state_of(net))
    assert states[0] == states[1]


@pytest.mark.parametrize(
    ("sizes", "text"), [((5, 4), "is .5, 4., but"), ((-1,), "must be > 0"), (0, "must be > 0")]
)
def test_other_layers_are_refused_as_before(sizes, text):
    net, x, y = trained()
    net.set_params(hidden_layer_sizes=sizes)
    for given in (x, x.tolist()):
        with pytest.raises(ValueError, match=text):
            net.partial_fit(given, y)


@pytest.mark.parametrize("sizes", [8, [8], np.array([8])])
def test_the_same_layers_in_other_words_are_taken(sizes):
    net, x, y = trained()
    net.set_params(hidden_layer_sizes=sizes)
    assert net._has_its_layers()
    net.partial_fit(x, y)


def test_the_callers_arrays_are_not_kept():
    net, x, y = trained()
    given = [x.copy(), y.copy()]
    gone = [weakref.ref(array) for array in given]
    net.partial_fit(*given)
    given.clear()
    gc.collect()
    assert [array() for array in gone] == [None, None]


def test_weights_that_were_replaced_are_trained_on():
    net, x, y = trained()
    net.partial_fit(x, y)
    net.coefs_ = [np.zeros_like(W) for W in net.coefs_]
    net.partial_fit(x, y)
    assert np.abs(net.coefs_[0]).max() < 0.01


@pytest.mark.filterwarnings("ignore")
def test_weights_that_overflow_are_an_error():
    net, x, y = trained("outputs", solver="sgd", learning_rate_init=1e200)
    with pytest.raises(ValueError, match="non-finite parameter weights"):
        train_on(net, x, y)


def train_on(net, x, y):
    for _ in range(5):
        net.partial_fit(x, y)


def test_neither_pickles_nor_copies_grow():
    net, x, y = trained()
    size = len(pickle.dumps(net))
    for _ in range(5):
        net.partial_fit(x, y)
    assert len(pickle.dumps(net)) < size + 200  # the losses
    assert "_training_at_hand" not in copy.copy(net).__dict__
