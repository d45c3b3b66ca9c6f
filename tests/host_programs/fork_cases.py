# ruff: noqa: T201
"""Single forks, one case a run; the child's exit status is this program's."""

import ctypes
import os
import sys
import threading

import numba
from numba.np.ufunc import parallel as numba_pool
from small_kernels import check, reversed_twice

from fastnn.compiler import runtime


def fork_and(child, fork=os.fork):
    pid = fork()
    if pid == 0:
        status = 1
        try:
            child()
            status = 0
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status == 0, f"the child ended with {status}"


def serial_child():
    assert check() == 1
    info = runtime.threading_info()
    assert info["forked"], info
    assert not info["parallel"], info
    assert "forked" in info["reason"], info


def before_the_pool():
    """A parent that never computed: its child may start a pool of its own."""

    def child():
        assert check() == runtime.threading_info()["threads"] > 1
        assert not runtime.threading_info()["forked"]

    fork_and(child)
    assert not numba_pool._is_initialized


def other_library():
    """The pool was started by someone else's parallel function, not by fastnn."""
    numba.get_num_threads()
    fork_and(serial_child)


def by_c_code():
    """A fork that Python's hooks do not see."""
    check()
    libc = ctypes.PyDLL(None)
    fork_and(serial_child, libc.fork)


def lock_held():
    """Another thread holds the parallel lock at the fork, and is lost with it."""
    held, done = threading.Event(), threading.Event()

    def hold():
        with runtime._process.lock:
            held.set()
            done.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()

    def child():
        serial_child()
        fork_and(serial_child)  # the grandchild inherits nothing but the knowledge

    fork_and(child)
    done.set()
    holder.join()
    assert check() > 1  # the parent's lock is free again


def foreign_openmp():
    """Someone else's OpenMP has threads, Numba's pool was not started: the child would hang."""
    gomp = ctypes.CDLL("libgomp.so.1")
    body = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: None)
    gomp.GOMP_parallel(body, None, 2, 0)

    def child():
        assert check() == 1
        assert "OpenMP" in runtime.threading_info()["reason"]
        assert not numba_pool._is_initialized

    fork_and(child)
    assert check() > 1


def saves_code():
    """A forked child compiles and keeps the code; its parent loads it."""
    fork_and(lambda: check(lambda *args: reversed_twice.serial(1, *args)))
    check(lambda *args: reversed_twice.serial(1, *args))
    assert reversed_twice.serial.stats.cache_hits.total() == 1


globals()[sys.argv[1]]()
print("ok")
