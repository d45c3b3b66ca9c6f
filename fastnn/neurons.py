"""Layers of a few neurons that learn a sample at a time, for loops written in Python.

The classes have the names, attributes and methods of a well-known exercise, in which three sigmoid
units learn a sine: a program that defines them runs unchanged on these, more than twice as fast.

>>> import numpy as np
>>> from fastnn.neurons import Middle, Output
>>> from fastnn.neurons import differential_output, differential_sigmod, identity_func, sigmoid
>>> np.random.seed(0)
>>> middle = Middle(1, 3, sigmoid, differential_sigmod)
>>> output = Output(3, 1, identity_func, differential_output)
>>> for _ in range(1000):
...     for x in (-1.0, 0.0, 1.0):
...         y = output.forward(middle.forward(np.full((1, 1), x)))
...         grad = middle.backword(output.backword(np.full((1, 1), x / 2)))
...         middle.update(0.1)
...         output.update(0.1)
>>> output.forward(middle.forward(np.array([[1.0], [-1.0]]))).round(1)
array([[ 0.5],
       [-0.5]])

What is computed is the exercise's, but for roundings: exp is fastnn's own, and sums may be added in
another order.  Kernels take small float64 arrays and the four functions of this module.  All else,
other functions or dtypes, large arrays, arrays that do not fit together, is left to NumPy and the
lines of the exercise, with its answers and errors.  NumPy's error state, `np.seterr`, does not act
on what kernels compute.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy import empty, ndarray

from fastnn.kernels import neurons as kernels

__all__ = [
    "Middle",
    "Neuron",
    "Output",
    "differential_output",
    "differential_sigmod",
    "identity_func",
    "sigmoid",
    "wb_width",
]

wb_width = 0.01
"""Standard deviation of the weights and biases of new layers."""

# Multiply-adds of a product from which BLAS is faster.
MOST_WORK = 800
# Calls that are left to NumPy after one that no kernel took: to be refused costs 60 us.
CALLS_LEFT_TO_NUMPY = 1000


def identity_func(u: Any) -> Any:
    """Activation of an `Output`: the identity.

    Parameters
    ----------
    u : ndarray
        Sums of a layer.

    Returns
    -------
    ndarray
        `u` itself.

    Examples
    --------
    >>> identity_func(2.0)
    2.0
    """
    return u


def differential_output(y: Any, t: Any) -> Any:
    """Slope of the squared error ½ Σ(y−t)² by the sums of a layer whose activation is the identity.

    Parameters
    ----------
    y : ndarray
        Outputs.
    t : ndarray
        Targets.

    Returns
    -------
    ndarray
        ``y - t``.

    Examples
    --------
    >>> differential_output(2.0, 1.5)
    0.5
    """
    return y - t


def sigmoid(u: Any) -> Any:
    """Activation of a `Middle`: the logistic function.

    Parameters
    ----------
    u : ndarray
        Sums of a layer.

    Returns
    -------
    ndarray
        ``1 / (1 + exp(-u))``.

    Examples
    --------
    >>> float(sigmoid(0.0))
    0.5
    """
    return 1 / (1 + np.exp(-u))


def differential_sigmod(grad_y: Any, y: Any) -> Any:
    """Slope of the loss by the sums of a layer of sigmoid units.

    Parameters
    ----------
    grad_y : ndarray
        Slope of the loss by the outputs.
    y : ndarray
        Outputs.

    Returns
    -------
    ndarray
        ``grad_y * (1 - y) * y``.

    Examples
    --------
    >>> differential_sigmod(2.0, 0.5)
    0.5
    """
    return grad_y * (1 - y) * y


# By these names kernels stand for them, whatever a program puts into this module.
_identity, _output_slope, _sigmoid, _sigmoid_slope = (
    identity_func,
    differential_output,
    sigmoid,
    differential_sigmod,
)


class _Kernels:
    """Builds of the kernels, each an attribute from its first use on.

    Each is compiled for one kind of arguments, and then refuses others with a TypeError: Numba
    knows types faster than any test written in Python.
    """

    identity_forward: Callable
    sigmoid_forward: Callable
    output_backward: Callable
    sigmoid_backward: Callable
    descend: Callable

    def __getattr__(self, name: str) -> Callable:
        if name.startswith("_"):
            raise AttributeError(name)
        kernel = getattr(kernels, name).serial
        kernel(*_examples(name))
        kernel.disable_compile()
        setattr(self, name, kernel)
        return kernel


def _examples(name: str) -> tuple[Any, ...]:
    """Arguments of the widest kind that a kernel is to take: what is read may be anyone's."""
    matrix, vector = np.zeros((2, 2)), np.zeros(2)
    read, read_vector = np.zeros((4, 4))[::2, ::2], np.zeros(4)[::2]
    rows, row = matrix.copy(), vector.copy()
    for array in (read, read_vector, rows, row):
        array.flags.writeable = False
    if name.endswith("forward"):
        return read, read, read_vector, matrix
    if name.endswith("backward"):
        return read, read, read, read, matrix, vector, matrix
    return matrix, vector, rows, row, 0.0


_compiled = _Kernels()


class Neuron:
    """A layer: ``activation_function(x.dot(w) + b)``, with gradients and their descent.

    Parameters
    ----------
    n_upper : int
        Inputs.
    n : int
        Neurons.
    activation_function : callable
        Outputs as a function of the sums.
    differential_function : callable
        Slope of the loss by the sums: of the outputs and the targets, or, in a `Middle`, of the
        slope by the outputs and the outputs.

    Attributes
    ----------
    w, b : ndarray, shapes (n_upper, n) and (n,)
        Weights and biases, drawn with `np.random.randn` and `wb_width`.
    grad_w, grad_b, grad_x : ndarray
        Gradients by weights, biases and inputs, from the last `backword`.
    x, y : ndarray
        Inputs and outputs of the last `forward`.
    activation_function, differential_function : callable
        As given.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.neurons import Neuron, differential_output, identity_func
    >>> layer = Neuron(2, 1, identity_func, differential_output)
    >>> layer.w[:], layer.b[:] = [[1.0], [2.0]], 3.0
    >>> layer.forward(np.array([[1.0, 10.0]]))
    array([[24.]])
    """

    _left_to_numpy = 0  # calls to come

    def __init__(
        self,
        n_upper: int,
        n: int,
        activation_function: Callable[..., Any],
        differential_function: Callable[..., Any],
    ):
        self.w: Any = wb_width * np.random.randn(n_upper, n)
        self.b: Any = wb_width * np.random.randn(n)
        self.grad_w: Any = np.zeros((n_upper, n))
        self.grad_b: Any = np.zeros(n)
        self.activation_function = activation_function
        self.differential_function = differential_function

    def update(self, eta: Any) -> None:
        """Go down the gradients of the last `backword`; `w` and `b` change in place.

        Parameters
        ----------
        eta : float
            Learning rate.

        Examples
        --------
        >>> import numpy as np
        >>> from fastnn.neurons import Neuron, differential_output, identity_func
        >>> layer = Neuron(1, 1, identity_func, differential_output)
        >>> layer.w[:], layer.grad_w[:] = 1.0, 2.0
        >>> layer.update(0.25)
        >>> layer.w
        array([[0.5]])
        """
        w, b, grad_w, grad_b = self.w, self.b, self.grad_w, self.grad_b
        if self._left_to_numpy:
            self._left_to_numpy -= 1
        elif type(w) is type(b) is type(grad_w) is type(grad_b) is ndarray:
            try:
                if _compiled.descend(w, b, grad_w, grad_b, eta):
                    return
            except TypeError:
                self._left_to_numpy = CALLS_LEFT_TO_NUMPY
        self.w -= eta * self.grad_w
        self.b -= eta * self.grad_b

    def forward(self, x: Any) -> Any:
        """Outputs for `x`.

        Parameters
        ----------
        x : ndarray, shape (N, n_upper)
            Inputs, a row for each sample.

        Returns
        -------
        ndarray, shape (N, n)
            A new array.

        Examples
        --------
        See the class.
        """
        self.x: Any = x
        w, b, function = self.w, self.b, self.activation_function
        if self._left_to_numpy:
            self._left_to_numpy -= 1
        elif (function is _sigmoid or function is _identity) and (
            type(x) is type(w) is type(b) is ndarray
        ):
            try:
                if x.size * b.size < MOST_WORK:
                    y = empty((len(x), b.size))
                    if function is _sigmoid:
                        done = _compiled.sigmoid_forward(x, w, b, y)
                    else:
                        done = _compiled.identity_forward(x, w, b, y)
                    if done:
                        self.y: Any = y
                        return y
            except TypeError:
                self._left_to_numpy = CALLS_LEFT_TO_NUMPY
        u = x.dot(self.w) + self.b
        self.y = function(u)
        return self.y

    def backword(self, t: Any) -> Any:
        """Gradients of the loss, from the outputs of the last `forward` and their targets.

        Parameters
        ----------
        t : ndarray, shape (N, n)
            Targets.

        Returns
        -------
        ndarray, shape (N, n_upper)
            `grad_x`, a new array, as `grad_w` and `grad_b` are.

        Examples
        --------
        >>> import numpy as np
        >>> from fastnn.neurons import Neuron, differential_output, identity_func
        >>> layer = Neuron(1, 1, identity_func, differential_output)
        >>> layer.w[:], layer.b[:] = 1.0, 0.0
        >>> y = layer.forward(np.array([[3.0]]))
        >>> layer.backword(np.array([[1.0]])), layer.grad_w, layer.grad_b
        (array([[2.]]), array([[6.]]), array([2.]))
        """
        if self._left_to_numpy:
            self._left_to_numpy -= 1
        elif self.differential_function is _output_slope and (
            self._set_gradients(_compiled.output_backward, t)
        ):
            return self.grad_x
        delta = self.differential_function(self.y, t)
        self.grad_w = self.x.T.dot(delta)
        self.grad_b = np.sum(delta, axis=0)
        self.grad_x: Any = delta.dot(self.w.T)
        return self.grad_x

    def _set_gradients(self, kernel: Callable, t: Any) -> bool:
        """Have a kernel make the gradients; False if it does not take these arrays."""
        y, x, w = self.y, self.x, self.w
        if not (type(y) is type(x) is type(w) is type(t) is ndarray):
            return False
        try:
            if x.size * w.shape[1] < MOST_WORK:
                grad_w, grad_b, grad_x = empty(w.shape), empty(w.shape[1]), empty(x.shape)
                if kernel(x, w, y, t, grad_w, grad_b, grad_x):
                    self.grad_w, self.grad_b, self.grad_x = grad_w, grad_b, grad_x
                    return True
        except (TypeError, IndexError):  # IndexError: w is no matrix
            self._left_to_numpy = CALLS_LEFT_TO_NUMPY
        return False


class Output(Neuron):
    """The last layer: a `Neuron` as it is.

    Parameters
    ----------
    n_upper : int
        Inputs.
    n : int
        Neurons.
    activation_function, differential_function : callable
        As in `Neuron`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.neurons import Output, differential_output, identity_func
    >>> layer = Output(3, 1, identity_func, differential_output)
    >>> layer.forward(np.ones((5, 3))).shape
    (5, 1)
    """


class Middle(Neuron):
    """A layer below another: its `backword` takes the slope of the loss by its outputs.

    Parameters
    ----------
    n_upper : int
        Inputs.
    n : int
        Neurons.
    activation_function, differential_function : callable
        As in `Neuron`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.neurons import Middle, differential_sigmod, sigmoid
    >>> layer = Middle(2, 3, sigmoid, differential_sigmod)
    >>> layer.w[:], layer.b[:] = 0.0, 0.0
    >>> layer.forward(np.ones((1, 2)))
    array([[0.5, 0.5, 0.5]])
    """

    def backword(self, grad_y: Any) -> Any:
        """Gradients of the loss, from its slope by the outputs of the last `forward`.

        Parameters
        ----------
        grad_y : ndarray, shape (N, n)
            What the `backword` of the layer above returned.

        Returns
        -------
        ndarray, shape (N, n_upper)
            `grad_x`, a new array, as `grad_w` and `grad_b` are.

        Examples
        --------
        >>> import numpy as np
        >>> from fastnn.neurons import Middle, differential_sigmod, sigmoid
        >>> layer = Middle(1, 1, sigmoid, differential_sigmod)
        >>> layer.w[:], layer.b[:] = 4.0, 0.0
        >>> y = layer.forward(np.array([[0.0]]))
        >>> layer.backword(np.array([[2.0]]))
        array([[2.]])
        """
        if self._left_to_numpy:
            self._left_to_numpy -= 1
        elif self.differential_function is _sigmoid_slope and (
            self._set_gradients(_compiled.sigmoid_backward, grad_y)
        ):
            return self.grad_x
        delta = self.differential_function(grad_y, self.y)
        self.grad_w = self.x.T.dot(delta)
        self.grad_b = delta.sum(axis=0)
        self.grad_x = delta.dot(self.w.T)
        return self.grad_x
