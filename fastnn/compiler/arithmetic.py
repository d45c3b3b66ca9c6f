"""Arithmetic on tiles: lane by lane, on the bits of numbers, and across lanes."""

import operator

from llvmlite import ir
from numba import types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin

from fastnn.compiler.tiles import Tile, broadcast, call_llvm, first_lanes, pack, unpack

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
        left, right = (unpack(builder, tile, value) for value in args)
        pairs = zip(left, right, strict=True)
        return pack(builder, tile, [emit_vector(builder, a, b) for a, b in pairs])


_register_operator(operator.add, lambda builder, a, b: builder.fadd(a, b))
_register_operator(operator.sub, lambda builder, a, b: builder.fsub(a, b))
_register_operator(operator.mul, lambda builder, a, b: builder.fmul(a, b))
_register_operator(operator.truediv, lambda builder, a, b: builder.fdiv(a, b))


def _elementwise(tile, arguments, emit_vector):
    """(signature, code) of an intrinsic that maps vectors to a vector."""

    def emit(context, builder, sig, args):
        columns = zip(*(unpack(builder, tile, value) for value in args), strict=True)
        return pack(builder, tile, [emit_vector(builder, *vectors) for vectors in columns])

    return tile(*[tile] * arguments), emit


@intrinsic
def fma(typingctx, a, b, c):
    """``a * b + c`` with one rounding, of tiles or of scalars."""
    if isinstance(a, types.Float):
        return a(a, a, a), lambda target, builder, sig, args: builder.fma(*args)
    return _elementwise(a, 3, lambda builder, *abc: call_llvm(builder, "fma", *abc))


@intrinsic
def absolute(typingctx, a):
    """Magnitude of every lane."""
    return _elementwise(a, 1, lambda builder, x: call_llvm(builder, "fabs", x))


@intrinsic
def copysign(typingctx, magnitude, sign):
    """Magnitude of the first, sign of the second."""
    return _elementwise(magnitude, 2, lambda builder, m, s: call_llvm(builder, "copysign", m, s))


@intrinsic
def square_root(typingctx, a):
    """Correctly rounded square root."""
    return _elementwise(a, 1, lambda builder, x: call_llvm(builder, "sqrt", x))


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
        for vector in unpack(builder, x, args[0]):
            total, *rest = (broadcast(builder, constant, x.lanes) for constant in constants)
            for constant in rest:
                total = call_llvm(builder, "fma", total, vector, constant)
            vectors.append(total)
        return pack(builder, x, vectors)

    return x(x, coefficients), emit


# On the bits of numbers


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
        vectors = unpack(builder, tile, args[0])
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
def where_beaten(typingctx, a, b, yes, no):
    """``yes`` where ``b > a``, or b is the first of both that is NaN; else ``no``."""

    def vector(builder, a, b, yes, no):
        first = builder.and_(builder.fcmp_unordered("uno", b, b), builder.fcmp_ordered("ord", a, a))
        beaten = builder.or_(builder.fcmp_ordered(">", b, a), first)
        return builder.select(beaten, yes, no)

    return _elementwise(a, 4, vector)


@intrinsic
def keep_first(typingctx, a, count, other):
    """The first `count` elements of `a`, then those of `other` (tiles of one row)."""
    tile = a

    def emit(context, builder, sig, args):
        insides = first_lanes(builder, tile, args[1])
        left, right = (unpack(builder, tile, args[i]) for i in (0, 2))
        choices = zip(insides, left, right, strict=True)
        return pack(builder, tile, [builder.select(*choice) for choice in choices])

    return tile(tile, types.intp, tile), emit
