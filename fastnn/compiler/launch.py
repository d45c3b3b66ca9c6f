"""One parallel loop for all kernels: it runs chunks of an entry that is compiled once.

Numba compiles the body of every `prange` anew, with all that it calls: for the
training entry that took 13 s beside the 3 s of its serial build.  So the only
`parallel=True` function is the loop `launch` below.  An entry called with
several chunks does not run: it packs its arguments and the address of its
machine code into ``context``, and `launch` calls that once for every chunk.
Serial and parallel runs thus share their machine code, to the last bit.  Here, too,
each thread gets the floating-point state that kernels run in, and its own back.
"""

import functools
import types as python_types
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import prange, types
from numba.core import cgutils
from numba.extending import intrinsic

from fastnn.compiler.float_state import emit_flushing, emit_write
from fastnn.compiler.groups import grouped_types, grouped_values, groups_of
from fastnn.compiler.jit import Entry, FirstUse, entry, inner
from fastnn.compiler.team import fetch_add
from fastnn.compiler.tiles import array_field

# Words of a context: the address of the code, the count of chunks that have
# begun, and the arguments; the training entry fills 200.
ADDRESS, BEGUN, ARGUMENTS = 0, 1, 2
CONTEXT_WORDS = 512
_NO_CONTEXT = np.empty(0, np.int64)


class Chunked:
    """An entry whose chunks can run side by side; `fastnn.compiler.runtime.run` calls it.

    Parameters
    ----------
    made_of : Entry
        An entry ``f(context, chunks, *args)`` that does `run_or_pack`.
    kernel : callable, optional
        What each chunk runs, for other kernels that call it.
    """

    def __init__(self, made_of: Entry, kernel: Any = None):
        self.entry, self.kernel = made_of, kernel

    @FirstUse
    def serial(self) -> Callable:
        """All the work as one chunk, ``serial(1, *args)``."""
        # A method of our own would take half a microsecond more.
        return functools.partial(self.entry.serial, _NO_CONTEXT)

    def parallel(self, chunks: int, *args: Any) -> None:
        """Run the chunks side by side."""
        context = np.zeros(CONTEXT_WORDS, np.int64)
        self.entry.serial(context, chunks, *args)
        launch.parallel(chunks, context)


def chunked(function: Callable) -> Chunked:
    """Make an entry of a kernel ``f(chunk, chunks, ...)``, what one of so many chunks does.

    Python calls it with the arguments after these two; where a parameter is annotated with a
    NamedTuple, with all that is in it, one by one: ``run(kernel, work, *network, *data)``.
    """
    groups_of(function)  # refuses annotations that are strings
    kernel = inner(function)
    # A copy that finds the kernel among its globals: what has a closure is not kept on disk.
    names = {"run_or_pack": run_or_pack, "_kernel": kernel, "__name__": function.__module__}
    made = python_types.FunctionType(_entry_of_kernel.__code__, names, function.__name__)
    made.__qualname__, made.__module__ = function.__qualname__, function.__module__
    made.__doc__ = function.__doc__
    return Chunked(Entry(made, parallel=False), kernel)


def _entry_of_kernel(context, chunks, *args):
    run_or_pack(chunks, context, _kernel, args)  # type: ignore[name-defined]  # noqa: F821


@entry
def launch(chunks, context):
    """Call the code packed in `context` once for every chunk.

    Chunks are numbered as they begin, so that the first to run is chunk 0.
    """
    for _ in prange(chunks):
        _call_packed(context, fetch_add(context, BEGUN, 1), chunks)


_WORD = ir.IntType(64)
_CHUNK_ARGUMENTS = (types.intp, types.intp, types.voidptr)


@intrinsic
def run_or_pack(typingctx, chunks, context, function, args):
    """Call ``function(0, 1, *args)`` if `chunks` is 1; else pack it for `launch`.

    The function gets the arguments in the groups that its parameters are annotated with.
    """
    groups = groups_of(function.dispatcher.py_func)
    grouped = (types.intp, types.intp, *grouped_types(groups, args.types))
    signature = function.get_call_type(typingctx, grouped, {})

    def emit(target, builder, sig, values):
        callee = target.get_function(function, signature)
        target.add_linking_libs(getattr(callee, "libs", ()))
        places, size = _places(target, args)
        code = _unpacking_function(target, builder.module, args, places, groups, callee)
        is_one = builder.icmp_signed("==", values[0], ir.Constant(values[0].type, 1))
        words = array_field(target, builder, sig.args[1], values[1], "data")
        here = cgutils.alloca_once(builder, ir.ArrayType(_WORD, size // 8))
        context = builder.bitcast(_argument_words(builder, words), cgutils.voidptr_t)
        memory = builder.select(is_one, builder.bitcast(here, cgutils.voidptr_t), context)
        borrowed = _borrowed(target, builder, args, values[3])
        for kind, at, value in zip(args, places, borrowed, strict=True):
            builder.store(value, _typed(target, builder, memory, at, kind))
        with builder.if_else(is_one) as (then, otherwise):
            with then:
                _call_in_our_state(target, builder, code, values[0].type(0), values[0], memory)
            with otherwise:
                builder.store(builder.ptrtoint(code, _WORD), builder.gep(words, [_word(ADDRESS)]))
        return target.get_dummy_value()

    return types.void(types.intp, context, function, args), emit


def _places(target, kinds):
    """Where arguments lie in memory, in bytes, and how many all take; each from a whole word on."""
    places, end = [], 0
    for kind in kinds:
        places.append(end)
        end += -(-target.get_abi_sizeof(target.get_value_type(kind)) // 8) * 8
    if end > 8 * (CONTEXT_WORDS - ARGUMENTS):
        raise ValueError("CONTEXT_WORDS is too small for the arguments of this entry")
    return places, end


def _typed(target, builder, memory, at, kind):
    """The address of an argument."""
    address = builder.gep(memory, [_word(at)])
    return builder.bitcast(address, target.get_value_type(kind).as_pointer())


def _borrowed(target, builder, kinds, args):
    """The arguments one by one, arrays without an owner.

    Python keeps the arrays alive, but Numba's counts of their owners are gone
    when this call ends, before `launch` runs.  Without an owner there is
    nothing to count: two threads that count on one line of the cache also
    slow each other down.
    """
    for i, kind in enumerate(kinds):
        value = builder.extract_value(args, i)
        if isinstance(kind, types.Array):
            model = target.data_model_manager[kind]
            for name in ("meminfo", "parent"):
                at = model.get_field_position(name)
                value = builder.insert_value(value, ir.Constant(value.type.elements[at], None), at)
        yield value


def _argument_words(builder, words):
    return builder.gep(words, [_word(ARGUMENTS)])


def _unpacking_function(target, module, kinds, places, groups, callee):
    """Machine code ``f(chunk, chunks, memory)`` that reads the arguments back and calls.

    It is never inlined: arithmetic stays within it, and so in the state that it is called in.
    """
    convention = target.call_conv
    function_type = convention.get_function_type(types.none, _CHUNK_ARGUMENTS)
    name = f"fastnn.unpack.{len(module.functions)}"
    function = ir.Function(module, function_type, name)
    function.linkage = "internal"
    function.attributes.add("noinline")
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    chunk, chunks, memory = convention.get_arguments(function)
    flat = [
        builder.load(_typed(target, builder, memory, at, kind))
        for kind, at in zip(kinds, places, strict=True)
    ]
    grouped = grouped_values(target, builder, groups, kinds.types, flat)
    callee(builder, [chunk, chunks, *grouped])
    convention.return_value(builder, target.get_dummy_value())
    return function


def _word(index):
    return ir.Constant(_WORD, index)


def _call_in_our_state(target, builder, code, chunk, chunks, memory):
    """Call machine code of `_unpacking_function`; its error is one of the caller."""
    convention, before = target.call_conv, emit_flushing(builder)
    memory = builder.bitcast(memory, cgutils.voidptr_t)
    status, _ = convention.call_function(
        builder, code, types.none, _CHUNK_ARGUMENTS, [chunk, chunks, memory]
    )
    emit_write(builder, before)
    with cgutils.if_unlikely(builder, status.is_error):
        convention.return_status_propagate(builder, status)


@intrinsic
def _call_packed(typingctx, context, chunk, chunks):
    def emit(target, builder, sig, values):
        words = array_field(target, builder, sig.args[0], values[0], "data")
        function_type = target.call_conv.get_function_type(types.none, _CHUNK_ARGUMENTS)
        address = builder.load(builder.gep(words, [_word(ADDRESS)]))
        code = builder.inttoptr(address, function_type.as_pointer())
        memory = _argument_words(builder, words)
        _call_in_our_state(target, builder, code, values[1], values[2], memory)
        return target.get_dummy_value()

    return types.void(context, types.intp, types.intp), emit
