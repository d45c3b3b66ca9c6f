# ruff: noqa: T201
"""Print what the environment makes of the thread count, before and after a parallel call."""

import json

from numba.np.ufunc import parallel as numba_pool
from small_kernels import check

from fastnn.compiler import runtime

before = runtime.threading_info()
chunks = check()
report = {"before": before, "chunks": chunks, "after": runtime.threading_info()}
print(json.dumps(report | {"pool": numba_pool._is_initialized}))
