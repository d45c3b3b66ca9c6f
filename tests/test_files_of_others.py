"""Files that others made: foreign, lying, or meant to do harm."""

import io
import json
import os
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_files import assert_refused

from fastnn import files
from fastnn.files import read_model, write_model

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
