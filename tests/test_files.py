"""Files of networks: what is written is read, wherever it lies."""

import doctest
import io
import os
import stat
import sys
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from model_files import ARRAYS, DESCRIPTION, WHOLE, as_plain

from fastnn import files
from fastnn.files import read_model, write_model

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
