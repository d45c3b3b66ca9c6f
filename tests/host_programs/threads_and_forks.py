# ruff: noqa: T201
"""Several threads compute while the process forks children that handle SIGTERM and fork again.

Numba's omp layer answers a region in a forked child with SIGTERM and no work done, or hangs in
a grandchild; its workqueue aborts when two threads meet. Exit status 0 only if every number in
every process was right.
"""

import os
import signal
import sys
import threading
import warnings

from small_kernels import check

from fastnn.compiler import runtime

warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
CALLS, THREADS, CHILDREN = 100, 8, 6


def compute(errors, calls=CALLS):
    try:
        for _ in range(calls):
            check()
    except BaseException as error:
        errors.append(error)


def child(number, depth=0):
    """What a forked process does; returns its exit status."""
    handler = (signal.SIG_IGN, signal.SIG_DFL, lambda *_: None)[number % 3]
    signal.signal(signal.SIGTERM, handler)
    try:
        for _ in range(3):
            if check() != 1:
                return 3  # parallel in a child
        errors = []
        workers = [threading.Thread(target=compute, args=(errors, 3)) for _ in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        info = runtime.threading_info()
        if errors or info["parallel"] or not info["forked"] or not info["reason"]:
            return 4
        return wait(fork(number + 1, depth + 1)) if depth < 2 else 0
    except BaseException as error:
        print(f"child {number} at depth {depth}: {error!r}", file=sys.stderr, flush=True)
        return 5


def fork(number, depth=0):
    pid = os.fork()
    if pid == 0:
        os._exit(child(number, depth))
    return pid


def wait(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main():
    check()
    serial_only = runtime.threading_info()["layer"] == "workqueue"
    assert runtime.threading_info()["parallel"] is not serial_only, runtime.threading_info()
    errors = []
    workers = [threading.Thread(target=compute, args=(errors,)) for _ in range(THREADS)]
    for worker in workers:
        worker.start()
    statuses = [wait(pid) for pid in [fork(number) for number in range(CHILDREN)]]
    for worker in workers:
        worker.join()
    assert not errors, errors
    assert statuses == [0] * CHILDREN, statuses
    assert check() == (1 if serial_only else runtime.threading_info()["threads"])
    print("ok", runtime.threading_info()["layer"])


main()
