"""Activations, softmax and update rules on arrays of anyone's: kernels of `fastnn.book`.

Element by element, with the book's formulas in the book's order of operations.  `rules` has the
same rules in another form, with other bits: fused multiply-adds, and rates that are corrected
before they come.
"""

from typing import Any, NamedTuple

import numpy as np

from fastnn.compiler.arithmetic import lane_max
from fastnn.compiler.choice import one_of
from fastnn.compiler.jit import inner
from fastnn.compiler.launch import chunked
from fastnn.compiler.tiles import flat, lanes_of, load, splat, store
from fastnn.kernels.book_affine import pad, unpad
from fastnn.kernels.elementary import log, sigmoid
from fastnn.kernels.groups import ONE, ZERO, Place, rows_at, share_of
from fastnn.kernels.losses import softmax_forward
from fastnn.kernels.rules import RULE_CODES

# What `map_elements` does: ReLU with its mask, zeros where the mask is, sigmoid.
RELU_AND_MASK, CLEAR_MASKED, SIGMOID_OF = range(3)
FLOOR = 1e-7  # added to what is divided by, and to probabilities
NO_LOSS = -np.inf


@chunked
def map_elements(chunk, chunks, function, x, y, mask):
    """A chunk's share of y.

    For sigmoid x must have a whole vector.
    """
    low, high = share_of(x.size, chunk, chunks)
    if function == SIGMOID_OF:
        lanes = lanes_of(x)
        for i in range(low, high, lanes):
            at = max(0, min(i, high - lanes))  # the last vector overlaps the one before
            store(y, at, sigmoid(load(x, at)))
        return
    some_x, some_y, some_mask = x[low:high], y[low:high], mask[low:high]
    if function == RELU_AND_MASK:
        for i in range(some_x.size):
            some_mask[i] = some_x[i] <= 0.0
            some_y[i] = 0.0 if some_x[i] <= 0.0 else some_x[i]
    else:
        for i in range(some_y.size):
            some_y[i] = 0.0 if some_mask[i] else some_y[i]


@chunked
def softmax(chunk, chunks, x, labels, hot, y, losses, work):
    """A chunk's share of the rows of softmax(x), and their losses if that array is not empty.

    The class of a row is ``labels[r]``, or marked by the largest element of
    ``hot[r]`` if there are no labels.  A label that is none makes the loss NO_LOSS.
    """
    count, outputs = x.shape
    row = rows_at(work[chunk], ZERO, ZERO)
    low, high = share_of(count, chunk, chunks)
    for r in range(low, high):
        pad(ONE, outputs, rows_at(flat(x), r * outputs, outputs), row)
        softmax_forward(outputs, Place(row.array, row.at))
        unpad(ONE, outputs, row, rows_at(flat(y), r * outputs, outputs))
        if losses.size:
            label = labels[r] if labels.size else _largest(hot[r])
            losses[r] = NO_LOSS
            if 0 <= label < outputs:
                losses[r] = -lane_max(log(splat(row.array[label] + FLOOR, 1)))


@inner
def _largest(t):
    """Place of the largest element, or of the first NaN, as argmax finds it."""
    best = 0
    for n in range(1, t.size):
        if t[best] == t[best] and not t[n] <= t[best]:
            best = n
    return best


class Step(NamedTuple):
    """A rule's numbers: the learning rate, and the shares of what it remembers that stay."""

    rate: Any
    kept: Any
    squares: Any


@inner
def _sgd(params, grads, first, second, step):
    for i in range(params.size):
        params[i] -= step.rate * grads[i]


@inner
def _momentum(params, grads, first, second, step):
    for i in range(params.size):
        first[i] = step.kept * first[i] - step.rate * grads[i]
        params[i] += first[i]


@inner
def _nesterov(params, grads, first, second, step):
    rate, kept = step.rate, step.kept
    for i in range(params.size):
        params[i] = (params[i] + kept * kept * first[i]) - (1.0 + kept) * rate * grads[i]
        first[i] = first[i] * kept - rate * grads[i]


@inner
def _adagrad(params, grads, first, second, step):
    for i in range(params.size):
        first[i] += grads[i] * grads[i]
        params[i] -= step.rate * grads[i] / (np.sqrt(first[i]) + FLOOR)


@inner
def _rmsprop(params, grads, first, second, step):
    rate, kept = step.rate, step.kept
    for i in range(params.size):
        first[i] = first[i] * kept + (1.0 - kept) * grads[i] * grads[i]
        params[i] -= rate * grads[i] / (np.sqrt(first[i]) + FLOOR)


@inner
def _adam(params, grads, first, second, step):
    rate, kept, squares = step.rate, step.kept, step.squares
    for i in range(params.size):
        first[i] += (1.0 - kept) * (grads[i] - first[i])
        second[i] += (1.0 - squares) * (grads[i] * grads[i] - second[i])
        params[i] -= rate * first[i] / (np.sqrt(second[i]) + FLOOR)


RULES = {
    "sgd": _sgd,
    "momentum": _momentum,
    "nesterov": _nesterov,
    "adagrad": _adagrad,
    "rmsprop": _rmsprop,
    "adam": _adam,
}
_update = one_of({RULE_CODES[name]: rule for name, rule in RULES.items()})


@chunked
def update(chunk, chunks, rule, params, grads, first, second, step: Step):
    """A chunk's share of one step of an optimiser.

    ``first`` and ``second`` are what the rule remembers; they may be empty.
    """
    low, high = share_of(params.size, chunk, chunks)
    _update(rule, (params[low:high], grads[low:high], first[low:high], second[low:high], step))
