"""The regression of seed 000: how near it comes, where it fails, and what wider layers gain."""

import os
import re

import numpy as np
import pytest
from matplotlib import image

import fastnn
from fastnn.recipes import quadratic

ERRORS = r" *([\d-]+) hidden units: mean \|y - t\| (\S+) in the training range, (\S+) beyond"


def lines_of(**options):
    lines = []
    net, history = quadratic.run(**options, report=lines.append)
    return lines, net, history


def errors_in(lines):
    found = [match.groups() for line in lines if (match := re.fullmatch(ERRORS, line))]
    return [(layers, float(inside), float(beyond)) for layers, inside, beyond in found]


def test_the_truth_is_that_of_the_document():
    assert quadratic.truth(np.array([[0.5, 0.25], [-2.0, 3.0]])).tolist() == [1.25, 18.0]


@pytest.mark.parametrize("seed", range(4))
def test_it_learns_the_training_range_and_not_what_lies_beyond(seed):
    lines, _, history = lines_of(widths=[], seed=seed)
    assert "MLP([2, 30, 1], activation='relu', output='identity'" in lines[0]
    assert lines[0].endswith("2000 of 100000 points in [0, 1), lr 0.06")
    assert history.steps == 2000
    assert history.loss[-200:].mean() < 0.01  # the document's picture ends near 0
    assert history.loss[:20].mean() > 0.1
    [(layers, inside, beyond)] = errors_in(lines)
    assert layers == "30"
    assert inside < 0.15
    assert beyond > 8 * inside


def test_lines_on_the_way_have_the_mean_loss_of_the_latest_steps():
    lines, _, history = lines_of(widths=[])
    found = [re.fullmatch(r"step +(\d+)  mean loss (\S+)", line) for line in lines[1:-1]]
    assert [int(match[1]) for match in found] == list(range(200, 2001, 200))
    means = history.loss.reshape(10, 200).mean(axis=1)
    assert [match[2] for match in found] == [f"{mean:.4f}" for mean in means]


def test_the_numbers_reported_are_the_distances_from_the_truth():
    lines, net, _ = lines_of(widths=[], range=(-1.0, 2.0), seed=3)
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 2, (100_000, 2))
    inside = np.abs(net.predict(x)[:, 0] - quadratic.truth(x)).mean()
    x0 = np.linspace(-2, 4, 1000, endpoint=False)
    x = np.stack([x0, np.zeros(1000)], axis=1)
    away = np.abs(net.predict(x)[:, 0] - quadratic.truth(x))
    [(_, reported_inside, reported_beyond)] = errors_in(lines)
    assert reported_inside == pytest.approx(inside, rel=0.02)
    assert reported_beyond == pytest.approx(away[(x0 < -1) | (x0 >= 2)].mean(), rel=0.01)


@pytest.mark.parametrize("inputs", [(0.0, 1.0), (-5.0, 5.0)])
def test_wider_layers_follow_the_curve_better(inputs):
    """On the mean of a few seeds; a single one may be lucky or not."""
    errors = []
    for seed in range(4):
        found = errors_in(lines_of(range=inputs, seed=seed)[0])[1:]
        assert [layers for layers, *_ in found] == ["3", "10", "30", "100"]
        errors.append([inside for _, inside, _ in found])
    of_3, of_10, of_30, of_100 = np.mean(errors, axis=0)
    assert of_3 > 1.2 * of_10
    assert of_10 > of_30
    assert of_10 > 1.2 * of_100


def test_the_default_run_shows_that_wider_is_better():
    inside = [error for _, error, _ in errors_in(lines_of()[0])[1:]]
    assert inside == sorted(inside, reverse=True)


@pytest.mark.parametrize("m", [1, 2, 5, 20, 100])
@pytest.mark.parametrize("width", [3, 30, 100, 300])
def test_the_default_rate_converges_on_any_range(m, width):
    lines, _, history = lines_of(hidden=[width], widths=[], range=(-m, m), seed=1)
    assert history.loss[-200:].mean() < 0.3 * history.loss[:200].mean()
    assert lines[0].endswith(f"lr {0.06 / m**3 / max(1, width / 30):.3g}")


@pytest.mark.parametrize("seed", range(4))
def test_the_comparison_converges_at_one_rate(seed):
    lines = lines_of(range=(-1, 1), widths=[10, 100], seed=seed)[0]  # the hardest range
    assert "one hidden layer, 40000 points, lr 0.018:" in lines
    assert all(inside < 0.2 for _, inside, _ in errors_in(lines))
    lines = lines_of(lr=0.01, iterations=100, widths=[3])[0]
    assert "one hidden layer, 2000 points, lr 0.005:" in lines


def test_the_rate_of_the_document_is_too_large_for_the_wide_range():
    with pytest.raises(FloatingPointError, match="the loss became"):
        quadratic.run(range=(-5, 5), lr=0.06, report=lambda line: None)


def test_weights_and_biases_start_with_deviation_1():
    net, _ = quadratic.run(
        hidden=[10_000], widths=[], iterations=1, lr=1e-9, report=lambda line: None
    )
    for name in ("W1", "b1", "W2"):
        assert np.std(net.params[name]) == pytest.approx(1, abs=0.03)


def test_the_same_seed_gives_the_same_run():
    (one, net, _), (two, again, _) = lines_of(seed=5), lines_of(seed=5)
    assert one == two
    assert net.params["W1"].tobytes() == again.params["W1"].tobytes()
    assert lines_of(seed=6)[0] != one


def test_files_and_pictures(tmp_path):
    lines, net, _ = lines_of(iterations=50, widths=[2, 4, 8], out=tmp_path)
    names = ["curves.png", "fit.png", "history.csv", "model.fastnn", "widths.png"]
    assert sorted(os.listdir(tmp_path)) == names
    assert lines[-1] == (
        f"wrote fit.png, widths.png, curves.png, history.csv and model.fastnn in {tmp_path}"
    )
    again = fastnn.load(tmp_path / "model.fastnn")
    assert again.params["W2"].tobytes() == net.params["W2"].tobytes()
    assert image.imread(tmp_path / "fit.png").shape[:2] == (528, 768)


def test_without_widths_there_is_no_comparison(tmp_path):
    lines, *_ = lines_of(iterations=50, widths=[], out=tmp_path)
    assert lines[-1].startswith("wrote fit.png, curves.png")
    assert "widths.png" not in os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"range": (1.0, 1.0)}, ValueError, "range must be two numbers .* got 1 and 1"),
        ({"range": (5, -5)}, ValueError, "the first below the second, got 5 and -5"),
        ({"range": (0, 1e9)}, ValueError, "from -1000 to 1000"),
        ({"range": (0, float("nan"))}, ValueError, "range must be a finite number"),
        ({"range": 3}, TypeError, "range must be two numbers, got 3"),
        ({"range": "01"}, TypeError, "range must be two numbers, got '01'"),
        ({"hidden": [0]}, ValueError, "hidden must be a positive integer, got 0"),
        ({"widths": [3, 0]}, ValueError, "widths must be a positive integer, got 0"),
        ({"iterations": 0}, ValueError, "iterations must be a positive integer, got 0"),
        ({"lr": 0.0}, ValueError, "lr must be a finite number above 0, got 0.0"),
        ({"activation": "step"}, ValueError, "activation must be one of"),
        ({"dtype": "int8"}, ValueError, "dtype must be one of"),
        ({"seed": -1}, ValueError, "seed must be a non-negative integer"),
    ],
)
def test_what_is_refused_is_refused_before_training(options, error, text, tmp_path):
    lines = []
    with pytest.raises(error, match=text):
        quadratic.run(**options, out=tmp_path / "new", report=lines.append)
    assert lines == []
    assert not (tmp_path / "new").exists()
