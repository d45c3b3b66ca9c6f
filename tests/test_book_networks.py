"""fastnn.book's networks and trainer, and the programs of two course reports."""

from collections import OrderedDict

import book_reference as reference
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from fastnn import finite_difference
from fastnn.book import layers, multi_layer_net, multi_layer_net_extend, trainer
from fastnn.book.functions import *  # noqa: F403
from fastnn.book.functions import cross_entropy_error, sigmoid, sigmoid_grad, softmax
from fastnn.book.gradient import numerical_gradient
from fastnn.book.layers import Affine, Relu, SoftmaxWithLoss
from fastnn.book.mnist import load_mnist
from fastnn.book.multi_layer_net import MultiLayerNet
from fastnn.book.multi_layer_net_extend import MultiLayerNetExtend
from fastnn.book.optimizer import SGD
from fastnn.book.trainer import Trainer

MNIST = load_mnist(normalize=True, one_hot_label=True)
KINDS = [MultiLayerNet, MultiLayerNetExtend]
each_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(autouse=True)
def _seed():
    np.random.seed(31)


def outputs(params, x, activation, layers):
    """Scores of a network, formula by formula."""
    for layer in range(1, layers + 1):
        x = reference.affine(x, params[f"W{layer}"], params[f"b{layer}"])
        if layer < layers:
            x = np.maximum(x, 0) if activation == "relu" else reference.sigmoid(x)
    return x


def a_batch(rows=100):
    (x, t), _ = MNIST
    return x[:rows], t[:rows]


# MultiLayerNet ------------------------------------------------------------------------


@each_kind
def test_weights_come_from_numpys_random_state_layer_by_layer(kind):
    for init, scales in [
        ("relu", [np.sqrt(2 / 6), np.sqrt(2 / 5)]),
        ("He", [np.sqrt(2 / 6), np.sqrt(2 / 5)]),
        ("sigmoid", [np.sqrt(1 / 6), np.sqrt(1 / 5)]),
        ("xavier", [np.sqrt(1 / 6), np.sqrt(1 / 5)]),
        (0.01, [0.01, 0.01]),
    ]:
        np.random.seed(3)
        params = kind(6, [5], 4, weight_init_std=init).params
        np.random.seed(3)
        assert_array_equal(params["W1"], scales[0] * np.random.randn(6, 5))
        assert_array_equal(params["W2"], scales[1] * np.random.randn(5, 4))
        assert list(params) == ["W1", "b1", "W2", "b2"]
        assert not params["b1"].any()
        assert not params["b2"].any()


@each_kind
@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
@pytest.mark.parametrize("labels", [True, False])
def test_predictions_losses_and_accuracies(kind, activation, labels):
    x, t = a_batch()
    network = kind(784, [50, 20], 10, activation=activation, weight_decay_lambda=0.1)
    y = outputs(network.params, x, activation, 3)
    assert_allclose(network.predict(x), y, 1e-11, 1e-12)
    wanted = t.argmax(axis=1)
    squares = sum(np.sum(network.params[f"W{i}"] ** 2) for i in (1, 2, 3))
    expected = reference.cross_entropy(reference.softmax(y), wanted) + 0.05 * squares
    assert network.loss(x, wanted if labels else t) == pytest.approx(expected, rel=1e-12)
    found = network.accuracy(x, wanted if labels else t)
    assert found == np.mean(y.argmax(axis=1) == wanted)


@each_kind
@pytest.mark.parametrize("decay", [0, 0.1])
def test_gradients_are_those_of_finite_differences(kind, decay):
    np.random.seed(5)
    x, t = np.random.randn(4, 6), np.array([0, 3, 1, 1])
    network = kind(6, [5, 7], 4, weight_decay_lambda=decay)
    found, expected = network.gradient(x, t), network.numerical_gradient(x, t)
    assert list(found) == list(expected) == list(network.params)
    for key in found:
        assert_allclose(found[key], expected[key], 1e-4, 1e-6)


def test_gradients_with_batch_normalisation():
    np.random.seed(5)
    x, t = np.random.randn(8, 6), np.arange(8) % 4
    network = MultiLayerNetExtend(6, [5, 7], 4, activation="sigmoid", use_batchnorm=True)
    found, expected = network.gradient(x, t), network.numerical_gradient(x, t)
    assert {"gamma1", "beta2"} <= set(found) == set(expected) == set(network.params)
    for key in found:
        assert_allclose(found[key], expected[key], 1e-4, 1e-6)


@each_kind
def test_params_and_layers_hold_the_same_arrays(kind):
    network = kind(784, [50], 10)
    for i in (1, 2):
        assert network.layers[f"Affine{i}"].W is network.params[f"W{i}"]
        assert network.layers[f"Affine{i}"].b is network.params[f"b{i}"]
    x, t = a_batch()
    before = network.loss(x, t)
    gradient = network.gradient(x, t)
    for key in network.params:
        network.params[key] -= 0.1 * gradient[key]
    assert network.loss(x, t) < before
    assert_allclose(network.predict(x), outputs(network.params, x, "relu", 2), 1e-11, 1e-12)


@each_kind
def test_gradients_of_a_step_are_not_those_of_the_next(kind):
    network, (x, t) = kind(784, [50], 10), a_batch()
    first = network.gradient(x, t)
    kept = {key: value.copy() for key, value in first.items()}
    network.gradient(x[::-1][:50].copy(), t[:50])
    for key in first:
        assert_array_equal(first[key], kept[key])


def test_layers_can_be_taken_through_by_hand():
    """As `gradient` does it in the book, but outside of the class."""
    network, (x, t) = MultiLayerNet(784, [50], 10), a_batch()
    expected = network.gradient(x, t)
    network.loss(x, t)
    dout = network.last_layer.backward(1)
    for layer in reversed(network.layers.values()):
        dout = layer.backward(dout)
    assert dout.shape == x.shape
    assert_array_equal(network.layers["Affine1"].dW, expected["W1"])
    assert_array_equal(network.layers["Affine1"].x, x)


def test_layers_can_be_changed():
    network, (x, t) = MultiLayerNet(784, [50], 10), a_batch()

    class Half:
        def forward(self, x):
            return x / 2

        def backward(self, dout):
            self.dout = dout
            return dout / 2

    half = Half()
    network.layers = OrderedDict([("Half", half), *network.layers.items()])
    assert_allclose(network.predict(x), outputs(network.params, x / 2, "relu", 2), 1e-11, 1e-12)
    network.gradient(x, t)
    assert half.dout.shape == x.shape


def test_a_network_that_diverges_goes_on():
    network, (x, t) = MultiLayerNet(784, [50, 50], 10, weight_init_std=1), a_batch()
    rule = SGD(lr=1e200)
    with np.errstate(all="ignore"):
        for _ in range(6):
            rule.update(network.params, network.gradient(x, t))
        assert np.isnan(network.loss(x, t))
        assert np.isnan(network.params["W2"]).any()


def test_layers_of_a_network_with_everything():
    network = MultiLayerNetExtend(4, [5, 6], 3, use_dropout=True, dropout_ration=0.2,
                                  use_batchnorm=True)  # fmt: skip
    assert list(network.layers) == [
        "Affine1", "BatchNorm1", "Activation_function1", "Dropout1",
        "Affine2", "BatchNorm2", "Activation_function2", "Dropout2", "Affine3",
    ]  # fmt: skip
    assert network.layers["Dropout2"].dropout_ratio == 0.2
    assert network.layers["BatchNorm1"].gamma is network.params["gamma1"]
    x = np.random.randn(7, 4)
    np.random.seed(1)
    trained = network.predict(x, train_flg=True)
    np.random.seed(1)
    np.random.rand(7, 5)
    np.random.rand(7, 6)
    after = np.random.rand()
    np.random.seed(1)
    assert_array_equal(network.predict(x, train_flg=True), trained)
    assert np.random.rand() == after
    assert_array_equal(network.predict(x), network.predict(x))


# Numerical gradients ------------------------------------------------------------------


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


# Trainer ------------------------------------------------------------------------------


class Recorder:
    """A network that only writes down what is asked of it."""

    def __init__(self):
        self.params, self.calls, self.batches = {"W": np.zeros(1)}, [], []

    def gradient(self, x, t):
        self.calls.append("gradient")
        self.batches.append(x[:, 0])
        return {"W": np.ones(1)}

    def loss(self, x, t):
        self.calls.append("loss")
        return float(self.params["W"][0])

    def accuracy(self, x, t):
        self.calls.append(len(x))
        return 0.5


def test_a_trainer_takes_a_rule_that_was_replaced_in_its_module(monkeypatch):
    class Slow(SGD):
        pass

    monkeypatch.setattr(trainer, "SGD", Slow)
    assert type(Trainer(Recorder(), *[np.ones((2, 2))] * 4).optimizer) is Slow


def test_a_trainer_steps_then_takes_the_loss_then_evaluates(capsys):
    x, t = np.arange(10.0).reshape(10, 1), np.arange(10)
    network = Recorder()
    trainer = Trainer(network, x, t, x[:7], t[:7], epochs=2, mini_batch_size=4,
                      optimizer="sGd", optimizer_param={"lr": 0.5})  # fmt: skip
    assert (trainer.iter_per_epoch, trainer.max_iter) == (2.5, 5)
    np.random.seed(2)
    trainer.train()
    np.random.seed(2)
    assert_array_equal(network.batches, [np.random.choice(10, 4) for _ in range(5)])
    assert trainer.train_loss_list == [-0.5, -1, -1.5, -2, -2.5]
    assert trainer.train_acc_list == trainer.test_acc_list == [0.5]
    assert network.calls == ["gradient", "loss", 10, 7, *["gradient", "loss"] * 4, 7]
    assert (trainer.current_iter, trainer.current_epoch) == (5, 1)
    printed = capsys.readouterr().out.splitlines()
    assert printed[:3] == [
        "train loss:-0.5", "=== epoch:1, train acc:0.5, test acc:0.5 ===", "train loss:-1.0"
    ]  # fmt: skip
    assert printed[-2:] == ["=============== Final Test Accuracy ===============", "test acc:0.5"]


def test_a_trainer_can_be_quiet_and_evaluate_on_fewer_rows(capsys):
    x, t = np.arange(10.0).reshape(10, 1), np.arange(10)
    network = Recorder()
    trainer = Trainer(network, x, t, x, t, 1, 20, evaluate_sample_num_per_epoch=3, verbose=False)
    trainer.train()
    assert network.calls == ["gradient", "loss", 3, 3, 10]
    assert type(trainer.optimizer).__name__ == "SGD"
    assert trainer.optimizer.lr == 0.01
    assert not capsys.readouterr().out


def test_a_trainer_knows_the_rules_by_name():
    x, t = np.zeros((4, 1)), np.zeros(4, int)
    for name in ("SGD", "momentum", "Nesterov", "adagrad", "rmsprop", "ADAM"):
        trainer = Trainer(Recorder(), x, t, x, t, optimizer=name)
        assert type(trainer.optimizer).__name__.lower() == name.lower()
    with pytest.raises(KeyError):
        Trainer(Recorder(), x, t, x, t, optimizer="lbfgs")


# A report on chapter 4: a network of functions ----------------------------------------


class FunctionsNet:
    """784-50-10 with a sigmoid, of functions and ``np.dot``."""

    def __init__(self, input_size, hidden_size, output_size, weight_init_std=0.01):
        self.params = {}
        self.params["W1"] = weight_init_std * np.random.randn(input_size, hidden_size)
        self.params["b1"] = np.zeros(hidden_size)
        self.params["W2"] = weight_init_std * np.random.randn(hidden_size, output_size)
        self.params["b2"] = np.zeros(output_size)

    def predict(self, x):
        self.a1 = np.dot(x, self.params["W1"]) + self.params["b1"]
        self.z1 = sigmoid(self.a1)
        return softmax(np.dot(self.z1, self.params["W2"]) + self.params["b2"])

    def loss(self, x, t):
        return cross_entropy_error(self.predict(x), t)

    def accuracy(self, x, t):
        return np.sum(np.argmax(self.predict(x), axis=1) == np.argmax(t, axis=1)) / len(x)

    def gradient(self, x, t):
        dy = (self.predict(x) - t) / x.shape[0]
        da1 = sigmoid_grad(self.a1) * np.dot(dy, self.params["W2"].T)
        return {
            "W1": np.dot(x.T, da1),
            "b1": np.sum(da1, axis=0),
            "W2": np.dot(self.z1.T, dy),
            "b2": np.sum(dy, axis=0),
        }

    def numerical_gradient(self, x, t):
        def loss(_):
            return self.loss(x, t)

        return {key: numerical_gradient(loss, self.params[key]) for key in self.params}


# A report on chapter 5: a network of layers -------------------------------------------


class LayersNet:
    """784-50-10 with ReLU, of layers."""

    def __init__(self, input_size, hidden_size, output_size, weight_init_std=0.01):
        FunctionsNet.__init__(self, input_size, hidden_size, output_size, weight_init_std)
        self.layers = OrderedDict()
        self.layers["Affine1"] = Affine(self.params["W1"], self.params["b1"])
        self.layers["Relu1"] = Relu()
        self.layers["Affine2"] = Affine(self.params["W2"], self.params["b2"])
        self.last_layer = SoftmaxWithLoss()

    accuracy = FunctionsNet.accuracy
    numerical_gradient = FunctionsNet.numerical_gradient

    def predict(self, x):
        for layer in self.layers.values():
            x = layer.forward(x)
        return x

    def loss(self, x, t):
        return self.last_layer.forward(self.predict(x), t)

    def gradient(self, x, t):
        self.loss(x, t)
        dout = self.last_layer.backward(1)
        for layer in reversed(list(self.layers.values())):
            dout = layer.backward(dout)
        grads = {}
        for i in ("1", "2"):
            grads["W" + i], grads["b" + i] = (
                self.layers["Affine" + i].dW,
                self.layers["Affine" + i].db,
            )
        return grads


def train(network, iterations, batch_size=100, learning_rate=0.1):
    """The loop of both reports; the losses, and the accuracy at the end."""
    (x_train, t_train), (x_test, t_test) = MNIST
    losses = []
    for _ in range(iterations):
        batch_mask = np.random.choice(len(x_train), batch_size)
        x_batch, t_batch = x_train[batch_mask], t_train[batch_mask]
        grad = network.gradient(x_batch, t_batch)
        for key in ("W1", "b1", "W2", "b2"):
            network.params[key] -= learning_rate * grad[key]
        losses.append(network.loss(x_batch, t_batch))
    return losses, network.accuracy(x_test, t_test)


def trained_by_formulas(iterations, activation, slope):
    """The same training of the same network in plain NumPy."""
    (x_train, t_train), (x_test, t_test) = MNIST
    p = FunctionsNet(784, 50, 10).params
    losses = []
    for _ in range(iterations):
        batch = np.random.choice(60000, 100)
        x, t = x_train[batch].astype(float), t_train[batch]
        a1 = x @ p["W1"] + p["b1"]
        dy = (reference.softmax(activation(a1) @ p["W2"] + p["b2"]) - t) / 100
        da1 = slope(a1) * (dy @ p["W2"].T)
        steps = {"W1": x.T @ da1, "b1": da1.sum(0), "W2": activation(a1).T @ dy, "b2": dy.sum(0)}
        for key, step in steps.items():
            p[key] = p[key] - 0.1 * step
        y = reference.softmax(activation(x @ p["W1"] + p["b1"]) @ p["W2"] + p["b2"])
        losses.append(reference.cross_entropy(y, t.argmax(axis=1)))
    y = activation(x_test @ p["W1"] + p["b1"]) @ p["W2"] + p["b2"]
    return losses, np.mean(y.argmax(axis=1) == t_test.argmax(axis=1))


def test_a_network_of_functions_learns_as_in_numpy():
    np.random.seed(7)
    losses, accuracy = train(FunctionsNet(784, 50, 10), 60)
    np.random.seed(7)
    expected = trained_by_formulas(60, sigmoid, sigmoid_grad)
    assert_allclose(losses, expected[0], 1e-10)
    assert accuracy == expected[1]


def test_a_network_of_layers_learns_as_in_numpy():
    np.random.seed(7)
    losses, accuracy = train(LayersNet(784, 50, 10), 300)
    np.random.seed(7)
    expected = trained_by_formulas(300, lambda a: np.maximum(a, 0), lambda a: a > 0)
    assert_allclose(losses, expected[0], 1e-9)
    assert accuracy == expected[1]
    assert accuracy > 0.85


@pytest.mark.parametrize("kind", [FunctionsNet, LayersNet])
def test_the_gradient_check_of_the_reports(kind):
    (x_train, t_train), _ = MNIST
    x, t = x_train[:3, 300:340].copy(), t_train[:3]
    network = kind(40, 6, 10)
    numerical, backprop = network.numerical_gradient(x, t), network.gradient(x, t)
    for key in numerical:
        assert np.average(np.abs(backprop[key] - numerical[key])) < 1e-6


def test_a_gradient_as_a_function_that_has_a_last_layer_of_its_own():
    """Its slip, a loss layer that saw no forward pass, fails as it did for the author."""
    network, (x, t) = LayersNet(784, 50, 10), a_batch(3)
    network.loss(x, t)
    with pytest.raises(AttributeError, match="NoneType"):
        SoftmaxWithLoss().backward(1)


def test_a_trainer_trains_a_network():
    (x_train, t_train), (x_test, t_test) = MNIST
    network = MultiLayerNet(784, [50], 10)
    trainer = Trainer(network, x_train[:1000], t_train[:1000], x_test[:500], t_test[:500],
                      epochs=8, optimizer="adam", optimizer_param={"lr": 0.005},
                      verbose=False)  # fmt: skip
    trainer.train()
    assert len(trainer.train_loss_list) == 80
    assert trainer.train_loss_list[-1] < 0.3 < trainer.train_loss_list[0]
    assert trainer.test_acc_list[-1] > 0.8


# Arrays and methods of the book's readers -----------------------------------------------


@each_kind
@pytest.mark.parametrize("decay", [0, 0.1])
def test_gradients_of_weights_are_new_arrays_and_those_of_biases_the_layers(kind, decay):
    network, x, t = kind(6, [5], 4, weight_decay_lambda=decay), np.random.randn(7, 6), np.arange(7)
    gradient = network.gradient(x, t % 4)
    for i, layer in ((1, network.layers["Affine1"]), (2, network.layers["Affine2"])):
        assert not np.shares_memory(gradient[f"W{i}"], layer.dW)
        assert_array_equal(gradient[f"W{i}"], layer.dW + decay * layer.W)
        assert gradient[f"b{i}"] is layer.db


@each_kind
@pytest.mark.parametrize("of", ["class", "instance", "subclass"])
def test_a_backward_pass_of_the_readers_own_is_called_for_the_first_layer_too(
    kind, of, monkeypatch
):
    network, x, t = kind(6, [5], 4), np.random.randn(7, 6), np.arange(7) % 4
    expected, original, called = network.gradient(x, t), Affine.backward, []

    def backward(self, dout):
        called.append(self)
        return original(self, dout)

    first, second = (network.layers[key] for key in ("Affine1", "Affine2"))
    if of == "class":
        monkeypatch.setattr(Affine, "backward", backward)
    elif of == "instance":
        first.backward = lambda dout: backward(first, dout)
    else:
        first.__class__ = type("Watched", (Affine,), {"backward": backward})
    found = network.gradient(x, t)
    assert called == ([second, first] if of == "class" else [first])
    for key in expected:
        assert_array_equal(found[key], expected[key])
