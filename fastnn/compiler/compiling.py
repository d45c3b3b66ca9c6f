"""What goes on around a compilation: a word to who waits, no lines in the host's log, names.

A host may log at level DEBUG.  Numba's compiler then writes 90,000 lines for a first `fit`, which
take half as long as the compilation itself.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import logging
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

try:
    import numba
except ValueError as error:  # NUMBA_NUM_THREADS=0
    named = ", ".join(name for name in os.environ if name.startswith("NUMBA_"))
    raise ImportError(f"Numba cannot start with {named} as set: {error}") from None

from fastnn.compiler import processor
from fastnn.compiler.rounding import rounding_to_nearest

# Held by whoever compiles; a fork waits for it (see runtime).  To make Numba's first dispatcher
# takes 0.1 s and another lock of Numba's, which a child would find taken for ever.
lock: Any = contextlib.nullcontext()
with contextlib.suppress(ImportError):  # a Numba that moved it
    from numba.core import compiler_lock

    lock = compiler_lock.global_compiler_lock

bytecode: Any = None
with contextlib.suppress(ImportError):  # a Numba that moved it: no code is kept, names may repeat
    from numba.core import bytecode

# Called with the name of an entry that is about to be compiled, for a context to do it in.
announcers: list[Callable[[str], AbstractContextManager]] = []


def why_impossible() -> str | None:
    """Say which setting, of Numba or of fastnn, it cannot work with, or None."""
    features = numba.config.CPU_FEATURES  # type: ignore[attr-defined]
    if any(flag.strip()[:1] not in ("+", "-", "") for flag in (features or "").split(",")):
        # LLVM would end the process.
        return f"NUMBA_CPU_FEATURES must be flags that begin with + or -, not {features!r}"
    if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
        return (
            "NUMBA_DISABLE_JIT must not be set (numba.config.DISABLE_JIT): it switches off Numba's "
            "compiler, without which fastnn has no kernels"
        )
    return processor.why_impossible()


def refuse_if_impossible() -> None:
    """Raise a ValueError that names a setting of Numba that fastnn cannot work with."""
    why_not = why_impossible()
    if why_not is not None:
        raise ValueError(why_not)


def compiled(function: Callable) -> Any:
    """Compile a function that is handed functions of the user's."""
    if why_impossible() is not None:
        return function  # which is never reached: the user's are not compiled either
    dispatcher: Any = numba.njit(nogil=True)(function)
    prepare(dispatcher, function.__name__)
    return dispatcher


def prepare(dispatcher: Any, name: str) -> None:
    """Have a function compiled as ours are, its building blocks included.

    Numba tells functions of one name apart by a count from 1, and the bodies of parallel loops by
    an address on top.  Both repeat in two children of one process.  Then two entries that were kept
    by different processes hold different functions of one name, and LLVM runs the first of them
    for both: wrong numbers, no error (test_same_addresses_in_two_processes).  So while an entry is
    compiled, under Numba's lock, the count starts at a random number.
    """
    if not hasattr(dispatcher, "_compiler"):
        return
    numbas_compile = dispatcher._compiler.compile

    def compile_as_ours(args: Any, return_type: Any) -> Any:
        refuse_if_impossible()  # set while the program runs
        with contextlib.ExitStack() as stack:
            for announce in announcers:
                stack.enter_context(announce(name))
            stack.enter_context(_without_log())
            stack.enter_context(_without_collections())
            stack.enter_context(_unique_names())
            stack.enter_context(rounding_to_nearest())  # of constants in the code, which is kept
            return numbas_compile(args, return_type)

    dispatcher._compiler.compile = compile_as_ours


@contextlib.contextmanager
def _without_log() -> Iterator[None]:
    """Numba's loggers take nothing; under its lock, so that no one else compiles meanwhile."""
    loggers = [
        logger
        for name, logger in list(logging.root.manager.loggerDict.items())
        if name.split(".")[0] == "numba" and not getattr(logger, "disabled", True)
    ]
    try:
        for logger in loggers:
            logger.disabled = True  # type: ignore[union-attr]
        yield
    finally:
        for logger in loggers:
            logger.disabled = False  # type: ignore[union-attr]


@contextlib.contextmanager
def _without_collections() -> Iterator[None]:
    """Python looks for no circles of garbage; under Numba's lock, for which a fork waits, too.

    A compilation makes millions of objects that live until it ends: to look through them took an
    eighth of a first fit.
    """
    was_on = gc.isenabled()
    try:
        gc.disable()
        yield
    finally:
        if was_on:
            gc.enable()


@contextlib.contextmanager
def _unique_names() -> Iterator[None]:
    identity: Any = getattr(bytecode, "FunctionIdentity", None)
    if not hasattr(identity, "_unique_ids"):
        yield
        return
    numbas_count = identity._unique_ids
    try:
        identity._unique_ids = itertools.count(secrets.randbits(60))
        yield
    finally:
        identity._unique_ids = numbas_count
