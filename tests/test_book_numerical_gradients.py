"""Numerical gradients of fastnn.book's networks: by a kernel, or by the book's loop."""

import numpy as np
import pytest
from networks_of_the_book import a_batch, each_kind
from numpy.testing import assert_allclose, assert_array_equal

from fastnn import finite_difference
from fastnn.book import layers, multi_layer_net, multi_layer_net_extend
from fastnn.book.gradient import numerical_gradient
from fastnn.book.layers import Relu, SoftmaxWithLoss
from fastnn.book.multi_layer_net import MultiLayerNet
from fastnn.book.multi_layer_net_extend import MultiLayerNetExtend
from fastnn.book.optimizer import SGD

pytestmark = pytest.mark.usefixtures("numpys_seed")


@pytest.fixture
def only_the_kernel(monkeypatch):
    """Let no network take the book's loop."""
    for module in (multi_layer_net, multi_layer_net_extend):
        monkeypatch.delattr(module, "numerical_gradient")


@pytest.fixture
def only_the_loop(monkeypatch):
    monkeypatch.delattr(finite_difference, "gradient")


def by_the_loop(network, x, t, **options):
    def loss(_):
        return network.loss(x, t, **options)

    return {key: numerical_gradient(loss, array) for key, array in network.params.items()}


def bits(*arrays):
    return [array.tobytes() for array in arrays]


def assert_close_to_the_loop(network, x, t):
    """Both round losses of about 16 at most, and divide the difference by 2e-4."""
    before = bits(*network.params.values(), x, t)
    found = network.numerical_gradient(x, t)
    assert bits(*network.params.values(), x, t) == before
    expected = by_the_loop(network, x, t)
    assert list(found) == list(expected) == list(network.params)
    for key, slopes in found.items():
        assert slopes.dtype == np.float64
        assert slopes.shape == network.params[key].shape
        assert not np.may_share_memory(slopes, network.params[key])
        assert_allclose(slopes, expected[key], rtol=0, atol=1e-9)


SIZES = [(6, [5, 7], 4), (3, [], 2), (1, [1], 1), (9, [11, 3, 2], 5)]


@each_kind
@pytest.mark.usefixtures("only_the_kernel")
@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
@pytest.mark.parametrize("decay", [0, 0.1])
@pytest.mark.parametrize("sizes", SIZES)
def test_numerical_gradients_by_the_kernel_are_those_of_the_loop(kind, sizes, decay, activation):
    inputs, _, classes = sizes
    for rows in (1, 3, 130):
        x, t = np.random.randn(rows, inputs), np.random.randint(0, classes, rows)
        network = kind(*sizes, activation=activation, weight_decay_lambda=decay)
        one_hot = np.eye(classes)[t]
        assert_close_to_the_loop(network, x, one_hot)
        if classes > 1:  # if not, the book takes labels for one-hot rows of one dimension
            assert_close_to_the_loop(network, x, t.astype(np.uint8))
            found = [network.numerical_gradient(x, wanted) for wanted in (t, one_hot)]
            assert bits(*found[0].values()) == bits(*found[1].values())


@pytest.mark.usefixtures("only_the_kernel")
def test_a_numerical_gradient_knows_what_the_book_adds_in_the_logarithm():
    """Of the classes that are as good as excluded the loss is -log(1e-7), and flat."""
    network = MultiLayerNet(4, [6], 5, weight_init_std=6.0)
    x, t = np.random.randn(40, 4), np.random.randint(0, 5, 40)
    assert network.loss(x, t) > 10
    assert_close_to_the_loop(network, x, t)


@pytest.mark.usefixtures("only_the_kernel")
@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.int64, ">f8"])
def test_numerical_gradients_on_images_of_any_numbers(dtype):
    images, t = a_batch(3)
    x = (images[:, 300:340] * 3).astype(dtype)
    network = MultiLayerNet(40, [6], 10)
    assert_close_to_the_loop(network, x, t)
    for view in (np.asfortranarray(x), np.repeat(x, 2, axis=0)[::2], x.view()):
        view.flags.writeable = False
        assert_close_to_the_loop(network, view, t)


@pytest.mark.usefixtures("only_the_kernel")
def test_a_numerical_gradient_follows_the_training():
    network, x, t = MultiLayerNet(6, [5], 4), np.random.randn(9, 6), np.arange(9) % 4
    for _ in range(3):
        gradient = network.numerical_gradient(x, t)
        SGD(lr=0.5).update(network.params, gradient)
        assert_close_to_the_loop(network, x, t)


def in_float32(network):
    for i in (1, 2):
        for key in "Wb":
            array = network.params[f"{key}{i}"].astype(np.float32)
            network.params[f"{key}{i}"] = array
            setattr(network.layers[f"Affine{i}"], key, array)


def in_columns(network):
    network.params["W1"] = network.layers["Affine1"].W = np.asfortranarray(network.params["W1"])


def with_a_bias_row(network):
    row = network.params["b1"].reshape(1, -1).copy()
    network.params["b1"] = network.layers["Affine1"].b = row


def with_tied_weights(network):
    network.params["W2"] = network.layers["Affine2"].W = network.params["W1"][:, :6]
    network.params["b2"] = network.layers["Affine2"].b = network.params["b1"][:6]


def with_params_replaced(network):
    network.params["W2"] = network.params["W2"].copy()


def with_an_array_of_a_layer_replaced(network):
    network.layers["Affine1"].b = network.layers["Affine1"].b + 1


def with_a_layer_more(network):
    network.layers["Relu"] = Relu()


def with_a_layer_less(network):
    del network.layers["Activation_function1"]


def with_a_layer_of_its_own(network):
    class Negative(Relu):
        def forward(self, x):
            return -super().forward(x)

    network.layers["Activation_function1"] = Negative()


def with_a_method_of_a_layer_replaced(network):
    network.layers["Activation_function1"].forward = np.tanh


def with_a_loss_of_its_own(network):
    network.loss = lambda x, t: network.predict(x)[:, 0].mean()


def with_a_last_layer_of_its_own(network):
    class Mean(SoftmaxWithLoss):
        def forward(self, x, t):
            return x.mean()

    network.last_layer = Mean()


def with_a_method_of_the_last_layer_replaced(network):
    network.last_layer.forward = lambda x, t: x.mean()


def with_nan(network):
    network.params["W2"][0, 0] = np.nan


def with_a_decay_that_overflows(network):
    network.weight_decay_lambda = np.inf


def with_a_class_that_is_excluded(network):
    network.params["b2"][0] = -np.inf


@pytest.mark.usefixtures("only_the_loop")
@pytest.mark.parametrize(
    "change",
    [
        in_float32, in_columns, with_a_bias_row, with_tied_weights, with_params_replaced,
        with_an_array_of_a_layer_replaced, with_a_layer_more, with_a_layer_less,
        with_a_layer_of_its_own, with_a_method_of_a_layer_replaced, with_a_loss_of_its_own,
        with_a_last_layer_of_its_own, with_a_method_of_the_last_layer_replaced, with_nan,
        with_a_decay_that_overflows,
    ],
)  # fmt: skip
def test_a_network_that_was_changed_takes_the_loop(change):
    network, x, t = MultiLayerNet(6, [6], 6), np.random.randn(5, 6), np.arange(5)
    change(network)
    with np.errstate(all="ignore"):
        expected = by_the_loop(network, x, t)
        found = network.numerical_gradient(x, t)
    assert list(found) == list(expected)
    for key in found:
        assert_array_equal(found[key], expected[key], strict=True)


def test_a_class_that_is_excluded_is_left_to_the_loop():
    network, x, t = MultiLayerNet(6, [6], 6), np.random.randn(5, 6), np.arange(5) + 1
    with_a_class_that_is_excluded(network)
    expected, found = by_the_loop(network, x, t), network.numerical_gradient(x, t)
    for key in found:
        assert np.isfinite(found[key]).all()
        assert_array_equal(found[key], expected[key], strict=True)


@pytest.mark.usefixtures("only_the_loop")
def test_a_method_that_was_replaced_for_all_layers_takes_the_loop(monkeypatch):
    network, x, t = MultiLayerNet(6, [6], 6), np.random.randn(5, 6), np.arange(5)
    monkeypatch.setattr(Relu, "forward", lambda self, x: np.tanh(x))
    expected, found = by_the_loop(network, x, t), network.numerical_gradient(x, t)
    for key in found:
        assert_array_equal(found[key], expected[key], strict=True)


@each_kind
def test_a_layer_that_was_replaced_in_the_networks_module_is_taken(kind, monkeypatch):
    class Swish(Relu):
        pass

    module = {MultiLayerNet: multi_layer_net, MultiLayerNetExtend: multi_layer_net_extend}[kind]
    monkeypatch.setattr(module, "Relu", Swish)
    assert type(kind(6, [5], 4).layers["Activation_function1"]) is Swish


@pytest.mark.usefixtures("only_the_loop")
@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("cross_entropy_error", lambda y, t: np.abs(y).sum()),
        ("softmax", lambda x: np.exp(np.tanh(x))),
        ("sigmoid", np.cos),
    ],
)
def test_a_function_that_was_replaced_among_the_layers_is_called(
    name, function, activation, monkeypatch
):
    """As in the book, where a layer looks for its functions in its module."""
    network, x, t = MultiLayerNet(6, [50], 6, activation), np.random.randn(50, 6), np.arange(50) % 6
    monkeypatch.setattr(layers, name, function)
    hidden = network.layers["Affine1"].forward(x)
    active = layers.sigmoid(hidden) if activation == "sigmoid" else np.maximum(hidden, 0)
    y = layers.softmax(network.layers["Affine2"].forward(active))
    assert network.loss(x, t) == pytest.approx(layers.cross_entropy_error(y, t), rel=1e-12)
    expected, found = by_the_loop(network, x, t), network.numerical_gradient(x, t)
    for key in found:
        assert_array_equal(found[key], expected[key], strict=True)


@each_kind
@pytest.mark.usefixtures("only_the_loop")
def test_a_network_of_another_class_takes_the_loop(kind):
    class Doubled(kind):
        def loss(self, x, t, **options):
            return 2 * super().loss(x, t, **options)

    network, x, t = Doubled(6, [5], 4), np.random.randn(5, 6), np.arange(5) % 4
    found, expected = network.numerical_gradient(x, t), by_the_loop(network, x, t)
    for key in found:
        assert_array_equal(found[key], expected[key])


@pytest.mark.usefixtures("only_the_loop")
def test_data_that_numpy_sees_in_its_own_way_take_the_loop():
    network, x, t = MultiLayerNet(6, [5], 4), np.random.randn(5, 6), np.arange(5) % 4
    for x_, t_ in [
        (x.reshape(5, 1, 2, 3), t), (x.reshape(5, 6, 1), t), (x.astype(np.longdouble), t),
        (np.ma.array(x), t), (x, np.ma.array(np.eye(4)[t])), (x, t - 4), (x, t.reshape(5, 1)),
        (x, t[2:3]), (x, t[2]), (x[:4], np.ones(4, bool)),
    ]:  # fmt: skip
        found, expected = network.numerical_gradient(x_, t_), by_the_loop(network, x_, t_)
        for key in found:
            assert_array_equal(found[key], expected[key])


@pytest.mark.parametrize(
    ("x", "t", "error"),
    [
        (np.ones((5, 7)), np.zeros(5, int), ValueError),
        (np.ones((0, 6)), np.zeros((0, 4)), ValueError),
        (np.ones((5, 6)), np.full(5, 4), IndexError),
        (np.ones((5, 6)), np.zeros(5), IndexError),
        (np.ones((5, 6)), [0, 1, 2, 3, 0], AttributeError),
        (np.ones((5, 6)), np.zeros((5, 3), int), IndexError),
    ],
)
def test_a_numerical_gradient_refuses_what_the_loss_refuses(x, t, error):
    network = MultiLayerNet(6, [5], 4)
    with pytest.raises(error):
        network.loss(x, t)
    with pytest.raises(error):
        network.numerical_gradient(x, t)


def test_weights_that_are_not_there_are_refused():
    network = MultiLayerNet(6, [0], 4, weight_init_std=0.1)
    with pytest.raises(ValueError, match="zero-sized"):
        network.numerical_gradient(np.ones((5, 6)), np.zeros(5, int))


def test_weights_that_are_read_only_are_refused():
    network = MultiLayerNet(6, [5], 4)
    network.params["W1"].flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        network.numerical_gradient(np.ones((5, 6)), np.zeros(5, int))


@pytest.mark.usefixtures("only_the_loop")
@pytest.mark.parametrize("options", [{"use_dropout": True}, {"use_batchnorm": True}])
def test_numerical_gradients_of_a_network_with_everything_call_the_loss_as_often(options):
    """Random numbers and running means are those of the loop afterwards."""
    found = []
    x, t = np.random.randn(5, 6), np.arange(5) % 4
    for by_hand in (False, True):
        np.random.seed(1)
        network = MultiLayerNetExtend(6, [5], 4, **options)
        if by_hand:
            order = ["W1", "b1", "gamma1", "beta1", "W2", "b2"]
            network.params = {key: network.params[key] for key in order if key in network.params}
            slopes = by_the_loop(network, x, t, train_flg=True)
        else:
            slopes = network.numerical_gradient(x, t)
        found.append(bits(*slopes.values(), network.loss(x, t), np.random.rand(3)))
    assert found[0] == found[1]
