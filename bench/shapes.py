"""What stored results must look like, and what is wrong with those that do not."""

from __future__ import annotations

import sys
from numbers import Real
from typing import Any

from bench.ratios import Results, has_limit


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


# What the tables need of results, in the shape that it has: of `python -m bench`, of
# `python -m bench.processes` and of the book's scripts, which share a file.
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
