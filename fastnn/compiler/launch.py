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
        data = target.data_model_manager[args].as_data(
            builder, _borrow_arrays(target, builder, args, values[3])
        )
        code = _unpacking_function(target, builder.module, args, groups, callee)
        one = ir.Constant(values[0].type, 1)
        with builder.if_else(builder.icmp_signed("==", values[0], one)) as (then, otherwise):
            with then:
                memory = cgutils.alloca_once(builder, data.type)
                builder.store(data, memory)
                chunk = ir.Constant(one.type, 0)
                _call_in_our_state(target, builder, code, chunk, one, memory)
            with otherwise:
                _pack(target, builder, sig, values[1], data, code)
        return target.get_dummy_value()

    return types.void(types.intp, context, function, args), emit


def _borrow_arrays(target, builder, args_type, args):
    """The arguments, their arrays without an owner.

    Python keeps the arrays alive, but Numba's counts of their owners are gone
    when this call ends, before `launch` runs.  Without an owner there is
    nothing to count: two threads that count on one line of the cache also
    slow each other down.
    """
    for i, kind in enumerate(args_type):
        if isinstance(kind, types.Array):
            array = target.make_array(kind)(target, builder, builder.extract_value(args, i))
            array.meminfo = cgutils.get_null_value(array.meminfo.type)
            array.parent = cgutils.get_null_value(array.parent.type)
            args = builder.insert_value(args, array._getvalue(), i)
    return args


def _pack(target, builder, sig, context, data, code):
    words = target.make_array(sig.args[1])(target, builder, context).data
    if target.get_abi_sizeof(data.type) > 8 * (CONTEXT_WORDS - ARGUMENTS):
        raise ValueError("CONTEXT_WORDS is too small for the arguments of this entry")
    builder.store(builder.ptrtoint(code, ir.IntType(64)), builder.gep(words, [_word(ADDRESS)]))
    memory = builder.bitcast(builder.gep(words, [_word(ARGUMENTS)]), data.type.as_pointer())
    builder.store(data, memory)


def _unpacking_function(target, module, args_type, groups, callee):
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
    packed = target.get_data_type(args_type)
    data = builder.load(builder.bitcast(memory, packed.as_pointer()))
    args = target.data_model_manager[args_type].from_data(builder, data)
    flat = cgutils.unpack_tuple(builder, args, len(args_type))
    grouped = grouped_values(target, builder, groups, args_type.types, flat)
    callee(builder, [chunk, chunks, *grouped])
    convention.return_value(builder, target.get_dummy_value())
    return function


def _word(index):
    return ir.Constant(ir.IntType(64), index)


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
        words = target.make_array(sig.args[0])(target, builder, values[0]).data
        function_type = target.call_conv.get_function_type(types.none, _CHUNK_ARGUMENTS)
        address = builder.load(builder.gep(words, [_word(ADDRESS)]))
        code = builder.inttoptr(address, function_type.as_pointer())
        memory = builder.gep(words, [_word(ARGUMENTS)])
        _call_in_our_state(target, builder, code, values[1], values[2], memory)
        return target.get_dummy_value()

    return types.void(context, types.intp, types.intp), emit
