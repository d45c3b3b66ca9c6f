"""Two tiny entries, and the check of their numbers, for the programs beside this file."""

import numba
import numpy as np

from fastnn.compiler import cache, jit, runtime

ENOUGH = 1e9  # multiply-adds that make `run` go parallel wherever it may


@jit.inner
def twice(x, y, start, stop):
    for i in range(start, stop):
        y[i] = 2.0 * x[i]


def _reversed_twice(chunks, x, y, z):
    n = x.shape[0]
    for c in numba.prange(chunks):
        twice(x, y, c * n // chunks, (c + 1) * n // chunks)
    for c in numba.prange(chunks):
        for i in range(c * n // chunks, (c + 1) * n // chunks):
            z[i] = y[n - 1 - i]  # what another chunk of the first region wrote
    return chunks


STORE = cache.CodeStore(cache.Sources([*cache.STORE.sources.files, __file__]))
reversed_twice = jit.Entry(_reversed_twice, store=STORE)


def check(call=None, dtype=np.float64, n=1001):
    """Run the entry and compare; return the number of chunks it was cut into."""
    x = np.arange(n, dtype=dtype)
    y, z = np.full((2, n), np.nan, dtype)
    call = call or (lambda *args: runtime.run(reversed_twice, ENOUGH, *args))
    chunks = call(x, y, z)
    if not np.array_equal(z, 2 * x[::-1]):
        raise AssertionError(f"wrong numbers from {chunks} chunks: {z[:5]}...")
    return chunks
