"""The curves of training: the loss of each step, and the accuracies."""

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.plots import figures

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

    from fastnn.history import History

__all__ = ["history", "save_history"]

# Colours that differ for colour-blind readers and in grey print.
_STEP_COLOUR = "#c8c8c8"
_BAND_COLOUR = "#dedede"
_SMOOTH_COLOUR = "#404040"
# A broad pale line under a narrow dark dashed one: both show where they lie on each other.
_TRAIN = {"color": "#e69f00", "linewidth": 2.5, "marker": "o", "markersize": 6.5}
_TEST = {"color": "#0072b2", "linewidth": 1.3, "linestyle": "--", "marker": "o", "markersize": 3.0}

_SMOOTH_POINTS = 100
_MOST_STEP_POINTS = 4000
_BAND = (0.1, 0.9)  # quantiles
_LOG_FROM_RATIO = 100.0
_LARGEST = 1e100
_NARROW_INCHES = 3.3
_MOST_MARKERS = 25


def history(history: "History", ax: "Axes | None" = None) -> "Axes":
    """Draw the loss of each step, and the accuracies on an axis of their own at the right.

    The loss of each batch is noisy: it is drawn thin and pale, with the average of every
    hundredth part of training drawn over it. Where there are no accuracies, as in regression, the
    losses of the evaluations are drawn instead. The loss axis is logarithmic if the averaged
    loss spans a factor of more than 100, where a linear one would show a flat line; below
    that it stays linear, which is easier to read. More than 4000 steps on a logarithmic axis are
    drawn as a band from the lowest to the highest tenth of each part, for the least losses of
    many reach down to the axis. The legend is above the axes, where it covers no curve; a title
    needs ``ax.set_title(..., pad=30)``.

    Parameters
    ----------
    history : fastnn.history.History
        What to draw.
    ax : matplotlib.axes.Axes, optional
        Where to draw. Without it a new figure is made with pyplot.

    Returns
    -------
    matplotlib.axes.Axes
        The axes of the loss.

    Raises
    ------
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from fastnn import plots
    >>> from fastnn.history import History
    >>> record = History()
    >>> record.record_steps([2.3, 1.9, 1.2])
    >>> record.record_evaluation(3, train_accuracy=0.6, test_accuracy=0.5)
    >>> ax = plots.history(record, ax=Figure().add_subplot())
    >>> ax.get_ylabel()
    'loss'
    """
    if ax is None:
        ax = figures.new_axes()
    if _has_accuracy(history):
        drawn = _draw_loss(ax, history, with_evaluations=False)
        drawn += _draw_accuracy(ax.twinx(), history)
    else:
        drawn = _draw_loss(ax, history, with_evaluations=True)
    _put_legend_above(ax, drawn)
    return ax


def save_history(
    history: "History", path: str | os.PathLike[str], title: str | None = None
) -> None:
    """Write a PNG with the losses at the left and, if there are any, the accuracies at the right.

    Drawn without pyplot, so it works without a display, in any thread, and leaves no figure
    open. The loss axis is as in `history`.

    Parameters
    ----------
    history : fastnn.history.History
        What to draw.
    path : str or os.PathLike
        The file to write, exactly as named; always PNG.
    title : str, optional
        A line above the panels.

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
    >>> from fastnn.history import History
    >>> record = History()
    >>> record.record_steps([2.3, 1.9, 1.2])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "history.png")
    ...     plots.save_history(record, path, title="Three steps")
    ...     path.read_bytes()[1:4]
    b'PNG'
    """
    panels = 2 if _has_accuracy(history) else 1
    figure = figures.new_figure(1.0 + 4.5 * panels, 4.2)
    axes = figure.subplots(1, panels, squeeze=False)[0]
    _put_legend_above(axes[0], _draw_loss(axes[0], history, with_evaluations=True))
    if panels == 2:
        _prepare_iterations(axes[1], history)
        _put_legend_above(axes[1], _draw_accuracy(axes[1], history))
    if title is not None:
        figure.suptitle(title)
    figures.write(figure, path)


def _has_accuracy(history: "History") -> bool:
    return bool(history.train_accuracy.size or history.test_accuracy.size)


def _draw_loss(ax: "Axes", history: "History", *, with_evaluations: bool) -> "list[Artist]":
    """Draw the loss of the steps, and that of the evaluations if told; return what is drawn."""
    ax.set_ylabel("loss")
    _prepare_iterations(ax, history)
    middles, smooth = _averaged(_drawable(history.loss))
    train, test = history.train_loss, history.test_loss
    shown = [smooth, _drawable(train), _drawable(test)] if with_evaluations else [smooth]
    least = _least_of_logarithmic(np.concatenate(shown))
    banded = least is not None and history.steps > _MOST_STEP_POINTS
    drawn = _draw_step_loss(ax, history, middles, smooth, least if banded else None)
    if with_evaluations:
        drawn += _draw_pair(ax, history.iterations, train, test, "loss")
    if least is not None:
        ax.set_yscale("log", nonpositive="mask")
        if not banded:  # the loss of a single row may come arbitrarily near to zero
            ax.set_ylim(bottom=least / 10)
    return drawn


def _draw_step_loss(
    ax: "Axes",
    history: "History",
    middles: np.ndarray,
    smooth: np.ndarray,
    banded_above: float | None,
) -> "list[Artist]":
    if np.isnan(smooth).all():
        return []
    loss = _drawable(history.loss)
    if middles.size == history.steps:  # so few that there is nothing to average
        style: dict[str, Any] = {"color": _SMOOTH_COLOUR, "linewidth": 1.5, "marker": "."}
        return [*ax.plot(middles, loss, label="loss of each step", **style)]
    drawn: list[Artist] = []
    if banded_above is not None:
        low, high = np.maximum(_quantiles(loss), banded_above / 100)  # zero has no place there
        style = {"color": _BAND_COLOUR, "linewidth": 0, "label": "loss of 8 in 10 steps"}
        drawn.append(ax.fill_between(middles, low, high, **style))
    else:
        style = {"color": _STEP_COLOUR, "linewidth": 0.6, "label": "loss of each step"}
        drawn += ax.plot(*_thinned(loss), **style)
    drawn += ax.plot(middles, smooth, color=_SMOOTH_COLOUR, linewidth=1.8, label="averaged loss")
    return drawn


def _prepare_iterations(ax: "Axes", history: "History") -> None:
    from matplotlib.ticker import MaxNLocator

    ax.set_xlabel("iteration")
    ax.xaxis.set_major_locator(MaxNLocator(nbins="auto", steps=[1, 2, 2.5, 5, 10], integer=True))
    # All of training shows, even if its losses were nan from some step on.
    last = max(history.steps, *history.iterations[-1:], 1)
    ax.update_datalim([(0, 0), (last, 0)], updatey=False)


def _draw_accuracy(ax: "Axes", history: "History") -> "list[Artist]":
    ax.set_ylabel("accuracy")
    train, test = history.train_accuracy, history.test_accuracy
    measured = _drawable(np.concatenate([train, test]))
    measured = measured[np.isfinite(measured)]
    # From zero, or with the worst in the middle: 98 and 99 % would lie on each other.
    bottom = 2 * float(measured.min()) - 1 if measured.size else 0.0
    height = 1 - min(max(bottom, 0.0), 0.99)
    ax.set_ylim(1 - height, 1 + 0.03 * height)  # room for the markers of a perfect score
    return _draw_pair(ax, history.iterations, train, test, "accuracy")


def _draw_pair(
    ax: "Axes", iterations: np.ndarray, train: np.ndarray, test: np.ndarray, what: str
) -> "list[Artist]":
    """Draw what was measured on training and test data, whichever there is."""
    lines: list[Artist] = []
    curves: list[tuple[np.ndarray, str, dict[str, Any]]] = [
        (train, "train", _TRAIN),
        (test, "test", _TEST),
    ]
    for values, name, style in curves:
        measured = np.flatnonzero(np.isfinite(_drawable(values)))
        if measured.size:
            lines += ax.plot(
                iterations[measured],
                values[measured],
                label=f"{name} {what}",
                markevery=max(1, measured.size // _MOST_MARKERS),
                **style,
            )
    return lines


def _put_legend_above(ax: "Axes", drawn: "list[Artist]") -> None:
    if not drawn:
        return
    inches = ax.get_window_extent().width / ax.figure.dpi
    legend = ax.legend(
        handles=drawn,
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        ncols=len(drawn) if inches > _NARROW_INCHES else 2,
        frameon=False,
        fontsize="small",
        columnspacing=1.2,
        handlelength=2.2,
    )
    for handle in legend.get_lines():
        handle.set_linewidth(max(handle.get_linewidth(), 1.3))  # the pale line would not show


def _least_of_logarithmic(shown: np.ndarray) -> float | None:
    """Return the least that is shown if a linear loss axis would not show the later course."""
    shown = shown[~np.isnan(shown)]
    least, most = float(shown.min(initial=np.inf)), float(shown.max(initial=0.0))
    if 1 / _LARGEST < least < most / _LOG_FROM_RATIO:
        return least
    return None


def _drawable(values: np.ndarray) -> np.ndarray:
    """Return the values with nan for those that overflow in averages or matplotlib's axes."""
    return np.where(np.abs(values) < _LARGEST, values, np.nan)


def _blocks(steps: int, most: int) -> np.ndarray:
    """Return where each of at most `most` nearly equal parts of the steps begins."""
    return np.unique(np.linspace(0, steps, min(most, steps), endpoint=False).astype(np.int64))


def _averaged(loss: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the middle and the average of each part of training; nan left out."""
    starts = _blocks(loss.size, _SMOOTH_POINTS)
    ends = np.append(starts[1:], loss.size)
    counts = np.add.reduceat(~np.isnan(loss), starts, dtype=np.int64)
    sums = np.add.reduceat(np.nan_to_num(loss), starts)
    averages = np.full(starts.size, np.nan)
    np.divide(sums, counts, out=averages, where=counts > 0)
    return (starts + 1 + ends) / 2, averages


def _quantiles(loss: np.ndarray) -> np.ndarray:
    """Return the lower and the upper edge of the band in each part of training; nan left out."""
    parts = np.split(loss, _blocks(loss.size, _SMOOTH_POINTS)[1:])
    edges = np.full((2, len(parts)), np.nan)
    for i, part in enumerate(parts):
        measured = part[~np.isnan(part)]
        if measured.size:
            edges[:, i] = np.quantile(measured, _BAND)
    return edges


def _thinned(loss: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return steps and losses to draw: of very many, the extremes of each part.

    The picture is the same, but matplotlib refuses a noisy line of a million points.
    """
    if loss.size <= _MOST_STEP_POINTS:
        return np.arange(1, loss.size + 1), loss
    starts = _blocks(loss.size, _MOST_STEP_POINTS // 2)
    lowest = np.fmin.reduceat(loss, starts)
    highest = np.fmax.reduceat(loss, starts)
    return np.repeat(starts + 1, 2), np.stack([lowest, highest], axis=1).ravel()
