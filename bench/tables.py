"""What came out, in words: Markdown tables, and what went wrong."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median

from bench.cases import BEST, BEST_OF, Goal
from bench.clock import STEP_SECONDS
from bench.contestants import OURS
from bench.ratios import (
    NOTHING,
    Entry,
    Results,
    has_limit,
    ours,
    ratio_to,
    rounds_of,
    rounds_to,
    share,
    verdict,
)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table: first column to the left, the others to the right."""
    cells = [list(header), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    rule = ["-" * widths[0]] + ["-" * (width - 1) + ":" for width in widths[1:]]
    lines = []
    for row in [cells[0], rule, *cells[1:]]:
        rest = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append(f"| {' | '.join([row[0].ljust(widths[0]), *rest])} |")
    return "\n".join(lines)


def times(value: float | None) -> str:
    """A ratio as text."""
    if value is None:
        return NOTHING
    return f"{value:.0f}x" if value >= 100 else f"{value:.1f}x" if value >= 10 else f"{value:.2f}x"


def with_spread(rounds: Sequence[float]) -> str:
    """The median ratio, and how far off it the furthest round is, in percent of it."""
    if len(rounds) < 2:
        return times(rounds[0] if rounds else None)
    middle = median(rounds)
    furthest = max(abs(found / middle - 1) for found in rounds)
    return f"{times(middle)} ±{furthest:.0%}" if furthest < 1 else f"{times(middle)} ±>99%"


def in_microseconds(entry: Entry | None) -> str:
    """The median time of a step."""
    return NOTHING if entry is None else f"{median(entry['seconds']) * 1e6:.4g}"


def machine_lines(results: Results) -> list[str]:
    """The machine, the versions and the options as a Markdown list."""
    machine = results["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    lines = [
        f"- machine: {machine['processor']}, {machine['cores']} cores, {machine['system']}",
        f"- versions: Python {machine['python']}, {versions}",
        f"- threads: {threads_in_words(results)}",
        f"- dtype: {', '.join(sorted({r['dtype'] for r in results['cases']})) or NOTHING}",
    ]
    if speed := machine.get("speed"):
        peaks = ", ".join(f"{v:.0f} GFLOP/s {k}" for k, v in speed["gflops_per_core"].items())
        memory = ", ".join(f"{v:.0f} GB/s {n} thr" for n, v in speed["gb_per_second"].items())
        lines.append(f"- measured peak of a core: {peaks}; memory: {memory}")
    loads = [machine["load_average"], machine.get("load_average_at_end")]
    return [*lines, f"- load average at start and end: {loads[0]}, {loads[1]}"]


def threads_in_words(results: Results) -> str:
    """Who had how many."""
    threads = results["threads"]
    if results.get("best_threads") and threads > 1:
        return f"fastnn {threads}, each rival its best of 1 and {threads}"
    return f"{threads} for all"


def group_table(group: str, cases: Sequence[Results], results: Results) -> str:
    """The table of a group, with a column for every rival that was timed in it."""
    threads = results["threads"]
    rivals = list(dict.fromkeys(e["contestant"] for r in cases for e in r["contestants"]))
    rivals = [name for name in rivals if name != OURS]
    limited = has_limit(group)
    limit = "of bandwidth" if limited and any(r["bytes"] for r in cases) else "of peak"
    rows = []
    for result in cases:
        base = ours(result, threads)
        row = [result["case"], in_microseconds(base)]
        row += [_cell(result, name, threads) for name in rivals]
        row.append(with_spread(rounds_of(ours(result, 1), base)) if threads > 1 else NOTHING)
        if limited:
            row.append(share(result, results["machine"], threads))
        rows.append(row)
    header = ["case", "fastnn µs", *rivals, "1 thread", *([limit] if limited else [])]
    return table(header, rows)


def _cell(result: Results, contestant: str, threads: int) -> str:
    """A rival's ratio, or what became of it."""
    found = rounds_to(result, contestant, threads)
    entries = [e for e in result["contestants"] if e["contestant"] == contestant]
    if found or not entries:
        return with_spread(found)
    return "failed" if entries[0]["failure"] else "wrong" if not entries[0]["agrees"] else NOTHING


def goals_table(results: Results) -> str:
    """Each ratio that has a goal, next to it; empty if none has."""
    rows = []
    for result in results["cases"]:
        for name, goal in result["goals"].items():
            reached = ratio_to(result, name, results["threads"])
            against = f"the best of {', '.join(BEST_OF)}" if name == BEST else name
            words = [result["case"], against, f"{goal[0]:g}x", f"{goal[1]:g}x"]
            rows.append([*words, times(reached), verdict(reached, Goal(*goal))])
    header = ["case", "against", "at least", "aim", "measured", "verdict"]
    return table(header, rows) if rows else ""


def text(results: Results) -> str:
    """Everything in Markdown: the machine, a table per group, and what went wrong."""
    parts = ["\n".join(machine_lines(results))]
    parts.append(
        "fastnn's µs per step or call, and how many times as long each rival takes by its best "
        "setting:\nabove 1x fastnn is faster.  ± is how far off the furthest round was.  "
        '"1 thread" is fastnn\'s own.'
    )
    for group, cases in by_group(results).items():
        parts += [f"## {group}", group_table(group, cases, results)]
    parts += [*cut_lines(results), *wrong_lines(results)]
    return "\n\n".join(parts)


def cut_lines(results: Results) -> list[str]:
    """In how many cases rivals made fewer steps than fastnn, which makes all."""
    cases = results["cases"]
    cut = sum(any(e["seconds"] and e["steps"] < result["steps"] for e in result["contestants"])
              for result in cases)  # fmt: skip
    seconds = STEP_SECONDS[results.get("full", False)]
    return [
        f"Rivals made fewer steps a turn than fastnn in {cut} of {len(cases)} cases (about as many "
        f"as fit into {seconds:g} s); `--json` saves how many."
    ] if cut else []  # fmt: skip


def wrong_lines(results: Results) -> list[str]:
    """What failed or disagreed, and in which cases, in one part of the text."""
    found: dict[str, list[str]] = {}
    for result in results["cases"]:
        for entry in result["contestants"]:
            if entry["failure"]:
                what = f"{entry['label']} FAILED: {entry['failure']}"
            elif not entry["agrees"]:
                name, distance = max(entry["distances"].items(), key=lambda item: item[1])
                how_far = f"{name} is {distance:.3g} times as far off as allowed"
                what = f"{entry['label']} DISAGREES: {how_far}"
            else:
                continue
            found.setdefault(what, []).append(result["case"])
    lines = [f"- {what} ({'; '.join(names)})" for what, names in found.items()]
    return ["## Not timed\n\n" + "\n".join(lines)] if lines else []


def readme_block(results: Results) -> str:
    """The README's tables: the machine and every case; the kernels' can be opened."""
    parts = ["\n".join(machine_lines(results))]
    for group, cases in by_group(results).items():
        found = f"**{group[0].upper()}{group[1:]}**\n\n{group_table(group, cases, results)}"
        if group.startswith("kernels"):
            found = f"<details><summary>{group}</summary>\n\n{found}\n\n</details>"
        parts.append(found)
    return "\n\n".join(parts)


def by_group(results: Results) -> dict[str, list[Results]]:
    """The cases by the table that they stand in."""
    groups: dict[str, list[Results]] = {}
    for result in results["cases"]:
        groups.setdefault(result["group"], []).append(result)
    return groups
