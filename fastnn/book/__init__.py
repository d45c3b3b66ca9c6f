"""The packages `common` and `dataset` of the book "Deep Learning from Scratch", on our kernels.

A module here has the name of a module of the book, and in it the names of the book with their
meaning: live float64 arrays that layers and ``params`` share, updates in place, random numbers
from ``np.random``.  ``python -m fastnn.book SCRIPT.py`` runs a script of the book as it is.  There
is no convolution.
"""

__all__ = [
    "functions",
    "gradient",
    "layers",
    "mnist",
    "multi_layer_net",
    "multi_layer_net_extend",
    "optimizer",
    "trainer",
    "util",
]
