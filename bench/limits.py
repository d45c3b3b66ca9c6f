"""Compiled loops that reach what a core, and the memory, can do."""

from fastnn.compiler.jit import entry, inner
from fastnn.compiler.lanes import TILE_ROWS, TILE_VECTORS, fma, load, store


@inner
def _on_registers(repeats, A):
    total, x = load(A, 0, 64, TILE_ROWS, TILE_VECTORS), load(A, 4096, 0, TILE_ROWS, TILE_VECTORS)
    for _ in range(repeats):
        total = fma(x, x, total)
    store(A, 0, 64, total)


@entry(parallel=False)
def multiply_adds(chunks, repeats, A):
    """A tile of registers, multiplied by itself and added up `repeats` times."""
    _on_registers(repeats, A)


@entry(parallel=False)
def triad(chunks, s, a, b, c):
    """``a = b + s * c``, two arrays read and one written."""
    for i in range(a.size):
        a[i] = b[i] + s * c[i]
