"""What a figure depends on besides the code: the machine, and how fast it can be at all.

The peak is measured with multiply-adds on registers alone, the bandwidth of the memory
with ``a = b + s * c`` over arrays much larger than caches, both in the same run as the
figures that are compared with them.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from bench import limits
from fastnn.compiler.tiles import TILE_ROWS, TILE_VECTORS, VECTOR_BYTES
from fastnn.training.plan import aligned_zeros

PACKAGES = ("fastnn", "numba", "numpy", "scipy", "jax", "jaxlib", "torch", "scikit-learn")
ROUNDS = 7
TURN_SECONDS = 0.02
# Of each of the three arrays: far more than the last cache of a processor of today.
TRIAD_BYTES = 1 << 27


def describe() -> dict[str, Any]:
    """The machine, the versions of all that is compared, and how busy the machine is."""
    return {
        "processor": processor_name(),
        "cores": available_cores(),
        "cache_bytes": cache_bytes(),
        "vector_bytes": VECTOR_BYTES,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: found for name in PACKAGES if (found := version(name))},
        "load_average": load_average(),
    }


def in_one_line(facts: dict[str, Any]) -> str:
    """What a small program says of the machine."""
    return f"{facts['processor']}, {facts['cores']} cores, load {facts['load_average']}"


def available_cores() -> int:
    """How many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor_name() -> str:
    """The processor's name and the widest vectors it has."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    fields = {key.strip(): value.strip() for key, value in pairs}
    flags = fields.get("flags", "").split()
    vectors = next((name for name in ("avx512f", "avx2") if name in flags), "")
    return " ".join(filter(None, [fields.get("model name", platform.machine()), vectors]))


def cache_bytes() -> int | None:
    """The size of the last cache, where the system tells it."""
    sizes = []
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        number, unit = path.read_text().strip()[:-1], path.read_text().strip()[-1]
        sizes.append(int(number) << {"K": 10, "M": 20}[unit])
    return max(sizes, default=None)


def load_average() -> float | None:
    """Processes lately waiting for a core: above the count of cores, distrust all figures."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def version(package: str) -> str | None:
    """The installed version, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


# How fast the machine can be ----------------------------------------------------------


def speed(threads: int) -> dict[str, Any]:
    """GFLOP/s of one core by precision, and GB/s of the memory for one thread and for all."""
    return {
        "gflops_per_core": {dtype: peak(dtype) for dtype in ("float32", "float64")},
        "gb_per_second": {str(n): bandwidth(n) for n in sorted({1, threads})},
    }


def peak(dtype: str) -> float:
    """GFLOP/s of multiply-adds on registers, on one core."""
    call, work = peak_call(dtype)
    return median(rate(call, work, calibrated(call)) for _ in range(ROUNDS))


def peak_call(dtype: str) -> tuple[Callable[[int], Any], int]:
    """A function of a number of repeats, and the floating-point operations of a repeat."""
    registers = aligned_zeros(8192, np.dtype(dtype))
    lanes = TILE_ROWS * TILE_VECTORS * VECTOR_BYTES // np.dtype(dtype).itemsize
    return lambda repeats: limits.multiply_adds.serial(1, repeats, registers), 2 * lanes


def rate(call: Callable[[int], Any], work: float, repeats: int) -> float:
    """Billions per second of what a repeat does `work` of."""
    began = time.perf_counter()
    call(repeats)
    return 1e-9 * work * repeats / (time.perf_counter() - began)


def calibrated(call: Callable[[int], Any]) -> int:
    """As many repeats as take about TURN_SECONDS."""
    call(1)  # compiles
    repeats = 1
    while rate(call, 1e9 * TURN_SECONDS, repeats) > repeats:
        repeats *= 2
    return repeats


def bandwidth(threads: int) -> float:
    """GB/s that so many threads read and write together, two thirds of them reads."""
    count, half = TRIAD_BYTES // 4 // threads, np.float32(0.5)
    work = [[np.ones(count, np.float32) for _ in "abc"] for _ in range(threads)]
    with ThreadPoolExecutor(threads) as pool:

        def sweep(repeats: int) -> None:
            for _ in range(repeats):
                list(pool.map(lambda arrays: limits.triad.serial(1, half, *arrays), work))

        sweep(1)  # compiles
        return median(rate(sweep, 12 * count * threads, 1) for _ in range(ROUNDS))
