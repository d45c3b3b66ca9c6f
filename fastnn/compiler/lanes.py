"""Vectors and register tiles as values of compiled code.

Numba has no vector type, and LLVM's auto-vectoriser gives neither the width
nor the order of sums that we promise.  So this room adds one type to Numba,
`Tile`: a block of ``rows`` x ``vectors`` SIMD vectors that lives in registers
and is used like any number.  A kernel then is ordinary Python::

    total = splat(zero, 6, 1)
    for k in range(K):
        total = rank_one(total, A, a + k, lda, B, b + k * ldb)
    store(C, c, ldc, total)

A vector is as wide as the processor's registers (`VECTOR_BYTES`).  No result
depends on that: products are sums in a fixed order for each element, and what
is summed across lanes is summed in groups of 64 bytes, `GROUP` vectors, in one
order (`lane_sum`).  FASTNN_VECTOR_BYTES forces another width, for tests.

Memory is addressed as array + element offset.  Numba's own indexing adds a
wrap-around test for negative indices to inner loops.  Nothing is checked here
unless Numba's bounds checks are on; then the accesses below are checked, too.
"""

import operator
import os

import llvmlite.binding
import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, register_model

GROUP_BYTES = 64


def _vector_bytes() -> int:
    forced = os.environ.get("FASTNN_VECTOR_BYTES")
    if forced in ("16", "32", "64"):
        return int(forced)
    return 64 if llvmlite.binding.get_host_cpu_features().get("avx512f") else 32


VECTOR_BYTES = _vector_bytes()
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
        super().__init__(dmm, fe_type, _llvm_tile(fe_type))


def _llvm_scalar(dtype):
    return ir.FloatType() if dtype == types.float32 else ir.DoubleType()


def _llvm_vector(tile):
    return ir.VectorType(_llvm_scalar(tile.dtype), tile.lanes)


def _llvm_tile(tile):
    return ir.ArrayType(_llvm_vector(tile), tile.rows * tile.vectors)


def _unpack(builder, tile, value):
    return [builder.extract_value(value, i) for i in range(tile.rows * tile.vectors)]


def _pack(builder, tile, vectors):
    value = ir.Constant(_llvm_tile(tile), ir.Undefined)
    for i, vector in enumerate(vectors):
        value = builder.insert_value(value, vector, i)
    return value


def _broadcast(builder, scalar, lanes):
    vector = ir.VectorType(scalar.type, lanes)
    first = builder.insert_element(
        ir.Constant(vector, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0)
    )
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
    return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), zeros)


def _call(builder, name, *vectors):
    """Call the LLVM intrinsic `name` overloaded on the type of its arguments."""
    vector = vectors[0].type
    scalar = "f32" if vector.element == ir.FloatType() else "f64"
    function = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(vector, [vector] * len(vectors)),
        f"llvm.{name}.v{vector.count}{scalar}",
    )
    return builder.call(function, vectors)


def _first_lanes(builder, tile, count):
    """Masks, one per vector of a row, of its first `count` lanes."""
    i32, masks = ir.IntType(32), []
    count = _broadcast(builder, builder.trunc(count, i32), tile.lanes)
    for v in range(tile.vectors):
        lanes = range(v * tile.lanes, (v + 1) * tile.lanes)
        index = ir.Constant(ir.VectorType(i32, tile.lanes), list(lanes))
        masks.append(builder.icmp_signed("<", index, count))
    return masks


# Memory ---------------------------------------------------------------------


class _Memory:
    """An array argument of an intrinsic, addressed by element offset."""

    def __init__(self, context, builder, array_type, value):
        self.context, self.builder = context, builder
        self.array = context.make_array(array_type)(context, builder, value)
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
            builder.icmp_signed(">", end, self.array.nitems),
        )
        with builder.if_then(outside, likely=False):
            self.context.call_conv.return_user_exc(builder, IndexError, ("lanes: out of bounds",))

    def pointer(self, offset, llvm_type):
        at = self.builder.gep(self.array.data, [offset])
        return self.builder.bitcast(at, llvm_type.as_pointer())

    def scalar(self, offset):
        self.check(offset, 1)
        return self.builder.load(self.builder.gep(self.array.data, [offset]))

    def load(self, offset, tile):
        self.check(offset, tile.lanes)
        return self.builder.load(self.pointer(offset, _llvm_vector(tile)), align=self.itemsize)

    def store(self, offset, tile, vector):
        self.check(offset, tile.lanes)
        self.builder.store(vector, self.pointer(offset, _llvm_vector(tile)), align=self.itemsize)


def _row(builder, offset, stride, r):
    return builder.add(offset, builder.mul(stride, ir.Constant(offset.type, r))) if r else offset


def _grid(builder, tile, offset, stride, rows=None):
    """Offsets of the vectors of a tile whose rows lie `stride` elements apart."""
    for r in range(rows or tile.rows):
        row = _row(builder, offset, stride, r)
        for v in range(tile.vectors):
            yield builder.add(row, ir.Constant(row.type, v * tile.lanes))


@intrinsic
def flat(typingctx, array):
    """The elements of a contiguous array as one dimension; nobody's, so never counted or freed."""
    from numba.np import arrayobj  # here, as it adds 25 ms to the import of fastnn

    view_type = types.Array(array.dtype, 1, "C")

    def emit(context, builder, sig, args):
        source = context.make_array(sig.args[0])(context, builder, args[0])
        view = context.make_array(view_type)(context, builder)
        arrayobj.populate_array(
            view,
            data=source.data,
            shape=cgutils.pack_array(builder, [source.nitems]),
            strides=cgutils.pack_array(builder, [source.itemsize]),
            itemsize=source.itemsize,
            meminfo=cgutils.get_null_value(view.meminfo.type),
        )
        return view._getvalue()

    return view_type(array), emit


@intrinsic
def element(typingctx, array, offset):
    """``array[offset]`` without the test for a negative offset."""

    def emit(context, builder, sig, args):
        return _Memory(context, builder, sig.args[0], args[0]).scalar(args[1])

    return array.dtype(array, types.intp), emit


@intrinsic
def put(typingctx, array, offset, value):
    """``array[offset] = value`` without the test for a negative offset."""

    def emit(context, builder, sig, args):
        memory = _Memory(context, builder, sig.args[0], args[0])
        memory.check(args[1], 1)
        builder.store(args[2], builder.gep(memory.array.data, [args[1]]))
        return context.get_dummy_value()

    return types.void(array, types.intp, array.dtype), emit


@intrinsic(prefer_literal=True)
def load(typingctx, array, offset, stride, rows, vectors):
    """Tile of ``rows`` x ``vectors`` vectors read at ``array[offset + r * stride]``."""
    tile = Tile(array.dtype, rows.literal_value, vectors.literal_value)

    def emit(context, builder, sig, args):
        memory = _Memory(context, builder, sig.args[0], args[0])
        offsets = _grid(builder, tile, args[1], args[2])
        return _pack(builder, tile, [memory.load(at, tile) for at in offsets])

    return tile(array, types.intp, types.intp, rows, vectors), emit


@intrinsic
def load_like(typingctx, array, offset, tile):
    """Tile of one row, as many vectors as `tile`, read at ``array[offset]``."""

    def emit(context, builder, sig, args):
        memory = _Memory(context, builder, sig.args[0], args[0])
        offsets = _grid(builder, tile, args[1], None, rows=1)
        return _pack(builder, tile, [memory.load(at, tile) for at in offsets])

    return tile(array, types.intp, tile), emit


@intrinsic
def broadcast_like(typingctx, array, offset, tile):
    """Tile of the shape of `tile` with ``array[offset]`` in every lane."""

    def emit(context, builder, sig, args):
        memory = _Memory(context, builder, sig.args[0], args[0])
        vector = _broadcast(builder, memory.scalar(args[1]), tile.lanes)
        return _pack(builder, tile, [vector] * (tile.rows * tile.vectors))

    return tile(array, types.intp, tile), emit


@intrinsic(prefer_literal=True)
def load_first(typingctx, array, offset, count, vectors):
    """Tile of one row whose first `count` elements are read at ``array[offset]``, others 0.

    For the end of a row that is not padded: memory behind it is not touched.
    """
    tile = Tile(array.dtype, 1, vectors.literal_value)

    def emit(context, builder, sig, args):
        memory = _Memory(context, builder, sig.args[0], args[0])
        memory.check(args[1], 0)
        offsets = _grid(builder, tile, args[1], None)
        insides = _first_lanes(builder, tile, args[2])
        pairs = zip(offsets, insides, strict=True)
        return _pack(builder, tile, [_masked_load(builder, memory, tile, *pair) for pair in pairs])

    return tile(array, types.intp, types.intp, vectors), emit


def _masked_load(builder, memory, tile, offset, inside):
    vector, i32 = _llvm_vector(tile), ir.IntType(32)
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
def store(typingctx, array, offset, stride, tile):
    """Write `tile` at ``array[offset + r * stride]``."""

    def emit(context, builder, sig, args):
        memory = _Memory(context, builder, sig.args[0], args[0])
        offsets = _grid(builder, tile, args[1], args[2])
        for at, vector in zip(offsets, _unpack(builder, tile, args[3]), strict=True):
            memory.store(at, tile, vector)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, tile), emit


@intrinsic(prefer_literal=True)
def splat(typingctx, number, rows, vectors):
    """Tile with `number` in every lane."""
    if not isinstance(number, types.Float):
        return None
    tile = Tile(number, rows.literal_value, vectors.literal_value)

    def emit(context, builder, sig, args):
        vector = _broadcast(builder, args[0], tile.lanes)
        return _pack(builder, tile, [vector] * (tile.rows * tile.vectors))

    return tile(number, rows, vectors), emit


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
        vector = _broadcast(builder, scalar, tile.lanes)
        return _pack(builder, tile, [vector] * (tile.rows * tile.vectors))

    return tile(tile, number), emit


@intrinsic
def is_single(typingctx, tile):
    """Whether `tile` holds float32: known when compiled, so the other branch costs nothing."""
    single = tile.dtype == types.float32
    return types.boolean(tile), lambda context, builder, sig, args: context.get_constant(
        types.boolean, single
    )


@intrinsic
def rank_one(typingctx, total, A, a, stride, B, b):
    """``total[r] + A[a + r * stride] * B[b : b + vectors]``, one fused step.

    The inner step of every matrix product: for each row one broadcast of an
    element of A, for each vector one load of B.
    """
    tile = total

    def emit(context, builder, sig, args):
        left = _Memory(context, builder, sig.args[1], args[1])
        right = _Memory(context, builder, sig.args[4], args[4])
        totals = _unpack(builder, tile, args[0])
        sums = _rank_one(builder, tile, totals, left, args[2], args[3], right, args[5])
        return _pack(builder, tile, sums)

    return tile(tile, A, types.intp, types.intp, B, types.intp), emit


@intrinsic
def load_transposed(typingctx, array, offset, stride):
    """The square tile of as many rows as a vector has lanes, rows and lanes exchanged."""
    lanes = VECTOR_BYTES * 8 // array.dtype.bitwidth
    tile = Tile(array.dtype, lanes, 1)

    def emit(context, builder, sig, args):
        memory = _Memory(context, builder, sig.args[0], args[0])
        return _pack(builder, tile, _transposed(builder, tile, memory, args[1], args[2]))

    return tile(array, types.intp, types.intp), emit


def _transposed(builder, tile, memory, offset, stride):
    """The vectors of a square tile, rows and lanes exchanged."""
    lanes = tile.lanes
    vectors = [memory.load(at, tile) for at in _grid(builder, tile, offset, stride)]
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
        (sums,) = _unpack(builder, tile, args[0])
        left = _Memory(context, builder, sig.args[1], args[1])
        right = _Memory(context, builder, sig.args[3], args[3])
        columns = _transposed(builder, square, right, args[4], args[5])
        for j, column in enumerate(columns):
            at = builder.add(args[2], ir.Constant(args[2].type, j))
            sums = _call(
                builder, "fma", _broadcast(builder, left.scalar(at), tile.lanes), column, sums
            )
        return _pack(builder, tile, [sums])

    return tile(tile, A, types.intp, B, types.intp, types.intp), emit


@intrinsic(prefer_literal=True)
def tile_product(typingctx, rows, vectors, K, A, a, a_row, a_col, B, b, b_row, S, s, s_row):
    """The tile ``S + A @ B`` of so many rows and vectors; see `affine.multiply`.

    The same as ``total = load(S, s, s_row, rows, vectors)`` and K times
    ``total = rank_one(total, A, a + k * a_col, a_row, B, b + k * b_row)``; as
    one piece it saves Numba half a second of every compilation.
    """
    tile = Tile(A.dtype, rows.literal_value, vectors.literal_value)
    offset = types.intp

    def emit(context, builder, sig, args):
        _, _, K, A, a, a_row, a_col, B, b, b_row, S, s, s_row = args
        A, B, S = (
            _Memory(context, builder, sig.args[i], memory)
            for i, memory in ((3, A), (7, B), (10, S))
        )
        totals = [
            cgutils.alloca_once_value(builder, S.load(at, tile))
            for at in _grid(builder, tile, s, s_row)
        ]
        with cgutils.for_range(builder, K) as loop:
            left = builder.add(a, builder.mul(loop.index, a_col))
            right = builder.add(b, builder.mul(loop.index, b_row))
            sums = [builder.load(total) for total in totals]
            for total, value in zip(
                totals, _rank_one(builder, tile, sums, A, left, a_row, B, right), strict=True
            ):
                builder.store(value, total)
        return _pack(builder, tile, [builder.load(total) for total in totals])

    arguments = (rows, vectors, offset, A, offset, offset, offset, B, offset, offset, S)
    return tile(*arguments, offset, offset), emit


def _rank_one(builder, tile, totals, A, a, stride, B, b):
    b_vectors = [B.load(at, tile) for at in _grid(builder, tile, b, None, rows=1)]
    sums = []
    for r in range(tile.rows):
        x = _broadcast(builder, A.scalar(_row(builder, a, stride, r)), tile.lanes)
        for v, w in enumerate(b_vectors):
            sums.append(_call(builder, "fma", x, w, totals[r * tile.vectors + v]))
    return sums


@intrinsic
def prefetch(typingctx, array, offset):
    """Ask for the cache line of ``array[offset]``; harmless whatever the offset."""

    def emit(context, builder, sig, args):
        memory = _Memory(context, builder, sig.args[0], args[0])
        i32, byte = ir.IntType(32), ir.IntType(8).as_pointer()
        function = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(ir.VoidType(), [byte, i32, i32, i32]),
            "llvm.prefetch.p0",
        )
        at = builder.bitcast(builder.gep(memory.array.data, [args[1]]), byte)
        builder.call(function, [at, i32(0), i32(3), i32(1)])  # read, keep in L1, data
        return context.get_dummy_value()

    return types.void(array, types.intp), emit


# Arithmetic: elementwise on tiles of one shape ---------------------------------


def _register_operator(python_operator, emit_vector):
    @infer_global(python_operator)
    class _Typing(AbstractTemplate):
        def generic(self, args, kws):
            if len(args) == 2 and isinstance(args[0], Tile) and args[0] == args[1]:
                return signature(args[0], *args)
            return None

    @lower_builtin(python_operator, Tile, Tile)
    def _lower(context, builder, sig, args):
        tile = sig.return_type
        left, right = (_unpack(builder, tile, value) for value in args)
        pairs = zip(left, right, strict=True)
        return _pack(builder, tile, [emit_vector(builder, a, b) for a, b in pairs])


_register_operator(operator.add, lambda builder, a, b: builder.fadd(a, b))
_register_operator(operator.sub, lambda builder, a, b: builder.fsub(a, b))
_register_operator(operator.mul, lambda builder, a, b: builder.fmul(a, b))
_register_operator(operator.truediv, lambda builder, a, b: builder.fdiv(a, b))


def _elementwise(tile, arguments, emit_vector):
    """(signature, code) of an intrinsic that maps vectors to a vector."""

    def emit(context, builder, sig, args):
        columns = zip(*(_unpack(builder, tile, value) for value in args), strict=True)
        return _pack(builder, tile, [emit_vector(builder, *vectors) for vectors in columns])

    return tile(*[tile] * arguments), emit


@intrinsic
def fma(typingctx, a, b, c):
    """``a * b + c`` with one rounding, of tiles or of scalars."""
    if isinstance(a, types.Float):
        return a(a, a, a), lambda target, builder, sig, args: builder.fma(*args)
    return _elementwise(a, 3, lambda builder, *abc: _call(builder, "fma", *abc))


@intrinsic
def absolute(typingctx, a):
    """Magnitude of every lane."""
    return _elementwise(a, 1, lambda builder, x: _call(builder, "fabs", x))


@intrinsic
def copysign(typingctx, magnitude, sign):
    """Magnitude of the first, sign of the second."""
    return _elementwise(magnitude, 2, lambda builder, m, s: _call(builder, "copysign", m, s))


@intrinsic
def square_root(typingctx, a):
    """Correctly rounded square root."""
    return _elementwise(a, 1, lambda builder, x: _call(builder, "sqrt", x))


@intrinsic
def where_less(typingctx, a, b, yes, no):
    """``yes`` where ``a < b``, else ``no`` (also where a or b is NaN)."""
    return _elementwise(
        a, 4, lambda builder, a, b, y, n: builder.select(builder.fcmp_ordered("<", a, b), y, n)
    )


@intrinsic
def polynomial(typingctx, x, coefficients):
    """``(((c0 * x + c1) * x + c2) * x + ...``, each step one fused multiply-add."""

    def emit(context, builder, sig, args):
        constants = [
            context.cast(builder, builder.extract_value(args[1], i), types.float64, x.dtype)
            for i in range(len(coefficients))
        ]
        vectors = []
        for vector in _unpack(builder, x, args[0]):
            total, *rest = (_broadcast(builder, constant, x.lanes) for constant in constants)
            for constant in rest:
                total = _call(builder, "fma", total, vector, constant)
            vectors.append(total)
        return _pack(builder, x, vectors)

    return x(x, coefficients), emit


def _integers(vector):
    return ir.VectorType(ir.IntType(32 if vector.element == ir.FloatType() else 64), vector.count)


def _mantissa_bits(vector):
    return 23 if vector.element == ir.FloatType() else 52


def _integer_constant(vector, number):
    return ir.Constant(_integers(vector), [number] * vector.count)


@intrinsic
def times_power_of_two(typingctx, a, shifted):
    """``a * 2**n`` by adding n to the exponent of `a`.

    ``shifted`` holds n as ``1.5 * 2**mantissa_bits + n``: the low bits of that
    float are n itself, so no conversion is needed.  ``a`` and the result must
    be normal numbers.
    """

    def vector(builder, x, n):
        bits = builder.shl(
            builder.bitcast(n, _integers(x.type)),
            _integer_constant(x.type, _mantissa_bits(x.type)),
        )
        return builder.bitcast(builder.add(builder.bitcast(x, _integers(x.type)), bits), x.type)

    return _elementwise(a, 2, vector)


@intrinsic
def exponent_part(typingctx, a):
    """The exponent of positive normal `a` as a float: ``e`` in ``a = m * 2**e``, m in [1, 2)."""

    def vector(builder, x):
        bias = 127 if _mantissa_bits(x.type) == 23 else 1023
        bits = builder.lshr(
            builder.bitcast(x, _integers(x.type)), _integer_constant(x.type, _mantissa_bits(x.type))
        )
        return builder.sitofp(builder.sub(bits, _integer_constant(x.type, bias)), x.type)

    return _elementwise(a, 1, vector)


@intrinsic
def mantissa_part(typingctx, a):
    """The mantissa of positive normal `a`: ``m`` in ``a = m * 2**e``, m in [1, 2)."""

    def vector(builder, x):
        mask = (1 << _mantissa_bits(x.type)) - 1
        one = 0x3F800000 if _mantissa_bits(x.type) == 23 else 0x3FF0000000000000
        bits = builder.and_(builder.bitcast(x, _integers(x.type)), _integer_constant(x.type, mask))
        return builder.bitcast(builder.or_(bits, _integer_constant(x.type, one)), x.type)

    return _elementwise(a, 1, vector)


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
        memory = _Memory(context, builder, sig.args[0], args[0])
        _, start, value, always, first = args
        rows = [ir.Constant(bytes_, row + [0] * (8 - len(row))) for row in listed]
        table = ir.Constant(ir.ArrayType(bytes_, 256), rows)
        table = cgutils.global_constant(builder.module, "fastnn.places_of_bits", table)
        (vector,) = _unpack(builder, tile, value)
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
            places = builder.add(places, _broadcast(builder, base, 8))
            builder.store(places, memory.pointer(at, words), align=memory.itemsize)
            at = builder.add(at, builder.ctpop(byte))
        return builder.sub(at, start)

    return types.int64(array, types.intp, tile, types.int64, types.intp), emit


# Across lanes: halves are combined, vectors first, then lanes: 16 -> 8 -> 4 -> 2 -> 1


def _fold(builder, vector, combine):
    width = vector.type.count
    while width > 1:
        half = width // 2
        index = ir.VectorType(ir.IntType(32), half)
        nothing = ir.Constant(vector.type, ir.Undefined)
        low = builder.shuffle_vector(vector, nothing, ir.Constant(index, list(range(half))))
        high = builder.shuffle_vector(vector, nothing, ir.Constant(index, list(range(half, width))))
        vector, width = combine(builder, low, high), half
    return builder.extract_element(vector, ir.Constant(ir.IntType(32), 0))


def _across(tile, combine):
    def emit(context, builder, sig, args):
        vectors = _unpack(builder, tile, args[0])
        while len(vectors) > 1:
            half = len(vectors) // 2
            pairs = zip(vectors[:half], vectors[half:], strict=True)
            vectors = [combine(builder, low, high) for low, high in pairs]
        return _fold(builder, vectors[0], combine)

    return tile.dtype(tile), emit


@intrinsic
def lane_sum(typingctx, a):
    """Sum of all lanes: halves are added until one is left (1, 2, 4, ... vectors)."""
    return _across(a, lambda builder, low, high: builder.fadd(low, high))


def _greater(builder, a, b):
    # NaN in b wins: a maximum that hides NaN would hide divergence.
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


@intrinsic
def lane_max(typingctx, a):
    """Largest lane as a scalar."""
    return _across(a, _greater)


@intrinsic
def maximum(typingctx, a, b):
    """Lane by lane ``a if a > b else b``."""
    return _elementwise(a, 2, _greater)


@intrinsic
def keep_first(typingctx, a, count, other):
    """The first `count` elements of `a`, then those of `other` (tiles of one row)."""
    tile = a

    def emit(context, builder, sig, args):
        insides = _first_lanes(builder, tile, args[1])
        left, right = (_unpack(builder, tile, args[i]) for i in (0, 2))
        choices = zip(insides, left, right, strict=True)
        return _pack(builder, tile, [builder.select(*choice) for choice in choices])

    return tile(tile, types.intp, tile), emit
