"""Figures and files for the pictures, and the one error where matplotlib is not installed."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Dots of a PNG to an inch.
RESOLUTION = 120


def require_matplotlib() -> None:
    """Fail now, with what to install, rather than when the first picture is drawn.

    Raises
    ------
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> from fastnn import plots
    >>> plots.require_matplotlib()
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError('plots need matplotlib: pip install "fastnn[plots]"') from error


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


def save(
    path: str | os.PathLike[str],
    panels: Sequence[Callable[[Axes], Any]],
    *,
    columns: int = 1,
    size: tuple[float, float] = (6.4, 4.4),
    title: str | None = None,
    legend: bool = False,
    cut: bool = False,
) -> None:
    """Write a PNG with one panel or a sheet of them, without a display and in any thread.

    Parameters
    ----------
    path : str or os.PathLike
        The file to write, exactly as named; always PNG.
    panels : sequence of callable
        Each draws one panel on the axes it is given.
    columns : int, default 1
        Panels beside each other. With more than one panel, all have the same scales.
    size : tuple of float, default (6.4, 4.4)
        Width and height of a panel in inches.
    title : str, optional
        A line above all panels.
    legend : bool, default False
        Put one legend, of the first panel's curves, below all of them.
    cut : bool, default False
        Cut empty margins off, such as images leave that do not have the shape of the panel.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
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
    ...     plots.save(path, [line, line], columns=2, legend=True)
    ...     path.read_bytes()[1:4]
    b'PNG'
    """
    rows = -(-len(panels) // columns)
    figure = new_figure(size[0] * columns, size[1] * rows)
    shared = len(panels) > 1
    grid = figure.subplots(rows, columns, squeeze=False, sharex=shared, sharey=shared)
    for ax, draw in zip(grid.flat, panels, strict=False):
        draw(ax)
    for ax in grid.flat[len(panels) :]:
        ax.remove()
    if shared:
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
