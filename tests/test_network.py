"""Networks: what they are made of, and that they come back from a file."""

import copy

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from numpy_mlp import DTYPES, OUTPUTS_AND_LOSSES, bits, bits_of, inputs, targets

import fastnn

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


# ---- calls that belong to no network


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
