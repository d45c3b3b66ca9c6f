"""Rules of the optimisers, applied to a tile of parameters at once.

A rule sees a tile of gradients while it is in registers and rewrites the same
tile of the parameters; what it remembers has the layout of the parameters.
"""

from fastnn.jit import inner
from fastnn.lanes import VECTOR_BYTES, fma, like, load, load_like, store

STORE, SGD = range(2)

# Places in the array `hyper`, of the dtype of the parameters.
LEARNING_RATE = 0
HYPER_SIZE = 8


@inner
def update(rule, hyper, g, params, memory, at):
    """Apply `rule` to ``params[at]`` and its memory, for a tile of one row of gradients.

    STORE writes g to ``memory[at]`` and leaves the parameters: this is how
    `gradient` uses the weight sweep.
    """
    if rule == STORE:
        store(memory, at, 0, g)
    else:
        w = load_like(params, at, g)
        store(params, at, 0, fma(like(g, -hyper[LEARNING_RATE]), g, w))


@inner
def update_block(rule, hyper, M, N, G, g, g_row, params, memory, at, row):
    """`update` for M rows of N gradients (whole vectors)."""
    lanes = VECTOR_BYTES // G.itemsize
    for m in range(M):
        for n in range(0, N, lanes):
            tile = load(G, g + m * g_row + n, 0, 1, 1)
            update(rule, hyper, tile, params, memory, at + m * row + n)
