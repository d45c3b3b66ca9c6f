"""Make the packed MNIST file of the package from the four IDX files.

``python -m fastnn.datasets.pack FOLDER OUT.npz``

Twice the same files give twice the same bytes (with one version of zlib). `numpy.load` can
open the result too: it is an ordinary ``.npz`` file.
"""

from __future__ import annotations

import argparse
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastnn.datasets.mnist import PART_ROWS, find_idx_files, image_part, read_idx_pair

_TIMESTAMP = (1980, 1, 1, 0, 0, 0)  # the clock must not show in the file


def pack(folder: Path, out: Path) -> None:
    """Write the images and labels of the IDX files in `folder` to the file `out`.

    Parameters
    ----------
    folder : Path
        The folder with the four IDX files, as for `load_mnist`.
    out : Path
        The ``.npz`` file to write.
    """
    pairs = {split: read_idx_pair(*paths) for split, paths in find_idx_files(folder).items()}
    with zipfile.ZipFile(out, "w") as archive:
        for split, (images, labels) in pairs.items():
            _add(archive, f"{split}_labels", labels)
            for k, start in enumerate(range(0, len(images), PART_ROWS)):
                _add(archive, image_part(split, k), images[start : start + PART_ROWS])


def _add(archive: zipfile.ZipFile, name: str, array: NDArray[np.uint8]) -> None:
    content = BytesIO()
    np.lib.format.write_array(content, array, version=(1, 0), allow_pickle=False)
    info = zipfile.ZipInfo(f"{name}.npy", date_time=_TIMESTAMP)
    info.create_system = 3  # Unix wherever it is made
    info.external_attr = 0o644 << 16
    archive.writestr(info, content.getvalue(), zipfile.ZIP_DEFLATED, compresslevel=9)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m fastnn.datasets.pack",
        description="Pack four MNIST IDX files into the .npz file that fastnn reads.",
    )
    parser.add_argument("folder", type=Path, help="the folder with the IDX files")
    parser.add_argument("out", type=Path, help="the .npz file to write")
    options = parser.parse_args(arguments)
    pack(options.folder, options.out)


if __name__ == "__main__":
    main()
