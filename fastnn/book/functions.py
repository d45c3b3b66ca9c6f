"""Activations and losses as functions of arrays: the book's ``common.functions``."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn.book import compiled

__all__ = [
    "cross_entropy_error",
    "identity_function",
    "mean_squared_error",
    "np",
    "relu",
    "relu_grad",
    "sigmoid",
    "sigmoid_grad",
    "softmax",
    "softmax_loss",
    "step_function",
    "sum_squared_error",
]


def identity_function(x: Any) -> Any:
    """Return `x` itself.

    Parameters
    ----------
    x : object
        Anything.

    Returns
    -------
    object
        The same object.

    Examples
    --------
    >>> from fastnn.book.functions import identity_function
    >>> identity_function(3)
    3
    """
    return x


def step_function(x: Any) -> np.ndarray:
    """1 where `x` is positive, else 0.

    Parameters
    ----------
    x : ndarray or number
        Inputs.

    Returns
    -------
    ndarray of int
        Of the shape of `x`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.book.functions import step_function
    >>> step_function(np.array([-1.0, 0.0, 2.0]))
    array([0, 0, 1])
    """
    return np.array(x > 0, dtype=int)


def sigmoid(x: Any) -> Any:
    """``1 / (1 + exp(-x))``.

    Parameters
    ----------
    x : ndarray or number
        Inputs.

    Returns
    -------
    ndarray or number
        Of the shape of `x`.

    Notes
    -----
    A float64 array of some size is computed by a kernel, which gives no warning where ``exp(-x)``
    overflows; the result is 0 there, as in NumPy.

    Examples
    --------
    >>> from fastnn.book.functions import sigmoid
    >>> float(sigmoid(0.0))
    0.5
    """
    y = compiled.sigmoid(x)
    return 1 / (1 + np.exp(-x)) if y is None else y


def sigmoid_grad(x: Any) -> Any:
    """Slope of `sigmoid` at `x`, which is what goes into it.

    Parameters
    ----------
    x : ndarray or number
        Inputs of `sigmoid`.

    Returns
    -------
    ndarray or number
        Of the shape of `x`.

    Examples
    --------
    >>> from fastnn.book.functions import sigmoid_grad
    >>> float(sigmoid_grad(0.0))
    0.25
    """
    y = sigmoid(x)
    return (1.0 - y) * y


def relu(x: Any) -> Any:
    """The larger of 0 and `x`.

    Parameters
    ----------
    x : ndarray or number
        Inputs.

    Returns
    -------
    ndarray or number
        Of the shape of `x`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.book.functions import relu
    >>> relu(np.array([-1.0, 2.0]))
    array([0., 2.])
    """
    return np.maximum(0, x)


def relu_grad(x: Any) -> np.ndarray:
    """Slope of `relu` at `x`: 1 where `x` is 0 or more, in the dtype of `x`.

    Parameters
    ----------
    x : ndarray
        Inputs of `relu`.

    Returns
    -------
    ndarray
        Of the shape and dtype of `x`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.book.functions import relu_grad
    >>> relu_grad(np.array([-1.0, 0.0, 2.0]))
    array([0., 1., 1.])
    """
    slope = np.zeros_like(x)
    slope[x >= 0] = 1
    return slope


def softmax(x: Any) -> Any:
    """``exp(x)`` divided by its sum, along the last axis.

    Parameters
    ----------
    x : ndarray
        Scores, of any number of dimensions.

    Returns
    -------
    ndarray
        Probabilities, of the shape of `x`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.book.functions import softmax
    >>> softmax(np.array([[1, 1], [0, 1000]]))
    array([[0.5, 0.5],
           [0. , 1. ]])
    """
    y = compiled.softmax(x)
    if y is not None:
        return y
    # Shifted, so that exp does not overflow.
    powers = np.exp(x - np.max(x, axis=-1, keepdims=True))
    return powers / np.sum(powers, axis=-1, keepdims=True)


def sum_squared_error(y: Any, t: Any) -> Any:
    """Half the sum of ``(y - t)**2`` over all elements, not averaged.

    Parameters
    ----------
    y, t : ndarray
        Outputs, and what they should be.

    Returns
    -------
    float
        The sum.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.book.functions import sum_squared_error
    >>> float(sum_squared_error(np.array([1.0, 2.0]), np.array([0.0, 4.0])))
    2.5
    """
    return 0.5 * np.sum((y - t) ** 2)


mean_squared_error = sum_squared_error  # its name in the first printings


def cross_entropy_error(y: np.ndarray, t: np.ndarray) -> Any:
    """Mean over the rows of ``-log(y + 1e-7)`` at the right class.

    Parameters
    ----------
    y : ndarray, shape (N, O) or (O,)
        Probabilities.
    t : ndarray
        Labels (N,), or rows (N, O) whose largest element marks the class.

    Returns
    -------
    float
        The mean.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.book.functions import cross_entropy_error
    >>> y = np.array([[0.25, 0.75], [0.5, 0.5]])
    >>> round(float(cross_entropy_error(y, np.array([1, 0]))), 4)
    0.4904
    """
    if y.ndim == 1:
        y, t = y.reshape(1, y.size), t.reshape(1, t.size)
    labels = t.argmax(axis=1) if t.size == y.size else t
    rows = y.shape[0]
    return -np.sum(np.log(y[np.arange(rows), labels] + 1e-7)) / rows


def softmax_loss(X: np.ndarray, t: np.ndarray) -> Any:
    """`cross_entropy_error` of the softmax of `X`.

    Parameters
    ----------
    X : ndarray, shape (N, O) or (O,)
        Scores.
    t : ndarray
        As for `cross_entropy_error`.

    Returns
    -------
    float
        The mean.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.book.functions import softmax_loss
    >>> round(float(softmax_loss(np.zeros((3, 2)), np.array([1, 0, 1]))), 4)
    0.6931
    """
    return cross_entropy_error(softmax(X), t)
