"""The data sets that come with fastnn."""

from fastnn.datasets.mnist import load_mnist

__all__ = ["load_mnist"]
