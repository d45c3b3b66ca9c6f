"""Where the compile cache lies, which folders it trusts, and what it removes."""

import os
import shutil
import sys
import warnings

import numba
import pytest
from kernels_on_disk import cached_files, hits

from fastnn.compiler import cache, folders

posix = pytest.mark.skipif(os.name != "posix", reason="needs owners and modes of files")
pytestmark = pytest.mark.usefixtures("cache_folder")


def test_switched_off(kernels, cache_folder, monkeypatch):
    kernels.load().scaled.serial(1, 2)
    for value in ("0", "off", " No ", "FALSE"):
        monkeypatch.setenv("FASTNN_CACHE", value)
        module = kernels.load()
        assert module.scaled.serial(1, 2) == 20
        assert hits(module.scaled) == 0
        info = module.STORE.info()
        assert (info["folder"], info["reason"]) == (None, "switched off by FASTNN_CACHE")
    shutil.rmtree(cache_folder)
    assert kernels.load().scaled.serial(1, 2) == 20
    assert not cache_folder.exists()


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
def test_folders_that_others_can_write_are_refused(kept, cache_folder, mode, which):
    (file,) = cached_files(cache_folder)
    refused = cache_folder if which == "root" else file.parent
    refused.chmod(mode)
    assert not kept.load()
    kept.cache.save_overload(kept.other, kept.other_result)
    assert cached_files(cache_folder) == [file]
    if which == "root":
        assert kept.cache.store.info()["reason"] == f"{cache_folder} is writable by others"
    refused.chmod(0o700)
    assert kept.load()


@posix
def test_a_folder_of_another_user_is_refused(kept, cache_folder, monkeypatch):
    assert kept.load()
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert not kept.load()
    assert kept.cache.store.info()["reason"] == f"{cache_folder} belongs to another user"


@posix
def test_new_folders_are_the_users_alone(kernels, cache_folder):
    before = os.umask(0)
    try:
        kernels.load().scaled.serial(1, 2)
    finally:
        os.umask(before)
    (file,) = cached_files(cache_folder)
    assert [os.stat(path).st_mode & 0o777 for path in (cache_folder, file.parent)] == [0o700] * 2


def test_old_fingerprints_go_and_foreign_things_stay(kernels, cache_folder):
    outside = cache_folder.parent / "outside"
    outside.mkdir()
    (outside / "precious.nbc").write_text("")
    cache_folder.mkdir(mode=0o700)
    old = [cache_folder / f"code-{i:032x}" for i in range(folders.KEPT_FOLDERS + 3)]
    for age, folder in enumerate(old):
        folder.mkdir()
        (folder / "f-0123.nbc").write_text("")
        (folder / "f-0123-89ab.tmp").write_text("")
        if folder == old[-1]:
            (folder / "notes.txt").write_text("mine")
        os.utime(folder, (1e9 - age, 1e9 - age))
    for name in ("code-short", "other", f"code-{'x' * 32}"):
        (cache_folder / name).mkdir()
    (cache_folder / f"code-{'f' * 32}").symlink_to(outside)
    (cache_folder / "readme.txt").write_text("mine")
    kernels.load().scaled.serial(1, 2)
    assert [folder.exists() for folder in old[:-1]] == [
        age < folders.KEPT_FOLDERS - 1 for age in range(len(old) - 1)
    ]
    assert os.listdir(old[-1]) == ["notes.txt"]
    kept = {"code-short", "other", f"code-{'x' * 32}", f"code-{'f' * 32}", "readme.txt"}
    assert kept <= set(os.listdir(cache_folder))
    assert (outside / "precious.nbc").exists()
    assert len(cached_files(cache_folder)) >= 1


def test_a_folder_in_use_counts_as_new(kernels, cache_folder):
    kernels.load().scaled.serial(1, 2)
    (file,) = cached_files(cache_folder)
    os.utime(file.parent, (1e9, 1e9))
    kernels.load().scaled.serial(1, 2)
    assert file.parent.stat().st_mtime > 1e9


def test_info_and_clear(kernels, cache_folder):
    module = kernels.load()
    assert module.STORE.info() == {
        "folder": str(cache_folder),
        "reason": "FASTNN_CACHE_DIR",
        "files": 0,
        "bytes": 0,
        "installed_files": 0,
    }
    module.scaled.serial(1, 2)
    module.shifted.serial(1, 2)
    info = module.STORE.info()
    assert info["files"] == 2
    assert info["bytes"] == sum(file.stat().st_size for file in cached_files(cache_folder))
    assert module.STORE.clear() == 2
    assert module.STORE.info()["files"] == 0
    assert module.scaled.serial(1, 2.5) == 25.0
    assert module.STORE.info()["files"] == 1


def test_the_packages_own_cache_can_be_asked(cache_folder):
    assert cache.cache_info()["folder"] in (None, str(cache_folder))
    assert cache.cache_clear() == 0
