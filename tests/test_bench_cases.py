"""The table of cases, and how far answers may be from the reference."""

from dataclasses import replace

import numpy as np
import pytest
from stub_results import SMALL, STEPS

from bench import cases, contestants, formulas, inputs, peak, reference
from bench.contestants import own_calls, with_fastnn, with_numpy, with_numpy_calls


def test_names_are_unique_and_every_kind_is_known():
    assert len({case.name for case in cases.CASES}) == len(cases.CASES)
    for case in cases.CASES:
        assert case.kind in inputs.MAKERS
        assert case.kind in contestants.NEEDS
        assert hasattr(reference, case.kind)
        assert set(case.goals) <= {*case.contestants, cases.BEST}
    assert set(cases.GOALS_OF_CALLS) | set(cases.QUICK_CALLS) <= {case.name for case in cases.CASES}


def test_every_kind_is_one_that_fastnn_has():
    fastnns = contestants.load("fastnn")
    assert all(hasattr(fastnns, kind) for kind in contestants.NEEDS)


def test_the_modules_of_a_contestant_are_one():
    numpys = contestants.load("numpy")
    assert numpys.training is with_numpy.training
    assert numpys.gradient_call is with_numpy_calls.gradient_call


def test_without_scikit_learn_there_is_no_partial_fit(monkeypatch):
    asked = []
    monkeypatch.setattr(own_calls, "find_spec", asked.append)
    case = replace(STEPS, kind="partial_fit_call")
    assert contestants.run_of(contestants.load("fastnn"), case, {}) is None
    assert asked == ["sklearn"]


@pytest.mark.parametrize(
    ("found", "word"),
    [({"y": np.zeros(2)}, "answers are"), ({"y": np.zeros(2), "dz": np.zeros(3)}, "shape")],
)
def test_missing_or_misshapen_answers_are_infinitely_far(found, word):
    given = inputs.given(SMALL)
    expected = reference.activation(SMALL, given)(1)
    distances = reference.differs(SMALL, found, expected, given)
    assert any(word in name and distance == np.inf for name, distance in distances.items())


@pytest.mark.parametrize(
    "name",
    [
        "affine_forward 32x16 batch 32 float32",
        "affine_backward 32x16 batch 32 float32",
        "softmax_cross_entropy 100x10 float32",
        "activation relu 256x512 float32",
        "optimizer adam 40000 float32",
    ],
)
def test_fastnns_kernels_answer_as_the_reference_does(name):
    (case,) = cases.chosen([name])
    given = inputs.given(case)
    found = contestants.run_of(with_fastnn, case, given)(1)
    expected = getattr(reference, case.kind)(case, given)(1)
    assert max(reference.differs(case, found, expected, given).values()) <= 1


@pytest.mark.parametrize("kind", [peak.FORWARD, peak.DELTAS, peak.WEIGHTS])
def test_products_are_repeated_for_the_share_of_the_peak(kind):
    call, operations = peak._call(kind, 8, 64, 8, np.dtype(np.float32))
    call(2)
    assert operations == 2 * 8 * 64 * 8


TABLES = ("ACTIVATIONS", "LOSSES", "RULES")


@pytest.mark.parametrize("module", [with_fastnn, with_numpy], ids=["fastnn", "numpy"])
@pytest.mark.parametrize("table", TABLES)
def test_every_name_that_is_timed_is_one_of_fastnns_and_of_numpys(module, table):
    assert set(getattr(formulas, table)) <= set(getattr(module, table))


@pytest.mark.parametrize(
    "lacks",
    [{"activation": "softest"}, {"loss": "hinge"}, {"optimizer": "newton"}],
    ids=lambda lacks: next(iter(lacks)),
)
def test_a_name_that_a_contestant_lacks_is_no_case_for_it(lacks):
    case = replace(STEPS, **lacks)
    assert contestants.run_of(with_numpy, case, {}) is None
    assert contestants.run_of(with_fastnn, case, {}) is None


def test_no_name_silently_means_another_function():
    array = np.ones(3)
    with pytest.raises(KeyError, match="softest"):
        with_numpy.activate("softest", array, array, array)
    with pytest.raises(KeyError, match="softest"):
        with_numpy.times_slope("softest", array, array, array, array)
