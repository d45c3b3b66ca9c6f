"""What a chain of layers makes of images: the shapes on the way, checked."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple, NoReturn

from fastnn import gate
from fastnn.kernels.activations import ACTIVATION_CODES
from fastnn.layers import LAYERS, Conv, Dense, Dropout, MaxPool
from fastnn.training.images import ImageLayer

# Units of a layer, so that sizes in bytes are far from what an address can hold.
LARGEST = 2**31 - 1


class Chain(NamedTuple):
    """What a chain of layers is to the kernels."""

    images: tuple[ImageLayer, ...]
    widths: tuple[int, ...]  # of the flattened images, and of each dense layer
    activations: tuple[str, ...]  # of each hidden dense layer
    dropout: tuple[float, ...]  # of each layer, if any drops
    shapes: tuple[tuple[int, ...], ...]  # of the input, and of the output of each layer

    @property
    def fans(self) -> list[tuple[int, int]]:
        """Of each layer with weights, inputs of an output and outputs of an input."""
        found = []
        for below, image in zip(self.images, self.images[1:], strict=False):
            if image.kind == "convolution":
                window = math.prod(image.size)
                found.append((below.channels * window, image.channels * window))
        return found + list(zip(self.widths, self.widths[1:], strict=False))


def chain_of(input_shape: Any, layers: Any, activation: Any) -> Chain:
    """Check what a network of images is to be made of."""
    if isinstance(layers, str) or not isinstance(layers, Iterable):
        raise TypeError(f"layers must be a sequence of layers, got {layers!r}")
    made = _Making(
        _input_shape(input_shape), gate.choice(activation, ACTIVATION_CODES, "activation")
    )
    given = tuple(layers)
    for number, layer in enumerate(given):
        if not isinstance(layer, tuple(LAYERS.values())):
            kinds = ", ".join(LAYERS)
            raise TypeError(f"layers[{number}] must be one of {kinds}, got {layer!r}")
        made.add(number, layer, number == len(given) - 1)
    if not given or not isinstance(given[-1], Dense):
        last = f", not {given[-1]!r}" if given else ""
        raise ValueError(f"layers must end with a Dense, which makes the outputs{last}")
    return made.chain()


def _input_shape(value: Any) -> tuple[int, int, int]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise TypeError(f"input_shape must be (channels, height, width), got {value!r}")
    given = tuple(value)
    if len(given) != 3:
        raise ValueError(f"input_shape must be (channels, height, width), got {given}")
    channels, height, width = (
        gate.positive_integer(size, f"input_shape[{i}]") for i, size in enumerate(given)
    )
    if channels * height * width > LARGEST:
        raise ValueError(f"input_shape must be of at most {LARGEST} numbers, got {given}")
    return channels, height, width


class _Making:
    """A chain as it grows; what is wrong with a layer is said with the shapes that lead to it."""

    def __init__(self, shape: tuple[int, int, int], activation: str):
        self._images = [ImageLayer("images", *shape)]
        self._widths: list[int] = []
        self._activations: list[str] = []
        self._rates: list[float] = [0.0]
        self._shapes: list[tuple[int, ...]] = [shape]
        self._activation, self._name = activation, ""
        self._layers: list[Any] = []

    def add(self, number: int, layer: Any, is_last: bool) -> None:
        """Add a layer."""
        self._name = f"layers[{number}] {layer!r}"
        try:
            if isinstance(layer, Dense):
                self._add_dense(layer, is_last)
            elif isinstance(layer, Dropout):
                self._add_dropout(layer, self._layers[-1:])
            else:
                self._add_images(layer)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{error}; shapes before it: {self._way()}") from None
        self._layers.append(layer)
        self._shapes.append(self._shape())

    def _way(self) -> str:
        pairs = zip(self._layers, self._shapes[1:], strict=True)
        steps = [f"input {self._shapes[0]}", *(f"{layer!r} {shape}" for layer, shape in pairs)]
        return " -> ".join(steps)

    def chain(self) -> Chain:
        """The whole chain."""
        last = self._images[-1]
        dropout = tuple(self._rates) if any(self._rates) else ()
        return Chain(
            tuple(self._images),
            (last.units, *self._widths),
            tuple(self._activations),
            dropout,
            tuple(self._shapes),
        )

    def _refuse(self, what: str) -> NoReturn:
        raise ValueError(f"{self._name} {what}")

    def _shape(self) -> tuple[int, ...]:
        if self._widths:
            return (self._widths[-1],)
        return self._images[-1].channels, self._images[-1].height, self._images[-1].width

    def _activation_of(self, layer: Conv | Dense) -> str:
        if layer.activation is None:
            return self._activation
        return gate.choice(layer.activation, ACTIVATION_CODES, f"activation of {self._name}")

    def _count(self, value: Any, what: str) -> int:
        return gate.positive_integer(value, f"{what} of {self._name}")

    def _pair(self, value: Any, what: str, least: int = 1) -> tuple[int, int]:
        given = value if isinstance(value, tuple) else (value, value)
        if len(given) != 2:
            self._refuse(f"has {what} {value!r}, not a number or a pair")
        name = f"{what} of {self._name}"
        lines, pixels = (gate.whole_number(one, name, least) for one in given)
        if max(lines, pixels) > LARGEST:
            raise ValueError(f"{name} must be at most {LARGEST}, got {value!r}")
        return lines, pixels

    def _add_images(self, layer: Conv | MaxPool) -> None:
        if self._widths:
            self._refuse("cannot follow a Dense, whose outputs are no images")
        below, size = self._images[-1], self._pair(layer.size, "size")
        pad = self._pair(layer.pad, "pad", 0) if isinstance(layer, Conv) else (0, 0)
        asked = size if isinstance(layer, MaxPool) and layer.stride is None else layer.stride
        stride = self._pair(asked, "stride")
        room = below.height + 2 * pad[0], below.width + 2 * pad[1]
        if size[0] > room[0] or size[1] > room[1]:
            what = "filters" if isinstance(layer, Conv) else "windows"
            with_pad = f", with its pad {room[0]} x {room[1]}" if any(pad) else ""
            self._refuse(
                f"has {what} of {size[0]} x {size[1]}, larger than its input of "
                f"{below.height} x {below.width}{with_pad}"
            )
        height, width = ((r - s) // step + 1 for r, s, step in zip(room, size, stride, strict=True))
        channels, kind, activation = below.channels, "max_pool", "identity"
        if isinstance(layer, Conv):
            channels, kind = self._count(layer.filters, "filters"), "convolution"
            activation = self._activation_of(layer)
        if max(channels * height * width, below.channels * room[0] * room[1]) > LARGEST:
            self._refuse(f"would make more than {LARGEST} numbers of an image")
        self._append(ImageLayer(kind, channels, height, width, size, stride, pad, activation))

    def _append(self, image: ImageLayer, rate: float = 0.0) -> None:
        self._images.append(image)
        self._rates.append(rate)

    def _add_dense(self, layer: Dense, is_last: bool) -> None:
        if not self._widths:
            last = self._images[-1]
            self._append(ImageLayer("flatten", last.channels, last.height, last.width))
        width = self._count(layer.units, "units")
        if width > LARGEST:
            self._refuse(f"has more than {LARGEST} units")
        if is_last and layer.activation is not None:
            self._refuse("is the last, whose activation is the network's output")
        if not is_last:
            self._activations.append(self._activation_of(layer))
        self._widths.append(width)
        self._rates.append(0.0)

    def _add_dropout(self, layer: Dropout, below: list[Any]) -> None:
        rate = gate.real_number(layer.rate, f"rate of {self._name}", 0)
        if rate >= 1:
            raise ValueError(f"rate of {self._name} must be below 1, got {layer.rate!r}")
        if below and isinstance(below[0], Dropout):
            self._refuse("follows another Dropout")
        if self._widths:
            self._rates[-1] = rate
        else:
            last = self._images[-1]
            self._append(ImageLayer("image_dropout", last.channels, last.height, last.width), rate)
