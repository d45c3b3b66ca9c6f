"""A compile cache that costs a recompilation at worst: damage, places, failing file systems."""

import io
import itertools
import os
import shutil
import sys
import warnings

import llvmlite.binding
import numba
import pytest
from kernels_on_disk import Kernels, cached_files, hits

from fastnn.compiler import jit

posix = pytest.mark.skipif(os.name != "posix", reason="needs owners and modes of files")


@pytest.fixture(autouse=True)
def code_folder(tmp_path, monkeypatch):
    """A cache of its own for every test."""
    folder = tmp_path / "code"
    monkeypatch.setenv("FASTNN_CACHE_DIR", str(folder))
    monkeypatch.delenv("FASTNN_CACHE", raising=False)
    return folder


@pytest.fixture
def kernels(tmp_path):
    return Kernels(tmp_path)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """A build of which Numba has compiled two signatures, and of which nothing is kept yet."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTNN_CACHE", "0")
        build = Kernels(tmp_path_factory.mktemp("kernels")).load().scaled.serial
        assert (build(1, 2), build(1, 2.5)) == (20, 25.0)
    return build


class Kept:
    """One signature of a build, and its file in the cache of this test."""

    def __init__(self, build):
        self.signature, self.other = build.signatures
        self.result = build.overloads[self.signature]
        self.other_result = build.overloads[self.other]
        self.cache = jit.EntryCache(build._cache.name, jit.CodeStore(build._cache.store.sources))
        self.save()

    def save(self):
        self.cache.save_overload(self.signature, self.result)

    def load(self):
        """Whether code was loaded; if so it is right."""
        loaded = self.cache.load_overload(self.signature, self.result.target_context)
        assert loaded is None or loaded.entry_point(1, 2) == 20
        return loaded is not None

    def write(self, payload):
        code_id = self.cache._code_id(self.signature, self.result.codegen)
        self.cache.store.write(code_id, lambda: payload)


@pytest.fixture
def kept(compiled):
    return Kept(compiled)


# ---- damage


DAMAGES = {
    "empty": lambda content: b"",
    "one byte": lambda content: content[:1],
    "head only": lambda content: content[: len(jit.MAGIC) + jit.DIGEST_BYTES],
    "half": lambda content: content[: len(content) // 2],
    "last byte lost": lambda content: content[:-1],
    "byte added": lambda content: content + b"\0",
    "foreign": lambda content: b"hello" * 1000,
    "bit in the magic": lambda content: flipped(content, 3),
    "bit in the digest": lambda content: flipped(content, len(jit.MAGIC) + 5),
    "bit in the code": lambda content: flipped(content, len(content) // 2),
    "bit at the end": lambda content: flipped(content, len(content) - 1),
}


def flipped(content, position):
    return content[:position] + bytes([content[position] ^ 16]) + content[position + 1 :]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found_and_told(kept, code_folder, damage):
    assert kept.load()
    (file,) = cached_files(code_folder)
    file.write_bytes(DAMAGES[damage](file.read_bytes()))
    with pytest.warns(RuntimeWarning, match="compiles .*_scaled.* again.*checksum") as told:
        assert not kept.load()
    assert len(told) == 1
    kept.save()
    assert kept.load()
    assert cached_files(code_folder) == [file]


def test_damaged_code_is_compiled_again_and_replaced(kernels, code_folder):
    kernels.load().scaled.serial(1, 2)
    (file,) = cached_files(code_folder)
    file.write_bytes(file.read_bytes()[:-1])
    module = kernels.load()
    with pytest.warns(RuntimeWarning):
        assert module.scaled.serial(1, 2) == 20
    assert hits(module.scaled) == 0
    module = kernels.load()
    assert module.scaled.serial(1, 2) == 20
    assert hits(module.scaled) == 1


def test_damage_is_told_once(kernels, code_folder):
    module = kernels.load()
    for x in (2, 2.0):
        module.scaled.serial(1, x)
        module.shifted.serial(1, x)
    for file in cached_files(code_folder):
        file.write_bytes(b"")
    module = kernels.load()
    with pytest.warns(RuntimeWarning) as told:
        results = [(module.scaled.serial(1, x), module.shifted.serial(1, x)) for x in (2, 2.0)]
    assert results == [(20, 12)] * 2
    assert len(told) == 1


def test_damage_never_raises_even_where_warnings_are_errors(kernels, code_folder):
    kernels.load().scaled.serial(1, 2)
    cached_files(code_folder)[0].write_bytes(b"")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert kernels.load().scaled.serial(1, 2) == 20


def test_exchanged_files_are_found_out(kernels, code_folder):
    """Between two signatures, and between two functions of one signature."""
    module = kernels.load()
    module.scaled.serial(1, 2)
    module.scaled.serial(1, 2.5)
    module.shifted.serial(1, 2)
    files = cached_files(code_folder)
    contents = [file.read_bytes() for file in files]
    for shift in (1, 2):
        for file, content in zip(files, contents[shift:] + contents[:shift], strict=True):
            file.write_bytes(content)
        module = kernels.load()
        with pytest.warns(RuntimeWarning, match="checksum"):
            assert module.scaled.serial(1, 2) == 20
        assert module.scaled.serial(1, 2.5) == 25.0
        assert module.shifted.serial(1, 2) == 12
        assert (hits(module.scaled), hits(module.shifted)) == (0, 0)


def test_files_of_another_fingerprint_are_found_out(kernels, code_folder):
    kernels.load().scaled.serial(1, 2)
    (old,) = cached_files(code_folder)
    edited = kernels.edit(factor=11).load()
    edited.scaled.serial(1, 2)
    (new,) = set(cached_files(code_folder)) - {old}
    new.write_bytes(old.read_bytes())
    module = kernels.load()
    with pytest.warns(RuntimeWarning, match="checksum"):
        assert module.scaled.serial(1, 2) == 22


def test_a_folder_in_the_place_of_a_file(kernels, code_folder):
    kernels.load().scaled.serial(1, 2)
    (file,) = cached_files(code_folder)
    file.unlink()
    file.mkdir()
    assert kernels.load().scaled.serial(1, 2) == 20
    assert not list(code_folder.glob("*/*.tmp"))


@pytest.mark.parametrize("payload", [b"", b"not a pickle", b"\x80\x04K\x01.", b"\x80\x04)."])
def test_sealed_nonsense_is_no_code(kept, payload):
    kept.write(payload)
    assert not kept.load()
    kept.save()
    assert kept.load()


def test_code_for_another_signature_is_refused(kept):
    kept.write(jit._reduce(kept.other_result))
    with pytest.warns(RuntimeWarning, match="another signature"):
        assert not kept.load()


# ---- places


def test_switched_off(kernels, code_folder, monkeypatch):
    kernels.load().scaled.serial(1, 2)
    for value in ("0", "off", " No ", "FALSE"):
        monkeypatch.setenv("FASTNN_CACHE", value)
        module = kernels.load()
        assert module.scaled.serial(1, 2) == 20
        assert hits(module.scaled) == 0
        info = module.STORE.info()
        assert (info["folder"], info["reason"]) == (None, "switched off by FASTNN_CACHE")
    shutil.rmtree(code_folder)
    assert kernels.load().scaled.serial(1, 2) == 20
    assert not code_folder.exists()


def test_order_of_the_places(kernels, monkeypatch, tmp_path):
    store = kernels.load().STORE
    assert store.root() == (str(tmp_path / "code"), "FASTNN_CACHE_DIR")
    monkeypatch.setenv("FASTNN_CACHE_DIR", "")
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "numbas"))
    assert store.root() == (str(tmp_path / "numbas" / "fastnn"), "NUMBA_CACHE_DIR")
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert store.root()[0] == str(tmp_path / "xdg" / "fastnn")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert store.root()[0] == str(tmp_path / ".cache" / "fastnn")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert store.root()[0] == str(tmp_path / "Library" / "Caches" / "fastnn")
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert store.root()[0] == str(tmp_path / "local" / "fastnn")
    monkeypatch.delenv("LOCALAPPDATA")
    assert store.root() == (None, "there is no home directory")


def test_a_home_that_cannot_be_found(kernels, monkeypatch):
    store = kernels.load().STORE
    monkeypatch.delenv("FASTNN_CACHE_DIR")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # what it does without one
    assert store.root() == (None, "there is no home directory")


def test_a_relative_folder(kernels, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASTNN_CACHE_DIR", "here")
    assert kernels.load().scaled.serial(1, 2) == 20
    assert len(cached_files(tmp_path / "here")) == 1


@posix
def test_a_relative_folder_in_a_removed_working_directory(kernels, monkeypatch, tmp_path):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    monkeypatch.setenv("FASTNN_CACHE_DIR", "here")
    module = kernels.load()
    assert module.scaled.serial(1, 2) == 20
    assert module.STORE.info()["folder"] is None


def test_a_folder_below_a_file(kernels, monkeypatch, tmp_path):
    """No one can write there, not even the superuser."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FASTNN_CACHE_DIR", str(tmp_path / "file" / "code"))
    module = kernels.load()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert module.scaled.serial(1, 2) == 20
    assert module.STORE.info()["files"] == 0
    assert module.STORE.clear() == 0


@posix
@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777])
@pytest.mark.parametrize("which", ["root", "folder"])
def test_folders_that_others_can_write_are_refused(kept, code_folder, mode, which):
    (file,) = cached_files(code_folder)
    refused = code_folder if which == "root" else file.parent
    refused.chmod(mode)
    assert not kept.load()
    kept.cache.save_overload(kept.other, kept.other_result)
    assert cached_files(code_folder) == [file]
    if which == "root":
        assert kept.cache.store.info()["reason"] == f"{code_folder} is writable by others"
    refused.chmod(0o700)
    assert kept.load()


@posix
def test_a_folder_of_another_user_is_refused(kept, code_folder, monkeypatch):
    assert kept.load()
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert not kept.load()
    assert kept.cache.store.info()["reason"] == f"{code_folder} belongs to another user"


@posix
def test_new_folders_are_the_users_alone(kernels, code_folder):
    before = os.umask(0)
    try:
        kernels.load().scaled.serial(1, 2)
    finally:
        os.umask(before)
    (file,) = cached_files(code_folder)
    assert [os.stat(path).st_mode & 0o777 for path in (code_folder, file.parent)] == [0o700] * 2


def test_old_fingerprints_go_and_foreign_things_stay(kernels, code_folder):
    outside = code_folder.parent / "outside"
    outside.mkdir()
    (outside / "precious.nbc").write_text("")
    code_folder.mkdir(mode=0o700)
    old = [code_folder / f"code-{i:032x}" for i in range(jit.KEPT_FOLDERS + 3)]
    for age, folder in enumerate(old):
        folder.mkdir()
        (folder / "f-0123.nbc").write_text("")
        (folder / "f-0123-89ab.tmp").write_text("")
        if folder == old[-1]:
            (folder / "notes.txt").write_text("mine")
        os.utime(folder, (1e9 - age, 1e9 - age))
    for name in ("code-short", "other", f"code-{'x' * 32}"):
        (code_folder / name).mkdir()
    (code_folder / f"code-{'f' * 32}").symlink_to(outside)
    (code_folder / "readme.txt").write_text("mine")
    kernels.load().scaled.serial(1, 2)
    assert [folder.exists() for folder in old[:-1]] == [
        age < jit.KEPT_FOLDERS - 1 for age in range(len(old) - 1)
    ]
    assert os.listdir(old[-1]) == ["notes.txt"]
    kept = {"code-short", "other", f"code-{'x' * 32}", f"code-{'f' * 32}", "readme.txt"}
    assert kept <= set(os.listdir(code_folder))
    assert (outside / "precious.nbc").exists()
    assert len(cached_files(code_folder)) >= 1


def test_a_folder_in_use_counts_as_new(kernels, code_folder):
    kernels.load().scaled.serial(1, 2)
    (file,) = cached_files(code_folder)
    os.utime(file.parent, (1e9, 1e9))
    kernels.load().scaled.serial(1, 2)
    assert file.parent.stat().st_mtime > 1e9


def test_info_and_clear(kernels, code_folder):
    module = kernels.load()
    assert module.STORE.info() == {
        "folder": str(code_folder),
        "reason": "FASTNN_CACHE_DIR",
        "files": 0,
        "bytes": 0,
    }
    module.scaled.serial(1, 2)
    module.shifted.serial(1, 2)
    info = module.STORE.info()
    assert info["files"] == 2
    assert info["bytes"] == sum(file.stat().st_size for file in cached_files(code_folder))
    assert module.STORE.clear() == 2
    assert module.STORE.info()["files"] == 0
    assert module.scaled.serial(1, 2.5) == 25.0
    assert module.STORE.info()["files"] == 1


def test_the_packages_own_cache_can_be_asked(code_folder):
    assert jit.cache_info()["folder"] in (None, str(code_folder))
    assert jit.cache_clear() == 0


# ---- failures of the file system

FILE_CALLS = [
    (os, name)
    for name in ("stat", "mkdir", "makedirs", "utime", "scandir", "replace", "unlink", "rmdir")
] + [(io, "open"), (jit, "open"), (os.path, "realpath")]


class FailingCalls:
    """Let the calls of the file system fail: the n-th, or all from the n-th on."""

    def __init__(self, patch, first, persistent):
        self.count = 0
        self.first = first
        self.persistent = persistent
        for owner, name in FILE_CALLS:
            original = getattr(owner, name, open)
            patch.setattr(owner, name, self.failing(original), raising=False)

    def failing(self, original):
        def call(*args, **kwargs):
            self.count += 1
            if self.count == self.first or (self.persistent and self.count > self.first):
                raise OSError(28, "No space left on device")
            return original(*args, **kwargs)

        return call


@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize("start", ["empty", "full"])
def test_any_failing_call_costs_at_most_the_cache(
    kept, code_folder, monkeypatch, persistent, start
):
    for first in itertools.count(1):
        shutil.rmtree(code_folder)
        code_folder.mkdir(mode=0o700)
        if start == "full":
            kept.save()
            assert len(cached_files(code_folder)) == 1
        with monkeypatch.context() as patch:
            calls = FailingCalls(patch, first, persistent)
            kept.save()
            kept.load()
            kept.cache.store.info()
        if not persistent:
            assert not list(code_folder.glob("*/*.tmp"))
        with monkeypatch.context() as patch:
            calls_of_clear = FailingCalls(patch, first, persistent)
            kept.cache.store.clear()
        if max(calls.count, calls_of_clear.count) < first:
            break
    assert first > 20  # the calls were counted


def test_an_interrupted_write_leaves_nothing(kept, code_folder, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    kept.cache.store.clear()
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            kept.save()
    assert os.listdir(next(code_folder.glob("code-*"))) == []


def test_a_full_disk_leaves_nothing(kept, code_folder, monkeypatch):
    class Full(io.FileIO):
        def write(self, content):
            super().write(content[:100])
            raise OSError(28, "No space left on device")

    kept.cache.store.clear()
    monkeypatch.setattr(jit, "open", Full, raising=False)
    kept.save()
    assert os.listdir(next(code_folder.glob("code-*"))) == []


def test_code_that_calls_what_numba_has_not_loaded(kept, monkeypatch):
    """An unknown address would end the process; Numba must load it first."""
    refreshed = []
    monkeypatch.setattr(kept.result.target_context, "refresh", lambda: refreshed.append(1))
    assert kept.load()
    assert refreshed == []
    monkeypatch.setattr(llvmlite.binding, "address_of_symbol", lambda name: None)
    assert kept.load()
    assert refreshed == [1]


def test_disabled_and_enabled_again(kernels, code_folder):
    module = kernels.load()
    cache = module.scaled.serial._cache
    cache.disable()
    assert module.scaled.serial(1, 2) == 20
    assert not cached_files(code_folder)
    cache.enable()
    module.scaled.serial.recompile()
    assert len(cached_files(code_folder)) == 1
    cache.flush()
    assert module.scaled.serial.stats.cache_path == str(code_folder)
