"""How a ratio goes with the size of the work: the groups "steps over ..." as curves."""

from __future__ import annotations

from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from bench.contestants import OURS
from bench.ratios import ratio_to
from bench.shapes import is_count, misshapen
from bench.stored import check_writable
from bench.tables import threads_in_words
from fastnn.plots.figures import new_figure, write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# What a group goes over, as its axis says it, and where a case has that number.
SIZES: dict[str, tuple[str, Any]] = {
    "steps over batch": ("rows of a batch", lambda result: result["batch"]),
    "steps over batch, wide": ("rows of a batch", lambda result: result["batch"]),
    "steps over width": ("width of the hidden layer", lambda result: result["sizes"][1]),
    "steps over depth": ("hidden layers", lambda result: len(result["sizes"]) - 2),
    "steps over data set": ("rows of the data set", lambda result: result["rows"]),
}
GROUPS = ", ".join(map(repr, SIZES))
# What the functions above need of a case.
SHAPE = {"batch": is_count, "rows": is_count, "sizes": [is_count]}


def check(groups: set[str], path: str) -> None:
    """Fail now where `draw` would fail after all the work.

    Parameters
    ----------
    groups : set of str
        What is to be timed.
    path : str
        Of the picture.

    Raises
    ------
    ValueError
        If no group has a curve, or the file would not be what its name says.
    OSError
        If the file cannot be written.
    """
    if groups.isdisjoint(SIZES):
        raise ValueError(f"--plot needs cases of {GROUPS}: see --cases")
    if Path(path).suffix.lower() != ".png":
        raise ValueError(f"--plot writes PNG files, whose names end with .png, not {path!r}")
    check_writable(path)


def draw(results: dict[str, Any], path: str) -> None:
    """Write a PNG with the curves of each group "steps over ..."."""
    write(figure_of(results), path)


def figure_of(results: dict[str, Any]) -> Figure:
    """The curves of each group "steps over ...", a panel each."""
    groups = [name for name in SIZES if any(r["group"] == name for r in results["cases"])]
    if not groups:
        raise ValueError(f"a plot needs cases of {GROUPS}")
    drawn = [result for result in results["cases"] if result["group"] in SIZES]
    _check_sizes(drawn)
    rivals = list(dict.fromkeys(
        e["contestant"] for r in drawn for e in r["contestants"] if e["contestant"] != OURS
    ))  # fmt: skip
    columns = min(2, len(groups))
    rows = -(-len(groups) // columns)
    figure = new_figure(5.5 * columns, 4.4 * rows)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for panel, group in zip(panels, groups, strict=False):
        _draw_group(panel, group, results, rivals)
    for panel in panels[len(groups) :]:
        panel.remove()
    figure.suptitle(_title(results, drawn, 55 * columns))
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3 * columns, frameon=False)
    return figure


def _check_sizes(drawn: list[dict[str, Any]]) -> None:
    for result in drawn:
        wrong = misshapen(result, SHAPE)
        if not wrong and len(result["sizes"]) < 3:
            wrong = "sizes has no hidden layer"
        if wrong:
            raise ValueError(f"{result['case']!r} cannot be drawn: {wrong}")


def _title(results: dict[str, Any], drawn: list[dict[str, Any]], width: int) -> str:
    """What is drawn, and where it was measured, in lines that fit."""
    machine = results["machine"]
    dtypes = ", ".join(sorted({result["dtype"] for result in drawn}))
    where = (f"{machine['processor']}, {machine['cores']} cores; "
             f"threads: {threads_in_words(results)}; {dtypes}")  # fmt: skip
    what = "How many times as long as fastnn a training step takes"
    return "\n".join([what, *wrap(where, width)])


def _draw_group(axes: Any, group: str, results: dict[str, Any], rivals: list[str]) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

    words, size_of = SIZES[group]
    cases = sorted((r for r in results["cases"] if r["group"] == group), key=size_of)
    for number, rival in enumerate(rivals):
        found = [(size_of(r), ratio_to(r, rival, results["threads"])) for r in cases]
        points = [(size, value) for size, value in found if value is not None]
        axes.plot(*zip(*points, strict=True) if points else ([], []), label=rival,
                  marker="os^Dv"[number % 5], markersize=4, color=f"C{number}")  # fmt: skip
    axes.axhline(1, color="black", linewidth=1, linestyle="--", label="as fast as fastnn")
    axes.set(title=group, xscale="log", yscale="log", xlabel=words,
             ylabel="rival's time / fastnn's")  # fmt: skip
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_xticks(sorted({size_of(r) for r in cases}))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.tick_params(axis="x", rotation=30, labelsize=8)
    low, high = axes.get_ylim()
    low, high = min(low, 0.8), max(high, 1.5)
    axes.set_ylim(low, high)
    steps = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
    axes.set_yticks([value for value in steps if low <= value <= high])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}x"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3)
