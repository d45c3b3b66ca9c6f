"""What came out, in words: Markdown tables and JSON.

``python -m fastnn.benchmarks.report --readme RESULTS.json`` prints the README's table from
stored results; ``--write README.md`` puts it between the two marker comments there.  ``--goals
RESULTS.json`` prints how the ratios stand to what fastnn's developers want to reach.  ``--plot
RESULTS.json --write PICTURE.png`` draws the curves of ``fastnn bench --plot``.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from numbers import Real
from pathlib import Path
from statistics import median
from typing import Any

from fastnn import command
from fastnn.benchmarks import ending
from fastnn.benchmarks.cases import BEST, BEST_OF
from fastnn.benchmarks.clock import STEP_SECONDS
from fastnn.benchmarks.workers import OURS

BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"
NOTHING, IN_CACHE = "–", "in cache"
# Results of a whole run: of the machine, of `clock.measure` under "cases", and the options.
Results = dict[str, Any]
Entry = dict[str, Any]


def is_positive(value: Any) -> bool:
    """Whether this is a finite number above zero."""
    return isinstance(value, int | float) and 0 < value <= sys.float_info.max


def is_whole(value: Any) -> bool:
    """Whether this is 0, 1, 2 ..."""
    return isinstance(value, int) and value >= 0


def is_count(value: Any) -> bool:
    """Whether this is 1, 2, 3 ..."""
    return isinstance(value, int) and value >= 1


def is_name(value: Any) -> bool:
    """Whether this is a string that is not empty."""
    return isinstance(value, str) and value != ""


def are_turns(value: Any) -> bool:
    """Whether this is a list of seconds, which is empty for who was not timed."""
    return isinstance(value, list) and all(map(is_positive, value))


def is_work(value: Any) -> bool:
    """Whether this is an amount of work, which is 0 where it is not known."""
    return value == 0 or is_positive(value)


def are_goals(value: Any) -> bool:
    """Whether these are pairs of ratios by the rival's name."""
    return isinstance(value, dict) and all(
        isinstance(pair, list) and len(pair) == 2 and all(map(is_positive, pair))
        for pair in value.values()
    )


def are_distances(value: Any) -> bool:
    """Whether these are numbers by the name of an answer; infinity is one."""
    return isinstance(value, dict) and all(isinstance(each, Real) for each in value.values())


def are_speeds(value: Any) -> bool:
    """Whether these are speeds by the name of what has them."""
    return isinstance(value, dict) and len(value) > 0 and all(map(is_positive, value.values()))


# What the tables need of results, in the shape that it has: of this program, of
# `python -m fastnn.benchmarks.processes` and of the book's scripts, which share a file.
ENTRY = {"contestant": is_name, "threads": is_count, "label": str, "agrees": bool,
         "distances": are_distances, "failure": object, "steps": is_whole,
         "seconds": are_turns}  # fmt: skip
CASE = {"case": is_name, "group": is_name, "dtype": is_name, "steps": is_whole, "flops": is_work,
        "bytes": is_whole, "goals": are_goals, "contestants": [ENTRY]}  # fmt: skip
PARTS: dict[str, Any] = {"cases": [CASE], "processes": dict, "book": dict}
MACHINE = {"processor": str, "cores": is_count, "system": str, "python": str, "versions": dict,
           "load_average": object}  # fmt: skip
BESIDE: dict[str, dict[str, Any]] = {"cases": {"machine": MACHINE, "threads": is_count}}
SPEED = {"gflops_per_core": are_speeds, "gb_per_second": are_speeds}


# Numbers ------------------------------------------------------------------------------


def entries_of(result: Results, contestant: str) -> list[Entry]:
    """A contestant's settings that were timed."""
    return [e for e in result["contestants"] if e["contestant"] == contestant and e["seconds"]]


def ours(result: Results, threads: int) -> Entry | None:
    """The entry of fastnn with that many threads."""
    return next((e for e in entries_of(result, OURS) if e["threads"] == threads), None)


def best_setting(entries: Sequence[Entry]) -> Entry | None:
    """The setting with the smallest median; the hopeless ones were not timed to the end."""
    turns = max((len(e["seconds"]) for e in entries), default=0)
    whole = [e for e in entries if len(e["seconds"]) == turns]
    return min(whole, key=lambda e: median(e["seconds"]), default=None)


def rounds_of(entry: Entry | None, base: Entry | None) -> list[float]:
    """How many times as long as `base` an entry took in each round."""
    if entry is None or base is None:
        return []
    pairs = zip(entry["seconds"], base["seconds"], strict=False)
    return [theirs / own for theirs, own in pairs]


def ratio_to(result: Results, contestant: str, threads: int) -> float | None:
    """The median of a rival's rounds; of `BEST` the least of them all."""
    if contestant == BEST:
        found = [ratio_to(result, name, threads) for name in BEST_OF]
        return min((value for value in found if value is not None), default=None)
    rounds = rounds_to(result, contestant, threads)
    return median(rounds) if rounds else None


def rounds_to(result: Results, contestant: str, threads: int) -> list[float]:
    """A rival's ratios by its best setting, a round each."""
    return rounds_of(best_setting(entries_of(result, contestant)), ours(result, threads))


def ratios_of(result: Results, threads: int) -> dict[str, dict[str, float]]:
    """What the tables say of each rival: the median of its rounds, the lowest and the highest."""
    names = dict.fromkeys(e["contestant"] for e in result["contestants"])
    found = {name: rounds_to(result, name, threads) for name in names if name != OURS}
    return {name: {"median": median(rounds), "lowest": min(rounds), "highest": max(rounds)}
            for name, rounds in found.items() if rounds}  # fmt: skip


def has_limit(group: str) -> bool:
    """Whether a group's times are compared with what the machine can do: kernels' are."""
    return group.startswith("kernels")


def share(result: Results, machine: Results, threads: int) -> str:
    """How much of the machine's peak or of its memory's bandwidth, with all threads.

    Arrays that fit the last cache may not come from the memory, whose bandwidth so says nothing.
    """
    base, speed = ours(result, threads), machine.get("speed")
    if base is None or not speed:
        return NOTHING
    seconds = median(base["seconds"])
    if result["flops"]:
        top = speed["gflops_per_core"][result["dtype"]] * threads
        return f"{1e-9 * result['flops'] / seconds / top:.0%}"
    if result["bytes"]:
        part = 1e-9 * result["bytes"] / seconds / max(speed["gb_per_second"].values())
        cache = machine.get("cache_bytes") or 0
        fits = result.get("array_bytes", cache + 1) <= cache
        return IN_CACHE if fits or part > 1 else f"{part:.0%}"
    return NOTHING


def verdict(reached: float | None, goal: Sequence[float]) -> str:
    """How a ratio stands to what it should be at the least, and to what it aims at."""
    if reached is None:
        return "not measured"
    if reached < goal[0]:
        return "missed"
    return "met, aim too" if reached >= goal[1] else "met"


# Tables -------------------------------------------------------------------------------


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
            rows.append([*words, times(reached), verdict(reached, goal)])
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


# Files --------------------------------------------------------------------------------


def write_json(path: str, results: Results) -> None:
    """Save everything that was measured, beside what the file has of other programs."""
    known = read_json(path) if os.path.isfile(path) else {}
    content = json.dumps(known | results, indent=1) + "\n"
    if is_replaced(path):
        replace(os.path.realpath(path), content)
    else:
        Path(path).write_text(content, encoding="utf-8")


def is_replaced(path: str) -> bool:
    """Whether a file is, or will be, a regular one; /dev/null and the like are not."""
    return os.path.isfile(path) or not os.path.exists(path)


def replace(path: str, content: str) -> None:
    """Write a file whole or not at all, whatever ends this process."""
    new = beside(path)
    try:
        Path(new).write_text(content, encoding="utf-8")
        with suppress(FileNotFoundError):
            shutil.copymode(path, new)
        os.replace(new, path)
    finally:
        with suppress(FileNotFoundError):
            os.remove(new)


def beside(path: str) -> str:
    """Where a file's next content is written before it takes the file's place."""
    return f"{path}.{os.getpid()}"


def read_json(path: str) -> Results:
    """What `write_json` saved."""
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} has no results: {error}") from None
    wrong = "it is no JSON object" if not isinstance(found, dict) else ""
    if not wrong and found.keys().isdisjoint(PARTS):
        wrong = f"it has none of {', '.join(PARTS)}"
    for part in () if wrong else found.keys() & PARTS.keys():
        wrong = wrong or misshapen(found, {part: PARTS[part], **BESIDE.get(part, {})})
    if not wrong and "cases" in found:
        wrong = contradiction(found)
    if wrong:
        raise ValueError(f"{path} has no results of fastnn's: {wrong}")
    return found


def misshapen(found: Any, shape: Any, name: str = "") -> str:
    """What is missing or of the wrong kind, in words; empty if nothing is.

    A shape is a type, a function that says whether a value is right, a dict of shapes, or a list
    with the shape of each of its items, of which there must be one.
    """
    if callable(shape) and not isinstance(shape, type):
        return "" if shape(found) else f"{name} is wrong"
    kind: Any = shape if isinstance(shape, type) else type(shape)
    if not isinstance(found, kind):
        return f"{name} is wrong"
    if isinstance(shape, dict):
        for key, inner in shape.items():
            where = f"{name}.{key}" if name else key
            if key not in found:
                return f"{where} is missing"
            if wrong := misshapen(found[key], inner, where):
                return wrong
    if isinstance(shape, list):
        if not found:
            return f"{name} is empty"
        words = (misshapen(each, shape[0], f"{name}[{i}]") for i, each in enumerate(found))
        return next(filter(None, words), "")
    return ""


def contradiction(results: Results) -> str:
    """What cannot be true beside the rest, though its shape is right; empty if nothing is so."""
    speed = results["machine"].get("speed")
    if speed and (wrong := misshapen(speed, SPEED, "machine.speed")):
        return wrong
    for number, case in enumerate(results["cases"]):
        where = f"cases[{number}]"
        if not is_whole(case.get("array_bytes", 0)):
            return f"{where}.array_bytes is wrong"
        needs_peak = speed and case["flops"] and has_limit(case["group"])
        if needs_peak and case["dtype"] not in speed["gflops_per_core"]:
            return f"machine.speed has no {case['dtype']}, which {where} needs"
        for place, entry in enumerate(case["contestants"]):
            if entry["seconds"] and not entry["steps"]:
                return f"{where}.contestants[{place}] was timed for 0 steps"
            if not (entry["agrees"] or entry["failure"] or entry["distances"]):
                return f"{where}.contestants[{place}].distances is empty"
    return ""


def check_json(path: str) -> None:
    """Fail now if results cannot be written there, or something else is there.

    Raises
    ------
    OSError
        If the file cannot be written.
    ValueError
        If there is a file that `write_json` has not made.
    """
    if os.path.isfile(path):
        read_json(path)
    check_writable(path)
    if is_replaced(path):
        check_writable(beside(os.path.realpath(path)))


def check_writable(path: str) -> None:
    """Fail now if a file cannot be written, and leave no file behind."""
    if not path:
        raise ValueError("'' cannot be written: the name of the file is empty")
    folder, there = os.path.dirname(path) or ".", os.path.exists(path)
    if not os.path.isdir(folder):
        raise ValueError(f"{path} cannot be written: there is no folder {folder}")
    with open(path, "ab"):
        pass
    if not there:
        os.remove(os.path.realpath(path))  # not a link to what is not there yet


def check_apart(first: str, second: str) -> None:
    """Fail now if two names are of the same file, as the second would be lost in the first."""
    if os.path.realpath(first) == os.path.realpath(second):
        raise ValueError(f"{first} and {second} are the same file")


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


def write_readme(path: str, block: str) -> None:
    """Put the block between the markers of a file."""
    place = Path(path)
    content = place.read_text(encoding="utf-8")
    before, found_begin, rest = content.partition(BEGIN)
    _, found_end, after = rest.partition(END)
    if not (found_begin and found_end):
        raise ValueError(f"{path} has no lines {BEGIN} and {END}")
    place.write_text(f"{before}{BEGIN}\n\n{block}\n\n{END}{after}", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m fastnn.benchmarks.report``."""
    return ending.run("report", lambda: _show(arguments), is_program=arguments is None)


def _show(arguments: Sequence[str] | None) -> int:
    parser = command.Parser(prog="python -m fastnn.benchmarks.report")
    stored = parser.add_mutually_exclusive_group(required=True)
    stored.add_argument("--readme", metavar="RESULTS.json", help="the table of stored results")
    stored.add_argument("--goals", metavar="RESULTS.json", help="what the ratios should become")
    stored.add_argument("--plot", metavar="RESULTS.json", help="curves of 'steps over *', as PNG")
    parser.add_argument("--write", metavar="FILE", help="the README.md with markers, or the PNG")
    options = parser.parse_args(arguments)
    if options.goals is not None:
        show_goals(options.goals, options.write)
    elif options.plot is not None:
        draw_stored(options.plot, options.write)
    else:
        show_tables(options.readme, options.write)
    return 0


def cases_from(path: str) -> Results:
    """Stored results that have cases."""
    results = read_json(path)
    if "cases" not in results:
        raise ValueError(f"{path} has no cases of `fastnn bench`")
    return results


def show_tables(path: str, readme: str | None) -> None:
    """Print the tables, or put them into a README."""
    block = readme_block(cases_from(path))
    if readme is None:
        command.say(block)
    else:
        write_readme(readme, block)


def show_goals(path: str, unwanted: str | None) -> None:
    """Print the ratios next to their goals."""
    if unwanted is not None:
        raise ValueError("--goals prints only: --write goes with --readme or --plot")
    command.say(goals_table(cases_from(path)))


def draw_stored(path: str, picture: str | None) -> None:
    """Draw the curves."""
    from fastnn.benchmarks import pictures

    if picture is None:
        raise ValueError("--plot needs --write PICTURE.png")
    check_apart(picture, path)
    results = cases_from(path)
    pictures.check({case["group"] for case in results["cases"]}, picture)
    pictures.draw(results, picture)


if __name__ == "__main__":
    sys.exit(main())
