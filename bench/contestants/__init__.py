"""Who does the work: modules of each contestant, imported only in the process that runs it.

They have, for each kind of work that its library can do, a function of the
kind's name with the face of those in `reference`: ``kind(case, given)`` prepares
what a user would prepare once, and returns ``run(steps)``, which begins anew each
time, makes so many steps or calls and returns the answers by name; or it returns
None where the library cannot do the case.  Answers may share memory with the
contestant: the next run may overwrite them.  Whatever a user of the library would
sensibly do for speed is allowed, and each module says what it does.

Their tables ACTIVATIONS, LOSSES and RULES have what the library can do by the names that
`formulas` has; a case that needs another name is not asked of it.  They may
also have ``threads(n)``, which sets what can only be set from inside, and
``NOT_COMPARED``, kinds whose answers cannot be compared
with the reference.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import numpy as np

from bench.cases import Case
from bench.reference import Arrays, Run

OURS, JAX = "fastnn", "jax"


# The parts of a case that are names, by the tables that must have them, for each kind of work.
NETWORK = {"activation": "ACTIVATIONS", "loss": "LOSSES"}
TRAINING = {**NETWORK, "optimizer": "RULES"}
NEEDS: dict[str, dict[str, str]] = {
    "affine_forward": {},
    "affine_backward": {},
    "softmax_cross_entropy": {},
    "activation": {"activation": "ACTIVATIONS"},
    "optimizer": {"optimizer": "RULES"},
    "training": TRAINING,
    "mnist_job": TRAINING,
    "prediction": NETWORK,
    # Networks of images are of ReLU, cross entropy and Adam alone.
    "image_training": {},
    "image_prediction": {},
    "image_job": {},
    "numerical_gradient": NETWORK,
    "loss_call": NETWORK,
    "accuracy_call": NETWORK,
    "gradient_call": NETWORK,
    "step_call": TRAINING,
    "partial_fit_call": TRAINING,
    "book_loop": {},
    "book_program": {},
    "layers_loop": {},
    "neurons_loop": {},
}


@dataclass(frozen=True)
class Contestant:
    """Where a contestant is found: its modules here, and the library that it needs."""

    modules: tuple[str, ...]
    library: str


CONTESTANTS = {
    OURS: Contestant(("with_fastnn", "own_calls", "own_images"), "fastnn"),
    "numpy": Contestant(("with_numpy", "with_numpy_calls", "with_numpy_images"), "numpy"),
    "scipy sparse": Contestant(("with_scipy_sparse",), "scipy"),
    "pytorch": Contestant(("with_pytorch", "with_pytorch_calls", "with_pytorch_images"), "torch"),
    "pytorch channels last": Contestant(("with_pytorch_channels_last",), "torch"),
    "pytorch compiled": Contestant(("with_pytorch_compiled",), "torch"),
    JAX: Contestant(("with_jax", "with_jax_calls", "with_jax_images"), "jax"),
    "scikit-learn": Contestant(("with_scikit_learn",), "sklearn"),
    "document": Contestant(("as_documented", "images_as_documented"), "numpy"),
}


def is_installed(name: str) -> bool:
    """Whether the contestant's library can be imported; it is not imported for that."""
    return find_spec(CONTESTANTS[name].library) is not None


def load(name: str) -> SimpleNamespace:
    """What the contestant's modules have, and with them its library."""
    modules = [import_module(f"{__name__}.{each}") for each in CONTESTANTS[name].modules]
    found = (item for module in modules for item in vars(module).items())
    return SimpleNamespace(**{key: value for key, value in found if not key.startswith("_")})


def run_of(module: Any, case: Case, given: Arrays) -> Run | None:
    """A contestant's run of a case, or None if its library or its tables lack what that needs."""
    make = getattr(module, case.kind, None)
    for part, table in NEEDS[case.kind].items() if make else ():
        if getattr(case, part) not in getattr(module, table):
            return None
    return make(case, given) if make else None


def repeated(answers: Callable[[Any], Arrays], call: Callable[..., Any], *arguments: Any) -> Run:
    """A run that makes one and the same call again and again, and says what the last one gave."""

    def run(calls: int) -> Arrays:
        for _ in range(calls):
            found = call(*arguments)
        return answers(found)

    return run


def number(name: str) -> Callable[[Any], Arrays]:
    """Answers of a call that gives a number."""
    return lambda found: {name: np.array([found])}
