"""The packages `common` and `dataset` of the book "Deep Learning from Scratch", on our kernels.

A module here has the name of a module of the book, and in it the names of the book with their
meaning: live float64 arrays that layers and ``params`` share, updates in place, random numbers
from ``np.random``.  ``python -m fastnn.book SCRIPT.py`` runs a script of the book as it is, and
`answer_imports` does for a notebook what that does for a script.  What a reader's files have and
these modules have not, such as the book's second volume, is left to Python.
"""

from fastnn.book.imports import answer_imports

__all__ = [
    "answer_imports",
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
