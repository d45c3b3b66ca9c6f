"""The gradient check of seed 004: its table, its bound, and where its numbers come from."""

import numpy as np
import pytest

import fastnn
from fastnn import cli, datasets
from fastnn.recipes import gradcheck
from fastnn.recipes.cross_entropy import DELTA

# Mean absolute differences as the document prints them; b2 is not in it.
PRINTED = {"W1": 4.859015284382053e-10, "b1": 2.8082409620486856e-09, "W2": 6.718198485296692e-09}


def checked(**options):
    lines = []
    found = gradcheck.run(**{"hidden": [3], "report": lines.append, **options})
    return found, lines


def test_the_network_of_the_document_differs_less_than_there():
    found, lines = checked(hidden=[50])
    assert "MLP([784, 50, 10], activation='relu', " in lines[0]
    assert "39760 parameters, 3 images, h 0.0001" in lines[0]
    assert list(found) == ["W1", "b1", "W2", "b2"]
    for name, printed in PRINTED.items():
        assert found[name].mean < printed
    # What the book's logarithm adds is what the document has.
    for name, printed in PRINTED.items():
        assert 0.5 < found[name].delta / printed < 2


def test_the_table_has_a_line_for_each_parameter():
    found, lines = checked(hidden=[3, 2])
    assert [line.split()[0] for line in lines[2:-1]] == ["W1", "b1", "W2", "b2", "W3", "b3"]
    for line in lines[2:-1]:
        name, *numbers = line.split()
        assert [float(number) for number in numbers] == pytest.approx(found[name], rel=0.05)
    assert lines[-1] == "all agree within 1e-07"
    assert gradcheck.too_large(found) == []


def test_differences_are_those_of_the_two_gradients():
    found, _ = checked(rows=2, seed=4, activation="tanh")
    net = fastnn.MLP([784, 3, 10], "tanh", dtype="float64", seed=4)
    x, t = datasets.load_mnist()[0]
    backprop, numerical = net.gradient(x[:2], t[:2]), net.numerical_gradient(x[:2], t[:2])
    for name, difference in found.items():
        apart = np.abs(backprop[name] - numerical[name])
        assert difference[:2] == (apart.mean(), apart.max())
        assert difference.gradient == np.abs(backprop[name]).mean()


def test_what_the_logarithm_of_the_book_adds():
    """Against a numerical gradient of -log(y + 1e-7) itself."""
    net = fastnn.MLP([784, 3, 10], dtype="float64", seed=0)
    x, t = datasets.load_mnist()[0]
    x, t, b2, h = x[:3], t[:3], net.params["b2"], 1e-4

    def loss():
        return -np.log(net.predict(x)[np.arange(3), t] + DELTA).mean()

    apart = []
    for k in range(10):
        b2[k] += h
        above = loss()
        b2[k] -= 2 * h
        numerical = (above - loss()) / (2 * h)
        b2[k] += h
        apart.append(abs(net.gradient(x, t)["b2"][k] - numerical))
    assert checked()[0]["b2"].delta == pytest.approx(np.mean(apart), rel=0.01)


@pytest.mark.parametrize("name", ["W1", "b2"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_wrong_gradient_is_found(capsys, monkeypatch, name, dtype):
    right = fastnn.MLP.gradient

    def wrong(net, x, t):
        gradients = right(net, x, t)
        gradients[name].flat[-1] += 2e-5  # W1 has no gradient there
        return gradients

    arguments = ["gradcheck", "--hidden", "3", "--dtype", dtype]
    assert cli.main(arguments) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("all agree within ")
    monkeypatch.setattr(fastnn.MLP, "gradient", wrong)
    assert cli.main(arguments) == 1
    printed = capsys.readouterr()
    bound = gradcheck.BOUNDS[dtype]
    assert printed.out.splitlines()[-1] == f"{name} differ by more than {bound:g}"
    assert printed.err == ""


def test_a_gradient_that_is_no_number_is_found(monkeypatch):
    right = fastnn.MLP.gradient
    monkeypatch.setattr(
        fastnn.MLP, "gradient", lambda *a: {k: v * np.nan for k, v in right(*a).items()}
    )
    assert gradcheck.too_large(checked()[0]) == ["W1", "b1", "W2", "b2"]


def test_where_a_relu_bends_a_smaller_h_decides(monkeypatch):
    """A bias that puts a unit just above its bend: within h = 1e-4, but not within 1e-6."""
    made = fastnn.MLP.__init__
    x = datasets.load_mnist()[0][0]

    def bent(net, *arguments, **options):
        made(net, *arguments, **options)
        if net.layer_sizes[1] == 3 and options.get("seed") == 0:
            net.params["b1"] = [1e-5 - float(x[0] @ net.params["W1"][:, 0]), 0, 0]

    monkeypatch.setattr(fastnn.MLP, "__init__", bent)
    found, lines = checked()
    assert (
        "differ by more than 1e-07, as they may where a ReLU bends: again with h 1e-06"
        in (lines[1])
    )
    assert lines[-1] == "all agree within 1e-07"
    assert gradcheck.too_large(found) == []


@pytest.mark.parametrize(
    ("hidden", "activation", "dtype", "seed"),
    [
        ([5, 5, 5], "relu", "float64", 0),
        ([5, 5, 5], "relu", "float64", 1),  # the third layer gets exactly 0 from the second
        ([5, 5, 5], "relu", "float64", 2),
        ([5, 5, 5, 5, 5], "relu", "float32", 1),
        ([5, 5, 5, 5], "leaky_relu", "float64", 0),
    ],
)
def test_sums_below_any_h_are_no_false_alarm(hidden, activation, dtype, seed):
    found, lines = checked(hidden=hidden, activation=activation, dtype=dtype, seed=seed)
    assert lines[2].endswith(" still do: again with every ReLU held on or off as it is")
    assert gradcheck.too_large(found, dtype) == []


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_wrong_gradient_is_found_where_relus_bend(monkeypatch, seed):
    right = fastnn.MLP.gradient

    def wrong(net, x, t):
        gradients = right(net, x, t)
        gradients["b3"] += 2e-5
        return gradients

    monkeypatch.setattr(fastnn.MLP, "gradient", wrong)
    assert gradcheck.too_large(checked(hidden=[5, 5, 5], seed=seed)[0]) == ["b3"]


@pytest.mark.parametrize("activation", ["relu", "leaky_relu"])
def test_the_held_loss_is_that_of_the_network_and_has_its_slopes(activation):
    net = fastnn.MLP([784, 4, 3, 10], activation, dtype="float64", weight_init=0.1, seed=0)
    x, t = datasets.load_mnist()[0]
    loss, params = gradcheck._held(net, x[:3], t[:3])
    assert loss() == pytest.approx(net.loss(x[:3], t[:3]), rel=1e-12)
    for name, gradient in net.gradient(x[:3], t[:3]).items():
        for place in [(0,) * gradient.ndim, (-1,) * gradient.ndim]:
            slope = gradcheck._slope(loss, params[name], place, 1e-4)
            assert slope == pytest.approx(gradient[place], abs=1e-8)
    assert all(np.array_equal(params[name], net.params[name]) for name in params)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--rows", "0"), "rows must be a positive integer, got 0"),
        (("--rows", "70000"), "rows must be at most the number of images, 60000, got 70000"),
        (("--h", "0"), "h must be a finite number above 0, got 0.0"),
        (("--hidden", "0"), "hidden must be a positive integer, got 0"),
        (("--activation", "step"), "activation must be one of"),
        (("--dtype", "int8"), "dtype must be one of 'float32', 'float64', got 'int8'"),
        (("--seed", "-1"), "seed must be a non-negative integer"),
        (("--threads", "0"), "threads must be a positive integer, got 0"),
        (("--data", "nowhere"), "nowhere: does not exist"),
    ],
)
def test_wrong_value_is_one_line_and_exit_code_2(capsys, options, text):
    assert cli.main(["gradcheck", *options]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert text in printed.err
    assert printed.err.count("\n") == 1


def test_quiet_prints_nothing(capfd):
    assert cli.main(["gradcheck", "--hidden", "2", "--rows", "1", "--quiet"]) == 0
    assert capfd.readouterr() == ("", "")
