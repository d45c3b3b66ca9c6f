# ruff: noqa: T201
"""Import everything, decorate, ask; no thread, no pool, no compiled code, no file may follow."""

import os
import sys
import threading

from numba.np.ufunc import parallel as numba_pool

threads_before = len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else None

import small_kernels  # noqa: E402

from fastnn.compiler import cache, runtime  # noqa: E402

info = runtime.threading_info()
assert info["layer"] == "not started", info
cache.cache_info()
assert not numba_pool._is_initialized
assert not small_kernels.reversed_twice.serial.signatures
assert not small_kernels.reversed_twice.parallel.signatures
assert "scipy.linalg" not in sys.modules
assert threading.active_count() == 1
if threads_before is not None:
    assert len(os.listdir("/proc/self/task")) == threads_before
assert small_kernels.STORE.info()["files"] == 0
print("ok")
