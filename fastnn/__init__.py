"""Small and medium neural networks, trained fast on a CPU by hand-written Numba kernels."""

import importlib
import importlib.util
import os
from typing import TYPE_CHECKING, Any

from fastnn.compiler.rounding import rounding_to_nearest

if TYPE_CHECKING:
    from fastnn import datasets, losses, schedules
    from fastnn.callbacks import EarlyStopping
    from fastnn.compiler.runtime import set_num_threads, threading_info
    from fastnn.convnet import ConvNet
    from fastnn.differences_of_functions import numerical_gradient
    from fastnn.files import ModelFileError
    from fastnn.history import History
    from fastnn.layers import Conv, Dense, Dropout, MaxPool
    from fastnn.loading import load
    from fastnn.network import MLP, TwoLayerNet
    from fastnn.optimizers import SGD, AdaGrad, Adam, Momentum, Nesterov, RMSprop
    from fastnn.warming import warmup

__version__ = "0.1.0"

__all__ = [
    "MLP",
    "SGD",
    "AdaGrad",
    "Adam",
    "Conv",
    "ConvNet",
    "Dense",
    "Dropout",
    "EarlyStopping",
    "History",
    "MaxPool",
    "ModelFileError",
    "Momentum",
    "Nesterov",
    "RMSprop",
    "TwoLayerNet",
    "datasets",
    "load",
    "losses",
    "numerical_gradient",
    "schedules",
    "set_num_threads",
    "threading_info",
    "warmup",
]

# Where each name is defined.  It is imported when it is first asked for: Numba takes 0.2 s, and
# scikit-learn longer than all of fastnn.
HOMES = {
    "ConvNet": "convnet",
    "EarlyStopping": "callbacks",
    "History": "history",
    "ModelFileError": "files",
    "load": "loading",
    "numerical_gradient": "differences_of_functions",
    "warmup": "warming",
    **dict.fromkeys(("Conv", "Dense", "Dropout", "MaxPool"), "layers"),
    **dict.fromkeys(("MLP", "TwoLayerNet"), "network"),
    **dict.fromkeys(("MLPClassifier", "MLPRegressor"), "estimators"),
    **dict.fromkeys(("SGD", "AdaGrad", "Adam", "Momentum", "Nesterov", "RMSprop"), "optimizers"),
    **dict.fromkeys(("set_num_threads", "threading_info"), "compiler.runtime"),
}


def __getattr__(name: str) -> Any:
    """Import what has this name, or a module of the package."""
    home = HOMES.get(name)
    if home is None and (name.startswith("_") or not _is_module(name)):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with rounding_to_nearest():  # in which the constants of libraries are computed, too
        module = importlib.import_module(f"{__name__}.{home or name}")
    found = globals()[name] = getattr(module, name) if home else module
    return found


def _is_module(name: str) -> bool:
    return name.isidentifier() and importlib.util.find_spec(f"{__name__}.{name}") is not None


def __dir__() -> list[str]:
    """The names that there are; the estimators only with scikit-learn, without which they fail."""
    estimators = importlib.util.find_spec("sklearn") is not None
    found = (name for name, home in HOMES.items() if estimators or home != "estimators")
    return sorted({*globals(), *__all__, *found})


threads = os.environ.get("NUMBA_NUM_THREADS", "1")
if not threads.isdecimal() or int(threads) < 1:  # with which Numba may not start
    import fastnn.compiler.compiling  # noqa: F401  # says so
del threads
