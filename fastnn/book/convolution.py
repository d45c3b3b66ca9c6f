"""Convolution and pooling: part of the book's ``common.layers``, and of ``common.util``."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn.book import image_calls

__all__ = ["Convolution", "Pooling", "col2im", "conv_output_size", "im2col"]


def conv_output_size(input_size: Any, filter_size: Any, stride: Any = 1, pad: Any = 0) -> Any:
    """Lines of an output, or pixels of a line, of a convolution.

    Parameters
    ----------
    input_size, filter_size : int
        Lines of the images and of the filters.
    stride, pad : int
        Lines from one window to the next, and of zeros on each side.

    Returns
    -------
    float
        With a fraction if windows do not reach the end.

    Examples
    --------
    >>> from fastnn.book.util import conv_output_size
    >>> conv_output_size(28, 5)
    24.0
    """
    return (input_size + 2 * pad - filter_size) / stride + 1


def im2col(
    input_data: np.ndarray, filter_h: int, filter_w: int, stride: int = 1, pad: int = 0
) -> np.ndarray:
    """Windows of images as rows of a matrix.

    The layers here make no such matrix, which is ``filter_h * filter_w`` times as large as the
    images.

    Parameters
    ----------
    input_data : ndarray, shape (N, C, H, W)
        Images.
    filter_h, filter_w : int
        Lines and pixels of a window.
    stride, pad : int
        As for `Convolution`.

    Returns
    -------
    ndarray of float64, shape (N * OH * OW, C * filter_h * filter_w)
        A new array.

    Raises
    ------
    ValueError
        If a window is larger than the images with their zeros.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.book.util import im2col
    >>> im2col(np.arange(9.0).reshape(1, 1, 3, 3), 2, 2)
    array([[0., 1., 3., 4.],
           [1., 2., 4., 5.],
           [3., 4., 6., 7.],
           [4., 5., 7., 8.]])
    """
    sides = (pad, pad)
    images = np.pad(input_data, [(0, 0), (0, 0), sides, sides])
    windows = np.lib.stride_tricks.sliding_window_view(images, (filter_h, filter_w), axis=(2, 3))
    windows = windows[:, :, ::stride, ::stride].transpose(0, 2, 3, 1, 4, 5)
    col = np.array(windows, np.float64, order="C")
    return col.reshape(col.shape[0] * col.shape[1] * col.shape[2], -1)


def col2im(
    col: np.ndarray,
    input_shape: tuple[int, ...],
    filter_h: int,
    filter_w: int,
    stride: int = 1,
    pad: int = 0,
) -> np.ndarray:
    """Rows of windows back to images: pixels in more than one are added up.

    Parameters
    ----------
    col : ndarray
        As `im2col` returns it.
    input_shape : tuple of int
        ``(N, C, H, W)`` of the images.
    filter_h, filter_w, stride, pad : int
        As for `im2col`.

    Returns
    -------
    ndarray of float64, shape (N, C, H, W)
        A view of a new array, without the zeros around.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.book.util import col2im, im2col
    >>> x = np.ones((1, 1, 3, 3))
    >>> col2im(im2col(x, 2, 2), x.shape, 2, 2)[0, 0]
    array([[1., 2., 1.],
           [2., 4., 2.],
           [1., 2., 1.]])
    """
    N, C, H, W = input_shape
    lines, pixels = (H + 2 * pad - filter_h) // stride + 1, (W + 2 * pad - filter_w) // stride + 1
    windows = col.reshape(N, lines, pixels, C, filter_h, filter_w)
    # Windows a stride apart end up to ``stride - 1`` beyond the images.
    images = np.zeros((N, C, H + 2 * pad + stride - 1, W + 2 * pad + stride - 1))
    for i in range(filter_h):
        for j in range(filter_w):
            there = images[:, :, i : i + stride * lines : stride, j : j + stride * pixels : stride]
            there += windows[..., i, j].transpose(0, 3, 1, 2)
    return images[:, :, pad : H + pad, pad : W + pad]


class Convolution:
    """Filters that move over images.

    Parameters
    ----------
    W : ndarray, shape (FN, C, FH, FW)
        Filters.  The layer keeps this array, not a copy.
    b : ndarray, shape (FN,), or number
        Biases, kept likewise.
    stride : int, default 1
        Lines, and pixels, from one window to the next.
    pad : int, default 0
        Lines, and pixels, of zeros on each side of the images.

    Attributes
    ----------
    x : ndarray
        Inputs of the last `forward`.
    col, col_W : ndarray
        Windows of the inputs, and filters, as matrices; made when they are asked for.
    dW, db : ndarray
        Gradients with respect to `W` and `b`, from the last `backward`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.book.layers import Convolution
    >>> x = np.arange(9.0).reshape(1, 1, 3, 3)
    >>> Convolution(np.ones((1, 1, 2, 2)), np.zeros(1)).forward(x)
    array([[[[ 8., 12.],
             [20., 24.]]]])
    """

    def __init__(self, W: np.ndarray, b: Any, stride: int = 1, pad: int = 0):
        self.W = W
        self.b = b
        self.stride = stride
        self.pad = pad
        self.x: Any = None
        self.dW: Any = None
        self.db: Any = None
        self._passed: Any = None  # of the last forward pass, what the way back needs

    @property
    def col(self) -> Any:
        """Windows of the inputs of the last `forward`, a row for each."""
        if self.x is None:
            return None
        if isinstance(self._passed, image_calls.Convolved):
            passed = self._passed  # whose images have their zeros
            return im2col(passed.x, passed.W.shape[2], passed.W.shape[3], passed.stride)
        return self._passed[0]

    @property
    def col_W(self) -> Any:
        """Filters of the last `forward`, a column for each; a view, if that can be."""
        if self.x is None:
            return None
        passed = self._passed
        kernels = isinstance(passed, image_calls.Convolved)
        return passed.W.reshape(len(passed.W), -1).T if kernels else passed[1]

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Outputs for images.

        Parameters
        ----------
        x : ndarray, shape (N, C, H, W)
            Images.

        Returns
        -------
        ndarray of float64, shape (N, FN, OH, OW)
            A new array, whose memory is in another order.

        Raises
        ------
        ValueError
            If shapes do not fit.

        Examples
        --------
        See the class.
        """
        found = image_calls.convolve(x, self.W, self.b, self.stride, self.pad)
        if found is not None:
            out, self._passed = found
            self.x = x
            return out
        FN, _, FH, FW = self.W.shape
        N, _, H, W = x.shape
        lines = 1 + int((H + 2 * self.pad - FH) / self.stride)
        pixels = 1 + int((W + 2 * self.pad - FW) / self.stride)
        col = im2col(x, FH, FW, self.stride, self.pad)
        col_W = self.W.reshape(FN, -1).T
        out = (np.dot(col, col_W) + self.b).reshape(N, lines, pixels, -1).transpose(0, 3, 1, 2)
        self.x, self._passed = x, (col, col_W)
        return out

    def backward(self, dout: np.ndarray) -> np.ndarray:
        """Gradient with respect to the images of the last `forward`; sets `dW` and `db`.

        Parameters
        ----------
        dout : ndarray, shape (N, FN, OH, OW)
            Gradient with respect to the outputs.

        Returns
        -------
        ndarray, shape (N, C, H, W)
            A new array, whose memory is in another order.

        Examples
        --------
        >>> import numpy as np
        >>> from fastnn.book.layers import Convolution
        >>> layer = Convolution(np.ones((1, 1, 2, 2)), np.zeros(1))
        >>> y = layer.forward(np.ones((1, 1, 3, 3)))
        >>> layer.backward(np.ones((1, 1, 2, 2)))[0, 0]
        array([[1., 2., 1.],
               [2., 4., 2.],
               [1., 2., 1.]])
        >>> layer.dW, layer.db
        (array([[[[4., 4.],
                 [4., 4.]]]]), array([4.]))
        """
        if isinstance(self._passed, image_calls.Convolved):
            found = image_calls.convolution_gradients(self._passed, dout)
            if found is not None:
                dx, self.dW, db = found
                self.db = db.astype(dout.dtype, copy=False)  # a sum of these alone
                return dx
        FN, C, FH, FW = self.W.shape
        col, col_W = self.col, self.col_W
        rows = dout.transpose(0, 2, 3, 1).reshape(-1, FN)
        self.db = np.sum(rows, axis=0)
        self.dW = np.dot(col.T, rows).transpose(1, 0).reshape(FN, C, FH, FW)
        return col2im(np.dot(rows, col_W.T), self.x.shape, FH, FW, self.stride, self.pad)


class Pooling:
    """The largest pixel of each window of each channel.

    Parameters
    ----------
    pool_h, pool_w : int
        Lines and pixels of a window.
    stride : int, default 2
        Lines, and pixels, from one window to the next.
    pad : int, default 0
        Lines, and pixels, of zeros on each side.  As in the book the size of the outputs is
        computed without it, so that other numbers than 0 nearly always fail.

    Attributes
    ----------
    x : ndarray
        Inputs of the last `forward`.
    arg_max : ndarray of int
        Which pixel of each window is the largest, the first of several; made when it is asked for.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.book.layers import Pooling
    >>> layer = Pooling(2, 2)
    >>> layer.forward(np.array([[[[1.0, 5.0], [2.0, 5.0]]]]))
    array([[[[5.]]]])
    >>> layer.backward(np.array([[[[3.0]]]]))
    array([[[[0., 3.],
             [0., 0.]]]])
    """

    def __init__(self, pool_h: int, pool_w: int, stride: int = 2, pad: int = 0):
        self.pool_h = pool_h
        self.pool_w = pool_w
        self.stride = stride
        self.pad = pad
        self.x: Any = None
        self._passed: Any = None  # of the last forward pass, which pixels were the largest

    @property
    def arg_max(self) -> Any:
        """Which pixel of each window is the largest, for all images, lines, pixels and channels."""
        if isinstance(self._passed, image_calls.Pooled):
            index = self._passed.which.transpose(0, 2, 3, 1)
            return index.astype(np.int64, "C").reshape(-1)
        return self._passed

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Outputs for images.

        Parameters
        ----------
        x : ndarray, shape (N, C, H, W)
            Images.

        Returns
        -------
        ndarray of float64, shape (N, C, OH, OW)
            A new array, whose memory is in another order.

        Raises
        ------
        ValueError
            If shapes do not fit.

        Examples
        --------
        See the class.
        """
        found = image_calls.max_pool(x, self.pool_h, self.pool_w, self.stride, self.pad)
        if found is not None:
            out, self._passed = found
            self.x = x
            return out
        N, C, H, W = x.shape
        lines = int(1 + (H - self.pool_h) / self.stride)
        pixels = int(1 + (W - self.pool_w) / self.stride)
        col = im2col(x, self.pool_h, self.pool_w, self.stride, self.pad)
        col = col.reshape(-1, self.pool_h * self.pool_w)
        index, out = np.argmax(col, axis=1), np.max(col, axis=1)
        out = out.reshape(N, lines, pixels, C).transpose(0, 3, 1, 2)
        self.x, self._passed = x, index
        return out

    def backward(self, dout: np.ndarray) -> np.ndarray:
        """Gradient with respect to the images of the last `forward`.

        Parameters
        ----------
        dout : ndarray, shape (N, C, OH, OW)
            Gradient with respect to the outputs.

        Returns
        -------
        ndarray, shape (N, C, H, W)
            A new array, whose memory is in another order.

        Examples
        --------
        See the class.
        """
        if isinstance(self._passed, image_calls.Pooled):
            dx = image_calls.max_pool_gradient(self._passed, dout)
            if dx is not None:
                return dx
        rows, size, index = dout.transpose(0, 2, 3, 1), self.pool_h * self.pool_w, self.arg_max
        windows = np.zeros((rows.size, size))
        windows[np.arange(index.size), index.flatten()] = rows.flatten()
        col = windows.reshape(rows.shape[0] * rows.shape[1] * rows.shape[2], -1)
        return col2im(col, self.x.shape, self.pool_h, self.pool_w, self.stride, self.pad)
