"""Callbacks of an estimator in its pickle, which has no place for most functions."""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Callable, Sequence
from typing import Any

try:
    import cloudpickle  # which joblib needs, and so scikit-learn
except ImportError:
    from joblib.externals import cloudpickle  # where it stood before


class Packed:
    """A callback as bytes, so that what keeps it from being read costs nothing but itself."""

    def __init__(self, code: bytes):
        self.code = code


def packed(callbacks: Any) -> Any:
    """Callbacks that a pickle can hold: by name, or by their code; others are left out."""
    if not isinstance(callbacks, Sequence):
        return callbacks
    return [found for found in map(_packed, callbacks) if found is not None]


def _packed(callback: Callable) -> Packed | None:
    for pack in (pickle.dumps, cloudpickle.dumps):
        with contextlib.suppress(Exception):  # they raise what they like
            return Packed(pack(callback))
    return None


def unpacked(callbacks: Any) -> Any:
    """The callbacks that were `packed`, without those that cannot be read here."""
    if not isinstance(callbacks, list):
        return callbacks
    found = []
    for callback in callbacks:
        if isinstance(callback, Packed):
            with contextlib.suppress(Exception):
                found.append(pickle.loads(callback.code))
        else:
            found.append(callback)
    return found
