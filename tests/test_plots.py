"""The pictures of fits and of digits: what they show, and that nothing covers anything else."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import image, pyplot
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.testing import assert_allclose

import fastnn
from fastnn import plots
from fastnn.plots import digits

mpl.use("agg")


def new_axes(width=6.0, height=4.5):
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure.add_subplot()


def drawn(ax):
    ax.figure.canvas.draw()
    return np.asarray(ax.figure.canvas.buffer_rgba()).astype(int)


def words(ax):
    return [text.get_text() for text in ax.texts]


rng = np.random.default_rng(0)
IMAGES = rng.random((30, 16))
CLASSES = np.arange(30) % 3
OUTPUTS = rng.dirichlet(np.ones(3), 30)
FILTERS = rng.random((8, 1, 4, 4))
CONV_NET = fastnn.ConvNet((1, 4, 4), [fastnn.Conv(3, 2), fastnn.Dense(2)], seed=0)

DRAWINGS = {
    "fit": lambda ax: plots.fit([1, 0, 2], [1, 0, 4], [0, 0, 5], ax, trained=(0, 1)),
    "confusion": lambda ax: plots.confusion(CLASSES, OUTPUTS.argmax(axis=1), ax),
    "misread": lambda ax: plots.misread(IMAGES, CLASSES, OUTPUTS, ax),
    "hidden weights": lambda ax: plots.hidden_weights(IMAGES.T, ax),
    "filters": lambda ax: plots.filters(IMAGES.reshape(30, 1, 4, 4)[:8], ax, before=FILTERS),
    "feature maps": lambda ax: plots.feature_maps(CONV_NET, IMAGES[0], ax),
}
every_drawing = pytest.mark.parametrize("draw", DRAWINGS.values(), ids=DRAWINGS)


# ---- all of them


@every_drawing
def test_axes_that_are_given_are_used_and_returned(draw):
    pyplot.close("all")
    ax = new_axes()
    assert draw(ax) is ax
    assert pyplot.get_fignums() == []
    assert len(np.unique(drawn(ax).reshape(-1, 4), axis=0)) > 10


@every_drawing
def test_without_axes_a_pyplot_figure_is_made(draw):
    pyplot.close("all")
    ax = draw(None)
    assert pyplot.get_fignums() == [ax.figure.number]
    pyplot.close("all")


@every_drawing
def test_without_matplotlib_the_error_says_what_to_install(draw, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r'pip install "fastnn\[plots\]"'):
        draw(None)


def test_matplotlib_is_not_imported_with_the_recipes():
    code = (
        "import sys; from fastnn.recipes import chain, gradcheck, mnist, quadratic, sine, step;"
        "sys.exit('matplotlib' in sys.modules)"
    )
    root = str(Path(fastnn.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": root}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0


@every_drawing
def test_all_words_have_glyphs_and_are_in_the_picture(draw):
    """A missing glyph is a warning, and warnings are errors here."""
    ax = draw(new_axes(8, 6))
    drawn(ax)
    whole = ax.figure.bbox
    for text in [*ax.texts, ax.title]:
        box = text.get_window_extent()
        assert box.x0 >= whole.x0
        assert box.x1 <= whole.x1
        assert box.y0 >= whole.y0
        assert box.y1 <= whole.y1
        assert text.get_text().isprintable()


# ---- fits


def test_a_fit_is_drawn_in_the_order_of_its_inputs():
    ax = plots.fit([1, 0, 2], [10, 0, 20], [11, 1, 21], new_axes())
    truth, network = ax.lines
    assert truth.get_xdata().tolist() == network.get_xdata().tolist() == [0, 1, 2]
    assert truth.get_ydata().tolist() == [0, 10, 20]
    assert network.get_ydata().tolist() == [1, 11, 21]
    assert network.get_linestyle() == "None"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["truth", "network"]


def test_many_outputs_are_a_line_and_the_training_range_is_shaded():
    x = np.linspace(0, 2, 1000)
    ax = plots.fit(x, x, x, new_axes(), trained=(0, 1), legend=False)
    assert ax.lines[1].get_linestyle() == "-"
    assert ax.get_legend() is None
    pixels, (left, right) = drawn(ax), ax.transData.transform([(0.5, 1.9), (1.5, 0.1)]).astype(int)
    height = pixels.shape[0]
    assert pixels[height - left[1], left[0], :3].tolist() != [255, 255, 255]
    assert pixels[height - right[1], right[0], :3].tolist() == [255, 255, 255]


def test_the_legend_of_a_fit_covers_no_curve():
    ax = plots.fit([0, 1], [0, 1], [0, 1], new_axes(), trained=(0, 1))
    drawn(ax)
    assert ax.get_legend().get_window_extent().y0 >= ax.get_window_extent().y1


def test_columns_are_drawn_as_their_numbers_are():
    column = np.array([[1.0], [0.0], [2.0]])
    ax = plots.fit(column, column * 10, column + np.nan, new_axes())
    assert ax.lines[0].get_xydata().tolist() == [[0, 0], [1, 10], [2, 20]]
    assert np.isnan(ax.lines[1].get_ydata()).all()


# ---- curves


def many_steps(steps=100_000):
    """Squared errors of single rows, whose average falls by a factor of 10,000."""
    rng, record = np.random.default_rng(1), fastnn.History()
    record.record_steps(10 ** np.linspace(0, -4, steps) * rng.chisquare(1, steps))
    return record


def test_losses_too_many_to_tell_apart_are_a_band_on_a_logarithmic_axis():
    record = many_steps()
    ax = plots.history(record, new_axes())
    assert ax.get_yscale() == "log"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "loss of 8 in 10 steps", "averaged loss",
    ]  # fmt: skip
    [band] = ax.collections
    step, edge = band.get_paths()[0].vertices.T
    part = record.loss[50_000:51_000]
    at = np.sort(edge[np.abs(step - 50_500) < 1])
    assert_allclose(at, np.quantile(part, [0.1, 0.9]), rtol=1e-6)


def test_the_picture_of_many_losses_is_mostly_white():
    """It was grey from the mean loss down to the axis."""
    ax = plots.history(many_steps(), new_axes())
    pixels = drawn(ax)
    height = pixels.shape[0]
    box = ax.get_window_extent()
    bottom, left = height - int(box.y0), int(box.x0)
    white = (pixels[height - int(box.y1) : bottom, left : int(box.x1), :3] == 255).all(axis=-1)
    assert white.mean() > 0.6
    assert white[-8:-2].mean() > 0.95  # the band does not reach down to the axis


def test_a_band_of_losses_with_zeros_and_nan_is_drawn():
    record = many_steps(5000)
    loss = record.loss.copy()
    loss[100:400:2], loss[1000:1200] = 0, np.nan
    odd = fastnn.History()
    odd.record_steps(loss)
    drawn(plots.history(odd, new_axes()))


# ---- digits


def test_confusion_has_the_counts_in_their_places():
    t, y = [0, 0, 1, 2, 2, 2], [0, 1, 1, 0, 0, 2]
    ax = plots.confusion(t, y, new_axes())
    found = {tuple(text.get_position()): text.get_text() for text in ax.texts}
    # (what the network says, the true class)
    assert found == {(0, 0): "1", (1, 0): "1", (1, 1): "1", (0, 2): "2", (2, 2): "1"}
    assert ax.get_title() == "3 of 6 right; the errors are coloured"
    shown = ax.images[0].get_array()
    assert np.ma.getmaskarray(shown).tolist() == np.eye(3, dtype=bool).tolist()
    assert shown[2, 0] == 2


def test_numbers_on_dark_squares_are_white():
    ax = plots.confusion([0] * 10 + [1] * 3, [1] * 10 + [0] * 3, new_axes())
    assert {text.get_text(): text.get_color() for text in ax.texts} == {"10": "white", "3": "black"}


def test_confusion_of_many_classes_has_no_numbers():
    ax = plots.confusion(np.arange(21), np.arange(21)[::-1], new_axes())
    assert words(ax) == []
    drawn(ax)


def test_confusion_of_as_many_classes_as_there_may_be():
    ax = plots.confusion([0, 999], [0, 999], new_axes())
    assert ax.images[0].get_array().shape == (1000, 1000)


def test_confusion_without_an_error():
    assert words(plots.confusion([0, 1], [0, 1], new_axes())) == ["1", "1"]


def test_misread_images_come_the_surest_first():
    x = np.arange(16.0).reshape(4, 4)
    y = [[0.6, 0.4], [0.1, 0.9], [0.3, 0.7], [0.99, 0.01]]
    ax = plots.misread(x, [1, 1, 0, 1], y, new_axes())
    assert words(ax) == ["1 → 0  99 %", "0 → 1  70 %", "1 → 0  60 %"]
    assert ax.get_title().startswith("the 3 errors: ")
    sheet = ax.images[0].get_array()
    place = digits.GAP + digits.CAPTION
    tile = sheet[place : place + 2, digits.GAP : digits.GAP + 2]
    assert tile.tolist() == [[12, 13], [14, 15]]
    ax = plots.misread(x, [1, 1, 0, 1], y, new_axes(), most=2)
    assert words(ax) == ["1 → 0  99 %", "0 → 1  70 %"]
    assert ax.get_title().startswith("the 2 surest of 3 errors: ")


def test_misread_images_may_have_the_shape_of_a_convnet():
    shapes = (30, 16), (30, 1, 4, 4)
    row, image = (plots.misread(IMAGES.reshape(s), CLASSES, OUTPUTS, new_axes()) for s in shapes)
    assert words(row) == words(image)
    assert_allclose(row.images[0].get_array(), image.images[0].get_array())


def test_nothing_misread():
    ax = plots.misread([[0.0]], [0], [[0.8, 0.2]], new_axes())
    assert ax.get_title() == "no error"
    assert not ax.images


def test_captions_of_misread_images_do_not_touch():
    x, y = np.zeros((40, 784)), np.tile([1.0, 0.0], (40, 1))
    ax = plots.misread(x, np.ones(40, int), y, new_axes(8.4, 7.0))
    drawn(ax)
    boxes = [text.get_window_extent() for text in ax.texts]
    for one, other in itertools.pairwise(boxes[:8]):
        assert one.x1 + 5 < other.x0


def test_hidden_weights_are_white_at_zero_and_in_the_order_of_the_units():
    W = np.array([[1.0, -2.0], [0, 0], [0, 0], [0.5, 0]])
    ax = plots.hidden_weights(W, new_axes())
    picture = ax.images[0]
    low, high = picture.get_clim()
    assert low == -high < 0
    side = 2 + digits.GAP
    tiles = [picture.get_array()[4:6, 4 + k * side : 6 + k * side].tolist() for k in range(2)]
    assert tiles == [[[1, 0], [0, 0.5]], [[-2, 0], [0, 0]]]
    assert np.abs(np.array(picture.cmap(0.5)[:3]) - 1).max() < 0.05
    ax = plots.hidden_weights(np.ones((4, 7)), new_axes(), most=3)
    assert ax.get_title() == "weights of the first 3 of 7 hidden units, each as an image"


def test_weights_that_are_all_zero_are_drawn():
    drawn(plots.hidden_weights(np.zeros((4, 3)), new_axes()))


def test_images_must_be_square():
    with pytest.raises(ValueError, match="images must be square, got 6 pixels"):
        plots.hidden_weights(np.zeros((6, 2)), new_axes())


@pytest.mark.parametrize(
    ("images", "columns"), [(1, 1), (2, 2), (3, 2), (7, 3), (40, 8), (50, 10), (100, 10)]
)
def test_a_sheet_is_not_higher_than_wide_and_well_filled(images, columns):
    assert digits._columns(images) == columns
    for count in range(1, 101):
        across = digits._columns(count)
        rows = -(-count // across)
        assert rows <= across <= max(2, 2 * rows)


# ---- wrong arguments

THREE = [0, 1, 2]
ONE_HOT = np.eye(3)
SQUARE = np.zeros((3, 4))


@pytest.mark.parametrize(
    ("draw", "arguments", "text"),
    [
        (plots.confusion, (THREE, ONE_HOT), "y must have shape (3,), got (3, 3)"),
        (plots.confusion, (ONE_HOT, THREE), "t must have shape (N,), got (3, 3)"),
        (plots.confusion, (THREE, [0, 1]), "y must have shape (3,), got (2,)"),
        (plots.confusion, (THREE, [0, 1, -1]), "y must hold class numbers 0, 1, 2 ..., got -1"),
        (plots.confusion, ([0, 0.5, 1], THREE), "t must hold class numbers 0, 1, 2 ..., got 0.5"),
        (plots.confusion, (THREE, [0, 1, np.nan]), "y must be finite, got nan"),
        (plots.confusion, ([0, 10**9, 1], THREE), "t must hold class numbers below 1000, got 1000"),
        (plots.confusion, (THREE, [0, 1, 1000]), "y must hold class numbers below 1000, got 1000"),
        (plots.confusion, ([1e300], [0]), "t must hold class numbers below 1000, got 1e+300"),
        (plots.confusion, (np.array([2**64 - 1], np.uint64), [0]), "t must hold class numbers be"),
        (plots.confusion, ([], []), "t must not be empty, got shape (0,)"),
        (plots.confusion, (["a"], [0]), "t must hold real numbers"),
        (plots.fit, (ONE_HOT, THREE, THREE), "x must have shape (N,), got (3, 3)"),
        (plots.fit, (THREE, 1, THREE), "t must have shape (3,), got ()"),
        (plots.fit, (THREE, THREE, [[1], [2]]), "y must have shape (3, 1), got (2, 1)"),
        (plots.fit, ([0, 1, np.inf], THREE, THREE), "x must be finite, got inf"),
        (plots.fit, ([], [], []), "x must not be empty, got shape (0,)"),
        (plots.misread, (SQUARE, THREE, THREE), "y must have shape (3, classes), got (3,)"),
        (plots.misread, (SQUARE, THREE, ONE_HOT * np.nan), "y must be finite, got nan"),
        (plots.misread, (SQUARE * np.nan, THREE, ONE_HOT), "x must be finite, got nan"),
        (plots.misread, (SQUARE, [0, 1], ONE_HOT), "t must be labels of shape (3,)"),
        (plots.misread, (SQUARE, [0, 1, 3], ONE_HOT), "t must hold labels from 0 to 2, got 3"),
        (plots.misread, (THREE, THREE, ONE_HOT), "x must have shape (N, pixels), got (3,)"),
        (plots.misread, (ONE_HOT, THREE, ONE_HOT), "x: images must be square, got 3 pixels"),
        (
            plots.misread,
            (np.zeros((3, 2, 2, 2)), THREE, ONE_HOT),
            "x must have shape (N, 1, H, W), got (3, 2, 2, 2)",
        ),
        (
            plots.misread,
            (np.zeros((3, 1, 2, 8)), THREE, ONE_HOT),
            "x: images must be square, got 2 x 8 pixels",
        ),
        (plots.hidden_weights, (THREE,), "W must have shape (pixels, units), got (3,)"),
        (plots.hidden_weights, (np.zeros((4, 0)),), "W must not be empty, got shape (4, 0)"),
        (plots.hidden_weights, ([[np.inf]],), "W must be finite, got inf"),
    ],
)
def test_a_wrong_argument_is_named(draw, arguments, text):
    pyplot.close("all")
    with pytest.raises((ValueError, TypeError)) as caught:
        draw(*arguments)
    assert str(caught.value).startswith(text)
    assert pyplot.get_fignums() == []


@pytest.mark.parametrize(
    ("trained", "text"),
    [
        ((1, 0), "trained must be in ascending order, got (1, 0)"),
        ((1,), "trained must have shape (2,), got (1,)"),
        (3, "trained must have shape (2,), got ()"),
        (("a", "b"), "trained must hold real numbers"),
        ((0, np.nan), "trained must be finite, got nan"),
    ],
)
def test_a_wrong_training_range_is_named(trained, text):
    with pytest.raises((ValueError, TypeError)) as caught:
        plots.fit(THREE, THREE, THREE, new_axes(), trained=trained)
    assert str(caught.value).startswith(text)


@pytest.mark.parametrize("most", [0, 2.5])
def test_a_wrong_number_of_images_is_named(most):
    with pytest.raises((ValueError, TypeError), match="most must be a positive integer"):
        plots.misread(SQUARE, THREE, ONE_HOT, new_axes(), most=most)
    with pytest.raises((ValueError, TypeError), match="most must be a positive integer"):
        plots.hidden_weights(SQUARE.T, new_axes(), most=most)


@pytest.mark.parametrize(
    ("panels", "error", "text"),
    [
        ([], ValueError, "panels must have at least one function"),
        (DRAWINGS["fit"], TypeError, "panels must be a list of functions"),
        ([DRAWINGS["fit"], None], TypeError, "panels must be a list of functions"),
    ],
)
def test_wrong_panels_are_named(tmp_path, panels, error, text):
    with pytest.raises(error, match=text):
        plots.save(tmp_path / "a.png", panels)
    with pytest.raises((ValueError, TypeError), match="columns must be a positive integer"):
        plots.save(tmp_path / "a.png", [DRAWINGS["fit"]], columns=0)


# ---- files


def test_a_sheet_has_a_panel_for_each_and_one_legend(tmp_path, monkeypatch):
    figures = []
    real = plots.figures.new_figure
    monkeypatch.setattr(
        plots.figures, "new_figure", lambda *size: figures.append(real(*size)) or figures[-1]
    )
    draws = [DRAWINGS["fit"]] * 5
    plots.save(tmp_path / "sheet", draws, columns=3, size=(3, 2.5), title="Five", legend=True,
               same_scales=True)  # fmt: skip
    assert image.imread(tmp_path / "sheet", format="png").shape[:2] == (600, 1080)
    [figure] = figures
    assert len(figure.axes) == 5
    assert len(figure.legends) == 1
    assert [bool(ax.get_ylabel()) for ax in figure.axes] == [True, False, False, True, False]
    assert [bool(ax.get_xlabel()) for ax in figure.axes] == [False, False, False, True, True]


def test_panels_of_different_kinds_keep_their_own_scales(tmp_path):
    alone, found = {}, {}
    for name, draw in DRAWINGS.items():
        ax = draw(new_axes())
        alone[name] = ax.get_xlim(), ax.get_ylim(), ax.get_xlabel(), ax.get_ylabel()

    def recording(name, draw):
        def draw_and_keep(ax):
            found[name] = draw(ax)

        return draw_and_keep

    plots.save(tmp_path / "a", [recording(*item) for item in DRAWINGS.items()], columns=2)
    for name, ax in found.items():
        assert alone[name] == (ax.get_xlim(), ax.get_ylim(), ax.get_xlabel(), ax.get_ylabel())


def test_empty_margins_are_cut_off(tmp_path):
    for cut in (False, True):
        plots.save(tmp_path / f"{cut}", [DRAWINGS["misread"]], size=(8, 4), cut=cut)
    whole, less = (image.imread(tmp_path / f"{cut}", format="png") for cut in (False, True))
    assert whole.shape[:2] == (480, 960)
    assert less.shape[1] < 700
    assert np.ptp(less[:, 12:-12], axis=(0, 2))[[0, -1]].max() > 0  # nothing more to cut


def test_a_file_in_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        plots.save(tmp_path / "new" / "a.png", [DRAWINGS["fit"]])
