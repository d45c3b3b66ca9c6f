"""The compile cache: compiled entries on disk, those of a user and those that came with fastnn.

It is our own: Numba's does not see an edit in another file, does not tell a parallel build from a
serial one, and lets a damaged file, a full disk or a read-only home fail the caller. Here the worst
that a cache can do is cost a recompilation.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding
import numba

from fastnn.compiler import folders, processor

_CacheInterface: Any = object
try:
    from numba.core import bytecode, caching, compiler, registry, sigutils

    import fastnn.compiler.entry_code  # noqa: F401  # it makes the code that is kept
    from fastnn.compiler import kept_code

    _CacheInterface = caching._Cache
    INTERNALS_KNOWN = hasattr(compiler.CompileResult, "_rebuild") and hasattr(
        bytecode.FunctionIdentity, "_unique_ids"
    )
except (ImportError, AttributeError):  # a Numba that moved them: serial builds, no cache
    INTERNALS_KNOWN = False

__all__ = ["CodeStore", "EntryCache", "Sources", "cache_clear", "cache_info"]

# Settings of Numba that change the code it makes.
CODE_SETTINGS = (
    "BOUNDSCHECK", "CPU_FEATURES", "CPU_NAME", "DEBUG", "DEBUGINFO_DEFAULT", "DEBUG_JIT",
    "DEBUG_NRT", "DISABLE_INTEL_SVML", "DISABLE_JIT", "ENABLE_AVX", "ENABLE_PROFILING",
    "EXTEND_VARIABLE_LIFETIMES", "LLVM_REFPRUNE_FLAGS", "LLVM_REFPRUNE_PASS", "LOOP_VECTORIZE",
    "NRT_STATS", "OPT", "PARFOR_MAX_TUPLE_SIZE", "SLP_VECTORIZE",
)  # fmt: skip
# Settings of fastnn that do. Read when this module is imported, as the kernels read them.
CODE_VARIABLES = {"vector_bytes": processor.VECTOR_BYTES}
# What of Python machine code depends on: its wrapper calls Python's own functions.
PYTHON = (
    sys.implementation.cache_tag,
    getattr(sys, "abiflags", ""),
    hasattr(sys, "gettotalrefcount"),  # a build for debugging
    sys.maxsize,
)

MAGIC = b"fastnn compiled code 1\n"
DIGEST_BYTES = hashlib.sha256().digest_size

_log = logging.getLogger(__name__)


class EntryCache(_CacheInterface):
    """One build's side of the cache: what Numba asks before and tells after it compiles.

    `flags` are those of all builds. Nothing raised in here reaches the caller of the kernel.
    """

    def __init__(self, name: str, store: CodeStore, flags: tuple):
        self.name = name
        self.store = store
        self.flags = store.flags = flags
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
            found = self.store.folders_to_read(code_id)
        except Exception as error:
            _log.debug("no code was looked for of %s: %r", self.name, error)
            return None
        for fingerprint, folder in found:
            try:
                payload = _read(folder, fingerprint, code_id)
                if payload is None:
                    continue
                return self._from_bytes(payload, target_context, code_id)
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
            if self._can_be_kept(data):
                code_id = self._code_id(sig, data.library._codegen)
                self.store.write(code_id, lambda: self._to_bytes(data))
        except Exception as error:
            _log.debug("compiled code of %s was not kept: %r", self.name, error)

    def _can_be_kept(self, data: Any) -> bool:
        """Whether it holds no addresses of this process."""
        return not data.library.has_dynamic_globals and all(x.can_cache for x in data.lifted)

    def _to_bytes(self, data: Any) -> bytes:
        return kept_code.to_bytes(data)

    def _from_bytes(self, payload: bytes, target_context: Any, code_id: CodeId) -> Any:
        result = kept_code.from_bytes(payload, target_context)
        if tuple(result.signature.args) == code_id.argument_types:
            return result
        raise DamagedCodeError("it is for another signature")

    def _code_id(self, sig: Any, codegen: Any) -> CodeId:
        argument_types, _ = sigutils.normalize_signature(sig)
        return CodeId(self.name, tuple(argument_types), self.flags, processor.described(codegen))

    def enable(self) -> None:
        """Use the cache (the state it starts in)."""
        self.enabled = True

    def disable(self) -> None:
        """Stop using the cache for this build."""
        self.enabled = False

    def flush(self) -> None:
        """Do nothing: a recompilation replaces the file of its signature."""


class PartCache(EntryCache):
    """The same for a part, see `parts`."""

    def _can_be_kept(self, data: Any) -> bool:
        return not data.library.has_dynamic_globals

    def _to_bytes(self, data: Any) -> bytes:
        return kept_code.part_to_bytes(data)

    def _from_bytes(self, payload: bytes, target_context: Any, code_id: CodeId) -> Any:
        return kept_code.part_from_bytes(payload, target_context)


class DamagedCodeError(Exception):
    """A file of the cache is not what was written there."""


class CodeId:
    """What one file of compiled code is for: build name, argument types, flags, processor."""

    def __init__(self, name: str, argument_types: tuple, flags: tuple, machine: tuple):
        self.name = name
        self.argument_types = argument_types
        self.text = f"{name}{argument_types!r}"
        self.flags = flags
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
    rooms = (package / "compiler", package / "kernels")
    return [package / "__init__.py", *(f for room in rooms for f in sorted(room.rglob("*.py")))]


class CodeStore:
    """Compiled code on disk: a folder per fingerprint, a file per build and signature.

    `sources` are the files that the code is compiled from.  `installed` is a folder of the same
    build that came with them, which is read and never written.
    """

    def __init__(self, sources: Sources, installed: str | os.PathLike[str] | None = None):
        self.sources = sources
        self.installed = None if installed is None else os.fspath(installed)
        self.flags: tuple = ()  # of the builds that it keeps
        self._used: set[str] = set()
        self._damage_reported = False

    def covers(self, function: Callable) -> bool:
        """Whether an edit of the function would change the fingerprint; if not, no cache."""
        if function.__closure__ is not None:  # its values are in no file
            return False
        return self.has_source_of(function)

    def has_source_of(self, function: Callable) -> bool:
        """Whether the file of a function is one of the sources."""
        return os.path.realpath(function.__code__.co_filename) in self.sources.files

    def why_unused(self) -> str | None:
        """Say why no kept code is read or written, or None."""
        if os.environ.get("FASTNN_CACHE", "1").strip().lower() in ("0", "off", "no", "false"):
            return "switched off by FASTNN_CACHE"
        if not INTERNALS_KNOWN:
            return "this version of Numba has other internals"
        if not self.sources.files:  # in a zip file, or without sources
            return "the kernels have no source files to tell them apart by"
        if self.sources.changed():
            return "kernel sources changed since they were imported"
        return None

    def root(self) -> tuple[str | None, str]:
        """Return the cache's folder, which need not exist, and why it is this one or None."""
        why_not = self.why_unused()
        if why_not is not None:
            return None, why_not
        named = os.environ.get("FASTNN_CACHE_DIR")
        if named:
            return folders.absolute(named), "FASTNN_CACHE_DIR"
        numbas = getattr(numba.config, "CACHE_DIR", "")
        if numbas:
            return folders.absolute(os.path.join(numbas, "fastnn")), "NUMBA_CACHE_DIR"
        user_folder = folders.user_cache_folder()
        if user_folder is None:
            return None, "there is no home directory"
        return os.path.join(user_folder, "fastnn"), "the user's cache folder"

    def fingerprint(self, flags: tuple, machine: str) -> str:
        """Digest of all that decides the machine code, for a processor as Numba describes it."""
        parts = (
            self.sources.digest(),
            getattr(sys.modules.get("fastnn"), "__version__", None),
            (numba.__version__, llvmlite.__version__, PYTHON),
            (sys.platform, sys.byteorder, machine),
            (flags, CODE_VARIABLES),
            [(name, getattr(numba.config, name, None)) for name in CODE_SETTINGS],
        )
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def folders_to_read(self, code_id: CodeId) -> list[tuple[str, str]]:
        """Return where code may be, with the fingerprint: the cache, and what came with fastnn.

        The cache comes first: what was damaged in the other is there once it is compiled again.
        """
        if self.why_unused() is not None:
            return []
        fingerprint = self.fingerprint(code_id.flags, code_id.machine)
        kept, installed = self._folder(fingerprint, create=False), self._installed(fingerprint)
        return [(fingerprint, folder) for folder in (kept, installed) if folder is not None]

    def _installed(self, fingerprint: str) -> str | None:
        """The folder of a fingerprint that came with the sources, and is trusted as they are."""
        if self.installed is None:
            return None
        return os.path.join(self.installed, folders.folder_name(fingerprint))

    def write(self, code_id: CodeId, make_payload: Callable[[], bytes]) -> None:
        """Keep a payload for `code_id`, whole or not at all; may raise what the disk raises."""
        fingerprint = self.fingerprint(code_id.flags, code_id.machine)
        folder = self._folder(fingerprint, create=True)
        if folder is None:
            return
        payload = make_payload()
        content = MAGIC + _seal(fingerprint, code_id, payload) + payload
        folders.write_whole(os.path.join(folder, code_id.file_name), content)

    def _folder(self, fingerprint: str, create: bool) -> str | None:
        """Return the folder of a fingerprint, or None where there is none to be trusted."""
        root, _ = self.root()
        if root is None:
            return None
        folder = os.path.join(root, folders.folder_name(fingerprint))
        new = create and not os.path.isdir(folder)
        if new:
            os.makedirs(root, mode=0o700, exist_ok=True)
        if folders.why_untrusted(root) is not None:
            return None
        if new:
            os.makedirs(folder, mode=0o700, exist_ok=True)
            folders.remove_old_folders(root, keep=folder)
        if folders.why_untrusted(folder) is not None:
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
        if root is not None and os.path.isdir(root):
            untrusted = folders.why_untrusted(root)
            if untrusted is not None:
                root, reason = None, untrusted
        found = [] if root is None else folders.our_folders(root)
        sizes = [folders.our_files(folder) for folder in found]
        return {
            "folder": root,
            "reason": reason,
            "files": sum(len(folder) for folder in sizes),
            "bytes": sum(sum(folder.values()) for folder in sizes),
            "installed_files": self._installed_files(),
        }

    def _installed_files(self) -> int:
        """How many files came with the sources for this very processor, Python and Numba."""
        if self.why_unused() is not None:
            return 0
        codegen = registry.cpu_target.target_context.codegen()
        machine = repr(processor.described(codegen))
        folder = self._installed(self.fingerprint(self.flags, machine))
        return 0 if folder is None else len(folders.our_files(folder))

    def clear(self) -> int:
        """Remove every file of the cache; return how many there were."""
        root = self.info()["folder"]
        return (
            0 if root is None else sum(folders.remove_folder(f) for f in folders.our_folders(root))
        )


def _read(folder: str, fingerprint: str, code_id: CodeId) -> bytes | None:
    """Return the payload kept for `code_id` in a folder; None if there is none.

    Raises
    ------
    DamagedCodeError
        The file is not what `CodeStore.write` wrote for this very id.
    """
    try:
        content = Path(folder, code_id.file_name).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    head = len(MAGIC) + DIGEST_BYTES
    payload = content[head:]
    if content[:head] != MAGIC + _seal(fingerprint, code_id, payload):
        raise DamagedCodeError("its checksum does not match")
    return payload


def _seal(fingerprint: str, code_id: CodeId, payload: bytes) -> bytes:
    """Digest that ties a payload to its place, so that a file moved to another is found out."""
    state = hashlib.sha256(f"{fingerprint}\n{code_id.text}\n".encode())
    state.update(payload)
    return state.digest()


STORE = CodeStore(Sources(_kernel_sources()), Path(__file__).with_name("installed"))


def cache_info() -> dict[str, Any]:
    """Describe the compile cache.

    Returns
    -------
    dict
        ``folder`` (None where nothing is kept), ``reason`` (why that folder, or why none),
        ``files`` and ``bytes`` in it, and ``installed_files``: how many came with fastnn for this
        processor, Python and Numba, and need not be compiled.

    Examples
    --------
    >>> sorted(cache_info())
    ['bytes', 'files', 'folder', 'installed_files', 'reason']
    """
    import fastnn.compiler.jit  # noqa: F401  # it says with which flags code is compiled

    return STORE.info()


def cache_clear() -> int:
    """Remove all compiled code that fastnn keeps on disk.

    Returns
    -------
    int
        How many files were removed.
    """
    return STORE.clear()
