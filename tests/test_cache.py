"""The compile cache: what is kept, for what code, and for how long."""

from pathlib import Path

import llvmlite
import numba
import pytest
from kernels_on_disk import cached_files, hits

import fastnn
from fastnn.compiler import cache, jit

PACKAGE = Path(fastnn.__file__).resolve().parent
pytestmark = pytest.mark.usefixtures("cache_folder")


def test_code_is_kept_and_loaded(kernels, cache_folder):
    first = kernels.load()
    assert (first.scaled.serial(1, 2), first.shifted.serial(1, 2)) == (20, 12)
    assert first.scaled.serial(1, 2.5) == 25.0
    assert (hits(first.scaled), hits(first.shifted)) == (0, 0)
    assert len(cached_files(cache_folder)) == 3
    second = kernels.load()
    assert (second.scaled.serial(1, 2), second.shifted.serial(1, 2)) == (20, 12)
    assert second.scaled.serial(1, 2.5) == 25.0
    assert (hits(second.scaled), hits(second.shifted)) == (2, 1)
    assert len(cached_files(cache_folder)) == 3


@pytest.mark.parametrize("change", [{"factor": 11}, {"tail": "+ 1"}])
def test_an_edit_takes_effect(kernels, change):
    """In the entry's own file and in one that it only calls into."""
    assert kernels.load().scaled.serial(1, 2) == 20
    edited = kernels.edit(**change).load()
    assert edited.scaled.serial(1, 2) == {"factor": 22, "tail": 30}[next(iter(change))]
    assert hits(edited.scaled) == 0
    back = kernels.edit().load()
    assert back.scaled.serial(1, 2) == 20
    assert hits(back.scaled) == 1


def test_a_process_with_old_code_keeps_nothing_for_new_sources(kernels, cache_folder):
    old = kernels.load()
    kernels.edit(factor=11)
    assert old.scaled.serial(1, 2) == 20
    assert not cached_files(cache_folder)
    assert old.STORE.info()["reason"] == "kernel sources changed since they were imported"
    assert kernels.load().scaled.serial(1, 2) == 22


@pytest.mark.parametrize("setting", cache.CODE_SETTINGS)
def test_settings_of_numba_tell_code_apart(kernels, monkeypatch, setting):
    store = kernels.load().STORE
    before = store.fingerprint((), "cpu")
    monkeypatch.setattr(numba.config, setting, "another", raising=False)
    assert store.fingerprint((), "cpu") != before


def test_the_settings_exist():
    """In the Numba these tests run with; a renamed one would be overlooked."""
    assert [name for name in cache.CODE_SETTINGS if not hasattr(numba.config, name)] == []


def test_versions_flags_and_processor_tell_code_apart(kernels, monkeypatch):
    def fingerprint(machine="cpu"):
        build = kernels.load().scaled.serial  # with the flags of now
        return build._cache.store.fingerprint(build._cache.flags, machine)

    seen = [fingerprint(), fingerprint("another cpu")]
    for owner, name, value in (
        (numba, "__version__", "9"),
        (llvmlite, "__version__", "9"),
        (cache, "PYTHON", "9"),
        (jit, "FLAGS", jit.FLAGS | {"boundscheck": True}),
        (jit, "PARALLEL_FLAGS", jit.PARALLEL_FLAGS | {"fusion": True}),
        (cache, "CODE_VARIABLES", {"vector_bytes": 16}),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, value)
            seen.append(fingerprint())
    assert len(set(seen)) == len(seen)
    assert fingerprint() == seen[0]


def test_all_sources_of_the_engine_are_fingerprinted():
    rooms = (PACKAGE / "compiler", PACKAGE / "kernels")
    expected = {PACKAGE / "__init__.py", *(file for room in rooms for file in room.rglob("*.py"))}
    assert {Path(file) for file in cache.STORE.sources.files} == expected
    assert {PACKAGE / "compiler/jit.py", PACKAGE / "kernels/layers/affine.py"} < expected


def test_closures_and_foreign_functions_are_not_kept(kernels, cache_folder):
    store = kernels.load().STORE

    def make(k):
        def closure(chunks, x):
            return x + k

        return jit.Entry(closure, parallel=False, store=cache.CodeStore(cache.Sources([__file__])))

    assert [make(k).serial(1, 1) for k in (1, 2)] == [2, 3]
    assert jit.Entry(_foreign, parallel=False, store=store).serial(1, 2) == 4
    assert not cached_files(cache_folder)


def _foreign(chunks, x):
    return x + x


def test_functions_of_one_name_are_told_apart(tmp_path, cache_folder):
    source = """
from fastnn.compiler import cache, jit
STORE = cache.CodeStore(cache.Sources([{file!r}]))

def _f(chunks, x):
    return x + 1

first = jit.Entry(_f, parallel=False, store=STORE)

def _f(chunks, x):
    return x + 2

second = jit.Entry(_f, parallel=False, store=STORE)
"""
    file = str(tmp_path / "one_name.py")
    Path(file).write_text(source.format(file=file))
    for _ in range(2):
        names = {}
        exec(compile(Path(file).read_text(encoding="utf-8"), file, "exec"), names)
        assert (names["first"].serial(1, 1), names["second"].serial(1, 1)) == (2, 3)
    assert len(cached_files(cache_folder)) == 2
