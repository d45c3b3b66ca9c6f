"""Compiled loops that reach what a core, and the memory, can do."""

from fastnn.compiler.arithmetic import fma
from fastnn.compiler.jit import entry, inner
from fastnn.compiler.tiles import TILE_ROWS, TILE_VECTORS, load_rows, store_rows


@inner
def _on_registers(repeats, A):
    total = load_rows(A, 0, 64, TILE_ROWS, TILE_VECTORS)
    x = load_rows(A, 4096, 0, TILE_ROWS, TILE_VECTORS)
    for _ in range(repeats):
        total = fma(x, x, total)
    store_rows(A, 0, 64, total)


@entry(parallel=False)
def multiply_adds(chunks, repeats, A):
    """A tile of registers, multiplied by itself and added up `repeats` times."""
    _on_registers(repeats, A)


@entry(parallel=False)
def triad(chunks, s, a, b, c):
    """``a = b + s * c``, two arrays read and one written."""
    for i in range(a.size):
        a[i] = b[i] + s * c[i]
