"""Interrupts: weights, memory, counts and history agree, wherever in a fit they come."""

import collections
import contextlib
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from numpy_mlp import bits, bits_of, inputs, targets

import fastnn
from fastnn.training import desk

# Of these files every bytecode is a place at which a signal may be noticed.
FILES = (
    *("fit.py", "watch.py", "way_back.py", "optimizer_state.py", "batches.py", "pace.py"),
    *("model.py", "steps.py", "history.py", "calls.py", "desk.py", "targets.py"),
    *("on_engine.py", "stochastic.py", "lbfgs.py", "with_engine.py", "optimizers.py", "engine.py"),
    "online.py",
)
STEPS = 4


class Places:
    """Notes every bytecode of FILES that is run, and how often."""

    def __init__(self):
        self.visits = collections.Counter()

    def __call__(self, frame, event, arg):
        path = Path(frame.f_code.co_filename)
        if path.name not in FILES or "fastnn" not in path.parts:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            self.visits[frame.f_code, frame.f_lasti] += 1
        return self

    def __iter__(self):
        """Each place, with the first and the last visit."""
        for (code, at), visits in self.visits.items():
            for visit in {1, visits}:
                yield code, at, visit


class InterruptAt:
    """Raises KeyboardInterrupt at one visit of one place."""

    def __init__(self, code, at, visit):
        self.code, self.at, self.left = code, at, visit

    def __call__(self, frame, event, arg):
        if frame.f_code is not self.code:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode" and frame.f_lasti == self.at:
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
        return self


@contextlib.contextmanager
def traced(tracer):
    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        yield tracer
    finally:
        sys.settrace(before)


def fresh(output="softmax"):
    desk._kept.clear()  # each run makes its memory anew, or some places would not be passed
    net = fastnn.MLP([5, 4, 3], output=output, weight_init="he", seed=0)
    rng = np.random.default_rng(1)
    return net, inputs(rng, 24, 5), targets(rng, net, 24)


def fit(net, x, t, histories, **options):
    """A fit that looks up after every second step."""

    def keep(net, history):
        histories.append(history)
        history.loss  # joins what there is  # noqa: B018

    given = {"iterations": STEPS, "optimizer": fastnn.Adam(0.05)} | options
    net.fit(x, t, batch_size=6, seed=3, evaluate_every=2, **({"callbacks": [keep]} | given))


def state_of(net):
    """Weights and memory."""
    state = net.optimizer_state
    return bits_of(net), bits(state.memory) if state is not None else bits(np.zeros(0))


def states_after_each_step(**options):
    found = []
    for steps in range(STEPS + 1):
        net, x, t = fresh()
        if steps:
            net.fit(x, t, batch_size=6, seed=3, **({"optimizer": fastnn.Adam(0.05)} | options),
                    batches=batches_of_the_fit()[:steps])  # fmt: skip
        found.append(state_of(net))
    return found


def batches_of_the_fit(epochs=1):
    """What `fit` draws from this seed for so many epochs of 24 rows in batches of 6."""
    rng, rows = np.random.default_rng(3), np.arange(24)
    order = rng.permuted(np.broadcast_to(rows, (epochs, 24)), axis=1)
    return order.reshape(-1, 6)


def assert_agrees(net, histories, error, states):
    made = 0 if net.optimizer_state is None else net.optimizer_state.steps
    expected = states[made]
    if made == 0:  # the memory may be there, as zeros, or not yet
        assert state_of(net)[0] == expected[0]
        return made
    assert state_of(net) == expected
    history = getattr(error, "history", histories[-1] if histories else None)
    if history is not None:
        assert history.steps == history.loss.size == made
        assert len(history.iterations) == len(history.test_loss)
    return made


def made_wherever_interrupted(run, states):
    """Numbers of steps that are in the weights after an interrupt at each place of a run."""
    places = Places()
    assert assert_agrees(*run(places), states) == STEPS
    made = set()
    for place in places:
        net, histories, error = run(InterruptAt(*place))
        assert error is not None
        made.add(assert_agrees(net, histories, error, states))
    return made


def test_what_is_kept_agrees_wherever_a_fit_is_interrupted():
    states = states_after_each_step()

    def run(tracer):
        (net, x, t), histories, error = fresh(), [], None
        with traced(tracer):
            try:
                fit(net, x, t, histories, validation_data=(x, t))
            except KeyboardInterrupt as caught:
                error = caught
        return net, histories, error

    assert made_wherever_interrupted(run, states) == {
        0,
        1,
        2,
        4,
    }  # the first call is one step, to see how long that takes


def test_single_steps_agree_wherever_they_are_interrupted():
    states = []
    for steps in range(STEPS + 1):
        net, x, t = fresh()
        for _ in range(steps):
            net.train_step(x, t, fastnn.Adam(0.05))
        states.append(state_of(net))

    def run(tracer):
        (net, x, t), error = fresh(), None
        with traced(tracer):
            try:
                for _ in range(STEPS):
                    net.train_step(x, t, fastnn.Adam(0.05))
            except KeyboardInterrupt as caught:
                error = caught
        return net, [], error

    made = made_wherever_interrupted(run, states)
    assert made >= {0, 1, STEPS - 1, STEPS}  # places in the first step and in the last


def test_going_back_after_divergence_is_never_half_done():
    """Weights, memory and count agree; the history has the steps that were seen."""
    optimizer = fastnn.Momentum(0.5)

    def run(tracer):
        (net, x, t), error = fresh("identity"), None
        with traced(tracer):
            try:
                fit(net, x, t, [], iterations=400, optimizer=optimizer, callbacks=())
            except (KeyboardInterrupt, FloatingPointError) as caught:
                error = caught
        return net, error

    places = Places()
    net, error = run(places)
    assert isinstance(error, FloatingPointError)
    seen = error.history.steps
    assert 10 < seen < 24
    batches = batches_of_the_fit(100)  # as many as fit draws at once
    states = []
    for steps in range(seen):
        net, x, t = fresh("identity")
        if steps:
            net.fit(x, t, optimizer=optimizer, batches=batches[:steps])
        states.append(state_of(net))
    kept = set()
    for place in places:
        net, error = run(InterruptAt(*place))
        if isinstance(error, KeyboardInterrupt) and net.optimizer_state is not None:
            made = net.optimizer_state.steps
            kept.add(made)
            assert state_of(net)[0] == states[made][0]
            assert made == 0 or state_of(net) == states[made]
    assert len(kept) > 3


def made_estimator(kind, **options):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 4))
    y = (X[:, 0] > 0).astype(int) if kind is fastnn.MLPClassifier else X[:, 0]
    given = {"max_iter": 3, "batch_size": 10, "random_state": 0} | options
    return kind(hidden_layer_sizes=(3,), **given), X, y


def interrupted_estimator(tracer, kind, **options):
    estimator, X, y = made_estimator(kind, **options)
    with traced(tracer), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with contextlib.suppress(KeyboardInterrupt):
            estimator.fit(X, y)
    return estimator, [str(warning.message) for warning in caught]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (fastnn.MLPRegressor, {}),
        (fastnn.MLPClassifier, {"solver": "sgd", "learning_rate": "invscaling"}),
        (fastnn.MLPRegressor, {"early_stopping": True, "validation_loss": True}),
    ],
    ids=["adam", "sgd", "early stopping"],
)
def test_estimators_agree_wherever_they_are_interrupted(kind, options):
    places = Places()
    whole, _ = interrupted_estimator(places, kind, **options)
    steps = len(whole.loss_curve_) * 3
    weights = {}
    for epochs in (1, 2, 3):
        some, _ = interrupted_estimator(None, kind, **(options | {"max_iter": epochs}))
        weights[epochs] = bits(*some.coefs_, *some.intercepts_)
    seen = set()
    for place in places:
        found, messages = interrupted_estimator(InterruptAt(*place), kind, **options)
        if "Training interrupted by user." not in messages:
            continue  # before or after the epochs: nothing is made, or everything
        seen.add(found.n_iter_)
        assert found.n_iter_ == len(found.loss_curve_)
        rows = 30 - 3 * bool(options.get("early_stopping"))
        assert found.t_ == rows * found.n_iter_
        assert found.loss_curve_ == whole.loss_curve_[: found.n_iter_]
        if "solver" not in options:
            assert found._optimizer.t in range(3 * found.n_iter_, steps + 1)
        if options.get("early_stopping"):
            assert found.validation_scores_ == whole.validation_scores_[: found.n_iter_]
            assert len(found.validation_loss_curve_) == found.n_iter_
            if found.n_iter_:
                assert found.best_validation_score_ == max(found.validation_scores_)
                assert bits(*found.coefs_, *found.intercepts_) == weights[found.n_iter_]
        elif found.n_iter_:
            assert found.best_loss_ == min(found.loss_curve_)
            assert found.loss_ == found.loss_curve_[-1]
            assert bits(*found.coefs_, *found.intercepts_) == weights[found.n_iter_]
    assert max(seen) == 3


def test_lbfgs_is_left_at_an_iterate():
    def error_of(estimator, X, y):
        return float(np.mean((estimator.predict(X) - y) ** 2))

    places, errors, seen = Places(), {}, set()
    interrupted_estimator(places, fastnn.MLPRegressor, solver="lbfgs")
    _, X, y = made_estimator(fastnn.MLPRegressor)
    for n in (1, 2, 3):
        some, _ = interrupted_estimator(None, fastnn.MLPRegressor, solver="lbfgs", max_iter=n)
        errors[n] = error_of(some, X, y), some.loss_
    for place in places:
        found, _ = interrupted_estimator(InterruptAt(*place), fastnn.MLPRegressor, solver="lbfgs")
        if getattr(found, "n_iter_", 0):
            seen.add(found.n_iter_)
            assert (error_of(found, X, y), found.loss_) == errors[found.n_iter_]
    assert {1, 3} <= seen
