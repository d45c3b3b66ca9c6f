"""The only home of JIT flags, and the compile cache.

Kernels are decorated here and nowhere else. A building block that other compiled code calls is
`inner`; a function that Python calls is an `entry`, which comes as two builds of one source, a
serial and a parallel one. Entries are kept on disk by a cache of our own: Numba's does not see an
edit in another file, does not tell a parallel build from a serial one, and lets a damaged file, a
full disk or a read-only home fail the caller. Here the worst that a cache can do is cost a
recompilation.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import os
import pickle
import re
import secrets
import sys
import types
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding
import numba
import numpy as np

from fastnn.compiler import compiling

_CacheInterface: Any = object
try:
    from numba.core import bytecode, caching, compiler, cpu_options, serialize, sigutils
    from numba.core.runtime import rtsys

    _CacheInterface = caching._Cache
    _INTERNALS_KNOWN = hasattr(compiler.CompileResult, "_rebuild") and hasattr(
        bytecode.FunctionIdentity, "_unique_ids"
    )
except (ImportError, AttributeError):  # a Numba that moved them: serial builds, no cache
    _INTERNALS_KNOWN = False

BLOCK_OPTIONS: dict[str, Any] = {}
with contextlib.suppress(ImportError, AttributeError):  # a Numba that moved what blocks.py needs
    from fastnn.compiler.blocks import OPTIONS as BLOCK_OPTIONS

__all__ = ["Entry", "cache_clear", "cache_info", "entry", "inner"]

# fastmath stays off: it makes isnan(nan) False and lets the order of a sum, so its bits, change.
FLAGS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}

# Everything but prange off. Above all fusion: two loops over blocks of which the second reads
# what other blocks of the first wrote must never become one (test_two_pranges_are_not_fused).
PARALLEL_FLAGS = {"prange": True} | dict.fromkeys(
    ("fusion", "reduction", "setitem", "numpy", "inplace_binop", "comprehension", "stencil"), False
)

# Settings of Numba that change the code it makes.
CODE_SETTINGS = (
    "BOUNDSCHECK", "CPU_FEATURES", "CPU_NAME", "DEBUG", "DEBUGINFO_DEFAULT", "DEBUG_JIT",
    "DEBUG_NRT", "DISABLE_INTEL_SVML", "DISABLE_JIT", "ENABLE_AVX", "ENABLE_PROFILING",
    "EXTEND_VARIABLE_LIFETIMES", "LLVM_REFPRUNE_FLAGS", "LLVM_REFPRUNE_PASS", "LOOP_VECTORIZE",
    "NRT_STATS", "OPT", "PARFOR_MAX_TUPLE_SIZE", "SLP_VECTORIZE",
)  # fmt: skip
# Settings of fastnn that do. Read when this module is imported, as the kernels read them.
CODE_VARIABLES = {name: os.environ.get(name) for name in ("FASTNN_VECTOR_BYTES",)}

KEPT_FOLDERS = 6  # fingerprints kept: a few environments and branches side by side
FOLDER_NAME = re.compile(r"code-[0-9a-f]{32}")
FILE_NAME = re.compile(r"[\w.-]+\.(nbc|tmp)")
MAGIC = b"fastnn compiled code 1\n"
DIGEST_BYTES = hashlib.sha256().digest_size

_log = logging.getLogger(__name__)


def inner(function: Callable | None = None, *, forceinline: bool = False) -> Any:
    """Compile a building block that only other compiled code calls.

    Parameters
    ----------
    function : callable, optional
        The Python function. Without it, a decorator is returned.
    forceinline : bool, default False
        Make LLVM inline every call (its ``alwaysinline``).

    Returns
    -------
    callable
        What `numba.njit` makes of it; compiled with the entry that calls it, never cached alone.
    """
    if function is None:
        return functools.partial(inner, forceinline=forceinline)
    if compiling.why_impossible() is not None:
        return function  # the entries will say so
    flags = FLAGS | BLOCK_OPTIONS | ({"forceinline": True} if forceinline else {})
    return numba.njit(function, **flags)


def entry(function: Callable | None = None, *, parallel: bool = True) -> Any:
    """Make an entry point, called from Python, of a function written with `numba.prange`.

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
        The two builds. Calling `parallel` may start Numba's thread pool; ask `runtime`.
    """

    def __init__(self, function: Callable, parallel: bool = True, store: CodeStore | None = None):
        store = STORE if store is None else store
        self.function = function
        self.serial = _build(function, "_serial", FLAGS, store)
        self.parallel = self.serial
        if parallel and _INTERNALS_KNOWN:
            # An object, not the dict: Numba empties a dict while it reads it, so the second
            # signature would get everything on (test_flags_hold_for_every_signature).
            options = cpu_options.ParallelOptions(dict(PARALLEL_FLAGS))
            self.parallel = _build(function, "_parallel", FLAGS | {"parallel": options}, store)

    def __repr__(self) -> str:
        return f"<fastnn entry {self.function.__module__}.{self.function.__qualname__}>"


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
    why_not = compiling.why_impossible()
    if why_not is not None:
        return _refusing(why_not)
    dispatcher: Any = numba.njit(copy, **flags)
    compiling.prepare(dispatcher, function.__name__)
    known = _INTERNALS_KNOWN and hasattr(dispatcher, "_cache") and hasattr(dispatcher, "_compiler")
    if known and store.covers(function):
        # The line tells apart two functions of one name, of which the second hides the first.
        name = f"{copy.__module__}.{copy.__qualname__}.{copy.__code__.co_firstlineno}"
        dispatcher._cache = EntryCache(name, store)
    return dispatcher


def _refusing(why: str) -> Callable[..., Any]:
    def refuse(*args: Any) -> Any:
        raise ValueError(why)

    return refuse


class EntryCache(_CacheInterface):
    """One build's side of the cache: what Numba asks before and tells after it compiles.

    Nothing raised in here reaches the caller of the kernel.
    """

    def __init__(self, name: str, store: CodeStore):
        self.name = name
        self.store = store
        self.enabled = True

    @property
    def cache_path(self) -> str | None:
        """The root of the cache, or None."""
        return self.store.info()["folder"]

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the compiled function kept for `sig`, or None."""
        if not self.enabled:
            return None
        try:
            code_id = self._code_id(sig, target_context.codegen())
            payload = self.store.read(code_id)
            if payload is None:
                return None
            result = _rebuild(payload, target_context)
            if tuple(result.signature.args) == code_id.argument_types:
                return result
            raise DamagedCodeError("it is for another signature")
        except DamagedCodeError as error:
            self.store.report_damage(self.name, str(error))
        except Exception as error:
            _log.debug("kept code of %s was not used: %r", self.name, error)
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep the compiled function `data`, if it can be kept."""
        if not self.enabled:
            return
        try:
            if data.library.has_dynamic_globals or any(not x.can_cache for x in data.lifted):
                return  # it holds addresses of this process
            self.store.write(self._code_id(sig, data.codegen), lambda: _reduce(data))
        except Exception as error:
            _log.debug("compiled code of %s was not kept: %r", self.name, error)

    def _code_id(self, sig: Any, codegen: Any) -> CodeId:
        argument_types, _ = sigutils.normalize_signature(sig)
        return CodeId(self.name, tuple(argument_types), codegen.magic_tuple())

    def enable(self) -> None:
        """Use the cache (the state it starts in)."""
        self.enabled = True

    def disable(self) -> None:
        """Stop using the cache for this build."""
        self.enabled = False

    def flush(self) -> None:
        """Do nothing: a recompilation replaces the file of its signature."""


def _reduce(result: Any) -> bytes:
    """Pickle a compiled function with the names of the outside functions that it calls."""
    module = result.library._final_module
    values = (*module.functions, *module.global_variables)
    symbols = [value.name for value in values if value.is_declaration]
    symbols = [name for name in symbols if not name.startswith("llvm.")]
    return serialize.dumps((symbols, result.reload_init, result._reduce()))


def _rebuild(payload: bytes, target_context: Any) -> Any:
    """Make a compiled function of what `_reduce` returned.

    Numba would first load all that it can compile, with scipy.linalg: 1.4 s, against 0.1 s for
    the function itself. Machine code needs of that only the addresses it calls. So that is done
    only where one is missing, which otherwise would end the process.
    """
    symbols, starters, reduced = pickle.loads(payload)
    rtsys.initialize(target_context)
    for start in starters:  # the thread pool, whose functions a parallel build calls
        start()
    if not all(llvmlite.binding.address_of_symbol(name) for name in symbols):
        target_context.refresh()
    return compiler.CompileResult._rebuild(target_context, *reduced)


class DamagedCodeError(Exception):
    """A file of the cache is not what was written there."""


class CodeId:
    """What one file of compiled code is for: build name, argument types, processor."""

    def __init__(self, name: str, argument_types: tuple, machine: tuple):
        self.name = name
        self.argument_types = argument_types
        self.text = f"{name}{argument_types!r}"
        self.machine = repr(machine)

    @property
    def file_name(self) -> str:
        """A name any file system takes; what is cut off it is in the hash."""
        readable = re.sub(r"[^\w.]", "", self.name)[-80:]
        return f"{readable}-{hashlib.sha256(self.text.encode()).hexdigest()[:16]}.nbc"


class Sources:
    """The source files, those of them that exist, that decide what the kernels compile to."""

    def __init__(self, files: Iterable[str | os.PathLike[str]]):
        self.files = tuple(os.path.realpath(file) for file in files if os.path.isfile(file))
        self.imported = self._stamps()
        self._digest: str | None = None

    def _stamps(self) -> list[tuple[int, int, int] | None]:
        return [_stamp(file) for file in self.files]

    def changed(self) -> bool:
        """Whether a file was edited after it was imported: then code and source do not match."""
        return self._stamps() != self.imported

    def digest(self) -> str:
        """Fingerprint of names and bytes of all the files, read once."""
        if self._digest is None:
            state = hashlib.sha256()
            for file in self.files:
                state.update(os.path.basename(file).encode() + b"\0")
                state.update(hashlib.sha256(Path(file).read_bytes()).digest())
            self._digest = state.hexdigest()
        return self._digest


def _stamp(file: str) -> tuple[int, int, int] | None:
    with contextlib.suppress(OSError):
        status = os.stat(file)
        return status.st_mtime_ns, status.st_size, status.st_ino
    return None


def _kernel_sources() -> list[Path]:
    """Find the files of this folder and the kernels without importing them."""
    package = Path(__file__).parents[1]
    folders = (package / "compiler", package / "kernels")
    return [package / "__init__.py", *(f for top in folders for f in sorted(top.rglob("*.py")))]


class CodeStore:
    """Compiled code on disk: a folder per fingerprint, a file per build and signature.

    `sources` are the files that the code is compiled from.
    """

    def __init__(self, sources: Sources):
        self.sources = sources
        self._used: set[str] = set()
        self._damage_reported = False

    def covers(self, function: Callable) -> bool:
        """Whether an edit of the function would change the fingerprint; if not, no cache."""
        if function.__closure__ is not None:  # its values are in no file
            return False
        return os.path.realpath(function.__code__.co_filename) in self.sources.files

    def root(self) -> tuple[str | None, str]:
        """Return the cache's folder, which need not exist, and why it is this one or None."""
        if os.environ.get("FASTNN_CACHE", "1").strip().lower() in ("0", "off", "no", "false"):
            return None, "switched off by FASTNN_CACHE"
        if not _INTERNALS_KNOWN:
            return None, "this version of Numba has other internals"
        if not self.sources.files:  # in a zip file, or without sources
            return None, "the kernels have no source files to tell them apart by"
        if self.sources.changed():
            return None, "kernel sources changed since they were imported"
        named = os.environ.get("FASTNN_CACHE_DIR")
        if named:
            return _absolute(named), "FASTNN_CACHE_DIR"
        numbas = getattr(numba.config, "CACHE_DIR", "")
        if numbas:
            return _absolute(os.path.join(numbas, "fastnn")), "NUMBA_CACHE_DIR"
        user_folder = _user_cache_folder()
        if user_folder is None:
            return None, "there is no home directory"
        return os.path.join(user_folder, "fastnn"), "the user's cache folder"

    def fingerprint(self, machine: str) -> str:
        """Digest of all that decides the machine code, for a processor as Numba describes it."""
        parts = (
            self.sources.digest(),
            getattr(sys.modules.get("fastnn"), "__version__", None),
            (numba.__version__, llvmlite.__version__, np.__version__, sys.version),
            (sys.platform, sys.byteorder, sys.maxsize, machine),
            (FLAGS, PARALLEL_FLAGS, CODE_VARIABLES),
            [(name, getattr(numba.config, name, None)) for name in CODE_SETTINGS],
        )
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def read(self, code_id: CodeId) -> bytes | None:
        """Return the payload kept for `code_id`; None if there is none.

        Raises
        ------
        DamagedCodeError
            The file is not what `write` wrote for this very id.
        """
        fingerprint = self.fingerprint(code_id.machine)
        folder = self._folder(fingerprint, create=False)
        if folder is None:
            return None
        try:
            content = Path(folder, code_id.file_name).read_bytes()
        except FileNotFoundError:
            return None
        head = len(MAGIC) + DIGEST_BYTES
        payload = content[head:]
        if content[:head] != MAGIC + _seal(fingerprint, code_id, payload):
            raise DamagedCodeError("its checksum does not match")
        return payload

    def write(self, code_id: CodeId, make_payload: Callable[[], bytes]) -> None:
        """Keep a payload for `code_id`, whole or not at all; may raise what the disk raises."""
        fingerprint = self.fingerprint(code_id.machine)
        folder = self._folder(fingerprint, create=True)
        if folder is None:
            return
        payload = make_payload()
        content = MAGIC + _seal(fingerprint, code_id, payload) + payload
        _write_whole(os.path.join(folder, code_id.file_name), content)

    def _folder(self, fingerprint: str, create: bool) -> str | None:
        """Return the folder of a fingerprint, or None where there is none to be trusted."""
        root, _ = self.root()
        if root is None:
            return None
        folder = os.path.join(root, f"code-{fingerprint[:32]}")
        new = create and not os.path.isdir(folder)
        if new:
            os.makedirs(root, mode=0o700, exist_ok=True)
        if _why_untrusted(root) is not None:
            return None
        if new:
            os.makedirs(folder, mode=0o700, exist_ok=True)
            _remove_old_folders(root, keep=folder)
        if _why_untrusted(folder) is not None:
            return None
        if folder not in self._used:
            self._used.add(folder)
            with contextlib.suppress(OSError):  # a read-only folder can be read
                os.utime(folder)  # last used now
        return folder

    def report_damage(self, name: str, reason: str) -> None:
        """Warn, once for this store, that a file of the cache could not be used."""
        if self._damage_reported:
            return
        self._damage_reported = True
        # Where warnings are errors this one is dropped: a cache must not fail its user's call.
        with contextlib.suppress(RuntimeWarning):
            text = f"fastnn compiles {name} again: its cached file is unusable ({reason})"
            with contextlib.suppress(ValueError):  # standard error is closed
                warnings.warn(text, RuntimeWarning, stacklevel=2)

    def info(self) -> dict[str, Any]:
        """Describe the cache; see `cache_info`."""
        root, reason = self.root()
        untrusted = _why_untrusted(root) if root is not None and os.path.isdir(root) else None
        if untrusted is not None:
            root, reason = None, untrusted
        sizes = [] if root is None else [_our_files(folder) for folder in _our_folders(root)]
        return {
            "folder": root,
            "reason": reason,
            "files": sum(len(folder) for folder in sizes),
            "bytes": sum(sum(folder.values()) for folder in sizes),
        }

    def clear(self) -> int:
        """Remove every file of the cache; return how many there were."""
        root = self.info()["folder"]
        return 0 if root is None else sum(_remove_folder(f) for f in _our_folders(root))


def _seal(fingerprint: str, code_id: CodeId, payload: bytes) -> bytes:
    """Digest that ties a payload to its place, so that a file moved to another is found out."""
    state = hashlib.sha256(f"{fingerprint}\n{code_id.text}\n".encode())
    state.update(payload)
    return state.digest()


def _write_whole(path: str, content: bytes) -> None:
    """Write a file so that no reader sees half of it, and no rest is left on failure."""
    temporary = f"{path[: -len('.nbc')]}-{secrets.token_hex(8)}.tmp"
    try:
        with open(temporary, "xb") as file:
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _absolute(path: str) -> str | None:
    try:
        return os.path.abspath(path)
    except OSError:  # relative to a working directory that was removed
        return None


def _user_cache_folder() -> str | None:
    """Return where this system keeps a user's caches, or None without a home."""
    if sys.platform == "win32":
        return os.environ.get("LOCALAPPDATA") or None
    named = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(named) and sys.platform != "darwin":  # the standard: ignore a relative one
        return named
    home = os.path.expanduser("~")
    if not os.path.isabs(home):
        return None
    return os.path.join(home, "Library/Caches" if sys.platform == "darwin" else ".cache")


def _why_untrusted(folder: str) -> str | None:
    """Say why code from a folder must not be run, or None: what lies there is code."""
    if os.name != "posix":
        return None
    try:
        status = os.stat(folder)
    except OSError as error:
        return f"{folder} cannot be read: {error}"
    if status.st_uid != os.geteuid():
        return f"{folder} belongs to another user"
    if status.st_mode & 0o022:
        return f"{folder} is writable by others"
    return None


def _our_folders(root: str) -> list[str]:
    """List the fingerprint folders, most recently used first."""
    found = []
    with contextlib.suppress(OSError), os.scandir(root) as entries:
        for item in entries:
            if FOLDER_NAME.fullmatch(item.name) and item.is_dir(follow_symlinks=False):
                found.append((item.stat(follow_symlinks=False).st_mtime_ns, item.path))
    return [path for _, path in sorted(found, reverse=True)]


def _our_files(folder: str) -> dict[str, int]:
    """Return the sizes of our files in a folder, by path."""
    found = {}
    with contextlib.suppress(OSError), os.scandir(folder) as items:
        for item in items:
            if FILE_NAME.fullmatch(item.name) and item.is_file(follow_symlinks=False):
                found[item.path] = item.stat(follow_symlinks=False).st_size
    return found


def _remove_folder(folder: str) -> int:
    """Remove our files and then the folder, unless something else lies in it."""
    removed = 0
    for file in _our_files(folder):
        with contextlib.suppress(OSError):
            os.unlink(file)
            removed += 1
    with contextlib.suppress(OSError):
        os.rmdir(folder)
    return removed


def _remove_old_folders(root: str, keep: str) -> None:
    """Remove fingerprints that no one used lately: old versions, old sources."""
    others = [folder for folder in _our_folders(root) if folder != keep]
    for folder in others[KEPT_FOLDERS - 1 :]:
        _remove_folder(folder)


STORE = CodeStore(Sources(_kernel_sources()))


def cache_info() -> dict[str, Any]:
    """Describe the compile cache.

    Returns
    -------
    dict
        ``folder`` (None where nothing is kept), ``reason`` (why that folder, or why none),
        ``files`` and ``bytes``.

    Examples
    --------
    >>> sorted(cache_info())
    ['bytes', 'files', 'folder', 'reason']
    """
    return STORE.info()


def cache_clear() -> int:
    """Remove all compiled code that fastnn keeps on disk.

    Returns
    -------
    int
        How many files were removed.
    """
    return STORE.clear()
