"""The folder of a job: what is written into it when something is missing, broken or in the way."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fastnn
from fastnn import cli, command, plots
from fastnn.history import History
from fastnn.learning import Learning
from fastnn.recipes import quadratic, sine

ROOT = Path(__file__).parents[1]
FILES = {"history.csv", "model.fastnn"}
SINE = ("train", "sine", "--epochs", "3", "--every", "2")
JOBS = {
    "mnist": ("train", "mnist", "--iterations", "5"),
    "lenet": ("train", "lenet", "--epochs", "1", "--batch-size", "2000"),
    "quadratic": ("train", "quadratic", "--iterations", "20", "--widths", "2"),
    "sine": SINE,
}
PICTURES = {
    "mnist": {"confusion.png", "misread.png", "weights.png", "curves.png"},
    "lenet": {"confusion.png", "misread.png", "filters.png", "maps.png", "curves.png"},
    "quadratic": {"fit.png", "widths.png", "curves.png"},
    "sine": {"epoch-0000.png", "epoch-0002.png", "sheet.png", "curves.png"},
}
every_job = pytest.mark.parametrize("job", JOBS)


@every_job
@pytest.mark.parametrize(
    ("state", "first", "last"),
    [
        (
            "missing",
            "no pictures without matplotlib: pip install",
            "no pictures without matplotlib",
        ),
        (
            "broken",
            "no pictures, as matplotlib cannot be imported: OSError: libfreetype",
            "no pictures, as matplotlib cannot be imported",
        ),
    ],
)
def test_a_job_does_all_but_draw(tmp_path, job, state, first, last):
    program = str(ROOT / "tests" / "without_matplotlib.py")
    done = subprocess.run(
        [sys.executable, program, state, "fastnn", *JOBS[job], "--out", "out"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith(first)
    assert f"wrote history.csv and model.fastnn in out; {last}" in lines
    assert set(os.listdir(tmp_path / "out")) == FILES
    assert len(fastnn.load(tmp_path / "out" / "model.fastnn").params)


def test_a_backend_that_is_unknown_is_no_reason_not_to_train(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "nonsense"}
    done = subprocess.run(
        [sys.executable, "-m", "fastnn", *SINE, "--out", str(tmp_path)],
        env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "ValueError: Key backend: 'nonsense'" in done.stdout.splitlines()[0]
    assert set(os.listdir(tmp_path)) == FILES


@every_job
def test_a_picture_that_cannot_be_written_costs_no_other_file(capsys, monkeypatch, tmp_path, job):
    (tmp_path / "curves.png").mkdir()
    assert cli.main([*JOBS[job], "--out", str(tmp_path)]) == 1
    printed = capsys.readouterr()
    assert printed.err == "fastnn: curves.png could not be written: Is a directory\n"
    (wrote,) = (line for line in printed.out.splitlines() if line.startswith("wrote "))
    assert "curves.png" not in wrote
    assert set(os.listdir(tmp_path)) == FILES | PICTURES[job]


def test_pictures_fail_for_any_reason(capsys, monkeypatch, tmp_path):
    def fail(*given, **options):
        raise RuntimeError("libpng\nis old")

    monkeypatch.setattr(plots, "save", fail)
    assert cli.main([*SINE, "--out", str(tmp_path)]) == 1
    printed = capsys.readouterr()
    names = "2 pictures epoch-*.png and sheet.png"
    assert printed.err == f"fastnn: {names} could not be written: RuntimeError: libpng is old\n"
    assert f"wrote curves.png, history.csv and model.fastnn in {tmp_path}" in printed.out
    assert set(os.listdir(tmp_path)) == {"curves.png", *FILES}


def test_a_full_disk_leaves_what_still_fits(capsys, monkeypatch, tmp_path):
    def full(*given, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(plots, "save", full)
    monkeypatch.setattr(plots, "save_history", full)
    monkeypatch.setattr(History, "to_csv", full)
    with pytest.raises(
        command.NotWrittenError, match=r"^history\.csv, fit\.png, widths\.png and cur"
    ):
        quadratic.run(iterations=20, widths=[2], out=tmp_path)
    assert os.listdir(tmp_path) == ["model.fastnn"]
    monkeypatch.setattr(fastnn.MLP, "save", full)
    capsys.readouterr()
    assert cli.main([*SINE, "--out", str(tmp_path)]) == 1
    printed = capsys.readouterr()
    assert printed.err.endswith(" could not be written: No space left on device\n")
    assert "wrote" not in printed.out
    assert "189 steps in" in printed.out


def test_a_folder_that_is_removed_meanwhile_is_made_again(tmp_path):
    folder = tmp_path / "a" / "folder"

    def remove(line):
        if line.startswith("Epoch"):
            shutil.rmtree(tmp_path / "a", ignore_errors=True)

    sine.run(epochs=3, every=2, out=folder, report=remove)
    assert set(os.listdir(folder)) == FILES | PICTURES["sine"]


def test_files_are_there_before_the_pictures_are_drawn(monkeypatch, tmp_path):
    def interrupt(*given, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(plots, "save", interrupt)
    assert cli.main([*SINE, "--out", str(tmp_path)]) == 130
    assert set(os.listdir(tmp_path)) == FILES


# What is said of the training ----------------------------------------------------


@every_job
@pytest.mark.parametrize("hint", ["", "the inputs are not scaled"])
def test_a_hint_is_the_last_line(capsys, monkeypatch, tmp_path, job, hint):
    made = Learning.fit

    def fit(*given, **options):
        history = made(*given, **options)
        assert history.hint == ""
        history.hint = hint
        return history

    monkeypatch.setattr(Learning, "fit", fit)
    assert cli.main([*JOBS[job], "--out", str(tmp_path)]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert (last == hint) == bool(hint)
    assert cli.main([*JOBS[job], "--quiet"]) == 0
    assert capsys.readouterr().out == ""
