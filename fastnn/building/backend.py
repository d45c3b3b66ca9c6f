"""The build backend: setuptools', with machine code of the kernels in the wheel.

Whoever installs the wheel on a processor of the same level, with the same Python and Numba, then
waits for no compiler.  The code lies in a folder of the package which the compile cache reads, see
`fastnn.compiler.cache`.  All that can go wrong here, such as a missing Numba, costs only that: the
wheel then carries no code, and its kernels are compiled when they are first used.

FASTNN_COMPILE in the environment of a build names levels, such as "x86-64-v3 x86-64-v4", in place
of that of the building machine; "no" leaves the code out.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403  # the hooks that are as setuptools has them
from setuptools.command.build_py import build_py

VARIABLE = "FASTNN_COMPILE"
PRECISIONS = ("float32", "float64")  # a process for each, as compiling takes one core
KNOWN = ("x86-64-v3", "x86-64-v4", "host")  # see fastnn.compiler.processor
SECONDS = 900  # after which the wheel is made without code
WHERE = "compiler/installed"

# Numba has wheels for these; elsewhere a build must not fail because it has none.
WHERE_NUMBA_IS = (
    "platform_python_implementation == 'CPython' and "
    "(platform_machine == 'x86_64' or platform_machine == 'AMD64' or "
    "platform_machine == 'aarch64' or platform_machine == 'arm64')"
)


def levels() -> list[str]:
    """Processors to compile for; an empty name is this machine's level."""
    named = os.environ.get(VARIABLE, "").split()
    if [name.lower() for name in named] in (["0"], ["no"], ["off"], ["false"]):
        return []
    for name in named:
        if name not in KNOWN:
            raise ValueError(f"{VARIABLE} must be 'no' or some of {KNOWN}, not {name!r}")
    return named or [""]


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
    """What setuptools needs, and a compiler."""
    wanted = build_meta.get_requires_for_build_wheel(config_settings)
    return [*wanted, *(f"{line}; {WHERE_NUMBA_IS}" for line in compiler_wanted() if levels())]


def compiler_wanted() -> list[str]:
    """Numba as it is installed where this Python puts packages, which fastnn will run with.

    Elsewhere the newest; that is what `pip` will install beside fastnn, too.
    """
    found = []
    for name in ("numba", "llvmlite"):
        for installed in metadata.distributions(name=name, path=[sysconfig.get_path("purelib")]):
            found.append(f"{name}=={installed.version}")
    return found if len(found) == 2 else ["numba>=0.66"]


class BuildWithCode(build_py):
    """Setuptools' step that gathers the package; then its kernels are compiled into it."""

    def run(self) -> None:
        """Gather, and compile unless the installation is an editable one."""
        super().run()
        package = Path(self.build_lib, "fastnn")
        shutil.rmtree(package / WHERE, ignore_errors=True)  # of an earlier build
        if self.editable_mode or not package.is_dir():
            return
        try:
            with tempfile.TemporaryDirectory(prefix="fastnn-code-") as folder:
                for level in levels():
                    compile_into(Path(folder), Path(self.build_lib).resolve(), level)
                for made in Path(folder).glob("code-*"):
                    shutil.copytree(made, package / WHERE / made.name)
        except Exception as error:
            shutil.rmtree(package / WHERE, ignore_errors=True)
            self.warn(f"the wheel carries no compiled code: {error}")


def compile_into(folder: Path, library: Path, level: str) -> None:
    """Compile the kernels of a package, all of them, for a level of processors.

    Raises
    ------
    RuntimeError
        If that is impossible; the message is the last line that was printed.
    """
    with contextlib.ExitStack() as stack:
        running = [stack.enter_context(_compiler(folder, library, level, p)) for p in PRECISIONS]
        try:
            said = [process.communicate(timeout=SECONDS)[0].strip() for process in running]
        finally:
            for process in running:
                process.kill()
        for process, lines in zip(running, said, strict=True):
            if process.returncode:
                raise RuntimeError(lines.splitlines()[-1] if lines else "the compiler ended")


def _compiler(folder: Path, library: Path, level: str, dtype: str) -> subprocess.Popen[str]:
    # Settings of Numba and fastnn are part of what code is kept under: here those of most users.
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA_", "FASTNN_"))}
    path = os.pathsep.join(filter(None, [str(library), kept.get("PYTHONPATH")]))
    ours = {"PYTHONPATH": path, "FASTNN_CACHE_DIR": str(folder), "FASTNN_PROCESSOR": level}
    return subprocess.Popen(
        [sys.executable, "-B", "-P", "-m", "fastnn", "cache", "warm", "--quiet", "--dtype", dtype],
        cwd=folder,
        env=kept | ours,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
