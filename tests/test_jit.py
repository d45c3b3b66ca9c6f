"""Builds and their flags; and a compile cache that costs a recompilation at worst."""

import json
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import llvmlite.binding
import numba
import numpy as np
import pytest
from kernels_on_disk import Kernels, cached_files, hits

from fastnn.compiler import jit

PROGRAMS = Path(__file__).parent / "host_programs"
PACKAGE = Path(jit.__file__).parent


@pytest.fixture(autouse=True)
def code_folder(tmp_path, monkeypatch):
    """A cache of its own for every test."""
    folder = tmp_path / "code"
    monkeypatch.setenv("FASTNN_CACHE_DIR", str(folder))
    monkeypatch.delenv("FASTNN_CACHE", raising=False)
    return folder


@pytest.fixture
def kernels(tmp_path):
    return Kernels(tmp_path)


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


# ---- builds


def _half(x):
    return x / 2


@pytest.mark.parametrize(
    "half", [jit.inner(_half), jit.inner()(_half), jit.inner(forceinline=True)(_half)]
)
def test_inner_is_compiled_with_our_flags_and_without_cache(half):
    def quarter(chunks, x):
        return half(half(x))

    assert jit.Entry(quarter, parallel=False).serial(1, 3.0) == 0.75
    assert half.targetoptions["nogil"]
    assert half.targetoptions["error_model"] == "numpy"
    assert "fastmath" not in half.targetoptions
    assert half._cache.cache_path is None


def test_inner_can_be_forced_inline():
    assert jit.inner(forceinline=True)(_half).targetoptions["forceinline"]
    assert "forceinline" not in jit.inner(_half).targetoptions


def test_a_division_by_zero_is_infinite():
    assert jit.Entry(_reciprocal, parallel=False).serial(1, 0.0) == np.inf


def _reciprocal(chunks, x):
    return 1.0 / x


def _chunk_numbers(chunks, x):
    for c in numba.prange(chunks):
        x[c] = c
    return chunks


def test_an_entry_has_two_builds_of_two_names():
    for made in (jit.entry(_chunk_numbers), jit.entry()(_chunk_numbers), jit.Entry(_chunk_numbers)):
        assert made.serial is not made.parallel
        assert made.serial.__name__ == "_chunk_numbers_serial"
        assert made.parallel.__qualname__ == "_chunk_numbers_parallel"
        assert made.serial.__module__ == __name__
        assert "parallel" not in made.serial.targetoptions
        assert not made.serial.signatures
        assert not made.parallel.signatures
    assert _chunk_numbers.__name__ == "_chunk_numbers"
    assert repr(made) == f"<fastnn entry {__name__}._chunk_numbers>"


def test_an_entry_without_a_parallel_build():
    for made in (
        jit.entry(_chunk_numbers, parallel=False),
        jit.entry(parallel=False)(_chunk_numbers),
    ):
        assert made.parallel is made.serial


def regions(build):
    """Count the bodies of parallel loops in the machine code of the latest signature."""
    code = build.inspect_llvm(build.signatures[-1])
    defined = [line for line in code.splitlines() if line.startswith("define")]
    return sum("__gufunc__" in line for line in defined)


def _two_regions(chunks, x, y, z):
    for c in numba.prange(chunks):
        y[c] = 2 * x[c]
    for c in numba.prange(chunks):
        z[c] = y[c] + 1


def test_two_pranges_are_not_fused():
    """These two Numba would fuse; how much it sees through is its affair, so it may not look."""
    build = jit.Entry(_two_regions).parallel
    x, y, z = np.ones((3, 5))
    build(5, x, y, z)
    np.testing.assert_array_equal(z, [3] * 5)
    assert regions(build) == 2


def _sum_beside_a_prange(chunks, x, y):
    x += 1
    total = np.sum(x)
    for c in numba.prange(chunks):
        y[c] += 1
    return total


def test_flags_hold_for_every_signature():
    """Only prange makes a region. Numba empties a dict of options at its first use."""
    build = jit.Entry(_sum_beside_a_prange).parallel
    for dtype in ("float64", "float32"):
        assert build(3, np.ones(3, dtype), np.ones(3, dtype)) == 6
        assert regions(build) == 1


def test_without_numbas_internals_there_is_a_plain_serial_build(monkeypatch, kernels):
    monkeypatch.setattr(jit, "_INTERNALS_KNOWN", False)
    assert jit.Entry(_chunk_numbers).parallel.__name__ == "_chunk_numbers_serial"
    module = kernels.load()
    assert module.scaled.serial(1, 2) == 20
    assert module.STORE.info()["folder"] is None
    assert jit.cache_info()["reason"] == "this version of Numba has other internals"


# ---- what is kept, and for how long


def test_code_is_kept_and_loaded(kernels, code_folder):
    first = kernels.load()
    assert (first.scaled.serial(1, 2), first.shifted.serial(1, 2)) == (20, 12)
    assert first.scaled.serial(1, 2.5) == 25.0
    assert (hits(first.scaled), hits(first.shifted)) == (0, 0)
    assert len(cached_files(code_folder)) == 3
    second = kernels.load()
    assert (second.scaled.serial(1, 2), second.shifted.serial(1, 2)) == (20, 12)
    assert second.scaled.serial(1, 2.5) == 25.0
    assert (hits(second.scaled), hits(second.shifted)) == (2, 1)
    assert len(cached_files(code_folder)) == 3


@pytest.mark.parametrize("change", [{"factor": 11}, {"tail": "+ 1"}])
def test_an_edit_takes_effect(kernels, change):
    """In the entry's own file and in one that it only calls into."""
    assert kernels.load().scaled.serial(1, 2) == 20
    edited = kernels.edit(**change).load()
    assert edited.scaled.serial(1, 2) == {"factor": 22, "tail": 30}[next(iter(change))]
    assert hits(edited.scaled) == 0
    back = kernels.edit().load()
    assert back.scaled.serial(1, 2) == 20
    assert hits(back.scaled) == 1


def test_a_process_with_old_code_keeps_nothing_for_new_sources(kernels, code_folder):
    old = kernels.load()
    kernels.edit(factor=11)
    assert old.scaled.serial(1, 2) == 20
    assert not cached_files(code_folder)
    assert old.STORE.info()["reason"] == "kernel sources changed since they were imported"
    assert kernels.load().scaled.serial(1, 2) == 22


@pytest.mark.parametrize("setting", jit.CODE_SETTINGS)
def test_settings_of_numba_tell_code_apart(kernels, monkeypatch, setting):
    store = kernels.load().STORE
    before = store.fingerprint("cpu")
    monkeypatch.setattr(numba.config, setting, "another", raising=False)
    assert store.fingerprint("cpu") != before


def test_the_settings_exist():
    """In the Numba these tests run with; a renamed one would be overlooked."""
    assert [name for name in jit.CODE_SETTINGS if not hasattr(numba.config, name)] == []


def test_versions_flags_and_processor_tell_code_apart(kernels, monkeypatch):
    store = kernels.load().STORE
    seen = [store.fingerprint("cpu"), store.fingerprint("another cpu")]
    for owner, name, value in (
        (numba, "__version__", "9"),
        (llvmlite, "__version__", "9"),
        (np, "__version__", "9"),
        (sys, "version", "9"),
        (jit, "FLAGS", jit.FLAGS | {"boundscheck": True}),
        (jit, "PARALLEL_FLAGS", jit.PARALLEL_FLAGS | {"fusion": True}),
        (jit, "CODE_VARIABLES", {"FASTNN_VECTOR_BYTES": "32"}),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, value)
            seen.append(store.fingerprint("cpu"))
    assert len(set(seen)) == len(seen)
    assert store.fingerprint("cpu") == seen[0]


def test_all_sources_of_the_engine_are_fingerprinted():
    files = {os.path.relpath(file, PACKAGE) for file in jit.STORE.sources.files}
    kernel_files = {os.path.relpath(file, PACKAGE) for file in (PACKAGE / "kernels").rglob("*.py")}
    assert files >= kernel_files | {"compiler/jit.py", "compiler/lanes.py"}


def test_closures_and_foreign_functions_are_not_kept(kernels, code_folder):
    store = kernels.load().STORE

    def make(k):
        def closure(chunks, x):
            return x + k

        return jit.Entry(closure, parallel=False, store=jit.CodeStore(jit.Sources([__file__])))

    assert [make(k).serial(1, 1) for k in (1, 2)] == [2, 3]
    assert jit.Entry(_foreign, parallel=False, store=store).serial(1, 2) == 4
    assert not cached_files(code_folder)


def _foreign(chunks, x):
    return x + x


def test_functions_of_one_name_are_told_apart(tmp_path, code_folder):
    source = """
from fastnn.compiler import jit
STORE = jit.CodeStore(jit.Sources([{file!r}]))

def _f(chunks, x):
    return x + 1

first = jit.Entry(_f, parallel=False, store=STORE)

def _f(chunks, x):
    return x + 2

second = jit.Entry(_f, parallel=False, store=STORE)
"""
    file = str(tmp_path / "one_name.py")
    Path(file).write_text(source.format(file=file))
    for _ in range(2):
        names = {}
        exec(compile(Path(file).read_text(encoding="utf-8"), file, "exec"), names)
        assert (names["first"].serial(1, 1), names["second"].serial(1, 1)) == (2, 3)
    assert len(cached_files(code_folder)) == 2


# ---- whole programs


def test_a_second_process_compiles_nothing_and_starts_fast(code_folder):
    environment = {"FASTNN_CACHE_DIR": str(code_folder)}
    first = json.loads(last_line(program("warm", **environment)))
    assert (first["loaded"], first["compiled"]) == (0, 2)
    second = json.loads(last_line(program("warm", **environment)))
    assert (second["loaded"], second["compiled"]) == (2, 0)
    assert second["slow_imports"] == []
    assert first["cache"] == second["cache"]


def test_processes_that_start_at_once(code_folder):
    """Two signatures, one of them twice, into one empty folder; then all is there and right."""
    environment = {"FASTNN_CACHE_DIR": str(code_folder)}
    dtypes = ("float32", "float64", "float64")
    started = [program("warm", dtype, **environment) for dtype in dtypes]
    for process in started:
        last_line(process)
    assert len(cached_files(code_folder)) == 4
    assert not list(code_folder.glob("*/*.tmp"))
    report = json.loads(last_line(program("warm", "float32", "float64", **environment)))
    assert (report["loaded"], report["compiled"]) == (4, 0)


def test_same_addresses_in_two_processes(code_folder):
    """Loop bodies that Numba named alike in two processes must not be taken for one."""
    environment = {"FASTNN_CACHE_DIR": str(code_folder)}
    for arguments in (
        ["compile", "plus"],
        ["compile", "times"],
        ["load", "plus", "times"],
        ["load", "times", "plus"],
    ):
        assert last_line(program("same_addresses", *arguments, **environment)) == "ok"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_keeps_code_for_its_parent(code_folder):
    process = program("fork_cases", "saves_code", FASTNN_CACHE_DIR=str(code_folder))
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
        for source in PACKAGE.glob("*.py"):  # without what __init__ would import
            text = "" if source.name == "__init__.py" else source.read_text(encoding="utf-8")
            file.writestr(f"fastnn/{source.name}", text)
        file.writestr("program.py", (PROGRAMS / "small_kernels.py").read_text(encoding="utf-8"))
    code = (
        "import program, fastnn.compiler.jit as jit; program.check(); info = jit.cache_info();"
        "assert info['folder'] is None and 'no source files' in info['reason'], info;"
        "assert '.zip' in jit.__file__"
    )
    environment = dict(os.environ) | {"PYTHONPATH": str(archive)}
    command = [sys.executable, "-c", code]
    subprocess.run(command, env=environment, cwd=tmp_path, check=True, timeout=60)


def run_python(code, **variables):
    environment = dict(os.environ) | {"PYTHONPATH": str(PACKAGE.parent)} | variables
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=100,
        check=False,
    )  # fmt: skip


USE = """
import fastnn, numpy as np
x, t = np.arange(24.0).reshape(6, 4) / 24, [0, 1, 0, 1, 0, 1]
def use():
    net = fastnn.MLP([4, 3, 2], seed=0)
    net.fit(x, t, batch_size=2)
    return net.predict(x)
"""


def test_without_numbas_compiler_there_is_one_clear_error():
    """fastnn can be imported, as by tools that read its documentation."""
    done = run_python(f"{USE}\ntry: use()\nexcept ValueError as error: print(error)",
                      NUMBA_DISABLE_JIT="1")  # fmt: skip
    assert done.stderr == ""
    assert done.stdout.startswith("NUMBA_DISABLE_JIT must not be set (numba.config.DISABLE_JIT)")
    assert done.stdout.count("\n") == 1
    command = run_python("import fastnn.cli as c, sys; sys.exit(c.main(['show', 'step']))",
                         NUMBA_DISABLE_JIT="1")  # fmt: skip
    assert command.returncode == 2
    assert command.stderr.startswith("fastnn: NUMBA_DISABLE_JIT must not be set")
    assert command.stderr.count("\n") == 1


def test_a_compiler_that_is_switched_off_while_the_program_runs():
    code = (
        USE
        + """
import numba
use()
numba.config.DISABLE_JIT = 1
try: fastnn.MLP([4, 3, 2], dtype="float64").predict(x)
except ValueError as error: print(error)
numba.config.DISABLE_JIT = 0
print(fastnn.MLP([4, 3, 2], dtype="float64").predict(x).shape)
"""
    )
    done = run_python(code, FASTNN_CACHE="0")
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first.startswith("NUMBA_DISABLE_JIT must not be set (numba.config.DISABLE_JIT)")
    assert second == "(6, 2)"


def test_flags_of_the_processor_that_would_end_the_process():
    done = run_python(f"{USE}\ntry: use()\nexcept ValueError as error: print(error)",
                      NUMBA_CPU_FEATURES="bogus")  # fmt: skip
    assert done.stderr == ""
    text = "NUMBA_CPU_FEATURES must be flags that begin with + or -, not 'bogus'"
    assert done.stdout == text + "\n"


def test_a_setting_with_which_numba_does_not_start_is_named():
    done = run_python("try: import fastnn\nexcept ImportError as error: print(error)",
                      NUMBA_NUM_THREADS="0")  # fmt: skip
    assert done.stderr == ""
    assert done.stdout.startswith("Numba cannot start with NUMBA_NUM_THREADS as set: ")


LOG = """
import logging
records = []
class Keep(logging.Handler):
    def emit(self, record): records.append((record.name, record.getMessage()))
root = logging.getLogger()
root.setLevel(logging.DEBUG)
root.addHandler(Keep())
import numba
logging.getLogger("numba.core.ssa").setLevel(logging.INFO)
logging.getLogger("numba.core.interpreter").disabled = True
def settings():
    found = logging.root.manager.loggerDict.items()
    return {name: (getattr(x, "level", 0), getattr(x, "disabled", 0)) for name, x in found
            if name.startswith("numba")}
before = settings()
"""


def test_a_host_that_logs_everything_gets_no_line_of_the_compiler():
    check = """
use()
fastnn.numerical_gradient(numba.njit(lambda x: x.sum()), np.ones(2))
assert [name for name, _ in records if name.startswith("numba")] == [], records[:3]
assert settings() == before
numba.njit(lambda x: x + 1)(1)  # the host's own is logged as before
assert any(name == "numba.core.byteflow" for name, _ in records)
print("ok")
"""
    done = run_python(LOG + USE + check, FASTNN_CACHE="0")
    assert done.stdout == "ok\n", done.stderr


def test_a_compilation_that_fails_leaves_the_log_as_it_was():
    check = """
from fastnn.compiler import jit
@jit.entry(parallel=False)
def broken(x):
    return x.there_is_no_such_thing
try: broken.serial(1)
except numba.core.errors.TypingError: pass
assert settings() == before
assert not [name for name, _ in records if name.startswith("numba")]
print("ok")
"""
    done = run_python(LOG + "import fastnn" + check)
    assert done.stdout == "ok\n", done.stderr
