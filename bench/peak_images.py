"""What the kernels of images reach of one core's peak, layer by layer of some networks.

A group of 64 bytes of images (16 in float32) passes through a layer again and again, as in a step,
from its scratch, which stays in caches.  Multiply-adds with the zeros around images are not
counted: outputs and deltas skip them, gradients do not.  The way back of filters is timed with and
without the deltas of its inputs: theirs is the difference.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from bench import inputs
from bench.cases import Case
from bench.contestants.own_images import network as network_of
from bench.machine import calibrated, peak_call, rate
from bench.networks import NETWORKS, Pool
from bench.ratios import NOTHING
from bench.tables import table
from fastnn.compiler.launch import chunked
from fastnn.compiler.tiles import GROUP_BYTES
from fastnn.kernels.groups import (
    GATHER,
    GRADIENT,
    Data,
    Network,
    Rows,
    Scratch,
    layer_of,
    parts_of,
)
from fastnn.kernels.layers import BACKWARD, FORWARD
from fastnn.kernels.losses import LOSS_CODES
from fastnn.kernels.rules import RULE_CODES
from fastnn.training.data import column_kind
from fastnn.training.parts import Training
from fastnn.training.plan import aligned_zeros

ROUNDS = 9
Call = Callable[[int], Any]


@chunked
def forward(chunk, chunks, repeats, number, network: Network, data: Data, rows: Rows,
            scratch: Scratch):  # fmt: skip
    """Outputs of a layer."""
    layer, parts = layer_of(network, number), parts_of(network)
    for _ in range(repeats):
        FORWARD(parts, layer.kind, (network, layer, data, rows, scratch, 0, 0))


@chunked
def backward(chunk, chunks, repeats, number, below, network: Network, rows: Rows,
             scratch: Scratch):  # fmt: skip
    """Gradients of a layer, and deltas of the layer below unless that is the first."""
    layer, under, parts = layer_of(network, number), layer_of(network, below), parts_of(network)
    for _ in range(repeats):
        BACKWARD(parts, layer.kind, (network, layer, under, rows, scratch, 0, 0))


class Kernel(NamedTuple):
    """Calls of a number of repeats, and what a repeat does."""

    what: str
    call: Call
    less: Call | None = None  # its seconds are taken off
    flops: int = 0
    bytes: int = 0


class Layers:
    """A network of images, and random numbers in all its layers for a group of images."""

    def __init__(self, name: str, dtype: str):
        case = Case(name, "image_training", "", (784, 10), 1, 1, 1, dtype=dtype,
                    network=NETWORKS[name])  # fmt: skip
        params, self.shapes = network_of(case, inputs.given(case)).params, NETWORKS[name].shapes
        self.layers, kind = NETWORKS[name].layers, np.dtype(dtype)
        self._multiply_adds = NETWORKS[name].multiply_adds
        self.group = GROUP_BYTES // kind.itemsize
        plan, loss = params.plan(self.group), LOSS_CODES["cross_entropy"]
        plan.parts.have(Training(loss, RULE_CODES["adam"]))
        made = (aligned_zeros(n, kind) for n in (plan.values_size, plan.deltas_size))
        work = aligned_zeros(plan.work_size, kind)
        # Before are zeros to start sums from.
        work[GRADIENT:] = np.random.default_rng(0).normal(size=plan.work_size - int(GRADIENT))
        self._network = Network(plan.table, loss, params.block)
        none, nothing = np.empty(0, kind), np.empty(0, column_kind(self.shapes[0][1]))
        numbers = np.arange(self.group)
        self._data = Data(np.empty((0, 1), kind), np.empty((0, 2), np.int64), nothing, none)
        self._rows = Rows(numbers, self.group, GATHER, 0, 0, False, none, numbers, self.group)
        cursor = np.zeros((1, self.group), np.int64)
        self._scratch = Scratch(*made, work, cursor, np.empty(self.group))

    def _forward(self, number: int) -> Call:
        arguments = (number, *self._network, *self._data, *self._rows, *self._scratch)
        return lambda repeats: forward.serial(1, repeats, *arguments)

    def _backward(self, number: int, below: int) -> Call:
        arguments = (number, below, *self._network, *self._rows, *self._scratch)
        return lambda repeats: backward.serial(1, repeats, *arguments)

    def kernels(self) -> Iterator[Kernel]:
        """In the order of the layers."""
        flops_of = iter(self._multiply_adds)
        for number, layer in enumerate(self.layers, start=1):
            below, shape = self.shapes[number - 1], self.shapes[number]
            there, back = self._forward(number), self._backward(number, number - 1)
            size = f"{' x '.join(map(str, below))}"
            if isinstance(layer, Pool):
                moved, words = math.prod(below) * GROUP_BYTES, f"pool {layer.size} of {size}"
                outputs = math.prod(shape) * GROUP_BYTES
                yield Kernel(f"{words}: outputs", there, bytes=moved + outputs)
                yield Kernel(f"{words}: deltas of inputs", back, bytes=2 * moved + 2 * outputs)
                continue
            flops = 2 * next(flops_of) * self.group
            words = f"{layer.filters} filters {layer.size} x {layer.size} over {size}"
            gradients = self._backward(number, 0)
            yield Kernel(f"{words}: outputs", there, flops=flops)
            yield Kernel(f"{words}: gradients", gradients, flops=flops)
            if number > 1:
                yield Kernel(f"{words}: deltas of inputs", back, gradients, flops=flops)


def seconds_of(kernel: Kernel, repeats: tuple[int, int]) -> float:
    """Of a repeat."""
    found = 1 / rate(kernel.call, 1e9, repeats[0])
    return found - 1 / rate(kernel.less, 1e9, repeats[1]) if kernel.less else found


def measure(name: str, dtype: str) -> tuple[float, list[tuple[Kernel, float, float]]]:
    """The peak in GFLOP/s; of each kernel the seconds of a repeat, and its share of that."""
    kernels, (top, work) = list(Layers(name, dtype).kernels()), peak_call(dtype)
    top_repeats = calibrated(top)
    repeats = [(calibrated(k.call), calibrated(k.less) if k.less else 0) for k in kernels]
    turns: list[list[tuple[float, float]]] = [[] for _ in kernels]
    for _ in range(ROUNDS):
        for kernel, counts, found in zip(kernels, repeats, turns, strict=True):
            before = rate(top, work, top_repeats)
            seconds = seconds_of(kernel, counts)
            found.append((seconds, (before + rate(top, work, top_repeats)) / 2))
    peak = median(gflops for found in turns for _, gflops in found)
    return peak, [
        (kernel, median(s for s, _ in found), median(1e-9 * kernel.flops / s / g for s, g in found))
        for kernel, found in zip(kernels, turns, strict=True)
    ]


def cells(kernel: Kernel, seconds: float, share: float) -> list[str]:
    """Of a table: time, rate, and share of the peak."""
    time = f"{1e6 * seconds:.1f}"
    if not kernel.flops:
        return [time, f"{1e-9 * kernel.bytes / seconds:.0f} GB/s", NOTHING]
    return [time, f"{1e-9 * kernel.flops / seconds:.0f}", f"{share:.0%}"]


def tables(dtypes: Sequence[str] = ("float32", "float64")) -> Iterator[str]:
    """A table for each network."""
    header = [word for dtype in dtypes for word in (f"{dtype} µs", "GFLOP/s", "of peak")]
    for name in NETWORKS:
        found = [measure(name, dtype) for dtype in dtypes]
        peaks = ", ".join(f"{peak:.0f} GFLOP/s" for peak, _ in found)
        rows = [[each[0][0].what, *(cell for part in each for cell in cells(*part))]
                for each in zip(*(parts for _, parts in found), strict=True)]  # fmt: skip
        yield f"**{name}**, peak {peaks}\n\n" + table(["kernel", *header], rows)
