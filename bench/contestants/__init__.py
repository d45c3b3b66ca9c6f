"""Who does the work: a module per contestant, imported only in the process that runs it.

A module has, for each kind of work that its library can do, a function of the
kind's name with the face of those in `reference`: ``kind(case, given)`` prepares
what a user would prepare once, and returns ``run(steps)``, which begins anew each
time, makes so many steps or calls and returns the answers by name; or it returns
None where the library cannot do the case.  Answers may share memory with the
contestant: the next run may overwrite them.  Whatever a user of the library would
sensibly do for speed is allowed, and each module says what it does.

Its tables ACTIVATIONS, LOSSES and RULES have what it can do by the names that
`formulas` has; a case that needs another name is not asked of it.  A module may
also have ``threads(n)``, which sets what can only be set from inside, and
``NOT_COMPARED``, kinds whose answers cannot be compared
with the reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

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
    "numerical_gradient": NETWORK,
}


@dataclass(frozen=True)
class Contestant:
    """Where a contestant is found: its module here, and the library that it needs."""

    module: str
    library: str


CONTESTANTS = {
    OURS: Contestant("with_fastnn", "fastnn"),
    "numpy": Contestant("with_numpy", "numpy"),
    "scipy sparse": Contestant("with_scipy_sparse", "scipy"),
    "pytorch": Contestant("with_pytorch", "torch"),
    "pytorch compiled": Contestant("with_pytorch_compiled", "torch"),
    JAX: Contestant("with_jax", "jax"),
    "scikit-learn": Contestant("with_scikit_learn", "sklearn"),
    "document": Contestant("as_documented", "numpy"),
}


def is_installed(name: str) -> bool:
    """Whether the contestant's library can be imported; it is not imported for that."""
    return find_spec(CONTESTANTS[name].library) is not None


def load(name: str) -> ModuleType:
    """The contestant's module, and with it its library."""
    return import_module(f"{__name__}.{CONTESTANTS[name].module}")


def run_of(module: Any, case: Case, given: Arrays) -> Run | None:
    """A contestant's run of a case, or None if its library or its tables lack what that needs."""
    make = getattr(module, case.kind, None)
    for part, table in NEEDS[case.kind].items() if make else ():
        if getattr(case, part) not in getattr(module, table):
            return None
    return make(case, given) if make else None
