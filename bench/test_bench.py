"""The MNIST step by contestant under pytest-benchmark: `pytest bench --benchmark-only`.

A quick look with pytest-benchmark's own statistics and history; the figures that are quoted come
from `bench.training`, where contestants take turns in processes of their own. Without
`--benchmark-only` each contestant runs once and only its answers are tested.
"""

import pytest

from bench import agreement, inputs
from bench.cases import CASES
from bench.rivals import CONTESTANTS

STEPS = 100
ROUNDS = 10
MNIST_CASES = [case for case in CASES if case.name in ("mnist-50", "mnist-50-sigmoid")]
SMALL_CASES = [case for case in CASES if case.data == "mnist" and case.flops < 100e6]


@pytest.fixture(scope="module")
def mnist():
    return inputs.rows_and_labels("mnist", 784)


def contestant_for(case, name):
    if not CONTESTANTS[name].is_installed():
        pytest.skip(f"{CONTESTANTS[name].library} is not installed")
    start = inputs.start_params(case.layer_sizes)
    return CONTESTANTS[name](case.layer_sizes, case.activation, start)


@pytest.mark.filterwarnings("default")  # other libraries' warnings are not ours to mend
@pytest.mark.parametrize("name", ["fastnn", "numpy"])
@pytest.mark.parametrize("case", MNIST_CASES, ids=lambda case: case.name)
def test_hundred_steps(case, name, mnist, benchmark):
    x, t = mnist
    batches = inputs.draw_batches(STEPS, case.batch)
    contestant = contestant_for(case, name)
    assert_right_answers(contestant, case, x, t, batches[: case.check_steps])
    benchmark.group = f"{STEPS} steps of {case.title.rsplit(',', 1)[0]}"
    benchmark.pedantic(
        contestant.run, args=(x, t, batches, case.lr), rounds=ROUNDS, warmup_rounds=1
    )


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", [name for name, c in CONTESTANTS.items() if c.same_batches])
@pytest.mark.parametrize("case", SMALL_CASES, ids=lambda case: case.name)
def test_contestant_agrees_with_float64(case, name):
    x, t = inputs.rows_and_labels("dense", case.layer_sizes[0], rows=2000)
    batches = inputs.draw_batches(3, case.batch, rows=len(x))
    contestant = contestant_for(case, name)
    assert_right_answers(contestant, case, x, t, batches)


def assert_right_answers(contestant, case, x, t, batches):
    start = contestant.params
    losses, params = agreement.reference(
        case.layer_sizes, case.activation, start, x, t, batches, case.lr
    )
    found = contestant.run(x, t, batches, case.lr)
    assert agreement.loss_error(found, losses) <= agreement.LOSS_TOLERANCE
    assert agreement.params_error(contestant.params, params, start) <= agreement.PARAMS_TOLERANCE
