"""A small package of kernels that tests write, edit and import again; and its files in a cache."""

import importlib.util
import itertools
import sys
from pathlib import Path

from fastnn.compiler import cache

KERNEL = """
from fastnn.compiler import cache, jit
from {helper} import helper

def _scaled(chunks, x):
    return helper(x) * {factor}

def _shifted(chunks, x):
    return helper(x) + {factor}

STORE = cache.CodeStore(cache.Sources({files!r}), {installed!r})
scaled = jit.Entry(_scaled, parallel=False, store=STORE)
shifted = jit.Entry(_shifted, parallel=False, store=STORE)
"""
HELPER = """
from fastnn.compiler import jit

@jit.inner
def helper(x):
    return x {tail}
"""


class Kernels:
    """A small package of kernels on disk, which can be edited and imported again."""

    numbers = itertools.count()

    def __init__(self, folder):
        self.folder = folder
        self.name = f"kernel_{next(self.numbers)}"
        self.helper_name = f"{self.name}_helper"
        self.installed = folder / "installed"
        self.loaded = []  # kept, as constants of kept code are looked for in their module
        self.files = [str(folder / f"{name}.py") for name in (self.name, self.helper_name)]
        self.edit()

    def edit(self, factor=10, tail=""):
        files = self.files
        installed = str(self.installed)
        kernel = KERNEL.format(
            helper=self.helper_name, factor=factor, files=files, installed=installed
        )
        Path(files[0]).write_text(kernel)
        Path(files[1]).write_text(HELPER.format(tail=tail))
        return self

    def load(self):
        """Import as a new process would: nothing is left of an earlier import."""
        for name, file in zip((self.helper_name, self.name), self.files[::-1], strict=True):
            source = Path(file).read_text(encoding="utf-8")
            spec = importlib.util.spec_from_file_location(name, file)
            module = importlib.util.module_from_spec(spec)
            exec(compile(source, file, "exec"), module.__dict__)
            sys.modules[name] = module
        del sys.modules[self.name], sys.modules[self.helper_name]
        self.loaded.append(module)
        return module


class Kept:
    """One signature of a build, and its file in the cache of this test."""

    def __init__(self, build):
        self.signature, self.other = build.signatures
        self.result = build.overloads[self.signature]
        self.other_result = build.overloads[self.other]
        ours, store = build._cache, cache.CodeStore(build._cache.store.sources)
        self.cache = cache.EntryCache(ours.name, store, ours.flags)
        self.save()

    def save(self):
        self.cache.save_overload(self.signature, self.result)

    def load(self):
        """Whether code was loaded; if so it is right."""
        loaded = self.cache.load_overload(self.signature, self.result.target_context)
        assert loaded is None or loaded.entry_point(1, 2) == 20
        return loaded is not None

    def write(self, payload):
        code_id = self.cache._code_id(self.signature, self.result.codegen)
        self.cache.store.write(code_id, lambda: payload)


def hits(entry):
    return entry.serial.stats.cache_hits.total()


def cached_files(folder):
    return sorted(folder.glob("code-*/*.nbc"))
