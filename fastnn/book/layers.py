"""Layers with a forward and a backward pass: the book's ``common.layers``.

A layer keeps what its backward pass needs in attributes, under the book's names.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn.book import compiled, functions, image_calls
from fastnn.book.convolution import Convolution, Pooling, col2im, im2col
from fastnn.book.functions import *  # noqa: F403 -- the book's layers hand on all functions
from fastnn.book.functions import cross_entropy_error, sigmoid, softmax
from fastnn.book.regularization import BatchNormalization, Dropout

__all__ = [
    *functions.__all__,
    "Affine",
    "BatchNormalization",
    "Convolution",
    "Dropout",
    "Pooling",
    "Relu",
    "Sigmoid",
    "SoftmaxWithLoss",
    "col2im",
    "im2col",
]

# Where the book has them, and pickles look for them.
BatchNormalization.__module__ = Dropout.__module__ = __name__
Convolution.__module__ = Pooling.__module__ = __name__


def has_all_functions() -> bool:
    """Whether layers call the functions that kernels stand for, and none that a reader put here."""
    return (
        sigmoid is functions.sigmoid
        and softmax is functions.softmax
        and cross_entropy_error is functions.cross_entropy_error
    )


class Relu:
    """The larger of 0 and x.

    Attributes
    ----------
    mask : ndarray of bool
        Where the inputs were 0 or less.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.book.layers import Relu
    >>> Relu().forward(np.array([-1.0, 2.0]))
    array([0., 2.])
    """

    def __init__(self) -> None:
        self.mask: Any = None

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Outputs for `x`.

        Parameters
        ----------
        x : ndarray
            Inputs.

        Returns
        -------
        ndarray
            A new array.

        Examples
        --------
        See the class.
        """
        found = compiled.relu(x)
        if found is not None:
            out, self.mask = found
            return out
        self.mask = x <= 0
        out = x.copy()
        out[self.mask] = 0
        return out

    def backward(self, dout: np.ndarray) -> np.ndarray:
        """Gradient with respect to the inputs of the last `forward`.

        Parameters
        ----------
        dout : ndarray
            Gradient with respect to the outputs.  It is changed.

        Returns
        -------
        ndarray
            `dout` itself, set to 0 where the inputs were 0 or less.

        Examples
        --------
        >>> import numpy as np
        >>> from fastnn.book.layers import Relu
        >>> layer, dout = Relu(), np.array([3.0, 4.0])
        >>> y = layer.forward(np.array([-1.0, 2.0]))
        >>> layer.backward(dout) is dout, dout
        (True, array([0., 4.]))
        """
        if not compiled.clear(dout, self.mask):
            dout[self.mask] = 0
        return dout


class Sigmoid:
    """The logistic function of x.

    Attributes
    ----------
    out : ndarray
        The last outputs.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.book.layers import Sigmoid
    >>> Sigmoid().forward(np.array([0.0]))
    array([0.5])
    """

    def __init__(self) -> None:
        self.out: Any = None

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Outputs for `x`.

        Parameters
        ----------
        x : ndarray
            Inputs.

        Returns
        -------
        ndarray
            A new array.

        Examples
        --------
        See the class.
        """
        self.out = sigmoid(x)
        return self.out

    def backward(self, dout: np.ndarray) -> np.ndarray:
        """Gradient with respect to the inputs of the last `forward`.

        Parameters
        ----------
        dout : ndarray
            Gradient with respect to the outputs.

        Returns
        -------
        ndarray
            A new array.

        Examples
        --------
        >>> import numpy as np
        >>> from fastnn.book.layers import Sigmoid
        >>> layer = Sigmoid()
        >>> y = layer.forward(np.array([0.0]))
        >>> layer.backward(np.array([1.0]))
        array([0.25])
        """
        return dout * (1.0 - self.out) * self.out


class Affine:
    """``x @ W + b``.

    Parameters
    ----------
    W : ndarray, shape (I, O)
        Weights.  The layer keeps this array, not a copy.
    b : ndarray, shape (O,)
        Biases, kept likewise.

    Attributes
    ----------
    x : ndarray, shape (N, I)
        Inputs of the last `forward`.
    original_x_shape : tuple of int
        Their shape as they came.
    dW, db : ndarray
        Gradients with respect to `W` and `b`, from the last `backward`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.book.layers import Affine
    >>> Affine(np.eye(2), np.array([0.0, 1.0])).forward(np.array([[2.0, 3.0]]))
    array([[2., 4.]])
    """

    def __init__(self, W: np.ndarray, b: np.ndarray):
        self.W = W
        self.b = b
        self.x: Any = None
        self.original_x_shape: Any = None
        self.dW: Any = None
        self.db: Any = None

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Outputs for `x`.

        Parameters
        ----------
        x : ndarray, shape (N, ...)
            Inputs; what belongs to a row is made one vector.

        Returns
        -------
        ndarray, shape (N, O)
            A new array.

        Examples
        --------
        See the class.
        """
        self.original_x_shape = x.shape
        self.x = image_calls.as_rows(x)
        out = compiled.affine(self.x, self.W, self.b)
        return np.dot(self.x, self.W) + self.b if out is None else out

    def backward(self, dout: np.ndarray) -> np.ndarray:
        """Gradient with respect to the inputs of the last `forward`; sets `dW` and `db`.

        Parameters
        ----------
        dout : ndarray, shape (N, O)
            Gradient with respect to the outputs.

        Returns
        -------
        ndarray
            A new array, of the shape of the inputs.

        Examples
        --------
        >>> import numpy as np
        >>> from fastnn.book.layers import Affine
        >>> layer = Affine(np.eye(2), np.zeros(2))
        >>> y = layer.forward(np.array([[2.0, 3.0]]))
        >>> layer.backward(np.array([[1.0, 10.0]])), layer.db
        (array([[ 1., 10.]]), array([ 1., 10.]))
        >>> layer.dW
        array([[ 2., 20.],
               [ 3., 30.]])
        """
        gradients = compiled.affine_gradients(self.x, self.W, dout)
        if gradients is None:
            dx = np.dot(dout, self.W.T)
            self._set_gradients(dout)
        else:
            dx, self.dW, self.db = gradients
        return dx.reshape(*self.original_x_shape)

    def backward_to_data(self, dout: np.ndarray) -> None:
        """Set `dW` and `db` only, for a layer below which nothing is trained.

        Parameters
        ----------
        dout : ndarray, shape (N, O)
            Gradient with respect to the outputs.

        Examples
        --------
        >>> import numpy as np
        >>> from fastnn.book.layers import Affine
        >>> layer = Affine(np.eye(2), np.zeros(2))
        >>> y = layer.forward(np.array([[2.0, 3.0]]))
        >>> layer.backward_to_data(np.array([[1.0, 10.0]]))
        >>> layer.db
        array([ 1., 10.])
        """
        gradients = compiled.affine_gradients(self.x, self.W, dout, with_inputs=False)
        if gradients is None:
            self._set_gradients(dout)
        else:
            _, self.dW, self.db = gradients

    def _set_gradients(self, dout: np.ndarray) -> None:
        self.dW = np.dot(self.x.T, dout)
        self.db = np.sum(dout, axis=0)


class SoftmaxWithLoss:
    """Softmax, and the mean cross entropy of its outputs.

    Attributes
    ----------
    loss : float
        The last loss.
    y : ndarray
        The last outputs.
    t : ndarray
        What they were compared with.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.book.layers import SoftmaxWithLoss
    >>> round(float(SoftmaxWithLoss().forward(np.zeros((3, 2)), np.array([1, 0, 1]))), 4)
    0.6931
    """

    def __init__(self) -> None:
        self.loss: Any = None
        self.y: Any = None
        self.t: Any = None

    def forward(self, x: np.ndarray, t: np.ndarray) -> Any:
        """Loss of the scores `x`.

        Parameters
        ----------
        x : ndarray, shape (N, O) or (O,)
            Scores.
        t : ndarray
            Labels (N,), or rows (N, O) whose largest element marks the class.

        Returns
        -------
        float
            The mean over the rows of ``-log(y + 1e-7)`` at the right class.

        Examples
        --------
        See the class.
        """
        self.t = t
        found = compiled.softmax_with_loss(x, t) if has_all_functions() else None
        if found is None:
            self.y = softmax(x)
            self.loss = cross_entropy_error(self.y, self.t)
        else:
            self.y, self.loss = found
        return self.loss

    def backward(self, dout: Any = 1) -> np.ndarray:
        """Gradient with respect to the scores of the last `forward`.

        Parameters
        ----------
        dout : object, default 1
            Not used: the loss is the end of the network.

        Returns
        -------
        ndarray
            ``(y - t) / N``, a new array.

        Examples
        --------
        >>> import numpy as np
        >>> from fastnn.book.layers import SoftmaxWithLoss
        >>> layer = SoftmaxWithLoss()
        >>> loss = layer.forward(np.zeros((2, 2)), np.array([1, 0]))
        >>> layer.backward()
        array([[ 0.25, -0.25],
               [-0.25,  0.25]])
        """
        rows = self.t.shape[0]
        if self.t.size == self.y.size:
            return (self.y - self.t) / rows
        dx = self.y.copy()
        dx[np.arange(rows), self.t] -= 1
        return dx / rows
