"""What a caller gives and gets in one call: targets, looked at; losses, added up; gradients."""

from typing import Any, NamedTuple

import numpy as np

from fastnn.compiler.groups import read_group
from fastnn.compiler.jit import inner
from fastnn.compiler.launch import chunked
from fastnn.compiler.tiles import element, flat, load_word
from fastnn.kernels.groups import Layer, Targets


class GivenTargets(NamedTuple):
    """What is wanted of rows, as it was given; two of the three are empty."""

    one_hot: Any  # bytes of the elements, which may be of any type
    labels: Any  # (N,) of int64
    targets: Any  # (N, O), in the precision of the network


class Allowed(NamedTuple):
    """What targets may be."""

    classes: int  # labels are less
    size: int  # bytes of an element of one-hot rows
    one: int  # a 1 of that type, as a number without a sign
    limits: Any  # (2,): the least and the largest target


@inner
def _label_of(one_hot, row, allowed):
    """Where the 1 in a row of zeros is; -1 if it is not like that."""
    label, ones, zeros = 0, 0, 0
    for i in range(allowed.classes):
        at = (row * allowed.classes + i) * allowed.size
        word = load_word(one_hot, at, allowed.size)
        zeros += word == 0
        if word == allowed.one:
            ones += 1
            label = i
    return label if ones == 1 and zeros == allowed.classes - 1 else -1


@chunked
def take_targets(chunk, chunks, given: GivenTargets, allowed: Allowed, labels, strange):
    """Look at targets, and write the labels (N,) of those that are labels or one-hot.

    ``strange[0]`` becomes 1 if one is not as it should be; for one chunk.  What is wrong is for
    `fastnn.gate` to say.  A -0.0 in one-hot rows is strange, too.
    """
    bad = 0
    for r in range(labels.size):
        if given.one_hot.size:
            label = _label_of(given.one_hot, r, allowed)
        else:
            label = given.labels[r]
        bad += label < 0 or label >= allowed.classes
        labels[r] = label
    T = flat(given.targets)
    low, high = allowed.limits[0], allowed.limits[1]
    for i in range(T.size):
        bad += not (element(T, i) >= low and element(T, i) <= high)
    strange[0] = bad > 0


@inner
def _is_right(outputs, row, targets):
    """Whether a row is classified as is wanted: by its largest output, or by all, from 1/2 on."""
    if targets.labels.size:
        best = 0
        for i in range(1, outputs.shape[1]):
            if outputs[row, i] > outputs[row, best]:
                best = i
        return best == targets.labels[row]
    half = outputs.dtype.type(0.5)
    for i in range(outputs.shape[1]):
        if (outputs[row, i] > half) != (targets.targets[row, i] > half):
            return False
    return True


@chunked
def add_up(chunk, chunks, row_loss, outputs, targets: Targets, sums):
    """Add losses, one after the other, to ``sums[0]``; for one chunk.

    If there are `outputs`, add the number of rows that are right to ``sums[1]``; one whose loss is
    NaN is not.
    """
    total, right = sums[0], sums[1]
    for r in range(row_loss.size):
        total += row_loss[r]
        if outputs.size and not np.isnan(row_loss[r]):
            right += _is_right(outputs, r, targets)
    sums[0], sums[1] = total, right


@chunked
def without_padding(chunk, chunks, plan, block, out):
    """Copy weights and biases of all layers, or their gradients, one after the other."""
    at = 0
    for number in range(plan.shape[0]):
        layer = read_group(Layer, plan, number)
        for i in range(layer.inputs + 1):  # the biases lie behind the weights
            row = layer.weights + i * layer.weights_row
            for o in range(layer.outputs):
                out[at + o] = block[row + o]
            at += layer.outputs
