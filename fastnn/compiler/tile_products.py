"""Products of tiles: the inner loops of every matrix product."""

from typing import NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastnn.compiler.groups import Floats
from fastnn.compiler.tiles import (
    VECTOR_BYTES,
    Memory,
    Tile,
    broadcast,
    call_llvm,
    grid,
    pack,
    row_at,
    unpack,
)


class Matrix(NamedTuple):
    """A matrix in memory: element (m, k) is ``array[at + m * row + k * column]``."""

    array: Floats
    at: int
    row: int
    column: int


@intrinsic
def add_product(typingctx, total, A, a, B, b):
    """``total + A[a] * B[b:]``, one fused step, for a total of one row."""
    tile = total

    def emit(context, builder, sig, args):
        left = Memory(context, builder, sig.args[1], args[1])
        right = Memory(context, builder, sig.args[3], args[3])
        x = broadcast(builder, left.scalar(args[2]), tile.lanes)
        offsets = grid(builder, tile, args[4], None, rows=1)
        pairs = zip(offsets, unpack(builder, tile, args[0]), strict=True)
        sums = [call_llvm(builder, "fma", x, right.load(at, tile), total) for at, total in pairs]
        return pack(builder, tile, sums)

    return tile(tile, A, types.intp, B, types.intp), emit


@intrinsic
def load_transposed(typingctx, array, offset, stride):
    """The square tile of as many rows as a vector has lanes, rows and lanes exchanged."""
    lanes = VECTOR_BYTES * 8 // array.dtype.bitwidth
    tile = Tile(array.dtype, lanes, 1)

    def emit(context, builder, sig, args):
        memory = Memory(context, builder, sig.args[0], args[0])
        return pack(builder, tile, _transposed(builder, tile, memory, args[1], args[2]))

    return tile(array, types.intp, types.intp), emit


def _transposed(builder, tile, memory, offset, stride):
    """The vectors of a square tile, rows and lanes exchanged."""
    lanes = tile.lanes
    vectors = [memory.load(at, tile) for at in grid(builder, tile, offset, stride)]
    index, step = ir.VectorType(ir.IntType(32), lanes), 1
    # Exchange blocks of 1, 2, 4, ... lanes between rows that lie as far apart.
    while step < lanes:
        low = [i if not i & step else i - step + lanes for i in range(lanes)]
        high = [i + step if not i & step else i + lanes for i in range(lanes)]
        low, high = ir.Constant(index, low), ir.Constant(index, high)
        for r in range(lanes):
            if not r & step:
                a, b = vectors[r], vectors[r + step]
                vectors[r] = builder.shuffle_vector(a, b, low)
                vectors[r + step] = builder.shuffle_vector(a, b, high)
        step *= 2
    return vectors


@intrinsic
def add_products_of_rows(typingctx, total, A, a, B, b, stride):
    """``total[lane] + A[a] * B[row] + A[a + 1] * B[row + 1] + ...``, a row of B for each lane.

    ``row`` is ``b + lane * stride``.  For a total of one vector; as many products as it has lanes,
    added in this order.
    """
    tile, square = total, Tile(total.dtype, total.lanes, 1)

    def emit(context, builder, sig, args):
        (sums,) = unpack(builder, tile, args[0])
        left = Memory(context, builder, sig.args[1], args[1])
        right = Memory(context, builder, sig.args[3], args[3])
        columns = _transposed(builder, square, right, args[4], args[5])
        for j, column in enumerate(columns):
            at = builder.add(args[2], ir.Constant(args[2].type, j))
            sums = call_llvm(
                builder, "fma", broadcast(builder, left.scalar(at), tile.lanes), column, sums
            )
        return pack(builder, tile, [sums])

    return tile(tile, A, types.intp, B, types.intp, types.intp), emit


@intrinsic(prefer_literal=True)
def tile_product(typingctx, rows, vectors, depth, A, B, S):
    """The tile ``S + A @ B`` of so many rows and vectors, for operands that are a `Matrix`.

    The same as ``total = load(S, s)`` and `depth` times
    ``total = add_product(total, A, a + k * a_column, B, b + k * b_row)`` for each row; as
    one piece it saves Numba half a second of every compilation.
    """
    tile = Tile(A.types[0].dtype, rows.literal_value, vectors.literal_value)

    def emit(context, builder, sig, args):
        left, right, start = (_Operand(context, builder, sig.args[i], args[i]) for i in range(3, 6))
        totals = [
            cgutils.alloca_once_value(builder, start.memory.load(at, tile))
            for at in grid(builder, tile, start.at, start.row)
        ]
        with cgutils.for_range(builder, args[2]) as loop:
            a = builder.add(left.at, builder.mul(loop.index, left.column))
            b = builder.add(right.at, builder.mul(loop.index, right.row))
            vectors = [right.memory.load(at, tile) for at in grid(builder, tile, b, None, rows=1)]
            before = [builder.load(total) for total in totals]
            for r in range(tile.rows):
                x = left.memory.scalar(row_at(builder, a, left.row, r))
                x = broadcast(builder, x, tile.lanes)
                for v, w in enumerate(vectors):
                    at = r * tile.vectors + v
                    builder.store(call_llvm(builder, "fma", x, w, before[at]), totals[at])
        return pack(builder, tile, [builder.load(total) for total in totals])

    return tile(rows, vectors, types.intp, A, B, S), emit


class _Operand:
    """A `Matrix` argument of an intrinsic."""

    def __init__(self, context, builder, matrix, value):
        array, self.at, self.row, self.column = (
            builder.extract_value(value, i) for i in range(len(Matrix._fields))
        )
        self.memory = Memory(context, builder, matrix.types[0], array)
