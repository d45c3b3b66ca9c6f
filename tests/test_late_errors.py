"""Errors long after a fit began: how many steps are kept is said, and the history is there."""

import numpy as np
import pytest
from numpy_mlp import bits_of

import fastnn
from fastnn.training import optimizer_state

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 3))
T = X @ [1.0, 2.0, 3.0]


def fresh():
    return fastnn.MLP([3, 4, 1], output="identity", weight_init="he", seed=0)


def after(steps, **options):
    net = fresh()
    net.fit(X, T, batch_size=20, seed=1, iterations=steps, **options)
    return bits_of(net)


def until(end, wrong):
    def rate(step):
        return 0.01 if step < end else wrong(step)

    return rate


def divide(step):
    return 1 / (step - step)


FINITE, FITTING = "lr(70) must be a finite number at least 0", "lr(70) must be at least 0 and fit"
WRONG = {
    "NaN": (lambda step: float("nan"), ValueError, f"{FINITE}, got nan"),
    "negative": (lambda step: -0.1, ValueError, f"{FINITE}, got -0.1"),
    "too large": (lambda step: 1e60, ValueError, f"{FITTING} float32, got 1e+60"),
    "text": (lambda step: "0.1", TypeError, "lr(70) must be a number, got '0.1'"),
    "an error of its own": (divide, ZeroDivisionError, "division by zero"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("block", [16, 64, 70, 71])
def test_a_schedule_that_fails_late_leaves_the_steps_before(case, block, monkeypatch):
    """Rates are asked for in blocks; all steps before the wrong one are made, and it is named."""
    monkeypatch.setattr(optimizer_state, "ASKED_AHEAD", block)
    wrong, kind, text = WRONG[case]
    net = fresh()
    with pytest.raises(kind) as caught:
        net.fit(X, T, batch_size=20, seed=1, iterations=100, optimizer=fastnn.SGD(until(70, wrong)))
    error = caught.value
    if block > 70:  # seen before anything is changed
        assert str(error).startswith(text)
        assert not hasattr(error, "history")
        assert bits_of(net) == bits_of(fresh())
        return
    said = "; ".join([str(error), *getattr(error, "__notes__", [])])
    assert said.startswith(text)
    assert "steps of this fit that were made and are kept: 70" in said
    assert error.history.steps == 70
    assert error.history.stop_reason == "error"
    assert net.optimizer_state.steps == 70
    assert bits_of(net) == after(70, optimizer=fastnn.SGD(0.01))


def test_a_schedule_that_fails_at_the_last_step(monkeypatch):
    monkeypatch.setattr(optimizer_state, "ASKED_AHEAD", 16)
    net, rate = fresh(), until(99, lambda step: float("inf"))
    with pytest.raises(ValueError, match=r"lr\(99\) .* kept: 99$"):
        net.fit(X, T, batch_size=20, seed=1, iterations=100, optimizer=fastnn.SGD(rate))
    assert bits_of(net) == after(99, optimizer=fastnn.SGD(0.01))


@pytest.mark.parametrize("error", [ZeroDivisionError, MemoryError, KeyboardInterrupt, SystemExit])
def test_an_error_of_a_callback_says_what_is_kept(error):
    def callback(net, history):
        if history.steps == 9:
            raise error("mine")

    net = fresh()
    with pytest.raises(error, match="mine") as caught:
        net.fit(X, T, batch_size=20, seed=1, epochs=5, callbacks=[callback])
    assert caught.value.history.steps == 9
    notes = getattr(caught.value, "__notes__", [])
    if error is KeyboardInterrupt:
        assert (notes, caught.value.history.stop_reason) == ([], "interrupted")
    else:
        kept = "steps of this fit that were made and are kept: 9; the error has its history"
        assert notes == [kept]
    assert bits_of(net) == after(9)


def test_an_error_of_divergence_says_so_itself():
    net = fresh()
    with pytest.raises(FloatingPointError, match="the network is as it was before step") as caught:
        net.fit(X, T, batch_size=20, epochs=50, optimizer=fastnn.SGD(30.0))
    assert caught.value.history.stop_reason == "diverged"
    assert not hasattr(caught.value, "__notes__")


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_error_at_the_end_of_a_fit_has_the_history_too(error):
    class Finish:
        def __call__(self, net, history):
            pass

        def finish(self, net, history):
            raise error("at the end")

    net = fresh()
    with pytest.raises(error, match="at the end") as caught:
        net.fit(X, T, batch_size=20, epochs=3, callbacks=[Finish()])
    assert caught.value.history.steps == 9 == net.optimizer_state.steps


def test_an_error_that_takes_no_attributes_is_raised_as_it_is():
    class OddError(Exception):
        def __setattr__(self, name, value):
            raise RuntimeError("no attributes")

    def callback(net, history):
        raise OddError("mine")

    with pytest.raises(OddError, match="mine"):
        fresh().fit(X, T, batch_size=20, callbacks=[callback])
