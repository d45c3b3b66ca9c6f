"""Slow, obvious NumPy twins of the kernels, under the kernels' names.

A twin takes matrices where its kernel takes arrays, offsets and strides, and returns what the
kernel writes. Products and updates round as the kernels promise and are equal to the bit. All else
is the textbook's formula in the widest float there is, to be compared in units of the last place.
"""

from typing import NamedTuple

import numpy as np
from numpy.testing import assert_array_equal

from fastnn.kernels.activations import LEAK

WIDEST = np.longdouble


class Twins(dict):
    """Twins of the rows of one of the package's tables, by name."""

    def __missing__(self, name):
        raise AssertionError(
            f"{name!r} has no twin in tests/reference.py: write one, and a row of its table there"
        )


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


class Activation(NamedTuple):
    output: object  # y of z
    slope: object  # dy / dz, of y


ACTIVATIONS = Twins(
    {
        "identity": Activation(identity, np.ones_like),
        "relu": Activation(relu, lambda y: np.where(y > 0, WIDEST(1), WIDEST(0))),
        "leaky_relu": Activation(leaky_relu, lambda y: np.where(y > 0, WIDEST(1), WIDEST(LEAK))),
        "sigmoid": Activation(sigmoid, lambda y: y * (1 - y)),
        "tanh": Activation(tanh, lambda y: (1 - y) * (1 + y)),
        "softplus": Activation(softplus, lambda y: 1 - np.exp(-y)),
    }
)


def activate(name, z):
    return ACTIVATIONS[name].output(z)


def slope(name, y):
    return ACTIVATIONS[name].slope(y.astype(WIDEST))


def activation_forward(name, Y):
    return activate(name, Y)


def activation_backward(name, Y, D):
    return D * slope(name, Y)


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


def cross_entropy_forward(label, t, z):
    y, log_sum = softmax_forward(z)
    return y, log_sum - z[label]


def clipped_cross_entropy_forward(label, t, z):
    y, loss = cross_entropy_forward(label, t, z)
    return y, min(loss, -np.log(np.finfo(z.dtype).eps))


def cross_entropy_backward(label, t, scale, y):
    one_hot = np.zeros_like(y)
    one_hot[label] = 1
    return (y.astype(WIDEST) - one_hot) * scale


def squared_error_forward(label, t, z):
    return z, np.sum((z.astype(WIDEST) - t) ** 2) / 2


def mean_squared_error_forward(label, t, z):
    return z, np.mean((z.astype(WIDEST) - t) ** 2)


def mean_squared_error_backward(label, t, scale, y):
    return error_backward(label, t, scale, y) * 2 / y.size


def binary_cross_entropy_forward(label, t, z):
    """``log(1 + exp(-z))`` is ``-log(sigmoid(z))``."""
    z = z.astype(WIDEST)
    return sigmoid(z), np.sum(t * np.logaddexp(0, -z) + (1 - t) * np.logaddexp(0, z))


def clipped_binary_cross_entropy_forward(label, t, z):
    y, eps = sigmoid(z), np.finfo(z.dtype).eps
    p = np.clip(y, eps, 1 - eps)
    return y, -np.sum(t * np.log(p) + (1 - t) * np.log1p(-p))


def error_backward(label, t, scale, y):
    return (y.astype(WIDEST) - t) * scale


def poisson_forward(label, t, z):
    """The loss is half the deviance, where ``0 * log(0)`` is 0."""
    y, t = np.exp(z.astype(WIDEST)), t.astype(WIDEST)
    logarithms = np.log(np.where(t > 0, t, 1) / np.where(t > 0, y, 1))
    return y, np.sum(t * logarithms - t + y)


class Loss(NamedTuple):
    forward: object  # (label, t, z): the outputs and the loss
    backward: object  # (label, t, scale, y): dz


LOSSES = Twins(
    {
        "cross_entropy": Loss(cross_entropy_forward, cross_entropy_backward),
        "squared_error": Loss(squared_error_forward, error_backward),
        "mse": Loss(mean_squared_error_forward, mean_squared_error_backward),
        "binary_cross_entropy": Loss(binary_cross_entropy_forward, error_backward),
        "poisson": Loss(poisson_forward, error_backward),
        "clipped_cross_entropy": Loss(clipped_cross_entropy_forward, cross_entropy_backward),
        "clipped_binary_cross_entropy": Loss(clipped_binary_cross_entropy_forward, error_backward),
    }
)


def loss_forward(name, label, t, z):
    """The outputs and the loss."""
    return LOSSES[name].forward(label, t, z)


def loss_backward(name, label, t, scale, y):
    return LOSSES[name].backward(label, t, scale, y)


def softplus_outputs(z):
    return np.logaddexp(0, z.astype(WIDEST))


OUTPUTS = {
    "softmax": lambda z: softmax_forward(z)[0],
    "sigmoid": sigmoid,
    "tanh": tanh,
    "identity": lambda z: z.astype(WIDEST),
    "softplus": softplus_outputs,
}


def of_each(loss, t, y, number):
    """An elementwise loss of each output, and its derivative with respect to it."""
    e, one = y - t, np.ones_like(y)
    large = np.abs(e) > number
    return {
        "squared_error": lambda: (e**2 / 2, e),
        "mse": lambda: (e**2, 2 * e),
        "mae": lambda: (np.abs(e), np.sign(e)),
        "huber": lambda: (
            np.where(large, number * (np.abs(e) - number / 2), e**2 / 2),
            np.where(large, number * np.sign(e), e),
        ),
        "quantile": lambda: (
            np.maximum(-number * e, (1 - number) * e),
            np.where(e < 0, -number, 1 - number) * (e != 0),
        ),
        "poisson": lambda: (
            t * np.log(np.where(t > 0, t, 1) / np.where(t > 0, y, 1)) - t + y,
            one - t / y,
        ),
        "hinge": lambda: (np.maximum(1 - t * y, 0), np.where(t * y < 1, -t, 0)),
    }[loss]()


def pair_forward(pair, t, z, number=0.0):
    """Outputs of a row, and its loss: of squares the sum over the outputs, of others the mean."""
    (output, loss), t = pair, t.astype(WIDEST)
    y = OUTPUTS[output](z)
    each = of_each(loss, t, y, number)[0]
    return y, each.sum() if loss == "squared_error" else each.mean()


def pair_backward(pair, t, scale, z, number=0.0):
    """``dz`` of a row."""
    (output, loss), t = pair, t.astype(WIDEST)
    y = OUTPUTS[output](z)
    dy = of_each(loss, t, y, number)[1] * scale / (1 if loss == "squared_error" else y.size)
    return y * (dy - (y * dy).sum()) if output == "softmax" else dy * slope(output, y)


def outputs_forward(name, Z):
    rows = [loss_forward(name, 0, np.zeros_like(z), z)[0] for z in Z]
    return np.array(rows).reshape(Z.shape)


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


# Rules --------------------------------------------------------------------------------


def store(rate, G, params, memory, decay, numbers):
    return params, fma(G.dtype.type(decay), params, G) if decay else G


def sgd(rate, G, params, memory, decay, numbers):
    return fma(-rate, fma(G.dtype.type(decay), params, G), params), memory


def momentum(rate, G, params, memory, decay, numbers):
    v = numbers["velocity_kept"] * memory - rate * (G + decay * params)
    return params + v, v


def nesterov(rate, G, params, memory, decay, numbers):
    kept, g = numbers["velocity_kept"], G + decay * params
    moved = kept * kept * memory - (1 + kept) * rate * g
    return params + moved, kept * memory - rate * g


def adagrad(rate, G, params, memory, decay, numbers):
    g = G + decay * params
    h = memory + g * g
    return params - rate * g / (np.sqrt(h) + numbers["epsilon"]), h


def rmsprop(rate, G, params, memory, decay, numbers):
    new, g = numbers["squares_new"], G + decay * params
    h = (1 - new) * memory + new * g * g
    return params - rate * g / (np.sqrt(h) + numbers["epsilon"]), h


def adam(rate, G, params, memory, decay, numbers):
    g = G + decay * params
    m = memory[0] + numbers["mean_new"] * (g - memory[0])
    v = memory[1] + numbers["squares_new"] * (g**2 - memory[1])
    return params - rate * m / (np.sqrt(v) + numbers["epsilon"]), np.array([m, v])


RULES = Twins(
    {
        "store": store,
        "sgd": sgd,
        "momentum": momentum,
        "nesterov": nesterov,
        "adagrad": adagrad,
        "rmsprop": rmsprop,
        "adam": adam,
    }
)


def update_block(name, rate, G, params, memory, decay=0, numbers=None):
    """The parameters and the memory after the update, as the book writes the rules."""
    return RULES[name](rate, G, params, memory, decay, numbers)


# The first layer on sparse inputs -------------------------------------------------------


def nonzeros_forward(x, W, b):
    return multiply(x, W, b)


def nonzeros_backward(x, D):
    return multiply(x.T, D, np.zeros(D.shape[1], D.dtype))


def compress_rows(x):
    """Columns and values of the nonzeros of each row."""
    return [(np.flatnonzero(row), row[row != 0]) for row in x]
