"""Optimisers and schedules in training: the numbers of a plain loop, whatever way the steps go."""

import copy
import dataclasses
import math
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpy_mlp import NumpyMLP, bits, bits_of, inputs, targets

import fastnn
from fastnn import rules
from fastnn.compiler import runtime
from fastnn.optimizers import OPTIMIZERS

FAST = {  # a rate for each with which 100 steps change the weights by about their size
    "sgd": fastnn.SGD(0.05),
    "momentum": fastnn.Momentum(0.02, momentum=0.8),
    "nesterov": fastnn.Nesterov(0.02, momentum=0.8),
    "adagrad": fastnn.AdaGrad(0.05, epsilon=1e-6),
    "rmsprop": fastnn.RMSprop(0.005, decay_rate=0.9),
    "adam": fastnn.Adam(0.02, beta1=0.8, beta2=0.99, epsilon=1e-8),
}
assert list(FAST) == list(OPTIMIZERS), "each optimiser needs a rate here, and its rule below"
each_rule = pytest.mark.parametrize("name", OPTIMIZERS)


class Rule:
    """The book's optimisers, on dictionaries of arrays."""

    def __init__(self, optimizer):
        self.o, self.kind, self.t = optimizer, type(optimizer).__name__, 0
        self.m, self.v = {}, {}

    def update(self, params, grads):
        o, lr = self.o, self.o.lr(self.t) if callable(self.o.lr) else self.o.lr
        self.t += 1
        for key, g in grads.items():
            w, zero = params[key], np.zeros_like(g)
            g = g + o.weight_decay * w if key[0] == "W" else g
            m, v = self.m.get(key, zero), self.v.get(key, zero)
            if self.kind == "SGD":
                w -= lr * g
            elif self.kind == "Momentum":
                m = o.momentum * m - lr * g
                w += m
            elif self.kind == "Nesterov":
                w += o.momentum**2 * m - (1 + o.momentum) * lr * g
                m = o.momentum * m - lr * g
            elif self.kind == "AdaGrad":
                v = v + g * g
                w -= lr * g / (np.sqrt(v) + o.epsilon)
            elif self.kind == "RMSprop":
                v = o.decay_rate * v + (1 - o.decay_rate) * g * g
                w -= lr * g / (np.sqrt(v) + o.epsilon)
            else:
                rate = lr * math.sqrt(1 - o.beta2**self.t) / (1 - o.beta1**self.t)
                m = m + (1 - o.beta1) * (g - m)
                v = v + (1 - o.beta2) * (g**2 - v)
                w -= rate * m / (np.sqrt(v) + o.epsilon)
            self.m[key], self.v[key] = m, v


def problem(nonzeros=1.0, dtype="float64", output="softmax", sizes=(40, 9, 3)):
    net = fastnn.MLP(sizes, "tanh", output, weight_init="xavier", dtype=dtype, seed=7)
    rng = np.random.default_rng(7)
    return net, inputs(rng, 60, sizes[0], nonzeros), targets(rng, net, 60)


def table(steps, size):
    return np.random.default_rng(3).integers(0, 60, (steps, size))


@each_rule
@pytest.mark.parametrize("size", [1, 13])
@pytest.mark.parametrize("nonzeros", [1.0, 0.2])
@pytest.mark.parametrize("decay", [0.0, 0.02])
def test_100_steps_are_those_of_the_book(name, size, nonzeros, decay):
    assert_steps_are_those_of_the_book(problem(nonzeros), name, table(100, size), decay)


@each_rule
@pytest.mark.parametrize("size", [1, 3, 5])
@pytest.mark.parametrize("nonzeros", [1.0, 0.2])
@pytest.mark.parametrize("decay", [0.0, 0.02])
def test_steps_of_few_rows_of_a_wide_network_are_those_of_the_book(name, size, nonzeros, decay):
    wide = problem(nonzeros, sizes=(400, 531, 21, 3))
    assert_steps_are_those_of_the_book(wide, name, table(10, size), decay)


def assert_steps_are_those_of_the_book(given, name, batches, decay):
    optimizer = copy.copy(FAST[name])
    object.__setattr__(optimizer, "weight_decay", decay)
    net, x, t = given
    reference, rule = NumpyMLP(net), Rule(optimizer)
    start = {key: value.copy() for key, value in net.params.items()}
    history = net.fit(x, t, batches=batches, optimizer=optimizer)
    losses = []
    for batch in batches:
        losses.append(reference.loss(x[batch], t[batch]))
        rule.update(reference.params, reference.gradient(x[batch], t[batch]))
    assert_allclose(history.loss, losses, rtol=0, atol=1e-9)
    for key, view in net.params.items():
        assert_allclose(view, reference.params[key], rtol=0, atol=1e-9)
        assert abs(view - start[key]).max() > 1e-3


@each_rule
def test_float32_stays_close_to_float64(name):
    (single, x, t), (double, *_) = problem(dtype="float32"), problem()
    for net in (single, double):
        net.fit(x, t, batches=table(50, 10), optimizer=FAST[name])
    for key, view in single.params.items():
        assert_allclose(view, double.params[key], rtol=0, atol=2e-4)


@each_rule
@pytest.mark.parametrize("nonzeros", [1.0, 0.2])
def test_threads_do_not_change_the_bits(name, nonzeros):
    found = []
    for parallel in (False, True):
        net, x, t = problem(nonzeros, "float32")
        with runtime.forced(parallel):
            history = net.fit(x, t, batches=table(30, 25), optimizer=FAST[name])
        found.append((bits_of(net), bits(history.loss)))
    assert found[0] == found[1]


@each_rule
def test_five_and_five_epochs_are_ten(name):
    found = []
    for calls in ((5, 5), (10,)):
        net, x, t = problem()
        for epochs in calls:
            net.fit(x, t, epochs=epochs, batch_size=25, optimizer=copy.copy(FAST[name]))
        found.append(bits_of(net))
    assert found[0] == found[1]


def trained_twice(first, second):
    """The network, and how often its optimiser says it has made a step."""
    net, x, t = problem()
    net.fit(x, t, batches=table(6, 25), optimizer=first)
    net.fit(x, t, batches=table(3, 20), optimizer=second)
    return bits_of(net), net.optimizer_state.steps


def trained_by_rule(first, second):
    """The same in plain NumPy: the rule goes on, with the second's learning rate."""
    net, x, t = problem()
    reference, rule = NumpyMLP(net), Rule(first)
    for optimizer, batches in ((first, table(6, 25)), (second, table(3, 20))):
        rule.o = optimizer
        for batch in batches:
            rule.update(reference.params, reference.gradient(x[batch], t[batch]))
    return reference.params


@pytest.mark.parametrize(
    "another",
    [fastnn.Adam(0.01, beta1=0.8), fastnn.Adam(0.01, weight_decay=0.1), fastnn.RMSprop(0.01)],
)
def test_another_rule_begins_anew(another):
    (net, x, t), (other, *_) = problem(), problem()
    net.fit(x, t, epochs=2, optimizer=fastnn.Adam(0.01), batch_size=25)
    for name, view in net.params.items():
        other.params[name] = view
    for network in (net, other):
        network.fit(x, t, batches=table(3, 20), optimizer=another)
    assert bits_of(net) == bits_of(other)
    assert net.optimizer_state.steps == 3


@each_rule
def test_another_learning_rate_leaves_the_memory_of_the_rule(name):
    first = FAST[name]
    second = dataclasses.replace(first, lr=first.lr / 2)
    net, x, t = problem()
    net.fit(x, t, batches=table(6, 25), optimizer=first)
    net.fit(x, t, batches=table(3, 20), optimizer=second)
    for key, expected in trained_by_rule(first, second).items():
        assert_allclose(net.params[key], expected, rtol=0, atol=1e-9)
    assert net.optimizer_state.optimizer == second
    assert net.optimizer_state.steps == 9


@each_rule
def test_schedules_that_look_alike_leave_the_memory_of_the_rule(name):
    """Two lambdas are never equal."""
    rate = FAST[name].lr
    by_number = trained_twice(FAST[name], FAST[name])
    by_schedule = trained_twice(
        dataclasses.replace(FAST[name], lr=lambda step: rate),
        dataclasses.replace(FAST[name], lr=lambda step: rate),
    )
    assert by_number == by_schedule


def asked_of(*optimizers):
    """Steps that the schedule of each of these fits, one after another, was asked for."""
    net, x, t = problem()
    asked = []
    for optimizer in optimizers:
        asked.append([])
        net.fit(x, t, batches=table(3, 20), optimizer=optimizer(asked))
    return asked


def test_another_schedule_counts_from_its_own_first_step():
    def new(asked):
        return fastnn.Adam(lambda step: asked[-1].append(step) or 0.01)

    def number(asked):
        return fastnn.Adam(0.01)

    kept = {}

    def same(asked):
        return kept.setdefault("it", new(asked))

    assert asked_of(new, new) == [[0, 1, 2], [0, 1, 2]]
    assert asked_of(same, same) == [[0, 1, 2], [3, 4, 5]]
    kept.clear()
    assert asked_of(number, same, same, new) == [[], [0, 1, 2], [3, 4, 5], [0, 1, 2]]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies_know_when_a_schedule_began(copied):
    net, x, t = problem()
    net.fit(x, t, batches=table(6, 25), optimizer=fastnn.Adam(0.01))
    cosine = fastnn.Adam(fastnn.schedules.Cosine(0.01, steps=6))
    net.fit(x, t, batches=table(3, 20), optimizer=cosine)
    other = copied(net)
    for network in (net, other):
        network.fit(x, t, batches=table(3, 20), optimizer=copy.deepcopy(cosine))
    assert bits_of(net) == bits_of(other)


def test_a_fit_that_is_refused_leaves_memory_and_schedule():
    cosine = fastnn.Adam(fastnn.schedules.Cosine(0.02, steps=30))
    found = []
    for refused in (fastnn.Adam(0.5), fastnn.Adam(lambda step: -1), "adam", None):
        net, x, t = problem()
        net.fit(x, t, batches=table(6, 20), optimizer=cosine)
        state = net.optimizer_state
        if refused is not None:
            with pytest.raises((TypeError, ValueError)):
                net.fit(x, t, batch_size=1000, optimizer=refused)
        assert net.optimizer_state is state
        net.fit(x, t, batches=table(6, 20), optimizer=cosine)
        found.append(bits_of(net))
    assert found == [found[0]] * 4


def test_the_memory_can_be_forgotten():
    (net, x, t), (other, *_) = problem(), problem()
    net.fit(x, t, batches=table(6, 25), optimizer=FAST["adam"])
    net.optimizer_state = None
    for name, view in net.params.items():
        other.params[name] = view
    for network in (net, other):
        network.fit(x, t, batches=table(3, 20), optimizer=FAST["adam"])
    assert bits_of(net) == bits_of(other)


def test_no_other_memory_can_be_given():
    """The kernels do not look how long it is."""
    net, x, t = problem()
    small, single = fastnn.MLP([40, 3]), problem(dtype="float32")[0]
    for other in (small, single):
        other.fit(x, t, batches=table(3, 20), optimizer=FAST["adam"])
    net.fit(x, t, batches=table(3, 20), optimizer=FAST["adam"])
    for value in (3, "adam", FAST["adam"], small.optimizer_state, single.optimizer_state):
        with pytest.raises(ValueError, match=r"^optimizer_state must be None"):
            net.optimizer_state = value
    assert net.optimizer_state.steps == 3


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies_go_on_where_the_network_was(copied):
    net, x, t = problem()
    net.fit(x, t, epochs=2, batch_size=25, optimizer=FAST["adam"])
    other = copied(net)
    for network in (net, other):
        network.fit(x, t, batches=table(5, 20), optimizer=FAST["adam"])
    assert bits_of(net) == bits_of(other)


@pytest.mark.parametrize("every", [1, 7, None])
def test_after_divergence_the_optimizer_is_back_with_the_network(every):
    """The next fit goes on from the last good step, as if there had been no further one."""
    optimizer, batches = fastnn.Momentum(3.0), table(400, 8)
    net, x, t = problem(output="identity")
    with pytest.raises(FloatingPointError) as caught:
        net.fit(x, t, batches=batches, optimizer=optimizer, evaluate_every=every)
    good = caught.value.history.steps - 2
    other, *_ = problem(output="identity")
    other.fit(x, t, batches=batches[:good], optimizer=optimizer)
    assert bits_of(net) == bits_of(other)
    assert net.optimizer_state.steps == other.optimizer_state.steps == good
    assert bits(net.optimizer_state.memory) == bits(other.optimizer_state.memory)


def test_every_optimizer_of_the_command_line_learns():
    for kind in OPTIMIZERS.values():
        net, x, t = problem()
        before = net.loss(x, t)
        net.fit(x, t, epochs=20, optimizer=kind(), batch_size=10)
        assert net.loss(x, t) < before


@pytest.mark.parametrize(
    "optimizer",
    [fastnn.Adam(0.01, beta2=1 - 1e-9), fastnn.Adam(0.01, beta1=1 - 1e-8),
     fastnn.RMSprop(1e-6, decay_rate=1 - 1e-8)],
)  # fmt: skip
def test_shares_that_float32_would_round_to_one(optimizer):
    (single, x, t), (double, *_) = problem(dtype="float32"), problem()
    for net in (single, double):
        net.fit(x, t, batches=table(20, 10), optimizer=optimizer)
    for key, view in single.params.items():
        assert_allclose(view, double.params[key], rtol=0, atol=2e-4)


def test_a_shallow_copy_shares_nothing():
    net, x, t = problem()
    net.fit(x, t, batches=table(5, 20), optimizer=FAST["adam"])
    twin, shallow = copy.deepcopy(net), copy.copy(net)
    shallow.fit(x, t, batches=table(5, 20), optimizer=FAST["adam"])
    for network in (net, twin):
        network.fit(x, t, batches=table(3, 20), optimizer=FAST["adam"])
    assert bits_of(net) == bits_of(twin)


# ---- schedules

SCHEDULES = [
    fastnn.schedules.StepDecay(0.1, every=7, factor=0.5),
    fastnn.schedules.InverseScaling(0.1),
    fastnn.schedules.Cosine(0.1, steps=25, end=0.01),
    lambda step: 0.1 / (1 + step % 3),
]


@pytest.mark.parametrize("lr", SCHEDULES)
@pytest.mark.parametrize("kind", [fastnn.SGD, fastnn.Adam])
@pytest.mark.parametrize("calls", [(30,), (11, 19)])
def test_schedules_count_the_steps_over_all_calls(lr, kind, calls):
    net, x, t = problem()
    reference, rule, batches = NumpyMLP(net), Rule(kind(lr)), table(30, 10)
    at = 0
    for steps in calls:
        net.fit(x, t, batches=batches[at : at + steps], optimizer=kind(lr))
        at += steps
    for batch in batches:
        rule.update(reference.params, reference.gradient(x[batch], t[batch]))
    for key, view in net.params.items():
        assert_allclose(view, reference.params[key], rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("lr", "error", "text"),
    [
        (lambda step: -1.0, ValueError, r"lr\(0\) must be .* at least 0, got -1"),
        (lambda step: float("nan") if step == 2 else 0.1, ValueError, r"lr\(2\)"),
        (lambda step: "0.1", TypeError, r"lr\(0\) must be a number"),
        (fastnn.schedules.StepDecay(0.1, 1, 1e300), ValueError, r"lr\(2\) must be"),
    ],
)
def test_a_schedule_that_gives_no_rate_is_refused_before_anything_has_changed(lr, error, text):
    net, x, t = problem()
    before = bits_of(net)
    with pytest.raises(error, match=text):
        net.fit(x, t, iterations=5, batch_size=10, optimizer=fastnn.SGD(lr))
    assert bits_of(net) == before
    assert net.optimizer_state is None


# ---- bad input


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: fastnn.Momentum(momentum=1), "momentum must be below 1"),
        (lambda: fastnn.Nesterov(momentum=-0.1), "momentum must be"),
        (lambda: fastnn.RMSprop(decay_rate=1.5), "decay_rate must be below 1"),
        (lambda: fastnn.Adam(beta1=1.0), "beta1 must be below 1"),
        (lambda: fastnn.Adam(beta2=2), "beta2 must be below 1"),
        (lambda: fastnn.Adam(epsilon=0), "epsilon must be .* above 0"),
        (lambda: fastnn.AdaGrad(lr=0), "lr must be .* above 0"),
        (lambda: fastnn.SGD(10**400), "lr must be a finite number"),
        (lambda: fastnn.SGD(weight_decay=-1), "weight_decay must be .* at least 0"),
        (lambda: fastnn.schedules.StepDecay(0.1, every=0), "every must be"),
        (lambda: fastnn.schedules.InverseScaling(0.1, power=-1), "power must be"),
        (lambda: fastnn.schedules.Cosine(0.1, steps=-1), "steps must be"),
        (
            lambda: fastnn.Adam(epsilon=1e-60).rule(np.dtype("float32")),
            "epsilon must be at least",
        ),
        (lambda: fastnn.SGD(weight_decay=1e60).rule(np.dtype("float32")), "weight_decay must fit"),
    ],
)
def test_numbers_out_of_range_are_refused_by_name(make, text):
    with pytest.raises(ValueError, match=text):
        make()


# ---- early stopping


def noise():
    """Labels that the inputs say nothing about."""
    rng = np.random.default_rng(0)
    net = fastnn.MLP([5, 30, 2], weight_init="he", seed=0)
    return net, rng.normal(size=(60, 5)), rng.integers(0, 2, 60)


def stopped(stop, **options):
    net, x, t = noise()
    history = net.fit(x[:30], t[:30], epochs=400, batch_size=10, callbacks=[stop],
                      validation_data=(x[30:], t[30:]), **options)  # fmt: skip
    return net, history, net.loss(x[30:], t[30:])


def test_training_ends_after_so_many_evaluations_without_a_better_value():
    stop = fastnn.EarlyStopping(patience=4)
    _, history, loss = stopped(stop)
    assert history.stop_reason == "callback"
    assert stop.best == loss == history.test_loss.min()
    assert stop.best_step == history.iterations[history.test_loss.argmin()]
    assert len(history.test_loss) == history.test_loss.argmin() + 1 + 4


def test_the_last_weights_stay_if_the_best_are_not_wanted():
    _, history, loss = stopped(fastnn.EarlyStopping(patience=4, restore_best=False))
    assert loss == history.test_loss[-1] > history.test_loss.min()


def test_the_best_weights_are_restored_at_the_end_of_a_fit_that_was_not_stopped():
    stop = fastnn.EarlyStopping(patience=10_000)
    _, history, loss = stopped(stop)
    assert history.stop_reason == "finished"
    assert loss == history.test_loss.min() < history.test_loss[-1]


def test_a_better_value_renews_the_patience():
    stop, (net, *_), history = fastnn.EarlyStopping(patience=3), noise(), fastnn.History()
    asked = []
    for step, loss in enumerate([1.0, 0.9, 0.95, 0.97, 0.8, np.nan, 0.86, 0.81], start=1):
        history.record_steps([loss])
        history.record_evaluation(step, test_loss=loss)
        asked.append(stop(net, history))
    assert asked == [False] * 7 + [True]
    assert (stop.best, stop.best_step) == (0.8, 5)


def test_each_fit_starts_anew():
    stop, (net, x, t) = fastnn.EarlyStopping(patience=2), noise()
    for _ in range(2):
        history = net.fit(x[:30], t[:30], epochs=100, batch_size=10, callbacks=[stop],
                          validation_data=(x[30:], t[30:]))  # fmt: skip
        assert len(history.test_loss) >= 3


def test_what_must_be_better_by_more_than_a_little():
    stop = fastnn.EarlyStopping(patience=1, min_delta=1e9)
    _, history, _ = stopped(stop)
    assert len(history.test_loss) == 2


def test_an_accuracy_is_better_if_it_is_greater():
    stop = fastnn.EarlyStopping(patience=5, monitor="train_accuracy")
    _, history, _ = stopped(stop)
    assert stop.best == history.train_accuracy.max()


@pytest.mark.parametrize("monitor", ["test_loss", "test_accuracy"])
def test_a_value_that_is_not_measured_is_refused_before_anything_has_changed(monitor):
    net, x, t = noise()
    before, stop = bits_of(net), fastnn.EarlyStopping(monitor=monitor)
    with pytest.raises(ValueError, match=f"'{monitor}', which this fit does not measure"):
        net.fit(x, t, epochs=2, batch_size=10, callbacks=[stop])
    regression = fastnn.MLP([5, 1], output="identity", seed=0)
    if monitor == "test_accuracy":
        with pytest.raises(ValueError, match="an output of classes"):
            regression.fit(x, t, batch_size=10, callbacks=[stop], validation_data=(x, t))
    assert bits_of(net) == before


def test_the_class_itself_is_no_callback():
    net, x, t = noise()
    with pytest.raises(TypeError, match=r"callbacks\[0\] must be an object, not the class Early"):
        net.fit(x, t, batch_size=10, callbacks=[fastnn.EarlyStopping])


def test_each_callback_finishes_whatever_another_raises():
    class Bad:
        def __call__(self, net, history):
            pass

        def finish(self, net, history):
            raise ArithmeticError("of the other")

    stop, (net, x, t) = fastnn.EarlyStopping(patience=10_000), noise()
    with pytest.raises(ArithmeticError, match="of the other"):
        net.fit(x[:30], t[:30], epochs=200, batch_size=10, callbacks=[Bad(), stop],
                validation_data=(x[30:], t[30:]))  # fmt: skip
    assert net.loss(x[30:], t[30:]) == stop.best


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"patience": 0}, "patience must be"),
        ({"min_delta": -1}, "min_delta must be"),
        ({"monitor": "loss"}, "monitor must be one of"),
    ],
)
def test_early_stopping_refuses_by_name(options, text):
    with pytest.raises(ValueError, match=text):
        fastnn.EarlyStopping(**options)


def test_a_number_that_kernels_have_no_place_for():
    rule = rules.Rule(1, 1, ("lookahead",))
    with pytest.raises(TypeError, match="Numbers has no field 'lookahead'"):
        rule.hyper(np.dtype("float32"), lookahead=0.5)
