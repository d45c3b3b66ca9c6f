"""One core's FMA peak, and what the matrix products reach of it: ``python -m bench.peak``.

The peak is measured with multiply-adds on registers alone, in turn with the products, so that a
change of the clock meets both.
"""

import statistics

import numpy as np

from bench.machine import calibrated, peak_call, rate
from fastnn.compiler.jit import entry, inner
from fastnn.compiler.lanes import (
    GROUP_BYTES,
    TILE_ROWS,
    TILE_VECTORS,
    VECTOR_BYTES,
    fma,
    load,
    load_like,
    rank_one,
    store,
)
from fastnn.kernels.affine import ONE, ZERO, multiply, multiply_transposed
from fastnn.training.parameters import aligned_zeros, padded

ROUNDS = 15
# Kinds of work below.
FORWARD, WEIGHTS, DELTAS, LOADS, SUMS = range(5)
# Columns that LOADS and SUMS must have a multiple of: 8 vectors of 64 bytes.
WHOLE_STEP = 128


@inner
def _loads(M, N, A, C, c_row):
    """What skipping zeros does forwards: sums in registers, a load of weights for each step."""
    step = 8 * VECTOR_BYTES // C.itemsize
    for n in range(0, N, step):
        total = load(A, n, 0, 1, 8)
        for m in range(M):
            total = rank_one(total, A, m, 0, C, m * c_row + n)
        store(A, n, 0, total)


@inner
def _sums(M, N, B, C, c_row):
    """What skipping zeros does backwards: dz in registers, a sum loaded and stored each step."""
    step = 8 * VECTOR_BYTES // C.itemsize
    for n in range(0, N, step):
        dz = load(B, n, 0, 1, 8)
        for m in range(M):
            at = m * c_row + n
            store(C, at, 0, fma(dz, dz, load_like(C, at, dz)))


@entry(parallel=False)
def _product(chunks, repeats, kind, M, N, K, A, a_row, B, b_row, S, C, c_row, panel):
    for _ in range(repeats):
        if kind == FORWARD:
            multiply(M, N, K, A, ZERO, a_row, ONE, B, ZERO, b_row, S, ZERO, ZERO, C, ZERO, c_row)
        elif kind == WEIGHTS:
            multiply(M, N, K, A, ZERO, ONE, a_row, B, ZERO, b_row, S, ZERO, ZERO, C, ZERO, c_row)
        elif kind == LOADS:
            _loads(M, N, A, C, c_row)
        elif kind == SUMS:
            _sums(M, N, B, C, c_row)
        else:
            multiply_transposed(M, N, K, A, ZERO, a_row, B, ZERO, b_row, S, ZERO, ZERO,
                                C, ZERO, c_row, panel)  # fmt: skip


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
    return block, row


def _call(kind, M, N, K, dtype):
    """A function of the number of repeats, and the floating-point operations of a repeat."""
    lanes = VECTOR_BYTES // dtype.itemsize
    N -= N % lanes
    A, a_row = _random(*((K, M) if kind == WEIGHTS else (M, K)), dtype)
    B, b_row = _random(*((N, K) if kind == DELTAS else (K, N)), dtype)
    C, c_row = _random(M, N, dtype)
    zeros, panel = aligned_zeros(N, dtype), aligned_zeros(K * TILE_VECTORS * lanes, dtype)
    arguments = (kind, M, N, K, A, a_row, B, b_row, zeros, C, c_row, panel)
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
