"""Networks of images: outputs, losses and gradients, against NumPy and against differences."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_reference import outputs_of
from numpy.testing import assert_allclose
from numpy_convnet import NETWORKS, NumpyConvNet, assert_same_answers, images, made
from numpy_mlp import DTYPES, OUTPUTS_AND_LOSSES, assert_close, bits, inputs

import fastnn
from fastnn.compiler import runtime
from fastnn.kernels.activations import ACTIVATIONS
from fastnn.kernels.groups import GRADIENT
from fastnn.training import steps

each_network = pytest.mark.parametrize("name", NETWORKS)
each_dtype = pytest.mark.parametrize("dtype", DTYPES)


@each_network
@each_dtype
@pytest.mark.parametrize("rows", [1, 3, 8, 16, 37, 300])
def test_answers_are_those_of_numpy(rows, dtype, name):
    net = made(name, dtype=dtype)
    assert_same_answers(net, *images(net, rows))


@st.composite
def chains(draw):
    """An input shape, and any layers of images that make sense of it."""

    def pair(least, most):
        return tuple(draw(st.integers(least, max(most, least))) for _ in range(2))

    # Lines of one pixel, which have the most room for vectors, in half of them.
    width = draw(st.just(1) | st.integers(1, 12))
    shape = draw(st.integers(1, 3)), draw(st.integers(1, 12)), width
    size, layers = shape[1:], []
    for _ in range(draw(st.integers(0, 4))):
        if draw(st.booleans()):
            pad = pair(0, 3)
            room = [n + 2 * p for n, p in zip(size, pad, strict=True)]
            filters = tuple(min(f, n) for f, n in zip(pair(1, 4), room, strict=True))
            strides = draw(st.sampled_from([(1, 1), pair(1, 3)]))
            layers.append(fastnn.Conv(draw(st.integers(1, 8)), filters, strides, pad))
        else:
            pad, room = (0, 0), size
            window = tuple(min(f, n) for f, n in zip(pair(1, 3), room, strict=True))
            layers.append(fastnn.MaxPool(window, pair(1, 3)))
        size = outputs_of(size, layers[-1].size, layers[-1].stride, pad)
    dense = [fastnn.Dense(draw(st.integers(1, 20))) for _ in range(draw(st.integers(0, 1)))]
    return shape, [*layers, *dense, fastnn.Dense(3)]


@settings(max_examples=100)
@given(chain=chains(), rows=st.integers(1, 70), dtype=st.sampled_from(DTYPES))
def test_answers_of_any_network(chain, rows, dtype):
    net = fastnn.ConvNet(*chain, "tanh", dtype=dtype, seed=0, bias_init=0.1)
    assert_same_answers(net, *images(net, rows))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@each_dtype
def test_every_activation_of_filters_and_units(activation, dtype):
    for name in ("like LeNet", "filters on filters", "strides"):
        net = made(name, activation, dtype)
        assert_same_answers(net, *images(net, 21))


def test_layers_may_have_activations_of_their_own():
    shape, layers = NETWORKS["filters on filters"]
    layers = [fastnn.Dense(4), layers[-1]]
    for each in ACTIVATIONS:
        convs = [fastnn.Conv(3, 2, activation=each), fastnn.Conv(2, 2)]
        dense = [replace(layers[0], activation=each), layers[1]]
        net = fastnn.ConvNet(shape, convs + dense, "softplus", dtype="float64", seed=0)
        assert_same_answers(net, *images(net, 9))


@pytest.mark.parametrize(("output", "loss"), OUTPUTS_AND_LOSSES)
@each_dtype
def test_every_loss(output, loss, dtype):
    net = made("strides", dtype=dtype, output=output, loss=loss)
    x, t = images(net, 40)
    assert_same_answers(net, x, t if output != "identity" else np.round(3 * t))


@each_network
def test_gradients_are_those_of_differences(name):
    net = made(name)
    x, t = images(net, 5)
    numerical = net.numerical_gradient(x, t, h=1e-5)
    for key, found in net.gradient(x, t).items():
        assert_allclose(found, numerical[key], 1e-6, 1e-9)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_of_every_activation_are_those_of_differences(activation):
    """No z is so near 0 that the jump of a slope would show."""
    net = made("strides", activation)
    x, t = images(net, 6)
    numerical = net.numerical_gradient(x, t, h=1e-6)
    for key, found in net.gradient(x, t).items():
        assert_allclose(found, numerical[key], 1e-5, 1e-8)


def test_ties_are_broken_as_by_numpy():
    """Of images of few numbers, most windows have more than one largest pixel."""
    for name in ("pool on the input", "overlapping pools", "like LeNet"):
        net = made(name, "relu")
        x, t = images(net, 30)
        assert_same_answers(net, np.round(x), t)


def test_images_of_nothing_give_what_biases_say():
    net = made("pads beyond filters", output="identity")
    x, t = images(net, 20)
    assert_same_answers(net, 0 * x, t)


# Dropout -----------------------------------------------------------------------------------


@each_dtype
@pytest.mark.usefixtures("both_builds")
@pytest.mark.parametrize("name", ["dropout", "dropout and pools"])
@pytest.mark.parametrize("rows", [1, 16, 50])
def test_a_step_with_dropout_is_that_of_the_same_masks(rows, name, dtype):
    net = made(name, dtype=dtype)
    x, t = images(net, rows)
    twin, seed = NumpyConvNet(net), 11
    salt = int(np.random.default_rng(seed).integers(1 << 31))
    loss, gradient = twin.loss_and_gradient(x, t, salt)
    plain, _ = twin.loss_and_gradient(x, t)
    history = net.fit(x, t, batches=[range(rows)], optimizer=fastnn.SGD(0.5), seed=seed)
    assert_close(history.loss, [loss], dtype)
    assert abs(loss - plain) > 1e-3  # or nothing is tested
    for key, value in net.params.items():
        assert_close(value, twin.params[key] - 0.5 * gradient[key], dtype)


def test_answers_drop_nothing_and_each_step_something_else():
    net = made("dropout")
    x, t = images(net, 40)
    assert_same_answers(net, x, t)
    losses = net.fit(x, t, batches=[range(40)] * 6, optimizer=fastnn.SGD(1e-30)).loss
    assert len(set(losses)) == 6


# Memory ------------------------------------------------------------------------------------

SLACK = 5000


class Poisoned(steps.StepScratch):
    """Scratch of NaN, with more of it behind the end of each array."""

    made = ()

    def __init__(self, params, rows, chunks):
        super().__init__(params, rows, chunks)
        wider = {}
        for name in ("values", "deltas", "work"):
            before = getattr(self.arrays, name)
            shape = *before.shape[:-1], before.shape[-1] + SLACK
            wider[name] = np.full(shape, np.nan, before.dtype)
        wider["work"][:, : int(GRADIENT)] = 0  # zeros to start sums from
        self.arrays = self.arrays._replace(**wider)
        type(self).made = (*self.made, self)

    def assert_clean(self):
        for name in ("values", "deltas", "work"):
            array = getattr(self.arrays, name)
            assert np.isnan(array[..., -SLACK:]).all(), f"{name} was written beyond its end"
        assert not self.arrays.work[:, : int(GRADIENT)].any()


@each_network
@each_dtype
@pytest.mark.parametrize("rows", [7, 100])
def test_what_is_in_memory_when_a_step_begins_means_nothing(rows, dtype, name, monkeypatch):
    found = []
    for poisoned in (False, True):
        if poisoned:
            monkeypatch.setattr(Poisoned, "made", ())
            monkeypatch.setattr(steps, "StepScratch", Poisoned)
        net = made(name, dtype=dtype)
        x, t = images(net, rows)
        examples = net._model.examples(x, t)
        with runtime.forced(parallel=True):
            rule = fastnn.SGD(0.1).rule(net.dtype)
            job = steps.Steps(net.params, net._model.loss, examples, rows, rule,
                              np.empty(0, net.dtype), net._model.dropout)  # fmt: skip
            index, begin = np.tile(np.arange(rows), 2), np.array([0, rows, 2 * rows])
            _, losses = job.run(index, begin, np.full(2, 0.1, dtype), salt=5)
        found.append(bits(losses, *net.params.values()))
    assert found[1] == found[0]
    assert Poisoned.made
    for scratch in Poisoned.made:
        scratch.assert_clean()


# What is the same ---------------------------------------------------------------------------


def test_a_network_of_dense_layers_is_an_mlp():
    shape = 2, 3, 4
    net = fastnn.ConvNet(shape, [fastnn.Dense(5), fastnn.Dense(3)], "tanh", seed=0)
    mlp = fastnn.MLP([24, 5, 3], "tanh", weight_init="he", seed=0)
    x = inputs(np.random.default_rng(0), 40, 24)
    assert bits(net.predict(x)) == bits(mlp.predict(x))
    t = np.arange(40) % 3
    gradients = net.gradient(x, t), mlp.gradient(x, t)
    for found, expected in zip(*map(dict.values, gradients), strict=True):
        assert_close(found, expected, "float32")


def test_filters_of_one_pixel_are_a_dense_layer_of_each_pixel():
    net = fastnn.ConvNet((3, 1, 1), [fastnn.Conv(5, 1), fastnn.Dense(2)], seed=0)
    mlp = fastnn.MLP([3, 5, 2], seed=0)
    for key, value in net.params.items():
        mlp.params[key] = value.reshape(5, 3).T if key == "W1" else value
    x = inputs(np.random.default_rng(0), 40, 3)
    assert bits(net.predict(x)) == bits(mlp.predict(x))
