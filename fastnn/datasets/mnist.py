"""The MNIST handwritten digits, with the loader of the book "Deep Learning from Scratch"."""

from __future__ import annotations

import os
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn.datasets.idx import read_idx, read_idx_shape

PACKED_FILE = Path(__file__).with_name("mnist.npz")
"""MNIST as it comes with the package; `fastnn.datasets.pack` makes it."""

# Loading is inflating: about 0.15 s of one core for the 55 MB of images, and another 0.07 s
# for checksums, page faults and the division. So the images lie in parts that threads inflate
# and scale side by side (zlib and numpy release the GIL), with every part written straight to
# its place in the result. 5000 images (4 MB) a part keep two to eight cores evenly busy and
# stay in their caches between the inflation and the division.
PART_ROWS = 5000
SPLITS = ("train", "test")

_IDX_STEMS = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
_ROWS, _COLUMNS, _CLASSES = 28, 28, 10
_MAX_THREADS = 8

Split = tuple[NDArray[Any], NDArray[Any]]


def load_mnist(
    normalize: bool = True,
    flatten: bool = True,
    one_hot_label: bool = False,
    path: str | os.PathLike[str] | None = None,
) -> tuple[Split, Split]:
    """Load MNIST: 60,000 training and 10,000 test images of handwritten digits.

    The signature and the results are those of ``dataset/mnist.py`` in the book "Deep
    Learning from Scratch". Nothing is downloaded: the data is part of the package.

    Parameters
    ----------
    normalize : bool
        If true, the images are float32 from 0.0 to 1.0 (the byte divided by 255);
        otherwise uint8 from 0 to 255.
    flatten : bool
        If true, an image is one row of 784 numbers; otherwise it has the shape (1, 28, 28).
    one_hot_label : bool
        If true, the labels are float64 rows of nine zeros and a one; otherwise the digits
        as uint8.
    path : str or path-like, optional
        A folder with the four IDX files under their original names
        (``train-images-idx3-ubyte`` ...), each plain or gzip-compressed as ``*.gz`` (the
        plain one is read if there are both). They replace the packed data and may hold any
        number of images, so that sets of the same form (Fashion-MNIST) load as well.

    Returns
    -------
    (x_train, t_train), (x_test, t_test) : tuple of two tuples of ndarray
        The images, of shape (N, 784) or (N, 1, 28, 28), and the labels, of shape (N,) or
        (N, 10). All are fresh, writable and C-contiguous.

    Raises
    ------
    FileNotFoundError
        If `path` or one of its four files does not exist.
    NotADirectoryError
        If `path` is not a folder.
    ValueError
        If one of the files is not the IDX file it should be (see `fastnn.datasets.idx`),
        images are not 28 x 28, labels and images differ in number, or a label is above 9.

    Examples
    --------
    >>> from fastnn.datasets import load_mnist
    >>> (x_train, t_train), (x_test, t_test) = load_mnist()
    >>> x_train.shape, x_train.dtype, t_train.shape, t_train.dtype
    ((60000, 784), dtype('float32'), (60000,), dtype('uint8'))
    >>> x_test.shape, t_test[:10]
    ((10000, 784), array([7, 2, 1, 0, 4, 1, 4, 9, 5, 9], dtype=uint8))
    >>> (x_train, t_train), _ = load_mnist(normalize=False, flatten=False, one_hot_label=True)
    >>> x_train.shape, x_train.dtype, t_train.shape, t_train.dtype
    ((60000, 1, 28, 28), dtype('uint8'), (60000, 10), dtype('float64'))
    """
    splits = _read_packed(normalize) if path is None else _read_folder(Path(path), normalize)
    image_shape = (_ROWS * _COLUMNS,) if flatten else (1, _ROWS, _COLUMNS)
    train, test = (
        (images.reshape(-1, *image_shape), _one_hot(labels) if one_hot_label else labels)
        for images, labels in splits
    )
    return train, test


def _one_hot(labels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return a row of zeros with a one at the label's place for each label."""
    rows = np.zeros((len(labels), _CLASSES))
    rows[np.arange(len(labels)), labels] = 1.0
    return rows


def _new_images(n: int, normalize: bool) -> NDArray[Any]:
    return np.empty((n, _ROWS, _COLUMNS), dtype=np.float32 if normalize else np.uint8)


def _store(images: NDArray[np.uint8], place: NDArray[Any]) -> None:
    """Write the images to `place`, divided by 255 if that is float32."""
    if place.dtype == np.uint8:
        np.copyto(place, images)
    else:
        # The same float32 division as images.astype(np.float32) / 255.0, in one pass.
        np.divide(images, np.float32(255.0), out=place)


# --- the packed file ---


def _read_packed(normalize: bool) -> list[Split]:
    """Read the packed file with several threads."""
    n_threads = min(_MAX_THREADS, os.cpu_count() or 1)
    try:
        with zipfile.ZipFile(PACKED_FILE) as archive, ThreadPoolExecutor(n_threads) as pool:
            labels = [_read_member(archive, f"{split}_labels").copy() for split in SPLITS]
            images = [_new_images(len(t), normalize) for t in labels]
            parts = [
                (image_part(split, k), x[start : start + PART_ROWS])
                for split, x in zip(SPLITS, images, strict=True)
                for k, start in enumerate(range(0, len(x), PART_ROWS))
            ]
            # Taking the results (all None) raises here what a thread has raised.
            list(pool.map(lambda part: _store(_read_member(archive, part[0]), part[1]), parts))
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, ValueError) as error:
        raise ValueError(f"{PACKED_FILE}: damaged, install fastnn again: {error}") from error
    return list(zip(images, labels, strict=True))


def image_part(split: str, k: int) -> str:
    """Return the name of the member of the packed file with the k-th images of a split."""
    return f"{split}_images_{k:02}"


def _read_member(archive: zipfile.ZipFile, name: str) -> NDArray[np.uint8]:
    """Read one array as a read-only view of its unpacked bytes.

    `numpy.load` would do, but copies the data piece by piece while it holds the GIL.
    """
    content = archive.read(f"{name}.npy")
    stream = BytesIO(content)
    np.lib.format.read_magic(stream)
    shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    return np.frombuffer(content, dtype, offset=stream.tell()).reshape(shape)


# --- a folder of IDX files ---


def _read_folder(folder: Path, normalize: bool) -> list[Split]:
    return [
        _read_idx_split(images, labels, normalize)
        for images, labels in find_idx_files(folder).values()
    ]


def find_idx_files(folder: Path) -> dict[str, tuple[Path, Path]]:
    """Return the paths of the images and the labels of each split, or say which lack."""
    names = [stem for stems in _IDX_STEMS.values() for stem in stems]
    wanted = f"expected a folder with {', '.join(names)} (each plain or .gz)"
    if not folder.exists():
        raise FileNotFoundError(f"{folder}: does not exist; {wanted}")
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder}: not a folder; {wanted}")
    candidates = {name: (folder / name, folder / f"{name}.gz") for name in names}
    found = {name: [p for p in paths if p.is_file()] for name, paths in candidates.items()}
    missing = [name for name in names if not found[name]]
    if missing:
        raise FileNotFoundError(f"{folder}: no {', '.join(missing)}; {wanted}")
    return {
        split: (found[images][0], found[labels][0])
        for split, (images, labels) in _IDX_STEMS.items()
    }


def _read_idx_split(images_path: Path, labels_path: Path, normalize: bool) -> Split:
    images, labels = read_idx_pair(images_path, labels_path)
    if not normalize:
        return images, labels
    scaled = _new_images(len(images), normalize)
    _store(images, scaled)
    return scaled, labels


def read_idx_pair(
    images_path: Path, labels_path: Path
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read images of shape (N, 28, 28) and their labels; both uint8."""
    # The small labels and the header of the images come first, so that a folder that cannot
    # be right is refused before its images are read.
    labels = read_idx(labels_path, n_dims=1)
    n, *size = read_idx_shape(images_path, n_dims=3)
    if size != [_ROWS, _COLUMNS]:
        raise ValueError(f"{images_path}: images of {size[0]} x {size[1]}, not 28 x 28, pixels")
    if n != len(labels):
        raise ValueError(f"{images_path}: {n} images, but {len(labels)} labels in {labels_path}")
    if labels.max() >= _CLASSES:
        raise ValueError(f"{labels_path}: label {labels.max()}, but labels are 0 to 9")
    return read_idx(images_path, n_dims=3), labels
