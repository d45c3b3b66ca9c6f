"""What is told of the benchmarks' times: ratios, shares, goals, and what went wrong."""

import pytest
from stub_results import FACTS, RESULT, RESULTS, measured, row

from bench import ratios, tables
from bench.cases import Goal


def test_a_ratio_is_the_median_within_rounds_of_the_best_setting():
    assert ratios.ratio_to(RESULT, "numpy", 2) == 4
    assert ratios.ratio_to(RESULT, "pytorch", 2) == 0.5
    assert ratios.ratio_to(RESULT, "best", 2) == 0.5
    assert ratios.ratio_to(RESULT, "jax", 2) is None


def test_the_table_has_ratios_below_one_and_the_share_of_the_peak():
    text = tables.text(RESULTS)
    (line,) = (line for line in text.splitlines() if "1e+05" in line)
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == ["a case", "1e+05", "4.00x ±0%", "0.50x ±20%", "2.00x ±25%", "50%"]


def test_beside_a_ratio_is_how_far_off_its_furthest_round_is():
    assert tables.with_spread([2.0, 1.9, 2.2]) == "2.00x ±10%"
    assert tables.with_spread([2.0, 1.9, 40]) == "2.00x ±>99%"
    assert tables.with_spread([2.0]) == "2.00x"
    assert tables.with_spread([]) == ratios.NOTHING
    found = ratios.ratios_of(RESULT, 2)["pytorch"]
    assert found == pytest.approx({"median": 0.5, "lowest": 0.4, "highest": 0.5})


@pytest.mark.parametrize(
    ("gb", "array_bytes", "cache_bytes", "expected"),
    [(3.6, 100, 99, "40%"), (3.6, 100, 100, "in cache"), (3.6, 100, None, "40%"),
     (10, 100, 99, "in cache")],
)  # fmt: skip
def test_arrays_in_caches_have_no_share_of_the_memory(gb, array_bytes, cache_bytes, expected):
    moves = {"flops": 0, "bytes": gb * 1e8, "array_bytes": array_bytes}
    assert ratios.share(RESULT | moves, FACTS | {"cache_bytes": cache_bytes}, 2) == expected
    del moves["array_bytes"]  # as in results of before
    assert ratios.share(RESULT | moves, FACTS, 2) == ("40%" if gb < 9 else "in cache")


def test_the_goals_say_what_is_met():
    cells = [[c.strip() for c in line.strip("|").split("|")]
             for line in tables.goals_table(RESULTS).splitlines()]  # fmt: skip
    assert [(row[1], row[-1]) for row in cells[2:]] == [
        ("numpy", "met"), ("the best of numpy, pytorch, jax", "missed"), ("jax", "not measured"),
    ]  # fmt: skip


def test_what_went_wrong_is_in_the_text():
    found = measured()
    text = tables.text(found)
    assert "jax (1 thr) FAILED: ImportError: jax is out (small)" in text
    assert "scikit-learn (1 thr) DISAGREES: " in text
    assert "pytorch (1 thr) FAILED: its process ended with exit code 3 (steps)" in text


def test_one_sentence_says_that_steps_were_cut():
    assert "fewer steps" not in tables.text(RESULTS)
    rival = row("numpy", 1, 0.5) | {"steps": 30}
    cut = RESULT | {"steps": 100, "contestants": [row("fastnn", 2, 0.1) | {"steps": 100}, rival]}
    text = tables.text(RESULTS | {"cases": [cut, RESULT], "full": True})
    assert "than fastnn in 1 of 2 cases (about as many as fit into 0.3 s)" in text


@pytest.mark.parametrize(
    ("reached", "more", "less"),
    [(None, "not measured", "not measured"), (0.5, "missed", "met, aim too"),
     (1, "missed", "met, aim too"), (1.5, "missed", "met"), (2, "met", "met"),
     (2.5, "met", "missed"), (3, "met, aim too", "missed")],
)  # fmt: skip
def test_a_verdict_knows_whether_more_or_less_is_better(reached, more, less):
    assert ratios.verdict(reached, Goal(2, 3)) == more
    assert ratios.verdict(reached, Goal(2, 1), less_is_better=True) == less
