"""Settings and fixtures that the tests share."""

import os
import struct
import subprocess
import sys
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from kernels_on_disk import Kept, Kernels
from model_files import ARRAYS, DESCRIPTION

from fastnn.compiler import runtime
from fastnn.files import write_model

ROOT = Path(__file__).parents[1]

# The same examples on every run; machines shared with others are too noisy for deadlines.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture
def rng():
    return np.random.default_rng(20)


@pytest.fixture(params=["serial", "parallel"])
def both_builds(request):
    """Run a test twice: all work in one thread, and all that may in several."""
    with runtime.forced(parallel=request.param == "parallel"):
        yield request.param


@pytest.fixture(scope="session")
def code_folder(request, tmp_path_factory):
    """Where processes of tests keep other builds, from one run of the tests to the next."""
    cache = getattr(request.config, "cache", None)
    return cache.mkdir("compiled") if cache else tmp_path_factory.mktemp("compiled")


@pytest.fixture
def cache_folder(tmp_path, monkeypatch):
    """A compile cache of its own for a test, and the programs that it starts."""
    folder = tmp_path / "code"
    monkeypatch.setenv("FASTNN_CACHE_DIR", str(folder))
    monkeypatch.delenv("FASTNN_CACHE", raising=False)
    return folder


@pytest.fixture
def kernels(tmp_path):
    return Kernels(tmp_path)


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
    """A build of which Numba has compiled two signatures, and of which nothing is kept yet."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTNN_CACHE", "0")
        build = Kernels(tmp_path_factory.mktemp("kernels")).load().scaled.serial
        assert (build(1, 2), build(1, 2.5)) == (20, 25.0)
    return build


@pytest.fixture
def kept(compiled, cache_folder):
    return Kept(compiled)


@pytest.fixture
def model(tmp_path):
    """The file of a model."""
    path = tmp_path / "net.fastnn"
    write_model(path, DESCRIPTION, ARRAYS)
    return path


@pytest.fixture
def numpys_seed():
    """A start for random numbers of NumPy's own, which the book draws."""
    np.random.seed(31)


@pytest.fixture
def book(tmp_path):
    """Write scripts of the book into a folder, and run one of them from another folder.

    A script named common__layers is common/layers.py, one named wrong is ch05/wrong.py.
    """
    (tmp_path / "elsewhere").mkdir()

    def run(*arguments, alone=False, **scripts):
        for name, text in scripts.items():
            folder, _, name = name.partition("__") if "__" in name else ("ch05", "", name)
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
            (tmp_path / folder / f"{name}.py").write_text(text, encoding="utf-8")
        environment = os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"}
        return subprocess.run(
            [sys.executable, *([] if alone else ["-m", "fastnn.book"]), *arguments],
            cwd=tmp_path / "elsewhere",
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    """A folder with four IDX files: 300 and 100 noisy images, class k bright around row 2k."""
    folder = tmp_path_factory.mktemp("digits")
    rng = np.random.default_rng(1)
    for stem, rows in (("train", 300), ("t10k", 100)):
        labels = np.arange(rows, dtype=np.uint8) % 10
        images = rng.integers(0, 60, (rows, 28, 28), dtype=np.uint8)
        images[np.arange(rows), 2 * labels + 4] += 150
        header = struct.pack(">4B3I", 0, 0, 8, 3, *images.shape)
        (folder / f"{stem}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        header = struct.pack(">4BI", 0, 0, 8, 1, rows)
        (folder / f"{stem}-labels-idx1-ubyte").write_bytes(header + labels.tobytes())
    return str(folder)
