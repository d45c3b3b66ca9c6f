"""What fastnn.book leaves out of the book, and how it says so."""

from __future__ import annotations

from collections.abc import Callable

NAMES = ("Convolution", "Pooling", "col2im", "conv_output_size", "im2col")


class NoConvolutionError(ImportError):
    """A name of the book was asked for that needs convolution."""

    def __init__(self, name: str):
        super().__init__(f"fastnn.book has no convolution, so it has no {name}", name=name)


def refuse_in(module: str) -> Callable[[str], object]:
    """Make the ``__getattr__`` of a module whose names of convolution are missing."""

    def missing(name: str) -> object:
        if name in NAMES:
            raise NoConvolutionError(name)
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    return missing
