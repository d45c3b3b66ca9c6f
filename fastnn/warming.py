"""Compile everything before it is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from fastnn.compiler import runtime
from fastnn.compiler.float_state import usual_state
from fastnn.compiler.parts import table_of
from fastnn.network import MLP
from fastnn.training.data import column_kind
from fastnn.training.parts import EVERY_CHOICE

PRECISIONS = ("float32", "float64")
# Weights of an affine layer of the book that are many.
LARGE = 1 << 19


def warmup(dtype: str | None = None) -> None:
    """Compile and cache all builds, or load them from the cache.

    The first use of a build compiles it, which takes seconds; it is then kept
    on disk.  Call this where such a pause does not hurt, say when a service
    starts or an image is built; there, `fastnn cache warm` does the same.

    Parameters
    ----------
    dtype : {"float32", "float64"}, optional
        Only the builds of this precision; default both.

    Raises
    ------
    TypeError, ValueError
        If `dtype` is neither.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.warmup("float32")
    """
    for name in PRECISIONS if dtype is None else (dtype,):
        for _, compile_it in everything(name):
            compile_it()


def everything(dtype: str) -> Iterator[tuple[str, Callable[[], object]]]:
    """What there is to compile for a precision: a name for each part, and what makes it.

    The arrays are as small as they may be: what is compiled is the same for all sizes.
    """
    net = MLP([40, 2], dtype=dtype)
    x, t = np.zeros((8, 40), net.dtype), np.zeros(8, np.int64)

    def fit() -> None:
        for always in (False, True):
            with runtime.forced(parallel=always):
                net.fit(x, t, epochs=1, batch_size=4, validation_data=(x, t))

    yield "training", fit
    yield "activations, losses, rules and kinds of layers", lambda: _load_parts(net)
    yield "predictions", lambda: net.predict(x)
    yield "single calls", lambda: (net.accuracy(x, t), net.gradient(x, t), net.train_step(x, t))
    yield "training by single samples", lambda: net.fit(x, t, epochs=1, batch_size=1)
    if net.dtype == np.float64:
        yield "numerical gradients", lambda: _run_differences(net, x, t)
        yield "neurons", _run_neurons
    yield "the book's layers", lambda: _run_the_books(net.dtype)
    if net.dtype == np.float64:
        yield "the book's functions and rules", _run_the_books_functions
        yield "the book's images", _run_the_books_images


def _load_parts(net: MLP) -> None:
    """What networks call for a choice of theirs: of each choice everything."""
    table = table_of(net.dtype, column_kind(1))
    for choice in EVERY_CHOICE:
        for number in choice.functions:
            table.have(choice, number)


def _run_differences(net: MLP, x: np.ndarray, t: np.ndarray) -> None:
    net.numerical_gradient(x, t)
    with usual_state():  # which gradients of the user's compiled functions ask for
        pass


def _run_neurons() -> None:
    from fastnn import neurons

    middle = neurons.Middle(1, 3, neurons.sigmoid, neurons.differential_sigmod)
    output = neurons.Output(3, 1, neurons.identity_func, neurons.differential_output)
    output.forward(middle.forward(np.zeros((1, 1))))
    middle.backword(output.backword(np.zeros((1, 1))))
    middle.update(0.1)


def _run_the_books(dtype: np.dtype) -> None:
    """Affine layers, of inputs of this precision."""
    from fastnn.book import compiled

    x, W, out = np.zeros((250, 40), dtype), np.zeros((40, 25)), np.zeros((250, 25))
    compiled.affine(x, W, np.zeros(25))
    compiled.affine_gradients(x, W, out)


def _run_the_books_functions() -> None:
    from fastnn.book import compiled

    x = np.zeros((40, 25))
    compiled.sigmoid(x)
    compiled.softmax(x)
    compiled.update("sgd", x, np.zeros_like(x), (), (0.1,))


def _run_the_books_images() -> None:
    """Convolution and pooling, of few channels and more; and affine layers of what they return."""
    from fastnn.book.layers import Affine, Convolution, Pooling, Relu

    x, filters = np.zeros((64, 1, 8, 8)), 4
    below = Convolution(np.zeros((filters, 1, 3, 3)), np.zeros(filters), pad=1)
    above = Convolution(np.zeros((filters, filters, 3, 3)), np.zeros(filters), pad=1)
    pool, relu = Pooling(2, 2), Relu()
    pooled = pool.forward(relu.forward(above.forward(below.forward(x))))
    rows = pooled.reshape(64, -1)
    affine = Affine(np.zeros((rows.shape[1], LARGE // rows.shape[1])), np.zeros(LARGE // 64))
    dout = affine.backward(affine.forward(pooled))
    below.backward(above.backward(relu.backward(pool.backward(dout))))
