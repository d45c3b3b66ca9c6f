"""Runs a script of the book: its imports of `common` and `dataset` are answered by fastnn.book."""

from __future__ import annotations

import os
import sys
import types
from collections.abc import Callable
from typing import Any

from fastnn.book.imports import answer_imports, passed_over

USAGE = "usage: python -m fastnn.book SCRIPT.py [ARGUMENT ...]"
HELP = f"""{USAGE}

Runs a script of the book "Deep Learning from Scratch" as it is: fastnn.book answers its imports of
common and dataset. In a notebook, call fastnn.book.answer_imports() instead. If these packages have
something that fastnn.book has not, as in volume 2, they are left alone, and a line says so.
"""


def main(arguments: list[str]) -> int:
    """Run the script ``arguments[0]`` with the other arguments; return the exit code."""
    if arguments[:1] in (["-h"], ["--help"]):
        sys.stdout.write(HELP)
        return 0
    complaint = _complaint(arguments)
    if complaint is not None:
        return _refuse(complaint)
    answer_imports()
    script = arguments[0]
    # As Python starts a script: its folder, not the current one, is searched first.
    sys.path[: 0 if sys.flags.safe_path else 1] = [os.path.dirname(os.path.realpath(script))]
    sys.argv = arguments
    file = os.path.join(os.getcwd(), script)
    try:
        _run(file)
    except BaseException as error:
        _name_the_file_passed_over(error)
        sys.excepthook = _from_script_on(file, sys.excepthook)
        raise
    return 0


def _complaint(arguments: list[str]) -> str | None:
    """What is wrong with the arguments."""
    if not arguments or arguments[0].startswith("-"):
        return USAGE
    script = arguments[0]
    if not os.path.isfile(script):
        return f"fastnn.book: there is no script {script}"
    if script.lower().endswith(".ipynb"):
        call = "import fastnn.book; fastnn.book.answer_imports()"
        return f"fastnn.book: {script} is a notebook; in its first cell, {call}"
    return None


def _refuse(text: str) -> int:
    sys.stderr.write(text + "\n")
    return 2


def _run(file: str) -> None:
    """Run a file as the program, which `runpy` would do with another ``sys.argv[0]``."""
    with open(file, "rb") as source:
        code = compile(source.read(), file, "exec", dont_inherit=True)
    module = types.ModuleType("__main__")
    module.__file__ = file
    sys.modules["__main__"] = module
    exec(code, vars(module))


def _module_of(error: BaseException) -> str | None:
    """The module of which a name was asked that it does not have."""
    if isinstance(error, ImportError):
        return error.name
    return getattr(getattr(error, "obj", None), "__name__", None)


def _name_the_file_passed_over(error: BaseException) -> None:
    module = _module_of(error)
    if module in passed_over:
        error.add_note(f"{module} stands for {passed_over[module]}, which was not run.")


def _from_script_on(file: str, hook: Callable[..., Any]) -> Callable[..., None]:
    """Make the hook show an error without the frames that ran the script."""

    def show(kind: Any, error: BaseException, frames: types.TracebackType | None) -> None:
        while frames is not None and frames.tb_frame.f_code.co_filename != file:
            frames = frames.tb_next
        error.__traceback__ = frames  # which the hook prints whatever it is given
        hook(kind, error, frames)

    return show
