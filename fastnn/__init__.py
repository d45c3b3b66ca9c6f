"""Small and medium neural networks, trained fast on a CPU by hand-written Numba kernels."""

from fastnn import datasets
from fastnn.files import ModelFileError
from fastnn.history import History
from fastnn.network import MLP, TwoLayerNet, load
from fastnn.optimizers import SGD
from fastnn.runtime import set_num_threads, threading_info
from fastnn.warming import warmup

__version__ = "0.1.0"

__all__ = [
    "MLP",
    "SGD",
    "History",
    "ModelFileError",
    "TwoLayerNet",
    "datasets",
    "load",
    "set_num_threads",
    "threading_info",
    "warmup",
]
