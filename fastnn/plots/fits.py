"""What a network of one input and one output has learned, against the truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from fastnn import gate
from fastnn.plots import figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Colours that differ for colour-blind readers and in grey print.
TRUTH: dict[str, Any] = {"color": "#202020", "linestyle": "--", "linewidth": 1.4, "zorder": 3}
NETWORK: dict[str, Any] = {"color": "#d55e00"}
TRAINED: dict[str, Any] = {"color": "#e3ecf3", "zorder": 0}

# More outputs than this are drawn as a line.
MOST_POINTS = 100


def fit(
    x: ArrayLike,
    t: ArrayLike,
    y: ArrayLike,
    ax: Axes | None = None,
    *,
    trained: tuple[float, float] | None = None,
    legend: bool = True,
) -> Axes:
    """Draw the outputs of a network over the truth.

    Up to 100 outputs are drawn as points, more as a line. The legend is above the axes, where
    it covers no curve.

    Parameters
    ----------
    x : array_like, shape (N,) or (N, 1)
        Inputs, in any order.
    t : array_like, shape (N,) or (N, 1)
        The truth.
    y : array_like, shape (N,) or (N, 1)
        The outputs of the network; nan and inf are left out.
    ax : matplotlib.axes.Axes, optional
        Where to draw. Without it a new figure is made with pyplot.
    trained : tuple of float, optional
        Least and greatest input of the training data; the range is shaded.
    legend : bool, default True
        Say which curve is which.

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
    >>> ax = plots.fit([0, 1, 2], [0, 1, 4], [0.1, 1.0, 3.0], Figure().add_subplot())
    >>> ax.get_legend_handles_labels()[1]
    ['truth', 'network']
    """
    x = _column(x, "x", "N", finite=True)
    t, y = _column(t, "t", len(x)), _column(y, "y", len(x))
    if trained is not None:
        low, high = figures.numbers(trained, "trained", 2)
        if low >= high:
            raise ValueError(f"trained must be in ascending order, got {trained!r}")
    if ax is None:
        ax = figures.new_axes()
    order = np.argsort(x, kind="stable")
    x, t, y = x[order], t[order], y[order]
    if trained is not None:
        ax.axvspan(low, high, label="training range", **TRAINED)
    ax.plot(x, t, label="truth", **TRUTH)
    if len(x) > MOST_POINTS:
        ax.plot(x, y, label="network", linewidth=2.4, **NETWORK)
    else:
        ax.plot(x, y, "o", label="network", markersize=4, **NETWORK)
    ax.set_xlabel("x")
    ax.set_ylabel("y")
    if legend:
        ax.legend(
            loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False, fontsize="small"
        )
    return ax


def _column(values: ArrayLike, name: str, rows: int | str, finite: bool = False) -> np.ndarray:
    """Numbers of shape (N,), also from the (N, 1) that ``predict`` returns."""
    values = gate.numbers(values, name)
    if values.ndim == 2 and values.shape[1] == 1:
        return figures.numbers(values, name, rows, 1, finite=finite)[:, 0]
    return figures.numbers(values, name, rows, finite=finite)
