"""The wheel: built as `pip` builds it, installed where nothing else of fastnn is, and run."""

import importlib
import json
import os
import re
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import numba
import pytest

from bench.processes import copy_sources

ROOT = Path(__file__).parents[1]
PROGRAM = Path(__file__).parent / "host_programs" / "all_faces.py"
INSTALLED = "fastnn/compiler/installed/code-"


def outside(**variables):
    """The environment of who knows nothing of these tests."""
    ours = ("NUMBA_", "FASTNN_", "PYTHONPATH")
    return {k: v for k, v in os.environ.items() if not k.startswith(ours)} | variables


def sources(folder):
    """A copy of what a build needs, so that it leaves nothing here."""
    copy_sources(folder / "sources")
    return folder / "sources"


def built(folder, *options, **variables):
    """Build a wheel with `pip`; the wheel, and what was said."""
    line = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-v", "-w", "made", *options, "."]
    done = subprocess.run(
        line, cwd=folder, env=outside(**variables), capture_output=True, text=True, timeout=1200
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = (folder / "made").glob("*.whl")
    return wheel, done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return built(sources(tmp_path_factory.mktemp("built")))[0]


@pytest.fixture(scope="module")
def environment(tmp_path_factory, wheel):
    """A virtual environment with the wheel alone; other packages come from that of the tests."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    library = sysconfig.get_path("purelib", vars={"base": str(folder)})
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(library)
    # A path in a .pth file: the .pth files there, an editable fastnn's among them, are not read.
    Path(library, "others.pth").write_text(sysconfig.get_path("purelib"))
    return folder


def run(environment, *arguments, **variables):
    """What a program prints that runs in the environment, with the warnings of Python errors."""
    python = environment / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    done = subprocess.run(
        [python, "-W", "error", *map(str, arguments)],
        cwd=environment,
        env=outside(**variables),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_has_code_for_both_precisions_and_nothing_else_of_a_build(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    code = [name for name in names if name.endswith(".nbc")]
    assert all(name.startswith(INSTALLED) for name in code)
    assert len({name.rsplit("/", 1)[0] for name in code}) == 1
    for entry in ("train", "evaluate", "predict", "train_one_by_one", "affine_gradients"):
        assert sum(f".{entry}_serial." in name for name in code) == 2
    assert wheel.name.endswith("-py3-none-any.whl")
    assert not [name for name in names if "__pycache__" in name or name.endswith(".tmp")]
    assert wheel.stat().st_size < 25e6


def test_nothing_is_compiled_from_the_start(environment, tmp_path):
    said = json.loads(run(environment, PROGRAM, FASTNN_CACHE_DIR=str(tmp_path / "cache")))
    assert said["fastnn"].startswith(str(environment.resolve()))
    assert said["compiled"] == []
    assert said["loaded"] > 30
    shown = run(environment, "-m", "fastnn", "cache", "info").splitlines()
    assert int(shown[-1].removeprefix("installed_files: ")) >= 36
    assert not (tmp_path / "cache").exists()


def test_the_numbers_are_those_of_compiled_code(environment, tmp_path):
    """The same in this environment's package with its code and without."""
    line = "train", "sine", "--epochs", "3"
    installed = run(environment, "-m", "fastnn", *line, FASTNN_CACHE_DIR=str(tmp_path / "cache"))
    compiled = run(environment, "-m", "fastnn", *line, FASTNN_CACHE="0")
    seconds = re.compile(r"[0-9.]+ s\b")
    assert seconds.sub("", installed) == seconds.sub("", compiled)
    assert not (tmp_path / "cache").exists()


def test_a_build_without_code_makes_the_same_wheel(tmp_path, wheel):
    without, _ = built(sources(tmp_path), FASTNN_COMPILE="no")
    assert without.name == wheel.name
    names = zipfile.ZipFile(without).namelist()
    assert names == [name for name in zipfile.ZipFile(wheel).namelist() if name in names]
    more = set(zipfile.ZipFile(wheel).namelist()) - set(names)
    assert {name.startswith(INSTALLED) for name in more} == {True}


def test_a_build_that_cannot_compile_is_no_error(tmp_path):
    """Here because the kernels cannot be imported; a missing Numba is the same."""
    folder = sources(tmp_path)
    (folder / "fastnn/kernels/train.py").write_text("raise ImportError('no Numba')\n")
    wheel, said = built(folder)
    assert re.search("the wheel carries no compiled code: .*no Numba", " ".join(said.split()))
    assert not [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".nbc")]


def test_numba_is_asked_for_as_it_is_installed(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "fastnn" / "building"))
    monkeypatch.delenv("FASTNN_COMPILE", raising=False)
    backend = importlib.import_module("backend")
    monkeypatch.setattr(backend.build_meta, "get_requires_for_build_wheel", lambda settings: [])
    assert f"numba=={numba.__version__}" in backend.compiler_wanted()
    asked = backend.get_requires_for_build_wheel()
    assert any(line.startswith("numba==") and "platform_machine" in line for line in asked)
    monkeypatch.setattr(backend.metadata, "distributions", lambda **_: [])
    assert backend.compiler_wanted() == ["numba>=0.66"]
    for no in ("no", "0", "OFF"):
        monkeypatch.setenv("FASTNN_COMPILE", no)
        assert not any("numba" in line for line in backend.get_requires_for_build_wheel())
    monkeypatch.setenv("FASTNN_COMPILE", "x86-64-v3 x86-64-v4")
    assert backend.levels() == ["x86-64-v3", "x86-64-v4"]
    monkeypatch.setenv("FASTNN_COMPILE", "x86-64-v3 v4")
    with pytest.raises(ValueError, match=r"FASTNN_COMPILE must be .*, not 'v4'"):
        backend.get_requires_for_build_wheel()
