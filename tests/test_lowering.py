"""How little is written in LLVM's language for a block: values, not memory; groups whole."""

from typing import Any, NamedTuple

import numba
import numpy as np
import pytest
from numba.core.compiler import run_frontend

from fastnn.compiler import groups, jit, lowering
from fastnn.kernels.groups import Place

pytestmark = pytest.mark.usefixtures("cache_folder")


def llvm_of(block):
    """The code of a compiled block, before anything is optimised."""
    (compiled,) = block.overloads.values()
    return compiled.library.get_llvm_str()


def in_memory(block):
    """Names of what has a place in memory, as LLVM defines it."""
    lines = (line.strip() for line in llvm_of(block).splitlines())
    return {line[: line.index("alloca") + 6] for line in lines if " = alloca" in line}


def arguments_of(block):
    """How many arguments LLVM's function takes, beside where results and errors go."""
    (compiled,) = block.overloads.values()
    code = compiled.library._final_module.get_function(compiled.fndesc.mangled_name)
    return len(list(code.arguments)) - 2


@jit.inner
def _chosen(place, other, first):
    if first:
        return place.array[place.at]
    if other > 0:
        return other
    return place.array[place.at + 1]


def test_what_is_set_once_is_not_kept_in_memory():
    def entry(chunks, x, other, first):
        return _chosen(Place(x, 1), other, first)

    x = np.array([1.0, 2.0, 4.0])
    chosen = jit.Entry(entry, parallel=False).serial
    assert [chosen(1, x, *rest) for rest in ((0.0, True), (3.0, False), (-1.0, False))] == [2, 3, 4]
    assert not {"%place = alloca", "%other = alloca"} & in_memory(_chosen)
    assert arguments_of(_chosen) == 3


@jit.inner
def _turns(count):
    total, last, found = 0, -1, 0
    for turn in range(count):
        if turn % 3 == 1:
            found = turn * 10
        elif turn > 3:
            total += found + last  # as earlier turns have left them
        last = turn
    return total * 1000 + last


def test_what_is_set_anew_is_read_as_it_was_left():
    def entry(chunks, count):
        return _turns(count)

    made = jit.Entry(entry, parallel=False).serial
    for count in range(12):
        assert made(1, count) == _turns.py_func(count)
    assert any(name.startswith(("%last", "%found")) for name in in_memory(_turns))


def test_what_is_not_set_on_every_way_is_no_value():
    def some(first, x):
        if first:
            found = x + 1
        both = x + 2
        if first:
            return found
        return both

    values = set(lowering._values(run_frontend(some).blocks))
    assert {"first", "x", "both"} <= values
    assert "found" not in values


class Foreign(NamedTuple):
    """A group of another package."""

    array: Any
    at: int


Foreign.__module__ = "elsewhere.groups"


@jit.inner
def _element(place):
    return place.array[place.at]


@pytest.mark.parametrize(("kind", "arguments"), [(Place, 1), (Foreign, 8)])
def test_our_groups_are_one_argument_and_those_of_others_as_numba_has_them(kind, arguments):
    element = jit.inner(_element.py_func)

    def entry(chunks, x):
        return element(kind(x, 1))

    assert jit.Entry(entry, parallel=False).serial(1, np.array([1.0, 2.0])) == 2
    assert arguments_of(element) == arguments
    assert groups.is_group(kind)


def test_others_functions_of_their_groups_work_as_before():
    @numba.njit
    def element(place):
        return place.array[place.at]

    x = np.array([1.0, 2.0])
    assert element(Foreign(x, 1)) == element(Place(x, 1)) == 2


def test_an_entry_has_code_for_python_only():
    def entry(chunks, x):
        return x[0]

    made = jit.Entry(entry, parallel=False).serial
    assert made(1, np.ones(1)) == 1
    code = made.inspect_llvm(made.signatures[0])
    defined = [line for line in code.splitlines() if line.startswith("define")]
    assert any("@_ZN7cpython" in line for line in defined)
    assert not any("@cfunc." in line for line in defined)
    assert "NRT_" not in code


def test_loops_are_not_unrolled():
    """Inner loops are tiles, which are wide enough; copies of others cost a tenth of compiling."""

    def entry(chunks, x):
        total = 0.0
        for i in range(x.size):
            total += x[i]
        return total

    made = jit.Entry(entry, parallel=False).serial
    assert made(1, np.arange(20.0)) == 190
    assert made.inspect_llvm(made.signatures[0]).count(" fadd ") == 1


@jit.inner
def _steps(x, step):
    total = 0.0
    for i in range(0, x.size, step):
        total += x[i]
    return total


@jit.inner
def _half_of_steps(x, step):
    return _half(_steps(x, step))


@jit.inner
def _half(x):
    return x / 2


def test_an_error_in_a_block_reaches_python():
    def entry(chunks, x, step):
        return _half_of_steps(x, step)

    made = jit.Entry(entry, parallel=False).serial
    assert made(1, np.arange(4.0), 2) == 1
    with pytest.raises(ValueError, match="must not be zero"):
        made(1, np.arange(4.0), 0)
    assert made(1, np.arange(4.0), 1) == 3
    # Only what can fail is asked whether it has.
    assert llvm_of(_half_of_steps).count("icmp ne i32") == 1


def test_a_block_without_a_result():
    @jit.inner
    def store(x, value):
        if value < 0:
            return
        x[0] = value

    def entry(chunks, x, value):
        store(x, value)

    made, x = jit.Entry(entry, parallel=False).serial, np.zeros(1)
    assert made(1, x, 3.0) is None
    made(1, x, -1.0)
    assert x == 3
