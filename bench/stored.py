"""Results in a file that several programs share: read, checked, written whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import suppress
from pathlib import Path

from bench.ratios import Results
from bench.shapes import BESIDE, PARTS, contradiction, misshapen


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
