"""Products of filters and images: the inner loops of every convolution.

Images lie in lanes: a group of 64 bytes of them is the innermost dimension of ``[c, y, x, image]``.
So a weight meets a vector of pixels, and neighbouring pixels are neighbouring vectors: no image is
copied for each tap of a filter, and no lane is shuffled.
"""

from typing import NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastnn.compiler.groups import Floats
from fastnn.compiler.tiles import (
    Memory,
    Tile,
    broadcast,
    call_llvm,
    grid,
    pack,
    row_at,
    unpack,
)


class Planes(NamedTuple):
    """Images in memory: vectors of pixel (c, y, x), one after the other.

    The first is at ``array[at + c * plane + y * line + x * pixel]``.
    """

    array: Floats
    at: int
    plane: int
    line: int
    pixel: int


class Filters(NamedTuple):
    """Weights in memory: (o, c, i, j) is at ``array[at + o * output + c * plane + ...]``."""

    array: Floats
    at: int
    output: int
    plane: int
    line: int
    pixel: int


class Window(NamedTuple):
    """How much of a filter is summed: channels, lines, and pixels of a line."""

    channels: int
    lines: int
    pixels: int


class _Operand:
    """A `Planes` or `Filters` argument of an intrinsic; its steps by name."""

    def __init__(self, context, builder, group, value):
        names = group.instance_class._fields
        parts = {name: builder.extract_value(value, i) for i, name in enumerate(names)}
        self.memory = Memory(context, builder, group.types[0], parts.pop("array"))
        self.steps, self._builder = parts, builder

    def __getattr__(self, name):
        return self.steps[name]

    def moved(self, offset, **counts):
        """An offset, so many steps further."""
        for name, count in counts.items():
            offset = self._builder.add(offset, self._builder.mul(self.steps[name], count))
        return offset


@intrinsic(prefer_literal=True)
def tap_product(typingctx, rows, vectors, window, W, X, S, s, step):
    """Sums over a window for `rows` outputs and as many `vectors`, which lie side by side.

    Row r is ``S[s + r * step] + W[r, c, i, j] * X[c, i, j] + ...``, summed in the order c, i, j
    with fused steps, each output on its own.
    """
    tile = Tile(X.types[0].dtype, rows.literal_value, vectors.literal_value)

    def emit(context, builder, sig, args):
        weights, images = (_Operand(context, builder, sig.args[i], args[i]) for i in (3, 4))
        start = Memory(context, builder, sig.args[5], args[5])
        ends = cgutils.unpack_tuple(builder, args[2], 3)
        totals = []
        for r in range(tile.rows):
            first = broadcast(
                builder, start.scalar(row_at(builder, args[6], args[7], r)), tile.lanes
            )
            totals += [cgutils.alloca_once_value(builder, first) for _ in range(tile.vectors)]
        with (
            cgutils.for_range(builder, ends[0]) as c,
            cgutils.for_range(builder, ends[1]) as i,
            cgutils.for_range(builder, ends[2]) as j,
        ):
            where = {"plane": c.index, "line": i.index, "pixel": j.index}
            w, x = weights.moved(weights.at, **where), images.moved(images.at, **where)
            pixels = [images.memory.load(at, tile) for at in grid(builder, tile, x, None, rows=1)]
            before = [builder.load(total) for total in totals]
            for r in range(tile.rows):
                weight = weights.memory.scalar(row_at(builder, w, weights.output, r))
                weight = broadcast(builder, weight, tile.lanes)
                for v, pixel in enumerate(pixels):
                    at = r * tile.vectors + v
                    builder.store(call_llvm(builder, "fma", weight, pixel, before[at]), totals[at])
        return pack(builder, tile, [builder.load(total) for total in totals])

    return tile(rows, vectors, window, W, X, S, types.intp, types.intp), emit


@intrinsic
def outer_sums(typingctx, total, size, strides, D, X, window, tap):
    """Total, and sums over all pixels of deltas times what taps of filters meet, lane by lane.

    A row of it is of an output, which is a plane of D, a vector of a row of a tap, counted in the
    order c, i, j of a window, from `tap` on.  `size` is height and width of D, `strides` are the
    steps of the window over X.
    """
    tile = total

    def emit(context, builder, sig, args):
        deltas, images = (_Operand(context, builder, sig.args[i], args[i]) for i in (3, 4))
        (height, width), (stride_y, stride_x) = (
            cgutils.unpack_tuple(builder, args[i], 2) for i in (1, 2)
        )
        _, lines, pixels = cgutils.unpack_tuple(builder, args[5], 3)
        firsts = []
        for v in range(tile.vectors):
            at = builder.add(args[6], ir.Constant(args[6].type, v))
            line = builder.sdiv(at, pixels)
            where = {
                "plane": builder.sdiv(line, lines),
                "line": builder.srem(line, lines),
                "pixel": builder.srem(at, pixels),
            }
            firsts.append(images.moved(images.at, **where))
        totals = [
            cgutils.alloca_once_value(builder, before) for before in unpack(builder, tile, args[0])
        ]
        with (
            cgutils.for_range(builder, height) as y,
            cgutils.for_range(builder, width) as x,
        ):
            d = deltas.moved(deltas.at, line=y.index, pixel=x.index)
            steps = {
                "line": builder.mul(y.index, stride_y),
                "pixel": builder.mul(x.index, stride_x),
            }
            columns = [images.memory.load(images.moved(first, **steps), tile) for first in firsts]
            before = [builder.load(total) for total in totals]
            for r in range(tile.rows):
                delta = deltas.memory.load(row_at(builder, d, deltas.plane, r), tile)
                for v, column in enumerate(columns):
                    at = r * tile.vectors + v
                    builder.store(call_llvm(builder, "fma", delta, column, before[at]), totals[at])
        return pack(builder, tile, [builder.load(total) for total in totals])

    return tile(tile, size, strides, D, X, window, types.intp), emit
