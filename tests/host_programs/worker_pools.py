# ruff: noqa: T201
"""multiprocessing by fork and by spawn, from a process that has computed in parallel."""

import multiprocessing
import sys
import warnings

from at_a_terminal import hear_signals
from small_kernels import check

from fastnn.compiler import runtime

warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)


def work(_):
    return check(), runtime.threading_info()["forked"]


if __name__ == "__main__":
    hear_signals()  # a pool ends its workers with SIGTERM
    method = sys.argv[1]
    parallel = check()
    assert parallel > 1
    with multiprocessing.get_context(method).Pool(2) as pool:
        results = set(pool.map(work, range(20), chunksize=1))
    assert results == ({(1, True)} if method == "fork" else {(parallel, False)}), results
    print("ok")
