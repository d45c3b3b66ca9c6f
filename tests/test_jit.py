"""Builds of kernels, and the flags that they are made with."""

import numba
import numpy as np
import pytest

from fastnn.compiler import cache, jit

pytestmark = pytest.mark.usefixtures("cache_folder")


def _half(x):
    return x / 2


@pytest.mark.parametrize(
    "half", [jit.inner(_half), jit.inner()(_half), jit.inner(forceinline=True)(_half)]
)
def test_inner_is_compiled_with_our_flags_and_without_cache(half):
    def quarter(chunks, x):
        return half(half(x))

    assert jit.Entry(quarter, parallel=False).serial(1, 3.0) == 0.75
    assert half.targetoptions["nogil"]
    assert half.targetoptions["error_model"] == "numpy"
    assert "fastmath" not in half.targetoptions
    assert half._cache.cache_path is None


def test_inner_can_be_forced_inline():
    assert jit.inner(forceinline=True)(_half).targetoptions["forceinline"]
    assert "forceinline" not in jit.inner(_half).targetoptions


def test_a_division_by_zero_is_infinite():
    assert jit.Entry(_reciprocal, parallel=False).serial(1, 0.0) == np.inf


def _reciprocal(chunks, x):
    return 1.0 / x


def _chunk_numbers(chunks, x):
    for c in numba.prange(chunks):
        x[c] = c
    return chunks


def test_an_entry_has_two_builds_of_two_names():
    for made in (jit.entry(_chunk_numbers), jit.entry()(_chunk_numbers), jit.Entry(_chunk_numbers)):
        assert made.serial is not made.parallel
        assert made.serial.__name__ == "_chunk_numbers_serial"
        assert made.parallel.__qualname__ == "_chunk_numbers_parallel"
        assert made.serial.__module__ == __name__
        assert "parallel" not in made.serial.targetoptions
        assert not made.serial.signatures
        assert not made.parallel.signatures
    assert _chunk_numbers.__name__ == "_chunk_numbers"
    assert repr(made) == f"<fastnn entry {__name__}._chunk_numbers>"


def test_an_entry_without_a_parallel_build():
    for made in (
        jit.entry(_chunk_numbers, parallel=False),
        jit.entry(parallel=False)(_chunk_numbers),
    ):
        assert made.parallel is made.serial


def regions(build):
    """Count the bodies of parallel loops in the machine code of the latest signature."""
    code = build.inspect_llvm(build.signatures[-1])
    defined = [line for line in code.splitlines() if line.startswith("define")]
    return sum("__gufunc__" in line for line in defined)


def _two_regions(chunks, x, y, z):
    for c in numba.prange(chunks):
        y[c] = 2 * x[c]
    for c in numba.prange(chunks):
        z[c] = y[c] + 1


def test_two_pranges_are_not_fused():
    """These two Numba would fuse; how much it sees through is its affair, so it may not look."""
    build = jit.Entry(_two_regions).parallel
    x, y, z = np.ones((3, 5))
    build(5, x, y, z)
    np.testing.assert_array_equal(z, [3] * 5)
    assert regions(build) == 2


def _sum_beside_a_prange(chunks, x, y):
    x += 1
    total = np.sum(x)
    for c in numba.prange(chunks):
        y[c] += 1
    return total


def test_flags_hold_for_every_signature():
    """Only prange makes a region. Numba empties a dict of options at its first use."""
    build = jit.Entry(_sum_beside_a_prange).parallel
    for dtype in ("float64", "float32"):
        assert build(3, np.ones(3, dtype), np.ones(3, dtype)) == 6
        assert regions(build) == 1


def test_without_numbas_internals_there_is_a_plain_serial_build(monkeypatch, kernels):
    monkeypatch.setattr(cache, "INTERNALS_KNOWN", False)
    assert jit.Entry(_chunk_numbers).parallel.__name__ == "_chunk_numbers_serial"
    module = kernels.load()
    assert module.scaled.serial(1, 2) == 20
    assert module.STORE.info()["folder"] is None
    assert cache.cache_info()["reason"] == "this version of Numba has other internals"
