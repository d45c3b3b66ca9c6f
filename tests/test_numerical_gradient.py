"""Numerical gradients: the compiled differences against evaluating everything anew."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import at_a_terminal
import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from numpy_mlp import OUTPUTS, OUTPUTS_AND_LOSSES, bits, inputs, targets

import fastnn
from fastnn import differences_of_functions, finite_difference
from fastnn.compiler import runtime
from fastnn.kernels.activations import ACTIVATIONS
from fastnn.kernels.differences import CHANGES
from fastnn.training import evaluation, pace

# Both round losses of about 1 and divide the difference by 2e-4.
NOISE = 2e-10


def problem(sizes=(7, 5, 4), activation="tanh", rows=6, nonzeros=0.6, seed=0, **options):
    net = fastnn.MLP(sizes, activation, weight_init=0.5, bias_init=0.3, seed=seed,
                     dtype="float64", **options)  # fmt: skip
    rng = np.random.default_rng(seed)
    return net, inputs(rng, rows, sizes[0], nonzeros), targets(rng, net, rows)


def brute_force(net, x, t, h):
    """Differences by evaluating the whole network anew for every change."""
    return {
        name: differences_of_functions.plain(lambda _: net.loss(x, t), view, h)
        for name, view in net.params.items()
    }


def assert_same_as_brute_force(net, x, t, h=1e-4):
    found, expected = net.numerical_gradient(x, t, h), brute_force(net, x, t, h)
    assert list(found) == list(expected)
    for name, gradient in found.items():
        assert gradient.shape == net.params[name].shape
        assert_allclose(gradient, expected[name], rtol=0, atol=NOISE * 1e-4 / h)


@pytest.mark.usefixtures("both_builds")
@pytest.mark.parametrize(("output", "loss"), OUTPUTS_AND_LOSSES)
@pytest.mark.parametrize("sizes", [(3, 4), (7, 5, 4), (5, 3, 9, 4), (4, 6, 2, 7, 3)])
def test_every_loss_and_depth(sizes, output, loss):
    assert_same_as_brute_force(*problem(sizes, output=output, loss=loss))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation(activation):
    assert_same_as_brute_force(*problem((6, 8, 5, 3), activation))


@pytest.mark.usefixtures("both_builds")
@pytest.mark.parametrize("sizes", [(3, 4), (7, 5, 4), (5, 3, 9, 4)])
@pytest.mark.parametrize("added", [1e-7, 0.1])
def test_a_number_can_be_added_to_the_probability_in_the_logarithm(added, sizes):
    net, x, t = problem(sizes)
    wanted = net._model.examples(x, t).wanted
    found = finite_difference.gradient(net.params, net._model.loss, x, wanted, 1e-4, added)
    for name, array in net.params.items():
        expected = fastnn.numerical_gradient(
            lambda _: -np.log(net.predict(x)[np.arange(len(t)), t] + added).mean(), array
        )
        assert_allclose(found[name], expected, rtol=0, atol=NOISE)


@settings(max_examples=30)
@given(data=st.data())
def test_any_network(data):
    sizes = data.draw(st.lists(st.integers(1, 20), min_size=2, max_size=5))
    net, x, t = problem(
        sizes,
        data.draw(st.sampled_from(sorted(ACTIVATIONS))),
        rows=data.draw(st.integers(1, 9)),
        nonzeros=data.draw(st.sampled_from([0, 0.3, 1])),
        seed=data.draw(st.integers(0, 99)),
        output=data.draw(st.sampled_from(OUTPUTS)),
    )
    assert_same_as_brute_force(net, x, t, data.draw(st.sampled_from([1e-4, 1e-3])))


@pytest.mark.parametrize("hidden", [CHANGES - 1, CHANGES, CHANGES + 1, 2 * CHANGES + 1])
def test_more_units_than_go_together(hidden):
    assert_same_as_brute_force(*problem((3, hidden, 4, 2), rows=2, nonzeros=1))


@pytest.mark.parametrize("rows", [1, 127, 128, 129, 300])
def test_more_rows_than_are_kept(rows):
    assert_same_as_brute_force(*problem((2, 3, 2), rows=rows, nonzeros=0.9))


def test_pieces_and_threads_do_not_change_the_bits(monkeypatch):
    net, x, t = problem((30, 20, 10, 3), rows=40)
    found = []
    for parallel, work in ((False, 1e12), (True, 1e12), (True, 1)):
        monkeypatch.setattr(evaluation, "EVALUATION_WORK", work)
        with runtime.forced(parallel):
            found.append(bits(*net.numerical_gradient(x, t).values()))
    assert found[0] == found[1] == found[2]


def test_it_agrees_with_backpropagation_on_images():
    (x, t), _ = fastnn.datasets.load_mnist()
    net = fastnn.MLP([784, 50, 10], "relu", dtype="float64", seed=0)
    numerical, exact = net.numerical_gradient(x[:3], t[:3]), net.gradient(x[:3], t[:3])
    for name, gradient in exact.items():
        assert np.abs(numerical[name] - gradient).mean() < 1e-8
        assert np.abs(gradient).max() > 1e-3


def test_one_hot_labels_and_numbers_are_the_same():
    net, x, t = problem()
    found = [net.numerical_gradient(x, wanted) for wanted in (t, np.eye(4)[t])]
    assert bits(*found[0].values()) == bits(*found[1].values())


def test_the_network_and_the_data_stay_as_they_are():
    net, x, t = problem()
    before = bits(*net.params.values(), x, t)
    net.numerical_gradient(x, t)
    assert bits(*net.params.values(), x, t) == before


def test_not_a_number_comes_through():
    net, x, t = problem()
    net.params["W2"][0, 0] = np.nan
    assert np.isnan(net.numerical_gradient(x, t)["W1"]).any()


# ---- of a function


def square(x):
    return np.sum(x**2)


@pytest.mark.parametrize("shape", [(), (1,), (5,), (3, 4), (2, 0), (2, 3, 2)])
@pytest.mark.parametrize("f", [square, numba.njit(square)])
def test_gradients_of_a_function_have_the_shape_of_its_argument(f, shape):
    if shape == () and f is not square:
        f = numba.njit(lambda x: x[()] ** 2)
    x = np.asarray(np.random.default_rng(0).normal(size=shape))
    kept = x.copy()
    found = fastnn.numerical_gradient(f, x)
    assert found.shape == shape
    assert_allclose(found, 2 * x, rtol=0, atol=1e-9)
    assert (x == kept).all()


@pytest.mark.parametrize("f", [square, numba.njit(square)])
def test_rows_that_are_not_contiguous(f):
    x = np.arange(12.0).reshape(4, 3)
    for view in (x.T, x[::2], x[:, ::-1]):
        assert_allclose(fastnn.numerical_gradient(f, view), 2 * view, rtol=0, atol=1e-6)


def test_a_function_may_look_at_the_array_that_it_shares():
    net = {"W": np.array([[1.0, 2.0], [3.0, 4.0]])}
    found = fastnn.numerical_gradient(lambda _: square(net["W"]), net["W"])
    assert_allclose(found, 2 * net["W"], rtol=0, atol=1e-7)


def test_a_compiled_function_is_shared_between_threads(monkeypatch):
    monkeypatch.setattr(runtime, "most_chunks", lambda work: 3)
    x = np.random.default_rng(0).normal(size=1000)
    f = numba.njit(square)
    assert_allclose(fastnn.numerical_gradient(f, x), 2 * x, rtol=0, atol=1e-6)
    assert threading.active_count() < 10


@pytest.mark.parametrize("compiled", [False, True])
def test_the_error_of_a_function_comes_through_and_its_argument_is_restored(compiled):
    def f(x):
        if x[2] > 3:
            raise ArithmeticError("too large")
        return x[0]

    x = np.array([1.0, 2.0, 3.0])
    with pytest.raises(ArithmeticError, match="too large"):
        fastnn.numerical_gradient(numba.njit(f) if compiled else f, x)
    assert (x == [1.0, 2.0, 3.0]).all()


@pytest.mark.parametrize(
    ("f", "x", "h", "error", "text"),
    [
        (3, np.ones(2), 1e-4, TypeError, "f must be callable"),
        (square, [1.0, 2.0], 1e-4, TypeError, "x must be a NumPy array"),
        (square, np.array([3, 4]), 1e-4, TypeError, "x must hold float64 or float32, got .*int"),
        (square, np.ones(2), 0, ValueError, "h must be .* above 0"),
        (square, np.broadcast_to(1.0, 3), 1e-4, ValueError, "x must be writable"),
        (lambda x: None, np.ones(2), 1e-4, TypeError, "f must return a number, got None"),
        (lambda x: x, np.ones(2), 1e-4, TypeError, "f must return a number, got array"),
        (numba.njit(lambda x: x), np.ones(2), 1e-4, TypeError, "f must return a number, got"),
    ],
)
def test_bad_arguments_are_refused_by_name(f, x, h, error, text):
    with pytest.raises(error, match=text):
        fastnn.numerical_gradient(f, x, h)


@pytest.mark.parametrize("threads", [1, 3])
def test_a_function_of_uneven_cost_is_cut_into_pieces(threads, monkeypatch):
    """Each element once, whatever the pieces."""
    monkeypatch.setattr(runtime, "most_chunks", lambda work: threads)
    monkeypatch.setattr(pace, "CALL_SECONDS", 1e-5)
    x = np.random.default_rng(0).normal(size=5000)
    assert_allclose(fastnn.numerical_gradient(numba.njit(square), x), 2 * x, rtol=0, atol=1e-5)


@numba.njit
def slow(x):
    """About a millisecond."""
    total = 0.0
    for i in range(1_000_000):
        total += np.sqrt(x[i % x.size] ** 2)
    return total


def interrupted_gradient():
    """Ask for a gradient that takes a minute; say when Ctrl-C was noticed."""
    at_a_terminal.hear_signals()
    fastnn.numerical_gradient(slow, np.ones(2))
    x = np.ones(30_000)
    print("ready", flush=True)  # noqa: T201
    try:
        fastnn.numerical_gradient(slow, x)
    except KeyboardInterrupt:
        print(time.monotonic(), threading.active_count(), flush=True)  # noqa: T201


@pytest.mark.skipif(os.name != "posix", reason="signals are sent as POSIX has them")
@pytest.mark.parametrize("threads", ["1", "2"])
def test_ctrl_c_is_noticed_within_a_second(threads):
    path = os.pathsep.join([str(Path(fastnn.__file__).parents[1]), str(Path(__file__).parent)])
    process = subprocess.Popen(
        [sys.executable, "-c", "import test_numerical_gradient as t; t.interrupted_gradient()"],
        env=os.environ | {"PYTHONPATH": path, "FASTNN_NUM_THREADS": threads},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    watchdog = threading.Timer(60, process.kill)
    watchdog.start()
    try:
        assert process.stdout.readline() == "ready\n", process.stderr.read()
        time.sleep(1)  # time for the pieces to grow
        sent = time.monotonic()
        process.send_signal(signal.SIGINT)
        line = process.stdout.readline()
        assert line, process.stderr.read()
    finally:
        watchdog.cancel()
        process.kill()
        process.communicate()
    noticed, alive = line.split()
    assert float(noticed) - sent < 1
    assert alive == "1"


def test_a_function_that_numba_leaves_to_python_is_one_of_python():
    f = numba.jit(forceobj=True)(square)
    x = np.array([3.0, 4.0])
    assert_allclose(fastnn.numerical_gradient(f, x), [6, 8], rtol=0, atol=1e-6)


# Precision: a step that vanishes gives a difference of 0, and so a slope of 0, without a word.


@numba.njit
def squares(x):
    return (x**2).sum()


@numba.njit("f4(f4[:])")
def squares_in_float32_only(x):
    return (x**2).sum()


@pytest.mark.parametrize("f", [lambda x: (x**2).sum(), squares])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("x", [[3000, 4], [-3000, 4], [2e4, -1e3], [0, 1e-3]])
def test_slopes_are_right_where_the_step_vanishes_beside_the_number(f, dtype, x):
    x = np.array(x, dtype)
    before = x.copy()
    found = fastnn.numerical_gradient(f, x)
    assert found.dtype == x.dtype
    assert_allclose(found, 2 * x.astype(float), rtol=1e-4, atol=1e-6)
    assert bits(x) == bits(before)


def test_a_function_that_looks_at_the_array_it_shares_sees_the_same_points():
    x = np.array([3000, 4], "f4")
    found = fastnn.numerical_gradient(lambda _: (x.astype(float) ** 2).sum(), x)
    assert_allclose(found, [6000, 8], rtol=1e-6)
    asked = []
    fastnn.numerical_gradient(lambda given: asked.append((given == x).all()) or 0.0, x)
    assert all(asked)


def test_a_compiled_function_of_float32_only():
    x = np.array([3, 4], "f4")
    assert_allclose(fastnn.numerical_gradient(squares_in_float32_only, x), [6, 8], rtol=0.02)


@pytest.mark.parametrize("f", [lambda x: x.sum(), numba.njit(lambda x: x.sum())])
def test_a_step_is_as_long_as_it_is_in_memory(f):
    """1e12 + 1e-4 is 1e12 + 0.00012, which is a fifth more."""
    assert fastnn.numerical_gradient(f, np.array([1e12]))[0] == 1
    assert fastnn.numerical_gradient(f, np.array([1e20]))[0] == 1


@pytest.mark.parametrize("compiled", [False, True])
def test_numbers_of_any_type_are_subtracted_without_wrapping_around(compiled):
    functions = [
        (lambda x: np.uint8(200) if x[0] < 3 else np.uint8(100), -5e5),
        (lambda x: x[0] > 3, 5e3),
        (lambda x: np.int8(100) if x[0] > 3 else np.int8(-100), 1e6),
    ]
    for f, slope in functions:
        found = fastnn.numerical_gradient(numba.njit(f) if compiled else f, np.array([3.0]))
        assert_allclose(found, slope, rtol=1e-6)


def test_masked_numbers_are_refused():
    x = np.ma.array([3.0, 4.0], mask=[False, True])
    for f in (squares, lambda x: (x**2).sum()):
        with pytest.raises(ValueError, match=r"x must have no masked values, got one at x\[1\]"):
            fastnn.numerical_gradient(f, x)
    with pytest.raises(TypeError, match="f must return a number, got masked"):
        fastnn.numerical_gradient(lambda x: np.ma.masked, np.ones(2))


def test_compiled_functions_see_points_that_float32_has():
    x = np.array([3e12], "f4")
    assert_allclose(fastnn.numerical_gradient(squares, x), 6e12, rtol=1e-6)
