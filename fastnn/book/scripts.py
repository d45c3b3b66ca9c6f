"""Runs a script of the book: its imports of `common` and `dataset` are answered by fastnn.book."""

from __future__ import annotations

import importlib
import os
import runpy
import sys
import types
from typing import Any

from fastnn.book.convolution import NAMES, NoConvolutionError

MODULES = {
    "common": ("functions", "gradient", "layers", "multi_layer_net", "multi_layer_net_extend",
               "optimizer", "trainer", "util"),
    "dataset": ("mnist",),
}  # fmt: skip


def main(arguments: list[str]) -> int:
    """Run the script ``arguments[0]`` with the other arguments; return the exit code."""
    if not arguments or arguments[0].startswith("-"):
        return _refuse("usage: python -m fastnn.book SCRIPT.py [ARGUMENT ...]")
    script = arguments[0]
    if not os.path.isfile(script):
        return _refuse(f"fastnn.book: there is no script {script}")
    _answer_imports()
    # As Python starts a script: its folder, not the current one, is searched first.
    sys.path[: 0 if sys.flags.safe_path else 1] = [os.path.dirname(os.path.realpath(script))]
    sys.argv = arguments
    try:
        runpy.run_path(script, run_name="__main__")
    except Exception as error:
        missing = _missing_convolution(error)
        if missing is not None:
            return _refuse(f"fastnn.book: {script} needs {missing}, but there is no convolution")
        error.__traceback__ = _from_script_on(error)  # which the hook prints whatever it is given
        sys.excepthook(type(error), error, error.__traceback__)
        return 1
    return 0


def _refuse(text: str) -> int:
    sys.stderr.write(text + "\n")
    return 2


def _answer_imports() -> None:
    """Put our modules into ``sys.modules`` under the names that the book imports."""
    for name, parts in MODULES.items():
        package: Any = types.ModuleType(name, f"Answered by fastnn.book: {', '.join(parts)}.")
        package.__path__ = []  # a package, in which nothing else is found
        sys.modules[name] = package
        for part in parts:
            module = importlib.import_module(f"fastnn.book.{part}")
            sys.modules[f"{name}.{part}"] = module
            setattr(package, part, module)


def _missing_convolution(error: BaseException) -> str | None:
    """The name of convolution that an error is about: one imported, or one that a star left out."""
    if isinstance(error, NoConvolutionError | NameError) and error.name in NAMES:
        return error.name
    return None


def _from_script_on(error: BaseException) -> types.TracebackType | None:
    """The traceback of an error without the frames that ran the script."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_globals.get("__name__") in (__name__, "runpy"):
        frames = frames.tb_next
    return frames
