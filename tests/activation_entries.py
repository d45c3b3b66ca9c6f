"""Elementary functions, activations and dropout."""

import functools

import numpy as np
from kernel_entries import Memory, PartEntry, entry, padded

from fastnn.compiler import tiles
from fastnn.compiler.choice import one_of
from fastnn.compiler.tiles import load, store
from fastnn.kernels import activations, dropout, elementary
from fastnn.kernels.activations import ACTIVATION_CODES
from fastnn.kernels.groups import Layer, Rows

# Element by element -----------------------------------------------------------------------

FUNCTIONS = ("exp", "expm1", "log", "log1p", "sigmoid", "tanh", "softplus")
_function = one_of({i: getattr(elementary, name) for i, name in enumerate(FUNCTIONS)})


@entry
def _map(function, X, Y):
    for i in range(0, X.size, tiles.lanes_of(X)):
        store(Y, i, _function(function, (load(X, i),)))


@entry
def _activate(code, X, Y):
    for i in range(0, X.size, tiles.lanes_of(X)):
        store(Y, i, activations.activate(code, load(X, i)))


@entry
def _slope(code, X, Y):
    for i in range(0, X.size, tiles.lanes_of(X)):
        store(Y, i, activations.slope(code, load(X, i)))


def _mapped(make, code, x):
    wide = padded(x.reshape(1, -1), 0.5).reshape(-1)
    y = np.full_like(wide, np.nan)
    make(code, wide, y)
    return y[: x.size].reshape(x.shape)


exp, expm1, log, log1p, sigmoid, tanh, softplus = (
    functools.partial(_mapped, _map, i) for i in range(len(FUNCTIONS))
)


def activate(name, z):
    return _mapped(_activate, ACTIVATION_CODES[name], z)


def slope(name, y):
    return _mapped(_slope, ACTIVATION_CODES[name], y)


# Blocks ---------------------------------------------------------------------------------

_activation_forward = PartEntry(activations.FORWARD)
_activation_backward = PartEntry(activations.BACKWARD)


def activation_forward(name, Y, **layout):
    """`Y` has whole vectors."""
    memory = Memory(Y, **layout)
    _activation_forward(ACTIVATION_CODES[name], *Y.shape, memory.matrix)
    return memory.read()


def activation_backward(name, Y, D, margin=0, gap=0):
    """`Y` and `D` have whole vectors."""
    y, d = Memory(Y, margin + 1, gap), Memory(D, margin, gap)
    _activation_backward(ACTIVATION_CODES[name], *Y.shape, y.matrix, d.matrix)
    return d.read()


# Dropout ----------------------------------------------------------------------------------

_dropout_forward = PartEntry(dropout.FORWARD)
_dropout_backward = PartEntry(dropout.BACKWARD)
NOTHING = np.empty(0, np.int64)


def _dropped(drop, salt, number, first, Y, name="identity"):
    """The layer, and the rows `first` on of a batch."""
    fields = dict.fromkeys(Layer._fields, 0)
    own = {"number": number, "dropped": drop, "activation": ACTIVATION_CODES[name]}
    no_share = np.empty(0, Y.dtype)
    rows = Rows(
        NOTHING, len(Y), 0, first, salt, few=False, share=no_share, ahead=NOTHING, batch=len(Y)
    )
    return Layer(**fields | own), rows


def dropout_forward(drop, salt, layer, Y, low=0, first=0, **layout):
    """The outputs Y, those of units `low` on and of rows `first` on, in whole vectors."""
    memory, high = Memory(padded(Y), **layout), low + Y.shape[1]
    _dropout_forward(0, *_dropped(drop, salt, layer, first, Y), low, high, memory.matrix)
    return memory.read()[:, : Y.shape[1]]


def dropout_backward(drop, salt, layer, name, Y, D, low=0, first=0, margin=0, gap=0):
    y, d = Memory(padded(Y), margin + 1, gap), Memory(padded(D), margin, gap)
    about, high = _dropped(drop, salt, layer, first, Y, name), low + Y.shape[1]
    _dropout_backward(0, *about, low, high, y.matrix, d.matrix)
    return d.read()[:, : Y.shape[1]]
