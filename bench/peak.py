"""One core's FMA peak, and what the kernels reach of it: ``python -m bench.peak [--images]``.

Of the matrix products, or of the kernels of images, see `peak_images`.

The peak is measured with multiply-adds on registers alone, in turn with the products, so that a
change of the clock meets both.
"""

import argparse
import statistics
from typing import Any, NamedTuple

import numpy as np

from bench import peak_images
from bench.machine import calibrated, peak_call, rate
from fastnn.compiler.arithmetic import fma
from fastnn.compiler.jit import inner
from fastnn.compiler.launch import chunked
from fastnn.compiler.parts import table_of
from fastnn.compiler.tile_products import Matrix, add_product
from fastnn.compiler.tiles import (
    GROUP_BYTES,
    TILE_ROWS,
    TILE_VECTORS,
    VECTOR_BYTES,
    lanes_of,
    load_like,
    load_row,
    store,
)
from fastnn.kernels.groups import Place
from fastnn.kernels.products import MULTIPLY, multiply, multiply_transposed
from fastnn.training.plan import aligned_zeros, padded

ROUNDS = 15
# Kinds of work below.
FORWARD, WEIGHTS, DELTAS, LOADS, SUMS = range(5)
# Columns that LOADS and SUMS must have a multiple of: 8 vectors of 64 bytes.
WHOLE_STEP = 128


class Work(NamedTuple):
    """What is done to matrices, and their sizes."""

    kind: Any
    rows: Any
    columns: Any
    depth: Any
    parts: Any  # the address of a table that has their product


@inner
def _loads(rows, columns, left, out):
    """What skipping zeros does forwards: sums in registers, a load of weights for each step."""
    for n in range(0, columns, 8 * lanes_of(out.array)):
        total = load_row(left.array, n, 8)
        for m in range(rows):
            total = add_product(total, left.array, m, out.array, m * out.row + n)
        store(left.array, n, total)


@inner
def _sums(rows, columns, right, out):
    """What skipping zeros does backwards: dz in registers, a sum loaded and stored each step."""
    for n in range(0, columns, 8 * lanes_of(out.array)):
        dz = load_row(right.array, n, 8)
        for m in range(rows):
            at = m * out.row + n
            store(out.array, at, fma(dz, dz, load_like(out.array, at, dz)))


@chunked
def _product(
    chunk,
    chunks,
    repeats,
    work: Work,
    left: Matrix,
    right: Matrix,
    start: Matrix,
    out: Matrix,
    panel: Place,
):
    for _ in range(repeats):
        if work.kind == LOADS:
            _loads(work.rows, work.columns, left, out)
        elif work.kind == SUMS:
            _sums(work.rows, work.columns, right, out)
        elif work.kind == DELTAS:
            rows, columns, depth = work.rows, work.columns, work.depth
            multiply_transposed(work.parts, rows, columns, depth, left, right, start, out, panel)
        else:
            multiply(work.rows, work.columns, work.depth, left, right, start, out)


# (what, kind, M, N, K) of the product M x K times K x N
SHAPES = [
    ("one register tile column, 96 rows", FORWARD, 96, TILE_VECTORS * VECTOR_BYTES // 4, 160),
    ("784-50 forward, 96 rows", FORWARD, 96, 56, 784),
    ("512-512 forward, 96 rows", FORWARD, 96, 512, 512),
    ("1024-1024 forward, 96 rows", FORWARD, 96, 1024, 1024),
    ("784-50 weights, 96 of 784 rows, batch 100", WEIGHTS, 96, 56, 100),
    ("512-512 weights, 96 x 256 of them, batch 256", WEIGHTS, 96, 256, 256),
    ("512-512 deltas, 96 rows", DELTAS, 96, 512, 512),
    ("1024-1024 deltas, 96 rows", DELTAS, 96, 1024, 1024),
    ("a load for each multiply-add, 16 KiB", LOADS, 32, WHOLE_STEP, 1),
    ("a load and a store for each, 16 KiB", SUMS, 32, WHOLE_STEP, 1),
]


def _random(rows, columns, dtype):
    row = padded(columns, dtype, GROUP_BYTES)
    block = aligned_zeros(rows * row, dtype)
    block[:] = np.random.default_rng(0).normal(0, 0.1, block.size)
    return Matrix(block, 0, row, 1)


def _call(kind, M, N, K, dtype):
    """A function of the number of repeats, and the floating-point operations of a repeat."""
    lanes = VECTOR_BYTES // dtype.itemsize
    N -= N % lanes
    left = _random(*((K, M) if kind == WEIGHTS else (M, K)), dtype)
    if kind == WEIGHTS:
        left = Matrix(left.array, 0, 1, left.row)
    right = _random(*((N, K) if kind == DELTAS else (K, N)), dtype)
    zeros = Matrix(aligned_zeros(N, dtype), 0, 0, 1)
    panel = Place(aligned_zeros((K + -K % lanes) * TILE_VECTORS * lanes, dtype), 0)
    matrices = (*left, *right, *zeros, *_random(M, N, dtype))
    table = table_of(dtype, np.dtype(np.uint16))
    table.have(MULTIPLY)
    arguments = (*Work(kind, M, N, K, table.address), *matrices, *panel)
    return (lambda repeats: _product.serial(1, repeats, *arguments)), 2 * M * N * K


def measure(dtype):
    """Median GFLOP/s and share of the peak of every shape, measured in turn."""
    found = [peak_call(dtype.name), *(_call(kind, *sizes, dtype) for _, kind, *sizes in SHAPES)]
    peak, *calls = [(call, work, calibrated(call)) for call, work in found]
    rates, shares, peaks = [[] for _ in calls], [[] for _ in calls], []
    for _ in range(ROUNDS):
        for i, call in enumerate(calls):
            before = rate(*peak)
            rates[i].append(rate(*call))
            top = (before + rate(*peak)) / 2
            shares[i].append(rates[i][-1] / top)
            peaks.append(top)
    return statistics.median(peaks), [
        (what, statistics.median(r), statistics.median(s))
        for (what, *_), r, s in zip(SHAPES, rates, shares, strict=True)
    ]


def main():
    parser = argparse.ArgumentParser("python -m bench.peak", description=__doc__)
    parser.add_argument("--images", action="store_true", help="of the kernels of images instead")
    if parser.parse_args().images:
        print(f"a group of {GROUP_BYTES} bytes of images, one core")
        for table in peak_images.tables():
            print(f"\n{table}")
        return
    print(f"vectors of {VECTOR_BYTES} bytes, tile {TILE_ROWS} x {TILE_VECTORS} vectors, one core\n")
    print("| product | float32 GFLOP/s | of peak | float64 GFLOP/s | of peak |")
    print("|---|---:|---:|---:|---:|")
    (peak32, single), (peak64, double) = (measure(np.dtype(d)) for d in (np.float32, np.float64))
    print(
        f"| multiply-adds on registers (the peak) | {peak32:.0f} | 100 % | {peak64:.0f} | 100 % |"
    )
    for (what, rate32, share32), (_, rate64, share64) in zip(single, double, strict=True):
        print(f"| {what} | {rate32:.0f} | {share32:.0%} | {rate64:.0f} | {share64:.0%} |")


if __name__ == "__main__":
    main()
