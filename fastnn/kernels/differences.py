"""Numerical gradients: central differences of the loss, recomputing only what a weight reaches.

A weight of unit o in layer l changes z of that unit, and so one multiple of row
o of the next layer's weights in the next layer's z; only layers behind those
are multiplied anew, for many changes at a time.  A row whose input to the
weight is zero, or whose unit does not answer to the change (ReLU below zero),
keeps its loss.  On the first three images of MNIST, with sigmoid, 784-50-10 is
left with 49,560 of the brute force's 238,560 losses, most of them of the last
layer alone.
"""

from fastnn.compiler.jit import entry, inner
from fastnn.compiler.lanes import (
    VECTOR_BYTES,
    element,
    flat,
    fma,
    lane_max,
    like,
    load,
    splat,
    store,
)
from fastnn.compiler.launch import Chunked, run_or_pack
from fastnn.kernels.activations import activate, activation_forward, log
from fastnn.kernels.affine import ONE, ZERO, multiply
from fastnn.kernels.losses import loss_forward
from fastnn.kernels.sweeps import ACTIVATION, INPUTS, OUTPUTS, W_ROW, X_ROW, Y_ROW, B, W, X, Y

# Changes that go through the last layers together.
CHANGES = 48


@inner
def _forward(plan, params, x, first, rows, values, before):
    """Rows of x through all layers: ``values`` get every layer's y, ``before`` its z."""
    lanes = VECTOR_BYTES // params.itemsize
    for layer in range(plan.shape[0]):
        p = plan[layer]
        vectors = (p[OUTPUTS] + lanes - 1) // lanes
        if layer == 0:
            for r in range(rows):
                for i in range(p[INPUTS]):
                    values[p[X] + r * p[X_ROW] + i] = x[first + r, i]
        multiply(rows, vectors * lanes, p[INPUTS], values, p[X], p[X_ROW], ONE,
                 params, p[W], p[W_ROW], params, p[B], ZERO, before, p[Y], p[Y_ROW])  # fmt: skip
        for i in range(p[Y], p[Y] + rows * p[Y_ROW]):
            values[i] = before[i]
        activation_forward(p[ACTIVATION], rows, vectors, lanes, values, p[Y], p[Y_ROW])


@inner
def _changes(p, layers, layer, params, w, step, x, before, values, row, change):
    """What a step of each weight ``params[w + o]`` does to its unit: to y, in the last layer to z.

    The unit's input is x; its z and y are those of a row of the batch.
    """
    lanes = VECTOR_BYTES // params.itemsize
    y = p[Y] + row * p[Y_ROW]
    for n in range(0, p[OUTPUTS], lanes):
        weight, z = load(params, w + n, 0, 1, 1), load(before, y + n, 0, 1, 1)
        moved = fma((weight + like(z, step)) - weight, like(z, x), z)
        if layer == layers - 1:
            store(change, n, 0, moved - z)
        else:
            store(change, n, 0, activate(p[ACTIVATION], moved) - load(values, y + n, 0, 1, 1))


@inner
def _reach(plan, block_plan, layer, params, o, amount, before, row, block, k):
    """Row k of `block`: the first z behind the change, those of a batch row plus what it adds."""
    lanes = VECTOR_BYTES // params.itemsize
    last = plan.shape[0] - 1
    p, q = plan[min(layer + 1, last)], block_plan[min(layer + 1, last)]
    z, at = p[Y] + row * p[Y_ROW], q[Y] + k * q[Y_ROW]
    for n in range(0, p[OUTPUTS], lanes):
        total = load(before, z + n, 0, 1, 1)
        if layer < last:
            weight = load(params, p[W] + o * p[W_ROW] + n, 0, 1, 1)
            total = fma(like(total, amount), weight, total)
        store(block, at + n, 0, total)
    if layer == last:
        block[at + o] += amount


@inner
def _finish(block_plan, layer, params, rows, block):
    """Send rows of `block` from the z behind layer `layer` to the last layer's z."""
    lanes = VECTOR_BYTES // params.itemsize
    for behind in range(layer + 1, block_plan.shape[0]):
        q = block_plan[behind]
        vectors = (q[OUTPUTS] + lanes - 1) // lanes
        if behind > layer + 1:
            multiply(rows, vectors * lanes, q[INPUTS], block, q[X], q[X_ROW], ONE,
                     params, q[W], q[W_ROW], params, q[B], ZERO, block, q[Y], q[Y_ROW])  # fmt: skip
        activation_forward(q[ACTIVATION], rows, vectors, lanes, block, q[Y], q[Y_ROW])


@inner
def _loss(loss, added, O, label, T, t, Y, y):
    """`loss_forward`; if something is `added` to y in the logarithm, ``-log(y + added)``."""
    found = loss_forward(loss, O, label, T, t, Y, y)
    if added > 0:
        return -lane_max(log(splat(Y[y + label] + added, 1, 1)))
    return found


@inner
def _add_losses(q, loss, added, label, T, t, usual, sign, rows, units, block, gradient, g):
    """Add the rows' losses beyond the usual one to the gradients of the units they belong to."""
    for k in range(rows):
        found = _loss(loss, added, q[OUTPUTS], label, T, t, block, q[Y] + k * q[Y_ROW])
        gradient[g + units[k]] += sign * (found - usual)


@inner
def _unit_gradients(plan, block_plan, loss, added, params, layer, i, h, rows, usual, label, T, t,
                    values, before, block, change, units, gradient):  # fmt: skip
    """Add to the gradients of the weights from input i of a layer; of its biases for i = I."""
    p, q = plan[layer], block_plan[plan.shape[0] - 1]
    layers, O = plan.shape[0], q[OUTPUTS]
    w = p[W] + i * p[W_ROW]
    for r in range(rows):
        x = params.dtype.type(1)
        if i < p[INPUTS]:
            x = element(values, p[X] + r * p[X_ROW] + i)
        if x == 0:
            continue
        for side in range(2):
            sign = params.dtype.type(1 - 2 * side)
            _changes(p, layers, layer, params, w, sign * h, x, before, values, r, change)
            k = 0
            for o in range(p[OUTPUTS]):
                if change[o] != 0:
                    _reach(plan, block_plan, layer, params, o, change[o], before, r, block, k)
                    units[k] = o
                    k += 1
                if k == CHANGES or (o == p[OUTPUTS] - 1 and k > 0):
                    _finish(block_plan, layer, params, k, block)
                    _add_losses(q, loss, added, label[r], T, t + r * O, usual[r], sign, k, units,
                                block, gradient, w)  # fmt: skip
                    k = 0


@inner
def differences_chunk(chunk, chunks, plan, block_plan, loss, added, params, h, x, labels, targets,
                      first, rows, begin, end, values, before, block, change, units, usual, label,
                      gradient):  # fmt: skip
    """A chunk's share of inputs ``begin .. end`` of all layers, biases counted as inputs of 1.

    Adds to `gradient` the sums over rows ``first ..`` of x of
    ``loss(w + h) - loss(w - h)``.
    """
    values, before, block = values[chunk], before[chunk], block[chunk]
    usual, label = usual[chunk], label[chunk]
    q, s = plan[plan.shape[0] - 1], block_plan[plan.shape[0] - 1]
    O, T = q[OUTPUTS], flat(targets)
    _forward(plan, params, x, first, rows, values, before)
    for r in range(rows):
        label[r] = labels[first + r] if labels.size else 0
        for o in range(q[Y_ROW]):
            block[s[Y] + o] = before[q[Y] + r * q[Y_ROW] + o]
        usual[r] = _loss(loss, added, O, label[r], T, (first + r) * O, block, s[Y])
    # Neighbours are dealt in turn: the inputs in the middle of an image have more nonzeros.
    layer, lower = 0, 0
    for u in range(begin + chunk, end, chunks):
        while u - lower > plan[layer, INPUTS]:
            lower += plan[layer, INPUTS] + 1
            layer += 1
        _unit_gradients(plan, block_plan, loss, added, params, layer, u - lower, h, rows, usual,
                        label, T, first * O, values, before, block, change[chunk], units[chunk],
                        gradient)  # fmt: skip


@Chunked
@entry(parallel=False)
def differences(chunks, context, *args):
    """`differences_chunk` in so many chunks."""
    run_or_pack(chunks, context, differences_chunk, args)
