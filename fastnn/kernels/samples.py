"""Per-sample gradient descent: forward, backward and update fused, one row at a time.

A step on one row of a small network is too short to share, and even for calls:
with all that it calls inlined a step of 1-3-1 takes half as long.  It is the same arithmetic as
the sweeps make with a batch of one row, in the same order, so the same bits
(tests/test_bits.py).
"""

import numpy as np

from fastnn.compiler.jit import entry, inner
from fastnn.compiler.lanes import (
    VECTOR_BYTES,
    add_products_of_rows,
    broadcast_like,
    element,
    flat,
    fma,
    like,
    load,
    rank_one,
    store,
)
from fastnn.compiler.launch import Chunked, run_or_pack
from fastnn.kernels.activations import activate, slope
from fastnn.kernels.affine import ONE
from fastnn.kernels.epochs import SCALE, STEPS, note_step
from fastnn.kernels.losses import loss_backward, loss_forward
from fastnn.kernels.sweeps import (
    ACTIVATION,
    INPUTS,
    OUTPUTS,
    W_ROW,
    B,
    D,
    W,
    X,
    Y,
)
from fastnn.kernels.updates import DECAY, RATE, STORE, update

# Vectors of outputs that a wide layer sums together.
WIDE = 4


@inner(forceinline=True)
def _row_inputs(vectors, n, p, I, sparse, X, x, column, params):
    """Sums z of one layer for one row, some vectors of them from n on."""
    total, w, w_row = load(params, p[B] + n, 0, 1, vectors), p[W] + n, p[W_ROW]
    if sparse:
        for e in range(x, x + I):
            total = rank_one(total, X, e, 0, params, w + element(column, e) * w_row)
    else:
        for k in range(I):
            total = rank_one(total, X, x + k, 0, params, w + k * w_row)
    return total


@inner(forceinline=True)
def _row_forward(p, I, lanes, sparse, X, x, column, params, values):
    """One layer for one row, whose I inputs (or I nonzeros) begin at ``X[x]``."""
    # Several vectors at once where there are as many, or each product waits for the one before.
    wide = p[OUTPUTS] // (WIDE * lanes) * WIDE * lanes
    for n in range(0, wide, WIDE * lanes):
        z = _row_inputs(WIDE, n, p, I, sparse, X, x, column, params)
        store(values, p[Y] + n, 0, z)
    for n in range(0, p[OUTPUTS], lanes):
        if n < wide:
            z = load(values, p[Y] + n, 0, 1, 1)
        else:
            z = _row_inputs(1, n, p, I, sparse, X, x, column, params)
        store(values, p[Y] + n, 0, activate(p[ACTIVATION], z))


@inner(forceinline=True)
def _row_deltas(p, below, lanes, params, values, deltas):
    """Deltas of the layer below, for one row."""
    I, d, w, row = p[INPUTS], p[D], p[W], p[W_ROW]
    if lanes > I:
        for k in range(I):
            total = params.dtype.type(0)
            for o in range(p[OUTPUTS]):
                total = fma(element(deltas, d + o), element(params, w + k * row + o), total)
            deltas[below[D] + k] = total
        dy = load(deltas, below[D], 0, 1, 1)
        store(deltas, below[D], 0, dy * slope(below[ACTIVATION], load(values, below[Y], 0, 1, 1)))
        return
    for i in range(0, I, lanes):
        k = min(i, I - lanes)  # the last rows overlap the ones before
        y = load(values, below[Y] + k, 0, 1, 1)
        dy = like(y, 0)
        for o in range(0, p[OUTPUTS], lanes):  # the padding is zero on both sides
            dy = add_products_of_rows(dy, deltas, d + o, params, w + k * row + o, row)
        store(deltas, below[D] + k, 0, dy * slope(below[ACTIVATION], y))


@inner(forceinline=True)
def _row_update(p, I, lanes, sparse, X, x, column, rule, hyper, rate, decay, params, memory,
                deltas):  # fmt: skip
    """Update of one layer for one row."""
    no_decay = params.dtype.type(0)
    for n in range(0, p[OUTPUTS], lanes):
        dz = load(deltas, p[D] + n, 0, 1, 1)
        for e in range(x, x + I):
            k = int(element(column, e)) if sparse else e - x
            g = fma(broadcast_like(X, e, dz), dz, like(dz, 0))
            update(rule, hyper, rate, decay, g, params, memory,
                   p[W] + k * p[W_ROW] + n)  # fmt: skip
    for n in range(0, p[OUTPUTS], lanes):
        dz = load(deltas, p[D] + n, 0, 1, 1)
        update(rule, hyper, rate, no_decay, like(dz, 0) + dz, params, memory, p[B] + n)


@inner
def train_rows(chunk, chunks, plan, loss, rule, hyper, params, memory, sparse, x, bounds, column,
               value, labels, targets, index, rates, values, deltas, step_loss, watch, epoch_loss,
               done):  # fmt: skip
    """A step on each of the rows `index`, one after the other; see `sweeps.train_chunk`.

    Compressed inputs leave the weights of zeros alone, so the rule must be one
    that a zero gradient does not move: plain descent without weight decay.
    """
    if chunk > 0:
        return
    lanes = VECTOR_BYTES // params.itemsize
    inputs, T = value if sparse else flat(x), flat(targets)
    layers, last = plan.shape[0], plan[plan.shape[0] - 1]
    O, I, one = last[OUTPUTS], plan[0, INPUTS], params.dtype.type(1)
    for s in range(index.size):
        row, rate, decay = index[s], rates[s, RATE], rates[s, DECAY]
        at, count = row * I, I
        if sparse:
            at, count = bounds[row, 0], bounds[row, 1] - bounds[row, 0]
        _row_forward(plan[0], count, lanes, sparse, inputs, at, column, params, values)
        for layer in range(1, layers):
            p = plan[layer]
            _row_forward(p, p[INPUTS], lanes, False, values, p[X], column, params, values)
        label = labels[row] if labels.size else 0
        row_loss = loss_forward(loss, O, label, T, row * O, values, last[Y])
        step_loss[s], ends = row_loss, False
        if watch[0, STEPS]:
            step_loss[s] = row_loss * watch[0, SCALE]
            ends = note_step(watch[0], epoch_loss, step_loss[s], ONE, True)
        done[0], done[1] = s + np.isfinite(row_loss), s + 1
        if not np.isfinite(row_loss) and rule != STORE:  # a gradient is what it is
            return
        loss_backward(loss, O, label, T, row * O, one, values, last[Y], deltas, last[D])
        for layer in range(layers - 1, 0, -1):
            p = plan[layer]
            _row_deltas(p, plan[layer - 1], lanes, params, values, deltas)
            _row_update(p, p[INPUTS], lanes, False, values, p[X], column, rule, hyper, rate, decay,
                        params, memory, deltas)  # fmt: skip
        _row_update(plan[0], count, lanes, sparse, inputs, at, column, rule, hyper, rate, decay,
                    params, memory, deltas)  # fmt: skip
        if ends:
            return


@Chunked
@entry(parallel=False)
def train_one_by_one(chunks, context, *args):
    """`train_rows`: chunk 0 makes all the steps."""
    run_or_pack(chunks, context, train_rows, args)
