"""Files of networks that are damaged, and disks that fail."""

import contextlib
import errno
import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from model_files import ARRAYS, DESCRIPTION, WHOLE, as_plain, assert_refused

import fastnn
from fastnn.files import ModelFileError, read_model, write_model

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
