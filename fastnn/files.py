"""The file a saved network lies in: a description and named arrays, in one checked zip file.

The file is a NumPy ``.npz`` archive, stored uncompressed, with two JSON members besides the
arrays::

    description.json   what the caller wants to say about the arrays
    W1.npy, b1.npy     one member per array, in NumPy's own format
    format.json        the format's name and version, and a SHA-256 digest of all the others

``numpy.load(path, allow_pickle=False)`` reads the arrays too. Nothing in it is ever executed,
extracted to disk or used as a path. The digest finds damage; it does not prove who wrote a file.
"""

import contextlib
import errno
import hashlib
import io
import json
import math
import os
import re
import stat
import struct
import uuid
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np

__all__ = ["ModelFileError", "read_model", "write_model"]

FORMAT_NAME = "fastnn model"
FORMAT_VERSION = 1

_DESCRIPTION = "description.json"
_FORMAT = "format.json"
_ARRAY_SUFFIX = ".npy"
_ARRAY_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)*")
_LONGEST_NAME = 100
_DTYPES = ("<f4", "<f8", "<i8")
_NPY_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00..\{'descr': '(<f4|<f8|<i8)', 'fortran_order': False, "
    rb"'shape': \(([0-9, ]*)\), \} *\n",
    re.DOTALL,
)
_ZIP_START = b"PK\x03\x04"
_ZIP_END = b"PK\x05\x06"
_ZIP_END_SIZE = 22

# What zipfile, json and NumPy raise, in one version or another, on bytes that are not what they
# seem. NotImplementedError and RecursionError are RuntimeErrors, UnicodeError is a ValueError.
_DAMAGE = (
    zipfile.BadZipFile,
    EOFError,
    OverflowError,
    RuntimeError,
    ValueError,
    struct.error,
)


class ModelFileError(ValueError):
    """A file is not a whole, undamaged fastnn model that this version can read.

    Examples
    --------
    >>> from fastnn.files import ModelFileError, read_model
    >>> try:
    ...     read_model(__file__)
    ... except ModelFileError as error:
    ...     str(error).endswith("is not a fastnn model file.")
    True
    """


class _UnreadableError(Exception):
    """Why a file is refused: the rest of a sentence that begins with its path."""


# --------------------------------------------------------------------------- writing


def write_model(
    path: str | os.PathLike[str], description: dict[str, Any], arrays: Mapping[str, np.ndarray]
) -> None:
    """Write a description and named arrays to one file, all of it or nothing.

    The file is written beside its place under another name and then moved there, so that `path`
    always holds a whole file: the old one or the new one. Equal contents give equal bytes.
    While it is put together the file is held in memory once.

    Parameters
    ----------
    path : str or os.PathLike
        The file to write, exactly as named: no suffix is added. A new file gets the usual
        permissions, an existing one keeps its own; a symbolic link is followed.
    description : dict
        Anything JSON can hold, with string keys and finite numbers. Tuples come back as lists.
    arrays : mapping of str to numpy.ndarray
        Arrays of any shape and layout, of dtype float32, float64 or int64. Names are letters,
        digits and underscores, with single dots between, at most 100 characters.

    Raises
    ------
    TypeError
        If the description holds what JSON cannot, or an array is of another dtype.
    ValueError
        If a name is not allowed, or a number in the description is not finite.
    OSError
        If the file cannot be written: FileNotFoundError for a folder that does not exist.
        What was at `path` before is then still there.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from fastnn.files import read_model, write_model
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "line.fastnn")
    ...     write_model(path, {"kind": "line"}, {"slope": np.array([2.0, 3.0])})
    ...     read_model(path)
    ({'kind': 'line'}, {'slope': array([2., 3.])})
    """
    _write_atomically(os.fsdecode(path), _encode(description, arrays))


def _encode(description: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> memoryview:
    """Return the bytes of the whole file."""
    digest = hashlib.sha256()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for member, content in _members(description, arrays):
            _update(digest, member, content)
            _add(archive, member, content)
        stamp = {"format": FORMAT_NAME, "version": FORMAT_VERSION, "sha256": digest.hexdigest()}
        _add(archive, _FORMAT, json.dumps(stamp).encode("ascii"))
    return buffer.getbuffer()


def _members(
    description: dict[str, Any], arrays: Mapping[str, np.ndarray]
) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of every member but the last, one at a time to save memory."""
    yield _DESCRIPTION, _json_bytes(description)
    for name, array in arrays.items():
        _check_array_name(name)
        yield name + _ARRAY_SUFFIX, _npy_bytes(name, array)


def _add(archive: zipfile.ZipFile, member: str, content: bytes) -> None:
    info = zipfile.ZipInfo(member, date_time=(1980, 1, 1, 0, 0, 0))
    info.create_system = 3  # Unix, on every system: equal contents are to give equal bytes
    info.external_attr = 0o644 << 16
    archive.writestr(info, content)


def _update(digest: Any, member: str, content: bytes) -> None:
    """Add a member to the digest, set off so that no other names and contents read the same."""
    digest.update(f"{member} {len(content)}\n".encode("ascii"))
    digest.update(content)


def _json_bytes(description: dict[str, Any]) -> bytes:
    if not isinstance(description, dict):
        raise TypeError(f"the description must be a dict, not {type(description).__name__}")
    content = json.dumps(description, allow_nan=False).encode("ascii")
    _check_keys(description)
    return content


def _check_keys(value: Any) -> None:
    """Refuse keys that JSON would silently turn into strings."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise TypeError(f"a key in the description must be a string, not {key!r}")
            _check_keys(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            _check_keys(inner)


def _check_array_name(name: str) -> None:
    if not isinstance(name, str) or not _is_array_name(name):
        raise ValueError(
            f"{name!r} cannot name an array: use letters, digits, underscores and single dots, "
            f"at most {_LONGEST_NAME} characters, and begin with a letter or an underscore"
        )


def _is_array_name(name: str) -> bool:
    return len(name) <= _LONGEST_NAME and _ARRAY_NAME.fullmatch(name) is not None


def _npy_bytes(name: str, array: np.ndarray) -> bytes:
    """Return an array as a ``.npy`` file: little-endian and C-contiguous, whatever it was."""
    array = np.asarray(array)
    dtype = array.dtype.newbyteorder("<")
    if dtype.str not in _DTYPES:
        raise TypeError(
            f"array {name!r} is of dtype {array.dtype}; only float32, float64 and int64 are stored"
        )
    # One copy, taken here, is both digested and written: an array that another thread changes
    # in the meantime cannot give a file that contradicts its own digest.
    return _npy_header(dtype.str, array.shape) + array.astype(dtype, copy=False).tobytes()


def _npy_header(dtype: str, shape: tuple[int, ...]) -> bytes:
    """Return the header of NumPy's format 1.0, padded to whole 64 bytes as NumPy does."""
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape!r}, }}"
    length = -(-(10 + len(text) + 1) // 64) * 64 - 10
    header = text.ljust(length - 1) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", length) + header.encode("ascii")


def _write_atomically(path: str, content: memoryview) -> None:
    """Put `content` at `path`; on any failure leave what was there before, and nothing else."""
    target = os.path.realpath(path)
    folder = os.path.dirname(target)
    if not os.path.isdir(folder):
        raise FileNotFoundError(errno.ENOENT, "The folder does not exist", folder)
    if os.path.isdir(target) or not os.path.basename(path):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    mode = _mode_of_file(target)
    temporary = os.path.join(folder, f".fastnn-{uuid.uuid4().hex}.tmp")
    try:
        _write_new_file(temporary, content, 0o666 if mode is None else mode)
        if mode is not None:
            os.chmod(temporary, mode)  # the umask may have taken some bits away
        os.replace(temporary, target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError):  # "No space left on device" alone names no file
            error.filename, error.filename2 = path, None
        raise
    _sync_folder(folder)


def _mode_of_file(target: str) -> int | None:
    """Return the permission bits of an existing file, None where there is none."""
    try:
        mode = os.stat(target).st_mode
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "Not a regular file, so it is not replaced", target)
    return stat.S_IMODE(mode)


def _write_new_file(path: str, content: memoryview, mode: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags, mode)
    try:
        while content:
            written = os.write(descriptor, content)  # may take less than it was given
            if written == 0:
                raise OSError(errno.EIO, "Nothing more can be written", path)
            content = content[written:]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(folder: str) -> None:
    """Make the move itself survive a power cut, on systems that can.

    The new file is already in its place, so a failure here is no failure of the writing.
    """
    if not hasattr(os, "O_DIRECTORY"):
        return
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


# --------------------------------------------------------------------------- reading


def read_model(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read a file written by `write_model`, or refuse it as a whole.

    Safe on files from strangers: nothing in the file is executed, no memory is taken beyond a
    small multiple of the file's size, and every change of a byte that would change what is
    read is found by the digest.

    Parameters
    ----------
    path : str or os.PathLike
        The file to read.

    Returns
    -------
    description : dict
        As given to `write_model`.
    arrays : dict of str to numpy.ndarray
        In the order they were written; new, writable and C-contiguous, in native byte order.

    Raises
    ------
    ModelFileError
        If the file is damaged, cut short, empty, not a fastnn model, or of a newer format.
    OSError
        If it cannot be opened or read: FileNotFoundError if it does not exist.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from fastnn.files import read_model, write_model
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "net.fastnn")
    ...     write_model(path, {"layers": [2, 1]}, {"W1": np.ones((2, 1)), "b1": np.zeros(1)})
    ...     description, arrays = read_model(path)
    >>> description["layers"], arrays["W1"].shape
    ([2, 1], (2, 1))
    """
    name = os.fsdecode(path)
    try:
        _check_regular(os.stat(name).st_mode)  # before opening: a pipe would wait for ever
        with open(name, "rb") as file:
            return _decode(file)
    except _UnreadableError as error:
        raise ModelFileError(f"{name!r} {error}.") from None
    except _DAMAGE as error:
        raise ModelFileError(f"{name!r} is damaged or cut short: {error}.") from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # what a seek to a nonsensical offset gives
            raise
        raise ModelFileError(f"{name!r} is damaged or cut short: {error}.") from error


def _check_regular(mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise _UnreadableError("is a folder, not a fastnn model file")
    if not stat.S_ISREG(mode):
        raise _UnreadableError("is not a regular file, so not a fastnn model file")


def _decode(file: BinaryIO) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    size = os.fstat(file.fileno()).st_size
    _check_ends(file, size)
    with zipfile.ZipFile(file) as archive:
        expected = _read_stamp(archive, size)
        _check_listing(archive, size)
        digest = hashlib.sha256()
        description: dict[str, Any] = {}
        arrays = {}
        for info in archive.infolist():
            if info.filename == _FORMAT:
                continue
            content = archive.read(info)
            _update(digest, info.filename, content)
            if info.filename == _DESCRIPTION:
                description = _parse_json(content)
            else:
                arrays[info.filename.removesuffix(_ARRAY_SUFFIX)] = _parse_npy(content)
    if digest.hexdigest() != expected:
        raise _UnreadableError("is damaged: its contents do not match their checksum")
    return description, arrays


def _check_ends(file: BinaryIO, size: int) -> None:
    """Check that the file is one zip archive from its first byte to its last.

    zipfile alone would also find an archive inside other data, such as one whose beginning or
    end has been lost.
    """
    if size == 0:
        raise _UnreadableError("is empty, so not a fastnn model file")
    start = file.read(len(_ZIP_START))
    if start != _ZIP_START:
        raise _UnreadableError("is not a fastnn model file")
    file.seek(max(0, size - _ZIP_END_SIZE))
    if not file.read().startswith(_ZIP_END):
        raise _UnreadableError(
            "is cut short, damaged or not a fastnn model file: its end is missing"
        )


def _read_stamp(archive: zipfile.ZipFile, size: int) -> str:
    """Check the format's name and version; return the digest that the contents must have."""
    if _FORMAT not in archive.namelist():
        raise _UnreadableError("is a zip archive, but not a fastnn model file")
    info = archive.getinfo(_FORMAT)
    _check_stored(info, size)
    stamp = _parse_json(archive.read(info))
    if stamp.get("format") != FORMAT_NAME:
        raise _UnreadableError("is not a fastnn model file")
    version = stamp.get("version")
    if type(version) is not int or version < 1:
        raise _UnreadableError("is damaged: its format version is not a positive whole number")
    if version > FORMAT_VERSION:
        raise _UnreadableError(
            f"has format version {version}, newer than the {FORMAT_VERSION} that this fastnn "
            "reads: a newer fastnn is needed"
        )
    return str(stamp.get("sha256"))


def _check_listing(archive: zipfile.ZipFile, size: int) -> None:
    """Refuse an archive that is not laid out as `write_model` does, before reading from it."""
    names = archive.namelist()
    if len(set(names)) != len(names):
        raise _UnreadableError("is damaged: it holds two members of one name")
    if _DESCRIPTION not in names:
        raise _UnreadableError("is damaged: its description is missing")
    for info in archive.infolist():
        _check_member_name(info.filename)
        _check_stored(info, size)
    if min(info.header_offset for info in archive.infolist()) != 0:
        raise _UnreadableError("is damaged: the archive does not begin where the file does")
    if sum(info.file_size for info in archive.infolist()) > size:
        raise _UnreadableError("is damaged: its members claim to be larger than the file")


def _check_member_name(member: str) -> None:
    if member in (_DESCRIPTION, _FORMAT):
        return
    if not member.endswith(_ARRAY_SUFFIX) or not _is_array_name(member.removesuffix(_ARRAY_SUFFIX)):
        raise _UnreadableError(f"is not a fastnn model file: it holds a member {member[:80]!r}")


def _check_stored(info: zipfile.ZipInfo, size: int) -> None:
    plain = info.compress_type == zipfile.ZIP_STORED and not info.flag_bits & 1  # 1: encrypted
    if not plain or info.compress_size != info.file_size or info.file_size > size:
        raise _UnreadableError(f"is damaged: member {info.filename!r} is not stored as it should")


def _parse_json(content: bytes) -> dict[str, Any]:
    value = json.loads(content, object_pairs_hook=_without_doubles, parse_constant=_no_constant)
    if not isinstance(value, dict):
        raise ValueError("a JSON member is not an object")
    return value


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a JSON member has a key twice")
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"a JSON member holds {name}")


def _parse_npy(content: bytes) -> np.ndarray:
    """Return the array of a ``.npy`` member.

    The header must be, byte for byte, what `_npy_header` writes; NumPy's own reader takes more
    forms than are wanted here, and takes memory before it has looked at the size.
    """
    match = _NPY_HEADER.match(content)
    if match is None:
        raise ValueError("an array's header is not as it should be")
    dtype = match[1].decode("ascii")
    shape = tuple(int(length) for length in match[2].replace(b",", b" ").split())
    header = _npy_header(dtype, shape)
    wanted = len(header) + math.prod(shape) * np.dtype(dtype).itemsize
    if not content.startswith(header) or len(content) != wanted:
        raise ValueError("an array's header does not agree with its data")
    array = np.frombuffer(content, dtype, offset=len(header)).reshape(shape)
    return array.astype(array.dtype.newbyteorder("="))  # a copy: writable, and aligned
