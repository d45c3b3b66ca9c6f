"""Imports of the book's `common` and `dataset`, answered by fastnn.book."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import os
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

MODULES = {
    "common": ("functions", "gradient", "layers", "multi_layer_net", "multi_layer_net_extend",
               "optimizer", "trainer", "util"),
    "dataset": ("mnist",),
}  # fmt: skip

# The reader's files that were not read, by the module of fastnn.book that stands for each.
passed_over: dict[str, str] = {}


def answer_imports() -> None:
    """Let `common` and `dataset` be imported from fastnn.book, in a notebook or interpreter.

    Call it before these imports.  It holds for the rest of the program.

    Examples
    --------
    >>> import fastnn.book
    >>> fastnn.book.answer_imports()
    >>> from common.optimizer import SGD
    >>> SGD
    <class 'fastnn.book.optimizer.SGD'>
    """
    if any(isinstance(finder, _Answers) for finder in sys.meta_path):
        return
    for name in list(sys.modules):
        if name.partition(".")[0] in MODULES:  # imported before
            del sys.modules[name]
    sys.meta_path.insert(0, _Answers())


class _Folders:
    """The folders that Python would search for a package's modules, looked up in each search.

    The book's scripts append to ``sys.path`` when they run.
    """

    def __init__(self, package: str):
        self._package = package

    def __iter__(self) -> Iterator[str]:
        for place in sys.path:
            folder = os.path.join(os.path.abspath(place), self._package)
            if os.path.isdir(folder):
                yield folder


class _Answers(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the book's modules in fastnn.book, and leaves other modules to the reader's folders."""

    def find_spec(
        self, fullname: str, path: Any = None, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        package, _, part = fullname.partition(".")
        if package not in MODULES or (part and part not in MODULES[package]):
            return None
        spec = importlib.machinery.ModuleSpec(fullname, self)
        if part:
            _look_for_the_readers(package, part)
        else:
            folders: Any = _Folders(package)  # any iterable does
            spec.submodule_search_locations = folders
        return spec

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        part = spec.name.partition(".")[2]
        if not part:
            return None  # a new one
        module = importlib.import_module(f"fastnn.book.{part}")
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        spec = module.__spec__
        if spec is not None and spec.loader_state is not None:
            module.__spec__ = spec.loader_state  # by which it is reloaded


def _look_for_the_readers(package: str, part: str) -> None:
    """Note a file that is passed over, and say so if it is the first."""
    for folder in _Folders(package):
        file = os.path.join(folder, f"{part}.py")
        if os.path.isfile(file):
            if not passed_over:
                sys.stderr.write(
                    f"fastnn.book: common and dataset are answered by fastnn, not by {folder}\n"
                )
            passed_over[f"fastnn.book.{part}"] = file
            return
