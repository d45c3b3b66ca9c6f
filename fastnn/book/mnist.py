"""The digits, from the data inside fastnn: the book's ``dataset.mnist``."""

from __future__ import annotations

import gzip
import os
import pickle
import urllib.request

import numpy as np

from fastnn import datasets

__all__ = [
    "dataset_dir",
    "download_mnist",
    "gzip",
    "img_dim",
    "img_size",
    "init_mnist",
    "key_file",
    "load_mnist",
    "np",
    "os",
    "pickle",
    "save_file",
    "test_num",
    "train_num",
    "url_base",
    "urllib",
]

# Where the book has its data from, and where it keeps it.  Nothing is read or written there.
url_base = "https://ossci-datasets.s3.amazonaws.com/mnist/"
key_file = {
    "train_img": "train-images-idx3-ubyte.gz",
    "train_label": "train-labels-idx1-ubyte.gz",
    "test_img": "t10k-images-idx3-ubyte.gz",
    "test_label": "t10k-labels-idx1-ubyte.gz",
}
dataset_dir = os.path.dirname(os.path.abspath(datasets.__file__))
save_file = dataset_dir + "/mnist.pkl"

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


def _change_one_hot_label(X: np.ndarray) -> np.ndarray:
    """Rows of ten from labels, which the book's readers import."""
    return np.eye(10)[X.reshape(-1)]
