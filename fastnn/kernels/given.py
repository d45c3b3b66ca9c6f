"""What a caller gives and gets in one call: targets, looked at; losses, added up; gradients."""

import numpy as np

from fastnn.compiler.groups import read_group
from fastnn.compiler.jit import inner
from fastnn.compiler.launch import chunked
from fastnn.compiler.parts import Choice
from fastnn.compiler.tiles import element, flat, lanes_of, load, load_word, store
from fastnn.kernels.groups import Examples, Layer, Place, Targets, has_weights, share_of
from fastnn.kernels.nonzeros import (
    NO_ROOM,
    NOT_FINITE,
    Found,
    add_found,
    all_finite,
    compress_row,
)
from fastnn.kernels.places import Places


@inner
def _label_of(examples, row):
    """Where the 1 in a row of zeros is; -1 if it is not like that."""
    label, ones, zeros = 0, 0, 0
    for i in range(examples.classes):
        at = (row * examples.classes + i) * examples.size
        word = load_word(examples.one_hot, at, examples.size)
        zeros += word == 0
        if word == examples.one:
            ones += 1
            label = i
    return label if ones == 1 and zeros == examples.classes - 1 else -1


@inner
def _take_targets(examples, first, end):
    """Look at the targets of some rows, and write labels; how many are not as they should be.

    What is wrong is for `fastnn.gate` to say; a -0.0 in one-hot rows is strange, too.
    """
    strange = 0
    if examples.labels.size:
        for r in range(first, end):
            label = _label_of(examples, r) if examples.one_hot.size else examples.given[r]
            wrong = label < 0 or label >= examples.classes
            examples.labels[r] = 0 if wrong else label  # a place that there is
            strange += wrong
    else:
        T, outputs = flat(examples.targets), examples.targets.shape[1]
        low, high = examples.limits[0], examples.limits[1]
        for i in range(first * outputs, end * outputs):
            strange += not (element(T, i) >= low and element(T, i) <= high)  # or it is NaN
    return strange


@inner
def _take_inputs(examples, entry, most, first, end):
    """List the nonzeros of some rows from an entry on; a row that cannot be listed is empty."""
    inputs, X, begin, without_room, not_finite = examples.x.shape[1], flat(examples.x), entry, 0, 0
    for r in range(first, end):
        place, last = Place(X, r * inputs), entry
        found = compress_row(place, inputs, entry, most, examples.column, examples.value)
        without_room += found == NO_ROOM
        not_finite += found == NOT_FINITE
        last = max(entry, found)
        examples.bounds[r, 0], examples.bounds[r, 1] = entry, last
        entry = last
    return Found(entry - begin, without_room, not_finite, 0)


@inner
def take_rows(chunk: int, chunks: int, lists: bool, examples: Examples, first: int, end: int):
    """Look at some of the rows that are given: list their nonzeros, if asked for, and label them.

    What was found is added to ``examples.found[chunk]``.  Rows that are not as they should be may
    be passed through a network all the same; what comes out means nothing.
    """
    x, found = examples.x, examples.found
    if lists:
        entry, most = share_of(examples.value.size, chunk, chunks)
        add_found(found, chunk, _take_inputs(examples, entry, most, first, end))
    elif not all_finite(flat(x), first * x.shape[1], (end - first) * x.shape[1]):
        add_found(found, chunk, Found(0, 0, 1, 0))
    if examples.labels.size or examples.targets.size:
        add_found(found, chunk, Found(0, 0, 0, _take_targets(examples, first, end)))


TAKE_ROWS = Choice(Places.TAKE_ROWS, {0: take_rows})


@inner
def any_strange(found):
    """Whether a row that was looked at is not as it should be."""
    strange = 0
    for chunk in range(found.shape[0]):
        for i in range(1, found.shape[1]):
            strange += found[chunk, i]
    return strange > 0


@chunked
def take_targets(chunk, chunks, examples: Examples):
    """Look at the targets of all rows, see `take_rows`; for one chunk."""
    rows = max(examples.labels.size, examples.targets.shape[0])
    add_found(examples.found, chunk, Found(0, 0, 0, _take_targets(examples, 0, rows)))


@chunked
def look_at_weights(chunk, chunks, params, found):
    """Whether weights are finite, to ``found[0]``; for one chunk."""
    found[0] = all_finite(params, 0, params.size)


@inner
def _is_right(y, row, targets):
    """Whether outputs y are as is wanted of a row: the largest, or each on its side of 1/2."""
    if targets.labels.size:
        best = 0
        for i in range(1, y.size):
            if y[i] > y[best]:
                best = i
        return best == targets.labels[row]
    half, wrong = y.dtype.type(0.5), 0
    for i in range(y.size):
        wrong += (y[i] > half) != (targets.targets[row, i] > half)
    return wrong == 0


@inner
def add_rows(row_loss, outputs, targets, first, sums):
    """Add losses, one after the other, to ``sums[0]``; the rows are numbered from `first` on.

    If there are `outputs`, add the number of rows that are right to ``sums[1]``; one whose loss is
    NaN is not.  Add the number of rows to ``sums[2]``.
    """
    total, right = sums[0], sums[1]
    for r in range(row_loss.size):
        total += row_loss[r]
        if outputs.size and not np.isnan(row_loss[r]):
            right += _is_right(outputs[r], first + r, targets)
    sums[0], sums[1], sums[2] = total, right, sums[2] + row_loss.size


@chunked
def add_up(chunk, chunks, row_loss, outputs, targets: Targets, sums):
    """`add_rows` of all rows; for one chunk."""
    add_rows(row_loss, outputs, targets, 0, sums)


@chunked
def without_padding(chunk, chunks, plan, block, out):
    """Copy weights and biases of all layers, or their gradients, one after the other.

    Whole vectors are written, so there must be room for one behind the last.
    """
    at = 0
    for number in range(plan.shape[0]):
        layer = read_group(Layer, plan, number)
        for i in range(layer.inputs + 1 if has_weights(layer) else 0):  # biases lie behind weights
            row = layer.weights + i * layer.weights_row
            for o in range(0, layer.outputs, lanes_of(block)):
                store(out, at + o, load(block, row + o))
            at += layer.outputs
