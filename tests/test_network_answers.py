"""Every answer of a network is the one of plain NumPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from numpy_mlp import (
    DTYPES,
    OUTPUTS,
    OUTPUTS_AND_LOSSES,
    NumpyMLP,
    assert_same_answers,
    bits_of,
    inputs,
    targets,
)

import fastnn
from fastnn.compiler import runtime
from fastnn.kernels.activations import ACTIVATIONS


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("output", "loss"), OUTPUTS_AND_LOSSES)
def test_answers_are_those_of_numpy(output, loss, activation, dtype, rng):
    net = fastnn.MLP([6, 9, 5, 3], activation, output, loss, "he", dtype, seed=1, bias_init=0.3)
    assert_same_answers(net, inputs(rng, 11, 6), targets(rng, net, 11))


# One more and one less than the blocks of the kernels: vectors, tiles, panels, blocks of rows.
SIZES = [
    ([1, 1], 1),
    ([1, 1, 1], 2),
    ([3, 15, 1], 97),
    ([31, 17, 16], 7),
    ([33, 33, 2], 96),
    ([97, 64, 10], 193),
    ([99, 65, 31, 33], 9),
    ([257, 260, 12], 40),
    ([40, 300, 70], 30),
    ([5, 3, 600], 12),
    ([2, 8, 8, 8, 8, 8, 8, 2], 20),
]


@pytest.mark.usefixtures("both_builds")
@pytest.mark.parametrize("nonzeros", [1.0, 0.2])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("sizes", "rows"), SIZES)
def test_answers_are_those_of_numpy_at_every_size(sizes, rows, dtype, nonzeros, rng):
    net = fastnn.MLP(sizes, "tanh", weight_init="xavier", dtype=dtype, seed=1, bias_init=0.3)
    assert_same_answers(net, inputs(rng, rows, sizes[0], nonzeros), targets(rng, net, rows))


@settings(max_examples=50)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=2, max_size=5),
    rows=st.integers(1, 30),
    kind=st.sampled_from(OUTPUTS_AND_LOSSES),
    nonzeros=st.sampled_from([0.0, 0.1, 0.39, 0.5, 1.0]),
    parallel=st.booleans(),
    data=st.data(),
)
def test_answers_are_those_of_numpy_for_any_network(sizes, rows, kind, nonzeros, parallel, data):
    rng = np.random.default_rng(rows)
    hidden = len(sizes) - 2
    activations = data.draw(
        st.lists(st.sampled_from(list(ACTIVATIONS)), min_size=hidden, max_size=hidden)
    )
    net = fastnn.MLP(sizes, activations, *kind, "he", "float64", seed=2, bias_init=0.5)
    with runtime.forced(parallel=parallel):
        assert_same_answers(net, inputs(rng, rows, sizes[0], nonzeros), targets(rng, net, rows))


def gradient_check(net, x, t):
    """Largest difference of backpropagation and central differences."""
    numerical = net.numerical_gradient(x, t, h=1e-5)
    return max(np.abs(net.gradient(x, t)[name] - numerical[name]).max() for name in net.params)


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("output", "loss"), OUTPUTS_AND_LOSSES)
def test_backpropagation_is_the_numerical_gradient(output, loss, activation, depth, rng):
    sizes = [5, 4, 6, 4][:depth] + [3]
    net = fastnn.MLP(sizes, activation, output, loss, "he", "float64", seed=3, bias_init=0.5)
    x = inputs(rng, 6, 5)
    t = targets(rng, net, 6)
    assert gradient_check(net, x, t) < 1e-8
    if output == "softmax":
        assert gradient_check(net, x, np.eye(3)[t]) < 1e-8


def test_backpropagation_is_the_numerical_gradient_for_mostly_zero_inputs(rng):
    net = fastnn.MLP([40, 4, 3], "tanh", weight_init="he", dtype="float64", seed=3)
    assert gradient_check(net, inputs(rng, 9, 40, 0.1), targets(rng, net, 9)) < 1e-8


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_float32_network_has_a_float64_numerical_gradient(dtype, rng):
    net = fastnn.MLP([5, 4, 3], "sigmoid", weight_init="he", dtype=dtype, seed=3)
    x = inputs(rng, 6, 5).astype(np.float32)
    t = targets(rng, net, 6)
    before = bits_of(net)
    numerical = net.numerical_gradient(x, t)
    assert bits_of(net) == before
    assert {array.dtype for array in numerical.values()} == {np.dtype(np.float64)}
    expected = NumpyMLP(net).gradient(x, t)
    for name, array in numerical.items():
        assert_allclose(array, expected[name], atol=1e-8)


@pytest.mark.parametrize("output", OUTPUTS)
def test_large_weights_give_no_warnings(output, rng):
    net = fastnn.MLP([4, 8, 3], "tanh", output, weight_init=1e4, seed=0)
    x = inputs(rng, 5, 4)
    assert np.isfinite(net.predict(x)).all()
    assert np.isfinite(net.loss(x, targets(rng, net, 5)))


@pytest.mark.parametrize("output", OUTPUTS)
def test_the_loss_of_infinite_weights_is_told_as_it_is(output, rng):
    net = fastnn.MLP([4, 8, 3], output=output, weight_init=1e30, seed=0)
    assert not np.isfinite(net.loss(inputs(rng, 5, 4), targets(rng, net, 5)))


# ---- accuracy


def test_accuracy_is_the_share_of_the_most_probable_labels(rng):
    net = fastnn.MLP([5, 8, 3], weight_init="he", seed=0)
    x, t = inputs(rng, 50, 5), rng.integers(0, 3, 50)
    assert net.accuracy(x, t) == np.mean(net.predict(x).argmax(axis=1) == t)


def test_accuracy_of_sigmoid_outputs_counts_rows_that_are_right_in_all(rng):
    net = fastnn.MLP([5, 8, 2], output="sigmoid", weight_init="he", seed=0)
    x, t = inputs(rng, 50, 5), rng.integers(0, 2, (50, 2))
    assert net.accuracy(x, t) == np.mean(((net.predict(x) > 0.5) == t).all(axis=1))


def test_accuracy_of_real_outputs_is_refused():
    with pytest.raises(ValueError, match="accuracy needs classes, but the output is 'identity'"):
        fastnn.MLP([1, 1], output="identity").accuracy([[1]], [1])


# Sums over very many rows, and numbers that are not finite ---------------------------------


@pytest.mark.parametrize(
    ("inputs", "nonzeros", "rows", "near"), [(1, 1.0, 300_000, 3e-4), (40, 0.3, 600_000, 5e-5)]
)
def test_gradients_over_many_rows_are_right_in_float32(inputs, nonzeros, rows, near):
    """Equal terms are rounded to the same side: in one chain they were off by two to ten times."""
    x = np.ones((rows, inputs), np.float32)
    x *= np.random.default_rng(0).random(x.shape) < nonzeros
    single = fastnn.MLP([inputs, 1], output="identity", weight_init=0.0)
    single.params["W1"][...] = 0.1
    t, double = np.zeros(rows), fastnn.MLP([inputs, 1], output="identity", dtype="float64")
    double.params.update(single.params)
    found, right = single.gradient(x, t), double.gradient(x, t)
    for name, gradient in right.items():
        np.testing.assert_allclose(found[name], gradient, rtol=near)


def test_a_gradient_where_the_loss_is_not_finite_is_not_zero():
    net = fastnn.MLP([1, 1], output="identity", weight_init=0.0)
    assert net.loss([[1.0]], [2e19]) == np.inf
    np.testing.assert_allclose(net.gradient([[1.0]], [2e19])["W1"], -2e19, rtol=1e-6)
    net.params["W1"][...] = np.nan
    assert np.isnan(net.gradient([[1.0]], [1.0])["W1"]).all()


@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
def test_outputs_that_are_not_numbers_are_never_right(output):
    net = fastnn.MLP([2, 3], output=output, seed=0)
    net.params["W1"][...] = np.nan
    for target in ([0, 0], [1, 1]):
        t = target if output == "softmax" else np.repeat(target, 3).reshape(2, 3)
        assert net.accuracy(np.ones((2, 2)), t) == 0
