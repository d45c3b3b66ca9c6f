"""Cases and results for the tests of the benchmarks."""

import functools
import json

import stub_contestants

from bench import clock
from bench.cases import Case, Goal

SMALL = Case(
    "small", "activation", "kernels: activations", (8,), 4,
    contestants=("numpy", "jax", "scikit-learn", "document"), goals={"numpy": Goal(1e-9, 1e9)},
)  # fmt: skip


STEPS = Case(
    "steps", "training", "steps over batch", (3, 4, 2), 5, 40, 50, "dense", lr=0.05,
    contestants=("numpy", "pytorch"),
)  # fmt: skip


@functools.cache
def measured():
    """Results of two cases, one round for each of the stubs."""
    names = ["fastnn", "numpy", "pytorch", "jax", "scikit-learn", "document"]
    seen = []
    results = list(
        clock.measure([SMALL, STEPS], 1, 1, True, names, seen.append, load=stub_contestants.load)
    )
    assert seen == ["small"] * 2 + ["steps"] * 2
    speed = {"gflops_per_core": {"float32": 100.0}, "gb_per_second": {"1": 10.0}}
    machine = {"processor": "a processor", "cores": 1, "system": "a system", "python": "3",
               "versions": {"numpy": "2"}, "load_average": 0.1, "speed": speed}  # fmt: skip
    return {"machine": machine, "threads": 1, "best_threads": True, "cases": results}


def entry(results, case, contestant):
    (result,) = (r for r in results["cases"] if r["case"] == case)
    (found,) = (e for e in result["contestants"] if e["contestant"] == contestant)
    return found


def row(name, threads, *seconds):
    return {"contestant": name, "threads": threads, "label": f"{name} ({threads} thr)",
            "agrees": True, "distances": {}, "failure": None, "steps": 1,
            "seconds": list(seconds)}  # fmt: skip


RESULT = {
    "case": "a case", "group": "kernels: affine", "dtype": "float32", "steps": 1, "flops": 4e9,
    "bytes": 0, "goals": {"numpy": [4, 8], "best": [1, 2], "jax": [2, 3]},
    "contestants": [row("fastnn", 2, 0.1, 0.2, 0.1), row("fastnn", 1, 0.2, 0.3, 0.2),
                    row("numpy", 2, 0.9), row("numpy", 1, 0.4, 0.8, 0.4),
                    row("pytorch", 2, 0.05, 0.1, 0.04)],
}  # fmt: skip


FACTS = {"processor": "a processor", "cores": 2, "system": "a system", "python": "3",
         "versions": {"numpy": "2"}, "load_average": 0.1,
         "speed": {"gflops_per_core": {"float32": 40.0}, "gb_per_second": {"2": 9.0}}}  # fmt: skip


RESULTS = {"machine": FACTS, "threads": 2, "best_threads": True, "cases": [RESULT]}


def over(group):
    sizes = {"batch": 4, "rows": 40, "sizes": [3, 4, 2]}
    return RESULT | sizes | {"case": f"a case of {group}", "group": group}


def damaged(change):
    results = json.loads(json.dumps(RESULTS))
    change(results)
    return json.dumps(results)
