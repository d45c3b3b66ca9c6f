"""The only home of JIT flags.

Kernels are decorated here and nowhere else. A building block that other compiled code calls is
`inner`; a function that Python calls is an `entry`, which comes as two builds of one source, a
serial and a parallel one, each kept on disk by `cache.py`.
"""

from __future__ import annotations

import contextlib
import functools
import types
from collections.abc import Callable
from typing import Any

import numba

from fastnn.compiler import cache, compiling
from fastnn.compiler.cache import CodeStore, EntryCache

ParallelOptions: Any = None
with contextlib.suppress(ImportError):  # a Numba that moved it: serial builds
    from numba.core.cpu_options import ParallelOptions

BLOCK_OPTIONS: dict[str, Any] = {}
SEPARATE_OPTIONS: dict[str, Any] = {}
ENTRY_OPTIONS: dict[str, Any] = {}
LOOP_OPTIONS: dict[str, Any] = {}
with contextlib.suppress(ImportError, AttributeError):  # a Numba that moved what these need
    from fastnn.compiler.blocks import OPTIONS as BLOCK_OPTIONS
    from fastnn.compiler.blocks import SEPARATE_OPTIONS
    from fastnn.compiler.entry_code import LOOP_OPTIONS
    from fastnn.compiler.entry_code import OPTIONS as ENTRY_OPTIONS

__all__ = ["Entry", "entry", "inner"]

# fastmath stays off: it makes isnan(nan) False and lets the order of a sum, so its bits, change.
FLAGS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}

# Everything but prange off. Above all fusion: two loops over blocks of which the second reads
# what other blocks of the first wrote must never become one (test_two_pranges_are_not_fused).
PARALLEL_FLAGS = {"prange": True} | dict.fromkeys(
    ("fusion", "reduction", "setitem", "numpy", "inplace_binop", "comprehension", "stencil"), False
)

cache.STORE.flags = (FLAGS, PARALLEL_FLAGS)


def inner(
    function: Callable | None = None, *, forceinline: bool = False, separate: bool = False
) -> Any:
    """Compile a building block that only other compiled code calls.

    Parameters
    ----------
    function : callable, optional
        The Python function. Without it, a decorator is returned.
    forceinline : bool, default False
        Make LLVM inline every call (its ``alwaysinline``).
    separate : bool, default False
        Keep LLVM from inlining any (its ``noinline``): a loop that needs all registers then has
        them, and is optimised once.

    Returns
    -------
    Block
        Compiled with the entry that calls it, never cached alone.
    """
    if function is None:
        return functools.partial(inner, forceinline=forceinline, separate=separate)
    flags = FLAGS | (SEPARATE_OPTIONS if separate else BLOCK_OPTIONS)
    flags |= {"forceinline": True} if forceinline else {}
    return Block(function, flags)


class FirstUse:
    """An attribute that is made when it is first asked for.

    As `functools.cached_property`, but without a lock, which a fork may find taken.
    """

    def __init__(self, make: Callable[[Any], Any]):
        self._make, self.__doc__ = make, make.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        return instance.__dict__.setdefault(self._name, self._make(instance))


class Block:
    """A function that compiled code may call; it stands for what `numba.njit` makes of it.

    That is made when the first entry that needs it is compiled: code from the cache needs none, and
    to make all 230 took 30 ms of an import.
    """

    def __init__(self, function: Callable, flags: dict[str, Any]):
        self.py_func, self._flags = function, flags
        self.__name__, self.__doc__ = function.__name__, function.__doc__
        self.__module__, self.__wrapped__ = function.__module__, function

    @FirstUse
    def dispatcher(self) -> Any:
        """Numba's dispatcher."""
        compiling.refuse_if_impossible()
        with compiling.lock:
            return numba.njit(self.py_func, **self._flags)

    @property
    def _numba_type_(self) -> Any:  # by which Numba knows what it stands for
        return self.dispatcher._numba_type_

    def __call__(self, *args: Any, **named: Any) -> Any:
        """Raise a TypeError: only compiled code can call it."""
        return self.dispatcher(*args, **named)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # protocols that no block has
            raise AttributeError(name)
        return getattr(self.dispatcher, name)


def entry(function: Callable | None = None, *, parallel: bool = True) -> Any:
    """Make an entry point, called from Python, of a function written with `numba.prange`.

    It may make no arrays: it gets those that it writes to.

    Parameters
    ----------
    function : callable, optional
        The Python function. Without it, a decorator is returned.
    parallel : bool, default True
        False for a function without a `numba.prange`: its parallel build is the serial one.

    Returns
    -------
    Entry
    """
    return (
        functools.partial(Entry, parallel=parallel)
        if function is None
        else Entry(function, parallel)
    )


class Entry:
    """The serial and the parallel build of one function; nothing is compiled before a call.

    Attributes
    ----------
    serial, parallel : callable
        The two builds, made when they are first asked for. Calling `parallel` may start Numba's
        thread pool; ask `runtime`.
    """

    def __init__(self, function: Callable, parallel: bool = True, store: CodeStore | None = None):
        self.function = function
        self._is_parallel, self._store = parallel, cache.STORE if store is None else store

    @FirstUse
    def serial(self) -> Any:
        """What runs in one thread."""
        return _build(self.function, "_serial", FLAGS | ENTRY_OPTIONS, self._store)

    @FirstUse
    def parallel(self) -> Any:
        """What runs in several; the serial build if there is no other."""
        if not (self._is_parallel and cache.INTERNALS_KNOWN and ParallelOptions is not None):
            return self.serial
        # An object, not the dict: Numba empties a dict while it reads it, so the second signature
        # would get everything on (test_flags_hold_for_every_signature).
        options = ParallelOptions(dict(PARALLEL_FLAGS))
        flags = FLAGS | LOOP_OPTIONS | {"parallel": options}
        return _build(self.function, "_parallel", flags, self._store)

    def __repr__(self) -> str:
        return f"<fastnn entry {self.function.__module__}.{self.function.__qualname__}>"


def target() -> Any:
    """Numba's description of this machine."""
    from numba.core.registry import cpu_target

    return cpu_target


def _build(function: Callable, suffix: str, flags: dict[str, Any], store: CodeStore) -> Any:
    """Compile a renamed copy: names of machine code are made from the function's name."""
    copy = types.FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__ + suffix,
        function.__defaults__,
        function.__closure__,
    )
    copy.__qualname__ = function.__qualname__ + suffix
    copy.__module__ = function.__module__
    copy.__doc__ = function.__doc__
    compiling.refuse_if_impossible()
    with compiling.lock:
        dispatcher: Any = numba.njit(copy, **flags)
    compiling.prepare(dispatcher, function.__name__)
    has_hooks = hasattr(dispatcher, "_cache") and hasattr(dispatcher, "_compiler")
    if cache.INTERNALS_KNOWN and has_hooks and store.covers(function):
        # The line tells apart two functions of one name, of which the second hides the first.
        name = f"{copy.__module__}.{copy.__qualname__}.{copy.__code__.co_firstlineno}"
        dispatcher._cache = EntryCache(name, store, (FLAGS, PARALLEL_FLAGS))
    return dispatcher
