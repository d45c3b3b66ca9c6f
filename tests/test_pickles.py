"""Pickles and copies of what holds a function of the user's: always made, with all the rest."""

import copy
import functools
import io
import pickle
import sys
import threading
import types
import warnings

import joblib
import numpy as np
import pytest
from numpy_mlp import bits, bits_of, inputs, targets
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

import fastnn
from fastnn.training import parameters

WAYS = {
    "pickle": lambda thing: pickle.loads(pickle.dumps(thing)),
    "the oldest that can": lambda thing: pickle.loads(pickle.dumps(thing, protocol=2)),
    "Python's own pickler": lambda thing: pickle.loads(pickle._dumps(thing)),
    "joblib": lambda thing: through_joblib(thing),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
}
every_way = pytest.mark.parametrize("way", WAYS)


def through_joblib(thing):
    buffer = io.BytesIO()
    joblib.dump(thing, buffer)
    buffer.seek(0)
    return joblib.load(buffer)


def halving(step):
    return 0.1 * 0.5 ** (step // 10)


class Held:
    """A rate that no pickle can hold."""

    def __init__(self):
        self.lock = threading.Lock()

    def __call__(self, step):
        return 0.05

    def at(self, step):
        return 0.05


FUNCTIONS = {
    "a lambda": lambda step: 0.05,
    "a method": Held().at,
    "an object": Held(),
    "a part of a lambda": functools.partial(lambda scale, step: scale, 0.05),
}


def trained(lr, kind=fastnn.Adam, steps=12):
    net = fastnn.MLP([5, 4, 3], weight_init="he", seed=0)
    rng = np.random.default_rng(1)
    x, t = inputs(rng, 30, 5), targets(rng, net, 30)
    net.fit(x, t, batch_size=10, iterations=steps, optimizer=kind(lr))
    return net, x, t


@every_way
@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_network_is_kept_with_its_memory(way, function):
    lr = FUNCTIONS[function]
    net, x, t = trained(lr)
    other = WAYS[way](net)
    assert bits_of(other) == bits_of(net)
    assert bits(other.optimizer_state.memory) == bits(net.optimizer_state.memory)
    assert other.optimizer_state.steps == 12
    for network in (net, other):  # the rate is constant, so it does not matter where it counts from
        network.fit(x, t, batch_size=10, iterations=3, optimizer=fastnn.Adam(lr))
        assert network.optimizer_state.steps == 15
    assert bits_of(other) == bits_of(net)
    assert bits(other.optimizer_state.memory) == bits(net.optimizer_state.memory)


@every_way
def test_a_function_with_a_name_goes_on_counting(way):
    net, x, t = trained(halving)
    other = WAYS[way](net)
    for network in (net, other):
        network.fit(x, t, batch_size=10, iterations=20, optimizer=fastnn.Adam(halving))
    assert bits_of(other) == bits_of(net)


def test_a_schedule_that_was_lost_counts_from_zero_and_says_so_if_it_is_used():
    net, x, t = trained(lambda step: 0.1 / (1 + step))
    other = pickle.loads(pickle.dumps(net))
    optimizer = other.optimizer_state.optimizer
    assert "lost: <function" in repr(optimizer)
    before = bits_of(other)
    with pytest.raises(ValueError, match="lr was a function that could not be pickled, <function"):
        other.fit(x, t, batch_size=10, optimizer=optimizer)
    assert bits_of(other) == before
    asked = []
    other.fit(x, t, batch_size=10, iterations=2,
              optimizer=fastnn.Adam(lambda step: asked.append(step) or 0.1))  # fmt: skip
    assert asked == [0, 1]


def test_a_function_whose_module_is_gone_is_lost_and_the_network_is_not(monkeypatch):
    module = types.ModuleType("gone_tomorrow")
    exec("def rate(step):\n    return 0.1\n", module.__dict__)
    monkeypatch.setitem(sys.modules, "gone_tomorrow", module)
    net, *_ = trained(module.rate)
    kept = pickle.dumps(net)
    monkeypatch.delitem(sys.modules, "gone_tomorrow")
    other = pickle.loads(kept)
    assert bits_of(other) == bits_of(net)
    assert "lost" in repr(other.optimizer_state.optimizer)


def test_networks_come_back_from_workers():
    found = joblib.Parallel(n_jobs=2)(joblib.delayed(trained)(lr) for lr in (halving, 0.1))
    assert [bits_of(net) for net, *_ in found] == [bits_of(trained(lr)[0]) for lr in (halving, 0.1)]


# Estimators ------------------------------------------------------------------------------


def unpicklable():
    lock = threading.Lock()

    def callback(estimator):
        with lock:
            return False

    return callback


def estimator_with(callbacks):
    X = np.random.default_rng(0).random((40, 3))
    estimator = fastnn.MLPRegressor(hidden_layer_sizes=(3,), max_iter=6, random_state=0,
                                    callbacks=callbacks)  # fmt: skip
    return fitted(estimator, X, X.sum(axis=1)), X, X.sum(axis=1)


def fitted(estimator, X, y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return estimator.fit(X, y)


@every_way
def test_an_estimator_is_kept_with_the_callbacks_that_can_be(way):
    estimator, X, y = estimator_with([unpicklable(), lambda net: net.n_iter_ >= 3])
    assert estimator.n_iter_ == 3
    other = WAYS[way](estimator)
    assert bits(other.predict(X)) == bits(estimator.predict(X))
    assert len(other.callbacks) == (2 if "copy" in way else 1)
    assert fitted(other, X, y).n_iter_ == 3
    assert len(estimator.callbacks) == 2


def test_a_search_in_other_processes_has_the_callbacks():
    estimator, X, y = estimator_with([lambda net: net.n_iter_ >= 2])
    search = GridSearchCV(clone(estimator), {"alpha": [1e-4, 1e-3]}, cv=2, n_jobs=2)
    assert fitted(search, X, y).best_estimator_.n_iter_ == 2


@pytest.mark.parametrize("callbacks", [(), None, []])
def test_no_callbacks_stay_as_they_are(callbacks):
    estimator, *_ = estimator_with(callbacks)
    for way in WAYS.values():
        assert way(estimator).callbacks == callbacks


def test_clones_share_callbacks_that_cannot_be_copied():
    calls, lock = [], threading.Lock()

    class Look:
        def __init__(self):
            self.lock = lock

        def __call__(self, estimator):
            calls.append(estimator.n_iter_)

    estimator, X, y = estimator_with([Look()])
    assert clone(estimator).callbacks is estimator.callbacks
    search = GridSearchCV(estimator, {"alpha": [1e-4, 1e-3]}, cv=2)
    assert fitted(search, X, y).best_params_["alpha"] in (1e-4, 1e-3)
    assert len(calls) > 12


# What users' schedules may be ----------------------------------------------------------------


class Table:
    """Has an attribute of the name of a method of ours, and no truth value when it is compared."""

    def __init__(self, rates):
        self.rates = rates

    def __call__(self, step):
        return self.rates[min(step, len(self.rates) - 1)]

    def __eq__(self, other):
        return self.rates == other.rates

    __hash__ = None


def test_schedules_of_users_may_have_any_attributes_and_comparisons():
    net, x, t = trained(Table(np.linspace(0.1, 0.01, 10)))
    for lr in (Table(np.linspace(0.1, 0.01, 10)), 0.1, Table(np.ones(3)), lambda s: np.array(0.1)):
        net.fit(x, t, batch_size=10, iterations=2, optimizer=fastnn.Adam(lr))
    assert net.optimizer_state.steps == 20


# Other machines ------------------------------------------------------------------------


def in_other_layout(params, memory, count, vector_bytes):
    """What `in_layout` undoes."""
    layers = parameters._layers(params.layer_sizes, (), memory.dtype, vector_bytes)
    other = np.zeros(count * parameters._size(layers), memory.dtype)
    for ours, theirs in zip(np.split(memory, count), np.split(other, count), strict=True):
        views = parameters._views(layers, (), theirs)
        for name, view in params.views_of(ours).items():
            views[name][...] = view
    return other


@pytest.mark.parametrize("vector_bytes", [16, 32, 64])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_memory_of_a_machine_with_other_vectors(dtype, vector_bytes):
    """Rows of the optimiser's memory are padded to vectors of the machine that made the pickle."""
    net = fastnn.MLP([5, 17, 3], dtype=dtype, weight_init="he", seed=0)
    x, t = inputs(np.random.default_rng(0), 40, 5, 1.0), np.arange(40) % 3
    rule = fastnn.Adam()
    net.fit(x, t, epochs=3, batch_size=10, optimizer=rule, seed=1)
    state = net.__getstate__()
    memory = in_other_layout(net.params, net.optimizer_state.memory, 2, vector_bytes)
    state["optimizer_state"] = net.optimizer_state.with_memory(memory)
    again = fastnn.MLP.__new__(fastnn.MLP)
    again.__setstate__(pickle.loads(pickle.dumps(state)))
    for each in (net, again):
        each.fit(x, t, epochs=3, batch_size=10, optimizer=rule, seed=2)
    assert bits_of(again) == bits_of(net)


@pytest.mark.parametrize("vector_bytes", [16, 32, 64])
def test_estimators_of_a_machine_with_other_vectors(vector_bytes):
    x = inputs(np.random.default_rng(0), 40, 5, 1.0)
    first = fastnn.MLPRegressor(hidden_layer_sizes=(17,), random_state=0).partial_fit(x, x[:, 0])
    again = pickle.loads(pickle.dumps(first))
    optimizer = again._optimizer
    optimizer.memory = in_other_layout(first._engine.params, optimizer.memory, 2, vector_bytes)
    for each in (first, again):
        each.partial_fit(x, x[:, 0])
    assert bits(*again.coefs_) == bits(*first.coefs_)
    again._optimizer.memory = np.zeros(7)
    with pytest.raises(ValueError, match="the optimizer has seen weights of other shapes"):
        again.partial_fit(x, x[:, 0])
