"""Layers that do something else in training than in use: part of the book's ``common.layers``."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["BatchNormalization", "Dropout"]


class Dropout:
    """Sets random inputs to 0 while a network is trained, and scales all when it is used.

    Parameters
    ----------
    dropout_ratio : float, default 0.5
        Share of the inputs that is set to 0.

    Attributes
    ----------
    mask : ndarray of bool
        The inputs that the last training pass kept.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.book.layers import Dropout
    >>> Dropout(0.25).forward(np.array([[4.0, 8.0]]), train_flg=False)
    array([[3., 6.]])
    """

    def __init__(self, dropout_ratio: float = 0.5):
        self.dropout_ratio = dropout_ratio
        self.mask: Any = None

    def forward(self, x: np.ndarray, train_flg: Any = True) -> np.ndarray:
        """Outputs for `x`.

        Parameters
        ----------
        x : ndarray
            Inputs.
        train_flg : bool, default True
            Whether to drop inputs, by ``np.random``, rather than to scale them.

        Returns
        -------
        ndarray
            A new array.

        Examples
        --------
        See the class.
        """
        if not train_flg:
            return x * (1.0 - self.dropout_ratio)
        self.mask = np.random.rand(*x.shape) > self.dropout_ratio
        return x * self.mask

    def backward(self, dout: np.ndarray) -> np.ndarray:
        """Gradient with respect to the inputs of the last training pass.

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
        >>> from fastnn.book.layers import Dropout
        >>> layer, x = Dropout(0.5), np.ones((2, 3))
        >>> bool((layer.forward(x) == layer.backward(x)).all())
        True
        """
        return dout * self.mask


class BatchNormalization:
    """Normalises each column of a batch, then scales and shifts it.

    Parameters
    ----------
    gamma, beta : ndarray, shape (D,)
        Scale and shift.  The layer keeps these arrays, not copies.
    momentum : float, default 0.9
        Share of the running mean and variance that a batch leaves as it was.
    running_mean, running_var : ndarray, optional
        What is normalised with when the network is used; zeros at first.

    Attributes
    ----------
    dgamma, dbeta : ndarray
        Gradients with respect to `gamma` and `beta`, from the last `backward`.

    Notes
    -----
    The variance is that of the batch (divided by N), and 1e-6 is added to it.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.book.layers import BatchNormalization
    >>> layer = BatchNormalization(np.ones(1), np.zeros(1))
    >>> layer.forward(np.array([[1.0], [3.0]])).round(4)
    array([[-1.],
           [ 1.]])
    """

    VARIANCE_FLOOR = 1e-6

    def __init__(
        self,
        gamma: np.ndarray,
        beta: np.ndarray,
        momentum: float = 0.9,
        running_mean: np.ndarray | None = None,
        running_var: np.ndarray | None = None,
    ):
        self.gamma = gamma
        self.beta = beta
        self.momentum = momentum
        self.input_shape: Any = None
        self.running_mean: Any = running_mean
        self.running_var: Any = running_var
        self.batch_size: Any = None
        self.xc: Any = None
        self.xn: Any = None
        self.std: Any = None
        self.dgamma: Any = None
        self.dbeta: Any = None

    def forward(self, x: np.ndarray, train_flg: Any = True) -> np.ndarray:
        """Outputs for `x`.

        Parameters
        ----------
        x : ndarray, shape (N, D) or (N, C, H, W)
            Inputs; a row of four dimensions is made one vector.
        train_flg : bool, default True
            Whether to normalise with the mean and variance of the batch, and to record them.

        Returns
        -------
        ndarray
            A new array, of the shape of `x`.

        Examples
        --------
        See the class.
        """
        self.input_shape = x.shape
        rows = _rows(x)
        if self.running_mean is None:
            self.running_mean = np.zeros(rows.shape[1])
            self.running_var = np.zeros(rows.shape[1])
        if train_flg:
            normal = self._normalised_batch(rows)
        else:
            deviation = np.sqrt(self.running_var + self.VARIANCE_FLOOR)
            normal = (rows - self.running_mean) / deviation
        return (self.gamma * normal + self.beta).reshape(*self.input_shape)

    def _normalised_batch(self, x: np.ndarray) -> np.ndarray:
        mean = x.mean(axis=0)
        self.xc = x - mean
        variance = np.mean(self.xc**2, axis=0)
        self.std = np.sqrt(variance + self.VARIANCE_FLOOR)
        self.xn = self.xc / self.std
        self.batch_size = x.shape[0]
        old, new = self.momentum, 1 - self.momentum
        self.running_mean = old * self.running_mean + new * mean
        self.running_var = old * self.running_var + new * variance
        return self.xn

    def backward(self, dout: np.ndarray) -> np.ndarray:
        """Gradient with respect to the inputs of the last training pass.

        Parameters
        ----------
        dout : ndarray
            Gradient with respect to the outputs.

        Returns
        -------
        ndarray
            A new array, of the shape of the inputs.

        Examples
        --------
        >>> import numpy as np
        >>> from fastnn.book.layers import BatchNormalization
        >>> layer = BatchNormalization(np.ones(1), np.zeros(1))
        >>> y = layer.forward(np.array([[1.0], [3.0]]))
        >>> layer.backward(np.array([[1.0], [1.0]])), layer.dbeta
        (array([[0.],
               [0.]]), array([2.]))
        """
        rows = _rows(dout)
        self.dbeta = rows.sum(axis=0)
        self.dgamma = np.sum(self.xn * rows, axis=0)
        dxn = self.gamma * rows
        # The deviations xc depend on x, on the mean and, by the variance, on themselves.
        dstd = -np.sum(dxn * self.xc / (self.std * self.std), axis=0)
        dvariance = 0.5 * dstd / self.std
        dxc = dxn / self.std + (2.0 / self.batch_size) * self.xc * dvariance
        dx = dxc - np.sum(dxc, axis=0) / self.batch_size
        return dx.reshape(*self.input_shape)


def _rows(x: np.ndarray) -> np.ndarray:
    """`x` with two dimensions; of others, only four are known."""
    if x.ndim == 2:
        return x
    rows, _channels, _height, _width = x.shape
    return x.reshape(rows, -1)
