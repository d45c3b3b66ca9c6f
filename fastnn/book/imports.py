"""Imports of the book's `common` and `dataset`, answered by fastnn.book."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from fastnn import command
from fastnn.book.likeness import MODULES, difference

# The reader's files that were not run, by the module of fastnn.book that stands for each.
passed_over: dict[str, str] = {}


def answer_imports() -> None:
    """Let `common` and `dataset` be imported from fastnn.book, in a notebook or interpreter.

    Call it before these imports.  It holds for the rest of the program.  Packages of these names
    that are not those of the book's first volume are left alone, and a line says so.

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
    answers = _Answers()
    for package in MODULES:
        path = getattr(sys.modules.get(package), "__path__", None)
        if path is not None and answers.stands_for_files(package, path):  # imported before
            for name in [name for name in sys.modules if name.partition(".")[0] == package]:
                del sys.modules[name]
    sys.meta_path.insert(0, answers)


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


class _Answers:  # of no class of importlib.abc, which takes 20 ms to import
    """Finds the book's modules in fastnn.book, and leaves all else to Python.

    A package is the reader's, if there is one.  Our modules stand for those in it, and are added
    to it, unless it has one that ours cannot stand for: then all of it is left to Python, because
    one book's optimisers cannot do with another's layers.
    """

    def __init__(self) -> None:
        # The reader's files that we stand for by package, None if it is left to Python.
        self._files: dict[str, dict[str, str] | None] = {}

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        package, _, part = fullname.partition(".")
        if package not in MODULES:
            return None
        if not part:
            return _found_by_others(fullname) or self._empty_package(fullname)
        if part not in MODULES[package]:
            return None
        files = self._stood_for(package, path)
        if files is None:
            return None
        if part in files:
            _pass_over(package, part, files[part])
        return self._spec(fullname)

    def stands_for_files(self, package: str, path: Any) -> bool:
        """Whether the reader's package has modules that ours stand for."""
        return bool(self._stood_for(package, path))

    def _stood_for(self, package: str, path: Any) -> dict[str, str] | None:
        if package not in self._files:
            files = _files_like_ours(package, path)
            if files == {}:
                return files  # for now: a script may append to sys.path later
            self._files[package] = files
        return self._files[package]

    def _empty_package(self, name: str) -> ModuleSpec:
        spec = self._spec(name)
        folders: Any = _Folders(name)  # any iterable does
        spec.submodule_search_locations = folders
        return spec

    def _spec(self, name: str) -> ModuleSpec:
        loader: Any = self  # it has what import calls of one
        return ModuleSpec(name, loader)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
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


def _found_by_others(fullname: str, path: Any = None) -> ModuleSpec | None:
    """What Python alone would import."""
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        if find is not None and not isinstance(finder, _Answers):
            spec = find(fullname, path)
            if spec is not None:
                return spec
    return None


def _files_like_ours(package: str, path: Any) -> dict[str, str] | None:
    """The reader's files that we can stand for; None, and a line, if there is one that we cannot.

    A folder without Python code, such as one of data, is none.
    """
    files = {}
    for part in MODULES[package]:
        spec = _found_by_others(f"{package}.{part}", path)
        if spec is None or spec.loader is None:
            continue
        files[part] = os.path.abspath(spec.origin) if spec.origin else spec.name
        what = difference(part, spec)
        if what is not None:
            command.complain(
                f"fastnn.book: {package} is left to its own files, as with Python alone: "
                f"{files[part]} {what}"
            )
            return None
    return files


def _pass_over(package: str, part: str, file: str) -> None:
    """Note a file that is not run, and say so if it is the first of its package."""
    if passed_over.keys().isdisjoint(f"fastnn.book.{other}" for other in MODULES[package]):
        folder = os.path.dirname(file)
        command.complain(f"fastnn.book: {package} is answered by fastnn, not by {folder}")
    passed_over[f"fastnn.book.{part}"] = file
