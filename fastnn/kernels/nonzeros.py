"""Lists of the nonzeros of rows, and whether numbers are finite.

A row of inputs that are mostly zero, such as an image of a digit, is a list of its nonzeros: those
of row r are the entries ``bounds[r, 0] .. bounds[r, 1]`` of ``column`` and ``value``.
"""

from typing import NamedTuple

import numpy as np

from fastnn.compiler.arithmetic import fma, lane_sum
from fastnn.compiler.jit import inner
from fastnn.compiler.launch import chunked
from fastnn.compiler.tiles import (
    LIST_SLACK,
    element,
    flat,
    lanes_of,
    like,
    list_nonzeros,
    load,
    load_first,
    load_row,
    put,
    splat,
)
from fastnn.kernels.groups import Place, share_of

# Ends of a row's list that stand for something else.
NO_ROOM, NOT_FINITE = -1, -2


class Found(NamedTuple):
    """What a chunk has found in its rows."""

    entries: int
    without_room: int  # rows whose nonzeros are not listed
    not_finite: int  # rows
    not_wanted: int  # targets that are not as they should be


@chunked
def count_nonzeros(chunk, chunks, x, step, found):
    """Count the nonzeros of every `step`-th row of x, to ``found[0]``; for one chunk."""
    X, inputs, total = flat(x), x.shape[1], 0
    for r in range(0, x.shape[0], step):
        for i in range(r * inputs, (r + 1) * inputs):
            total += element(X, i) != 0
    found[0] = total


@inner
def list_row(row, count, always, column, entry, first):
    """List the nonzeros of so many elements, as ``first`` + place, from column[entry] on.

    Or all of them if `always` is -1.  Without a branch: which are zero is beyond
    guessing, and a wrong guess costs as much as the products of two inputs.
    Returns the end of the list, and whether all elements are finite.
    """
    lanes, i, strange = lanes_of(row.array), 0, splat(row.array.dtype.type(0), 1)
    while i + lanes <= count:
        one = load(row.array, row.at + i)
        strange = fma(one, like(one, 0), strange)  # NaN if one is not finite
        entry += list_nonzeros(column, entry, one, always, first + i)
        i += lanes
    if i < count:
        rest = load_first(row.array, row.at + i, count - i, 1)
        strange = fma(rest, like(rest, 0), strange)
        entry += min(list_nonzeros(column, entry, rest, always, first + i), count - i)
    return entry, lane_sum(strange) == 0


@inner
def all_finite(array, at, size):
    """Whether so many elements of an array from one on are."""
    lanes, zero = lanes_of(array), array.dtype.type(0)
    # Four vectors at a time, as a sum of single ones would wait for each addition.
    strange, rest = splat(zero, 4), splat(zero, 1)
    end = size - size % (4 * lanes)
    for i in range(0, end, 4 * lanes):
        four = load_row(array, at + i, 4)
        strange = fma(four, like(four, 0), strange)  # NaN if one is not finite
    for i in range(end, size, lanes):
        one = load_first(array, at + i, size - i, 1)
        rest = fma(one, like(one, 0), rest)
    return lane_sum(strange) + lane_sum(rest) == 0


@inner
def compress_row(row, inputs, entry, most, column, value):
    """Write the nonzeros of a row from an entry on; return their end.

    With no room up to entry `most` nothing is written and NO_ROOM returned; NOT_FINITE for a
    NaN or an infinity in the row.
    """
    if entry + inputs + LIST_SLACK > most:
        return NO_ROOM if all_finite(row.array, row.at, inputs) else NOT_FINITE
    end, finite = list_row(row, inputs, np.int64(0), column, entry, 0)
    if not finite:
        return NOT_FINITE
    for e in range(entry, end):
        put(value, e, element(row.array, row.at + element(column, e)))
    return end


@chunked
def compress_rows(chunk, chunks, x, chosen, bounds, column, value, found):
    """Compress a chunk's share of the `chosen` rows of x, in its share of `column` and `value`.

    ``bounds[r]`` become the first entry of row r and its end, which is NO_ROOM or NOT_FINITE
    for the reasons of `compress_row`; a `Found` is added to ``found[chunk]``.
    """
    inputs, X = x.shape[1], flat(x)
    entry, most = share_of(value.size, chunk, chunks)
    first, end_of_rows = share_of(chosen.size, chunk, chunks)
    begin, without_room, not_finite = entry, 0, 0
    for r in chosen[first:end_of_rows]:
        end = compress_row(Place(X, r * inputs), inputs, entry, most, column, value)
        bounds[r, 0], bounds[r, 1] = entry, end
        without_room += end == NO_ROOM
        not_finite += end == NOT_FINITE
        entry = max(entry, end)
    add_found(found, chunk, Found(entry - begin, without_room, not_finite, 0))


@inner
def add_found(found, chunk, more):
    """Add to what a chunk has found."""
    for i in range(len(more)):
        found[chunk, i] += more[i]


@inner
def values_of_column(column, rows, first, last, data, out):
    """Write a batch's values in a column of x; `first`, the next entry of each row, moves on."""
    for r in range(rows):
        e = first[r]
        here = e < last[r] and element(data.column, e) == column
        value = element(data.value, e) if here else data.value.dtype.type(0)
        put(out.array, out.at + r, value)
        first[r] += here
