"""Elementary functions, on tiles of any shape.

The exponential and the logarithm are our own: those of libm are called lane by
lane and differ between machines in the last bits.  Their coefficients are the
power series', cut where the next term is far below the last place; the bounds
in units of the last place are held by tests/test_elementary.py.
"""

import math

from fastnn.compiler.arithmetic import (
    absolute,
    copysign,
    exponent_part,
    fma,
    mantissa_part,
    maximum,
    polynomial,
    times_power_of_two,
    where_less,
)
from fastnn.compiler.jit import inner
from fastnn.compiler.rounding import rounding_to_nearest
from fastnn.compiler.tiles import is_single, like

with rounding_to_nearest():
    _EXPM1_32 = tuple(1 / math.factorial(k) for k in range(7, 1, -1))
    _EXPM1_64 = tuple(1 / math.factorial(k) for k in range(13, 1, -1))
    # 2 atanh(s) / s as a series in s * s: log(m) has s * s < 0.03, log1p(u) s * s < 0.12.
    _LOG_32 = tuple(2 / (2 * k + 1) for k in range(4, 0, -1))
    _LOG_64 = tuple(2 / (2 * k + 1) for k in range(10, 0, -1))
    _LOG1P_32 = tuple(2 / (2 * k + 1) for k in range(7, 0, -1))
    _LOG1P_64 = tuple(2 / (2 * k + 1) for k in range(16, 0, -1))


@inner
def _exp_parts(x):
    """``scale`` and ``p`` with ``exp(x) = scale * (1 + p)``; scale is a power of two."""
    # n = round(x / ln 2): adding 1.5 * 2**mantissa_bits leaves n in the low bits.
    if is_single(x):
        shift = like(x, 12582912.0)
        shifted = fma(x, like(x, 1 / math.log(2)), shift)
        n = shift - shifted
        r = fma(n, like(x, 0.693145751953125), x)
        r = fma(n, like(x, 1.4286068203094173e-06), r)
        p = polynomial(r, _EXPM1_32)
    else:
        shift = like(x, 6755399441055744.0)
        shifted = fma(x, like(x, 1 / math.log(2)), shift)
        n = shift - shifted
        r = fma(n, like(x, 0.6931471796706319), x)
        r = fma(n, like(x, 8.893134238886677e-10), r)
        p = polynomial(r, _EXPM1_64)
    return times_power_of_two(like(x, 1), shifted), fma(p, r * r, r)


@inner
def exp(x):
    """``e**x`` for x up to 88 (float32) or 709 (float64); 0 where it is no normal number."""
    scale, p = _exp_parts(x)
    smallest = like(x, -87.3) if is_single(x) else like(x, -708.3)
    return where_less(x, smallest, like(x, 0), fma(scale, p, scale))


@inner
def expm1(x):
    """``e**x - 1`` without cancellation, for x as in `exp`."""
    scale, p = _exp_parts(x)
    smallest = like(x, -87.3) if is_single(x) else like(x, -708.3)
    return where_less(x, smallest, like(x, -1), fma(scale, p, scale - like(x, 1)))


@inner
def log(x):
    """Natural logarithm of a positive normal number; NaN of NaN."""
    m, e = mantissa_part(x), exponent_part(x)
    # m in [0.7, 1.4), so that s is small and log(1) is exactly 0.
    too_large = like(x, math.sqrt(2))
    e = where_less(too_large, m, e + like(x, 1), e)
    m = where_less(too_large, m, m * like(x, 0.5), m)
    s = (m - like(x, 1)) / (m + like(x, 1))
    square = s * s
    if is_single(x):
        tail = polynomial(square, _LOG_32)
        low = fma(e, like(x, 1.4286068203094173e-06), s * (square * tail))
        high = like(x, 0.693145751953125)
    else:
        tail = polynomial(square, _LOG_64)
        low = fma(e, like(x, 8.893134238886677e-10), s * (square * tail))
        high = like(x, 0.6931471796706319)
    # x - x is 0, but NaN for a NaN, whose mantissa and exponent look like those of a number.
    return fma(e, high, fma(like(x, 2), s, low)) + (x - x)


@inner
def log1p(u):
    """``log(1 + u)`` without cancellation, for u in [0, 1]."""
    s = u / (u + like(u, 2))
    square = s * s
    tail = polynomial(square, _LOG1P_32) if is_single(u) else polynomial(square, _LOG1P_64)
    return fma(like(u, 2), s, s * (square * tail))


@inner
def sigmoid(z):
    """``1 / (1 + exp(-z))``, finite for any z."""
    e = exp(like(z, 0) - absolute(z))
    return where_less(z, like(z, 0), e, like(z, 1)) / (like(z, 1) + e)


@inner
def tanh(z):
    """Hyperbolic tangent, finite for any z."""
    e = expm1(like(z, -2) * absolute(z))
    return copysign(e / (like(z, 2) + e), z)


@inner
def softplus(z):
    """``log(1 + exp(z))``, finite for any finite z."""
    return maximum(like(z, 0), z) + log1p(exp(like(z, 0) - absolute(z)))
