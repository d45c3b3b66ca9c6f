"""What steps are told and tell; and which way they are sent, in parallel or serial."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
from numpy_mlp import bits_of

from fastnn import MLP, SGD
from fastnn.compiler import runtime
from fastnn.kernels import samples
from fastnn.kernels.activations import ACTIVATION_CODES
from fastnn.kernels.groups import Layer
from fastnn.training import plan
from fastnn.training.steps import Steps

SMALL = math.ceil(runtime.STEP_SHARE * runtime.PARALLEL_WORK / 28**2)  # rows: the least to share


def work_told(monkeypatch, batch_size, steps):
    """The work that `Steps.run` tells `runtime.run`, with 28 x 28 multiply-adds a row."""
    net, told = MLP([28, 28], output="identity", seed=0), []
    examples = net._model.examples(np.ones((4, 28)), np.zeros((4, 28)))
    rule, memory = SGD().rule(net.dtype), np.empty(0, net.dtype)
    monkeypatch.setattr(runtime, "most_chunks", lambda work: 2)
    monkeypatch.setattr(runtime, "run", lambda entry, work, *args: told.append(work))
    begin = np.arange(steps + 1) * batch_size
    job = Steps(net.params, net._model.loss, examples, batch_size, rule, memory)
    job.run(np.zeros(begin[-1], np.int64), begin, np.ones(steps, net.dtype))
    return told[0]


def test_many_steps_make_small_steps_worth_sharing(monkeypatch):
    assert work_told(monkeypatch, SMALL, 100) >= runtime.PARALLEL_WORK


def test_a_few_small_steps_are_serial(monkeypatch):
    assert work_told(monkeypatch, SMALL, 2) < runtime.PARALLEL_WORK


def test_smaller_steps_are_serial_however_many(monkeypatch):
    assert work_told(monkeypatch, SMALL - 1, 10_000) < runtime.PARALLEL_WORK


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sizes", [[40, 9, 3], [5, 300, 2], [700, 301, 1]])
def test_the_squares_of_the_weights_are_those_before_each_step(sizes, dtype):
    found = []
    for parallel in (False, True):
        net = MLP(sizes, "tanh", "identity", weight_init="xavier", dtype=dtype, seed=0)
        rng = np.random.default_rng(1)
        x, t = rng.normal(size=(30, sizes[0])), rng.normal(size=(30, sizes[-1]))
        examples = net._model.examples(x, t)
        losses, expected, epoch_loss = [], [], np.empty(1)
        with runtime.forced(parallel=parallel):
            steps = Steps(net.params, net._model.loss, examples, 10, SGD().rule(net.dtype),
                                 np.empty(0, net.dtype))  # fmt: skip
            steps.watch(steps=1, rows=10, scale=0.0)  # so that the penalty is all
            for s in range(3):
                weights = [view for name, view in net.params.items() if name[0] == "W"]
                expected.append(0.7 * sum(np.sum(view.astype(float) ** 2) for view in weights))
                _, loss = steps.run(np.arange(30), np.array([10 * s, 10 * s + 10]),
                                    np.full(1, 0.1, dtype), penalty=np.full(1, 0.7),
                                    epoch_loss=epoch_loss)  # fmt: skip
                losses += [*loss, *epoch_loss]
        np.testing.assert_allclose(losses[::2], expected, 1e-5 if dtype == "float32" else 1e-12)
        np.testing.assert_allclose(losses[1::2], losses[::2], 1e-15)
        found.append(losses)
    assert found[0] == found[1]


def descent(size):
    """A network, and steps of gradient descent that fit it to 30 rows of noise."""
    net = MLP([3, 4, 2], "tanh", "identity", weight_init="xavier", dtype="float64", seed=0)
    rng = np.random.default_rng(1)
    examples = net._model.examples(rng.normal(size=(30, 3)), rng.normal(size=(30, 2)))
    rule = SGD().rule(net.dtype)
    return net, Steps(net.params, net._model.loss, examples, size, rule, np.empty(0))


@pytest.mark.parametrize("size", [1, 7, 30])
@pytest.mark.parametrize("pieces", [1, 2, 11])
@pytest.mark.parametrize("ways", [[False], [True], [False, True], [True, False]])
def test_epochs_and_where_they_end_are_those_of_a_loop(size, pieces, ways):
    epochs, tolerance, patience, per_epoch = 60, 0.002, 2, -(-30 // size)
    index = np.tile(np.arange(30), epochs)
    begin = np.append(
        (np.arange(0, 30, size) + 30 * np.arange(epochs)[:, None]).ravel(), 30 * epochs
    )
    rates, rows = np.full(begin.size - 1, 0.1), np.diff(begin)[:per_epoch]
    losses = descent(size)[1].run(index, begin, rates)[1]
    means = (0.5 * losses.reshape(epochs, per_epoch) * rows).sum(axis=1) / 30
    best, waited, expected = np.inf, 0, []
    for mean in means:
        expected.append(mean)
        waited = waited + 1 if mean > best - tolerance else 0
        best = min(best, mean)
        if waited > patience:
            break
    assert patience < len(expected) < epochs  # or nothing is tested

    found, made = [], 0
    with runtime.forced(parallel=True):
        net, steps = descent(size)
    steps.watch(per_epoch, 30, 0.5)
    steps.stop_when(np.inf, tolerance, 0, patience)
    cuts = np.array_split(np.arange(begin.size - 1), pieces)
    for cut, parallel in zip(cuts, itertools.cycle(ways), strict=False):
        epoch_loss, counts = np.full(epochs, np.nan), []
        with runtime.forced(parallel=parallel):
            done, seen = steps.run(
                index, begin[cut[0] : cut[-1] + 2], rates[cut], epoch_loss=epoch_loss,
                watching=lambda loss, done, ended, counts=counts: counts.append(ended),
            )  # fmt: skip
        np.testing.assert_array_equal(seen, 0.5 * losses[made : made + done])
        found += epoch_loss[: int(counts[0][0])].tolist()
        made += done
        if done < cut.size:
            break
    assert made == len(expected) * per_epoch
    np.testing.assert_allclose(found, expected, 1e-12)
    twin, steps = descent(size)
    steps.run(index, begin[: made + 1], rates[:made])
    np.testing.assert_array_equal(net.params.block, twin.params.block)


@pytest.mark.parametrize("size", [1, 3, 20])
def test_shares_are_weights_of_the_rows(size):
    """A row that counts twice is a row that stands in the batch twice."""
    found = []
    for index, share in (([0, 1, 1, *range(2, size + 1)], None),
                         (range(size + 1), [1, 2, *[1] * (size - 1)])):  # fmt: skip
        net = MLP([4, 5, 3], weight_init="he", dtype="float64", seed=0)
        rng = np.random.default_rng(1)
        examples = net._model.examples(rng.normal(size=(30, 4)), rng.integers(0, 3, 30))
        index = np.array(index)
        steps = Steps(net.params, net._model.loss, examples, len(index), SGD().rule(net.dtype),
                             np.empty(0))  # fmt: skip
        share = None if share is None else np.array(share) / sum(share)
        _, losses = steps.run(index, np.array([0, len(index)]), np.array([0.1]), share=share)
        found.append([losses, *net.params.values()])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, 1e-12)


CALLS_OF_SERIAL_TRUST = int(runtime.Pace.SERIAL_TRUST / 0.05)


def paces(parallel, serial, calls):
    """The ways a `Pace` takes when they make so many steps, in calls of 50 ms."""
    pace, ways = runtime.Pace(), []
    for call in range(calls):
        ways.append(pace.parallel)
        pace.record(parallel(call) if pace.parallel else serial(call), 0.05)
    return ways


@pytest.mark.parametrize(("work", "trial"), [(1e5, 0.01), (1e7, 0.1)])
def test_a_pace_of_short_steps_tries_early(work, trial):
    """As a short fit may be over before a longer one would."""
    pace, seconds = runtime.Pace(work=work), 0.0
    while pace.parallel:
        pace.record(1.0, 0.001)
        seconds += 0.001
    assert trial <= seconds < trial + 0.002
    pace.record(2.0, 0.001)
    assert not pace.parallel


def test_a_pace_tries_the_slower_way_once():
    assert paces(lambda call: 2.0, lambda call: 1.0, 100).count(False) == 1


def test_a_pace_turns_serial_when_that_is_faster():
    ways = paces(lambda call: 1.0, lambda call: 2.0, 100)
    assert ways[0]
    assert ways.count(True) <= 3 + 100 // CALLS_OF_SERIAL_TRUST


@pytest.mark.parametrize("end", [25, 40])
def test_a_pace_follows_other_programs_that_come_and_go(end):
    ways = paces(lambda call: 0.5 if 10 <= call < end else 2.0, lambda call: 1.0, 100)
    assert ways[11:end].count(True) <= 2
    assert ways[end + CALLS_OF_SERIAL_TRUST + 1 :].count(False) == 0


def test_a_pace_accepts_a_machine_that_has_become_slow():
    ways = paces(lambda call: 2.0 if call < 10 else 1.0, lambda call: 0.5, 100)
    assert ways.count(False) == 2


def test_plans_are_kept_until_activations_change():
    params = MLP([3, 4, 2]).params
    before = params.plan(5)
    assert params.plan(5) is before
    assert params.plan(6) is not before
    params.set_activations([ACTIVATION_CODES["tanh"], ACTIVATION_CODES["identity"]])
    found = [Layer(*row).activation for row in params.plan(5).table.tolist()]
    assert found == [ACTIVATION_CODES["tanh"], ACTIVATION_CODES["identity"]]


def test_layers_that_the_fused_loop_does_not_know_are_trained_by_sweeps(monkeypatch):
    x, t = np.eye(4, 3), np.array([0, 1, 1, 0])
    nets = []
    for fused in (True, False):
        kind = plan.KINDS["affine"]._replace(fused=fused)
        monkeypatch.setitem(plan.KINDS, "affine", kind)
        net = MLP([3, 4, 2], weight_init="he", seed=0)
        monkeypatch.setattr(
            samples, "train_one_by_one", samples.train_one_by_one if fused else None
        )
        net.fit(x, t, epochs=3, batch_size=1, seed=1)
        nets.append(bits_of(net))
    assert nets[0] == nets[1]


# Jobs of single calls -------------------------------------------------------------------


@pytest.fixture
def ways_of_job(monkeypatch):
    """The ways a `Job` takes in so many calls, given what each takes and pauses before some."""
    clock, ways = [100.0], []
    monkeypatch.setattr(runtime, "time", SimpleNamespace(perf_counter=lambda: clock[0]))

    def ways_of(parallel, serial, calls, pauses=()):
        def run(kernel, work):
            ways.append(work > 0)
            clock[0] += (parallel if work > 0 else serial)(len(ways) - 1)

        monkeypatch.setattr(runtime, "run", run)
        job = runtime.Job()
        for call in range(calls):
            clock[0] += 1.0 if call in pauses else 0.0
            job.run(None, runtime.PARALLEL_WORK)
        return ways

    return ways_of


def test_a_job_of_calls_turns_serial_when_that_is_faster_and_tries_threads_shortly(ways_of_job):
    ways = ways_of_job(lambda call: 2e-3, lambda call: 1e-3, 1000)
    assert all(ways[:50])
    assert 0.01 < np.mean(ways[200:]) < 0.05


def test_a_job_of_calls_returns_to_threads_when_others_have_gone(ways_of_job):
    ways = ways_of_job(lambda call: 5e-3 if call < 300 else 1e-3, lambda call: 2e-3, 800)
    assert not np.mean(ways[100:300]) > 0.1
    assert np.mean(ways[500:]) > 0.9


def test_a_job_begins_anew_after_a_pause(ways_of_job):
    ways = ways_of_job(lambda call: 2e-3, lambda call: 1e-3, 400, pauses=(300,))
    assert not all(ways[250:300])
    assert all(ways[300:340])


def test_small_work_of_a_job_is_serial_and_not_timed(monkeypatch):
    calls = []
    kernel = SimpleNamespace(serial=lambda *args: calls.append(args))
    monkeypatch.setattr(runtime, "time", None)
    runtime.Job().run(kernel, runtime.PARALLEL_WORK - 1, "x")
    assert calls == [(1, "x")]
