"""One parallel loop for all kernels: it runs chunks of an entry that is compiled once.

Numba compiles the body of every `prange` anew, with all that it calls: for the
training entry that took 13 s beside the 3 s of its serial build.  So the only
`parallel=True` function is the loop `launch` below.  An entry called with
several chunks does not run: it packs its arguments and the address of its
machine code into ``context``, and `launch` calls that once for every chunk.
Serial and parallel runs thus share their machine code, to the last bit.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import prange, types
from numba.core import cgutils
from numba.extending import intrinsic

from fastnn.jit import Entry, entry
from fastnn.team import fetch_add

# Words of a context: the address of the code, the count of chunks that have
# begun, and the arguments; the training entry fills 200.
ADDRESS, BEGUN, ARGUMENTS = 0, 1, 2
CONTEXT_WORDS = 512
_NO_CONTEXT = np.empty(0, np.int64)


class Chunked:
    """An entry whose chunks can run side by side; `fastnn.runtime.run` calls it.

    Parameters
    ----------
    made_of : Entry
        An entry ``f(chunks, context, *args)`` that does `run_or_pack`.
    """

    def __init__(self, made_of: Entry):
        self.entry = made_of

    def serial(self, chunks: int, *args: Any) -> None:
        """Run all the work as one chunk."""
        self.entry.serial(1, _NO_CONTEXT, *args)

    def parallel(self, chunks: int, *args: Any) -> None:
        """Run the chunks side by side."""
        context = np.zeros(CONTEXT_WORDS, np.int64)
        self.entry.serial(chunks, context, *args)
        launch.parallel(chunks, context)


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
    """Call ``function(0, 1, *args)`` if `chunks` is 1; else pack it for `launch`."""
    signature = function.get_call_type(typingctx, (types.intp, types.intp, *args), {})

    def emit(target, builder, sig, values):
        callee = target.get_function(function, signature)
        target.add_linking_libs(getattr(callee, "libs", ()))
        arguments = _borrow_arrays(target, builder, args, values[3])
        one = ir.Constant(values[0].type, 1)
        alone = builder.icmp_signed("==", values[0], one)
        with builder.if_else(alone) as (then, otherwise):
            with then:
                borrowed = cgutils.unpack_tuple(builder, arguments, len(args))
                callee(builder, [ir.Constant(one.type, 0), one, *borrowed])
            with otherwise:
                _pack(target, builder, sig, values[1], arguments, callee)
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


def _pack(target, builder, sig, context, arguments, callee):
    words = target.make_array(sig.args[1])(target, builder, context).data
    packed = target.get_data_type(sig.args[3])
    if target.get_abi_sizeof(packed) > 8 * (CONTEXT_WORDS - ARGUMENTS):
        raise ValueError("CONTEXT_WORDS is too small for the arguments of this entry")
    code = _unpacking_function(target, builder.module, sig.args[3], callee)
    builder.store(builder.ptrtoint(code, ir.IntType(64)), builder.gep(words, [_word(ADDRESS)]))
    memory = builder.bitcast(builder.gep(words, [_word(ARGUMENTS)]), packed.as_pointer())
    builder.store(target.data_model_manager[sig.args[3]].as_data(builder, arguments), memory)


def _unpacking_function(target, module, args_type, callee):
    """Machine code ``f(chunk, chunks, memory)`` that reads the arguments back and calls."""
    convention = target.call_conv
    function_type = convention.get_function_type(types.none, _CHUNK_ARGUMENTS)
    name = f"fastnn.unpack.{len(module.functions)}"
    function = ir.Function(module, function_type, name)
    function.linkage = "internal"
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    chunk, chunks, memory = convention.get_arguments(function)
    packed = target.get_data_type(args_type)
    data = builder.load(builder.bitcast(memory, packed.as_pointer()))
    args = target.data_model_manager[args_type].from_data(builder, data)
    callee(builder, [chunk, chunks, *cgutils.unpack_tuple(builder, args, len(args_type))])
    convention.return_value(builder, target.get_dummy_value())
    return function


def _word(index):
    return ir.Constant(ir.IntType(64), index)


@intrinsic
def _call_packed(typingctx, context, chunk, chunks):
    def emit(target, builder, sig, values):
        words = target.make_array(sig.args[0])(target, builder, values[0]).data
        convention = target.call_conv
        function_type = convention.get_function_type(types.none, _CHUNK_ARGUMENTS)
        address = builder.load(builder.gep(words, [_word(ADDRESS)]))
        code = builder.inttoptr(address, function_type.as_pointer())
        memory = builder.bitcast(builder.gep(words, [_word(ARGUMENTS)]), cgutils.voidptr_t)
        convention.call_function(
            builder, code, types.none, _CHUNK_ARGUMENTS, [values[1], values[2], memory]
        )
        return target.get_dummy_value()

    return types.void(context, types.intp, types.intp), emit
