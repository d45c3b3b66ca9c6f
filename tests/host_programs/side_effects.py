# ruff: noqa: T201
"""Compile, load, compute, fail; then nothing of the host's may differ."""

import os
import random
import signal
import threading
import warnings

import numba
import numpy as np
from numba.core import bytecode


def snapshot():
    settings = {name: repr(getattr(numba.config, name)) for name in dir(numba.config)}
    return {
        "environment": dict(os.environ),
        "signals": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "filters": list(warnings.filters),
        "numpy": repr(np.random.get_state()),
        "random": random.getstate(),
        "errors": np.geterr(),
        "settings": {name: value for name, value in settings.items() if name.isupper()},
        "mask": numba.get_num_threads(),
        "folder": os.getcwd(),
        "threads": threading.active_count(),
        "names": bytecode.FunctionIdentity._unique_ids,
    }


before = snapshot()

from small_kernels import ENOUGH, check, reversed_twice  # noqa: E402

from fastnn.compiler import cache, runtime  # noqa: E402

check()
check(lambda *args: reversed_twice.serial(1, *args))
runtime.set_num_threads(1)
check()
runtime.set_num_threads(10**6)
check()
runtime.threading_info()
cache.cache_info()
for call in (
    lambda: runtime.run(reversed_twice, ENOUGH, "x", "y", "z"),
    lambda: runtime.run(reversed_twice, 1, None),
    lambda: runtime.set_num_threads(0),
):
    try:
        call()
    except Exception:
        continue
    raise AssertionError("a bad call was accepted")
after = snapshot()
changed = {name: (before[name], after[name]) for name in before if before[name] != after[name]}
assert not changed, changed
print("ok")
