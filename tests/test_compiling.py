"""Numba's compiler as fastnn uses it: settings that it cannot work with, and the host's log."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import fastnn

ROOT = Path(fastnn.__file__).parents[1]
pytestmark = pytest.mark.usefixtures("cache_folder")


def run_python(code, **variables):
    environment = dict(os.environ) | {"PYTHONPATH": str(ROOT)} | variables
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


@pytest.mark.parametrize("switch", ["enable", "disable"])
def test_garbage_is_not_looked_for_during_a_compilation_only(switch):
    code = f"""
import contextlib, gc
{USE}
from fastnn.compiler import compiling
compilations, looked = [], []
@contextlib.contextmanager
def announce(name):
    before = len(looked)
    yield
    compilations.append(len(looked) - before)
compiling.announcers.append(announce)
gc.callbacks.append(lambda phase, info: looked.append(phase))
gc.{switch}()
use()
# At its end there may be one; else there are hundreds.
print(len(compilations) > 0, max(compilations) > 10, gc.isenabled())
"""
    done = run_python(code)
    assert done.stdout.split() == ["True", "False", str(switch == "enable")]
