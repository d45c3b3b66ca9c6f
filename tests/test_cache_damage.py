"""A compile cache that costs a recompilation at worst: damage, and failing file systems."""

import io
import itertools
import os
import shutil
import warnings

import llvmlite.binding
import pytest
from kernels_on_disk import cached_files, hits

from fastnn.compiler import cache, folders, kept_code

pytestmark = pytest.mark.usefixtures("cache_folder")


# ---- damage


DAMAGES = {
    "empty": lambda content: b"",
    "one byte": lambda content: content[:1],
    "head only": lambda content: content[: len(cache.MAGIC) + cache.DIGEST_BYTES],
    "half": lambda content: content[: len(content) // 2],
    "last byte lost": lambda content: content[:-1],
    "byte added": lambda content: content + b"\0",
    "foreign": lambda content: b"hello" * 1000,
    "bit in the magic": lambda content: flipped(content, 3),
    "bit in the digest": lambda content: flipped(content, len(cache.MAGIC) + 5),
    "bit in the code": lambda content: flipped(content, len(content) // 2),
    "bit at the end": lambda content: flipped(content, len(content) - 1),
}


def flipped(content, position):
    return content[:position] + bytes([content[position] ^ 16]) + content[position + 1 :]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found_and_told(kept, cache_folder, damage):
    assert kept.load()
    (file,) = cached_files(cache_folder)
    file.write_bytes(DAMAGES[damage](file.read_bytes()))
    with pytest.warns(RuntimeWarning, match="compiles .*_scaled.* again.*checksum") as told:
        assert not kept.load()
    assert len(told) == 1
    kept.save()
    assert kept.load()
    assert cached_files(cache_folder) == [file]


def test_damaged_code_is_compiled_again_and_replaced(kernels, cache_folder):
    kernels.load().scaled.serial(1, 2)
    (file,) = cached_files(cache_folder)
    file.write_bytes(file.read_bytes()[:-1])
    module = kernels.load()
    with pytest.warns(RuntimeWarning):
        assert module.scaled.serial(1, 2) == 20
    assert hits(module.scaled) == 0
    module = kernels.load()
    assert module.scaled.serial(1, 2) == 20
    assert hits(module.scaled) == 1


def test_damage_is_told_once(kernels, cache_folder):
    module = kernels.load()
    for x in (2, 2.0):
        module.scaled.serial(1, x)
        module.shifted.serial(1, x)
    for file in cached_files(cache_folder):
        file.write_bytes(b"")
    module = kernels.load()
    with pytest.warns(RuntimeWarning) as told:
        results = [(module.scaled.serial(1, x), module.shifted.serial(1, x)) for x in (2, 2.0)]
    assert results == [(20, 12)] * 2
    assert len(told) == 1


def test_damage_never_raises_even_where_warnings_are_errors(kernels, cache_folder):
    kernels.load().scaled.serial(1, 2)
    cached_files(cache_folder)[0].write_bytes(b"")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert kernels.load().scaled.serial(1, 2) == 20


def test_exchanged_files_are_found_out(kernels, cache_folder):
    """Between two signatures, and between two functions of one signature."""
    module = kernels.load()
    module.scaled.serial(1, 2)
    module.scaled.serial(1, 2.5)
    module.shifted.serial(1, 2)
    files = cached_files(cache_folder)
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


def test_files_of_another_fingerprint_are_found_out(kernels, cache_folder):
    kernels.load().scaled.serial(1, 2)
    (old,) = cached_files(cache_folder)
    edited = kernels.edit(factor=11).load()
    edited.scaled.serial(1, 2)
    (new,) = set(cached_files(cache_folder)) - {old}
    new.write_bytes(old.read_bytes())
    module = kernels.load()
    with pytest.warns(RuntimeWarning, match="checksum"):
        assert module.scaled.serial(1, 2) == 22


def test_a_folder_in_the_place_of_a_file(kernels, cache_folder):
    kernels.load().scaled.serial(1, 2)
    (file,) = cached_files(cache_folder)
    file.unlink()
    file.mkdir()
    assert kernels.load().scaled.serial(1, 2) == 20
    assert not list(cache_folder.glob("*/*.tmp"))


@pytest.mark.parametrize("payload", [b"", b"not a pickle", b"\x80\x04K\x01.", b"\x80\x04)."])
def test_sealed_nonsense_is_no_code(kept, payload):
    kept.write(payload)
    assert not kept.load()
    kept.save()
    assert kept.load()


def test_code_for_another_signature_is_refused(kept):
    kept.write(kept_code.to_bytes(kept.other_result))
    with pytest.warns(RuntimeWarning, match="another signature"):
        assert not kept.load()


# ---- failures of the file system

FILE_CALLS = [
    (os, name)
    for name in ("stat", "mkdir", "makedirs", "utime", "scandir", "replace", "unlink", "rmdir")
] + [(io, "open"), (folders, "open"), (os.path, "realpath")]


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
    kept, cache_folder, monkeypatch, persistent, start
):
    for first in itertools.count(1):
        shutil.rmtree(cache_folder)
        cache_folder.mkdir(mode=0o700)
        if start == "full":
            kept.save()
            assert len(cached_files(cache_folder)) == 1
        with monkeypatch.context() as patch:
            calls = FailingCalls(patch, first, persistent)
            kept.save()
            kept.load()
            kept.cache.store.info()
        if not persistent:
            assert not list(cache_folder.glob("*/*.tmp"))
        with monkeypatch.context() as patch:
            calls_of_clear = FailingCalls(patch, first, persistent)
            kept.cache.store.clear()
        if max(calls.count, calls_of_clear.count) < first:
            break
    assert first > 15  # the calls were counted


def test_an_interrupted_write_leaves_nothing(kept, cache_folder, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    kept.cache.store.clear()
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            kept.save()
    assert os.listdir(next(cache_folder.glob("code-*"))) == []


def test_a_full_disk_leaves_nothing(kept, cache_folder, monkeypatch):
    class Full(io.FileIO):
        def write(self, content):
            super().write(content[:100])
            raise OSError(28, "No space left on device")

    kept.cache.store.clear()
    monkeypatch.setattr(folders, "open", Full, raising=False)
    kept.save()
    assert os.listdir(next(cache_folder.glob("code-*"))) == []


def test_code_that_calls_what_numba_has_not_loaded(kept, monkeypatch):
    """An unknown address would end the process; Numba must load it first."""
    refreshed = []
    monkeypatch.setattr(kept.result.target_context, "refresh", lambda: refreshed.append(1))
    assert kept.load()
    assert refreshed == []
    monkeypatch.setattr(llvmlite.binding, "address_of_symbol", lambda name: None)
    assert kept.load()
    assert refreshed == [1]


def test_disabled_and_enabled_again(kernels, cache_folder):
    module = kernels.load()
    cache = module.scaled.serial._cache
    cache.disable()
    assert module.scaled.serial(1, 2) == 20
    assert not cached_files(cache_folder)
    cache.enable()
    module.scaled.serial.recompile()
    assert len(cached_files(cache_folder)) == 1
    cache.flush()
    assert module.scaled.serial.stats.cache_path == str(cache_folder)
