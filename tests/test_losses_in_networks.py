"""Networks whose outputs and losses are freely paired, and losses with numbers of their own."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpy_mlp import bits, bits_of
from test_elementwise_losses import OWN, targets_for

import fastnn
from fastnn.compiler import runtime
from fastnn.kernels.elementwise_losses import PAIRS
from fastnn.losses import Huber, Quantile

each_pair = pytest.mark.parametrize(
    "pair", [pair for pair in PAIRS if pair not in OWN], ids=":".join
)


def made(pair, outputs=3, dtype="float64"):
    output, loss = pair
    described = {"huber": Huber(0.7), "quantile": Quantile([0.2, 0.5, 0.9][:outputs])}
    loss = described.get(loss, loss)
    options = {"output": output, "loss": loss, "weight_init": 0.8, "dtype": dtype, "seed": 0}
    return fastnn.MLP([5, 7, outputs], "tanh", **options)


def data(pair, rng, rows=40, outputs=3):
    return rng.normal(size=(rows, 5)), targets_for(rng, pair, (rows, outputs), np.float64)


@each_pair
def test_gradients_are_those_of_differences(pair, rng):
    net, (x, t) = made(pair), data(pair, rng)
    expected = net.numerical_gradient(x, t, h=1e-6)
    for name, found in net.gradient(x, t).items():
        assert_allclose(found, expected[name], 0, 1e-6, err_msg=name)


@each_pair
@pytest.mark.parametrize("batch", [1, 7, 40])
def test_a_fit_has_the_same_bits_with_threads_and_step_by_step(pair, batch, rng):
    x, t = data(pair, rng)
    table, adam, found = rng.integers(0, 40, (12, batch)), fastnn.Adam(0.01), []
    for parallel in (False, True):
        with runtime.forced(parallel=parallel):
            net = made(pair, dtype="float32")
            history = net.fit(x, t, batches=table, optimizer=adam)
            found.append((bits_of(net), bits(history.loss)))
    steps = made(pair, dtype="float32")
    losses = [steps.train_step(x[rows], t[rows], adam) for rows in table]
    assert found[0] == found[1] == (bits_of(steps), bits(np.array(losses)))


@each_pair
def test_networks_are_kept_with_their_loss(pair, rng, tmp_path):
    net, (x, t) = made(pair), data(pair, rng)
    net.save(tmp_path / "net")
    again = eval(repr(net), {"MLP": fastnn.MLP, "Huber": Huber, "Quantile": Quantile})
    again.params.update(net.params)
    for other in (pickle.loads(pickle.dumps(net)), fastnn.load(tmp_path / "net"), again):
        assert other.loss(x, t) == net.loss(x, t)
        assert (repr(other), other.loss_name) == (repr(net), pair[1])


def test_numbers_of_a_loss_count(rng):
    x, t = data(("identity", "huber"), rng)
    losses = [
        fastnn.MLP([5, 3], output="identity", loss=loss, dtype="float64", seed=0).loss(x, t)
        for loss in ("huber", Huber(), Huber(2), "quantile", Quantile(), Quantile(0.9))
    ]
    assert losses[0] == losses[1] != losses[2]
    assert losses[3] == losses[4] != losses[5]


def test_quantiles_are_found(rng):
    x, q = np.zeros((1001, 1)), (0.1, 0.5, 0.75)
    t = rng.exponential(size=(1001, 1)) @ np.ones((1, 3))
    net = fastnn.MLP([1, 3], output="identity", loss=Quantile(q), dtype="float64", seed=0)
    net.fit(x, t, iterations=3000, batch_size=1001, optimizer=fastnn.SGD(0.05))
    assert_allclose(net.predict(x)[0], np.quantile(t[:, 0], q), 0, 0.02)


@pytest.mark.parametrize("output", ["sigmoid", "tanh", "identity", "softplus", "softmax"])
def test_networks_of_images_have_them_too(output, rng):
    layers = [fastnn.Conv(3, 2), fastnn.MaxPool(2), fastnn.Dense(2)]
    options = {"output": output, "dtype": "float64", "activation": "tanh", "seed": 0}
    net = fastnn.ConvNet((1, 5, 5), layers, loss="mse", **options)
    x, t = rng.normal(size=(6, 1, 5, 5)), rng.random((6, 2))
    expected = net.numerical_gradient(x, t, h=1e-6)
    for name, found in net.gradient(x, t).items():
        assert_allclose(found, expected[name], 0, 1e-7, err_msg=name)
    y = net.predict(x)
    assert_allclose(net.loss(x, t), np.mean((y - t) ** 2), 1e-12)


BAD = [
    (lambda: Huber(0), ValueError, "delta must be above 0, got 0"),
    (lambda: Huber(-1), ValueError, "delta must be a finite number at least 0, got -1"),
    (lambda: Huber(np.nan), ValueError, "delta must be a finite number at least 0, got nan"),
    (lambda: Huber("1"), TypeError, "delta must be a number, got '1'"),
    (lambda: Quantile(1), ValueError, "q must be above 0 and below 1, got 1"),
    (lambda: Quantile([0.5, 0]), ValueError, r"q\[1\] must be above 0 and below 1, got 0"),
    (lambda: Quantile("a"), TypeError, "q must be a number, got 'a'"),
    (
        lambda: fastnn.MLP([1, 3], output="identity", loss=Quantile([0.1, 0.9])),
        ValueError,
        r"q must be one number, or one for each of 3 outputs, got \(0.1, 0.9\)",
    ),
]


@pytest.mark.parametrize(("call", "error", "text"), BAD)
def test_numbers_that_make_no_sense_are_refused(call, error, text):
    with pytest.raises(error, match=text):
        call()


@pytest.mark.parametrize(
    ("pair", "bad", "text"),
    [
        (("tanh", "hinge"), 2, "t must lie in -1 .. 1 for loss='hinge', got 2.0"),
        (("identity", "hinge"), -1.5, "t must lie in -1 .. 1 for loss='hinge', got -1.5"),
        (("softplus", "poisson"), -1, "t must be at least 0 for loss='poisson', got -1.0"),
    ],
)
def test_targets_that_a_loss_does_not_know_are_refused(pair, bad, text, rng):
    net, (x, t) = made(pair), data(pair, rng)
    t[3, 1] = bad
    before = bits_of(net)
    for call in (net.loss, net.gradient, net.train_step, lambda x, t: net.fit(x, t, batch_size=9)):
        with pytest.raises(ValueError, match=text):
            call(x, t)
    assert bits_of(net) == before
