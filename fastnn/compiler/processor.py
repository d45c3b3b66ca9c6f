"""The processor that machine code is made for: a level of the x86-64 instructions, not one model.

Code that is kept on disk, in an image or in a wheel thus serves every processor of its level.  It
is as fast as code for the model it runs on, 0.96 to 1.06 of its seconds in 17 cases, as the vectors
of the kernels are written by hand.

FASTNN_PROCESSOR names another level, for who makes code for other machines; "host" is this very
processor, which Numba makes its own code for.
"""

from __future__ import annotations

import os
from typing import Any

import llvmlite.binding
import numba

_AVX2 = ("avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe", "popcnt", "sse4.2", "xsave")
_AVX512 = ("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")
# What each level has, as the psABI of x86-64 says; the best comes first.
LEVELS = {"x86-64-v4": (*_AVX2, *_AVX512), "x86-64-v3": _AVX2}
HOST = "host"
VARIABLE = "FASTNN_PROCESSOR"


def _has(level: str) -> bool:
    features = llvmlite.binding.get_host_cpu_features()
    return all(features.get(name) for name in LEVELS[level])


def _best_level() -> str:
    return next((level for level in LEVELS if _has(level)), HOST)


def why_impossible() -> str | None:
    """Say what is wrong with FASTNN_PROCESSOR, or None."""
    named = os.environ.get(VARIABLE) or HOST
    if named == HOST or (named in LEVELS and _has(named)):
        return None
    able = [level for level in LEVELS if _has(level)]
    return f"{VARIABLE} must be one of {[*able, HOST]}, as this processor is, not {named!r}"


def _level() -> str:
    """The level that code is made for, or HOST."""
    named = os.environ.get(VARIABLE)
    if named and why_impossible() is None:
        return named
    return _best_level()


def _vector_bytes() -> int:
    """Bytes of a vector of the kernels: a register of the level, or FASTNN_VECTOR_BYTES."""
    forced = os.environ.get("FASTNN_VECTOR_BYTES")
    if forced in ("16", "32", "64"):
        return int(forced)
    if LEVEL == HOST:
        return 64 if llvmlite.binding.get_host_cpu_features().get("avx512f") else 32
    return 64 if "avx512f" in LEVELS[LEVEL] else 32


LEVEL = _level()
VECTOR_BYTES = _vector_bytes()


def level() -> str:
    """The level that code is made for now: HOST if Numba's settings choose a processor."""
    config: Any = numba.config
    chosen = config.CPU_NAME is not None or config.CPU_FEATURES is not None
    return HOST if chosen or not config.ENABLE_AVX else LEVEL


def described(codegen: Any) -> tuple[str, ...]:
    """What decides on the machine code, for the compile cache."""
    triple, *model = codegen.magic_tuple()
    return (triple, level()) if level() != HOST else (triple, *model)


def target_machine(codegen: Any) -> Any:
    """LLVM's description of the processor for which to make code, beside Numba's for all others."""
    if level() == HOST:
        return codegen._tm
    options: dict[str, Any] = {"opt": int(numba.config.OPT)}  # type: ignore[attr-defined]
    codegen._customize_tm_options(options)  # as Numba has them for code that runs where it is made
    options |= {"cpu": level(), "features": ""}
    target = llvmlite.binding.Target.from_triple(llvmlite.binding.get_process_triple())
    return target.create_target_machine(**options)
