"""What the benchmark programs print: the machine, and tables in Markdown."""

import json
import os
import platform
from importlib import metadata
from pathlib import Path

PACKAGES = ("fastnn", "numba", "numpy", "jax", "jaxlib", "torch", "scikit-learn")


def machine():
    """Describe what a figure depends on besides the code."""
    return {
        "processor": processor_name(),
        "cores": available_cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "load_average": load_average(),
    }


def available_cores():
    """Return how many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor_name():
    """Return the processor's name and the widest vectors it has."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    fields = {key.strip(): value.strip() for key, value in fields.items()}
    flags = fields.get("flags", "").split()
    vectors = next((name for name in ("avx512f", "avx2") if name in flags), "")
    return " ".join(filter(None, [fields.get("model name", platform.machine()), vectors]))


def load_average():
    """Return the processes lately waiting for a core: above the count of cores, distrust all."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def version(package):
    """Return the installed version, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def print_machine(facts, **more):
    """Print the machine's description as a list."""
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items() if number)
    print(f"- machine: {facts['processor']}, {facts['cores']} cores, {facts['system']}")
    print(f"- versions: Python {facts['python']}, {versions}")
    print(f"- load average at the start: {facts['load_average']}")
    for name, value in more.items():
        print(f"- {name.replace('_', ' ')}: {value}")
    print(flush=True)


def print_table(header, rows):
    """Print a Markdown table: first column to the left, the others to the right."""
    cells = [[str(cell) for cell in row] for row in [header, *rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    rule = ["-" * widths[0]] + ["-" * (width - 1) + ":" for width in widths[1:]]
    for row in [cells[0], rule, *cells[1:]]:
        first = row[0].ljust(widths[0])
        rest = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        print(f"| {' | '.join([first, *rest])} |")
    print(flush=True)


def times(ratio):
    """Format a ratio, or a dash for one that could not be measured."""
    return "–" if ratio is None else f"{ratio:.2f}x"


def write_json(path, content):
    """Save everything that was measured."""
    Path(path).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
