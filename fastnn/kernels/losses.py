"""Outputs and losses of the last layer, row by row: the table of them, with their formulas.

On entry a row of y holds the inputs z of the last activation; the forward
kernels turn it into the outputs y and return the row's loss, the backward
kernels write ``dz``.  Losses come from z, so they are finite for any finite z.
Rows are padded to whole groups of 64 bytes: the padding of dz is written as zero.
To add one, write its functions and a row of the table.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fastnn.compiler.arithmetic import (
    absolute,
    fma,
    keep_first,
    lane_max,
    lane_sum,
    maximum,
    where_less,
)
from fastnn.compiler.choice import one_of
from fastnn.compiler.jit import inner
from fastnn.compiler.tiles import (
    GROUP,
    GROUP_BYTES,
    is_single,
    like,
    load_first,
    load_row,
    splat,
    store,
)
from fastnn.kernels.elementary import exp, log, log1p, sigmoid


@inner
def softmax_forward(outputs, y):
    """Replace a row of z by ``softmax(z)``; return ``log(sum(exp(z)))``."""
    lanes = GROUP_BYTES // y.array.itemsize
    top = like(load_row(y.array, y.at, GROUP), -np.inf)
    for n in range(0, outputs, lanes):
        z = load_row(y.array, y.at + n, GROUP)
        top = maximum(keep_first(z, outputs - n, top), top)
    largest = lane_max(top)
    shift = splat(largest, GROUP)
    total = like(shift, 0)
    for n in range(0, outputs, lanes):
        e = exp(load_row(y.array, y.at + n, GROUP) - shift)
        e = keep_first(e, outputs - n, like(e, 0))
        store(y.array, y.at + n, e)
        total = total + e
    total = splat(lane_sum(total), GROUP)
    for n in range(0, outputs, lanes):
        store(y.array, y.at + n, load_row(y.array, y.at + n, GROUP) / total)
    return largest + lane_max(log(total))


# What a probability of as good as 0 costs in scikit-learn, ``-log(eps)``, in either precision.
LARGEST_32, LARGEST_64 = 15.942385, 36.04365338911715


@inner
def largest_clipped(array):
    """The largest loss, in the precision of an array."""
    return array.dtype.type(LARGEST_32 if array.itemsize == 4 else LARGEST_64)


@inner
def _softmax_outputs(outputs, y):
    softmax_forward(outputs, y)


@inner
def _cross_entropy_forward(outputs, wanted, y):
    """``-log(y[label])``."""
    z = y.array[y.at + wanted.label]
    return softmax_forward(outputs, y) - z


@inner
def _clipped_cross_entropy_forward(outputs, wanted, y):
    found, most = _cross_entropy_forward(outputs, wanted, y), largest_clipped(y.array)
    return most if found > most else found  # NaN stays


@inner
def _cross_entropy_backward(outputs, wanted, weight, y, dz):
    """``dz = (y - t) * weight`` for the softmax outputs y and one-hot t."""
    for n in range(0, outputs, GROUP_BYTES // y.array.itemsize):
        row = load_row(y.array, y.at + n, GROUP)
        store(dz.array, dz.at + n, row * splat(weight, GROUP))
    one = y.array.dtype.type(1)
    dz.array[dz.at + wanted.label] = (y.array[y.at + wanted.label] - one) * weight


@inner
def _error(outputs, column, wanted, y):
    """A group of ``y - t``."""
    t = load_first(wanted.targets, wanted.at + column, outputs - column, GROUP)
    return load_row(y.array, y.at + column, GROUP) - t


@inner(forceinline=True)
def _squared_error_forward(outputs, wanted, y):
    """Half the sum of ``(y - t) ** 2`` over a row; y is z itself."""
    total = splat(y.array.dtype.type(0), GROUP)
    for n in range(0, outputs, GROUP_BYTES // y.array.itemsize):
        error = _error(outputs, n, wanted, y)
        error = keep_first(error, outputs - n, like(error, 0))
        total = fma(error, error, total)
    return y.array.dtype.type(0.5) * lane_sum(total)


@inner(forceinline=True)
def _error_backward(outputs, wanted, weight, y, dz):
    """``dz = (y - t) * weight``, for each loss with the outputs that belong to it."""
    for n in range(0, outputs, GROUP_BYTES // y.array.itemsize):
        error = _error(outputs, n, wanted, y) * splat(weight, GROUP)
        store(dz.array, dz.at + n, keep_first(error, outputs - n, like(error, 0)))


@inner
def _identity_outputs(outputs, y):
    return


@inner
def _mean_squared_error_forward(outputs, wanted, y):
    number = y.array.dtype.type
    return _squared_error_forward(outputs, wanted, y) * number(2) / number(outputs)


@inner
def _mean_squared_error_backward(outputs, wanted, weight, y, dz):
    number = y.array.dtype.type
    _error_backward(outputs, wanted, weight * number(2) / number(outputs), y, dz)


@inner
def binary_cross_entropy(t, z):
    """Loss of each output: ``-t log(y) - (1 - t) log(1 - y)`` for ``y = sigmoid(z)``."""
    # Written with z so that nothing overflows.
    zero = like(z, 0)
    return maximum(zero, z) - z * t + log1p(exp(zero - absolute(z)))


@inner
def clipped_binary_cross_entropy(t, z):
    """That of scikit-learn, which is never infinite."""
    most = like(z, LARGEST_32) if is_single(z) else like(z, LARGEST_64)
    found = binary_cross_entropy(t, z)
    return where_less(most, found, most, found)


def _make_binary_cross_entropy(loss):
    @inner
    def forward(outputs, wanted, y):
        """Replace a row of z by ``sigmoid(z)``; return its loss, summed over the outputs."""
        total = splat(y.array.dtype.type(0), GROUP)
        for n in range(0, outputs, GROUP_BYTES // y.array.itemsize):
            z = load_row(y.array, y.at + n, GROUP)
            t = load_first(wanted.targets, wanted.at + n, outputs - n, GROUP)
            total = total + keep_first(loss(t, z), outputs - n, like(z, 0))
            store(y.array, y.at + n, sigmoid(z))
        return lane_sum(total)

    return forward


@inner
def _sigmoid_outputs(outputs, y):
    for n in range(0, outputs, GROUP_BYTES // y.array.itemsize):
        store(y.array, y.at + n, sigmoid(load_row(y.array, y.at + n, GROUP)))


@inner
def _exp_or_infinite(z):
    """``exp(z)``, infinite where it is too large."""
    largest = like(z, 88) if is_single(z) else like(z, 709)
    y = exp(where_less(largest, z, largest, z))
    return where_less(largest, z, like(z, np.inf), y)


@inner
def _poisson_forward(outputs, wanted, y):
    """Replace a row of z by ``exp(z)``; return half its deviance, summed over the outputs."""
    total = splat(y.array.dtype.type(0), GROUP)
    for n in range(0, outputs, GROUP_BYTES // y.array.itemsize):
        z = load_row(y.array, y.at + n, GROUP)
        t = load_first(wanted.targets, wanted.at + n, outputs - n, GROUP)
        zero, found = like(z, 0), _exp_or_infinite(z)
        # t log(t / y) - t + y, where t log(t) of 0 is 0
        logarithm = log(where_less(zero, t, t, like(z, 1))) - z
        loss = where_less(zero, t, t * logarithm, zero) - t + found
        total = total + keep_first(loss, outputs - n, zero)
        store(y.array, y.at + n, found)
    return lane_sum(total)


@inner
def _exp_outputs(outputs, y):
    for n in range(0, outputs, GROUP_BYTES // y.array.itemsize):
        store(y.array, y.at + n, _exp_or_infinite(load_row(y.array, y.at + n, GROUP)))


# Kinds of targets: class numbers; numbers, any, from 0 to 1, from 0 on, or from -1 to 1.
LABELS, NUMBERS, PROBABILITIES, COUNTS = "labels", "numbers", "probabilities", "counts"
SIGNS = "signs"


class Loss(NamedTuple):
    """A row of the table."""

    output: str  # name of the last activation, which belongs to the loss
    targets: str  # their kind
    forward: Callable  # (outputs, wanted, y): turns z into y, returns the loss
    backward: Callable  # (outputs, wanted, weight, y, dz), for a loss that counts `weight`
    make_outputs: Callable  # (outputs, y): turns z into y
    offered: bool = True  # by `MLP`; its output's first is the default
    # The output's name there, if its estimators use this loss; of each name one loss.
    scikit_learn: str | None = None


LOSSES = {
    "cross_entropy": Loss(
        "softmax", LABELS, _cross_entropy_forward, _cross_entropy_backward, _softmax_outputs
    ),
    "squared_error": Loss(
        "identity",
        NUMBERS,
        _squared_error_forward,
        _error_backward,
        _identity_outputs,
        scikit_learn="identity",
    ),
    "mse": Loss(
        "identity",
        NUMBERS,
        _mean_squared_error_forward,
        _mean_squared_error_backward,
        _identity_outputs,
    ),
    "binary_cross_entropy": Loss(
        "sigmoid",
        PROBABILITIES,
        _make_binary_cross_entropy(binary_cross_entropy),
        _error_backward,
        _sigmoid_outputs,
    ),
    "poisson": Loss(
        "exp",
        COUNTS,
        _poisson_forward,
        _error_backward,
        _exp_outputs,
        offered=False,
        scikit_learn="exp",
    ),
    # Those of scikit-learn: no probability counts as less than the distance from 1 to the next
    # number.
    "clipped_cross_entropy": Loss(
        "softmax",
        LABELS,
        _clipped_cross_entropy_forward,
        _cross_entropy_backward,
        _softmax_outputs,
        offered=False,
        scikit_learn="softmax",
    ),
    "clipped_binary_cross_entropy": Loss(
        "sigmoid",
        PROBABILITIES,
        _make_binary_cross_entropy(clipped_binary_cross_entropy),
        _error_backward,
        _sigmoid_outputs,
        offered=False,
        scikit_learn="logistic",
    ),
}
# By which kernels know them.
LOSS_CODES = {name: code for code, name in enumerate(LOSSES)}

_forward = one_of(dict(enumerate(row.forward for row in LOSSES.values())))
_backward = one_of(dict(enumerate(row.backward for row in LOSSES.values())))


@inner(forceinline=True)
def loss_forward(loss, outputs, wanted, y):
    """Replace a row of z by the outputs y and return the row's loss."""
    return _forward(loss, (outputs, wanted, y))


@inner(forceinline=True)
def loss_backward(loss, outputs, wanted, weight, y, dz):
    """Write ``dz`` of a row whose loss counts `weight` in the whole."""
    _backward(loss, (outputs, wanted, weight, y, dz))
