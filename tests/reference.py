"""Slow, obvious NumPy twins of the kernels, under the kernels' names.

A twin takes matrices where its kernel takes arrays, offsets and strides, and returns what the
kernel writes. Products and updates round as the kernels promise and are equal to the bit. All else
is the textbook's formula in the widest float there is, to be compared in units of the last place.
"""

import numpy as np
from numpy.testing import assert_array_equal

from fastnn.kernels.activations import (
    IDENTITY,
    LEAK,
    LEAKY_RELU,
    RELU,
    SIGMOID,
    SOFTPLUS,
    TANH,
)
from fastnn.kernels.losses import (
    BINARY_CROSS_ENTROPY,
    CLIPPED_BINARY_CROSS_ENTROPY,
    CLIPPED_CROSS_ENTROPY,
    CROSS_ENTROPY,
    MEAN_SQUARED_ERROR,
    POISSON,
    SQUARED_ERROR,
)
from fastnn.kernels.updates import (
    ADAGRAD,
    EPSILON,
    MEAN_NEW,
    MOMENTUM,
    MOMENTUM_KEPT,
    NESTEROV,
    RMSPROP,
    SGD,
    SQUARES_NEW,
    STORE,
)

WIDEST = np.longdouble


def ulps(found, true):
    """Distance of a kernel's numbers from the true ones, in units of the true ones' last place."""
    last_place = np.spacing(np.abs(true.astype(found.dtype))).astype(WIDEST)
    return np.abs(found - true) / last_place


def assert_same_bits(found, expected):
    """Equal, and zeros have the same signs."""
    assert_array_equal(found, expected)
    assert_array_equal(np.signbit(found), np.signbit(expected))


def numerical_gradient(f, x, h=1e-5):
    """Slopes of the number ``f(x)`` by central differences; they are exact for a linear f."""
    gradient = np.empty_like(x)
    for i in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[i] = h
        gradient[i] = (f(x + step) - f(x - step)) / (2 * h)
    return gradient


# The fused multiply-add ---------------------------------------------------------------


@np.errstate(all="ignore")
def fma(a, b, c):
    """``a * b + c`` with one rounding, unless float64 overflows or underflows on the way."""
    a, b, c = np.broadcast_arrays(a, b, c)
    if c.dtype == np.float32:
        product = a.astype(np.float64) * b  # exact
        return _to_odd(*_two_sum(product, c.astype(np.float64))).astype(np.float32)
    # Boldo and Melquiond, Emulation of FMA and Correctly Rounded Sums, 2008
    product, product_rest = _two_product(a, b)
    low, low_rest = _two_sum(c, product_rest)
    high, high_rest = _two_sum(product, low)
    exact_product = (product_rest == 0) | ~np.isfinite(product)
    return np.where(exact_product, product + c, high + _to_odd(*_two_sum(low_rest, high_rest)))


def _two_sum(a, b):
    """``a + b`` as the rounded sum and what the rounding lost."""
    total = a + b
    b_part = total - a
    return total, (a - (total - b_part)) + (b - b_part)


def _two_product(a, b):
    """``a * b`` as the rounded product and what the rounding lost."""
    (a_high, a_low), (b_high, b_low) = _halves(a), _halves(b)
    product = a * b
    rest = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    return product, rest


def _halves(a):
    """``a`` as a sum of two numbers of 26 bits, whose products are exact."""
    shifted = a * 134217729.0
    high = shifted - (shifted - a)
    return high, a - high


def _to_odd(total, lost):
    """Of the two floats around ``total + lost`` the odd one: it can be rounded a second time."""
    even_neighbour = np.isfinite(lost) & (lost != 0) & (total.view(np.int64) % 2 == 0)
    neighbour = np.nextafter(total, np.where(lost > 0, np.inf, -np.inf))
    return np.where(even_neighbour, neighbour, total)


# Lanes --------------------------------------------------------------------------------


def lane_sum(a):
    """The halves are added until one number is left."""
    while a.size > 1:
        a = a[: a.size // 2] + a[a.size // 2 :]
    return a[0]


# Elementary functions and activations ---------------------------------------------------


def exp(x):
    return np.exp(x.astype(WIDEST))


def expm1(x):
    return np.expm1(x.astype(WIDEST))


def log(x):
    return np.log(x.astype(WIDEST))


def log1p(x):
    return np.log1p(x.astype(WIDEST))


@np.errstate(over="ignore")
def sigmoid(z):
    return 1 / (1 + np.exp(-z.astype(WIDEST)))


def tanh(z):
    return np.tanh(z.astype(WIDEST))


def softplus(z):
    return np.logaddexp(WIDEST(0), z.astype(WIDEST))


def relu(z):
    return np.maximum(z.astype(WIDEST), 0)


def leaky_relu(z):
    return np.where(z < 0, z * WIDEST(LEAK), z)


def identity(z):
    return z.astype(WIDEST)


ACTIVATIONS = {
    IDENTITY: identity,
    RELU: relu,
    LEAKY_RELU: leaky_relu,
    SIGMOID: sigmoid,
    TANH: tanh,
    SOFTPLUS: softplus,
}


def activate(code, z):
    return ACTIVATIONS[code](z)


def slope(code, y):
    y = y.astype(WIDEST)
    return {
        IDENTITY: np.ones_like(y),
        RELU: np.where(y > 0, WIDEST(1), WIDEST(0)),
        LEAKY_RELU: np.where(y > 0, WIDEST(1), WIDEST(LEAK)),
        SIGMOID: y * (1 - y),
        TANH: (1 - y) * (1 + y),
        SOFTPLUS: 1 - np.exp(-y),
    }[code]


def activation_forward(code, Y):
    return activate(code, Y)


def activation_backward(code, Y, D):
    return D * slope(code, Y)


# Products -----------------------------------------------------------------------------


def multiply(A, B, S):
    C = np.broadcast_to(S, (A.shape[0], B.shape[1]))
    for k in range(B.shape[0]):
        C = fma(A[:, k : k + 1], B[k], C)
    return C


def multiply_transposed(A, W, S):
    return multiply(A, W.T, S)


def multiply_transposed_few(A, W):
    """Each sum in as many parts as a group has lanes, added by halves."""
    lanes = 64 // A.itemsize
    A, W = (np.pad(matrix, [(0, 0), (0, -A.shape[1] % lanes)]) for matrix in (A, W))
    C = np.zeros((len(A), len(W)), A.dtype)
    for m, n in np.ndindex(*C.shape):
        parts = np.zeros(lanes, A.dtype)
        for k in range(0, A.shape[1], lanes):
            parts = fma(A[m, k : k + lanes], W[n, k : k + lanes], parts)
        C[m, n] = lane_sum(parts)
    return C


def column_sums(A):
    total = np.zeros(A.shape[1], A.dtype)
    for row in A:
        total = total + row
    return total


# Losses of one row --------------------------------------------------------------------


def softmax_forward(z):
    """The outputs and ``log(sum(exp(z)))``."""
    z = z.astype(WIDEST)
    e = np.exp(z - z.max())
    return e / e.sum(), z.max() + np.log(e.sum())


def cross_entropy_backward(label, scale, y):
    t = np.zeros_like(y)
    t[label] = 1
    return (y.astype(WIDEST) - t) * scale


def squared_error_forward(t, y):
    return np.sum((y.astype(WIDEST) - t) ** 2) / 2


def binary_cross_entropy_forward(t, z):
    """The outputs and the loss: ``log(1 + exp(-z))`` is ``-log(sigmoid(z))``."""
    z = z.astype(WIDEST)
    return sigmoid(z), np.sum(t * np.logaddexp(0, -z) + (1 - t) * np.logaddexp(0, z))


def error_backward(t, scale, y):
    return (y.astype(WIDEST) - t) * scale


def poisson_forward(t, z):
    """The outputs and half the deviance, where ``0 * log(0)`` is 0."""
    y, t = np.exp(z.astype(WIDEST)), t.astype(WIDEST)
    logarithms = np.log(np.where(t > 0, t, 1) / np.where(t > 0, y, 1))
    return y, np.sum(t * logarithms - t + y)


def loss_forward(loss, label, t, z):
    """The outputs and the loss."""
    if loss in (CROSS_ENTROPY, CLIPPED_CROSS_ENTROPY):
        y, log_sum = softmax_forward(z)
        most = np.inf if loss == CROSS_ENTROPY else -np.log(np.finfo(z.dtype).eps)
        return y, min(log_sum - z[label], most)
    if loss == BINARY_CROSS_ENTROPY:
        return binary_cross_entropy_forward(t, z)
    if loss == CLIPPED_BINARY_CROSS_ENTROPY:
        y, eps = sigmoid(z.astype(WIDEST)), np.finfo(z.dtype).eps
        p = np.clip(y, eps, 1 - eps)
        return y, -np.sum(t * np.log(p) + (1 - t) * np.log1p(-p))
    if loss == POISSON:
        return poisson_forward(t, z)
    if loss == MEAN_SQUARED_ERROR:
        return z, np.mean((z.astype(WIDEST) - t) ** 2)
    return z, squared_error_forward(t, z)


def loss_backward(loss, label, t, scale, y):
    if loss in (CROSS_ENTROPY, CLIPPED_CROSS_ENTROPY):
        return cross_entropy_backward(label, scale, y)
    if loss == MEAN_SQUARED_ERROR:
        return error_backward(t, scale, y) * 2 / y.size
    return error_backward(t, scale, y)


def outputs_forward(loss, Z):
    if loss in (CROSS_ENTROPY, CLIPPED_CROSS_ENTROPY):
        return np.array([softmax_forward(z)[0] for z in Z])
    if loss == POISSON:
        return np.exp(Z.astype(WIDEST))
    return Z if loss in (SQUARED_ERROR, MEAN_SQUARED_ERROR) else sigmoid(Z)


# Dropout ------------------------------------------------------------------------------


def _mixed(h):
    h = h & 0xFFFFFFFF
    h = (h ^ (h >> 16)) * 0x85EBCA6B & 0xFFFFFFFF
    h = (h ^ (h >> 13)) * 0xC2B2AE35 & 0xFFFFFFFF
    return h ^ (h >> 16)


def dropped(drop, salt, layer, row, units):
    """Which units of a row are dropped, in Python's unbounded integers."""
    mine = _mixed(_mixed(_mixed(salt) + layer) ^ row)
    return np.array([_mixed(mine + n * 0x9E3779B9) >> 16 < drop for n in range(units)])


# Updates ------------------------------------------------------------------------------


def update_block(rule, rate, G, params, memory, decay=0, numbers=None):
    """The parameters and the memory after the update, as the book writes the rules."""
    if rule == STORE:
        return params, fma(G.dtype.type(decay), params, G) if decay else G
    if rule == SGD:
        return fma(-rate, fma(G.dtype.type(decay), params, G), params), memory
    numbers, g = numbers or {}, G + decay * params
    kept, new = numbers.get(MOMENTUM_KEPT), numbers.get(SQUARES_NEW)
    if rule == MOMENTUM:
        v = kept * memory - rate * g
        return params + v, v
    if rule == NESTEROV:
        moved = kept * kept * memory - (1 + kept) * rate * g
        return params + moved, kept * memory - rate * g
    if rule == ADAGRAD:
        h = memory + g * g
        return params - rate * g / (np.sqrt(h) + numbers[EPSILON]), h
    if rule == RMSPROP:
        h = (1 - new) * memory + new * g * g
        return params - rate * g / (np.sqrt(h) + numbers[EPSILON]), h
    m = memory[0] + numbers[MEAN_NEW] * (g - memory[0])
    v = memory[1] + new * (g**2 - memory[1])
    return params - rate * m / (np.sqrt(v) + numbers[EPSILON]), np.array([m, v])


# The first layer on sparse inputs -------------------------------------------------------


def nonzeros_forward(x, W, b):
    return multiply(x, W, b)


def nonzeros_backward(x, D):
    return multiply(x.T, D, np.zeros(D.shape[1], D.dtype))


def compress_rows(x):
    """Columns and values of the nonzeros of each row."""
    return [(np.flatnonzero(row), row[row != 0]) for row in x]
