"""Small and medium neural networks, trained fast on a CPU by hand-written Numba kernels."""

from typing import Any

from fastnn.compiler.rounding import rounding_to_nearest

with rounding_to_nearest():  # in which the constants of kernels are computed
    import fastnn.compiler.compiling  # noqa: F401  # first: it says why Numba cannot be imported
    from fastnn import datasets, schedules
    from fastnn.callbacks import EarlyStopping
    from fastnn.compiler.runtime import set_num_threads, threading_info
    from fastnn.differences_of_functions import numerical_gradient
    from fastnn.files import ModelFileError
    from fastnn.history import History
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
    "EarlyStopping",
    "History",
    "ModelFileError",
    "Momentum",
    "Nesterov",
    "RMSprop",
    "TwoLayerNet",
    "datasets",
    "load",
    "numerical_gradient",
    "schedules",
    "set_num_threads",
    "threading_info",
    "warmup",
]

ESTIMATORS = ("MLPClassifier", "MLPRegressor")


def __getattr__(name: str) -> Any:
    """Import scikit-learn, which takes longer than all of fastnn, when it is asked for."""
    if name in ESTIMATORS:
        from fastnn import estimators

        return getattr(estimators, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *ESTIMATORS])
