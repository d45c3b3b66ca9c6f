"""Rules of the optimisers, applied to a tile of parameters at once.

A rule sees a tile of gradients while it is in registers and rewrites the same
tile of the parameters; what it remembers has the layout of the parameters, a
second array behind the first.  The formulas are those of the book
(``common/optimizer.py``); a padding of zeros stays zero under all of them.
"""

from fastnn.compiler.jit import inner
from fastnn.compiler.lanes import VECTOR_BYTES, fma, like, load, load_like, square_root, store

STORE, SGD, MOMENTUM, NESTEROV, ADAGRAD, RMSPROP, ADAM = range(7)

# What may change from step to step: columns of `rates`.
RATE, DECAY = 0, 1
# What stays: places in the array `hyper`, of the dtype of the parameters.
MOMENTUM_KEPT = 0  # share of the velocity that stays
# Shares of means that are new.  Their complements would be rounded in float32: 1 - 1e-8 is 1.
MEAN_NEW, SQUARES_NEW = 1, 2
EPSILON = 3
HYPER_SIZE = 4


@inner(forceinline=True)
def update(rule, hyper, rate, decay, g, params, memory, at):
    """Apply `rule` to ``params[at]`` and its memory, for a tile of one row of gradients.

    ``decay * w`` is added to g first.  STORE writes g to ``memory[at]`` and
    leaves the parameters: this is how `gradient` uses the weight sweep.
    """
    if rule == STORE and decay == 0:
        store(memory, at, 0, g)
        return
    w = load_like(params, at, g)
    g = fma(like(g, decay), w, g)
    if rule == STORE:
        store(memory, at, 0, g)
        return
    if rule == SGD:
        w = fma(like(g, -rate), g, w)
    elif rule in (MOMENTUM, NESTEROV):
        kept, v = like(g, hyper[MOMENTUM_KEPT]), load_like(memory, at, g)
        step = like(g, -rate) * g
        moved = fma(kept, v, step)
        store(memory, at, 0, moved)
        if rule == NESTEROV:
            moved = fma(kept, moved, step)
        w = w + moved
    else:
        w = w - like(g, rate) * _scaled(rule, hyper, g, params, memory, at)
    store(params, at, 0, w)


@inner
def _scaled(rule, hyper, g, params, memory, at):
    """Gradient, or with Adam its mean, over the root of what is remembered of its squares."""
    place = at
    if rule == ADAM:
        mean = load_like(memory, at, g)
        mean = fma(like(g, hyper[MEAN_NEW]), g - mean, mean)
        store(memory, at, 0, mean)
        place = at + params.size
    square = load_like(memory, place, g)
    if rule == ADAGRAD:
        square = fma(g, g, square)
    else:
        square = fma(like(g, hyper[SQUARES_NEW]), g * g - square, square)
    store(memory, place, 0, square)
    root = square_root(square) + like(g, hyper[EPSILON])
    if rule == ADAM:
        return mean / root
    return g / root


@inner
def update_block(rule, hyper, rate, decay, M, N, G, g, g_row, params, memory, at, row):
    """`update` for M rows of N gradients (whole vectors)."""
    lanes = VECTOR_BYTES // G.itemsize
    for m in range(M):
        for n in range(0, N, lanes):
            tile = load(G, g + m * g_row + n, 0, 1, 1)
            update(rule, hyper, rate, decay, tile, params, memory, at + m * row + n)
