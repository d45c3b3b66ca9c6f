"""The table of cases under pytest-benchmark: `pytest bench --benchmark-only`.

A quick look with pytest-benchmark's own statistics and history; the figures that are quoted come
from `python -m bench`, where contestants take turns in processes of their own. Without
`--benchmark-only` each contestant runs once and only its answers are tested.
"""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest

from bench import contestants, inputs, reference
from bench.cases import CASES

ROUNDS = 10
STEPS = 100
PATIENCE = 2e8  # multiply-adds of a call or step; larger ones are for `python -m bench`
GROUPS = ("kernels: affine with ReLU", "kernels: loss", "kernels: activations",
          "kernels: optimisers", "training steps", "prediction",
          "convolution", "calls: ")  # fmt: skip


def modest(case):
    """A case with few steps and rows, if it is small enough for this."""
    if not case.group.startswith(GROUPS) or case.flops > PATIENCE or case.batch > 10_000:
        return None
    steps = min(case.steps, STEPS)
    return replace(case, steps=steps, rows=min(case.rows, 10_000))


MODEST = [case for case in map(modest, CASES) if case]


@lru_cache(maxsize=1)
def arrays(case_name):
    (case,) = (case for case in MODEST if case.name == case_name)
    return inputs.given(case)


@pytest.mark.filterwarnings("default")  # other libraries' warnings are not ours to mend
@pytest.mark.parametrize("name", ["fastnn", "numpy"])
@pytest.mark.parametrize("case", MODEST, ids=lambda case: case.name)
def test_answers_and_time(case, name, benchmark):
    given = arrays(case.name)
    run = contestants.run_of(contestants.load(name), case, given)
    if run is None:
        pytest.skip(f"{name} cannot do this")
    answers = {key: np.array(value) for key, value in run(case.check_steps).items()}
    expected = getattr(reference, case.kind)(case, given)(case.check_steps)
    assert max(reference.differs(case, answers, expected, given).values()) <= 1
    benchmark.group = case.name
    benchmark.pedantic(run, args=(case.steps or 1,), rounds=ROUNDS, warmup_rounds=1)
