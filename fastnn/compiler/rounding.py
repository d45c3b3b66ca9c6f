"""Rounding to nearest for what is computed outside kernels, whatever the host has set."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterator
from typing import Any

TO_NEAREST = 0  # C's FE_TONEAREST, on all processors that fastnn knows
ENVIRONMENT_BYTES = 256  # C's fenv_t has 8 to 32

# Names, or Python would compute with these when it is compiled.  Halves of the distances from 1 to
# its neighbours: added to 1 they vanish, if rounding is to nearest.
_ONE, _HALF_ABOVE, _HALF_BELOW = 1.0, 2.0**-53, 2.0**-54


def is_to_nearest() -> bool:
    """Whether this thread rounds so."""
    return _ONE + _HALF_ABOVE == _ONE == _ONE - _HALF_BELOW


_UNCHANGED = contextlib.nullcontext()


def rounding_to_nearest() -> contextlib.AbstractContextManager:
    """Within this block, this thread rounds to nearest.

    For casts, learning rates and means, and for the constants that are compiled into kernels, which
    are kept on disk.
    """
    library = None if is_to_nearest() else _c_library()
    return _UNCHANGED if library is None else _rounding(library)


@contextlib.contextmanager
def _rounding(library: Any) -> Iterator[None]:
    # All of it: fegetround knows one of the two modes that an x86 processor has.
    before = ctypes.create_string_buffer(ENVIRONMENT_BYTES)
    library.fegetenv(before)
    try:
        library.fesetround(TO_NEAREST)
        yield
    finally:
        library.fesetenv(before)


def _c_library() -> Any:
    import ctypes.util  # late: it brings the module subprocess

    name = "ucrtbase" if sys.platform == "win32" else ctypes.util.find_library("m")
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(name)
        if library.fegetenv and library.fesetenv and library.fesetround:
            return library
    return None
