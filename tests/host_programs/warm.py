# ruff: noqa: T201
"""Run both builds and say what it took: compiled or loaded, and which modules came along."""

import json
import sys

import numpy as np
import small_kernels
from small_kernels import check, reversed_twice

for dtype in sys.argv[1:] or ["float64"]:
    check(lambda *args: reversed_twice.serial(1, *args), np.dtype(dtype))
    check(lambda *args: reversed_twice.parallel(2, *args), np.dtype(dtype))
builds = (reversed_twice.serial, reversed_twice.parallel)
report = {
    "loaded": sum(build.stats.cache_hits.total() for build in builds),
    "compiled": sum(build.stats.cache_misses.total() for build in builds),
    "slow_imports": [name for name in ("scipy.linalg", "numba.np.linalg") if name in sys.modules],
    "cache": small_kernels.STORE.info(),
}
print(json.dumps(report))
