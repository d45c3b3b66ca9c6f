"""What a classifier of images confuses, misreads and has learned."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from fastnn import gate
from fastnn.plots import figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# More classes than this, and the numbers in the squares could not be read.
MOST_NUMBERED = 20
GAP = 4  # pixels between two images of a sheet
CAPTION = 8  # pixels for the words above an image
RIGHT = "#dcdcdc"
DARK = 0.6  # of the greatest number; above, the numbers are white
# Share of the weights, in percent, that the colours tell apart; few are far larger than the rest.
COLOURED = 99.8


def confusion(t: ArrayLike, y: ArrayLike, ax: Axes | None = None) -> Axes:
    """Draw how often each class was taken for each.

    The errors are coloured; the correct answers, which are far more, are grey.

    Parameters
    ----------
    t : array_like of int, shape (N,)
        The true classes, below 1000.
    y : array_like of int, shape (N,)
        The classes that the network says, below 1000.
    ax : matplotlib.axes.Axes, optional
        Where to draw. Without it a new figure is made with pyplot.

    Returns
    -------
    matplotlib.axes.Axes
        The axes.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError, ValueError
        If an argument is not as above.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from fastnn import plots
    >>> plots.confusion([0, 1, 1], [0, 1, 0], Figure().add_subplot()).get_title()
    '2 of 3 right; the errors are coloured'
    """
    t = figures.classes(t, "t", "N")
    y = figures.classes(y, "y", len(t))
    if ax is None:
        ax = figures.new_axes()
    classes = int(max(t.max(), y.max())) + 1
    table = np.zeros((classes, classes), np.int64)
    np.add.at(table, (t, y), 1)
    right = np.eye(classes, dtype=bool)
    errors = np.ma.masked_array(table, right)
    colours = with_bad("Blues", RIGHT)
    most = max(1, int(errors.filled(0).max()))
    ax.imshow(errors, cmap=colours, vmin=0, vmax=most)
    if classes <= MOST_NUMBERED:
        for row, column in np.argwhere(table):
            dark = row != column and table[row, column] > DARK * most
            ax.text(
                column, row, str(table[row, column]), ha="center", va="center",
                fontsize="small", color="white" if dark else "black",
            )  # fmt: skip
        ax.set_xticks(range(classes))
        ax.set_yticks(range(classes))
    ax.set_xlabel("class that the network says")
    ax.set_ylabel("true class")
    ax.set_title(f"{table.trace()} of {t.size} right; the errors are coloured", fontsize="medium")
    return ax


def misread(
    x: ArrayLike, t: ArrayLike, y: ArrayLike, ax: Axes | None = None, *, most: int = 40
) -> Axes:
    """Draw the images that are classified wrongly, the surest errors first.

    Parameters
    ----------
    x : array_like, shape (N, pixels) or (N, 1, H, W)
        Square images of one channel.
    t : array_like of int, shape (N,)
        The true classes; one-hot rows, shape (N, classes), will do.
    y : array_like, shape (N, classes)
        The probabilities that the network gives.
    ax : matplotlib.axes.Axes, optional
        Where to draw. Without it a new figure is made with pyplot.
    most : int, default 40
        At most so many images.

    Returns
    -------
    matplotlib.axes.Axes
        The axes.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError, ValueError
        If an argument is not as above, or an image not square.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from fastnn import plots
    >>> x, y = [[0, 1, 1, 0], [1, 0, 0, 1]], [[0.9, 0.1], [0.8, 0.2]]
    >>> plots.misread(x, [0, 1], y, Figure().add_subplot()).get_title()
    'the error: the true class → what the network says, and how sure it is'
    """
    x = gate.numbers(x, "x")
    if x.ndim == 4:  # as a ConvNet takes them
        x = figures.numbers(x, "x", "N", 1, "H", "W")
        if x.shape[2] != x.shape[3]:
            raise ValueError(f"x: images must be square, got {x.shape[2]} x {x.shape[3]} pixels")
        x = x.reshape(len(x), -1)
    x = figures.numbers(x, "x", "N", "pixels")
    y = figures.numbers(y, "y", len(x), "classes")
    t = gate.labels(t, *y.shape)
    _side(x.shape[1], "x")
    gate.positive_integer(most, "most")
    if ax is None:
        ax = figures.new_axes()
    said, sure = y.argmax(axis=1), y.max(axis=1)
    wrong = np.flatnonzero(said != t)
    shown = wrong[np.argsort(-sure[wrong], kind="stable")][:most]
    captions = [f"{t[i]} → {said[i]}  {100 * sure[i]:.0f} %" for i in shown]
    ax.set_axis_off()
    if not shown.size:
        ax.set_title("no error")
        return ax
    _draw_images(ax, x[shown], captions, cmap=with_bad("gray_r"))
    which = f"the {shown.size} surest of {wrong.size} errors"
    if shown.size == wrong.size:
        which = "the error" if wrong.size == 1 else f"the {wrong.size} errors"
    ax.set_title(
        f"{which}: the true class → what the network says, and how sure it is", fontsize="medium"
    )
    return ax


def hidden_weights(W: ArrayLike, ax: Axes | None = None, *, most: int = 100) -> Axes:
    """Draw the weights of each hidden unit as an image: what it looks for in the inputs.

    Parameters
    ----------
    W : array_like, shape (pixels, units)
        Weights of the first layer, for square images.
    ax : matplotlib.axes.Axes, optional
        Where to draw. Without it a new figure is made with pyplot.
    most : int, default 100
        At most so many units.

    Returns
    -------
    matplotlib.axes.Axes
        The axes.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError, ValueError
        If an argument is not as above, or an image not square.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from fastnn import plots
    >>> ax = plots.hidden_weights([[1, 0], [0, 1], [0, 1], [1, 0]], Figure().add_subplot())
    >>> ax.get_title()
    'weights of all 2 hidden units, each as an image'
    """
    W = figures.numbers(W, "W", "pixels", "units")
    _side(W.shape[0], "W")
    gate.positive_integer(most, "most")
    if ax is None:
        ax = figures.new_axes()
    units = W.shape[1]
    shown = W.T[:most]
    limit = max(float(np.percentile(np.abs(shown), COLOURED)), 1e-30)
    colours = with_bad("RdBu_r", "#909090")
    image = _draw_images(ax, shown, None, cmap=colours, vmin=-limit, vmax=limit)
    ax.set_axis_off()
    ax.figure.colorbar(image, ax=ax, shrink=0.7, label="weight", extend="both")
    which = f"all {units}" if units <= most else f"the first {most} of {units}"
    ax.set_title(f"weights of {which} hidden units, each as an image", fontsize="medium")
    return ax


def _side(pixels: int, name: str) -> int:
    """Pixels along a side of the images."""
    side = math.isqrt(pixels)
    if side * side != pixels:
        raise ValueError(f"{name}: images must be square, got {pixels} pixels")
    return side


def _columns(images: int) -> int:
    """Columns of a sheet that is up to twice as wide as high, with the fewest places empty."""
    least, most = math.isqrt(images - 1) + 1, math.isqrt(2 * images)
    empty = {columns: -images % columns for columns in range(least, max(least, most) + 1)}
    return min(empty, key=empty.__getitem__)


def with_bad(name: str, colour: str = "white") -> Any:
    """A colour map that gives what is masked or nan a colour of its own."""
    from matplotlib import colormaps

    return colormaps[name].with_extremes(bad=colour)


def _draw_images(ax: Axes, images: np.ndarray, captions: list[str] | None, **style: Any) -> Any:
    """Draw square images, one a row of the array, side by side as one sheet."""
    side = math.isqrt(images.shape[1])
    above = CAPTION if captions else 0
    columns = _columns(len(images))
    rows = -(-len(images) // columns)
    down, across = side + GAP + above, side + GAP
    sheet = np.full((rows * down + GAP, columns * across + GAP), np.nan)
    for place, image in enumerate(images):
        top, left = GAP + place // columns * down + above, GAP + place % columns * across
        sheet[top : top + side, left : left + side] = image.reshape(side, side)
        if captions:
            ax.text(left + side / 2, top - 1, captions[place], ha="center", fontsize="small")
    return ax.imshow(sheet, interpolation="nearest", **style)
