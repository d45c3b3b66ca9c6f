"""Figures and files for the pictures, and the one error where matplotlib is not installed."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn import gate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Dots of a PNG to an inch.
RESOLUTION = 120
# More classes than this, and no picture could show them; a table of them would be huge.
MOST_CLASSES = 1000


def require_matplotlib() -> None:
    """Fail now, with what to install, rather than when the first picture is drawn.

    Raises
    ------
    ImportError
        If matplotlib is not installed, or cannot be imported.

    Examples
    --------
    >>> from fastnn import plots
    >>> plots.require_matplotlib()
    """
    try:
        _import_matplotlib()
    except Exception as error:
        reason = f", which cannot be imported: {_in_short(error)}"
        if _is_missing(error):
            reason = ': pip install "fastnn[plots]"'
        raise ImportError(f"plots need matplotlib{reason}") from error


def no_pictures() -> tuple[str, str] | None:
    """That no picture can be drawn, and what helps or why, for who can do without; else None."""
    try:
        _import_matplotlib()
    except Exception as error:
        if _is_missing(error):
            remedy = 'pip install "fastnn[plots]", or in a checkout pip install ".[plots]"'
            return "no pictures without matplotlib", remedy
        return "no pictures, as matplotlib cannot be imported", _in_short(error)
    return None


def _import_matplotlib() -> None:
    """Import all that files need, for a part of it may be broken."""
    import matplotlib
    import matplotlib.backends.backend_agg
    import matplotlib.figure  # noqa: F401


def _is_missing(error: Exception) -> bool:
    return isinstance(error, ModuleNotFoundError) and error.name == "matplotlib"


def _in_short(error: Exception) -> str:
    lines = str(error).splitlines() or ["no message"]
    return f"{type(error).__name__}: {lines[0]}"


def new_axes() -> Axes:
    """Axes of a new figure that pyplot knows."""
    require_matplotlib()
    from matplotlib import pyplot

    return pyplot.subplots()[1]


def new_figure(width: float, height: float) -> Figure:
    """A figure that pyplot does not know: it needs no display, and any thread may draw it."""
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def write(figure: Figure, path: str | os.PathLike[str], **style: Any) -> None:
    """Write a figure as a PNG."""
    figure.savefig(os.fsdecode(path), format="png", dpi=RESOLUTION, **style)


def numbers(values: Any, name: str, *shape: int | str, finite: bool = True) -> np.ndarray:
    """Real numbers of this shape, at least one; a name in the shape stands for any length."""
    array = gate.numbers(values, name)
    fits = array.ndim == len(shape) and all(
        isinstance(wanted, str) or wanted == found
        for wanted, found in zip(shape, array.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "")
        raise ValueError(f"{name} must have shape ({wanted}), got {array.shape}")
    if array.size == 0:
        raise ValueError(f"{name} must not be empty, got shape {array.shape}")
    if finite and not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got {array[~np.isfinite(array)][0]}")
    return array


def classes(values: Any, name: str, *shape: int | str) -> np.ndarray:
    """Class numbers, whole, not negative and not huge, in whatever dtype they come."""
    array = numbers(values, name, *shape)
    if array.max() >= MOST_CLASSES:
        raise ValueError(f"{name} must hold class numbers below {MOST_CLASSES}, got {array.max()}")
    wrong = array[(array < 0) | (array != np.floor(array))]
    if wrong.size:
        raise ValueError(f"{name} must hold class numbers 0, 1, 2 ..., got {wrong[0]}")
    return array.astype(np.int64)


def save(
    path: str | os.PathLike[str],
    panels: Sequence[Callable[[Axes], Any]],
    *,
    columns: int = 1,
    size: tuple[float, float] = (6.4, 4.4),
    title: str | None = None,
    legend: bool = False,
    cut: bool = False,
    same_scales: bool = False,
) -> None:
    """Write a PNG with one panel or a sheet of them, without a display and in any thread.

    Parameters
    ----------
    path : str or os.PathLike
        The file to write, exactly as named; always PNG.
    panels : sequence of callable
        Each draws one panel on the axes it is given.
    columns : int, default 1
        Panels beside each other.
    size : tuple of float, default (6.4, 4.4)
        Width and height of a panel in inches.
    title : str, optional
        A line above all panels.
    legend : bool, default False
        Put one legend, of the first panel's curves, below all of them.
    cut : bool, default False
        Cut empty margins off, such as images leave that do not have the shape of the panel.
    same_scales : bool, default False
        Give all panels the same scales, for curves to compare. The words and numbers of an axis
        are then only on the panels at the left and at the bottom.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError, ValueError
        If `panels` is not a list of functions with at least one, or `columns` not positive.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from fastnn import plots
    >>> def line(ax):
    ...     return ax.plot([0, 1], [0, 1], label="a line")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "lines.png")
    ...     plots.save(path, [line, line], columns=2, legend=True, same_scales=True)
    ...     path.read_bytes()[1:4]
    b'PNG'
    """
    if not isinstance(panels, Sequence) or not all(callable(draw) for draw in panels):
        raise TypeError(f"panels must be a list of functions that draw on axes, got {panels!r}")
    if not panels:
        raise ValueError("panels must have at least one function, got an empty list")
    gate.positive_integer(columns, "columns")
    rows = -(-len(panels) // columns)
    figure = new_figure(size[0] * columns, size[1] * rows)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=same_scales, sharey=same_scales)
    for ax, draw in zip(grid.flat, panels, strict=False):
        draw(ax)
    for ax in grid.flat[len(panels) :]:
        ax.remove()
    if same_scales:
        _label_outer_panels(grid)
    if title is not None:
        figure.suptitle(title)
    if legend:
        handles = grid[0, 0].get_legend_handles_labels()[0]
        figure.legend(
            handles=handles, loc="outside lower center", ncols=len(handles), frameon=False
        )
    style = {"bbox_inches": "tight", "pad_inches": 0.08} if cut else {}
    write(figure, path, **style)


def _label_outer_panels(grid: Any) -> None:
    """Leave the words and numbers of an axis to the panels at the left and at the bottom."""
    for ax in grid[:, 1:].flat:
        ax.set_ylabel("")
    for ax in grid[:-1].flat:
        ax.set_xlabel("")
