"""Small tools of the book's scripts: its ``common.util``."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn.book.convolution import col2im, conv_output_size, im2col

__all__ = [
    *("col2im", "conv_output_size", "im2col"),
    *("np", "shuffle_dataset", "smooth_curve"),
]

# Where the book has them.
for function in (col2im, conv_output_size, im2col):
    function.__module__ = __name__


def smooth_curve(x: Any) -> np.ndarray:
    """Moving average of a curve over 11 points, with weights of a Kaiser window.

    Parameters
    ----------
    x : array_like
        At least 11 values; the ends are mirrored.

    Returns
    -------
    ndarray
        As many values.

    Examples
    --------
    >>> from fastnn.book.util import smooth_curve
    >>> smooth_curve([1.0] * 12).round(6).tolist() == [1.0] * 12
    True
    """
    width = 11
    mirrored = np.r_[x[width - 1 : 0 : -1], x, x[-1:-width:-1]]
    window = np.kaiser(width, 2)
    smooth = np.convolve(window / window.sum(), mirrored, mode="valid")
    return smooth[width // 2 : len(smooth) - width // 2]


def shuffle_dataset(x: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Put rows of data and their labels in one random order, by ``np.random``.

    Parameters
    ----------
    x : ndarray, shape (N, I) or (N, C, H, W)
        Data.
    t : ndarray
        Labels or targets of the N rows.

    Returns
    -------
    x, t : tuple of ndarray
        New arrays.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.book.util import shuffle_dataset
    >>> x, t = shuffle_dataset(np.array([[1], [2], [3]]), np.array([1, 2, 3]))
    >>> bool((x[:, 0] == t).all())
    True
    """
    order = np.random.permutation(x.shape[0])
    # All dimensions are named, so that data of another number of them is refused.
    return (x[order, :] if x.ndim == 2 else x[order, :, :, :]), t[order]
