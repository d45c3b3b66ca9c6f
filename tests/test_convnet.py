"""`fastnn.ConvNet`: what it is made of, what it learns, and that it comes back."""

import copy
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from numpy_convnet import NETWORKS, NumpyConvNet, images, made
from numpy_mlp import DTYPES, assert_close, bits, bits_of

import fastnn
from fastnn import Conv, Dense, Dropout, MaxPool
from fastnn.training import parameters

each_network = pytest.mark.parametrize("name", NETWORKS)
each_dtype = pytest.mark.parametrize("dtype", DTYPES)
LAYERS = [Conv(4, (2, 3)), MaxPool(2), Conv(5, 2), Dense(6), Dense(3)]


def small(**options):
    return fastnn.ConvNet((2, 9, 8), LAYERS, **{"seed": 0} | options)


# What a network is made of ----------------------------------------------------------------


def test_parameters_are_named_and_shaped_as_in_the_book():
    shapes = {name: view.shape for name, view in small().params.items()}
    assert list(shapes.items()) == [
        ("W1", (4, 2, 2, 3)), ("b1", (4,)), ("W2", (5, 4, 2, 2)), ("b2", (5,)),
        ("W3", (30, 6)), ("b3", (6,)), ("W4", (6, 3)), ("b4", (3,)),
    ]  # fmt: skip


@each_dtype
@pytest.mark.parametrize(
    ("weight_init", "deviations"),
    [
        (0.01, [0.01, 0.01, 0.01]),
        ("he", [(2 / 75) ** 0.5, (2 / 720) ** 0.5, (2 / 16000) ** 0.5]),
        ("xavier", [(1 / 75) ** 0.5, (1 / 720) ** 0.5, (1 / 16000) ** 0.5]),
        ("glorot", [(2 / (75 + 2000)) ** 0.5, (2 / (720 + 360)) ** 0.5, (2 / 16100) ** 0.5]),
    ],
)
def test_initial_weights_are_normal_by_the_fans_of_filters(weight_init, deviations, dtype):
    layers = [Conv(80, 5, pad=2), Conv(40, 3, 1, 1), Dense(100)]
    net = fastnn.ConvNet((3, 20, 20), layers, weight_init=weight_init, dtype=dtype, seed=0)
    for number, deviation in enumerate(deviations, start=1):
        W = net.params[f"W{number}"]
        assert W.dtype == net.params[f"b{number}"].dtype == np.dtype(dtype)
        assert_allclose(W.std(), deviation, rtol=0.03)
        assert not net.params[f"b{number}"].any()


def test_the_seed_makes_the_weights():
    assert bits_of(small(seed=5)) == bits_of(small(seed=np.random.default_rng(5)))
    assert bits_of(small(seed=5)) != bits_of(small(seed=6))
    single, double = small(), small(dtype="float64")
    for name, view in single.params.items():
        assert_array_equal(view, double.params[name].astype(np.float32))


@each_network
def test_parameters_are_live_and_writable(name):
    net = made(name, dtype="float32")
    x, _ = images(net, 20)
    for number, key in enumerate(net.params):
        view = net.params[key]
        view[...] = np.random.default_rng(number).normal(size=view.shape)
        net.params[key] -= 0.125
        assert net.params[key] is view
    assert_close(net.predict(x), NumpyConvNet(net).predict(x), "float32")


def test_writing_one_parameter_changes_no_other():
    net = small()
    for number, name in enumerate(net.params, start=1):
        net.params[name] = np.full(net.params[name].shape, number)
    for number, name in enumerate(net.params, start=1):
        assert (net.params[name] == number).all()


def test_assigning_anything_else_is_refused():
    net = small()
    before = bits_of(net)
    with pytest.raises(ValueError, match=r"params\['W1'\] must have shape \(4, 2, 2, 3\), got"):
        net.params["W1"] = np.zeros((4, 12))
    with pytest.raises(TypeError, match="must hold real numbers"):
        net.params["W2"] = np.zeros((5, 4, 2, 2), complex)
    with pytest.raises(KeyError, match="no parameter 'W5'"):
        net.params["W5"] = 1
    assert bits_of(net) == before


@each_network
def test_parameters_are_a_vector_and_back(name):
    net, other = made(name), made(name, seed=9)
    vector = net.params.to_vector()
    expected = np.concatenate([view.ravel() for view in net.params.values()])
    assert bits(vector) == bits(expected)
    other.params.from_vector(vector)
    assert bits_of(other) == bits_of(net)
    gradient = net.gradient(*images(net, 5))
    expected = np.concatenate([array.ravel() for array in gradient.values()])
    assert bits(net.params.to_vector(gradient)) == bits(expected)


@pytest.mark.parametrize(
    "name", ["input_shape", "layers", "activation", "output", "loss_name", "dtype", "params"]
)
@pytest.mark.parametrize("way", [lambda net: net, copy.copy, copy.deepcopy])
def test_what_a_network_is_made_of_cannot_be_replaced(way, name):
    net = way(small())
    kept, before = getattr(net, name), bits_of(net)
    for value in (3, None, kept):
        with pytest.raises(AttributeError, match=f"^{name} of a network cannot be replaced"):
            setattr(net, name, value)
    with pytest.raises(AttributeError, match=f"^{name} of a network cannot be replaced"):
        delattr(net, name)
    assert getattr(net, name) is kept
    assert bits_of(net) == before


def test_layers_that_are_handed_over_may_change_later():
    shape, layers = [1, 6, 6], [Conv(2, 3), Dense(3)]
    net = fastnn.ConvNet(shape, layers, seed=0)
    before = repr(net)
    shape[0], layers[0] = 7, None
    assert repr(pickle.loads(pickle.dumps(net))) == repr(net) == before
    with pytest.raises(AttributeError):
        net.layers[0].filters = 3


@pytest.mark.parametrize("shape", [(2, 9, 8), [2, 9, 8], np.array([2, 9, 8]), iter([2, 9, 8])])
def test_shapes_and_layers_may_be_any_sequence(shape):
    net = fastnn.ConvNet(shape, iter(LAYERS), seed=0)
    assert bits_of(net) == bits_of(small())
    assert (net.input_shape, net.layers) == ((2, 9, 8), tuple(LAYERS))


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (Conv(4, 3), "Conv(4, 3)"),
        (Conv(4, (3, 2), 2, (1, 0), "tanh"),
         "Conv(4, (3, 2), stride=2, pad=(1, 0), activation='tanh')"),
        (MaxPool(2), "MaxPool(2)"),
        (MaxPool(3, 2), "MaxPool(3, stride=2)"),
        (Dense(7, "relu"), "Dense(7, activation='relu')"),
        (Dropout(0.5), "Dropout(0.5)"),
    ],
)  # fmt: skip
def test_a_layer_says_what_it_is(layer, text):
    assert repr(layer) == text
    assert eval(text) == layer == copy.deepcopy(layer)
    assert text in repr(fastnn.ConvNet((1, 9, 9), [layer, Dense(2)]))


def test_a_network_says_what_it_is():
    net = small(activation="tanh", output="identity", loss="mse", dtype="float64")
    assert bits_of(eval(f"fastnn.{repr(net)[:-1]}, seed=0)")) == bits_of(net)
    lines = small().summary().splitlines()
    assert [line.split()[-1] for line in lines[1:]] == ["0", "52", "0", "85", "186", "21", "344"]
    assert "(4, 8, 6)" in lines[2]
    assert "(5, 3, 2)" in lines[4]
    assert net.params.to_vector().size == 344


# Training -----------------------------------------------------------------------------------

OPTIMIZERS = {
    "SGD": (fastnn.SGD(0.1, weight_decay=0.01), 0),
    "Momentum": (fastnn.Momentum(0.05), 1),
    "Nesterov": (fastnn.Nesterov(0.05), 1),
    "AdaGrad": (fastnn.AdaGrad(0.05), 1),
    "RMSprop": (fastnn.RMSprop(0.01), 1),
    "Adam": (fastnn.Adam(0.01), 2),
}


@pytest.mark.parametrize("rule", OPTIMIZERS)
@pytest.mark.parametrize("batch", [1, 16, 40])
def test_every_rule_sees_the_gradient(batch, rule):
    """An MLP that has the same rows to multiply is moved in the same way: filters of a pixel."""
    net = fastnn.ConvNet((3, 1, 1), [Conv(5, 1), Dense(2)], "tanh", dtype="float64", seed=0)
    mlp = fastnn.MLP([3, 5, 2], "tanh", dtype="float64", seed=0)
    for key, value in net.params.items():
        mlp.params[key] = value.reshape(5, 3).T if key == "W1" else value
    x, t = images(net, 40)
    table = np.random.default_rng(0).integers(0, 40, (9, batch))
    optimizer, memories = OPTIMIZERS[rule]
    history = net.fit(x, t, batches=table, optimizer=optimizer)
    expected = mlp.fit(x.reshape(40, 3), t, batches=table, optimizer=optimizer)
    assert_allclose(history.loss, expected.loss, 1e-11)
    assert_allclose(net.params["W1"].reshape(5, 3).T, mlp.params["W1"], 1e-9)
    assert_allclose(net.params["W2"], mlp.params["W2"], 1e-9)
    assert net.optimizer_state.memory.size == memories * net.params.block.size


@each_dtype
def test_steps_are_those_of_numpy(dtype):
    net = made("like LeNet", dtype=dtype)
    twin, (x, t) = NumpyConvNet(net), images(net, 40)
    table = np.random.default_rng(0).integers(0, 40, (5, 20))
    history = net.fit(x, t, batches=table, optimizer=fastnn.SGD(0.1))
    for loss, batch in zip(history.loss, table, strict=True):
        expected, gradient = twin.loss_and_gradient(x[batch], t[batch])
        assert_allclose(loss, expected, 1e-5 if dtype == "float32" else 1e-12)
        for key, found in gradient.items():
            twin.params[key] -= 0.1 * found
    for key, value in net.params.items():
        assert_allclose(value, twin.params[key], 0, 1e-5 if dtype == "float32" else 1e-12)


def separable(net, rows=120, seed=4):
    """Images that are brighter above or below."""
    rng = np.random.default_rng(seed)
    x, t = rng.normal(size=(rows, *net.input_shape)), rng.integers(0, 3, rows)
    for label in range(3):
        x[t == label, :, 3 * label : 3 * label + 3] += 1
    return x, t


@pytest.mark.parametrize("batch", [1, 30, 120])
def test_a_network_learns_with_all_that_fit_has(batch):
    net, seen = small(), []
    x, t = separable(net)
    rate = fastnn.schedules.Cosine(0.02, 200)
    history = net.fit(
        x, t, iterations=200, batch_size=batch, optimizer=fastnn.Adam(rate), evaluate_every=50,
        validation_data=separable(net, seed=5), callbacks=[lambda net, history: seen.append(1)],
        seed=0,
    )  # fmt: skip
    assert len(seen) == 4
    assert history.steps == 200
    assert net.accuracy(x, t) > 0.9
    assert history.test_accuracy[-1] > 0.6


def test_a_callback_ends_training_and_the_next_fit_goes_on():
    net = small()
    x, t = separable(net)
    stop = fastnn.EarlyStopping(patience=2)
    history = net.fit(x, t, epochs=200, batch_size=20, optimizer=fastnn.Adam(0.02),
                      validation_data=(x[::-1], t), callbacks=[stop])  # fmt: skip
    assert 6 < history.steps < 1200
    assert net.fit(x, t, epochs=1, batch_size=20).steps == 6


def test_divergence_leaves_the_last_weights_whose_loss_was_finite():
    net = small(output="identity")
    x, _ = separable(net)
    with pytest.raises(FloatingPointError, match="loss") as caught:
        net.fit(x, np.ones((120, 3)), epochs=50, batch_size=20, optimizer=fastnn.SGD(1e3))
    assert np.isfinite(net.params.to_vector()).all()
    assert not np.isfinite(caught.value.history.loss[-1])


def test_an_interrupt_keeps_the_steps_before_it():
    net, twin = small(), small()
    x, t = separable(net)

    def interrupt(net, history):
        if history.steps >= 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        net.fit(x, t, epochs=9, batch_size=20, callbacks=[interrupt], seed=0)
    assert caught.value.history.steps == net.optimizer_state.steps == 12
    twin.fit(x, t, epochs=2, batch_size=20, seed=0)
    assert bits_of(net) == bits_of(twin)


# Keeping ------------------------------------------------------------------------------------


@each_network
@each_dtype
def test_a_saved_network_comes_back_the_same(dtype, name, tmp_path):
    net = made(name, "softplus", dtype)
    net.save(tmp_path / "net")
    again = fastnn.load(tmp_path / "net")
    x, t = images(net, 9)
    assert (repr(again), again.layers) == (repr(net), net.layers)
    assert bits_of(again) == bits_of(net)
    assert bits(again.predict(x)) == bits(net.predict(x))
    again.fit(x, t, batch_size=3)


WAYS = {"pickle": lambda net: pickle.loads(pickle.dumps(net)), "deepcopy": copy.deepcopy,
        "copy": copy.copy}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["like LeNet", "dropout"])
def test_a_network_is_kept_with_its_memory(name, way):
    net, adam = made(name, dtype="float32"), fastnn.Adam(0.01)
    x, t = images(net, 30)
    net.fit(x, t, batch_size=10, iterations=7, optimizer=adam)
    other = WAYS[way](net)
    assert bits(other.optimizer_state.memory) == bits(net.optimizer_state.memory)
    for each in (net, other):
        each.fit(x, t, batch_size=10, iterations=3, optimizer=adam)
    assert other.optimizer_state.steps == 10
    assert bits_of(other) == bits_of(net)
    other.params["W1"][...] = 0
    assert net.params["W1"].any()


@each_dtype
@pytest.mark.parametrize("vector_bytes", [16, 32, 64])
def test_memory_of_a_machine_with_other_vectors(dtype, vector_bytes):
    net, adam = made("like LeNet", dtype=dtype), fastnn.Adam(0.01)
    x, t = images(net, 30)
    net.fit(x, t, batch_size=10, iterations=7, optimizer=adam)
    params, memory = net.params, net.optimizer_state.memory
    layers = parameters._layers(params.layer_sizes, params.images, memory.dtype, vector_bytes)
    theirs = np.zeros(2 * parameters._size(layers), memory.dtype)
    for own, other in zip(np.split(memory, 2), np.split(theirs, 2), strict=True):
        views = parameters._views(layers, params.images, other)
        for key, view in params.views_of(own).items():
            views[key][...] = view
    state = net.__getstate__()
    state["optimizer_state"] = net.optimizer_state.with_memory(theirs)
    again = fastnn.ConvNet.__new__(fastnn.ConvNet)
    again.__setstate__(pickle.loads(pickle.dumps(state)))
    for each in (net, again):
        each.fit(x, t, batch_size=10, iterations=3, optimizer=adam, seed=2)
    assert bits_of(again) == bits_of(net)
