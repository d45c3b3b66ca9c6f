"""Time a training step of fastnn and of its rivals, side by side: `python -m bench.training`.

Answers are compared with a float64 reference before any clock starts. Then the contestants take
turns (A B C A B C ...) for several rounds, so that a slow minute of the machine meets them all. A
ratio is the median over the rounds of (the rival's time / fastnn's time in the same round).
"""

import argparse
import sys
import tempfile
from fnmatch import fnmatch
from statistics import median

from bench import agreement, inputs, report
from bench.cases import BEST, BEST_OF, CASES, NEVER_SLOWER
from bench.rivals import CONTESTANTS
from bench.worker import ContestantFailedError, Setting, Worker, settings_of

OURS = "fastnn"


def main():
    options = parse_options()
    facts = report.machine()
    print("# Training steps\n")
    report.print_machine(facts, threads=threads_in_words(options), dtype="float32")
    workers = start_workers(options)
    results = []
    try:
        with tempfile.TemporaryDirectory(prefix="fastnn-bench-") as folder:
            for case in chosen_cases(options.cases):
                place = inputs.write(case.data, case.layer_sizes[0], folder)
                results.append(measure(case, place, workers, options.rounds))
                print_case(case, results[-1], options.threads)
    finally:
        for worker in workers:
            worker.stop()
    print_summary(results, options.threads)
    print_goals(results, options.threads)
    facts["load_average_at_end"] = report.load_average()
    print(f"Load average at the end: {facts['load_average_at_end']}")
    if options.json:
        report.write_json(options.json, {"machine": facts, "cases": results})
    return any(not entry["agrees"] for result in results for entry in result["contestants"])


def parse_options():
    parser = argparse.ArgumentParser(prog="python -m bench.training", description=__doc__)
    names = ", ".join(case.name for case in CASES)
    parser.add_argument("--cases", nargs="+", default=["*"], help=f"names or patterns of: {names}")
    parser.add_argument(
        "--contestants", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS), metavar="NAME"
    )
    parser.add_argument("--rounds", type=int, default=9, help="turns of each contestant")
    parser.add_argument(
        "--threads", type=int, default=report.available_cores(), help="for all contestants alike"
    )
    parser.add_argument(
        "--best-threads",
        action="store_true",
        help="time each rival with one thread, too, and count the better of the two",
    )
    parser.add_argument("--json", metavar="FILE", help="save everything measured")
    options = parser.parse_args()
    if options.rounds < 1 or options.threads < 1:
        parser.error("--rounds and --threads must be at least 1")
    if not chosen_cases(options.cases):
        parser.error(f"no case is named {' or '.join(options.cases)}; there are {names}")
    return options


def chosen_cases(patterns):
    return [case for case in CASES if any(fnmatch(case.name, pattern) for pattern in patterns)]


def threads_in_words(options):
    if options.best_threads:
        return f"fastnn {options.threads}, each rival its best of 1 and {options.threads}"
    return f"{options.threads} for all contestants"


def start_workers(options):
    """Start a process for each contestant and setting; say which libraries are missing."""
    settings = []
    for name in options.contestants:
        if not CONTESTANTS[name].is_installed():
            print(f"{name} is left out: {CONTESTANTS[name].library} is not installed.\n")
            continue
        settings += settings_of(name, options.threads, options.best_threads)
        if name == OURS and options.threads > 1:
            settings.append(Setting(OURS, 1))
    return [Worker(setting) for setting in settings]


def measure(case, place, workers, rounds):
    """Return what is known of each contestant on this case, its times included."""
    expected = reference_answers(case, place)
    entries, able = [], []
    for worker in workers:
        entry = check(case, place, worker, expected)
        entries.append(entry)
        if entry["agrees"]:
            able.append((worker, entry))
    for _ in range(rounds):
        for worker, entry in able:
            time_once(case, worker, entry)
    return {"case": case.name, "title": case.title, "contestants": entries}


def time_once(case, worker, entry):
    """Add a round's time; a contestant that fails meanwhile loses all of them."""
    if entry["failure"]:
        return
    try:
        entry["seconds_per_step"].append(worker.time_steps() / case.steps)
    except ContestantFailedError as failure:
        entry.update(agrees=False, failure=str(failure), seconds_per_step=[])


def reference_answers(case, place):
    """Return the start and the float64 reference's losses and weights after the first steps."""
    x, t = inputs.read(place)
    start = inputs.start_params(case.layer_sizes)
    batches = inputs.draw_batches(case.steps, case.batch, rows=len(x))[: case.check_steps]
    sizes = case.layer_sizes
    return start, *agreement.reference(sizes, case.activation, start, x, t, batches, case.lr)


def check(case, place, worker, expected):
    """Run a contestant's first steps and compare its answers with the reference's."""
    setting = worker.setting
    entry = {
        "contestant": setting.contestant,
        "threads": setting.threads,
        "label": setting.label,
        "loss_error": None,
        "params_error": None,
        "agrees": True,
        "failure": None,
        "seconds_per_step": [],
    }
    start, expected_losses, expected_params = expected
    try:
        losses, params = worker.prepare(case, place)
    except ContestantFailedError as failure:
        return {**entry, "agrees": False, "failure": str(failure)}
    if CONTESTANTS[setting.contestant].same_batches:
        entry["loss_error"] = agreement.loss_error(losses, expected_losses)
        entry["params_error"] = agreement.params_error(params, expected_params, start)
        entry["agrees"] = agreement.agrees(entry["loss_error"], entry["params_error"])
    return entry


def entries_of(result, contestant):
    return [
        entry
        for entry in result["contestants"]
        if entry["contestant"] == contestant and entry["seconds_per_step"]
    ]


def ours(result, threads):
    """Return fastnn's entry with that many threads, or None."""
    matching = [entry for entry in entries_of(result, OURS) if entry["threads"] == threads]
    return matching[0] if matching else None


def best_setting(entries):
    """Return the entry with the smallest median time, or None."""
    return min(entries, key=lambda entry: median(entry["seconds_per_step"]), default=None)


def ratio(entry, base):
    """Return how many times `base`'s time `entry` takes: the median over the rounds."""
    if entry is None or base is None:
        return None
    pairs = zip(entry["seconds_per_step"], base["seconds_per_step"], strict=True)
    return median(theirs / own for theirs, own in pairs)


def print_case(case, result, threads):
    print(f"## {case.name}: {case.title}\n")
    header = ["contestant", "µs per step", "least – most", "× fastnn", "GFLOP/s", "loss, weights"]
    base = ours(result, threads)
    report.print_table(header, [case_row(case, entry, base) for entry in result["contestants"]])
    for entry in result["contestants"]:
        if entry["failure"]:
            print(f"{entry['label']} did not run: {entry['failure']}\n")
        elif not entry["agrees"]:
            print(f"{entry['label']} DISAGREES with the reference and is not timed.\n")


def case_row(case, entry, base):
    seconds = entry["seconds_per_step"]
    if entry["loss_error"] is None:
        errors = "own batches" if entry["failure"] is None else "failed"
    else:
        errors = f"{entry['loss_error']:.0e}, {entry['params_error']:.0e}"
    if not seconds:
        return [entry["label"], "–", "–", "–", "–", errors]
    return [
        entry["label"],
        f"{median(seconds) * 1e6:.1f}",
        f"{min(seconds) * 1e6:.1f} – {max(seconds) * 1e6:.1f}",
        report.times(ratio(entry, base)),
        f"{case.flops / median(seconds) / 1e9:.0f}",
        errors,
    ]


def print_summary(results, threads):
    """Print one line per case: ratios to fastnn, and its own two threads against one."""
    print("## Ratios: a rival's time / fastnn's\n")
    rivals = [name for name in CONTESTANTS if name != OURS]
    rows = []
    for result in results:
        base = ours(result, threads)
        ratios = ratios_of(result, threads)
        rows.append(
            [
                result["case"],
                f"{median(base['seconds_per_step']) * 1e6:.1f}" if base else "–",
                *[report.times(ratios[name]) for name in (*rivals, BEST, OURS)],
            ]
        )
    header = ["case", "fastnn µs", *rivals, f"best of {', '.join(BEST_OF)}", "fastnn, 1 thr"]
    report.print_table(header, rows)


def ratios_of(result, threads):
    """Return each contestant's ratio to fastnn, the best rival's, and fastnn's on one thread."""
    base = ours(result, threads)
    ratios = {name: ratio(best_setting(entries_of(result, name)), base) for name in CONTESTANTS}
    ratios[BEST] = min((ratios[name] for name in BEST_OF if ratios[name]), default=None)
    ratios[OURS] = ratio(ours(result, 1), base) if threads > 1 else None
    return ratios


def print_goals(results, threads):
    """Print each ratio that has a goal next to it."""
    goals = {case.name: case.goals for case in CASES}
    rows = []
    for result in results:
        ratios = ratios_of(result, threads)
        for name, goal in goals[result["case"]].items():
            against = f"the best of {', '.join(BEST_OF)}" if name == BEST else name
            row = [result["case"], against, f"{goal.at_least:g}x", f"{goal.aim:g}x"]
            rows.append([*row, report.times(ratios[name]), verdict(ratios[name], goal)])
        if threads > 1:
            row = [result["case"], "fastnn, 1 thread", "1x", "–"]
            rows.append([*row, report.times(ratios[OURS]), verdict(ratios[OURS], NEVER_SLOWER)])
    print("## Goals\n")
    report.print_table(["case", "against", "at least", "aim", "measured", "verdict"], rows)


def verdict(reached, goal):
    """Say how a ratio stands to its goal."""
    if reached is None:
        return "not measured"
    if reached < goal.at_least:
        return "missed"
    return "aim met" if reached >= goal.aim else "met"


if __name__ == "__main__":
    sys.exit(main())
