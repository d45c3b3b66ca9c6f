"""Activations: the table of them, with their formulas.

An activation is its output y for its input z, and its slope, which is a function of y: z is not
kept.  To add one, write the two and a row of the table: all else reads it.
"""

from collections.abc import Callable
from typing import NamedTuple

from fastnn.compiler.arithmetic import maximum, where_less
from fastnn.compiler.choice import one_of
from fastnn.compiler.jit import inner
from fastnn.compiler.parts import Choice
from fastnn.compiler.tile_products import Matrix
from fastnn.compiler.tiles import lanes_of, like, load, store
from fastnn.kernels.elementary import expm1, sigmoid, softplus, tanh
from fastnn.kernels.places import Places

LEAK = 0.01  # slope of leaky_relu below zero, PyTorch's default


@inner
def _identity(z):
    return z


@inner
def _one(y):
    return like(y, 1)


@inner
def _relu(z):
    return maximum(like(z, 0), z)


@inner
def _relu_slope(y):
    return where_less(like(y, 0), y, like(y, 1), like(y, 0))


@inner
def _leaky_relu(z):
    return where_less(z, like(z, 0), z * like(z, LEAK), z)


@inner
def _leaky_relu_slope(y):
    return where_less(like(y, 0), y, like(y, 1), like(y, LEAK))


@inner
def _sigmoid_slope(y):
    return y * (like(y, 1) - y)


@inner
def _tanh_slope(y):
    return like(y, 1) - y * y


@inner
def _softplus_slope(y):
    return like(y, 0) - expm1(like(y, 0) - y)


class Activation(NamedTuple):
    """A row of the table."""

    output: Callable  # y of z
    slope: Callable  # dy / dz, of y
    # The slope below 0, if there is another above: at 0 numerical gradients are between them.
    kink: float | None = None
    scikit_learn: str | None = None  # the name there, if there is one


ACTIVATIONS = {
    "identity": Activation(_identity, _one, scikit_learn="identity"),
    "relu": Activation(_relu, _relu_slope, kink=0.0, scikit_learn="relu"),
    "leaky_relu": Activation(_leaky_relu, _leaky_relu_slope, kink=LEAK),
    "sigmoid": Activation(sigmoid, _sigmoid_slope, scikit_learn="logistic"),
    "tanh": Activation(tanh, _tanh_slope, scikit_learn="tanh"),
    "softplus": Activation(softplus, _softplus_slope),
}
# By which kernels know them.
ACTIVATION_CODES = {name: code for code, name in enumerate(ACTIVATIONS)}
IDENTITY = ACTIVATION_CODES["identity"]

_output = one_of(dict(enumerate(row.output for row in ACTIVATIONS.values())))
_slope = one_of(dict(enumerate(row.slope for row in ACTIVATIONS.values())))


@inner
def activate(code, z):
    """Output ``y`` of an activation for its input ``z``."""
    return _output(code, (z,))


@inner
def slope(code, y):
    """Derivative of an activation as a function of its output ``y``."""
    return _slope(code, (y,))


def _make_forward(output):
    @inner
    def activation_forward(rows: int, columns: int, y: Matrix):
        """Replace inputs z, so many rows of so many whole vectors, by outputs."""
        for r in range(rows):
            for n in range(0, columns, lanes_of(y.array)):
                at = y.at + r * y.row + n
                store(y.array, at, output(load(y.array, at)))

    return activation_forward


def _make_backward(slope_of):
    @inner
    def activation_backward(rows: int, columns: int, y: Matrix, dy: Matrix):
        """Turn ``dy`` into ``dz = dy * slope(y)``."""
        for r in range(rows):
            for n in range(0, columns, lanes_of(y.array)):
                at = dy.at + r * dy.row + n
                dz = load(dy.array, at) * slope_of(load(y.array, y.at + r * y.row + n))
                store(dy.array, at, dz)

    return activation_backward


FORWARD = Choice(
    Places.ACTIVATION_FORWARD,
    {code: _make_forward(row.output) for code, row in enumerate(ACTIVATIONS.values())},
)
BACKWARD = Choice(
    Places.ACTIVATION_BACKWARD,
    {code: _make_backward(row.slope) for code, row in enumerate(ACTIVATIONS.values())},
)


@inner
def activation_forward(parts, code, rows, columns, y):
    """Replace inputs z, so many rows of so many whole vectors, by ``activate(code, z)``."""
    if code != IDENTITY:
        FORWARD(parts, code, (rows, columns, y))


@inner
def activation_backward(parts, code, rows, columns, y, dy):
    """Turn ``dy`` into ``dz = dy * slope(code, y)``."""
    if code != IDENTITY:
        BACKWARD(parts, code, (rows, columns, y, dy))
