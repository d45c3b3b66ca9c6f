"""Stored results: ``python -m bench report``.

``--readme RESULTS.json`` prints the README's tables; ``--write README.md`` puts them between the
two marker comments there.  ``--goals RESULTS.json`` prints how the ratios stand to what fastnn's
developers want to reach.  ``--plot RESULTS.json --write PICTURE.png`` draws the curves of
``python -m bench --plot``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bench import pictures, stored, tables
from bench.ratios import Results
from fastnn import command

BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The words of the command."""
    results = parser.add_mutually_exclusive_group(required=True)
    results.add_argument("--readme", metavar="RESULTS.json", help="the table of stored results")
    results.add_argument("--goals", metavar="RESULTS.json", help="what the ratios should become")
    results.add_argument("--plot", metavar="RESULTS.json", help="curves of 'steps over *', as PNG")
    parser.add_argument("--write", metavar="FILE", help="the README.md with markers, or the PNG")


def run(options: argparse.Namespace) -> int:
    """What the options ask for; the exit code."""
    if options.goals is not None:
        show_goals(options.goals, options.write)
    elif options.plot is not None:
        draw_stored(options.plot, options.write)
    else:
        show_tables(options.readme, options.write)
    return 0


def cases_from(path: str) -> Results:
    """Stored results that have cases."""
    results = stored.read_json(path)
    if "cases" not in results:
        raise ValueError(f"{path} has no cases of `python -m bench`")
    return results


def show_tables(path: str, readme: str | None) -> None:
    """Print the tables, or put them into a README."""
    block = tables.readme_block(cases_from(path))
    if readme is None:
        command.say(block)
    else:
        write_readme(readme, block)


def write_readme(path: str, block: str) -> None:
    """Put the block between the markers of a file."""
    place = Path(path)
    content = place.read_text(encoding="utf-8")
    before, found_begin, rest = content.partition(BEGIN)
    _, found_end, after = rest.partition(END)
    if not (found_begin and found_end):
        raise ValueError(f"{path} has no lines {BEGIN} and {END}")
    place.write_text(f"{before}{BEGIN}\n\n{block}\n\n{END}{after}", encoding="utf-8")


def show_goals(path: str, unwanted: str | None) -> None:
    """Print the ratios next to their goals."""
    if unwanted is not None:
        raise ValueError("--goals prints only: --write goes with --readme or --plot")
    command.say(tables.goals_table(cases_from(path)))


def draw_stored(path: str, picture: str | None) -> None:
    """Draw the curves."""
    if picture is None:
        raise ValueError("--plot needs --write PICTURE.png")
    stored.check_apart(picture, path)
    results = cases_from(path)
    pictures.check({case["group"] for case in results["cases"]}, picture)
    pictures.draw(results, picture)
