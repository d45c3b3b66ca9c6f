"""Code that came with fastnn: a second store, which is read and never written, and no harm."""

import pytest
from kernels_on_disk import cached_files, hits
from test_cache_damage import DAMAGES

from fastnn.compiler import folders, processor

pytestmark = pytest.mark.usefixtures("cache_folder")


@pytest.fixture
def installed(kernels, cache_folder):
    """The files of code, for two functions, that came with the kernels; the cache is empty."""
    module = kernels.load()
    module.scaled.serial(1, 2)
    module.shifted.serial(1, 2)
    cache_folder.rename(kernels.installed)
    return cached_files(kernels.installed)


def test_it_is_loaded_and_nothing_is_written(kernels, installed, cache_folder):
    before = [file.read_bytes() for file in installed]
    module = kernels.load()
    assert (module.scaled.serial(1, 2), module.shifted.serial(1, 2)) == (20, 12)
    assert (hits(module.scaled), hits(module.shifted)) == (1, 1)
    assert module.STORE.info()["files"] == 0
    assert module.STORE.info()["installed_files"] == 2
    assert module.STORE.clear() == 0
    assert not cache_folder.exists()
    assert [file.read_bytes() for file in installed] == before


def test_what_is_not_there_goes_to_the_cache(kernels, installed, cache_folder):
    assert kernels.load().scaled.serial(1, 2.5) == 25.0
    assert len(cached_files(cache_folder)) == 1
    module = kernels.load()
    assert (module.scaled.serial(1, 2.5), module.scaled.serial(1, 2)) == (25.0, 20)
    assert hits(module.scaled) == 2


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_costs_a_compilation_and_then_nothing(kernels, installed, cache_folder, damage):
    content = installed[0].read_bytes()
    installed[0].write_bytes(DAMAGES[damage](content))
    module = kernels.load()
    with pytest.warns(RuntimeWarning, match="compiles .*_scaled.* again.*checksum") as told:
        assert module.scaled.serial(1, 2) == 20
    assert len(told) == 1
    assert hits(module.scaled) == 0
    repaired = kernels.load()
    assert (repaired.scaled.serial(1, 2), repaired.shifted.serial(1, 2)) == (20, 12)
    assert (hits(repaired.scaled), hits(repaired.shifted)) == (1, 1)
    assert len(cached_files(cache_folder)) == 1


def test_it_helps_where_the_cache_is_damaged(kernels, installed, cache_folder):
    folder = cache_folder / installed[0].parent.name
    folder.mkdir(parents=True)
    for path in (cache_folder, folder):
        path.chmod(0o755)
    (folder / installed[0].name).write_bytes(b"")
    module = kernels.load()
    with pytest.warns(RuntimeWarning, match="checksum"):
        assert module.scaled.serial(1, 2) == 20
    assert hits(module.scaled) == 1


def test_exchanged_files_are_found_out(kernels, installed):
    first, second = (file.read_bytes() for file in installed)
    installed[0].write_bytes(second)
    installed[1].write_bytes(first)
    module = kernels.load()
    with pytest.warns(RuntimeWarning, match="checksum"):
        assert module.scaled.serial(1, 2) == 20
    assert module.shifted.serial(1, 2) == 12
    assert (hits(module.scaled), hits(module.shifted)) == (0, 0)


@pytest.mark.parametrize("change", [{"factor": 11}, {"tail": "+ 1"}])
def test_it_is_not_for_other_sources(kernels, installed, change):
    edited = kernels.edit(**change).load()
    assert edited.scaled.serial(1, 2) == {"factor": 22, "tail": 30}[next(iter(change))]
    assert hits(edited.scaled) == 0
    assert edited.STORE.info()["installed_files"] == 0


def test_code_of_another_place_in_its_folder_is_found_out(kernels, installed, cache_folder):
    edited = kernels.edit(factor=11)
    edited.load().scaled.serial(1, 2)
    (made,) = cached_files(cache_folder)
    wrong = kernels.installed / made.parent.name
    installed[0].parent.rename(wrong)
    made.unlink()
    module = edited.load()
    with pytest.warns(RuntimeWarning, match="checksum"):
        assert module.scaled.serial(1, 2) == 22


@pytest.mark.parametrize("there", ["nothing", "a file", "a file in place of the folder inside"])
def test_a_store_that_is_none(kernels, installed, there):
    folder = installed[0].parent
    for file in installed:
        file.unlink()
    folder.rmdir()
    if there == "a file in place of the folder inside":
        folder.write_bytes(b"")
    else:
        folder.parent.rmdir()
        if there == "a file":
            folder.parent.write_bytes(b"")
    module = kernels.load()
    assert module.scaled.serial(1, 2) == 20
    assert module.STORE.info()["installed_files"] == 0


def test_it_is_off_with_the_cache(kernels, installed, monkeypatch):
    monkeypatch.setenv("FASTNN_CACHE", "0")
    module = kernels.load()
    assert module.scaled.serial(1, 2) == 20
    assert hits(module.scaled) == 0
    assert module.STORE.info()["installed_files"] == 0


def test_it_is_read_without_a_home(kernels, installed, monkeypatch):
    monkeypatch.delenv("FASTNN_CACHE_DIR")
    monkeypatch.setattr(folders, "user_cache_folder", lambda: None)
    module = kernels.load()
    assert module.scaled.serial(1, 2) == 20
    assert hits(module.scaled) == 1


def test_a_folder_that_others_can_write_to_is_as_trusted_as_the_sources_beside_it(
    kernels, installed, monkeypatch
):
    monkeypatch.setattr(folders, "why_untrusted", lambda folder: "it belongs to another user")
    module = kernels.load()
    assert module.scaled.serial(1, 2) == 20
    assert hits(module.scaled) == 1


class _Codegen:
    """What Numba says of a processor."""

    def __init__(self, *model):
        self.model = model

    def magic_tuple(self):
        return ("x86_64-unknown-linux-gnu", *self.model)


def test_processors_of_a_level_share_code_and_others_do_not(monkeypatch):
    one, other = _Codegen("znver4", "+avx,+avx512f,+sha"), _Codegen("skylake-avx512", "+avx512f")
    for level in processor.LEVELS:
        monkeypatch.setattr(processor, "LEVEL", level)
        assert processor.described(one) == processor.described(other)
    monkeypatch.setattr(processor, "LEVEL", processor.HOST)
    assert processor.described(one) != processor.described(other)
    described = set()
    for level in (*processor.LEVELS, processor.HOST):
        monkeypatch.setattr(processor, "LEVEL", level)
        described.add(processor.described(one))
    assert len(described) == len(processor.LEVELS) + 1


@pytest.mark.parametrize(
    ("setting", "value"), [("CPU_NAME", "generic"), ("CPU_FEATURES", "+sse2"), ("ENABLE_AVX", 0)]
)
def test_a_processor_that_is_chosen_for_numba_is_obeyed(monkeypatch, setting, value):
    monkeypatch.setattr(processor, "LEVEL", "x86-64-v3")
    monkeypatch.setattr(processor.numba.config, setting, value)
    codegen = _Codegen("generic", "")
    codegen._tm = object()
    assert processor.level() == processor.HOST
    assert processor.target_machine(codegen) is codegen._tm
    assert processor.described(codegen) == codegen.magic_tuple()


def test_the_best_level_is_the_first_whose_features_are_all_there(monkeypatch):
    features = dict.fromkeys(processor.LEVELS["x86-64-v4"], True)
    monkeypatch.setattr(processor.llvmlite.binding, "get_host_cpu_features", lambda: features)
    assert processor._best_level() == "x86-64-v4"
    features["avx512bw"] = False
    assert processor._best_level() == "x86-64-v3"
    del features["fma"]
    assert processor._best_level() == processor.HOST


@pytest.mark.parametrize("named", ["x86-64-v4", "x86-64-v5", "znver4"])
def test_a_level_that_the_processor_lacks_is_refused_in_words(monkeypatch, named):
    """Its instructions would end the process."""
    features = dict.fromkeys(processor.LEVELS["x86-64-v3"], True)
    monkeypatch.setattr(processor.llvmlite.binding, "get_host_cpu_features", lambda: features)
    monkeypatch.setenv(processor.VARIABLE, named)
    assert processor._level() == "x86-64-v3"
    can = "FASTNN_PROCESSOR must be one of ['x86-64-v3', 'host'], as this processor is"
    assert processor.why_impossible() == f"{can}, not '{named}'"
    for possible in ("x86-64-v3", processor.HOST):
        monkeypatch.setenv(processor.VARIABLE, possible)
        assert processor.why_impossible() is None
        assert processor._level() == possible


def test_code_is_made_for_the_level(kernels, monkeypatch):
    """And the engine runs what was made."""
    made = []
    target = processor.target_machine

    def noted(codegen):
        made.append(target(codegen))
        return made[-1]

    monkeypatch.setattr(processor, "target_machine", noted)
    module = kernels.load()
    assert module.scaled.serial(1, 2) == 20
    (machine,) = made
    (result,) = module.scaled.serial.overloads.values()
    again = machine.emit_object(result.library._final_module)
    assert result.library._get_compiled_object() == again
