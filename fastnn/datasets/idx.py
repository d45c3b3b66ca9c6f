"""A strict reader of IDX files, the format in which MNIST is published.

An IDX file of unsigned bytes is: two zero bytes, the type code 8, the number of
dimensions, each dimension as a big-endian 32-bit integer, then the data. Nothing may
follow. The files come from outside, so nothing in them is trusted: what the header
promises is compared with what the file can hold before any memory is asked for.
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from io import BufferedIOBase
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

MAX_BYTES = 1 << 30
"""The most data, in bytes, that `read_idx` accepts unless told otherwise (1 GiB)."""

_UNSIGNED_BYTE = 0x08
_CHUNK_BYTES = 1 << 20
# Deflate spends at least 2 bits on a match of at most 258 bytes: a gzip file of n bytes never
# unpacks to more than 1032 n. A header that promises more is refused before the allocation.
_MAX_GZIP_RATIO = 1032


def read_idx(
    path: str | os.PathLike[str], n_dims: int, *, max_bytes: int = MAX_BYTES
) -> NDArray[np.uint8]:
    """Read one IDX file of unsigned bytes, plain or (named ``*.gz``) gzip-compressed.

    Parameters
    ----------
    path : str or path-like
        The file.
    n_dims : int
        The number of dimensions that the file must have (labels 1, images 3).
    max_bytes : int
        The most data that a file may hold. A gzip file is unpacked piece by piece and
        never further than its own header says.

    Returns
    -------
    ndarray of uint8
        A fresh, writable, C-contiguous array with the shape given in the header.

    Raises
    ------
    ValueError
        If the file is not exactly such an IDX file: wrong magic number, truncated, empty,
        trailing bytes, a damaged gzip stream, or more data than `max_bytes`.
    OSError
        If the file cannot be opened or read.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from fastnn.datasets.idx import read_idx
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "labels-idx1-ubyte"
    ...     _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3]) + bytes([7, 2, 1]))
    ...     read_idx(path, n_dims=1)
    array([7, 2, 1], dtype=uint8)
    """
    with _opened(Path(path)) as (stream, capacity):
        shape = _read_shape(stream, path, n_dims)
        _check_size(shape, path, capacity, max_bytes)
        data = np.empty(shape, dtype=np.uint8)
        _fill(data, stream, path)
        # At the end of a gzip stream this read also verifies its checksum.
        if stream.read(1):
            raise ValueError(f"{path}: data goes on after the {_product(shape)} of its header")
    return data


def read_idx_shape(path: str | os.PathLike[str], n_dims: int) -> tuple[int, ...]:
    """Read only the header of an IDX file of unsigned bytes.

    Parameters
    ----------
    path : str or path-like
        The file, plain or (named ``*.gz``) gzip-compressed.
    n_dims : int
        The number of dimensions that the file must have.

    Returns
    -------
    tuple of int
        The shape that the header promises; whether the data is there is not checked.

    Raises
    ------
    ValueError
        If the header is truncated, has another magic number or a dimension of 0, or is in
        a damaged gzip stream.
    OSError
        If the file cannot be opened or read.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from fastnn.datasets.idx import read_idx_shape
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "labels-idx1-ubyte"
    ...     _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3]) + bytes([7, 2, 1]))
    ...     read_idx_shape(path, n_dims=1)
    (3,)
    """
    with _opened(Path(path)) as (stream, _):
        return _read_shape(stream, path, n_dims)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BufferedIOBase, int]]:
    """Yield the stream of (unpacked) bytes and an upper bound on how many there can be."""
    zipped = path.suffix == ".gz"
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            with gzip.GzipFile(fileobj=file) if zipped else nullcontext(file) as stream:
                yield stream, size * _MAX_GZIP_RATIO if zipped else size
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: damaged or not a gzip file: {error}") from error


def _read_shape(
    stream: BufferedIOBase, path: str | os.PathLike[str], n_dims: int
) -> tuple[int, ...]:
    """Check the magic number and return the dimensions."""
    n_header = 4 + 4 * n_dims
    header = stream.read(n_header)
    expected = bytes([0, 0, _UNSIGNED_BYTE, n_dims])
    if len(header) >= 4 and header[:4] != expected:
        raise ValueError(f"{path}: magic number 0x{header[:4].hex()}, not 0x{expected.hex()}")
    if len(header) < n_header:
        raise ValueError(f"{path}: truncated in its header: {len(header)} of {n_header} bytes")
    shape = struct.unpack(f">{n_dims}I", header[4:])
    if 0 in shape:
        raise ValueError(f"{path}: empty: its header promises {_product(shape)}")
    return shape


def _check_size(
    shape: tuple[int, ...], path: str | os.PathLike[str], capacity: int, max_bytes: int
) -> None:
    """Refuse a header whose promise is too large for the limit or for the file."""
    n_bytes = math.prod(shape)  # Python integers: no overflow
    if n_bytes > max_bytes:
        raise ValueError(
            f"{path}: its header promises {_product(shape)}, more than the limit of {max_bytes}"
        )
    if n_bytes > capacity:
        raise ValueError(
            f"{path}: truncated: its header promises {_product(shape)}, more than it can hold"
        )


def _fill(data: NDArray[np.uint8], stream: BufferedIOBase, path: str | os.PathLike[str]) -> None:
    """Read exactly the bytes of `data`, in chunks so that no second copy of it is made."""
    buffer = data.reshape(-1).data
    n_read = 0
    while n_read < len(buffer):
        n_more = stream.readinto(buffer[n_read : n_read + _CHUNK_BYTES])
        if not n_more:
            raise ValueError(
                f"{path}: truncated: {n_read} bytes of data, not {_product(data.shape)}"
            )
        n_read += n_more


def _product(shape: tuple[int, ...]) -> str:
    """Write a size out for a message, as in ``10 x 28 x 28 = 7840 bytes``."""
    factors = " x ".join(str(n) for n in shape)
    return f"{factors} = {math.prod(shape)} bytes" if len(shape) > 1 else f"{factors} bytes"
