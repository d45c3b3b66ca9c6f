"""Which way training steps are sent, in parallel or serial."""

import math

import numpy as np
import pytest

from fastnn import MLP, SGD, passes, runtime

SMALL = math.ceil(runtime.STEP_SHARE * runtime.PARALLEL_WORK / 28**2)  # rows: the least to share


def work_told(monkeypatch, batch_size, steps):
    """The work that `Steps.run` tells `runtime.run`, with 28 x 28 multiply-adds a row."""
    net, told = MLP([28, 28], output="identity", seed=0), []
    examples = net._examples(np.ones((4, 28)), np.zeros((4, 28)))
    rule, memory = SGD().rule(net.dtype), np.empty(0, net.dtype)
    monkeypatch.setattr(runtime, "most_chunks", lambda work: 2)
    monkeypatch.setattr(runtime, "run", lambda entry, work, *args: told.append(work))
    begin = np.arange(steps + 1) * batch_size
    job = passes.Steps(net.params, net._loss, examples, batch_size, rule, memory)
    job.run(np.zeros(begin[-1], np.int64), begin, np.ones(steps, net.dtype))
    return told[0]


def test_many_steps_make_small_steps_worth_sharing(monkeypatch):
    assert work_told(monkeypatch, SMALL, 100) >= runtime.PARALLEL_WORK


def test_a_few_small_steps_are_serial(monkeypatch):
    assert work_told(monkeypatch, SMALL, 2) < runtime.PARALLEL_WORK


def test_smaller_steps_are_serial_however_many(monkeypatch):
    assert work_told(monkeypatch, SMALL - 1, 10_000) < runtime.PARALLEL_WORK


CALLS_OF_SERIAL_TRUST = int(runtime.Pace.SERIAL_TRUST / 0.05)


def paces(parallel, serial, calls):
    """The ways a `Pace` takes when they make so many steps, in calls of 50 ms."""
    pace, ways = runtime.Pace(), []
    for call in range(calls):
        ways.append(pace.parallel)
        pace.record(parallel(call) if pace.parallel else serial(call), 0.05)
    return ways


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
