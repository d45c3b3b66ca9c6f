"""The sine of seed 003: the errors of its own loop, the lines it prints and the pictures."""

import os
import re

import numpy as np
import pytest
import sine_in_numpy as document
from matplotlib import image

import fastnn
from fastnn.recipes import sine


def lines_of(**options):
    lines = []
    net, history = sine.run(**options, report=lines.append)
    return lines, net, history


def test_the_samples_are_those_of_the_document():
    x, t = sine.samples()
    assert x.tobytes() == document.input_data.tobytes()
    assert t.tobytes() == document.correct_data.tobytes()
    assert len(x) == 63


@pytest.mark.parametrize("seed", [0, 1])
def test_the_errors_are_those_of_the_loop_of_the_document(seed):
    start, orders, errors = document.train(601, 200, seed)
    x, t = sine.samples()
    net = fastnn.MLP([1, 3, 1], "sigmoid", "identity", dtype="float64")
    for name, value in start.items():
        net.params[name] = value
    batches = np.concatenate(orders)[:, np.newaxis]
    loss = net.fit(x[:, np.newaxis], t, batches=batches, optimizer=fastnn.SGD(document.eta)).loss
    found = loss.reshape(-1, len(x)).mean(axis=1)
    assert list(errors) == [0, 200, 400, 600]
    for epoch, error in errors.items():
        assert abs(found[epoch] - error) < 1e-10
    assert errors[0] > 10 * errors[600]  # something was learned


def test_the_lines_have_the_error_of_every_200th_epoch():
    lines, net, history = lines_of()
    assert lines[0].startswith("MLP([1, 3, 1], activation='sigmoid', output='identity', ")
    found = [re.fullmatch(r"Epoch:(\d+)/2001 Error:(\d\.\d{9})", line) for line in lines[1:-1]]
    assert [int(m[1]) for m in found] == list(range(0, 2001, 200))
    by_epoch = history.loss.reshape(2001, 63).mean(axis=1)
    assert [m[2] for m in found] == [f"{error:.9f}" for error in by_epoch[::200]]
    assert by_epoch[0] > 0.2
    assert by_epoch[-1] < 1e-4
    x, t = sine.samples()
    worst = np.abs(net.predict(x[:, np.newaxis])[:, 0] - t).max()
    assert re.fullmatch(rf"126063 steps in \d+\.\d\d s; largest error {worst:.3f}", lines[-1])
    assert worst < 0.05


def test_weights_and_biases_start_as_in_the_document():
    rng = np.random.default_rng(3)
    expected = [0.01 * rng.standard_normal(shape) for shape in ((1, 3), 3, (3, 1), 1)]
    net = fastnn.MLP([1, 3, 1], "sigmoid", "identity", bias_init=0.01, dtype="float64", seed=3)
    for found, wanted in zip(net.params.values(), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
    trained, _ = sine.run(epochs=1, lr=1e-12, dtype="float64", seed=3, report=lambda line: None)
    np.testing.assert_allclose(trained.params["W1"], expected[0], rtol=0, atol=1e-9)
    np.testing.assert_allclose(trained.params["b2"], expected[3], rtol=0, atol=1e-9)


def test_a_picture_of_each_reported_epoch_and_a_sheet(tmp_path):
    lines, *_ = lines_of(epochs=7, every=3, out=tmp_path / "new")
    assert sorted(os.listdir(tmp_path / "new")) == [
        "curves.png", "epoch-0000.png", "epoch-0003.png", "epoch-0006.png", "history.csv",
        "model.fastnn", "sheet.png",
    ]  # fmt: skip
    assert lines[-2] == (
        "wrote 3 pictures epoch-*.png, sheet.png, curves.png, history.csv and model.fastnn in "
        f"{tmp_path / 'new'}"
    )
    height, width = image.imread(tmp_path / "new" / "sheet.png").shape[:2]
    assert width > 3 * height
    one, other = ((tmp_path / "new" / f"epoch-000{n}.png").read_bytes() for n in (0, 6))
    assert one != other


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"every": 0}, "every must be a positive integer, got 0"),
        ({"epochs": 0}, "epochs must be a positive integer, got 0"),
        ({"hidden": [3, 0]}, "hidden must be a positive integer, got 0"),
        ({"lr": -1.0}, "lr must be a finite number above 0, got -1.0"),
        ({"every": 1, "out": "pictures"}, "at most 100 pictures, got 1 of 2001 epochs"),
    ],
)
def test_what_is_refused_is_refused_before_training(options, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = []
    with pytest.raises(ValueError, match=text):
        sine.run(**options, report=lines.append)
    assert lines == []
    assert os.listdir(tmp_path) == []
