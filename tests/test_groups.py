"""Named groups in compiled code, flat at its door; and choices among compiled functions."""

from typing import Any, NamedTuple

import numpy as np
import pytest
from kernel_entries import entry

from fastnn.compiler import runtime
from fastnn.compiler.choice import one_of
from fastnn.compiler.groups import groups_of, read_group
from fastnn.compiler.jit import inner
from fastnn.compiler.launch import Chunked, chunked


class Pair(NamedTuple):
    array: Any
    factor: int


class Numbers(NamedTuple):
    """More than one, and of one type."""

    first: Any
    second: Any
    third: Any


def scale_share(chunk, chunks, pair: Pair, numbers: Numbers, out):
    for i in range(chunk, out.size, chunks):
        out[i] = pair.array[i] * pair.factor + numbers.first - numbers.third


SCALE = chunked(scale_share)
PAIR, NUMBERS = Pair(np.arange(100.0), 3), Numbers(7.0, 11.0, 2.0)


@pytest.mark.parametrize("parallel", [False, True])
def test_what_is_in_groups_is_handed_over_one_by_one(parallel):
    out = np.full(100, np.nan)
    with runtime.forced(parallel):
        runtime.run(SCALE, 1e9, *PAIR, *NUMBERS, out)
    np.testing.assert_array_equal(out, PAIR.array * 3 + 5)


def test_groups_of_a_kernel():
    assert groups_of(scale_share) == [Pair, Numbers, None]


@pytest.mark.parametrize("arguments", [(*PAIR, *NUMBERS), (*PAIR, *NUMBERS, np.zeros(3), 1.0)])
def test_too_few_or_too_many_arguments_are_counted(arguments):
    with pytest.raises(TypeError, match=rf"6 arguments are wanted, {len(arguments)} were given"):
        SCALE.serial(1, *arguments)


def test_annotations_that_are_strings_would_hide_the_groups():
    def kernel(chunk, chunks, pair: "Pair", out):
        out[0] = pair.factor

    with pytest.raises(TypeError, match="must not be in a file whose annotations are strings"):
        chunked(kernel)


def test_a_kernel_says_what_it_does():
    assert isinstance(SCALE, Chunked)
    assert SCALE.entry.function.__qualname__ == "scale_share"


@entry
def _row(table, row, out):
    numbers = read_group(Numbers, table, row)
    out[0], out[1], out[2] = numbers.first, numbers.second, numbers.third


@pytest.mark.parametrize("columns", [3, 5])
@pytest.mark.parametrize("dtype", [np.int64, np.float32])
def test_a_row_of_a_table_is_a_group(columns, dtype):
    """Of a wider table the first columns."""
    table, out = np.arange(4 * columns, dtype=dtype).reshape(4, columns), np.zeros(3, dtype)
    _row(table, 2, out)
    np.testing.assert_array_equal(out, table[2, :3])


def test_numbers_in_a_row_are_a_group():
    out = np.zeros(3)
    _row(np.array([1.5, 2.5, 3.5]), 0, out)
    assert out.tolist() == [1.5, 2.5, 3.5]


@inner
def _sum(a, b):
    return a + b


@inner
def _difference(a, b):
    return a - b


@inner
def _whole(a, b):
    return 1


CHOICE, WRONG = one_of({3: _sum, 8: _difference}), one_of({0: _sum, 1: _whole})


@entry
def _chosen(codes, a, b, out):
    for i in range(codes.size):
        out[i] = CHOICE(codes[i], (a, b))


@entry
def _chosen_wrongly(code, a, b):
    return WRONG(code, (a, b))


def test_a_choice_is_by_number_and_else_the_first():
    out = np.zeros(4)
    _chosen(np.array([3, 8, 0, 99]), 5.0, 2.0, out)
    assert out.tolist() == [7.0, 3.0, 7.0, 7.0]


def test_a_choice_has_one_type():
    with pytest.raises(TypeError, match="the functions of a choice return"):
        _chosen_wrongly(0, 1.0, 2.0)
