"""Outputs and losses of the last layer, row by row.

On entry a row of Y holds the inputs z of the last activation; the forward
kernels turn it into the outputs y and record the row's loss, the backward
kernels write ``dz``.  Losses come from z, so they are finite for any finite z.
Rows are padded to whole groups of 64 bytes: the padding of D is written as zero.
"""

import numpy as np

from fastnn.compiler.jit import inner
from fastnn.compiler.lanes import (
    GROUP,
    GROUP_BYTES,
    absolute,
    fma,
    is_single,
    keep_first,
    lane_max,
    lane_sum,
    like,
    load,
    load_first,
    maximum,
    splat,
    store,
    where_less,
)
from fastnn.kernels.activations import exp, log, log1p, sigmoid

CROSS_ENTROPY, SQUARED_ERROR, MEAN_SQUARED_ERROR, BINARY_CROSS_ENTROPY, POISSON = range(5)
# Those of scikit-learn: probabilities count as no less than the distance from 1 to the next number.
CLIPPED_CROSS_ENTROPY, CLIPPED_BINARY_CROSS_ENTROPY = 5, 6


@inner
def softmax_forward(O, Y, y):
    """Replace a row of z by ``softmax(z)``; return ``log(sum(exp(z)))``."""
    lanes = GROUP_BYTES // Y.itemsize
    top = like(load(Y, y, 0, 1, GROUP), -np.inf)
    for n in range(0, O, lanes):
        z = load(Y, y + n, 0, 1, GROUP)
        top = maximum(keep_first(z, O - n, top), top)
    largest = lane_max(top)
    shift = splat(largest, 1, GROUP)
    total = like(shift, 0)
    for n in range(0, O, lanes):
        e = exp(load(Y, y + n, 0, 1, GROUP) - shift)
        e = keep_first(e, O - n, like(e, 0))
        store(Y, y + n, 0, e)
        total = total + e
    total = splat(lane_sum(total), 1, GROUP)
    for n in range(0, O, lanes):
        store(Y, y + n, 0, load(Y, y + n, 0, 1, GROUP) / total)
    return largest + lane_max(log(total))


@inner
def cross_entropy_backward(O, label, scale, Y, y, D, d):
    """``dz = (y - t) * scale`` for the softmax outputs y and one-hot t."""
    lanes = GROUP_BYTES // Y.itemsize
    for n in range(0, O, lanes):
        store(D, d + n, 0, load(Y, y + n, 0, 1, GROUP) * splat(scale, 1, GROUP))
    D[d + label] = (Y[y + label] - Y.dtype.type(1)) * scale


@inner(forceinline=True)
def squared_error_forward(O, T, t, Y, y):
    """Half the sum of ``(y - t) ** 2`` over a row; y is z itself."""
    lanes = GROUP_BYTES // Y.itemsize
    total = splat(Y.dtype.type(0), 1, GROUP)
    for n in range(0, O, lanes):
        error = load(Y, y + n, 0, 1, GROUP) - load_first(T, t + n, O - n, GROUP)
        error = keep_first(error, O - n, like(error, 0))
        total = fma(error, error, total)
    return Y.dtype.type(0.5) * lane_sum(total)


@inner
def largest_loss(loss, Y):
    """What a probability of as good as 0 costs: ``-log(eps)`` if the loss is clipped."""
    if loss not in (CLIPPED_CROSS_ENTROPY, CLIPPED_BINARY_CROSS_ENTROPY):
        return Y.dtype.type(np.inf)
    return Y.dtype.type(15.942385 if Y.itemsize == 4 else 36.04365338911715)


@inner
def poisson_outputs(z):
    """``exp(z)``, infinite where it is too large."""
    largest = like(z, 88) if is_single(z) else like(z, 709)
    y = exp(where_less(largest, z, largest, z))
    return where_less(largest, z, like(z, np.inf), y)


@inner
def poisson_forward(O, T, t, Y, y):
    """Replace a row of z by ``exp(z)``; return half its deviance, summed over the outputs."""
    lanes = GROUP_BYTES // Y.itemsize
    total = splat(Y.dtype.type(0), 1, GROUP)
    for n in range(0, O, lanes):
        z, wanted = load(Y, y + n, 0, 1, GROUP), load_first(T, t + n, O - n, GROUP)
        zero, found = like(z, 0), poisson_outputs(z)
        # t log(t / y) - t + y, where t log(t) of 0 is 0
        logarithm = log(where_less(zero, wanted, wanted, like(z, 1))) - z
        loss = where_less(zero, wanted, wanted * logarithm, zero) - wanted + found
        total = total + keep_first(loss, O - n, zero)
        store(Y, y + n, 0, found)
    return lane_sum(total)


@inner
def binary_cross_entropy(loss, Y, t, z):
    """Loss of each output: ``-t log(y) - (1 - t) log(1 - y)`` for ``y = sigmoid(z)``."""
    # Written with z so that nothing overflows.
    zero, most = like(z, 0), like(z, largest_loss(loss, Y))
    found = maximum(zero, z) - z * t + log1p(exp(zero - absolute(z)))
    return where_less(most, found, most, found)


@inner
def binary_cross_entropy_forward(loss, O, T, t, Y, y):
    """Replace a row of z by ``sigmoid(z)``; return its loss, summed over the outputs."""
    lanes, total = GROUP_BYTES // Y.itemsize, splat(Y.dtype.type(0), 1, GROUP)
    for n in range(0, O, lanes):
        z = load(Y, y + n, 0, 1, GROUP)
        found = binary_cross_entropy(loss, Y, load_first(T, t + n, O - n, GROUP), z)
        total = total + keep_first(found, O - n, like(z, 0))
        store(Y, y + n, 0, sigmoid(z))
    return lane_sum(total)


@inner(forceinline=True)
def error_backward(O, T, t, scale, Y, y, D, d):
    """``dz = (y - t) * scale``, for each loss with the outputs that belong to it."""
    lanes = GROUP_BYTES // Y.itemsize
    for n in range(0, O, lanes):
        error = (load(Y, y + n, 0, 1, GROUP) - load_first(T, t + n, O - n, GROUP)) * splat(
            scale, 1, GROUP
        )
        store(D, d + n, 0, keep_first(error, O - n, like(error, 0)))


@inner(forceinline=True)
def loss_forward(loss, O, label, T, t, Y, y):
    """Replace a row of z by the outputs y and return the row's loss."""
    if loss in (CROSS_ENTROPY, CLIPPED_CROSS_ENTROPY):
        z = Y[y + label]
        found, most = softmax_forward(O, Y, y) - z, largest_loss(loss, Y)
        return most if found > most else found  # NaN stays
    if loss in (BINARY_CROSS_ENTROPY, CLIPPED_BINARY_CROSS_ENTROPY):
        return binary_cross_entropy_forward(loss, O, T, t, Y, y)
    if loss == POISSON:
        return poisson_forward(O, T, t, Y, y)
    half = squared_error_forward(O, T, t, Y, y)
    if loss == MEAN_SQUARED_ERROR:
        return half * Y.dtype.type(2) / Y.dtype.type(O)
    return half


@inner(forceinline=True)
def loss_backward(loss, O, label, T, t, scale, Y, y, D, d):
    """Write ``dz`` of a row whose loss counts ``scale`` in the whole."""
    if loss in (CROSS_ENTROPY, CLIPPED_CROSS_ENTROPY):
        cross_entropy_backward(O, label, scale, Y, y, D, d)
    elif loss == MEAN_SQUARED_ERROR:
        error_backward(O, T, t, scale * Y.dtype.type(2) / Y.dtype.type(O), Y, y, D, d)
    else:
        error_backward(O, T, t, scale, Y, y, D, d)


@inner
def outputs_forward(loss, rows, O, Y, y, y_row):
    """Replace rows of z by the outputs that go with a loss."""
    lanes = GROUP_BYTES // Y.itemsize
    for r in range(rows):
        if loss in (CROSS_ENTROPY, CLIPPED_CROSS_ENTROPY):
            softmax_forward(O, Y, y + r * y_row)
        elif loss in (BINARY_CROSS_ENTROPY, CLIPPED_BINARY_CROSS_ENTROPY):
            for n in range(0, O, lanes):
                at = y + r * y_row + n
                store(Y, at, 0, sigmoid(load(Y, at, 0, 1, GROUP)))
        elif loss == POISSON:
            for n in range(0, O, lanes):
                at = y + r * y_row + n
                store(Y, at, 0, poisson_outputs(load(Y, at, 0, 1, GROUP)))
