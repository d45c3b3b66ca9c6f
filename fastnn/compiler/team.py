"""Chunks that run side by side and wait for each other: atomic words, and a barrier.

A training step needs two waits or more: to fork and join Numba's threads for each would
cost 6 us a time (two EPYC cores), and this barrier costs 2.5.  A
waiting chunk spins, and gives its processor away when that takes long.

``team`` is an array of TEAM_WORDS zeros, one to a cache line.
"""

import sys

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastnn.compiler.jit import inner
from fastnn.compiler.tiles import array_field

# Words in use, 16 apart: 128 bytes, two lines of most caches.
PRESENT, MODE, ARRIVED, GENERATION = 0, 16, 32, 48
TEAM_WORDS = 64
UNDECIDED, TOGETHER, ALONE = range(3)

# Pauses of about 30 ns before a waiting chunk lets another program run.
SPINS = 128
# Turns that the first chunk waits for the others to begin: some 2 ms.  They
# may never come: a thread pool may run one chunk after the other.
PATIENCE = 512


def _word(target, builder, array_type, array, index):
    return builder.gep(array_field(target, builder, array_type, array, "data"), [index])


@intrinsic
def fetch_add(typingctx, words, index, amount):
    """Add to ``words[index]`` atomically; return what it was."""

    def emit(target, builder, sig, args):
        at = _word(target, builder, sig.args[0], args[0], args[1])
        return builder.atomic_rmw("add", at, args[2], "seq_cst")

    return types.int64(words, types.intp, types.int64), emit


@intrinsic
def read(typingctx, words, index):
    """``words[index]`` as other chunks have written it."""

    def emit(target, builder, sig, args):
        at = _word(target, builder, sig.args[0], args[0], args[1])
        return builder.load_atomic(at, "seq_cst", 8)

    return types.int64(words, types.intp), emit


@intrinsic
def write(typingctx, words, index, value):
    """Set ``words[index]`` for other chunks to read, after all that was written before."""

    def emit(target, builder, sig, args):
        at = _word(target, builder, sig.args[0], args[0], args[1])
        builder.store_atomic(args[2], at, "seq_cst", 8)
        return target.get_dummy_value()

    return types.void(words, types.intp, types.int64), emit


@intrinsic
def _pause(typingctx):
    """Tell the processor that this is a spinning loop."""

    def emit(target, builder, sig, args):
        machine = builder.module.triple.split("-")[0]
        i32 = ir.IntType(32)
        hints = {"x86_64": ("llvm.x86.sse2.pause", []), "aarch64": ("llvm.aarch64.hint", [i32(1)])}
        if machine in hints:
            name, arguments = hints[machine]
            kind = ir.FunctionType(ir.VoidType(), [i32] * len(arguments))
            hint = cgutils.get_or_insert_function(builder.module, kind, name)
            builder.call(hint, arguments)
        return target.get_dummy_value()

    return types.void(), emit


@intrinsic
def _give_way(typingctx):
    """Let another program run on this processor."""

    def emit(target, builder, sig, args):
        name = "SwitchToThread" if sys.platform == "win32" else "sched_yield"
        function_type = ir.FunctionType(ir.IntType(32), [])
        builder.call(cgutils.get_or_insert_function(builder.module, function_type, name), [])
        return target.get_dummy_value()

    return types.void(), emit


@inner
def _spin(turn):
    if turn % SPINS == SPINS - 1:
        _give_way()
    else:
        _pause()


@inner
def assemble(team, chunk, chunks):
    """Number of chunks that really run side by side: all, or only chunk 0 (for the others, 0)."""
    if chunks == 1:
        return 1
    if chunk == 0:
        fetch_add(team, PRESENT, 1)
        turn = 0
        while read(team, PRESENT) < chunks and turn < SPINS * PATIENCE:
            _spin(turn)
            turn += 1
        together = read(team, PRESENT) == chunks
        write(team, MODE, TOGETHER if together else ALONE)
        return chunks if together else 1
    fetch_add(team, PRESENT, 1)
    turn = 0
    while read(team, MODE) == UNDECIDED:
        _spin(turn)
        turn += 1
    return chunks if read(team, MODE) == TOGETHER else 0


@inner
def barrier(team, chunks):
    """Wait until all chunks are here; what they wrote before can be read after."""
    if chunks == 1:
        return
    generation = read(team, GENERATION)
    if fetch_add(team, ARRIVED, 1) == chunks - 1:
        write(team, ARRIVED, 0)
        write(team, GENERATION, generation + 1)
        return
    turn = 0
    while read(team, GENERATION) == generation:
        _spin(turn)
        turn += 1


def new_team() -> np.ndarray:
    """Words for one parallel call."""
    return np.zeros(TEAM_WORDS, np.int64)
