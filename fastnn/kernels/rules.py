"""Rules of the optimisers, applied to a tile of parameters at once.

A rule sees a tile of gradients while it is in registers and rewrites the same
tile of the parameters; what it remembers has the layout of the parameters, a
second array behind the first.  The formulas are those of the book
(``common/optimizer.py``); a padding of zeros stays zero under all of them.
"""

from typing import Any, NamedTuple

import numpy as np

from fastnn.compiler.arithmetic import fma, square_root
from fastnn.compiler.choice import one_of
from fastnn.compiler.groups import read_group
from fastnn.compiler.jit import inner
from fastnn.compiler.parts import Choice
from fastnn.compiler.tile_products import Matrix
from fastnn.compiler.tiles import lanes_of, like, load, load_like, store
from fastnn.kernels.groups import Rule, parts_of
from fastnn.kernels.places import Places


class Numbers(NamedTuple):
    """What a rule reads and does not change, in the precision of the parameters."""

    velocity_kept: Any = 0.0  # share of it that stays
    # Shares of means that are new.  Their complements would be rounded in float32: 1 - 1e-8 is 1.
    mean_new: Any = 0.0
    squares_new: Any = 0.0
    epsilon: Any = 0.0


class RateAndDecay(NamedTuple):
    """What may change from step to step."""

    rate: Any
    decay: Any


@inner(forceinline=True)
def _store(rule, gradient, weight, params, at):
    """Leave the parameters and keep the gradient: how `gradient` uses the weight sweep."""
    store(rule.memory, at, gradient)


@inner(forceinline=True)
def _sgd(rule, gradient, weight, params, at):
    store(params, at, fma(like(gradient, -rule.rate), gradient, weight))


@inner(forceinline=True)
def _velocity(rule, gradient, at):
    """Share of the velocity that stays, the step, and the new velocity."""
    kept = like(gradient, read_group(Numbers, rule.numbers, 0).velocity_kept)
    step = like(gradient, -rule.rate) * gradient
    velocity = fma(kept, load_like(rule.memory, at, gradient), step)
    store(rule.memory, at, velocity)
    return kept, step, velocity


@inner(forceinline=True)
def _momentum(rule, gradient, weight, params, at):
    _, _, velocity = _velocity(rule, gradient, at)
    store(params, at, weight + velocity)


@inner(forceinline=True)
def _nesterov(rule, gradient, weight, params, at):
    kept, step, velocity = _velocity(rule, gradient, at)
    store(params, at, weight + fma(kept, velocity, step))


@inner
def _moving_mean(memory, at, new, value):
    """A mean in memory, after a value of which so much is new."""
    mean = load_like(memory, at, value)
    mean = fma(like(value, new), value - mean, mean)
    store(memory, at, mean)
    return mean


@inner
def _adagrad(rule, gradient, weight, params, at):
    squares = load_like(rule.memory, at, gradient)
    squares = fma(gradient, gradient, squares)
    store(rule.memory, at, squares)
    root = square_root(squares) + like(gradient, read_group(Numbers, rule.numbers, 0).epsilon)
    store(params, at, weight - like(gradient, rule.rate) * (gradient / root))


@inner
def _rmsprop(rule, gradient, weight, params, at):
    numbers = read_group(Numbers, rule.numbers, 0)
    squares = _moving_mean(rule.memory, at, numbers.squares_new, gradient * gradient)
    root = square_root(squares) + like(gradient, numbers.epsilon)
    store(params, at, weight - like(gradient, rule.rate) * (gradient / root))


@inner
def _adam(rule, gradient, weight, params, at):
    numbers = read_group(Numbers, rule.numbers, 0)
    mean = _moving_mean(rule.memory, at, numbers.mean_new, gradient)
    squares = _moving_mean(rule.memory, at + params.size, numbers.squares_new, gradient * gradient)
    root = square_root(squares) + like(gradient, numbers.epsilon)
    store(params, at, weight - like(gradient, rule.rate) * (mean / root))


class Update(NamedTuple):
    """A row of the table."""

    update: Any
    memories: int  # arrays like the parameters that it remembers
    told: tuple[str, ...] = ()  # what it reads, in the words of those who tell: see fastnn.rules


RULES = {
    "store": Update(_store, 1),
    "sgd": Update(_sgd, 0),
    "momentum": Update(_momentum, 1, ("velocity_kept",)),
    "nesterov": Update(_nesterov, 1, ("velocity_kept",)),
    "adagrad": Update(_adagrad, 1, ("epsilon",)),
    "rmsprop": Update(_rmsprop, 1, ("squares_kept", "epsilon")),
    "adam": Update(_adam, 2, ("mean_kept", "squares_kept", "epsilon")),
}
# By which kernels know them.
RULE_CODES = {name: code for code, name in enumerate(RULES)}
STORE, SGD = RULE_CODES["store"], RULE_CODES["sgd"]

_update = one_of(dict(enumerate(row.update for row in RULES.values())))


@inner(forceinline=True)
def update(rule, gradient, params, at):
    """Apply `rule` to ``params[at]`` and its memory, for a tile of one row of gradients.

    ``decay * weight`` is added to the gradient first.
    """
    if rule.code == STORE and rule.decay == 0:  # the weights need not be read
        store(rule.memory, at, gradient)
        return
    weight = load_like(params, at, gradient)
    gradient = fma(like(gradient, rule.decay), weight, gradient)
    if rule.code == SGD:  # without a jump, which the step of a tiny network would show
        _sgd(rule, gradient, weight, params, at)
    else:
        _update(rule.code, (rule, gradient, weight, params, at))


@inner
def _store_block(rule: Rule, rows: int, columns: int, gradient: Matrix, weights: Matrix):
    """`update_block` of the rule that keeps gradients: without decay no weight need be read."""
    for m in range(rows):
        for n in range(0, columns, lanes_of(gradient.array)):
            at = weights.at + m * weights.row + n
            g = load(gradient.array, gradient.at + m * gradient.row + n)
            if rule.decay != 0:
                g = fma(like(g, rule.decay), load_like(weights.array, at, g), g)
            store(rule.memory, at, g)


def _make_update_block(update_tile):
    @inner
    def update_block(rule: Rule, rows: int, columns: int, gradient: Matrix, weights: Matrix):
        """`update` for a block of weights, `columns` in whole vectors."""
        for m in range(rows):
            for n in range(0, columns, lanes_of(gradient.array)):
                at = weights.at + m * weights.row + n
                g = load(gradient.array, gradient.at + m * gradient.row + n)
                weight = load_like(weights.array, at, g)
                g = fma(like(g, rule.decay), weight, g)
                update_tile(rule, g, weight, weights.array, at)

    return update_block


def _make_update_by_sums(update_tile):
    @inner
    def update_by_sums(
        rule: Rule, terms: int, rows: int, columns: int, gradients: Matrix, weights: Matrix
    ):
        """`update` for a block of weights, in whole vectors, by sums of so many gradients.

        The gradient of ``weights.array[i]`` begins with ``gradients.array[gradients.at + i]``.
        """
        array, row = gradients.array, gradients.row
        if weights.row == columns:  # without padding, as one row
            rows, columns = 1, rows * columns
        for m in range(rows):
            at = weights.at + m * weights.row
            for n in range(at, at + columns, lanes_of(array)):
                g = load(array, gradients.at + n)
                for i in range(1, terms):
                    g = g + load(array, gradients.at + i * row + n)
                weight = load_like(weights.array, n, g)
                g = fma(like(g, rule.decay), weight, g)
                update_tile(rule, g, weight, weights.array, n)

    return update_by_sums


UPDATE_BY_SUMS = Choice(
    Places.UPDATE_BY_SUMS,
    {code: _make_update_by_sums(row.update) for code, row in enumerate(RULES.values())},
)
UPDATE_BLOCK = Choice(
    Places.UPDATE_BLOCK,
    {code: _make_update_block(row.update) for code, row in enumerate(RULES.values())}
    | {STORE: _store_block},
)


@inner
def update_block(network, rule, rows, columns, gradient, weights):
    """`update` for a block of weights, `columns` in whole vectors."""
    UPDATE_BLOCK(parts_of(network), rule.code, (rule, rows, columns, gradient, weights))


@inner
def without_decay(rule):
    """The rule for biases."""
    return of_step(rule, RateAndDecay(rule.rate, rule.numbers.dtype.type(0)))


@inner
def of_step(rule, numbers):
    """The rule with another rate and decay."""
    return Rule(rule.code, rule.numbers, rule.memory, numbers.rate, numbers.decay)


@inner
def storing(rule, gradient):
    """The rule that keeps gradients, there."""
    return Rule(np.int64(STORE), rule.numbers, gradient, rule.rate, rule.decay)
