"""What a network is to be made of, checked: arguments of the networks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from fastnn import gate
from fastnn.compiler.rounding import rounding_to_nearest
from fastnn.kernels.activations import ACTIVATION_CODES
from fastnn.losses import DESCRIBED, Loss
from fastnn.training.model import OUTPUT_LOSSES
from fastnn.training.parameters import Parameters

# Standard deviation of the initial weights of a layer by the inputs of each of its outputs, and the
# outputs that each of its inputs goes to.
WEIGHT_INITS: dict[str, Callable[[int, int], float]] = {
    "he": lambda inputs, outputs: math.sqrt(2 / inputs),
    "xavier": lambda inputs, outputs: math.sqrt(1 / inputs),
    "glorot": lambda inputs, outputs: math.sqrt(2 / (inputs + outputs)),
}

LARGEST_DRAW = 40  # of a normal number: no generator gives one of 40 standard deviations
LARGEST_LAYER = 2**31 - 1  # so that sizes in bytes are far from what an address can hold

DTYPES: dict[str, np.dtype] = {"float32": np.dtype(np.float32), "float64": np.dtype(np.float64)}


# Attributes of a network that stay as they are made.
MADE_ONCE = {
    *("layer_sizes", "activations", "input_shape", "layers", "activation"),
    *("output", "loss_name", "dtype", "params"),
}


class Specified:
    """What a network is made of.  It stays: kernels, which check nothing, find their way by it."""

    output: str
    loss_name: str
    dtype: np.dtype
    _described: Loss | None = None  # the loss, if it has numbers of its own

    def _set_end(self, output: Any, loss: Any, outputs: int) -> None:
        end = output_and_loss(output, loss, outputs)
        self.output, self.loss_name = end.output, end.name
        if end.described is not None:
            self._described = end.described

    @property
    def _loss(self) -> Loss | str:
        return self._described or self.loss_name

    def _described_loss(self) -> Any:
        """The loss for a file: its name, or that and its numbers."""
        return self._described.description() if self._described else self.loss_name

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse what would break the network later; reading stays a plain look-up."""
        if name in MADE_ONCE and name in self.__dict__:
            raise AttributeError(_cannot_be_replaced(name))
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        if name in MADE_ONCE:
            raise AttributeError(_cannot_be_replaced(name))
        super().__delattr__(name)

    def _description(self) -> dict[str, Any]:
        """The same for a file."""
        raise NotImplementedError


def _cannot_be_replaced(name: str) -> str:
    instead = "assign to the arrays in it" if name == "params" else "make another network"
    return f"{name} of a network cannot be replaced; {instead}"


def sizes(layer_sizes: Any) -> tuple[int, ...]:
    """Widths of the input, of each hidden layer, and of the output."""
    if isinstance(layer_sizes, str) or not isinstance(layer_sizes, Iterable):
        raise TypeError(f"layer_sizes must be a sequence of integers, got {layer_sizes!r}")
    given = tuple(layer_sizes)
    if len(given) < 2:
        raise ValueError(f"layer_sizes must hold an input and an output width, got {given}")
    checked = [gate.positive_integer(size, f"layer_sizes[{i}]") for i, size in enumerate(given)]
    if max(checked) > LARGEST_LAYER:
        raise ValueError(f"layer_sizes must hold at most {LARGEST_LAYER}, got {max(checked)}")
    return tuple(checked)


def activations(activation: Any, hidden: int) -> tuple[str, ...]:
    """Name of the activation of each of so many hidden layers."""
    if isinstance(activation, str) or not isinstance(activation, Iterable):
        return (gate.choice(activation, ACTIVATION_CODES, "activation"),) * hidden
    names = tuple(activation)
    if len(names) != hidden:
        raise ValueError(f"activation must name one per hidden layer ({hidden}), got {names}")
    return tuple(
        gate.choice(name, ACTIVATION_CODES, f"activation[{i}]") for i, name in enumerate(names)
    )


class OutputAndLoss(NamedTuple):
    """The end of a network, checked."""

    output: str
    name: str
    described: Loss | None  # the loss, if it has numbers of its own
    code: int
    numbers: tuple[float, ...]  # what it has for each output


def output_and_loss(output: Any, loss: Any, outputs: int) -> OutputAndLoss:
    """Activation of so many outputs, and the loss, by default the usual one."""
    allowed = OUTPUT_LOSSES[gate.choice(output, OUTPUT_LOSSES, "output")]
    name = next(iter(allowed)) if loss is None else loss
    described = loss if isinstance(loss, Loss) else None
    if described is not None:
        name = described.name
    elif isinstance(name, str) and name in DESCRIBED:
        described = DESCRIBED[name]()
    _check_pair(output, name, allowed)
    numbers = () if described is None else described.numbers(outputs)
    return OutputAndLoss(output, name, described, allowed[name], numbers)


def _check_pair(output: str, loss: Any, allowed: dict[str, int]) -> None:
    """Refuse a loss that an output does not have; the text says which outputs have it."""
    if not isinstance(loss, str):
        gate.choice(loss, allowed, f"loss with output={output!r}")
    others = [other for other, losses in OUTPUT_LOSSES.items() if loss in losses]
    if others and loss not in allowed:
        names, also = (", ".join(map(repr, each)) for each in (allowed, others))
        raise ValueError(
            f"loss with output={output!r} must be one of {names}, got {loss!r}, which goes with "
            f"output={also}"
        )
    gate.choice(loss, allowed, f"loss with output={output!r}")


def precision(dtype: Any) -> np.dtype:
    """One of the two that there are kernels for."""
    try:
        name = None if dtype is None else np.dtype(dtype).name  # np.dtype(None) is float64
    except TypeError:
        name = dtype
    return DTYPES[gate.choice(name, DTYPES, "dtype")]


def generator(seed: Any) -> np.random.Generator:
    """A source of random numbers; one that is given is used as it is."""
    text = f"seed must be a non-negative integer or a Generator, got {seed!r}"
    if seed is None or isinstance(seed, np.random.Generator):
        return np.random.default_rng(seed)
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise TypeError(text)
    if seed < 0:
        raise ValueError(text)
    return np.random.default_rng(seed)


class InitialWeights:
    """Standard deviations of the weights of each layer, and of all biases."""

    def __init__(
        self, weight_init: Any, bias_init: Any, fans: list[tuple[int, int]], dtype: np.dtype
    ):
        with rounding_to_nearest():
            self.deviations = _deviations(weight_init, fans)
        gate.real_number(bias_init, "bias_init", 0)
        _refuse_too_large(max(self.deviations), "weight_init", dtype)
        _refuse_too_large(bias_init, "bias_init", dtype)
        self.bias_deviation = bias_init

    def draw(self, params: Parameters, random: np.random.Generator) -> None:
        """Set the weights, layer by layer; biases stay zero if they are to."""
        for layer, deviation in enumerate(self.deviations, start=1):
            _draw(params, f"W{layer}", deviation, random)
            if self.bias_deviation:
                _draw(params, f"b{layer}", self.bias_deviation, random)


def _draw(params: Parameters, name: str, deviation: float, random: np.random.Generator) -> None:
    with rounding_to_nearest():
        params[name] = deviation * random.standard_normal(params[name].shape)


def _deviations(weight_init: Any, fans: list[tuple[int, int]]) -> list[float]:
    if isinstance(weight_init, str):
        rule = WEIGHT_INITS[gate.choice(weight_init, WEIGHT_INITS, "weight_init")]
        return [rule(*fan) for fan in fans]
    return [gate.real_number(weight_init, "weight_init", 0)] * len(fans)


def _refuse_too_large(deviation: float, name: str, dtype: np.dtype) -> None:
    most = float(np.finfo(dtype).max) / LARGEST_DRAW
    if float(deviation) > most:
        raise ValueError(f"{name} must be at most {most:.2g} in {dtype}, got {deviation}")
