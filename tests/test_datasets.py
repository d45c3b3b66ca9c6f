"""The packed MNIST, the loader, and the strict IDX reader under attack."""

import doctest
import gzip
import hashlib
import itertools
import math
import os
import re
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastnn.datasets.idx
import fastnn.datasets.mnist
from fastnn.datasets import load_mnist, pack
from fastnn.datasets.idx import read_idx, read_idx_shape

TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
MD5 = {
    TRAIN_IMAGES: "6bbc9ace898e44ae57da46a324031adb",
    TRAIN_LABELS: "a25bea736e30d166cdddb491f175f624",
    TEST_IMAGES: "2646ac647ad5339dbf082846283269ea",
    TEST_LABELS: "27ae3e4e09519cfbb04c329615203637",
}
N_TRAIN, N_TEST = 30, 20
FLAGS = list(itertools.product([True, False], repeat=3))
FEW_BYTES = 3_000_000  # a chunk and some change: what a refusal may cost


def idx_bytes(array):
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.tobytes()


def peak_bytes(call):
    """Run a call that must end in ValueError; return the peak memory and the message."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError) as caught:  # noqa: PT011 (the caller looks at it)
            call()
        return tracemalloc.get_traced_memory()[1], str(caught.value)
    finally:
        tracemalloc.stop()


@pytest.fixture(scope="module")
def raw():
    """The real data as four uint8 arrays, in the shapes of the IDX files."""
    (x_train, t_train), (x_test, t_test) = load_mnist(normalize=False, flatten=False)
    return {
        TRAIN_IMAGES: x_train[:, 0],
        TRAIN_LABELS: t_train,
        TEST_IMAGES: x_test[:, 0],
        TEST_LABELS: t_test,
    }


@pytest.fixture(scope="module")
def few(raw):
    """The first images of the real data as the bytes of four small IDX files."""
    return {name: idx_bytes(a[: N_TRAIN if "train" in name else N_TEST]) for name, a in raw.items()}


@pytest.fixture
def folder(few, tmp_path):
    for name, content in few.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


# --- the packed data ---


@pytest.mark.parametrize("name", MD5)
def test_packed_data_is_mnist_to_the_byte(raw, name):
    assert hashlib.md5(idx_bytes(raw[name])).hexdigest() == MD5[name]


def test_licence_notice_lies_beside_the_data_and_names_its_sums():
    packed = fastnn.datasets.mnist.PACKED_FILE
    notice = packed.with_name("MNIST-LICENSE.md").read_text(encoding="utf-8")
    assert "https://creativecommons.org/licenses/by-sa/3.0/" in notice
    assert "python -m fastnn.datasets.pack" in notice
    assert hashlib.sha256(packed.read_bytes()).hexdigest() in notice
    assert all(f"| {name} | {md5} |" in notice for name, md5 in MD5.items())


def test_packed_file_is_compact_and_an_ordinary_npz(raw):
    packed = fastnn.datasets.mnist.PACKED_FILE
    assert packed.stat().st_size < 11.5e6
    with np.load(packed, allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["test_labels"], raw[TEST_LABELS])


@pytest.mark.parametrize(
    ("normalize", "flatten", "one_hot_label"), [(True, True, False), (False, False, True)]
)
def test_results_are_those_of_the_book(raw, normalize, flatten, one_hot_label):
    train, test = load_mnist(normalize, flatten, one_hot_label)
    names = (TRAIN_IMAGES, TRAIN_LABELS), (TEST_IMAGES, TEST_LABELS)
    for (x, t), (images, labels) in zip((train, test), names, strict=True):
        # The steps of the book's dataset/mnist.py.
        expected_x = raw[images].reshape(-1, 784)
        if normalize:
            expected_x = expected_x.astype(np.float32)
            expected_x /= 255.0
        if not flatten:
            expected_x = expected_x.reshape(-1, 1, 28, 28)
        expected_t = raw[labels]
        if one_hot_label:
            expected_t = np.zeros((raw[labels].size, 10))
            for row, label in zip(expected_t, raw[labels], strict=True):
                row[label] = 1
        for array, expected in ((x, expected_x), (t, expected_t)):
            assert array.dtype == expected.dtype
            assert array.shape == expected.shape
            assert np.array_equal(array, expected)  # to the bit: no value is NaN or -0.0
            assert array.flags.c_contiguous
            assert array.flags.writeable


def test_every_call_returns_fresh_arrays():
    (x, t), _ = load_mnist(normalize=False)
    x[:] = 1
    t[:] = 1
    (x_again, t_again), _ = load_mnist(normalize=False)
    assert x_again.max() == 255
    assert t_again.max() == 9


# --- a folder of IDX files ---


@pytest.mark.parametrize("zipped", [(), (TRAIN_IMAGES, TEST_LABELS), tuple(MD5)])
@pytest.mark.parametrize(("normalize", "flatten", "one_hot_label"), FLAGS)
def test_folder_gives_what_the_packed_data_gives(
    raw, folder, zipped, normalize, flatten, one_hot_label
):
    for name in zipped:
        content = (folder / name).read_bytes()
        (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        (folder / name).unlink()
    train, test = load_mnist(normalize, flatten, one_hot_label, path=folder)
    names = (TRAIN_IMAGES, TRAIN_LABELS), (TEST_IMAGES, TEST_LABELS)
    for (x, t), n, (images, labels) in zip((train, test), (30, 20), names, strict=True):
        expected_x = raw[images][:n].reshape((n, 784) if flatten else (n, 1, 28, 28))
        if normalize:
            expected_x = expected_x.astype(np.float32) / 255.0
        expected_t = np.eye(10)[raw[labels][:n]] if one_hot_label else raw[labels][:n]
        for array, expected in ((x, expected_x), (t, expected_t)):
            assert array.dtype == expected.dtype
            assert array.shape == expected.shape
            assert array.tobytes() == expected.tobytes()
            assert array.flags.c_contiguous
            assert array.flags.writeable


@pytest.mark.parametrize("as_type", [str, Path])
def test_path_may_be_str_or_pathlike(folder, as_type):
    (x, _), _ = load_mnist(path=as_type(folder))
    assert len(x) == N_TRAIN


def test_plain_file_is_preferred_to_its_gzip(folder):
    (folder / f"{TRAIN_LABELS}.gz").write_bytes(b"not read")
    (_, t), _ = load_mnist(path=folder)
    assert len(t) == N_TRAIN


@pytest.mark.parametrize("name", MD5)
def test_missing_file_is_named_with_the_four_expected(folder, name):
    (folder / name).unlink()
    (folder / name).mkdir()  # a folder of that name is no file
    with pytest.raises(FileNotFoundError, match=re.escape(f"{folder}: no {name};")) as caught:
        load_mnist(path=folder)
    assert all(expected in str(caught.value) for expected in MD5)


def test_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: does not exist; expected a folder with"):
        load_mnist(path=tmp_path / "nowhere")


def test_path_to_a_file(folder):
    with pytest.raises(NotADirectoryError, match=f"{TRAIN_IMAGES}: not a folder; expected"):
        load_mnist(path=folder / TRAIN_IMAGES)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        (
            TRAIN_IMAGES,
            np.zeros((N_TRAIN + 1, 28, 28)),
            "31 images, but 30 labels in .*train-labels",
        ),
        (TEST_IMAGES, np.zeros((N_TEST - 1, 28, 28)), "19 images, but 20 labels in .*t10k-labels"),
        (TRAIN_IMAGES, np.zeros((N_TRAIN, 32, 28)), "images of 32 x 28, not 28 x 28, pixels"),
        (TEST_LABELS, np.full(N_TEST, 10), "label 10, but labels are 0 to 9"),
        (TEST_LABELS, np.zeros((N_TEST, 1)), "magic number 0x00000802, not 0x00000801"),
        (TRAIN_IMAGES, np.zeros(N_TRAIN), "magic number 0x00000801, not 0x00000803"),
        (TRAIN_LABELS, np.zeros(0), "empty: its header promises 0 bytes"),
    ],
)
def test_files_that_do_not_fit(folder, name, array, message):
    (folder / name).write_bytes(idx_bytes(array.astype(np.uint8)))
    with pytest.raises(ValueError, match=f"{name}: {message}"):
        load_mnist(path=folder)


def test_images_are_not_read_when_their_header_cannot_be_right(folder):
    huge = struct.pack(">4B3I", 0, 0, 8, 3, 100_000, 28, 28)
    with (folder / TRAIN_IMAGES).open("wb") as file:
        file.write(huge)
        file.truncate(len(huge) + 100_000 * 784)  # a sparse file: the size is true
    peak, message = peak_bytes(lambda: load_mnist(path=folder))
    assert "100000 images, but 30 labels" in message
    assert peak < FEW_BYTES


# --- the strict reader ---

SMALL = np.arange(12, dtype=np.uint8).reshape(3, 2, 2) * 20
SMALL_BYTES = idx_bytes(SMALL)
SMALL_GZIP = gzip.compress(SMALL_BYTES, mtime=0)


def header(*shape, magic=b"\0\0\x08\x03"):
    return magic + struct.pack(f">{len(shape)}I", *shape)


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "truncated in its header: 0 of 16 bytes"),
        (SMALL_BYTES[:3], "truncated in its header: 3 of 16 bytes"),
        (SMALL_BYTES[:15], "truncated in its header: 15 of 16 bytes"),
        (b"\x89PNG\r\n", "magic number 0x89504e47, not 0x00000803"),
        (header(3, 2, 2, magic=b"\0\0\x0d\x03") + bytes(12), "magic number 0x00000d03"),
        (header(3, 2, 2, magic=b"\0\1\x08\x03") + bytes(12), "magic number 0x00010803"),
        (header(0, 28, 28), "empty: its header promises 0 x 28 x 28 = 0 bytes"),
        (SMALL_BYTES[:-1], r"truncated: .*3 x 2 x 2 = 12 bytes"),
        (SMALL_BYTES[:16], r"truncated: .*3 x 2 x 2 = 12 bytes"),
        (SMALL_BYTES + b"\0", "data goes on after the 3 x 2 x 2 = 12 bytes of its header"),
        (header(*[2**32 - 1] * 3), "its header promises 4294967295 x .*, more than the limit"),
        (header(2**22, 2**21, 2**21), ".*more than the limit of 1073741824"),  # 2**64: 0 in int64
        (header(1000, 1000, 1000), "truncated: .* = 1000000000 bytes, more than it can hold"),
    ],
)
def test_bad_content_is_refused_cheaply_with_one_clear_error(tmp_path, content, message, zipped):
    path = tmp_path / ("images.gz" if zipped else "images")
    path.write_bytes(gzip.compress(content) if zipped else content)
    peak, text = peak_bytes(lambda: read_idx(path, n_dims=3))
    assert re.match(f"{re.escape(str(path))}: {message}", text)
    assert "\n" not in text
    assert peak < FEW_BYTES


def test_plain_file_that_shrinks_while_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "images"
    path.write_bytes(SMALL_BYTES[:-1])
    monkeypatch.setattr(fastnn.datasets.idx, "_check_size", lambda *_: None)
    with pytest.raises(ValueError, match="truncated: 11 bytes of data, not 3 x 2 x 2 = 12 bytes"):
        read_idx(path, n_dims=3)


@pytest.mark.parametrize(
    "content",
    [
        SMALL_BYTES,  # not a gzip file
        SMALL_GZIP[:-12],  # stream cut
        SMALL_GZIP[:-2],  # checksum cut
        SMALL_GZIP[:-8] + b"\0\0\0\0" + SMALL_GZIP[-4:],  # wrong checksum
        SMALL_GZIP[:-4] + b"\1\0\0\0",  # wrong length
        SMALL_GZIP[:12] + b"\xff\xff\xff\xff" + SMALL_GZIP[16:],  # bad deflate data
        SMALL_GZIP + b"rubbish",
        SMALL_GZIP[:5],
    ],
)
def test_damaged_gzip_is_one_clear_error(tmp_path, content):
    path = tmp_path / "images.gz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"images\.gz: damaged or not a gzip file: ."):
        read_idx(path, n_dims=3)


def test_gzip_bomb_stops_at_once_in_little_memory(tmp_path):
    path = tmp_path / "images.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(SMALL_BYTES)
        for _ in range(64):
            file.write(bytes(1 << 20))
    peak, message = peak_bytes(lambda: read_idx(path, n_dims=3))
    assert "data goes on after the 3 x 2 x 2 = 12 bytes" in message
    assert peak < FEW_BYTES


def test_gzip_is_unpacked_without_a_second_copy(tmp_path):
    path = tmp_path / "images.gz"
    images = np.ones((16, 1000, 1000), dtype=np.uint8)
    path.write_bytes(gzip.compress(idx_bytes(images), compresslevel=1))
    tracemalloc.start()
    assert np.array_equal(read_idx(path, n_dims=3), images)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * images.nbytes + FEW_BYTES  # twice: array_equal makes an array as large


def test_limit_is_on_the_data_and_inclusive(tmp_path):
    path = tmp_path / "images"
    path.write_bytes(SMALL_BYTES)
    assert np.array_equal(read_idx(path, 3, max_bytes=12), SMALL)
    with pytest.raises(ValueError, match="12 bytes, more than the limit of 11"):
        read_idx(path, 3, max_bytes=11)


def test_missing_idx_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="images"):
        read_idx(tmp_path / "images", n_dims=3)


def test_shape_is_read_without_the_data(tmp_path):
    path = tmp_path / "images"
    path.write_bytes(SMALL_BYTES[:16])
    assert read_idx_shape(path, n_dims=3) == (3, 2, 2)


def test_reader_accepts_a_path_as_str_and_many_gzip_members(tmp_path):
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(SMALL_BYTES[:18]) + gzip.compress(SMALL_BYTES[18:]))
    assert np.array_equal(read_idx(os.fspath(path), n_dims=3), SMALL)


def damaged(content):
    """Strategy: `content` with bytes changed, cut off, and added."""
    changes = st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), max_size=4)
    ends = st.one_of(st.just(len(content)), st.integers(0, len(content)))

    def damage(changes, end, tail):
        result = bytearray(content)
        for position, value in changes:
            result[position] = value
        return bytes(result[:end]) + tail

    return st.builds(damage, changes, ends, st.one_of(st.just(b""), st.binary(max_size=4)))


def result_or_error(path, call):
    """Return the result, or None after a ValueError that names the path."""
    try:
        return call()
    except ValueError as error:
        named = str(path) in str(error)
    assert named
    return None


@pytest.fixture(scope="module")
def fuzz_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@settings(deadline=None, max_examples=200)
@given(content=st.one_of(damaged(SMALL_BYTES), st.binary(max_size=40)))
def test_any_plain_bytes_give_the_data_or_valueerror(fuzz_folder, content):
    path = fuzz_folder / "images"
    path.write_bytes(content)
    sound = content[:4] == b"\0\0\x08\x03" and len(content) > 16
    shape = struct.unpack(">3I", content[4:16]) if sound else ()
    if sound and math.prod(shape) == len(content) - 16:
        data = read_idx(path, n_dims=3)
        assert data.shape == shape
        assert data.tobytes() == content[16:]
    else:
        with pytest.raises(ValueError, match=re.escape(str(path))):
            read_idx(path, n_dims=3)


@settings(deadline=None, max_examples=200)
@given(content=st.one_of(damaged(SMALL_GZIP), damaged(SMALL_BYTES).map(gzip.compress)))
def test_any_gzip_bytes_give_the_data_or_valueerror(fuzz_folder, content):
    path = fuzz_folder / "images.gz"
    path.write_bytes(content)
    data = result_or_error(path, lambda: read_idx(path, n_dims=3))
    if data is not None:
        assert gzip.decompress(content) == idx_bytes(data)


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_any_folder_gives_the_data_or_valueerror(fuzz_folder, few, data):
    name = data.draw(st.sampled_from(list(MD5)))
    for other, content in few.items():
        (fuzz_folder / other).write_bytes(content)
    (fuzz_folder / name).write_bytes(
        data.draw(damaged(few[name][:200]).map(lambda start: start + few[name][200:]))
    )
    splits = result_or_error(fuzz_folder, lambda: load_mnist(path=fuzz_folder))
    if splits is not None:
        for (x, t), n in zip(splits, (N_TRAIN, N_TEST), strict=True):
            assert x.shape == (n, 784)
            assert t.shape == (n,)
            assert t.max() <= 9


# --- making the packed file ---


@pytest.fixture
def packed(folder, tmp_path, monkeypatch):
    """A small packed file of several parts, which `load_mnist` reads in place of MNIST."""
    for module in (fastnn.datasets.mnist, pack):
        monkeypatch.setattr(module, "PART_ROWS", 7)
    path = tmp_path / "small.npz"
    pack.main([str(folder), str(path)])
    monkeypatch.setattr(fastnn.datasets.mnist, "PACKED_FILE", path)
    return path


def test_packing_and_loading_is_the_identity(folder, packed):
    from_packed, from_folder = load_mnist(), load_mnist(path=folder)
    for split, expected_split in zip(from_packed, from_folder, strict=True):
        for array, expected in zip(split, expected_split, strict=True):
            assert array.dtype == expected.dtype
            assert np.array_equal(array, expected)


def test_packing_is_reproducible_and_hides_the_clock(folder, packed, tmp_path, monkeypatch):
    again = tmp_path / "again.npz"
    monkeypatch.setattr("time.time", lambda: 2e9)
    pack.pack(folder, again)
    assert again.read_bytes() == packed.read_bytes()
    with zipfile.ZipFile(again) as archive:
        members = archive.infolist()
    assert {info.date_time for info in members} == {(1980, 1, 1, 0, 0, 0)}
    assert {info.compress_type for info in members} == {zipfile.ZIP_DEFLATED}


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "member"])
def test_damaged_packed_file_is_one_clear_error(packed, damage):
    content = packed.read_bytes()
    if damage == "member":
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("other.npy", b"")
    else:
        middle = len(content) // 2
        flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        packed.write_bytes({"cut": content[:middle], "flip": flipped, "empty": b""}[damage])
    with pytest.raises(ValueError, match=r"small\.npz: damaged, install fastnn again: "):
        load_mnist()


@pytest.mark.parametrize("module", [fastnn.datasets.idx, fastnn.datasets.mnist])
def test_examples_in_the_documentation_run(module):
    failed, attempted = doctest.testmod(module)
    assert attempted > 0
    assert failed == 0
