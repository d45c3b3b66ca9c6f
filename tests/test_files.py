"""Tests of the file container: round trips, damage, strangers' files, failing disks."""

import contextlib
import doctest
import errno
import io
import json
import os
import pickle
import stat
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import fastnn
from fastnn import files
from fastnn.files import ModelFileError, read_model, write_model

DESCRIPTION = {"layer_sizes": [2, 3], "activation": "relu", "rate": 0.1}
ARRAYS = {
    "W1": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b1": np.array([-1.5, np.nan], np.float64),
    "steps": np.array(7, np.int64),
    "none": np.zeros((0, 3), np.float32),
}


def as_plain(content):
    """A description and its arrays as something that == compares, nan and order included."""
    description, arrays = content
    return json.dumps(description), [
        (name, a.dtype.str, a.shape, a.tobytes()) for name, a in arrays.items()
    ]


WHOLE = as_plain((DESCRIPTION, ARRAYS))


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "net.fastnn"
    write_model(path, DESCRIPTION, ARRAYS)
    return path


def assert_refused(path, *words):
    with pytest.raises(ModelFileError) as caught:
        read_model(path)
    message = str(caught.value)
    assert repr(str(path)) in message
    assert message.endswith(".")
    assert "\n" not in message
    for word in words:
        assert word in message


# ---------------------------------------------------------------- what is written is read


def laid_out(array, order):
    """The same values in another memory layout."""
    if order == "F":
        return np.array(array, order="F")
    if order == "padded" and array.ndim:
        wide = np.full((*array.shape[:-1], array.shape[-1] + 3), 9, array.dtype)
        wide[..., : array.shape[-1]] = array
        return wide[..., : array.shape[-1]]
    if order == "reversed" and array.ndim:
        return array[::-1].copy()[::-1]
    if order == "big-endian":
        return array.astype(array.dtype.newbyteorder(">"))
    array = array.copy()
    array.flags.writeable = order != "read-only"
    return array


stored_arrays = st.sampled_from([np.float32, np.float64, np.int64]).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0))
)
orders = st.sampled_from(["C", "F", "padded", "reversed", "big-endian", "read-only"])
names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}(\.[A-Za-z0-9_]{1,5}){0,2}", fullmatch=True)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(
    description=st.dictionaries(st.text(), json_values, max_size=4),
    arrays=st.dictionaries(names, st.tuples(stored_arrays, orders), max_size=4),
)
def test_a_round_trip_keeps_everything(tmp_path_factory, description, arrays):
    path = tmp_path_factory.mktemp("files") / "net"
    given_arrays = {name: laid_out(array, order) for name, (array, order) in arrays.items()}
    write_model(path, description, given_arrays)
    expected = {name: array for name, (array, _) in arrays.items()}
    found = read_model(path)
    assert as_plain(found) == as_plain((description, expected))
    for array in found[1].values():
        assert array.flags.c_contiguous
        assert array.flags.writeable
        assert array.flags.aligned
        assert array.dtype.isnative


def test_numpy_reads_the_arrays_without_pickle(model):
    with np.load(model, allow_pickle=False) as archive:
        for name, array in ARRAYS.items():
            np.testing.assert_array_equal(archive[name], array, strict=True)


def test_the_headers_are_those_numpy_writes(model):
    for name, array in ARRAYS.items():
        expected = io.BytesIO()
        np.save(expected, array)
        with zipfile.ZipFile(model) as archive:
            assert archive.read(f"{name}.npy") == expected.getvalue()


def test_equal_contents_give_equal_bytes(tmp_path, model):
    write_model(tmp_path / "other", DESCRIPTION, {n: a.copy("F") for n, a in ARRAYS.items()})
    assert (tmp_path / "other").read_bytes() == model.read_bytes()
    with zipfile.ZipFile(model) as archive:
        for info in archive.infolist():
            assert info.date_time == (1980, 1, 1, 0, 0, 0)
            assert info.compress_type == zipfile.ZIP_STORED


def test_the_path_is_used_as_given(tmp_path):
    for path in (str(tmp_path / "no suffix"), tmp_path / "net.tar"):
        write_model(path, DESCRIPTION, ARRAYS)
        assert as_plain(read_model(path)) == WHOLE
    assert sorted(os.listdir(tmp_path)) == ["net.tar", "no suffix"]


def test_a_relative_path_is_one_from_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_model("net", DESCRIPTION, ARRAYS)
    assert as_plain(read_model("net")) == WHOLE


@pytest.mark.parametrize(
    ("description", "error"),
    [
        ([], TypeError),
        ({"f": len}, TypeError),
        ({1: "one"}, TypeError),
        ({"deep": [{None: 1}]}, TypeError),
        ({"rate": float("nan")}, ValueError),
        ({"rate": float("inf")}, ValueError),
    ],
)
def test_a_description_that_json_cannot_keep_is_refused(tmp_path, description, error):
    with pytest.raises(error):
        write_model(tmp_path / "net", description, {})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "array",
    [
        np.array([None]),
        np.array(["a"]),
        np.array([1 + 2j]),
        np.array([True]),
        np.zeros(2, np.float16),
        np.zeros(2, np.int32),
        np.zeros(2, [("a", "f4")]),
    ],
)
def test_an_array_of_another_dtype_is_refused(tmp_path, array):
    with pytest.raises(TypeError, match="'W1' is of dtype"):
        write_model(tmp_path / "net", {}, {"W1": array})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "name",
    ["", "../W1", "/W1", "a/b", "a\\b", "a..b", ".a", "1a", "W 1", "W1\n", "é", "a" * 101, 5],
)
def test_an_array_name_that_might_be_a_path_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="cannot name an array"):
        write_model(tmp_path / "net", {}, {name: np.zeros(1)})
    assert os.listdir(tmp_path) == []


# ---------------------------------------------------------------- damage


SMALL = ({"rate": 0.1}, {"W1": ARRAYS["W1"], "none": ARRAYS["none"]})


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.fastnn"
    write_model(path, *SMALL)
    return path


def read_or_refuse(path):
    """True if the file is read whole, False if it is refused; nothing else may happen."""
    try:
        content = read_model(path)
    except ModelFileError:
        return False
    assert as_plain(content) == as_plain(SMALL)
    return True


def test_a_file_cut_anywhere_is_refused(small):
    whole = small.read_bytes()
    for size in range(len(whole)):
        small.write_bytes(whole[:size])
        assert not read_or_refuse(small), size


@pytest.mark.parametrize("flip", [0x01, 0xFF])
def test_a_flipped_byte_is_harmless_or_refused(small, flip):
    whole = bytearray(small.read_bytes())
    read = 0
    for place in range(len(whole)):
        whole[place] ^= flip
        small.write_bytes(whole)
        read += read_or_refuse(small)
        whole[place] ^= flip
    assert 0 < read < len(whole) / 4  # harmless: timestamps, permissions and their like


@pytest.mark.parametrize("member", ["description.json", "W1.npy", "b1.npy", "steps.npy"])
def test_the_digest_finds_what_the_zip_checksums_do_not(model, member):
    def change(name, content):
        return content[:-1] + bytes([content[-1] ^ 1]) if name == member else content

    repack(model, change)
    assert_refused(model)


def test_the_digest_covers_the_names(model):
    repack(model, rename={"W1.npy": "W2.npy"})
    assert_refused(model, "checksum")


def test_the_digest_covers_the_order_and_presence_of_arrays(model):
    whole = model.read_bytes()
    repack(model, leave_out={"steps.npy"})
    assert_refused(model, "checksum")
    model.write_bytes(whole)
    repack(model, reverse=True)
    assert_refused(model, "checksum")


def test_bytes_before_or_after_the_archive_are_refused(model):
    whole = model.read_bytes()
    for other in (whole + b"\0", whole + whole[:100], b"MZ" + whole, whole[:64] + whole):
        model.write_bytes(other)
        assert_refused(model)


def repack(path, change=lambda name, content: content, leave_out=(), rename=None, reverse=False):
    """Write a model file again with other members but the same digest, zip checksums mended."""
    with zipfile.ZipFile(path) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    if reverse:
        members.reverse()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members:
            if name not in leave_out:
                archive.writestr((rename or {}).get(name, name), change(name, content))


# ---------------------------------------------------------------- files of others


def pack(path, members, compressed=(), listed=()):
    """Write an archive whose digest is right, as an attacker could.

    `listed` has entries (member, attribute, value) that make the archive's directory lie.
    """
    digest = files.hashlib.sha256()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members:
            files._update(digest, name, content)
            compression = zipfile.ZIP_DEFLATED if name in compressed else zipfile.ZIP_STORED
            archive.writestr(name, content, compression)
        archive.writestr("format.json", stamp_of(digest.hexdigest()))
        for name, attribute, value in listed:
            setattr(archive.getinfo(name), attribute, value)


def stamp_of(sha256, version=1, name="fastnn model"):
    return json.dumps({"format": name, "version": version, "sha256": sha256})


def npy(header, data=b""):
    header = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


def test_pack_makes_files_that_are_read(tmp_path):
    pack(tmp_path / "net", [("description.json", b"{}"), ("W1.npy", files._npy_bytes("W1", 1.5))])
    assert read_model(tmp_path / "net") == ({}, {"W1": 1.5})


class Bomb:
    """What runs code when it is unpickled."""

    went_off = False

    def __reduce__(self):
        return (setattr, (Bomb, "went_off", True))


def test_pickles_are_refused_and_never_run(tmp_path):
    path = tmp_path / "net"
    np.savez(path.with_suffix(".npz"), W1=np.array([Bomb()], object))
    assert_refused(path.with_suffix(".npz"), "zip archive, but not a fastnn model")
    path.write_bytes(pickle.dumps(Bomb()))
    assert_refused(path, "is not a fastnn model file")
    stream = io.BytesIO()
    np.save(stream, np.array([Bomb()], object), allow_pickle=True)
    pack(path, [("description.json", b"{}"), ("W1.npy", stream.getvalue())])
    assert_refused(path, "array's header")
    assert not Bomb.went_off


@pytest.mark.parametrize("content", [b"\0", b"PK", b"PK\x03\x04", b"hello\n", b"{}", b"\x93NUMPY"])
def test_small_foreign_files_are_refused(tmp_path, content):
    (tmp_path / "net").write_bytes(content)
    assert_refused(tmp_path / "net", "not a fastnn model file")


def test_other_foreign_things_are_refused(tmp_path):
    (tmp_path / "empty").touch()
    assert_refused(tmp_path / "empty", "is empty")
    assert_refused(tmp_path, "is a folder")
    np.savez(tmp_path / "a.npz", W1=np.zeros(3))
    assert_refused(tmp_path / "a.npz", "zip archive, but not a fastnn model")
    with zipfile.ZipFile(tmp_path / "a.zip", "w"):
        pass
    assert_refused(tmp_path / "a.zip")
    with pytest.raises(FileNotFoundError, match="missing"):
        read_model(tmp_path / "missing")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
def test_a_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert_refused(tmp_path / "pipe", "not a regular file")
    with pytest.raises(OSError, match="Not a regular file"):
        write_model(tmp_path / "pipe", {}, {})
    assert os.listdir(tmp_path) == ["pipe"]


@pytest.mark.parametrize(
    ("stamp", "word"),
    [
        (stamp_of("", version=2), "format version 2"),
        (stamp_of("", version=0), "version"),
        (stamp_of("", version=True), "version"),
        (stamp_of("", version="1"), "version"),
        (stamp_of("", name="other"), "not a fastnn model"),
        (stamp_of(None), "checksum"),
        ("[]", "object"),
        ("{", "damaged"),
        ('{"version": 1, "version": 2}', "twice"),
        ("[" * 100_000, "damaged"),
    ],
)
def test_a_stamp_that_is_not_ours_is_refused(tmp_path, stamp, word):
    with zipfile.ZipFile(tmp_path / "net", "w") as archive:
        archive.writestr("description.json", "{}")
        archive.writestr("format.json", stamp)
    assert_refused(tmp_path / "net", word)


@pytest.mark.parametrize("content", [b'{"a": NaN}', b'{"a": 1, "a": 2}', b"3", b"\xff", b"{}x"])
def test_a_description_that_is_not_plain_json_is_refused(tmp_path, content):
    pack(tmp_path / "net", [("description.json", content)])
    assert_refused(tmp_path / "net", "damaged")


HEADER = "{'descr': '<f4', 'fortran_order': False, 'shape': (%s), }"


@pytest.mark.parametrize(
    "content",
    [
        npy(HEADER % "2,", bytes(4)),
        npy(HEADER % "2,", bytes(12)),
        npy(HEADER % "1000000000000, 1000000000000", bytes(8)),
        npy(HEADER % ("9" * 4000), bytes(8)),
        npy(HEADER % ("1" + "0" * 30 + ", 0")),
        npy(HEADER % ", ".join(["1"] * 65), bytes(4)),
        npy(HEADER % "-2,", bytes(8)),
        npy(HEADER % "2 , ", bytes(8)),
        npy((HEADER % "2,").replace("<f4", "|O"), bytes(16)),
        npy((HEADER % "2,").replace("<f4", ">f4"), bytes(8)),
        npy((HEADER % "2,").replace("<f4", "<f2"), bytes(4)),
        npy((HEADER % "2,").replace("False", "True"), bytes(8)),
        npy("__import__('os').abort()", bytes(8)),
        b"",
        b"\x93NUMPY",
    ],
)
def test_array_headers_that_lie_are_refused(tmp_path, content):
    pack(tmp_path / "net", [("description.json", b"{}"), ("W1.npy", content)])
    assert_refused(tmp_path / "net", "damaged" if b"0, 0)" in content else "array's header")


def test_a_compressed_bomb_is_refused_before_it_is_unpacked(tmp_path):
    array = files._npy_bytes("W1", np.zeros(1_000_000, np.float32))
    members = [("description.json", b"{}"), ("W1.npy", array)]
    pack(tmp_path / "net", members, compressed=["W1.npy"])
    assert (tmp_path / "net").stat().st_size < 10_000
    assert_refused(tmp_path / "net", "not stored")


@pytest.mark.parametrize("member", ["format.json", "W1.npy"])
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"compress_type": zipfile.ZIP_DEFLATED}, "not stored"),
        ({"compress_type": 99}, "not stored"),
        ({"flag_bits": 1}, "not stored"),
        ({"compress_size": 5}, "not stored"),
        ({"file_size": 2**31, "compress_size": 2**31}, "not stored"),
        ({"file_size": 2**62, "compress_size": 2**62}, "not stored"),
        ({"header_offset": 2**63 + 5}, "damaged"),
        ({"header_offset": 2**62}, "damaged"),
        ({"extract_version": 99}, "damaged"),
    ],
)
def test_a_directory_that_lies_is_refused(tmp_path, member, changes, words):
    array = files._npy_bytes("W1", np.zeros(3))
    listed = [(member, *change) for change in changes.items()]
    pack(tmp_path / "net", [("description.json", b"{}"), ("W1.npy", array)], listed=listed)
    assert_refused(tmp_path / "net", words)


def test_members_that_share_their_bytes_are_refused(tmp_path):
    """The bomb that needs no compression: many directory entries for one stretch of the file."""
    path = tmp_path / "net"
    content = files._npy_bytes("W1", np.zeros(10_000, np.float32))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("W1.npy", content)
        archive.writestr("description.json", "{}")
        archive.writestr("format.json", stamp_of(""))
        first = archive.getinfo("W1.npy")
        for number in range(100):
            again = zipfile.ZipInfo(f"W{number + 2}.npy")
            again.header_offset, again.CRC = first.header_offset, first.CRC
            again.file_size = again.compress_size = first.file_size
            archive.filelist.append(again)
    assert_refused(path, "larger than the file")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_of_one_name_are_refused(tmp_path):
    array = files._npy_bytes("W1", np.zeros(1))
    pack(tmp_path / "net", [("description.json", b"{}"), ("W1.npy", array), ("W1.npy", array)])
    assert_refused(tmp_path / "net", "two members")


@pytest.mark.parametrize("name", ["../W1.npy", "/W1.npy", "a/W1.npy", "W1.txt", ".npy", "x.py"])
def test_members_of_other_names_are_refused_and_nothing_is_extracted(tmp_path, name):
    folder = tmp_path / "inner"
    folder.mkdir()
    pack(folder / "net", [("description.json", b"{}"), (name, files._npy_bytes("W1", 1.0))])
    assert_refused(folder / "net", "holds a member")
    assert os.listdir(folder) == ["net"]
    assert os.listdir(tmp_path) == ["inner"]


def test_a_file_without_description_is_refused(tmp_path):
    pack(tmp_path / "net", [("W1.npy", files._npy_bytes("W1", 1.0))])
    assert_refused(tmp_path / "net", "description is missing")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_are_refused(tmp_path_factory, content, like_zip):
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes((b"PK\x03\x04" if like_zip else b"") + content)
    assert_refused(path)


# ---------------------------------------------------------------- failing disks

CALLS = ["open", "write", "fsync", "close", "chmod", "replace"]


class FailingOS:
    """Makes the Nth of the calls in CALLS fail, as SQLite's fault loops do."""

    def __init__(self, monkeypatch, failing, error, persistent):
        self.calls, self.failing, self.error, self.persistent = 0, failing, error, persistent
        self.failed = False
        for name in CALLS:
            monkeypatch.setattr(os, name, self.wrap(name, getattr(os, name)))

    def wrap(self, name, original):
        def call(*args, **kwargs):
            self.calls += 1
            if self.calls == self.failing or (self.persistent and self.calls > self.failing):
                self.failed = True
                if name == "close":
                    original(*args, **kwargs)  # a failing close closes nevertheless
                raise self.error
            return original(*args, **kwargs)

        return call


@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize("exists", [False, True])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "disk full"), KeyboardInterrupt()])
def test_whichever_call_fails_the_old_file_stays(tmp_path, persistent, exists, error):
    path = tmp_path / "net"
    for failing in range(1, 50):
        before = b"old" if exists else None
        if exists:
            path.write_bytes(before)
        raised = None
        with pytest.MonkeyPatch.context() as patch:
            shim = FailingOS(patch, failing, error, persistent)
            try:
                write_model(path, DESCRIPTION, ARRAYS)
            except (OSError, KeyboardInterrupt) as caught:
                raised = caught
        if raised is None:
            assert as_plain(read_model(path)) == WHOLE
            path.unlink()
        elif path.exists() and path.read_bytes() != before:
            # Only when the file is in place and its folder is being synced.
            assert isinstance(raised, KeyboardInterrupt)
            assert as_plain(read_model(path)) == WHOLE
            path.unlink()
        else:
            assert path.exists() == exists
            if isinstance(raised, OSError):
                assert str(path) in str(raised)
            if exists:
                path.unlink()
        assert os.listdir(tmp_path) == []
        if not shim.failed:
            break
    assert failing >= 7


def test_a_system_that_writes_little_at_a_time_is_no_trouble(tmp_path, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:7]))
    write_model(tmp_path / "net", DESCRIPTION, ARRAYS)
    assert as_plain(read_model(tmp_path / "net")) == WHOLE


def test_a_system_that_writes_nothing_is_an_error_not_a_loop(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "write", lambda descriptor, data: 0)
    with pytest.raises(OSError, match="Nothing more"):
        write_model(tmp_path / "net", DESCRIPTION, ARRAYS)
    assert os.listdir(tmp_path) == []


def test_everything_is_on_the_disk_before_the_file_is_moved_into_place(tmp_path, monkeypatch):
    done = []
    for name in CALLS:
        original = getattr(os, name)

        def call(*args, name=name, original=original, **kwargs):
            done.append(name)
            return original(*args, **kwargs)

        monkeypatch.setattr(os, name, call)
    write_model(tmp_path / "net", DESCRIPTION, ARRAYS)
    folder_sync = ["open", "fsync", "close"] if hasattr(os, "O_DIRECTORY") else []
    assert done == ["open", "write", "fsync", "close", "replace", *folder_sync]


FULL_DISK = """
import resource, sys
import numpy as np
from fastnn.files import write_model
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    write_model(sys.argv[1], {}, {"W1": np.zeros(100_000)})
except OSError as error:
    sys.exit(f"refused: {error}")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
def test_a_full_disk_leaves_the_old_file(model):
    root = str(Path(fastnn.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": root, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(model)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "refused: [Errno" in done.stderr
    assert str(model) in done.stderr
    assert as_plain(read_model(model)) == WHOLE
    assert os.listdir(model.parent) == [model.name]


def test_many_writers_and_readers_of_one_path(tmp_path):
    path = tmp_path / "net"
    failures = []

    def content(number):
        return {"number": number}, {"W1": np.full(5000, number, np.float32)}

    def write(number):
        with noting(failures):
            for _ in range(15):
                write_model(path, *content(number))

    def read():
        with noting(failures):
            for _ in range(60):
                description, arrays = read_model(path)
                assert set(arrays["W1"].tolist()) == {description["number"]}

    write_model(path, *content(0))
    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    threads += [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert os.listdir(tmp_path) == ["net"]


@contextlib.contextmanager
def noting(failures):
    try:
        yield
    except BaseException as error:
        failures.append(error)


def test_an_array_that_changes_while_it_is_saved_gives_a_readable_file(tmp_path):
    array = np.zeros(200_000, np.float32)
    stop = threading.Event()

    def change():
        while not stop.is_set():
            array[:] += 1

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(10):
            write_model(tmp_path / "net", {}, {"W1": array})
            read_model(tmp_path / "net")
    finally:
        stop.set()
        thread.join()


# ---------------------------------------------------------------- places and permissions


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        write_model(tmp_path / "runs" / "net", DESCRIPTION, ARRAYS)
    assert caught.value.filename == str(tmp_path / "runs")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["", "inner", "inner/", "new/"])
def test_a_folder_is_not_written_over(tmp_path, name):
    (tmp_path / "inner").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_model(f"{tmp_path}/{name}", DESCRIPTION, ARRAYS)
    assert os.listdir(tmp_path) == ["inner"]
    assert os.listdir(tmp_path / "inner") == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs Unix permissions")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_new_file_follows_the_umask_and_an_old_one_keeps_its_mode(tmp_path, umask, mode):
    path = tmp_path / "net"
    before = os.umask(umask)
    try:
        write_model(path, DESCRIPTION, ARRAYS)
        assert stat.S_IMODE(path.stat().st_mode) == mode
        path.chmod(0o666)
        write_model(path, DESCRIPTION, ARRAYS)
        assert stat.S_IMODE(path.stat().st_mode) == 0o666
    finally:
        os.umask(before)


@pytest.mark.skipif(sys.platform == "win32", reason="needs Unix permissions")
def test_a_private_file_is_never_readable_by_others_while_it_is_written(tmp_path, monkeypatch):
    path = tmp_path / "net"
    path.touch()
    path.chmod(0o600)
    modes = []
    fsync = os.fsync

    def look(descriptor):
        modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", look)
    write_model(path, DESCRIPTION, ARRAYS)
    assert modes[0] == 0o600


@pytest.mark.skipif(sys.platform == "win32", reason="needs symbolic links")
def test_a_symbolic_link_stays_one(tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "latest").symlink_to("runs/net")
    write_model(tmp_path / "latest", DESCRIPTION, ARRAYS)
    assert (tmp_path / "latest").is_symlink()
    assert as_plain(read_model(tmp_path / "runs" / "net")) == WHOLE
    assert as_plain(read_model(tmp_path / "latest")) == WHOLE


def test_the_examples_in_the_docstrings_are_right():
    assert doctest.testmod(files).failed == 0
