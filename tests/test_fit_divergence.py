"""Training whose loss does not stay finite."""

import numpy as np
import pytest
from numpy_mlp import bits, bits_of
from small_fits import batch_table, problem

import fastnn
from fastnn.training import pace, way_back

TOO_FAST = fastnn.SGD(5.0)


def divergent(**options):
    """A fit whose loss grows until it is infinite."""
    net, x, t = problem(output="identity", **options)
    return net, x, t, batch_table(400, 8)


def diverge(net, x, t, table, **options):
    with pytest.raises(FloatingPointError) as caught:
        net.fit(x, t, batches=table, optimizer=TOO_FAST, **options)
    return caught.value


@pytest.mark.usefixtures("both_builds")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_loss_that_is_not_finite_is_an_error_with_the_history(dtype):
    error = diverge(*divergent(dtype=dtype))
    history = error.history
    assert 1 < history.steps < 400
    assert np.isfinite(history.loss[:-1]).all()
    assert not np.isfinite(history.loss[-1])
    assert history.stop_reason == "diverged"
    assert f"at step {history.steps};" in str(error)


@pytest.mark.usefixtures("both_builds")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_after_divergence_the_network_has_the_last_weights_whose_loss_was_finite(dtype):
    net, x, t, table = divergent(dtype=dtype)
    history = diverge(net, x, t, table).history
    finite = history.steps - 1
    stopped, *_ = divergent(dtype=dtype)
    stopped.fit(x, t, batches=table[: finite - 1], optimizer=TOO_FAST)
    assert bits_of(net) == bits_of(stopped)
    last = table[finite - 1]
    assert net.loss(x[last], t[last]) == history.loss[-2]


@pytest.mark.parametrize("share", [1e-9, 1e9])
@pytest.mark.parametrize("seconds", [1e-9, 0.002, 0.05, 1e3])
@pytest.mark.parametrize("every", [1, 2, 7, None])
def test_after_divergence_the_network_is_the_same_whatever_the_timing(
    seconds, every, share, monkeypatch
):
    net, x, t, table = divergent()
    expected = diverge(net, x, t, table).history
    monkeypatch.setattr(pace, "CALL_SECONDS", seconds)
    monkeypatch.setattr(way_back, "COPY_SHARE", share)
    again, *_ = divergent()
    history = diverge(again, x, t, table, evaluate_every=every).history
    assert bits_of(again) == bits_of(net)
    assert bits(history.loss) == bits(expected.loss)


def test_training_goes_on_after_divergence():
    net, x, t, table = divergent()
    diverge(net, x, t, table)
    with pytest.raises(FloatingPointError):
        net.fit(x, t, batches=table, optimizer=TOO_FAST)
    net.params.update({name: 0.01 * np.ones(view.shape) for name, view in net.params.items()})
    assert np.isfinite(net.fit(x, t, batches=table, optimizer=fastnn.SGD(1e-3)).loss).all()


@pytest.mark.parametrize("weight", [1e30, np.inf, np.nan])
def test_weights_that_are_too_large_from_the_start_stay_as_they_are(weight):
    net, x, t, table = divergent()
    net.params["W2"][...] = weight
    before = bits_of(net)
    error = diverge(net, x, t, table)
    assert bits_of(net) == before
    assert error.history.steps == 1


def test_the_last_update_of_a_fit_is_watched_too():
    """No later loss would tell that this update has made the weights infinite."""
    net, x, t = problem(output="identity")
    before = bits_of(net)
    with pytest.raises(FloatingPointError):
        net.fit(x, 1e10 * t, iterations=1, batch_size=60, optimizer=fastnn.SGD(1e36))
    assert bits_of(net) == before
