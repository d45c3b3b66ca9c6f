"""The command line: what it prints and writes, how it refuses, and what the main job reaches."""

import csv
import io
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn import cli, datasets, plots, warming
from fastnn.optimizers import OPTIMIZERS
from fastnn.recipes import mnist

ROOT = Path(__file__).parents[1]
TRAIN = ("train", "mnist")
NO_PICTURES = (
    'no pictures without matplotlib: pip install "fastnn[plots]", '
    'or in a checkout pip install ".[plots]"'
)
NUMBER = r"\d+\.\d+"
FIRST = r"MLP\(\[784, 50, 10\], activation='relu', .*\): (\d+) images to train on, (\d+) to test"
EPOCH = (
    rf"epoch +({NUMBER})  loss ({NUMBER})  train accuracy ({NUMBER})  "
    rf"test accuracy ({NUMBER})  {NUMBER} s"
)
LAST = rf"(\d+) steps in {NUMBER} s, evaluations included; {NUMBER} s in all"


@pytest.fixture(autouse=True)
def no_limit_is_left_behind():
    yield
    fastnn.set_num_threads(None)


def run(*arguments):
    """Exit code of the command line in this process."""
    try:
        return cli.main(arguments)
    except SystemExit as end:
        return end.code


def start(*arguments, **options):
    return subprocess.Popen(
        [sys.executable, str(ROOT / "tests" / "at_a_terminal.py"), "fastnn", *arguments],
        cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, **options,
    )  # fmt: skip


def without_times(text):
    return re.sub(rf"{NUMBER} s\b", "- s", text).splitlines()


# What it prints ------------------------------------------------------------------


def test_lines_of_a_run(capsys, digits):
    assert run(*TRAIN, "--data", digits, "--batch-size", "20", "--iterations", "40") == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    first, *epochs, last = printed.out.splitlines()
    assert re.fullmatch(FIRST, first).groups() == ("300", "100")
    found = [re.fullmatch(EPOCH, line).groups() for line in epochs]
    assert [epoch for epoch, *_ in found] == ["1.00", "2.00", "2.67"]
    assert re.fullmatch(LAST, last)[1] == "40"


def test_each_line_is_flushed(monkeypatch, digits):
    class Stream(io.StringIO):
        def flush(self):
            flushed.append(self.getvalue())

    flushed = []
    monkeypatch.setattr(sys, "stdout", Stream())
    assert run(*TRAIN, "--data", digits, "--epochs", "2") == 0
    assert [text.count("\n") for text in flushed] == [1, 2, 3, 4]


def test_it_learns(capsys, digits):
    assert run(*TRAIN, "--data", digits, "--batch-size", "10", "--epochs", "10") == 0
    last_epoch = capsys.readouterr().out.splitlines()[-2]
    assert float(re.fullmatch(EPOCH, last_epoch)[4]) > 0.95


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (("--hidden", "20", "8"), "MLP([784, 20, 8, 10], activation='relu', "),
        (("--activation", "tanh"), "MLP([784, 50, 10], activation='tanh', "),
        (("--dtype", "float64"), "dtype='float64')"),
        (("--optimizer", "sgd", "--lr", "0.2"), "MLP("),
    ],
)
def test_options_reach_the_network(capsys, digits, options, shown):
    assert run(*TRAIN, "--data", digits, "--iterations", "3", *options) == 0
    assert shown in capsys.readouterr().out


def test_learning_rate_and_seed_change_the_run(capsys, digits):
    def printed(*options):
        assert run(*TRAIN, "--data", digits, "--epochs", "2", *options) == 0
        return without_times(capsys.readouterr().out)

    usual = printed()
    assert printed("--lr", "0.1", "--seed", "0", "--batch-size", "100") == usual
    assert printed("--lr", "0.2") != usual
    assert printed("--seed", "1") != usual
    assert printed("--batch-size", "99") != usual


def test_quiet_prints_nothing(capfd, digits, tmp_path):
    assert run(*TRAIN, "--data", digits, "--epochs", "1", "--quiet", "--out", str(tmp_path)) == 0
    assert capfd.readouterr() == ("", "")
    assert (tmp_path / "model.fastnn").is_file()


def test_threads_are_limited_and_change_no_bit(digits, tmp_path):
    for threads in ("1", "2"):
        folder = str(tmp_path / threads)
        options = ("--quiet", "--epochs", "3", "--threads", threads, "--out", folder)
        assert run(*TRAIN, "--data", digits, *options) == 0
        assert fastnn.threading_info()["limits"]["user"] == int(threads)
    one, two = ((tmp_path / n / "model.fastnn").read_bytes() for n in ("1", "2"))
    assert one == two


def test_help_and_version(capsys):
    assert run("--version") == 0
    assert capsys.readouterr().out == f"fastnn {fastnn.__version__}\n"
    assert run(*TRAIN, "--help") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "--batch-size N rows per step (default: 100)" in text
    assert "default: None" not in text


def test_cache_is_shown_and_cleared(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("FASTNN_CACHE", "1")
    monkeypatch.setenv("FASTNN_CACHE_DIR", str(tmp_path))
    kept = tmp_path / f"code-{0:032x}" / "kept.nbc"
    kept.parent.mkdir(mode=0o755)
    kept.write_bytes(b"12345")
    assert run("cache", "info") == 0
    shown = capsys.readouterr().out.splitlines()
    counts = ["files: 1", "bytes: 5", "installed_files: 0"]
    assert shown == [f"folder: {tmp_path}", "reason: FASTNN_CACHE_DIR", *counts]
    assert run("cache", "clear") == 0
    assert capsys.readouterr().out == "removed 1 files\n"
    assert not kept.exists()


def test_everything_is_compiled_at_once(capsys, monkeypatch, tmp_path):
    """And nothing twice; without a place to keep it there is one line that says so."""
    monkeypatch.setattr(warming, "everything", lambda dtype: iter([("a sum", lambda: None)]))
    monkeypatch.setenv("FASTNN_CACHE", "1")
    monkeypatch.setenv("FASTNN_CACHE_DIR", str(tmp_path))
    kept = tmp_path / f"code-{0:032x}" / "kept.nbc"
    assert run("cache", "warm") == 1
    assert f"nothing could be written to {tmp_path}" in capsys.readouterr().err
    kept.parent.mkdir(mode=0o755)
    kept.write_bytes(b"12345")
    assert run("cache", "warm") == 0
    *steps, last = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in steps] == [
        [f"{d}:", "a", "sum"] for d in warming.PRECISIONS
    ]
    assert last.startswith(f"1 files, 0.0 MB, in {tmp_path}; 0 came with fastnn; ")
    assert run("cache", "warm", "--quiet", "--dtype", "float64") == 0
    assert capsys.readouterr().out == ""
    monkeypatch.setenv("FASTNN_CACHE", "0")
    capsys.readouterr()
    assert run("cache", "warm") == 2
    assert "nothing can be kept on disk: switched off by FASTNN_CACHE" in capsys.readouterr().err


# What it writes ------------------------------------------------------------------


def test_files_of_a_run(capsys, digits, tmp_path):
    folder = tmp_path / "new" / "folder"
    assert run(*TRAIN, "--data", digits, "--epochs", "3", "--out", str(folder)) == 0
    lines = capsys.readouterr().out.splitlines()
    pictures = ["confusion.png", "misread.png", "weights.png", "curves.png"]
    assert f"wrote {', '.join(pictures)}, history.csv and model.fastnn in {folder}" in lines
    assert sorted(os.listdir(folder)) == sorted([*pictures, "history.csv", "model.fastnn"])
    for picture in pictures:
        assert (folder / picture).read_bytes().startswith(b"\x89PNG\r\n\x1a\n")

    with (folder / "history.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    columns = "iteration loss train_loss test_loss train_accuracy test_accuracy"
    assert header == columns.split()
    assert [row[0] for row in rows] == [str(i) for i in range(1, 10)]
    assert [row[0] for row in rows if row[-1]] == ["3", "6", "9"]

    reported = [re.fullmatch(EPOCH, line) for line in lines if line.startswith("epoch")]
    assert [f"{float(row[-1]):.4f}" for row in rows if row[-1]] == [m[4] for m in reported]
    net = fastnn.load(folder / "model.fastnn")
    (x, t), (x_test, t_test) = datasets.load_mnist(path=digits)
    assert f"{net.accuracy(x, t):.4f}" == reported[-1][3]
    assert f"{net.accuracy(x_test, t_test):.4f}" == reported[-1][4]


def test_pictures_of_digits_show_the_test_images(monkeypatch, digits, tmp_path):
    drawn = {}
    for name in ("confusion", "misread", "hidden_weights"):
        real = getattr(plots, name)
        monkeypatch.setattr(
            plots, name, lambda *given, real=real, name=name: real(*drawn.setdefault(name, given))
        )
    quietly = {"report": lambda line: None, "out": tmp_path}
    net, _ = mnist.run(data=digits, iterations=2, **quietly)
    x, t = datasets.load_mnist(path=digits)[1]
    y = net.predict(x)
    expected = {
        "confusion": (t, y.argmax(axis=1)),
        "misread": (x, t, y),
        "hidden_weights": (net.params["W1"],),
    }
    for name, arrays in expected.items():
        *given, ax = drawn[name]
        for found, wanted in zip(given, arrays, strict=True):
            np.testing.assert_array_equal(found, wanted)
        assert ax.get_title()


def test_files_are_written_over(digits, tmp_path):
    for seed in ("1", "2"):
        options = ("--quiet", "--iterations", "2", "--seed", seed, "--out", str(tmp_path))
        assert run(*TRAIN, "--data", digits, *options) == 0
    net, _ = mnist.run(data=digits, iterations=2, seed=2, report=lambda line: None)
    kept = fastnn.load(tmp_path / "model.fastnn")
    assert kept.params["W1"].tobytes() == net.params["W1"].tobytes()


# How it refuses ------------------------------------------------------------------

WRONG = {
    "unknown activation": (("--activation", "rellu"), "activation must be one of"),
    "no learning rate": (("--lr", "0"), "lr must be a finite number above 0, got 0.0"),
    "learning rate nan": (("--lr", "nan"), "lr must be a finite number above 0, got nan"),
    "learning rate no number": (("--lr", "fast"), "--lr: invalid float value: 'fast'"),
    "negative batch": (("--batch-size", "-1"), "batch_size must be a positive integer, got -1"),
    "batch above rows": (("--batch-size", "301"), "number of rows, 300, got 301"),
    "half a row": (("--batch-size", "1.5"), "--batch-size: invalid int value: '1.5'"),
    "unknown option": (("--colour", "red"), "unrecognized arguments: --colour red"),
    "two lengths": (("--epochs", "1", "--iterations", "1"), "not allowed with argument --epochs"),
    "no epochs": (("--epochs", "0"), "epochs must be a positive integer, got 0"),
    "no steps": (("--iterations", "0"), "iterations must be a positive integer, got 0"),
    "empty layer": (("--hidden", "20", "0"), "hidden must be a positive integer, got 0"),
    "no width": (("--hidden",), "--hidden: expected at least one argument"),
    "unknown dtype": (("--dtype", "int8"), "dtype must be one of 'float32', 'float64', got 'int8'"),
    "unknown optimizer": (
        ("--optimizer", "sdg"),
        f"optimizer must be one of {', '.join(OPTIMIZERS)}, got 'sdg'",
    ),
    "negative seed": (("--seed", "-1"), "seed must be a non-negative integer"),
    "no threads": (("--threads", "0"), "threads must be a positive integer, got 0"),
    "no data": (("--data", "nowhere"), "nowhere: does not exist; expected a folder with"),
    "data is a file": (("--data", __file__), "not a folder; expected a folder with"),
    "no IDX files": (("--data", str(ROOT / "tests")), "no train-images-idx3-ubyte"),
    "out is a file": (("--out", __file__), f"out must be a folder, but {__file__} is or lies in"),
    "out in a file": (("--out", f"{__file__}/x"), "out must be a folder, but "),
}


@pytest.mark.parametrize(("options", "text"), WRONG.values(), ids=WRONG)
def test_wrong_value_is_one_line_and_exit_code_2(capsys, digits, options, text):
    data = () if "--data" in options else ("--data", digits)
    assert run(*TRAIN, *data, *options) == 2
    printed = capsys.readouterr()
    assert text in printed.err
    assert printed.err.startswith("fastnn")
    assert printed.err.endswith("\n")
    assert printed.err.count("\n") == 1
    assert "epoch" not in printed.out


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("train",),
        ("train", "mnits"),
        ("show",),
        ("show", "chains"),
        ("gradcheck", "mnist"),
        ("test",),
        ("cache",),
        ("cache", "empty"),
    ],
)
def test_wrong_command_is_one_line_and_exit_code_2(capsys, arguments):
    assert run(*arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert re.fullmatch("fastnn.*: .+\n", printed.err)


def test_out_without_matplotlib(capsys, monkeypatch, digits, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    folder = tmp_path / "out"
    assert run(*TRAIN, "--data", digits, "--iterations", "3", "--out", str(folder)) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out.splitlines()[0] == NO_PICTURES
    page = ROOT / "fastnn" / "training" / "README.md"
    assert NO_PICTURES in page.read_text(encoding="utf-8").splitlines()
    last = f"wrote history.csv and model.fastnn in {folder}; no pictures without matplotlib"
    assert last in printed.out.splitlines()
    assert sorted(os.listdir(folder)) == ["history.csv", "model.fastnn"]
    assert run(*TRAIN, "--data", digits, "--iterations", "1", "--quiet", "--out", str(folder)) == 0
    assert capsys.readouterr() == ("", "")


def test_no_folder_is_made_for_data_that_is_missing(digits, tmp_path):
    assert run(*TRAIN, "--data", str(tmp_path / "no"), "--out", str(tmp_path / "out")) == 2
    assert not (tmp_path / "out").exists()


def test_out_that_cannot_be_written(capsys, monkeypatch, digits, tmp_path):
    plots.require_matplotlib()  # it asks for folders of its own when it is imported
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    assert run(*TRAIN, "--data", digits, "--out", str(tmp_path)) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == f"fastnn: out must be a folder that can be written, not {tmp_path}\n"


def test_divergence_is_one_line_and_exit_code_1(capsys, digits):
    assert run(*TRAIN, "--data", digits, "--lr", "1e30") == 1
    printed = capsys.readouterr()
    assert re.fullmatch(r"fastnn: the loss became (nan|inf) at step \d+; .+\n", printed.err)
    assert "epoch" not in printed.out


# The other recipes ---------------------------------------------------------------

SHORT = {
    "quadratic": ("train", "quadratic", "--iterations", "20", "--widths", "2", "3"),
    "sine": ("train", "sine", "--epochs", "3", "--every", "2"),
}
EXAMPLES = {"step": ("show", "step"), "chain": ("show", "chain")}
SMALL_CHECK = ("gradcheck", "--hidden", "2", "--rows", "1")
every_job = pytest.mark.parametrize("job", SHORT)


@every_job
@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (("--hidden", "4", "2"), ", 4, 2, 1], activation="),
        (("--activation", "tanh"), "activation='tanh'"),
        (("--dtype", "float64"), "dtype='float64'"),
        (("--lr", "0.0123"), "lr 0.0123"),
    ],
)
def test_options_reach_the_networks_of_other_jobs(capsys, job, options, shown):
    assert run(*SHORT[job], *options) == 0
    assert shown in capsys.readouterr().out.splitlines()[0]


@every_job
def test_seed_changes_other_jobs(capsys, job):
    def printed(*options):
        assert run(*SHORT[job], *options) == 0
        return without_times(capsys.readouterr().out)

    usual = printed()
    assert printed("--seed", "0") == usual
    assert printed("--seed", "1") != usual


@every_job
def test_other_jobs_are_quiet_and_write_their_files(capfd, job, tmp_path):
    plots.require_matplotlib()
    assert run(*SHORT[job], "--quiet", "--out", str(tmp_path)) == 0
    assert capfd.readouterr() == ("", "")
    names = os.listdir(tmp_path)
    assert {"curves.png", "history.csv", "model.fastnn"} < set(names)
    assert len([name for name in names if name.endswith(".png")]) >= 3
    assert fastnn.load(tmp_path / "model.fastnn").layer_sizes[-1] == 1


@every_job
def test_other_jobs_without_matplotlib(capsys, monkeypatch, job, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert run(*SHORT[job], "--out", str(tmp_path / "out")) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out.startswith(NO_PICTURES)
    assert sorted(os.listdir(tmp_path / "out")) == ["history.csv", "model.fastnn"]
    assert run(*SHORT[job]) == 0
    assert NO_PICTURES not in capsys.readouterr().out


@every_job
def test_divergence_of_other_jobs(capsys, job):
    assert run(*SHORT[job], "--lr", "1e30") == 1
    assert re.fullmatch(r"fastnn: the .+ step \d+; .+\n", capsys.readouterr().err)


WRONG_ELSEWHERE = {
    "one bound": (("train", "quadratic", "--range", "1"), "--range: expected 2 arguments"),
    "empty range": (("train", "quadratic", "--range", "1", "1"), "range must be two numbers from"),
    "no width": (("train", "quadratic", "--widths", "0"), "widths must be a positive integer"),
    "quadratic has no epochs": (("train", "quadratic", "--epochs", "3"), "unrecognized arguments"),
    "no epochs": (("train", "sine", "--epochs", "0"), "epochs must be a positive integer, got 0"),
    "never": (("train", "sine", "--every", "0"), "every must be a positive integer, got 0"),
    "no rate": (("train", "sine", "--lr", "0"), "lr must be a finite number above 0, got 0.0"),
    "no layer": (("train", "sine", "--hidden", "0"), "hidden must be a positive integer, got 0"),
    "not a type": (("train", "sine", "--dtype", "int8"), "dtype must be one of"),
    "not a seed": (("train", "sine", "--seed", "-1"), "seed must be a non-negative integer"),
    "a file": (("train", "sine", "--out", __file__), "out must be a folder, but"),
    "step, no rate": (("show", "step", "--lr", "-1"), "lr must be a finite number above 0"),
    "step, not a type": (("show", "step", "--dtype", "half"), "dtype must be one of"),
    "chain, not a type": (("show", "chain", "--dtype", "half"), "dtype must be one of"),
}


@pytest.mark.parametrize(("arguments", "text"), WRONG_ELSEWHERE.values(), ids=WRONG_ELSEWHERE)
def test_wrong_value_elsewhere_is_one_line_and_exit_code_2(capsys, arguments, text):
    assert run(*arguments) == 2
    printed = capsys.readouterr()
    assert text in printed.err
    assert printed.err.startswith("fastnn")
    assert printed.err.count("\n") == 1
    assert printed.out == ""


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples(capsys, example):
    assert run(*EXAMPLES[example]) == 0
    usual = capsys.readouterr()
    assert len(usual.out.splitlines()) > 8
    assert usual.err == ""
    assert run(*EXAMPLES[example], "--quiet") == 0
    assert capsys.readouterr() == ("", "")
    assert run(*EXAMPLES[example], "--dtype", "float32") == 0


def test_gradient_check(capsys):
    assert run(*SMALL_CHECK, "--threads", "1", "--activation", "sigmoid", "--seed", "3") == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "MLP([784, 2, 10], activation='sigmoid'" in printed.out
    assert fastnn.threading_info()["limits"]["user"] == 1


# In a process of its own ---------------------------------------------------------


def test_module_prints_what_main_prints(capsys, digits):
    arguments = (*TRAIN, "--data", digits, "--epochs", "2")
    process = start(*arguments)
    out, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (0, "")
    assert run(*arguments) == 0
    assert without_times(out) == without_times(capsys.readouterr().out)


def test_module_passes_the_exit_code_on():
    process = start(*TRAIN, "--lr", "0")
    assert process.communicate(timeout=300) == (
        "",
        "fastnn: lr must be a finite number above 0, got 0.0\n",
    )
    assert process.returncode == 2


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_interrupt_ends_with_130(digits):
    with start(*TRAIN, "--data", digits, "--iterations", "1000000000") as process:
        while not process.stdout.readline().startswith("epoch"):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "fastnn: interrupted\n")


@pytest.mark.skipif(os.name != "posix", reason="Windows reports a closed pipe otherwise")
def test_reader_that_goes_away(digits):
    with start(*TRAIN, "--data", digits, "--iterations", "1000000000") as process:
        assert process.stdout.readline().startswith("MLP")
        process.stdout.close()
        assert process.wait(timeout=300) == 1
        assert process.stderr.read() == ""


# The main job, in full -----------------------------------------------------------


def test_main_job_prints_what_the_readme_shows(capsys):
    assert run(*TRAIN) == 0
    printed = capsys.readouterr().out
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = re.search(r"^```text\n(MLP.*?)^```$", readme, re.M | re.S)[1]
    assert without_times(printed) == without_times(shown)
    assert float(re.findall(EPOCH, printed)[-1][3]) >= 0.963


def test_main_job_with_sigmoid(capsys):
    assert run(*TRAIN, "--activation", "sigmoid") == 0
    assert float(re.findall(EPOCH, capsys.readouterr().out)[-1][3]) >= 0.94
