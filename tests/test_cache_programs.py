"""The compile cache of whole programs: one after the other, at once, forked, in a zip file."""

import json
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from kernels_on_disk import cached_files

import fastnn

PROGRAMS = Path(__file__).parent / "host_programs"
PACKAGE = Path(fastnn.__file__).parent
pytestmark = pytest.mark.usefixtures("cache_folder")


def program(name, *arguments, timeout=60, **environment):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA_", "FASTNN_CACHE"))}
    return subprocess.Popen(
        [sys.executable, str(PROGRAMS / f"{name}.py"), *arguments],
        env=kept | {"PYTHONPATH": str(PACKAGE.parent), "NUMBA_NUM_THREADS": "2"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def last_line(process, timeout=60):
    try:
        output, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    assert process.returncode == 0, output
    return output.splitlines()[-1]


def test_a_second_process_compiles_nothing_and_starts_fast(cache_folder):
    environment = {"FASTNN_CACHE_DIR": str(cache_folder)}
    first = json.loads(last_line(program("warm", **environment)))
    assert (first["loaded"], first["compiled"]) == (0, 2)
    second = json.loads(last_line(program("warm", **environment)))
    assert (second["loaded"], second["compiled"]) == (2, 0)
    assert second["slow_imports"] == []
    assert first["cache"] == second["cache"]


FIRST_FIT = """
import sys, llvmlite.binding, numba, numpy as np
from numba.core.runtime import rtsys
made, sizes, make, parse = [], [], numba.njit, llvmlite.binding.parse_bitcode
numba.njit = lambda *function, **flags: made.append(function) or make(*function, **flags)
llvmlite.binding.parse_bitcode = lambda code, *more: sizes.append(len(code)) or parse(code, *more)
import fastnn
assert not made
fastnn.MLP([4, 3, 2], seed=0).fit(np.ones((6, 4)), [0, 1, 0, 1, 0, 1], batch_size=2)
print(len(made), max(sizes, default=0), "numba.np.arraymath" in sys.modules, rtsys._init)
"""


def test_a_first_fit_with_kept_code_makes_and_loads_what_it_needs_only():
    """Few of 250 dispatchers, no code to inline elsewhere, and none of Numba's own kernels."""
    for _ in range(2):  # the first may compile
        program = subprocess.run([sys.executable, "-c", FIRST_FIT], capture_output=True, text=True,
                                 env=os.environ | {"PYTHONPATH": str(PACKAGE.parent)}, timeout=200,
                                 check=True)  # fmt: skip
    dispatchers, longest, *of_numba = program.stdout.split()
    assert int(dispatchers) < 10
    assert int(longest) < 10_000
    assert of_numba == ["False", "False"]


def test_processes_that_start_at_once(cache_folder):
    """Two signatures, one of them twice, into one empty folder; then all is there and right."""
    environment = {"FASTNN_CACHE_DIR": str(cache_folder)}
    dtypes = ("float32", "float64", "float64")
    started = [program("warm", dtype, **environment) for dtype in dtypes]
    for process in started:
        last_line(process)
    assert len(cached_files(cache_folder)) == 4
    assert not list(cache_folder.glob("*/*.tmp"))
    report = json.loads(last_line(program("warm", "float32", "float64", **environment)))
    assert (report["loaded"], report["compiled"]) == (4, 0)


def test_same_addresses_in_two_processes(cache_folder):
    """Loop bodies that Numba named alike in two processes must not be taken for one."""
    environment = {"FASTNN_CACHE_DIR": str(cache_folder)}
    for arguments in (
        ["compile", "plus"],
        ["compile", "times"],
        ["load", "plus", "times"],
        ["load", "times", "plus"],
    ):
        assert last_line(program("same_addresses", *arguments, **environment)) == "ok"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_keeps_code_for_its_parent(cache_folder):
    process = program("fork_cases", "saves_code", FASTNN_CACHE_DIR=str(cache_folder))
    assert last_line(process) == "ok"


def test_no_writable_place_at_all(tmp_path):
    (tmp_path / "file").write_text("")
    nowhere = str(tmp_path / "file" / "home")
    environment = {"HOME": nowhere, "XDG_CACHE_HOME": nowhere, "LOCALAPPDATA": nowhere}
    report = json.loads(last_line(program("warm", **environment)))
    assert (report["loaded"], report["compiled"], report["cache"]["files"]) == (0, 2, 0)


def test_a_package_in_a_zip_file(tmp_path):
    archive = tmp_path / "package.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("fastnn/__init__.py", "")  # without what it would import
        for source in (PACKAGE / "compiler").rglob("*.py"):
            name = source.relative_to(PACKAGE.parent).as_posix()
            file.writestr(name, source.read_text(encoding="utf-8"))
        file.writestr("program.py", (PROGRAMS / "small_kernels.py").read_text(encoding="utf-8"))
    code = (
        "import program; from fastnn.compiler import cache; program.check();"
        "info = cache.cache_info();"
        "assert info['folder'] is None and 'no source files' in info['reason'], info;"
        "assert '.zip' in cache.__file__"
    )
    environment = dict(os.environ) | {"PYTHONPATH": str(archive)}
    command = [sys.executable, "-c", code]
    subprocess.run(command, env=environment, cwd=tmp_path, check=True, timeout=60)
