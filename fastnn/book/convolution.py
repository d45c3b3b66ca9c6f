"""What fastnn.book leaves out of the book, and how it says so."""

from __future__ import annotations

import sys
from collections.abc import Callable

NAMES = ("Convolution", "Pooling", "col2im", "conv_output_size", "im2col")


def refuse_in(module: str) -> Callable[[str], object]:
    """Make the ``__getattr__`` of a module whose names of convolution are missing."""

    def missing(name: str) -> object:
        text = f"module {module!r} has no attribute {name!r}"
        if name in NAMES:
            text = f"fastnn.book has no convolution, so it has no {name}"
        raise AttributeError(text, name=name, obj=sys.modules[module])

    return missing
