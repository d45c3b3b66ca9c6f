"""Tests of the training record, its table and its pictures."""

import copy
import csv
import doctest
import os
import pickle
import stat
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import image, pyplot
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import fastnn
from fastnn import history as history_module
from fastnn import plots
from fastnn.history import History
from fastnn.plots import curves

mpl.use("agg")


def classification(steps=10_000, every=600):
    """A history as training on MNIST gives it."""
    history = History(steps_per_epoch=600)
    step = np.arange(steps)
    noise = np.random.default_rng(0).normal(0, 0.25, steps)
    history.record_steps((0.1 + 2.2 * np.exp(-step / 700)) * np.exp(noise))
    for iteration in [1, *range(every, steps + 1, every)]:
        accuracy = 0.97 - 0.82 * np.exp(-iteration / 900)
        history.record_evaluation(iteration, train_accuracy=accuracy, test_accuracy=accuracy - 0.01)
    return history


def regression(steps=3000):
    history = History(steps_per_epoch=20)
    step = np.arange(steps)
    history.record_steps(np.exp(-step / 200) * np.random.default_rng(0).chisquare(1, steps))
    for iteration in range(500, steps + 1, 500):
        loss = np.exp(-iteration / 200)
        history.record_evaluation(iteration, train_loss=loss, test_loss=2 * loss)
    return history


# ---------------------------------------------------------------- recording


def test_a_new_history_is_empty():
    history = History()
    assert history.steps == 0
    assert history.seconds == 0.0
    assert history.stop_reason == history.hint == ""
    for name in ("loss", "epochs", "train_loss", "test_loss", "train_accuracy", "test_accuracy"):
        value = getattr(history, name)
        assert value.shape == (0,)
        assert value.dtype == np.float64
    assert history.iterations.dtype == np.int64
    assert history.iterations.shape == (0,)


def test_chunks_of_steps_are_joined():
    history = History()
    buffer = np.array([0.5, 0.25])
    history.record_steps(buffer)
    assert history.loss.tolist() == [0.5, 0.25]
    history.record_steps([])
    buffer[:] = 0.125  # the trainer uses its buffer again
    history.record_steps(buffer)
    history.record_steps(np.array([0.75])[::-1])
    assert history.loss.tolist() == [0.5, 0.25, 0.125, 0.125, 0.75]
    assert history.loss.dtype == np.float64
    assert history.steps == 5
    assert history.loss is history.loss  # joined once
    with pytest.raises(ValueError, match="read-only"):
        history.loss[0] = 1.0


@pytest.mark.parametrize("loss", [0.5, [[0.5]]])
def test_losses_of_another_shape_are_refused(loss):
    with pytest.raises(ValueError, match="one dimension"):
        History().record_steps(loss)


def test_evaluations_line_up_with_their_iterations():
    history = History(steps_per_epoch=4)
    history.record_evaluation(0, test_accuracy=0.1)
    history.record_evaluation(2, train_loss=np.float32(0.5), test_accuracy=0.5)
    history.record_evaluation(8, train_loss=np.nan)
    assert history.iterations.tolist() == [0, 2, 8]
    assert history.epochs.tolist() == [0.0, 0.5, 2.0]
    np.testing.assert_array_equal(history.train_loss, [np.nan, 0.5, np.nan])
    np.testing.assert_array_equal(history.test_accuracy, [0.1, 0.5, np.nan])
    assert history.test_loss.size == history.train_accuracy.size == 0


def test_a_measured_nan_is_kept():
    history = History()
    history.record_evaluation(1, train_loss=float("nan"))
    np.testing.assert_array_equal(history.train_loss, [np.nan])


def test_epochs_are_nan_where_their_length_is_not_known():
    history = History()
    history.record_evaluation(3, test_loss=1.0)
    np.testing.assert_array_equal(history.epochs, [np.nan])


@pytest.mark.parametrize("length", [0, -1, float("nan"), float("inf")])
def test_an_impossible_length_of_an_epoch_is_refused(length):
    with pytest.raises(ValueError, match="steps_per_epoch"):
        History(steps_per_epoch=length)


@pytest.mark.parametrize("iteration", [-1, 4, 5])
def test_evaluations_come_in_order(iteration):
    history = History()
    if iteration >= 0:
        history.record_evaluation(5, test_loss=1.0)
    with pytest.raises(ValueError, match=f"iteration {iteration} cannot follow"):
        history.record_evaluation(iteration, test_loss=2.0)
    assert history.test_loss.tolist() == [1.0] * (iteration >= 0)


def test_recording_and_showing_join_nothing():
    history = History()
    for _ in range(1000):
        history.record_steps([0.5])
        history.record_steps([])
        assert "loss 0.5," in repr(history)
    assert len(history._losses.chunks) == 2000
    assert history.loss.size == 1000


def test_a_later_fit_is_counted_on():
    first, second = History(steps_per_epoch=2), History(steps_per_epoch=4)
    first.record_steps([3.0, 2.0, 1.5])
    first.record_evaluation(3, test_accuracy=0.5)
    second.record_evaluation(0, test_accuracy=0.5)
    second.record_steps([1.0, 0.5])
    second.record_evaluation(2, test_accuracy=0.75, train_loss=0.25)
    first.seconds, first.stop_reason = 1.0, "finished"
    second.seconds, second.stop_reason = 2.0, "interrupted"
    first.hint, second.hint = "the first's", "the second's"
    first.extend(second)
    assert first.loss.tolist() == [3.0, 2.0, 1.5, 1.0, 0.5]
    assert first.iterations.tolist() == [3, 5]
    assert first.epochs.tolist() == [1.5, 2.0]
    assert first.test_accuracy.tolist() == [0.5, 0.75]
    np.testing.assert_array_equal(first.train_loss, [np.nan, 0.25])
    assert (first.seconds, first.stop_reason) == (3.0, "interrupted")
    assert first.hint == "the second's"
    assert "second" not in repr(first)
    first.record_steps([0.25, 0.125])
    first.record_evaluation(7, test_accuracy=1.0)
    assert first.epochs.tolist() == [1.5, 2.0, 2.5]
    assert second.loss.tolist() == [1.0, 0.5]
    assert second.iterations.tolist() == [0, 2]


def test_an_evaluation_before_the_first_step_is_kept_where_there_is_none_yet():
    first, second = History(), History()
    first.record_steps([1.0])
    second.record_evaluation(0, test_loss=0.5)
    first.extend(second)
    assert first.iterations.tolist() == [1]


def test_a_history_can_extend_itself():
    history = classification(1200)
    history.extend(history)
    assert history.steps == 2400
    assert history.iterations.tolist() == [1, 600, 1200, 1201, 1800, 2400]
    assert history.epochs[-1] == 4.0


def test_copies_are_independent_and_equal():
    history = classification(1200)
    for other in (copy.deepcopy(history), pickle.loads(pickle.dumps(history))):
        assert other.loss.tolist() == history.loss.tolist()
        assert other.test_accuracy.tolist() == history.test_accuracy.tolist()
        other.record_steps([0.5])
        assert history.steps == 1200


def test_the_repr_is_one_readable_line():
    history = History()
    assert repr(history) == "<History: 0 steps, 0.00 s>"
    history.record_steps([0.123456])
    history.record_steps([])
    assert repr(history) == "<History: 1 step, loss 0.1235, 0.00 s>"
    history.record_evaluation(1, train_loss=0.25, test_loss=0.5)
    assert "train loss 0.25, test loss 0.5, 0.00 s" in repr(history)
    history.record_evaluation(2, train_loss=0.25, train_accuracy=0.97, test_accuracy=0.9)
    history.seconds, history.stop_reason = 2.345, "finished"
    assert repr(history) == (
        "<History: 1 step, loss 0.1235, train accuracy 0.9700, test accuracy 0.9000, "
        "2.35 s, finished>"
    )


# ---------------------------------------------------------------- the table


def test_the_table_has_a_row_per_step_and_keeps_every_bit(tmp_path):
    history = classification(1200)
    history.to_csv(tmp_path / "history.csv")
    table = np.genfromtxt(tmp_path / "history.csv", delimiter=",", names=True)
    assert table.dtype.names == (
        "iteration",
        "loss",
        "train_loss",
        "test_loss",
        "train_accuracy",
        "test_accuracy",
    )
    assert table["iteration"].tolist() == list(range(1, 1201))
    assert table["loss"].tolist() == history.loss.tolist()
    evaluated = ~np.isnan(table["test_accuracy"])
    assert table["iteration"][evaluated].tolist() == history.iterations.tolist()
    assert table["test_accuracy"][evaluated].tolist() == history.test_accuracy.tolist()
    assert np.isnan(table["test_loss"]).all()


def test_the_table_tells_nan_from_not_measured(tmp_path):
    history = History()
    history.record_evaluation(0, test_loss=1.5)
    history.record_steps([np.nan, np.inf])
    history.record_evaluation(2, test_loss=np.nan)
    history.record_evaluation(4, test_loss=0.1)
    history.to_csv(str(tmp_path / "h"))
    assert (tmp_path / "h").read_bytes().decode() == (
        "iteration,loss,train_loss,test_loss,train_accuracy,test_accuracy\n"
        "0,,,1.5,,\n1,nan,,,,\n2,inf,,nan,,\n4,,,0.1,,\n"
    )
    assert os.listdir(tmp_path) == ["h"]


def test_the_table_of_nothing_has_a_header(tmp_path):
    History().to_csv(tmp_path / "h")
    with open(tmp_path / "h", newline="") as file:
        assert len(list(csv.reader(file))) == 1


@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_a_table_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch, name):
    path = tmp_path / "h"
    path.write_text("old")

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, name, fail)
    with pytest.raises(OSError, match="No space") as caught:
        classification(600).to_csv(path)
    assert caught.value.filename == str(path)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["h"]


def test_a_table_in_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        History().to_csv(tmp_path / "runs" / "h.csv")
    assert caught.value.filename == str(tmp_path / "runs" / "h.csv")
    with pytest.raises(OSError, match="directory"):
        History().to_csv(tmp_path)
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs Unix permissions")
def test_a_table_follows_links_and_keeps_modes(tmp_path):
    (tmp_path / "real").touch(mode=0o600)
    (tmp_path / "link").symlink_to("real")
    classification(600).to_csv(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").stat().st_size > 600
    assert stat.S_IMODE((tmp_path / "real").stat().st_mode) == 0o600
    before = os.umask(0o022)
    try:
        History().to_csv(tmp_path / "new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o644


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
def test_a_table_is_written_into_a_pipe_and_does_not_replace_it(tmp_path):
    """So it is with terminals and devices, on which a test had better not try it."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        History().to_csv(pipe)
        assert os.read(reader, 100).startswith(b"iteration,loss")
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


# ---------------------------------------------------------------- pictures


def new_axes(width=8.0, height=5.0):
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure.add_subplot()


def labels(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


@pytest.mark.parametrize(
    ("accuracies", "bottom"),
    [([0.4, 0.9], 0), ([0.98, 0.99], 0.96), ([1, 1], 0.99), ([np.nan, 0.98], 0.96), ([np.nan], 0)],
)
def test_accuracies_near_to_one_are_told_apart(accuracies, bottom):
    record = History()
    record.record_steps([1.0] * len(accuracies))
    for step, accuracy in enumerate(accuracies, 1):
        record.record_evaluation(step, train_accuracy=accuracy)
    ax = new_axes()
    record.plot(ax)
    low, high = ax.figure.axes[1].get_ylim()
    assert low == pytest.approx(bottom)
    assert high > 1


def test_classification_has_losses_at_the_left_and_accuracies_at_the_right():
    ax = new_axes()
    assert classification().plot(ax) is ax
    right = ax.figure.axes[1]
    assert (ax.get_xlabel(), ax.get_ylabel(), right.get_ylabel()) == (
        "iteration",
        "loss",
        "accuracy",
    )
    assert labels(ax) == ["loss of each step", "averaged loss", "train accuracy", "test accuracy"]
    assert ax.get_yscale() == "linear"
    assert right.get_ylim()[0] == 0.0
    assert right.get_ylim()[1] > 1.0
    np.testing.assert_array_equal(right.lines[1].get_xdata(), classification().iterations)


def test_regression_has_all_losses_on_one_logarithmic_axis():
    ax = regression().plot(new_axes())
    assert len(ax.figure.axes) == 1
    assert labels(ax) == ["loss of each step", "averaged loss", "train loss", "test loss"]
    assert ax.get_yscale() == "log"
    bottom, top = ax.get_ylim()
    assert regression().train_loss.min() / 100 < bottom <= regression().train_loss.min() / 10
    assert bottom > 10 * regression().loss.min()  # a single lucky batch does not stretch the axis
    assert top >= regression().loss.max()


def test_evaluations_far_below_the_losses_of_the_steps_are_in_the_picture():
    history = History()
    history.record_steps(np.linspace(1, 0.5, 200))
    history.record_evaluation(100, test_loss=1e-2)
    history.record_evaluation(200, test_loss=1e-4)
    ax = history.plot(new_axes())
    assert ax.get_yscale() == "log"
    assert 0 < ax.get_ylim()[0] <= 1e-5


@pytest.mark.parametrize("name", ["nothing", "all nan"])
def test_a_legend_names_only_what_is_drawn(name):
    assert ODD[name].plot(new_axes()).get_legend() is None


def test_the_legend_covers_no_curve_and_stays_in_the_picture():
    for size in ((8.0, 5.0), (6.4, 4.8)):
        ax = classification().plot(new_axes(*size))
        ax.figure.canvas.draw()
        legend = ax.get_legend().get_window_extent()
        assert legend.y0 >= ax.get_window_extent().y1
        assert ax.figure.bbox.y1 >= legend.y1
        assert legend.x0 >= 0
        assert legend.x1 <= ax.figure.bbox.x1


def test_curves_that_lie_on_each_other_both_show_between_their_markers():
    ax = record_of([], [1, 1000], train_accuracy=0.5, test_accuracy=0.5).plot(new_axes())
    between = drawn(ax)[100:440, 250:550, :3]
    colours = [mpl.colors.to_rgb(line.get_color()) for line in ax.figure.axes[1].lines]
    distances = [np.abs(between - 255 * np.array(c)).sum(axis=-1) for c in [(1, 1, 1), *colours]]
    nearest = np.argmin(distances, axis=0)
    assert (nearest == 1).sum() > 100
    assert (nearest == 2).sum() > 100


def drawn(ax):
    ax.figure.canvas.draw()
    return np.asarray(ax.figure.canvas.buffer_rgba()).astype(int)


def test_the_averages_are_those_of_equal_parts():
    middles, averages = curves._averaged(np.arange(1000.0))
    np.testing.assert_allclose(middles, np.arange(5.5, 1000, 10))
    np.testing.assert_allclose(averages, np.arange(4.5, 1000, 10))
    loss = np.full(1000, np.nan)
    loss[995] = 7.0
    averages = curves._averaged(loss)[1]
    assert averages[-1] == 7.0
    assert np.isnan(averages[:-1]).all()


@pytest.mark.parametrize("steps", [4001, 10_000, 123_457])
def test_many_steps_are_thinned_to_their_extremes(steps):
    loss = np.random.default_rng(0).normal(size=steps)
    loss[steps // 2] = np.nan
    loss[7], loss[-3] = 50.0, -50.0
    iterations, values = curves._thinned(loss)
    assert iterations.size == values.size <= 4000
    assert (np.diff(iterations) >= 0).all()
    assert iterations[0] == 1
    assert np.nanmax(values) == 50.0
    assert np.nanmin(values) == -50.0
    assert not np.isnan(values).any()


def record_of(loss, evaluations=(), **measured):
    history = History()
    history.record_steps(loss)
    for iteration in evaluations:
        history.record_evaluation(iteration, **measured)
    return history


ODD = {
    "nothing": History(),
    "one step": record_of([2.3]),
    "one step, one evaluation": record_of([2.3], [1], train_accuracy=0.1, test_accuracy=0.1),
    "one evaluation": record_of([], [0], test_loss=1.0),
    "all nan": record_of([np.nan] * 500, [500], train_accuracy=np.nan, test_accuracy=np.nan),
    "some nan": record_of([1.0] * 300 + [np.nan] * 300 + [np.inf] * 5, [600], test_loss=np.nan),
    "diverged": record_of(np.exp(np.linspace(0, 709, 3000))),
    "huge": record_of([1.0, 1.7e308, -1.7e308]),
    "huge evaluation": record_of(np.ones(300), [7], test_loss=1.7e308, train_loss=-1.7e308),
    "tiny": record_of([1.0, 5e-324, 1e-310]),
    "zeros": record_of(np.zeros(5000)),
    "negative": record_of(np.linspace(5, -5, 300)),
    "one test accuracy": record_of(np.ones(300), [7], test_accuracy=0.5),
    "a million steps": record_of(np.random.default_rng(0).chisquare(1, 1_000_000)),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_histories_are_drawn_without_a_warning(tmp_path, name):
    ax = new_axes(4, 3)
    ODD[name].plot(ax)
    drawn(ax)
    plots.save_history(ODD[name], tmp_path / "picture")
    assert image.imread(tmp_path / "picture", format="png").ndim == 3


def test_a_single_step_and_evaluation_show():
    ax = ODD["one step, one evaluation"].plot(new_axes())
    for line in (*ax.lines, *ax.figure.axes[1].lines):
        assert line.get_marker() not in ("", "None", None)
    assert ax.get_xlim()[0] < 0 < 1 < ax.get_xlim()[1]


def test_steps_after_divergence_keep_their_place():
    ax = record_of([1.0] * 300 + [np.nan] * 700).plot(new_axes())
    assert ax.get_xlim()[1] > 1000


def test_pyplot_is_left_alone_when_axes_are_given(tmp_path):
    pyplot.close("all")
    mine = pyplot.figure()
    current = mine.add_subplot()
    classification(1200).plot(new_axes())
    plots.save_history(classification(1200), tmp_path / "picture.png")
    assert pyplot.get_fignums() == [mine.number]
    assert pyplot.gcf() is mine
    assert pyplot.gca() is current
    pyplot.close("all")


def test_without_axes_a_pyplot_figure_is_made_but_not_shown(monkeypatch):
    pyplot.close("all")
    monkeypatch.setattr(pyplot, "show", lambda *args, **kwargs: pytest.fail("shown"))
    ax = classification(1200).plot()
    assert pyplot.get_fignums() == [ax.figure.number]
    pyplot.close("all")


def test_the_saved_picture_has_a_panel_for_each_kind(tmp_path):
    plots.save_history(classification(), tmp_path / "wide.tiff", title="Digits")
    plots.save_history(regression(), str(tmp_path / "narrow"))
    wide = image.imread(tmp_path / "wide.tiff", format="png")
    narrow = image.imread(tmp_path / "narrow", format="png")
    assert wide.shape[:2] == (504, 1200)
    assert narrow.shape[0] == 504
    assert narrow.shape[1] < 700
    assert sorted(os.listdir(tmp_path)) == ["narrow", "wide.tiff"]
    with pytest.raises(FileNotFoundError):
        plots.save_history(regression(), tmp_path / "runs" / "picture.png")


def test_pictures_are_saved_in_other_threads(tmp_path):
    failures = []

    def save(number):
        try:
            plots.save_history(classification(1200), tmp_path / f"{number}.png")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=save, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len({(tmp_path / f"{n}.png").read_bytes() for n in range(2)}) == 1


def test_without_matplotlib_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r'pip install "fastnn\[plots\]"'):
        classification(1200).plot()
    with pytest.raises(ImportError, match=r'pip install "fastnn\[plots\]"'):
        plots.save_history(classification(1200), tmp_path / "picture.png")


def test_matplotlib_is_imported_only_for_a_picture():
    code = (
        "import sys, fastnn.history, fastnn.plots; fastnn.history.History().record_steps([1]);"
        "sys.exit('matplotlib' in sys.modules)"
    )
    root = str(Path(fastnn.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": root}, timeout=60
    )
    assert done.returncode == 0


@pytest.mark.parametrize("module", [history_module, curves])
def test_the_examples_in_the_docstrings_are_right(module):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert doctest.testmod(module).failed == 0


def test_a_look_at_an_evaluation_takes_as_long_after_many():
    """Early stopping looks after each; the arrays are made longer, not anew."""
    history = History()
    for step in range(1, 50):
        history.record_evaluation(step, test_loss=1 / step, train_loss=None if step % 2 else 0.5)
        losses = history.test_loss
        assert losses.tolist() == [1 / n for n in range(1, step + 1)]
    first = history.test_loss
    history.record_evaluation(50, test_loss=2.0)
    assert first.size == 49
    assert np.shares_memory(history.test_loss, history.test_loss)
    assert np.isnan(history.train_loss[::2]).all()
    assert history.iterations.tolist() == list(range(1, 51))
