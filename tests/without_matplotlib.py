"""A program to which matplotlib is missing, or broken.

``python without_matplotlib.py missing|broken MODULE ARGUMENT ...`` runs a module so.
"""

import importlib.abc
import runpy
import sys


class Blocker(importlib.abc.MetaPathFinder):
    def __init__(self, name, error):
        self.name, self.error = name, error

    def find_spec(self, name, path=None, target=None):
        if name == self.name:
            raise self.error


BLOCKERS = {
    "missing": Blocker(
        "matplotlib", ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib")
    ),
    "broken": Blocker("matplotlib.backends.backend_agg", OSError("libfreetype\nis not here")),
}

if __name__ == "__main__":
    sys.path[0] = ""  # as with -m
    sys.meta_path.insert(0, BLOCKERS[sys.argv[1]])
    del sys.argv[:2]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
