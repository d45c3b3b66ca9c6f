"""LeNet on digits: what the job prints, draws and writes, how it refuses, and what it reaches."""

import os
import re
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn import cli, datasets, plots
from fastnn.optimizers import Adam
from fastnn.recipes import lenet
from fastnn.schedules import Cosine

ROOT = Path(__file__).parents[1]
TRAIN = ("train", "lenet")
EPOCH = (
    r"epoch +(\d+\.\d+)  loss \d+\.\d+  train accuracy (\d\.\d+)  "
    r"test accuracy (\d\.\d+)  \d+\.\d s"
)
PICTURES = ["confusion.png", "misread.png", "filters.png", "maps.png", "curves.png"]
FILES = ["history.csv", "model.fastnn"]


@pytest.fixture(autouse=True)
def no_limit_is_left_behind():
    yield
    fastnn.set_num_threads(None)


def command(*arguments):
    """Exit code of the command line in this process."""
    try:
        return cli.main([*TRAIN, *arguments])
    except SystemExit as end:
        return end.code


def test_lines_of_a_run(capsys, digits):
    assert command("--data", digits, "--batch-size", "20", "--epochs", "2") == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    first, *epochs, last = printed.out.splitlines()
    assert first.startswith("ConvNet((1, 28, 28), [Conv(6, 5), MaxPool(2), Conv(16, 5), ")
    assert first.endswith(": 300 images to train on, 100 to test")
    assert [re.fullmatch(EPOCH, line)[1] for line in epochs] == ["1.00", "2.00"]
    assert re.fullmatch(r"30 steps in .* s, evaluations included; .* s in all", last)


def test_it_learns(digits):
    _, history = lenet.run(data=digits, batch_size=10, epochs=6, report=lambda line: None)
    assert history.test_accuracy[-1] > 0.95


def test_the_network_is_lenet(digits):
    net, _ = lenet.run(data=digits, epochs=1, report=lambda line: None)
    shapes = [net.params[f"W{k}"].shape for k in range(1, 6)]
    assert shapes == [(6, 1, 5, 5), (16, 6, 5, 5), (256, 120), (120, 84), (84, 10)]
    assert net.params.to_vector().size == 44_426


def test_the_rate_falls_to_zero_at_the_last_step(digits, monkeypatch):
    """Of 300 images in batches of 64, the last of which is short."""
    used, fit = [], fastnn.ConvNet.fit

    def recorded(net, *given, **how):
        used.append(how["optimizer"])
        return fit(net, *given, **how)

    monkeypatch.setattr(fastnn.ConvNet, "fit", recorded)
    quietly = {"report": lambda line: None}
    _, history = lenet.run(data=digits, lr=0.01, epochs=2, batch_size=64, **quietly)
    assert history.steps == 10
    assert used == [Adam(Cosine(0.01, 10))]


def test_options_and_seed_change_the_run(digits):
    def losses(**options):
        usual = {"epochs": 1, "batch_size": 100, "report": lambda line: None}
        return lenet.run(data=digits, **usual | options)[1].loss.tolist()

    usual = losses()
    assert losses(seed=0, lr=0.003, dtype="float32") == usual
    for other in ({"seed": 1}, {"lr": 0.002}, {"dtype": "float64"}, {"batch_size": 99}):
        assert losses(**other) != usual, other


def test_threads_are_limited_and_change_no_bit(digits, tmp_path):
    for threads in ("1", "2"):
        options = ("--quiet", "--epochs", "1", "--threads", threads)
        assert command("--data", digits, *options, "--out", str(tmp_path / threads)) == 0
        assert fastnn.threading_info()["limits"]["user"] == int(threads)
    one, two = ((tmp_path / n / "model.fastnn").read_bytes() for n in ("1", "2"))
    assert one == two


def test_files_of_a_run(capsys, digits, tmp_path):
    folder = tmp_path / "new" / "folder"
    assert command("--data", digits, "--epochs", "2", "--out", str(folder)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"wrote {', '.join(PICTURES)}, history.csv and model.fastnn in {folder}" in lines
    assert sorted(os.listdir(folder)) == sorted(PICTURES + FILES)
    for picture in PICTURES:
        assert (folder / picture).read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    net = fastnn.load(folder / "model.fastnn")
    x, t = datasets.load_mnist(path=digits)[1]
    reported = [re.fullmatch(EPOCH, line) for line in lines if line.startswith("epoch")]
    assert f"{net.accuracy(x, t):.4f}" == reported[-1][3]


def test_quiet_prints_nothing(capfd, digits, tmp_path):
    assert command("--data", digits, "--epochs", "1", "--quiet", "--out", str(tmp_path)) == 0
    assert capfd.readouterr() == ("", "")
    assert (tmp_path / "model.fastnn").is_file()


def test_pictures_show_the_filters_before_and_after_and_a_test_image(digits, monkeypatch, tmp_path):
    drawn = {}

    def record(name):
        real = getattr(plots, name)

        def draw(*given, **options):
            drawn[name] = given, options
            return real(*given, **options)

        monkeypatch.setattr(plots, name, draw)

    for name in ("filters", "feature_maps", "misread"):
        record(name)
    quietly = {"report": lambda line: None, "out": tmp_path}
    net, _ = lenet.run(data=digits, epochs=1, seed=3, **quietly)
    x, t = datasets.load_mnist(path=digits)[1]
    (after, _), options = drawn["filters"]
    np.testing.assert_array_equal(after, net.params["W1"])
    untrained = fastnn.ConvNet(lenet.IMAGE, lenet.LAYERS, seed=3)
    np.testing.assert_array_equal(options["before"], untrained.params["W1"])
    assert not np.array_equal(after, options["before"])
    (trained, image, _), _ = drawn["feature_maps"]
    assert trained is net
    np.testing.assert_array_equal(image, x[0])
    for found, wanted in zip(drawn["misread"][0], (x, t, net.predict(x)), strict=False):
        np.testing.assert_array_equal(found, wanted)


WRONG = {
    "no learning rate": (("--lr", "0"), "lr must be a finite number above 0, got 0.0"),
    "learning rate nan": (("--lr", "nan"), "lr must be a finite number above 0, got nan"),
    "no epochs": (("--epochs", "0"), "epochs must be a positive integer, got 0"),
    "half an epoch": (("--epochs", "0.5"), "--epochs: invalid int value: '0.5'"),
    "no batch": (("--batch-size", "0"), "batch_size must be a positive integer, got 0"),
    "batch above rows": (("--batch-size", "301"), "number of rows, 300, got 301"),
    "unknown dtype": (("--dtype", "int8"), "dtype must be one of 'float32', 'float64'"),
    "negative seed": (("--seed", "-1"), "seed must be a non-negative integer"),
    "no threads": (("--threads", "0"), "threads must be a positive integer, got 0"),
    "an option of another job": (("--hidden", "3"), "unrecognized arguments: --hidden 3"),
    "no data": (("--data", "nowhere"), "nowhere: does not exist; expected a folder with"),
    "out is a file": (("--out", __file__), f"out must be a folder, but {__file__} is or lies in"),
}


@pytest.mark.parametrize(("options", "text"), WRONG.values(), ids=WRONG)
def test_wrong_value_is_one_line_and_exit_code_2(capsys, digits, options, text):
    data = () if "--data" in options else ("--data", digits)
    assert command(*data, *options) == 2
    printed = capsys.readouterr()
    assert text in printed.err
    assert printed.err.startswith("fastnn")
    assert printed.err.count("\n") == 1
    assert "epoch" not in printed.out


def test_divergence_is_one_line_and_exit_code_1(capsys, digits):
    assert command("--data", digits, "--lr", "1e30") == 1
    printed = capsys.readouterr()
    assert re.fullmatch(r"fastnn: the loss became (nan|inf) at step \d+; .+\n", printed.err)


def test_the_page_shows_that_it_reaches_98_percent_and_a_half():
    """And tests/test_pages.py that the page shows what a run with the defaults prints."""
    page = (ROOT / "fastnn" / "recipes" / "README.md").read_text(encoding="utf-8")
    shown = re.search(r"^fastnn train lenet\n```\n\n```text\n(.*?)^```$", page, re.M | re.S)[1]
    assert float(re.findall(EPOCH, shown)[-1][2]) >= 0.985
