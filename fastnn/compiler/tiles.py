"""Vectors and register tiles as values of compiled code, and how they come from memory.

Numba has no vector type, and LLVM's auto-vectoriser gives neither the width
nor the order of sums that we promise.  So this room adds one type to Numba,
`Tile`: a block of ``rows`` x ``vectors`` SIMD vectors that lives in registers
and is used like any number.  A kernel then is ordinary Python::

    total = load(S, s)
    for k in range(K):
        total = add_product(total, A, a + k, B, b + k * b_row)
    store(C, c, total)

A vector is as wide as the processor's registers (`VECTOR_BYTES`).  No result
depends on that: products are sums in a fixed order for each element, and what
is summed across lanes is summed in groups of 64 bytes, `GROUP` vectors, in one
order (`arithmetic.lane_sum`).  FASTNN_VECTOR_BYTES forces another width, for tests.

Memory is addressed as array + element offset.  Numba's own indexing adds a
wrap-around test for negative indices to inner loops.  Nothing is checked here
unless Numba's bounds checks are on; then the accesses below are checked, too.
"""

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.extending import intrinsic, register_model

from fastnn.compiler.processor import VECTOR_BYTES

GROUP_BYTES = 64
GROUP = GROUP_BYTES // VECTOR_BYTES
# As many sums as the register file holds beside the operands: 24 of 32 zmm
# registers with AVX-512, 12 of 16 ymm with AVX2 (24 of 32 q with NEON).
TILE_ROWS, TILE_VECTORS = (12 if VECTOR_BYTES == 64 else 6), 2


# What `list_nonzeros` may write beyond the end of a list.
LIST_SLACK = max(8, VECTOR_BYTES // 4)


class Tile(types.Type):
    """Numba type of ``rows`` x ``vectors`` vectors."""

    def __init__(self, dtype, rows, vectors):
        self.dtype, self.rows, self.vectors = dtype, rows, vectors
        self.lanes = VECTOR_BYTES * 8 // dtype.bitwidth
        super().__init__(name=f"Tile({dtype}, {rows}, {vectors})")


@register_model(Tile)
class _TileModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, llvm_tile(fe_type))


def llvm_scalar(dtype):
    """LLVM's type of a number."""
    return ir.FloatType() if dtype == types.float32 else ir.DoubleType()


def llvm_vector(tile):
    """LLVM's type of a vector of a tile."""
    return ir.VectorType(llvm_scalar(tile.dtype), tile.lanes)


def llvm_tile(tile):
    """LLVM's type of a tile."""
    return ir.ArrayType(llvm_vector(tile), tile.rows * tile.vectors)


def unpack(builder, tile, value):
    """The vectors of a tile, row by row."""
    return [builder.extract_value(value, i) for i in range(tile.rows * tile.vectors)]


def pack(builder, tile, vectors):
    """A tile of vectors."""
    value = ir.Constant(llvm_tile(tile), ir.Undefined)
    for i, vector in enumerate(vectors):
        value = builder.insert_value(value, vector, i)
    return value


def broadcast(builder, scalar, lanes):
    """A vector with a number in every lane."""
    vector = ir.VectorType(scalar.type, lanes)
    first = builder.insert_element(
        ir.Constant(vector, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0)
    )
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
    return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), zeros)


def call_llvm(builder, name, *vectors):
    """Call the LLVM intrinsic `name` overloaded on the type of its arguments."""
    vector = vectors[0].type
    scalar = "f32" if vector.element == ir.FloatType() else "f64"
    function = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(vector, [vector] * len(vectors)),
        f"llvm.{name}.v{vector.count}{scalar}",
    )
    return builder.call(function, vectors)


def first_lanes(builder, tile, count):
    """Masks, one per vector of a row, of its first `count` lanes."""
    i32, masks = ir.IntType(32), []
    count = broadcast(builder, builder.trunc(count, i32), tile.lanes)
    for v in range(tile.vectors):
        lanes = range(v * tile.lanes, (v + 1) * tile.lanes)
        index = ir.Constant(ir.VectorType(i32, tile.lanes), list(lanes))
        masks.append(builder.icmp_signed("<", index, count))
    return masks


# Memory ---------------------------------------------------------------------


def array_field(context, builder, array_type, value, name):
    """A part of an array: `data`, `shape`, ...; Numba's way to it leads through memory."""
    position = context.data_model_manager[array_type].get_field_position(name)
    return builder.extract_value(value, position)


class Memory:
    """An array argument of an intrinsic, addressed by element offset."""

    def __init__(self, context, builder, array_type, value):
        self.context, self.builder = context, builder
        self.data, self._items = (
            array_field(context, builder, array_type, value, name) for name in ("data", "nitems")
        )
        self.dtype = array_type.dtype
        self.itemsize = array_type.dtype.bitwidth // 8

    def check(self, offset, count):
        """With bounds checks on, raise unless offset .. offset + count is inside."""
        if not numba.config.BOUNDSCHECK:
            return
        builder = self.builder
        end = builder.add(offset, ir.Constant(offset.type, count))
        outside = builder.or_(
            builder.icmp_signed("<", offset, ir.Constant(offset.type, 0)),
            builder.icmp_signed(">", end, self._items),
        )
        with builder.if_then(outside, likely=False):
            self.context.call_conv.return_user_exc(builder, IndexError, ("tiles: out of bounds",))

    def pointer(self, offset, llvm_type):
        """Where an element lies, as a pointer to another type."""
        at = self.builder.gep(self.data, [offset])
        return self.builder.bitcast(at, llvm_type.as_pointer())

    def scalar(self, offset):
        """Read an element."""
        self.check(offset, 1)
        return self.builder.load(self.builder.gep(self.data, [offset]))

    def load(self, offset, tile):
        """Read a vector."""
        self.check(offset, tile.lanes)
        return self.builder.load(self.pointer(offset, llvm_vector(tile)), align=self.itemsize)

    def store(self, offset, tile, vector):
        """Write a vector."""
        self.check(offset, tile.lanes)
        self.builder.store(vector, self.pointer(offset, llvm_vector(tile)), align=self.itemsize)


def row_at(builder, offset, stride, r):
    """Offset of row r, `r` known when compiled."""
    return builder.add(offset, builder.mul(stride, ir.Constant(offset.type, r))) if r else offset


def grid(builder, tile, offset, stride, rows=None):
    """Offsets of the vectors of a tile whose rows lie `stride` elements apart."""
    for r in range(rows or tile.rows):
        row = row_at(builder, offset, stride, r)
        for v in range(tile.vectors):
            yield builder.add(row, ir.Constant(row.type, v * tile.lanes))


@intrinsic
def flat(typingctx, array):
    """The elements of a contiguous array as one dimension; nobody's, so never counted or freed."""
    from numba.np import arrayobj  # here, as it adds 25 ms to the import of fastnn

    view_type = types.Array(array.dtype, 1, "C")

    def emit(context, builder, sig, args):
        whole = context, builder, *sig.args, *args
        data, items, size = (array_field(*whole, name) for name in ("data", "nitems", "itemsize"))
        view = context.make_array(view_type)(context, builder)
        arrayobj.populate_array(
            view,
            data=data,
            shape=cgutils.pack_array(builder, [items]),
            strides=cgutils.pack_array(builder, [size]),
            itemsize=size,
            meminfo=cgutils.get_null_value(view.meminfo.type),
        )
        return view._getvalue()

    return view_type(array), emit


@intrinsic
def element(typingctx, array, offset):
    """``array[offset]`` without the test for a negative offset."""

    def emit(context, builder, sig, args):
        return Memory(context, builder, sig.args[0], args[0]).scalar(args[1])

    return array.dtype(array, types.intp), emit


@intrinsic
def load_word(typingctx, array, offset, size):
    """The `size` bytes, 1, 2, 4 or 8, from ``array[offset]`` on as a number without a sign.

    For elements whose type only the caller knows, such as one-hot rows of any: each type would be
    a build of its own.
    """
    word = ir.IntType(64)

    def emit(context, builder, sig, args):
        memory = Memory(context, builder, sig.args[0], args[0])
        found = cgutils.alloca_once_value(builder, ir.Constant(word, 0))
        after = builder.append_basic_block("loaded")
        choice = builder.switch(args[2], after)
        for size in (1, 2, 4, 8):
            block = builder.append_basic_block(f"bytes{size}")
            choice.add_case(ir.Constant(args[2].type, size), block)
            with builder.goto_block(block):
                one = builder.load(memory.pointer(args[1], ir.IntType(8 * size)), align=1)
                builder.store(one if size == 8 else builder.zext(one, word), found)
                builder.branch(after)
        builder.position_at_end(after)
        return builder.load(found)

    return types.int64(array, types.intp, types.intp), emit


@intrinsic
def put(typingctx, array, offset, value):
    """``array[offset] = value`` without the test for a negative offset."""

    def emit(context, builder, sig, args):
        memory = Memory(context, builder, sig.args[0], args[0])
        memory.check(args[1], 1)
        builder.store(args[2], builder.gep(memory.data, [args[1]]))
        return context.get_dummy_value()

    return types.void(array, types.intp, array.dtype), emit


@intrinsic
def lanes_of(typingctx, array):
    """Elements of a vector of the precision of `array`: known when compiled."""
    lanes = VECTOR_BYTES * 8 // array.dtype.bitwidth
    return types.intp(array), lambda context, builder, sig, args: context.get_constant(
        types.intp, lanes
    )


@intrinsic
def load(typingctx, array, offset):
    """The vector read at ``array[offset]``."""
    return _loaded(array, 1)


@intrinsic(prefer_literal=True)
def load_row(typingctx, array, offset, vectors):
    """Tile of one row of so many vectors, read at ``array[offset]``."""
    return _loaded(array, vectors.literal_value, vectors)


def _loaded(array, vectors, *literals):
    tile = Tile(array.dtype, 1, vectors)

    def emit(context, builder, sig, args):
        memory = Memory(context, builder, sig.args[0], args[0])
        offsets = grid(builder, tile, args[1], None)
        return pack(builder, tile, [memory.load(at, tile) for at in offsets])

    return tile(array, types.intp, *literals), emit


@intrinsic(prefer_literal=True)
def load_rows(typingctx, array, offset, stride, rows, vectors):
    """Tile of ``rows`` x ``vectors`` vectors read at ``array[offset + r * stride]``."""
    tile = Tile(array.dtype, rows.literal_value, vectors.literal_value)

    def emit(context, builder, sig, args):
        memory = Memory(context, builder, sig.args[0], args[0])
        offsets = grid(builder, tile, args[1], args[2])
        return pack(builder, tile, [memory.load(at, tile) for at in offsets])

    return tile(array, types.intp, types.intp, rows, vectors), emit


@intrinsic
def load_like(typingctx, array, offset, tile):
    """Tile of one row, as many vectors as `tile`, read at ``array[offset]``."""

    def emit(context, builder, sig, args):
        memory = Memory(context, builder, sig.args[0], args[0])
        offsets = grid(builder, tile, args[1], None, rows=1)
        return pack(builder, tile, [memory.load(at, tile) for at in offsets])

    return tile(array, types.intp, tile), emit


@intrinsic
def broadcast_like(typingctx, array, offset, tile):
    """Tile of the shape of `tile` with ``array[offset]`` in every lane."""

    def emit(context, builder, sig, args):
        memory = Memory(context, builder, sig.args[0], args[0])
        vector = broadcast(builder, memory.scalar(args[1]), tile.lanes)
        return pack(builder, tile, [vector] * (tile.rows * tile.vectors))

    return tile(array, types.intp, tile), emit


@intrinsic(prefer_literal=True)
def load_first(typingctx, array, offset, count, vectors):
    """Tile of one row whose first `count` elements are read at ``array[offset]``, others 0.

    For the end of a row that is not padded: memory behind it is not touched.
    """
    tile = Tile(array.dtype, 1, vectors.literal_value)

    def emit(context, builder, sig, args):
        memory = Memory(context, builder, sig.args[0], args[0])
        memory.check(args[1], 0)
        offsets = grid(builder, tile, args[1], None)
        insides = first_lanes(builder, tile, args[2])
        pairs = zip(offsets, insides, strict=True)
        return pack(builder, tile, [_masked_load(builder, memory, tile, *pair) for pair in pairs])

    return tile(array, types.intp, types.intp, vectors), emit


def _masked_load(builder, memory, tile, offset, inside):
    vector, i32 = llvm_vector(tile), ir.IntType(32)
    kind = "f32" if tile.dtype == types.float32 else "f64"
    arguments = [
        memory.pointer(offset, vector),
        ir.Constant(i32, memory.itemsize),
        inside,
        ir.Constant(vector, [0.0] * tile.lanes),
    ]
    function = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(vector, [argument.type for argument in arguments]),
        f"llvm.masked.load.v{tile.lanes}{kind}.p0",
    )
    return builder.call(function, arguments)


@intrinsic
def store(typingctx, array, offset, tile):
    """Write a tile of one row at ``array[offset]``."""

    def emit(context, builder, sig, args):
        _store_at(context, builder, sig, args, grid(builder, tile, args[1], None, rows=1))
        return context.get_dummy_value()

    return types.void(array, types.intp, tile), emit


@intrinsic
def store_rows(typingctx, array, offset, stride, tile):
    """Write the rows of a tile at ``array[offset + r * stride]``."""

    def emit(context, builder, sig, args):
        _store_at(context, builder, sig, args, grid(builder, tile, args[1], args[2]))
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, tile), emit


def _store_at(context, builder, sig, args, offsets):
    tile, memory = sig.args[-1], Memory(context, builder, sig.args[0], args[0])
    for at, vector in zip(offsets, unpack(builder, tile, args[-1]), strict=True):
        memory.store(at, tile, vector)


@intrinsic(prefer_literal=True)
def splat(typingctx, number, vectors):
    """Tile of one row of so many vectors with `number` in every lane."""
    if not isinstance(number, types.Float):
        return None
    tile = Tile(number, 1, vectors.literal_value)

    def emit(context, builder, sig, args):
        return pack(builder, tile, [broadcast(builder, args[0], tile.lanes)] * tile.vectors)

    return tile(number, vectors), emit


@intrinsic
def like(typingctx, tile, number):
    """Tile of the shape and precision of `tile` with `number` in every lane.

    The number is rounded to that precision when it is compiled, so a Python
    float in a kernel never makes float32 arithmetic double.
    """
    if not isinstance(number, types.Float | types.Integer):
        return None

    def emit(context, builder, sig, args):
        scalar = context.cast(builder, args[1], sig.args[1], tile.dtype)
        vector = broadcast(builder, scalar, tile.lanes)
        return pack(builder, tile, [vector] * (tile.rows * tile.vectors))

    return tile(tile, number), emit


@intrinsic
def is_single(typingctx, tile):
    """Whether `tile` holds float32: known when compiled, so the other branch costs nothing."""
    single = tile.dtype == types.float32
    return types.boolean(tile), lambda context, builder, sig, args: context.get_constant(
        types.boolean, single
    )


def _make_prefetch(locality):
    @intrinsic
    def prefetch(typingctx, array, offset):
        """Ask for the cache line of ``array[offset]``; harmless whatever the offset."""

        def emit(context, builder, sig, args):
            memory = Memory(context, builder, sig.args[0], args[0])
            i32, byte = ir.IntType(32), ir.IntType(8).as_pointer()
            function = cgutils.get_or_insert_function(
                builder.module,
                ir.FunctionType(ir.VoidType(), [byte, i32, i32, i32]),
                "llvm.prefetch.p0",
            )
            at = builder.bitcast(builder.gep(memory.data, [args[1]]), byte)
            builder.call(function, [at, i32(0), i32(locality), i32(1)])  # read, data
            return context.get_dummy_value()

        return types.void(array, types.intp), emit

    return prefetch


# To the first-level cache; and to the second, for what is needed only after much else.
prefetch, prefetch_far = _make_prefetch(3), _make_prefetch(2)


@intrinsic
def list_nonzeros(typingctx, array, offset, tile, always, first):
    """Write ``first`` + lane of each lane that is not zero to an array; return their number.

    Or of every lane if `always` is -1, not 0.  They go to ``array[offset]`` and
    on; as many elements as the vector has lanes, and 8 at least, are written
    whatever the number: a load from a table, an addition and a store for 8 of
    them, without a branch.
    """
    i8, i64, word = ir.IntType(8), ir.IntType(64), ir.IntType(array.dtype.bitwidth)
    bytes_, words = ir.VectorType(i8, 8), ir.VectorType(word, 8)
    listed = [[i for i in range(8) if byte >> i & 1] for byte in range(256)]

    def emit(context, builder, sig, args):
        memory = Memory(context, builder, sig.args[0], args[0])
        _, start, value, always, first = args
        rows = [ir.Constant(bytes_, row + [0] * (8 - len(row))) for row in listed]
        table = ir.Constant(ir.ArrayType(bytes_, 256), rows)
        table = cgutils.global_constant(builder.module, "fastnn.places_of_bits", table)
        (vector,) = unpack(builder, tile, value)
        zero = ir.Constant(vector.type, [0.0] * tile.lanes)
        bits = builder.bitcast(builder.fcmp_unordered("!=", vector, zero), ir.IntType(tile.lanes))
        bits = builder.zext(bits, i64)
        every = ir.Constant(i64, (1 << tile.lanes) - 1)
        bits = builder.or_(bits, builder.and_(always, every))
        at = start
        for lane in range(0, tile.lanes, 8):
            memory.check(at, 8)
            byte = builder.and_(builder.lshr(bits, i64(lane)), i64(255))
            places = builder.zext(builder.load(builder.gep(table, [i64(0), byte])), words)
            base = builder.add(builder.trunc(first, word), word(lane))
            places = builder.add(places, broadcast(builder, base, 8))
            builder.store(places, memory.pointer(at, words), align=memory.itemsize)
            at = builder.add(at, builder.ctpop(byte))
        return builder.sub(at, start)

    return types.int64(array, types.intp, tile, types.int64, types.intp), emit
