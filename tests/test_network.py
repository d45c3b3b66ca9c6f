"""Networks: what they are made of, and that every answer is the one of plain NumPy."""

import copy
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from numpy_mlp import (
    ACTIVATIONS,
    OUTPUTS_AND_LOSSES,
    NumpyMLP,
    bits,
    bits_of,
    inputs,
    targets,
    unaligned,
)

import fastnn
from fastnn.compiler import runtime
from fastnn.training import evaluation
from fastnn.training.data import checked_samples
from fastnn.training.evaluation import evaluate

DTYPES = ["float32", "float64"]
# Relative to the largest number of each array: a few dozen units of the last place.
TOLERANCE = {"float32": 3e-6, "float64": 1e-14}


def assert_close(actual, expected, dtype):
    scale = max(np.abs(expected).max(), 1e-3)
    assert_allclose(actual, expected, rtol=0, atol=TOLERANCE[dtype] * scale)


def assert_same_answers(net, x, t):
    """The network's answers are those of the NumPy network."""
    reference = NumpyMLP(net)
    dtype = net.dtype.name
    x = x.astype(dtype)
    assert_close(net.predict(x), reference.predict(x), dtype)
    assert_close(net.loss(x, t), reference.loss(x, t), dtype)
    expected = reference.gradient(x, t)
    for name, gradient in net.gradient(x, t).items():
        assert_close(gradient, expected[name], dtype)


# ---- every kernel against plain NumPy


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


@pytest.mark.parametrize("output", ["softmax", "identity", "sigmoid"])
def test_large_weights_give_no_warnings(output, rng):
    net = fastnn.MLP([4, 8, 3], "tanh", output, weight_init=1e4, seed=0)
    x = inputs(rng, 5, 4)
    assert np.isfinite(net.predict(x)).all()
    assert np.isfinite(net.loss(x, targets(rng, net, 5)))


@pytest.mark.parametrize("output", ["softmax", "identity", "sigmoid"])
def test_the_loss_of_infinite_weights_is_told_as_it_is(output, rng):
    net = fastnn.MLP([4, 8, 3], output=output, weight_init=1e30, seed=0)
    assert not np.isfinite(net.loss(inputs(rng, 5, 4), targets(rng, net, 5)))


# ---- rows, zeros and forms


@settings(max_examples=50)
@given(
    width=st.sampled_from([1, 5, 31, 32, 33, 98, 99, 130]),
    hidden=st.sampled_from([1, 16, 17, 33, 65, 130]),
    rows=st.integers(1, 120),
    dtype=st.sampled_from(DTYPES),
    nonzeros=st.sampled_from([0.0, 0.05, 0.3, 0.5, 1.0]),
    parallel=st.booleans(),
    data=st.data(),
)
def test_a_row_does_not_depend_on_the_rows_beside_it(
    width, hidden, rows, dtype, nonzeros, parallel, data
):
    rng = np.random.default_rng(rows)
    net = fastnn.MLP([width, hidden, 3], "tanh", weight_init="he", dtype=dtype, seed=0)
    x = inputs(rng, rows, width, nonzeros)
    some = data.draw(st.lists(st.integers(0, rows - 1), min_size=1, max_size=20))
    with runtime.forced(parallel=parallel):
        together = net.predict(x)
        assert bits(net.predict(x[some])) == bits(together[some])
        dense_company = np.vstack([x[some], np.ones_like(x)])
        assert bits(net.predict(dense_company)[: len(some)]) == bits(together[some])
    assert bits(net.predict(x[some[:1]])[0]) == bits(together[some[0]])


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_with_negative_zeros_around_does_not_depend_on_the_rows_beside_it(dtype):
    net = fastnn.MLP([40, 2], output="identity", dtype=dtype, seed=0)
    net.params["b1"] = [-0.0, -0.0]
    x = np.zeros((9, 40))
    x[8, 0] = 1
    assert bits(net.predict(x)[:7]) == bits(net.predict(x[:7]))


@pytest.mark.parametrize("sizes", [[40, 3], [40, 5, 3]])
def test_inputs_of_nothing_but_zeros_give_the_biases(sizes):
    net = fastnn.MLP(sizes, output="identity", seed=0)
    net.params[f"b{len(sizes) - 1}"] = [1, 2, 3]
    assert_array_equal(net.predict(np.zeros((20, 40))), np.tile([1.0, 2.0, 3.0], (20, 1)))
    assert net.loss(np.zeros((20, 40)), np.tile([1.0, 2.0, 3.0], (20, 1))) == 0
    assert not net.gradient(np.zeros((20, 40)), np.zeros((20, 3)))["W1"].any()


def misleading(rng, rows, width, dense_rows):
    """Mostly zero in every fourth row, and in all that are not `dense_rows`."""
    x = inputs(rng, rows, width, 0.1)
    x[dense_rows] = inputs(rng, *x[dense_rows].shape)
    x[::4] = 0
    return x


@pytest.mark.usefixtures("both_builds")
@pytest.mark.parametrize("nonzeros", [0.36, 0.39, 0.4, 0.41, 0.44])
def test_rows_about_as_full_as_pays_give_the_same_answers(nonzeros, rng):
    net = fastnn.MLP([50, 7, 3], weight_init="he", dtype="float64", seed=0)
    assert_same_answers(net, inputs(rng, 300, 50, nonzeros), targets(rng, net, 300))


@pytest.mark.usefixtures("both_builds")
@pytest.mark.parametrize(
    "dense_rows", [slice(None), slice(500), slice(500, None), slice(1020, None), slice(1, 1)]
)
def test_rows_that_are_not_as_empty_as_the_first_looks_give_the_same_answers(dense_rows, rng):
    net = fastnn.MLP([50, 7, 3], weight_init="he", dtype="float64", seed=0)
    x = misleading(rng, 1024, 50, dense_rows)
    assert_same_answers(net, x, targets(rng, net, 1024))


@pytest.mark.usefixtures("both_builds")
@pytest.mark.parametrize("dense_rows", [slice(None), slice(500), slice(500, None), slice(1, 1)])
@pytest.mark.parametrize("at", [0, 1, 511, 512, 1023])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_no_number_that_is_not_finite_is_overlooked(value, at, dense_rows, rng):
    x = misleading(rng, 1024, 50, dense_rows)
    x[at, 49] = value
    with pytest.raises(ValueError, match=rf"x must be finite, got {value} at x\[{at}, 49\]"):
        fastnn.MLP([50, 3]).predict(x)


FORMS = {
    "a list": lambda a: a.tolist(),
    "a tuple of lists": lambda a: tuple(a.tolist()),
    "Fortran order": np.asfortranarray,
    "every second column of more": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "backwards": lambda a: a[::-1].copy()[::-1],
    "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "unaligned": unaligned,
    "the other float": lambda a: a.astype(np.float64 if a.dtype == np.float32 else np.float32),
    "long double": lambda a: a.astype(np.longdouble),
    "float16": lambda a: a.astype(np.float16),
    "int8": lambda a: a.astype(np.int8),
    "int64": lambda a: a.astype(np.int64),
    "big-endian int16": lambda a: a.astype(">i2"),
    "a subclass": lambda a: a.view(np.memmap),
}


@pytest.mark.parametrize("nonzeros", [1.0, 0.2])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", FORMS)
def test_arrays_of_any_form_give_the_same_answer(form, dtype, nonzeros, rng):
    net = fastnn.MLP([40, 5, 3], output="identity", weight_init="he", dtype=dtype, seed=0)
    x = np.rint(5 * inputs(rng, 12, 40, nonzeros)).astype(dtype)
    t = np.rint(5 * inputs(rng, 12, 3)).astype(dtype)
    change = FORMS[form]
    assert bits(net.predict(change(x))) == bits(net.predict(x))
    assert net.loss(change(x), change(t)) == net.loss(x, t)
    changed, plain = net.gradient(change(x), change(t)), net.gradient(x, t)
    assert bits(*changed.values()) == bits(*plain.values())


LABEL_FORMS = {
    "a list": lambda t: t.tolist(),
    "uint8": lambda t: t.astype(np.uint8),
    "big-endian": lambda t: t.astype(">i4"),
    "floats that are integers": lambda t: t.astype(np.float32),
    "every second of more": lambda t: np.repeat(t, 2)[::2],
    "one-hot floats": lambda t: np.eye(3)[t],
    "one-hot integers": lambda t: np.eye(3, dtype=np.uint8)[t],
    "one-hot bools": lambda t: np.eye(3, dtype=bool)[t],
    "one-hot lists": lambda t: np.eye(3)[t].tolist(),
    "one-hot in Fortran order": lambda t: np.asfortranarray(np.eye(3)[t]),
    "one-hot and read-only": lambda t: np.broadcast_to(np.eye(3), (4, 3, 3))[0][t],
}


@pytest.mark.parametrize("form", LABEL_FORMS)
def test_labels_of_any_form_give_the_same_answer(form, rng):
    net = fastnn.MLP([5, 4, 3], weight_init="he", seed=0)
    x, t = inputs(rng, 12, 5), rng.integers(0, 3, 12)
    changed = LABEL_FORMS[form](t)
    assert net.loss(x, changed) == net.loss(x, t)
    assert net.accuracy(x, changed) == net.accuracy(x, t)
    assert bits(*net.gradient(x, changed).values()) == bits(*net.gradient(x, t).values())


def test_targets_of_one_output_may_be_flat(rng):
    net = fastnn.MLP([5, 4, 1], output="identity", weight_init="he", seed=0)
    x, t = inputs(rng, 12, 5), rng.normal(size=12)
    assert net.loss(x, t) == net.loss(x, t[:, np.newaxis])


@pytest.mark.parametrize("name", ["predict", "loss", "accuracy", "gradient", "numerical_gradient"])
def test_asking_changes_neither_network_nor_data(name, rng):
    net = fastnn.MLP([5, 4, 3], weight_init="he", seed=0)
    data = [inputs(rng, 12, 5), rng.integers(0, 3, 12)][: 1 if name == "predict" else 2]
    net_before, data_before = bits_of(net), bits(*data)
    first, second = (getattr(net, name)(*data) for _ in range(2))
    assert bits_of(net) == net_before
    assert bits(*data) == data_before
    if isinstance(first, dict):
        assert not any(np.shares_memory(first[key], second[key]) for key in first)
        assert list(first) == list(net.params)
        first, second = list(first.values()), list(second.values())
        assert [a.shape for a in first] == [view.shape for view in net.params.values()]
    assert bits(*first) == bits(*second) if isinstance(first, list) else np.all(first == second)


def test_predictions_are_new_arrays_of_the_networks_dtype(rng):
    for dtype in DTYPES:
        net = fastnn.MLP([5, 4, 3], dtype=dtype, seed=0)
        y = net.predict(inputs(rng, 12, 5))
        assert (y.shape, y.dtype.name) == ((12, 3), dtype)
        assert_allclose(y.sum(axis=1), 1, rtol=1e-6)


# ---- accuracy


def test_accuracy_is_the_share_of_the_most_probable_labels(rng):
    net = fastnn.MLP([5, 8, 3], weight_init="he", seed=0)
    x, t = inputs(rng, 50, 5), rng.integers(0, 3, 50)
    assert net.accuracy(x, t) == np.mean(net.predict(x).argmax(axis=1) == t)


def outputs_by_evaluation(net, x):
    """The outputs by the kernel that measures losses too."""
    samples = checked_samples(x, net.layer_sizes[0], net.dtype)
    outputs = np.empty((len(x), net.layer_sizes[-1]), net.dtype)
    nothing = np.empty(0, np.int64), np.empty((0, 1), net.dtype)
    evaluate(net.params, net._model.loss, samples, nothing, outputs, np.empty(0))
    return outputs


@pytest.mark.usefixtures("both_builds")
@pytest.mark.parametrize("rows", [1, 2, 7, 300])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", OUTPUTS_AND_LOSSES)
def test_dense_rows_have_the_bits_that_they_have_in_an_evaluation(rows, dtype, kind, rng):
    """They take a shorter way: it must not show, in whatever array they come."""
    net = fastnn.MLP([21, 9, 70, 5], "tanh", *kind, dtype=dtype, seed=1)
    x = inputs(rng, 340, 21, 1.0).astype(dtype)
    expected = outputs_by_evaluation(net, x)[:rows]
    few = x[:rows].copy()
    read_only, doubled = few.copy(), np.repeat(few, 2, axis=1)
    read_only.flags.writeable = False
    for same in (few, few.astype(np.float64), few.tolist(), np.asfortranarray(few), read_only,
                 doubled[:, ::2], few.astype(few.dtype.newbyteorder())):  # fmt: skip
        found = net.predict(same)
        assert found.flags.owndata
        assert bits(found) == bits(expected)
    assert bits(copy.deepcopy(net).predict(few)) == bits(expected)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("rows", [3, 300])
@pytest.mark.usefixtures("both_builds")
def test_dense_rows_that_are_not_finite_are_refused(value, rows):
    net = fastnn.MLP([30, 4, 2], seed=0)
    x = np.ones((rows, 30))
    for row, column in [(0, 0), (1, 29), (rows - 1, 13)]:
        x[row, column] = value
        with pytest.raises(ValueError, match=rf"x\[{row}, {column}\]"):
            net.predict(x)
        x[row, column] = 1
        assert np.isfinite(net.predict(x)).all()


def test_dense_rows_are_predicted_in_calls_that_ctrl_c_can_wait_for(monkeypatch, rng):
    net = fastnn.MLP([21, 9, 5], seed=1)
    x = inputs(rng, 340, 21, 1.0)
    expected = net.predict(x)
    monkeypatch.setattr(evaluation, "EVALUATION_WORK", 50 * net.params.multiply_adds)
    assert bits(net.predict(x)) == bits(expected)


def test_threads_that_predict_few_rows_at_once_do_not_disturb_each_other(rng):
    net = fastnn.MLP([50, 200, 3], seed=0)
    x = inputs(rng, 64, 50, 1.0)
    expected = net.predict(x)

    def all_right(first):
        return all(
            np.array_equal(net.predict(x[r : r + n]), expected[r : r + n])
            for r in range(first, 56)
            for n in (1, 3, 7)
        )

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(all_right, range(16)))


def test_accuracy_of_sigmoid_outputs_counts_rows_that_are_right_in_all(rng):
    net = fastnn.MLP([5, 8, 2], output="sigmoid", weight_init="he", seed=0)
    x, t = inputs(rng, 50, 5), rng.integers(0, 2, (50, 2))
    assert net.accuracy(x, t) == np.mean(((net.predict(x) > 0.5) == t).all(axis=1))


def test_accuracy_of_real_outputs_is_refused():
    with pytest.raises(ValueError, match="accuracy needs classes, but the output is 'identity'"):
        fastnn.MLP([1, 1], output="identity").accuracy([[1]], [1])


# ---- what a network is made of


def test_parameters_are_named_and_shaped_as_in_the_book():
    net = fastnn.MLP([7, 5, 4, 3])
    shapes = {name: view.shape for name, view in net.params.items()}
    assert list(shapes.items()) == [
        ("W1", (7, 5)), ("b1", (5,)), ("W2", (5, 4)), ("b2", (4,)), ("W3", (4, 3)), ("b3", (3,)),
    ]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("weight_init", "deviations"),
    [
        (0.01, [0.01, 0.01]),
        (0.5, [0.5, 0.5]),
        (0, [0, 0]),
        (np.float32(2), [2, 2]),
        ("he", [(2 / 400) ** 0.5, (2 / 300) ** 0.5]),
        ("xavier", [(1 / 400) ** 0.5, (1 / 300) ** 0.5]),
    ],
)
def test_initial_weights_are_normal_and_biases_zero(weight_init, deviations, dtype):
    net = fastnn.MLP([400, 300, 200], weight_init=weight_init, dtype=dtype, seed=0)
    for layer, deviation in enumerate(deviations, start=1):
        W, b = net.params[f"W{layer}"], net.params[f"b{layer}"]
        assert W.dtype == b.dtype == np.dtype(dtype)
        assert not b.any()
        assert_allclose(W.std(), deviation, rtol=0.01)
        assert abs(W.mean()) <= 0.02 * deviation


def test_initial_biases_are_normal_if_asked_for():
    net = fastnn.MLP([3, 5000, 2], bias_init=0.1, seed=0)
    assert_allclose(net.params["b1"].std(), 0.1, rtol=0.05)


def test_the_seed_makes_the_weights():
    def made(seed):
        return bits_of(fastnn.MLP([4, 5, 3], seed=seed))

    assert made(5) == made(5) == made(np.random.default_rng(5)) == made(np.int64(5))
    assert made(5) != made(6)
    assert made(None) != made(None)


def test_float32_weights_are_the_rounded_float64_weights():
    single = fastnn.MLP([4, 5, 3], weight_init="he", seed=5)
    double = fastnn.MLP([4, 5, 3], weight_init="he", seed=5, dtype="float64")
    for name, view in single.params.items():
        assert_array_equal(view, double.params[name].astype(np.float32))


def test_parameters_are_live_and_writable():
    net = fastnn.MLP([2, 2], output="identity", weight_init=0.0)
    net.params["W1"][0, 1] = 3
    net.params["b1"] += 1
    assert_array_equal(net.predict([[1, 0], [0, 1]]), [[1, 4], [1, 1]])


def test_writing_one_parameter_changes_no_other():
    net = fastnn.MLP([3, 5, 4], weight_init=0.0)
    for number, name in enumerate(net.params, start=1):
        net.params[name][...] = number
    for number, name in enumerate(net.params, start=1):
        assert (net.params[name] == number).all()


@pytest.mark.parametrize(
    "value",
    [[[1, 2], [3, 4]], np.array([[1, 2], [3, 4]], ">f8"), np.array([[1, 3], [2, 4]], order="F").T],
)
def test_assigning_an_array_copies_it_in(value):
    net = fastnn.MLP([2, 2])
    view = net.params["W1"]
    net.params["W1"] = value
    assert net.params["W1"] is view
    assert_array_equal(view, [[1, 2], [3, 4]])
    assert not np.shares_memory(view, value)


@pytest.mark.parametrize(
    ("name", "value", "error", "text"),
    [
        ("W1", [1, 2], ValueError, r"params\['W1'\] must have shape \(2, 3\), got \(2,\)"),
        ("W1", np.zeros((3, 2)), ValueError, r"params\['W1'\] must have shape"),
        ("b1", 1.0, ValueError, r"params\['b1'\] must have shape \(3,\), got \(\)"),
        ("b1", ["1", "2", "3"], TypeError, r"params\['b1'\] must hold real numbers"),
        ("b1", [1, 2, 3j], TypeError, r"params\['b1'\] must hold real numbers, got dtype complex"),
        ("W2", [1], KeyError, "no parameter 'W2'; there are W1, b1"),
    ],
)
def test_assigning_anything_else_is_refused(name, value, error, text):
    net = fastnn.MLP([2, 3], seed=0)
    before = bits_of(net)
    with pytest.raises(error, match=text):
        net.params[name] = value
    assert bits_of(net) == before


def test_parameters_can_not_be_removed():
    net = fastnn.MLP([2, 3])
    with pytest.raises(TypeError, match="cannot be removed"):
        del net.params["W1"]
    with pytest.raises(KeyError):
        net.params["W9"]
    assert list(net.params) == ["W1", "b1"]


@pytest.mark.parametrize(
    "name", ["layer_sizes", "activations", "output", "loss_name", "dtype", "params"]
)
def test_what_a_network_is_made_of_cannot_be_replaced(name):
    net = fastnn.MLP([2, 3], seed=0)
    kept, before = getattr(net, name), bits_of(net)
    for value in (3, None, kept):
        with pytest.raises(AttributeError, match=f"^{name} of a network cannot be replaced"):
            setattr(net, name, value)
    with pytest.raises(AttributeError, match=f"^{name} of a network cannot be replaced"):
        delattr(net, name)
    assert getattr(net, name) is kept
    assert bits_of(net) == before


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_what_a_copy_is_made_of_cannot_be_replaced_either(copied):
    net = copied(fastnn.MLP([2, 3], seed=0))
    with pytest.raises(AttributeError, match=r"^dtype of a network"):
        net.dtype = 3


def test_a_network_may_be_given_further_attributes():
    net = fastnn.MLP([2, 3], seed=0)
    net.note = "the first"
    assert copy.copy(net).note == "the first"
    del net.note
    assert not hasattr(net, "note")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "MLP([3, 4, 2], activation='relu', output='softmax', loss='cross_entropy'"),
        ({"activation": ["tanh"]}, "MLP([3, 4, 2], activation='tanh'"),
        ({"output": "identity"}, "loss='squared_error'"),
        ({"output": "identity", "loss": "mse"}, "loss='mse'"),
        ({"output": "sigmoid"}, "loss='binary_cross_entropy'"),
        ({"dtype": np.float64}, "dtype='float64'"),
    ],
)
def test_a_network_says_what_it_is(arguments, text):
    assert text in repr(fastnn.MLP([3, 4, 2], **arguments))


def test_each_hidden_layer_may_have_its_own_activation():
    net = fastnn.MLP([3, 4, 5, 2], ["tanh", "relu"])
    assert net.activations == ("tanh", "relu")
    assert "activation=['tanh', 'relu']" in repr(net)


@pytest.mark.parametrize("sizes", [(3, 2), np.array([3, 2]), iter([3, 2]), [np.int8(3), 2]])
def test_layer_sizes_may_be_any_sequence_of_integers(sizes):
    assert fastnn.MLP(sizes).layer_sizes == (3, 2)


def test_the_books_network_is_an_mlp_with_one_hidden_layer(rng):
    net = fastnn.TwoLayerNet(6, 5, 3, seed=1)
    same = fastnn.MLP([6, 5, 3], "sigmoid", weight_init=0.01, seed=1)
    x, t = inputs(rng, 20, 6), rng.integers(0, 3, 20)
    assert isinstance(net, fastnn.MLP)
    assert bits_of(net) == bits_of(same)
    assert net.loss(x, t) == same.loss(x, t)


def test_the_books_network_takes_its_keywords():
    net = fastnn.TwoLayerNet(input_size=30, hidden_size=200, output_size=9, weight_init_std=0.5,
                             activation="relu", dtype="float64", seed=0)  # fmt: skip
    assert (net.layer_sizes, net.activations, net.dtype) == ((30, 200, 9), ("relu",), np.float64)
    assert_allclose(net.params["W1"].std(), 0.5, rtol=0.05)


# ---- keeping


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("output", "loss"), OUTPUTS_AND_LOSSES)
def test_a_saved_network_comes_back_the_same(output, loss, dtype, tmp_path, rng):
    net = fastnn.MLP([5, 4, 6, 3], ["relu", "tanh"], output, loss, "he", dtype, seed=0)
    net.save(tmp_path / "net")
    again = fastnn.load(tmp_path / "net")
    x = inputs(rng, 9, 5)
    assert repr(again) == repr(net)
    assert bits_of(again) == bits_of(net)
    assert bits(again.predict(x)) == bits(net.predict(x))
    again.fit(x, targets(rng, net, 9), batch_size=3)


def test_a_saved_network_of_the_book_comes_back_as_one(tmp_path):
    net = fastnn.TwoLayerNet(4, 3, 2)
    net.save(tmp_path / "net")
    assert type(fastnn.load(str(tmp_path / "net"))) is fastnn.TwoLayerNet


# ---- the host's ways of copying, for all that depends on no other process


def test_warmup_runs_for_each_precision():
    fastnn.warmup("float32")
    fastnn.warmup()


def test_no_threads_are_used_where_one_is_asked_for():
    fastnn.set_num_threads(1)
    try:
        info = fastnn.threading_info()
        assert (info["threads"], info["parallel"]) == (1, False)
        assert info["reason"] == "limited to 1 thread"
    finally:
        fastnn.set_num_threads(None)
    assert fastnn.threading_info()["limits"]["user"] is None


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
