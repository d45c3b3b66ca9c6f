"""The table of cases, and how far answers may be from the reference."""

import numpy as np
import pytest
from stub_results import SMALL

from bench import cases, inputs, reference


def test_names_are_unique_and_every_kind_is_known():
    assert len({case.name for case in cases.CASES}) == len(cases.CASES)
    for case in cases.CASES:
        assert case.kind in inputs.MAKERS
        assert hasattr(reference, case.kind)


@pytest.mark.parametrize(
    ("found", "word"),
    [({"y": np.zeros(2)}, "answers are"), ({"y": np.zeros(2), "dz": np.zeros(3)}, "shape")],
)
def test_missing_or_misshapen_answers_are_infinitely_far(found, word):
    given = inputs.given(SMALL)
    expected = reference.activation(SMALL, given)(1)
    distances = reference.differs(SMALL, found, expected, given)
    assert any(word in name and distance == np.inf for name, distance in distances.items())
