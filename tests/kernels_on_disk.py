"""A small package of kernels that tests write, edit and import again; and a look at its cache."""

import importlib.util
import itertools
import sys
from pathlib import Path

KERNEL = """
from fastnn.compiler import jit
from {helper} import helper

def _scaled(chunks, x):
    return helper(x) * {factor}

def _shifted(chunks, x):
    return helper(x) + {factor}

STORE = jit.CodeStore(jit.Sources({files!r}))
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
        self.files = [str(folder / f"{name}.py") for name in (self.name, self.helper_name)]
        self.edit()

    def edit(self, factor=10, tail=""):
        files = self.files
        kernel = KERNEL.format(helper=self.helper_name, factor=factor, files=files)
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
        return module


def hits(entry):
    return entry.serial.stats.cache_hits.total()


def cached_files(folder):
    return sorted(folder.glob("code-*/*.nbc"))
