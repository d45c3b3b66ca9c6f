"""What a terminal shows of long work: bars, and that kernels are being compiled."""

import io
import os
import sys
import types

import numpy as np
import pytest

import fastnn
from fastnn import cli, progress
from fastnn.compiler.jit import entry


class Screen(io.StringIO):
    """A terminal, and what a person sees on its last line."""

    def isatty(self):
        return True

    @property
    def line(self):
        return self.getvalue().rsplit("\r", 1)[-1]


@pytest.fixture
def screen():
    """Standard error; the module's own name for it, as pytest puts others in its place."""
    return Screen()


@pytest.fixture(autouse=True)
def standard_error(request, monkeypatch):
    if "screen" in request.fixturenames:
        shown = request.getfixturevalue("screen")
        monkeypatch.setattr(progress, "sys", types.SimpleNamespace(stderr=shown))


def never_compiled(name):
    """An entry of this name."""

    def function(x):
        return x + 1

    function.__name__ = name
    return entry(function, parallel=False)


def test_a_terminal_shows_that_kernels_are_compiled(screen):
    made = never_compiled("train")
    shown, write = [], screen.write
    screen.write = lambda text: (shown.append(text), write(text))[1]
    assert made.serial(1.0) == 2
    assert shown[0] == "\rfastnn: compiling 'train'; the next run finds it on disk"
    assert screen.line == ""  # it has gone
    assert len(shown) == 2
    made.serial(1.0)
    assert len(shown) == 2  # compiled once


@pytest.mark.parametrize("stream", [io.StringIO(), None, "closed"])
def test_nothing_is_said_where_no_one_looks(stream, monkeypatch):
    if stream == "closed":
        stream = Screen()
        stream.close()
    monkeypatch.setattr(sys, "stderr", stream)
    with progress.compiling_notice("train"):
        pass
    if isinstance(stream, io.StringIO) and not stream.closed:
        assert stream.getvalue() == ""


def test_who_asks_for_no_progress_is_not_told(screen):
    with progress.silence(), progress.compiling_notice("train"):
        assert screen.getvalue() == ""
    with progress.progress_bar(False, 3, "step") as bar, progress.compiling_notice("train"):
        bar.update(1)
    assert screen.getvalue() == ""
    with progress.compiling_notice("train"):
        assert screen.line.startswith("fastnn: compiling")


def test_a_quiet_command_does_not_tell(screen, monkeypatch):
    def run(**options):
        with progress.compiling_notice("train"):
            return 0

    monkeypatch.setattr("fastnn.recipes.step.run", run)
    assert cli.main(["show", "step", "--quiet"]) == 0
    assert screen.getvalue() == ""
    assert cli.main(["show", "step"]) == 0
    assert "compiling 'train'" in screen.getvalue()


def test_a_line_is_no_longer_than_the_terminal(screen, monkeypatch):
    monkeypatch.setattr(progress, "_columns", lambda: 30)
    with progress.compiling_notice("train"):
        assert len(screen.line) == 29
    assert screen.line == ""


def test_an_error_while_compiling_leaves_no_line(screen):
    with pytest.raises(KeyError), progress.compiling_notice("train"):
        raise KeyError
    assert screen.line == ""


@pytest.mark.parametrize("stream", [None, "closed"])
def test_a_bar_that_is_asked_for_without_a_stream_is_none(stream, monkeypatch):
    if stream == "closed":
        stream = io.StringIO()
        stream.close()
    monkeypatch.setattr(sys, "stderr", stream)
    net = fastnn.MLP([2, 1], output="identity", seed=0)
    net.fit(np.ones((4, 2)), np.ones(4), batch_size=2, progress=True)


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="no pseudo-terminals on this system")
def test_on_a_real_terminal(monkeypatch):
    ours, theirs = os.openpty()
    with open(theirs, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        with progress.compiling_notice("evaluate"):
            pass
        assert os.read(ours, 1000).startswith(b"\rfastnn: compiling 'evaluate'; ")
    os.close(ours)


class Full(Screen):
    """A terminal that takes nothing any more."""

    def write(self, text):
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("stream", [Full(), io.TextIOWrapper(io.BufferedWriter(io.BytesIO()))])
def test_a_bar_on_a_stream_that_fails_costs_nothing_but_itself(stream, monkeypatch):
    if not isinstance(stream, Full):
        stream.detach()
    monkeypatch.setattr("sys.stderr", stream)
    net = fastnn.MLP([2, 1], output="identity", seed=0)
    history = net.fit(np.ones((4, 2)), np.ones(4), batch_size=2, epochs=50, progress=True)
    assert history.steps == 100
