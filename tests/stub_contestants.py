"""Contestants for the tests of the benchmarks, loaded in their worker processes."""

import os
from types import SimpleNamespace

from bench import formulas, reference


def load(name):
    """The reference itself as a contestant, and some that go wrong."""
    if name == "jax":
        raise ImportError("jax is out")
    return SimpleNamespace(
        activation={"scikit-learn": off}.get(name, right),
        image_job=reference.image_job,
        training={"pytorch": dies}.get(name, reference.training),
        ACTIVATIONS=formulas.ACTIVATIONS,
        LOSSES=formulas.LOSSES,
        RULES=formulas.RULES,
        NOT_COMPARED={"activation"} if name == "document" else set(),
    )


def right(case, given):
    return None if case.name == "nobody else" else reference.activation(case, given)


def off(case, given):
    run = reference.activation(case, given)
    return lambda calls: {name: 1.01 * answer for name, answer in run(calls).items()}


def dies(case, given):
    run = reference.training(case, given)

    def run_or_die(steps):
        if steps > case.check_steps:
            os._exit(3)
        return run(steps)

    return run_or_die
