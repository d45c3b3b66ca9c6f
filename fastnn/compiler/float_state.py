"""The floating-point state that compiled code runs in: known, and the host's put back.

A processor keeps for each thread how it rounds, and whether numbers below the normal ones
(1e-38 in float32) count as zero.  Any library may set that, in one thread and not in another, and
so change results from call to call.  And arithmetic on such subnormal numbers takes up to 100
times as long: the memory of Adam decays into them and stays there.  So kernels run in a state
of ours: subnormal inputs and results are zero, rounding is to nearest, and nothing traps.

LLVM takes the usual state for granted and may move arithmetic across the two functions below, so
they stand around a call of a function that is never inlined, in `launch.py` only.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastnn.compiler.jit import entry

# MXCSR: flush-to-zero, denormals-are-zero, all exceptions masked.  FPCR: flush-to-zero, which on
# that processor is of inputs, too.  The state of other processors is left as it is.
FLUSHING = {"x86_64": 0x9FC0, "aarch64": 1 << 24}
# As Python starts.
USUAL = {"x86_64": 0x1F80, "aarch64": 0}

_WORD = ir.IntType(64)
_BYTES = ir.IntType(8).as_pointer()


def machine(builder: ir.IRBuilder) -> str:
    """The kind of processor that code is made for."""
    return str(builder.module.triple).split("-")[0]


def emit_read(builder: ir.IRBuilder) -> ir.Value:
    """Code that gives the state of this thread."""
    if machine(builder) == "x86_64":
        memory, address = _memory(builder)
        builder.call(_function(builder, "llvm.x86.sse.stmxcsr", ir.VoidType(), [_BYTES]), [address])
        return builder.zext(builder.load(memory), _WORD)
    if machine(builder) == "aarch64":
        return builder.call(_function(builder, "llvm.aarch64.get.fpcr", _WORD, []), [])
    return ir.Constant(_WORD, 0)


def emit_write(builder: ir.IRBuilder, state: ir.Value) -> None:
    """Code that sets the state of this thread."""
    if machine(builder) == "x86_64":
        memory, address = _memory(builder)
        builder.store(builder.trunc(state, memory.type.pointee), memory)
        builder.call(_function(builder, "llvm.x86.sse.ldmxcsr", ir.VoidType(), [_BYTES]), [address])
    if machine(builder) == "aarch64":
        builder.call(_function(builder, "llvm.aarch64.set.fpcr", ir.VoidType(), [_WORD]), [state])


def emit_flushing(builder: ir.IRBuilder) -> ir.Value:
    """Code that sets the state of kernels, and gives the one before."""
    before = emit_read(builder)
    if machine(builder) in FLUSHING:
        emit_write(builder, ir.Constant(_WORD, FLUSHING[machine(builder)]))
    return before


def _memory(builder):
    """Room on the stack for a state, and its address as the instructions take it."""
    memory = cgutils.alloca_once(builder, ir.IntType(32))
    return memory, builder.bitcast(memory, _BYTES)


def _function(builder, name, result, arguments):
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, arguments), name)


@intrinsic
def read_state(typingctx):
    """The state of this thread."""

    def emit(target, builder, sig, args):
        return emit_read(builder)

    return types.int64(), emit


@intrinsic
def write_state(typingctx, state):
    """Set the state of this thread."""

    def emit(target, builder, sig, args):
        emit_write(builder, args[0])
        return target.get_dummy_value()

    return types.void(types.int64), emit


@intrinsic
def _set_usual(typingctx):
    def emit(target, builder, sig, args):
        usual = USUAL.get(machine(builder))
        if usual is not None:
            emit_write(builder, ir.Constant(_WORD, usual))
        return target.get_dummy_value()

    return types.void(), emit


@entry(parallel=False)
def read():
    """`read_state`, for Python."""
    return read_state()


@entry(parallel=False)
def write(state):
    """`write_state`, for Python."""
    write_state(state)


@entry(parallel=False)
def set_usual():
    """Set the state of this thread to that in which Python starts."""
    _set_usual()


@contextlib.contextmanager
def usual_state() -> Iterator[None]:
    """Within this block, this thread computes as when Python starts, whatever the host has set.

    For functions of the user's that Numba has compiled: they may need subnormal numbers.
    """
    before = read.serial()
    try:
        set_usual.serial()
        yield
    finally:
        write.serial(before)
