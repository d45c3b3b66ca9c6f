# ruff: noqa: T201
"""Two functions of one signature, compiled so that Numba names their loop bodies alike.

Numba names a loop body by the address of an object and a count. In two processes, say two
children of one parent, both can repeat; here the address does by force.
"""

import sys

import numba
import numpy as np

from fastnn.compiler import cache, jit


def _plus(chunks, x, y):
    for c in numba.prange(chunks):
        y[c] = x[c] + 1


def _times(chunks, x, y):
    for c in numba.prange(chunks):
        y[c] = x[c] * 100


STORE = cache.CodeStore(cache.Sources([*cache.STORE.sources.files, __file__]))
plus, times = jit.Entry(_plus, store=STORE), jit.Entry(_times, store=STORE)
expected = {"plus": 2.0, "times": 100.0}
if sys.argv[1] == "compile":
    from numba.parfors import parfor

    parfor.Parfor.__hash__ = lambda self: 0x7F0123456
for name in sys.argv[2:]:
    build = globals()[name].parallel
    y = np.zeros(4)
    build(4, np.ones(4), y)
    assert (y == expected[name]).all(), (name, y)
    assert build.stats.cache_hits.total() == (sys.argv[1] == "load"), build.stats
print("ok")
