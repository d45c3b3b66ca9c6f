"""The single step of seed 000 comes out to the digits that its printed weights fix."""

import numpy as np
import pytest

from fastnn.recipes import step

# What the document prints, with 8 decimals but for the losses.
PRINTED = {
    "losses": [-2.1743449096365244, -0.08855679170247827],
    "delta2": [-4.71551183, 7.79642068],
    "delta1": [11.93303361, 0.0, 15.30727018],
    "W1": [[0.07254832, 0.77879186, 0.11560885], [-0.56561953, -0.91146877, 0.18428471]],
    "W2": [[-0.34465096, 1.29590068], [0.50553098, 0.66737735], [-0.49678718, 0.97149703]],
    "b1": [-0.22011524, -0.34950915, 1.32295826],
    "b2": [0.63297728, -1.20012769],
}
HALF_A_UNIT = 0.5e-8


@pytest.fixture(scope="module")
def made():
    return step.run(report=lambda line: None)


@pytest.mark.parametrize("name", PRINTED)
def test_numbers_are_the_printed_ones_as_far_as_the_printed_weights_fix_them(name, made):
    allowed = step.doubts()[name] + HALF_A_UNIT
    assert (np.abs(made[name] - PRINTED[name]) <= allowed).all()
    assert allowed.max() < 5e-7  # so six decimals of each are fixed


def test_seven_decimals_of_the_losses_are_fixed(made):
    doubts = step.doubts()["losses"]
    assert (doubts < 1e-7).all()
    assert [f"{loss:.7f}" for loss in made["losses"]] == ["-2.1743449", "-0.0885568"]
    assert [f"{loss:.7f}" for loss in PRINTED["losses"]] == ["-2.1743449", "-0.0885568"]


def test_doubts_are_not_larger_than_what_rounding_can_do():
    """Random weights that round to the printed ones never leave the doubts."""
    doubts, exact = step.doubts(), step.one_step(step.BEFORE, step.LR)
    rng = np.random.default_rng(0)
    most = 0.0
    for _ in range(100):
        weights = {
            name: np.array(value) + rng.choice([-1, 1], np.shape(value)) * HALF_A_UNIT
            for name, value in step.BEFORE.items()
        }
        other = step.one_step(weights, step.LR)
        for name in exact:
            assert (np.abs(other[name] - exact[name]) <= 1.01 * doubts[name] + 1e-15).all()
        most = max(most, float(np.abs(other["losses"] - exact["losses"])[0] / doubts["losses"][0]))
    assert most > 0.5  # nor much smaller


def test_the_lines_name_all_that_the_document_prints():
    lines = []
    step.run(report=lines.append)
    assert lines[1].startswith("loss before the step: -2.1743449")
    assert lines[1].endswith(
        "the document has -2.1743449096365244, of which its weights, with 8 decimals, "
        "leave 2e-08 open"
    )
    assert lines[4].startswith("loss after the step: -0.0885567")
    text = "\n".join(lines)
    for name in ("delta2 = y - d", "delta1", "W1", "b1", "W2", "b2"):
        assert name in text
    assert "W1   0.07254831   0.77879186   0.11560885" in text


def test_another_learning_rate_is_not_compared_with_the_document():
    lines = []
    made = step.run(lr=0.02, report=lines.append)
    assert not any("document" in line for line in lines)
    assert lines[4] == "loss after the step: nan, for y[1] is below 0 and has no logarithm"
    assert made["losses"][0] == step.run(report=lambda line: None)["losses"][0]
    b2 = np.array(step.BEFORE["b2"])
    np.testing.assert_allclose(made["b2"], b2 - 0.02 * made["delta2"], rtol=0, atol=1e-15)


def test_single_precision():
    made = step.run(dtype="float32", report=lambda line: None)
    assert made["W1"].dtype == np.float32
    np.testing.assert_allclose(made["losses"], PRINTED["losses"], rtol=0, atol=1e-5)
