"""Losses that compare each output with its target, and so go with any function of the outputs.

A loss is two functions of vectors, of outputs y, targets t and a number for each output that the
loss may have, its delta say: `value`, and its `slope`, the derivative with respect to y.  With each
output they make a row like those of `losses`, whose deltas are ``dz = slope * dy / dz``.  What a
network does not use is not compiled.  To add one, write its functions and a row of the table.
"""

from collections.abc import Callable
from typing import NamedTuple

from fastnn.compiler.arithmetic import (
    absolute,
    copysign,
    fma,
    keep_first,
    lane_sum,
    maximum,
    where_less,
)
from fastnn.compiler.jit import inner
from fastnn.compiler.tiles import GROUP, GROUP_BYTES, like, load_first, load_row, splat, store
from fastnn.kernels.activations import ACTIVATIONS
from fastnn.kernels.elementary import log
from fastnn.kernels.losses import (
    COUNTS,
    LOSS_CODES,
    LOSSES,
    NUMBERS,
    SIGNS,
    Loss,
)


@inner
def _half_square(target, y, number):
    error = y - target
    return error * error * like(y, 0.5)


@inner
def _error(target, y, number):
    return y - target


@inner
def _square(target, y, number):
    error = y - target
    return error * error


@inner
def _twice_the_error(target, y, number):
    return (y - target) * like(y, 2)


@inner
def _distance(target, y, number):
    return absolute(y - target)


@inner
def _sign(target, y, number):
    """-1, 1, or 0 where y is t."""
    error, zero = y - target, like(y, 0)
    return where_less(zero, absolute(error), copysign(like(y, 1), error), error)


@inner
def _huber(target, y, delta):
    """Half the square of an error up to delta, and linear beyond it."""
    distance = absolute(y - target)
    far = delta * (distance - delta * like(y, 0.5))
    return where_less(delta, distance, far, distance * distance * like(y, 0.5))


@inner
def _huber_slope(target, y, delta):
    error = y - target
    return where_less(delta, absolute(error), copysign(delta, error), error)


@inner
def _quantile(target, y, share):
    """``q (t - y)`` of what is too small, ``(1 - q) (y - t)`` of what is too large."""
    error = y - target
    return where_less(error, like(y, 0), error * (like(y, 0) - share), error * (like(y, 1) - share))


@inner
def _quantile_slope(target, y, share):
    error, zero = y - target, like(y, 0)
    # 0 where y is t, and NaN if it is one
    above = where_less(zero, error, like(y, 1) - share, error)
    return where_less(error, zero, zero - share, above)


@inner
def _hinge(target, y, number):
    """``1 - t y``, if that is above 0, for targets -1 and 1."""
    return maximum(like(y, 0), like(y, 1) - target * y)


@inner
def _hinge_slope(target, y, number):
    zero, inside = like(y, 0), like(y, 1) - target * y
    return where_less(zero, inside, zero - target, where_less(inside, zero, zero, inside - inside))


# No rate counts as less, as in PyTorch's loss of Poisson rates.
LEAST_RATE = 1e-8


@inner
def _deviance(target, y, number):
    """``t log(t / y) - t + y``, half the deviance of counts t, where t log(t) of 0 is 0."""
    zero, rate = like(y, 0), maximum(like(y, LEAST_RATE), y)
    logarithms = log(where_less(zero, target, target, like(y, 1))) - log(rate)
    return where_less(zero, target, target * logarithms, zero) - target + y


@inner
def _deviance_slope(target, y, number):
    return like(y, 1) - target / maximum(like(y, LEAST_RATE), y)


class ElementwiseLoss(NamedTuple):
    """A row of the table."""

    value: Callable  # (target, y, number)
    slope: Callable
    outputs: tuple[str, ...]  # that it is offered with
    targets: str = NUMBERS  # their kind, see `losses`
    mean: bool = True  # over the outputs of a row, or their sum


ANY = ("identity", "sigmoid", "tanh", "softplus", "softmax")
REAL = ("identity", "tanh", "softplus", "sigmoid")
ELEMENTWISE = {
    "squared_error": ElementwiseLoss(_half_square, _error, ANY, mean=False),
    "mse": ElementwiseLoss(_square, _twice_the_error, ANY),
    "mae": ElementwiseLoss(_distance, _sign, REAL),
    "huber": ElementwiseLoss(_huber, _huber_slope, REAL),
    "quantile": ElementwiseLoss(_quantile, _quantile_slope, REAL),
    "poisson": ElementwiseLoss(_deviance, _deviance_slope, ("softplus",), COUNTS),
    "hinge": ElementwiseLoss(_hinge, _hinge_slope, ("identity", "tanh"), SIGNS),
}


def _make_forward(loss, turn, mean):
    """Code that makes outputs of a row of z, and the loss of them."""
    value = loss.value

    @inner
    def forward(outputs, wanted, y):
        turn(outputs, y)
        total = splat(y.array.dtype.type(0), GROUP)
        for n in range(0, outputs, GROUP_BYTES // y.array.itemsize):
            target, number = _wanted(outputs, n, wanted)
            found = value(target, load_row(y.array, y.at + n, GROUP), number)
            total = total + keep_first(found, outputs - n, like(found, 0))
        total = lane_sum(total)
        return total / y.array.dtype.type(outputs) if mean else total

    return forward


@inner
def _wanted(outputs, column, wanted):
    """A group of targets, and of the numbers that the loss has for them, if it has any."""
    left = outputs - column
    target = load_first(wanted.targets, wanted.at + column, left, GROUP)
    return target, load_first(
        wanted.numbers, column, min(left, wanted.numbers.size - column), GROUP
    )


def _make_backward(loss, slope_of_outputs, mean):
    slope = loss.slope

    @inner
    def backward(outputs, wanted, weight, y, dz):
        number = y.array.dtype.type
        scale = splat(weight / number(outputs) if mean else weight, GROUP)
        for n in range(0, outputs, GROUP_BYTES // y.array.itemsize):
            target, own = _wanted(outputs, n, wanted)
            made = load_row(y.array, y.at + n, GROUP)
            found = slope(target, made, own) * slope_of_outputs(made) * scale
            store(dz.array, dz.at + n, keep_first(found, outputs - n, like(found, 0)))

    return backward


def _make_softmax_backward(loss, mean):
    """``dz = y * (dy - sum(y * dy))``."""
    slope = loss.slope

    @inner
    def backward(outputs, wanted, weight, y, dz):
        number = y.array.dtype.type
        scale = splat(weight / number(outputs) if mean else weight, GROUP)
        lanes, total = GROUP_BYTES // y.array.itemsize, splat(number(0), GROUP)
        for n in range(0, outputs, lanes):
            target, own = _wanted(outputs, n, wanted)
            made = load_row(y.array, y.at + n, GROUP)
            found = slope(target, made, own)
            found = keep_first(found, outputs - n, like(found, 0))
            store(dz.array, dz.at + n, found)
            total = fma(made, found, total)
        shared = splat(lane_sum(total), GROUP)
        for n in range(0, outputs, lanes):
            made = load_row(y.array, y.at + n, GROUP)
            found = (load_row(dz.array, dz.at + n, GROUP) - shared) * made * scale
            store(dz.array, dz.at + n, keep_first(found, outputs - n, like(found, 0)))

    return backward


def _make_outputs(activation):
    output = activation.output

    @inner
    def outputs_of_row(outputs, y):
        for n in range(0, outputs, GROUP_BYTES // y.array.itemsize):
            store(y.array, y.at + n, output(load_row(y.array, y.at + n, GROUP)))

    return outputs_of_row


def _paired(output, loss):
    """The row of a loss with a function of the outputs."""
    if output == "softmax":
        turn = LOSSES["cross_entropy"].make_outputs
        backward = _make_softmax_backward(loss, loss.mean)
    else:
        turn = _make_outputs(ACTIVATIONS[output])
        backward = _make_backward(loss, ACTIVATIONS[output].slope, loss.mean)
    return Loss(output, loss.targets, _make_forward(loss, turn, loss.mean), backward, turn)


# All losses there are, by output and name: first those of `losses`, which know their output.
PAIRS = {(row.output, name): row for name, row in LOSSES.items()}
for _name, _loss in ELEMENTWISE.items():
    for _output in _loss.outputs:
        PAIRS.setdefault((_output, _name), _paired(_output, _loss))
# By which kernels know them; those of `losses` have the codes they have there.
PAIR_CODES = {pair: code for code, pair in enumerate(PAIRS)}
assert all(PAIR_CODES[LOSSES[name].output, name] == code for name, code in LOSS_CODES.items())
