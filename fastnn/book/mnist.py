"""The digits, from the data inside fastnn: the book's ``dataset.mnist``."""

from __future__ import annotations

import numpy as np

from fastnn import datasets

__all__ = [
    "download_mnist",
    "img_dim",
    "img_size",
    "init_mnist",
    "load_mnist",
    "np",
    "test_num",
    "train_num",
]

train_num = 60000
test_num = 10000
img_dim = (1, 28, 28)
img_size = 784


def load_mnist(
    normalize: bool = True, flatten: bool = True, one_hot_label: bool = False
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Load MNIST, as `fastnn.datasets.load_mnist` does.

    Parameters
    ----------
    normalize : bool, default True
        Images as float32 from 0.0 to 1.0, not as uint8.
    flatten : bool, default True
        An image is a row of 784 numbers, not of the shape (1, 28, 28).
    one_hot_label : bool, default False
        Labels as float64 rows of ten, not as uint8.

    Returns
    -------
    (x_train, t_train), (x_test, t_test) : tuple of two tuples of ndarray
        60,000 and 10,000 images with their labels.

    Examples
    --------
    >>> from fastnn.book.mnist import load_mnist
    >>> (x_train, t_train), (x_test, t_test) = load_mnist(normalize=True, one_hot_label=True)
    >>> x_train.shape, x_train.dtype, t_test.shape, t_test.dtype
    ((60000, 784), dtype('float32'), (10000, 10), dtype('float64'))
    """
    return datasets.load_mnist(normalize, flatten, one_hot_label)


def download_mnist() -> None:
    """Do nothing: the data is part of fastnn.

    Examples
    --------
    >>> from fastnn.book.mnist import download_mnist
    >>> download_mnist()
    """


def init_mnist() -> None:
    """Do nothing: the data needs no conversion.

    Examples
    --------
    >>> from fastnn.book.mnist import init_mnist
    >>> init_mnist()
    """
