"""What the times say: ratios within rounds, shares of what the machine can do, and verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

from bench.cases import BEST, BEST_OF, Goal
from bench.contestants import OURS

NOTHING, IN_CACHE = "–", "in cache"
# Results of a whole run: of the machine, of `clock.measure` under "cases", and the options.
Results = dict[str, Any]
Entry = dict[str, Any]


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
    """Whether a group's times are compared with what the machine can do.

    Kernels' are, and those of convolutions, which skip nothing.
    """
    return group.startswith(("kernels", "convolution"))


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


def verdict(reached: float | None, goal: Goal, *, less_is_better: bool = False) -> str:
    """How a value stands to what it should be at the least, and to what it aims at."""
    if reached is None:
        return "not measured"
    at_least, aim = (reached <= bound if less_is_better else reached >= bound
                     for bound in (goal.at_least, goal.aim))  # fmt: skip
    return "met, aim too" if at_least and aim else "met" if at_least else "missed"
