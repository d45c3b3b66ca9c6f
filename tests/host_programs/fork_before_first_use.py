# ruff: noqa: T201
"""A fork after ``import fastnn`` and before anything of it is used; OpenMP has threads by then."""

import ctypes
import os
import sys

import fastnn

gomp = ctypes.CDLL("libgomp.so.1")
body = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: None)
gomp.GOMP_parallel(body, None, 2, 0)
assert "numba" not in sys.modules

pid = os.fork()
if pid == 0:
    info = fastnn.threading_info()
    os._exit(0 if not info["parallel"] and "OpenMP" in info["reason"] else 1)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
print("ok")
