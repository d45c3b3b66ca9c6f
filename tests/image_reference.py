"""Slow, obvious NumPy twins of the kernels of images, under the kernels' names.

Images are (N, C, H, W), and those of a group, 64 bytes of them, are added up lane by lane. Sums
round as the kernels promise and are equal to the bit.
"""

import numpy as np
from reference import dropped, fma, lane_sum

from fastnn.kernels.dropout import PARTS

# Gradients of filters are summed over so many parts of a batch at most.
MOST_SUMS = 16


def group_of(dtype):
    return 64 // np.dtype(dtype).itemsize


def windows(x, size, stride, outputs):
    """Yields, for each line i and pixel j of a window, what all windows have there."""
    for i in range(size[0]):
        for j in range(size[1]):
            ends = (i + stride[0] * outputs[0], j + stride[1] * outputs[1])
            found = x[..., i : ends[0] : stride[0], j : ends[1] : stride[1]]
            yield i, j, found[..., : outputs[0], : outputs[1]]


def outputs_of(shape, size, stride, pad=(0, 0)):
    """Lines and pixels of the outputs."""
    both = zip(shape, size, stride, pad, strict=True)
    return tuple((n + 2 * p - f) // s + 1 for n, f, s, p in both)


def surrounded(x, pad):
    """With lines and pixels of zeros around."""
    return np.pad(x, ((0, 0), (0, 0), (pad[0],) * 2, (pad[1],) * 2))


# Convolution --------------------------------------------------------------------------


def convolve(x, W, b, stride=(1, 1), pad=(0, 0)):
    """One chain of fused steps for each output, from its bias on, in the order c, i, j."""
    outputs = outputs_of(x.shape[2:], W.shape[2:], stride, pad)
    y = np.broadcast_to(b[:, None, None], (len(x), len(W), *outputs))
    x = surrounded(x, pad)
    for c in range(x.shape[1]):
        for i, j, pixels in windows(x[:, c : c + 1], W.shape[2:], stride, outputs):
            y = fma(W[:, c, i, j][:, None, None], pixels, y)
    return y


def input_deltas(d, W, shape, stride=(1, 1), pad=(0, 0)):
    """Deltas of images of a shape: chains from zero in the order o, i and j descending."""
    lines, pixels = W.shape[2:]
    room = (s * n for s, n in zip(stride, d.shape[2:], strict=True))
    apart = np.zeros((*d.shape[:2], *room), d.dtype)
    apart[:, :, :: stride[0], :: stride[1]] = d
    # On all sides as many zeros as any filter reaches.
    room = [(n, n + m) for n, m in zip((lines, pixels), shape, strict=True)]
    wide = np.pad(apart, ((0, 0), (0, 0), *room))
    dx = np.zeros((len(d), W.shape[1], *shape), d.dtype)
    for o in range(len(W)):
        for i in reversed(range(lines)):
            for j in reversed(range(pixels)):
                first = lines + pad[0] - i, pixels + pad[1] - j
                met = wide[:, o : o + 1, first[0] :, first[1] :][..., : shape[0], : shape[1]]
                dx = fma(W[o, :, i, j][:, None, None], np.broadcast_to(met, dx.shape), dx)
    return dx


def filter_gradient(d, x, size, stride=(1, 1), pad=(0, 0)):
    """Gradient (O, C, h, w) of one group: each lane over all pixels, then the lanes by halves."""
    outputs, x = d.shape[2:], surrounded(x, pad)
    gradient, d = np.zeros((d.shape[1], x.shape[1], *size), d.dtype), as_a_group(d)
    for i, j, pixels in windows(x, size, stride, outputs):
        lanes, pixels = np.zeros((len(d), d.shape[1], x.shape[1]), d.dtype), as_a_group(pixels)
        for y in range(d.shape[2]):
            for n in range(d.shape[3]):
                lanes = fma(d[:, :, None, y, n], pixels[:, None, :, y, n], lanes)
        gradient[:, :, i, j] = lane_sum_of_all(lanes)
    return gradient


def as_a_group(x):
    """Of fewer images than a group has, neighbouring pixels as if they were of other images."""
    together = group_of(x.dtype) // len(x)
    x = np.pad(x, ((0, 0), (0, 0), (0, 0), (0, -x.shape[3] % together)))
    x = x.reshape(*x.shape[:3], -1, together)
    return x.transpose(4, 0, 1, 2, 3).reshape(-1, *x.shape[1:4])


def bias_gradient(d):
    """Gradient (O,) of one group."""
    d = as_a_group(d)
    lanes = np.zeros(d.shape[:2], d.dtype)
    for y in range(d.shape[2]):
        for n in range(d.shape[3]):
            lanes = lanes + d[:, :, y, n]
    return lane_sum_of_all(lanes)


def lane_sum_of_all(lanes):
    """`lane_sum` over the first axis."""
    found = np.empty(lanes.shape[1:], lanes.dtype)
    for at in np.ndindex(found.shape):
        found[at] = lane_sum(lanes[(slice(None), *at)])
    return found


def sum_of_groups(gradients):
    """Of groups of a part in their order, then of the parts in theirs."""
    count = len(gradients)
    parts = min(count, MOST_SUMS)
    sums = [None] * parts
    for group, gradient in enumerate(gradients):
        part = group * parts // count
        sums[part] = gradient if sums[part] is None else sums[part] + gradient
    total = sums[0]
    for more in sums[1:]:
        total = total + more
    return total


# Pooling ------------------------------------------------------------------------------


def max_pool(x, size, stride):
    """The largest pixel of each window."""
    outputs = outputs_of(x.shape[2:], size, stride)
    return np.max([pixels for _, _, pixels in windows(x, size, stride, outputs)], axis=0)


def max_pool_backward(x, d, size, stride):
    """A window's delta goes to the first of its largest pixels; windows in their order."""
    dx = np.zeros(x.shape, d.dtype)
    for n, c, y, p in np.ndindex(d.shape):
        top, left = y * stride[0], p * stride[1]
        window = x[n, c, top : top + size[0], left : left + size[1]]
        i, j = divmod(int(window.argmax()), size[1])
        dx[n, c, top + i, left + j] += d[n, c, y, p]
    return dx


# Dropout ------------------------------------------------------------------------------


def drop(x, dropped_parts, salt, layer, first_row=0):
    """Images without what is dropped of them, and the rest so much larger."""
    scale = x.dtype.type(PARTS / (PARTS - dropped_parts))
    rows = range(first_row, first_row + len(x))
    units = x[0].size
    out = np.array([dropped(dropped_parts, salt, layer, row, units) for row in rows])
    return np.where(out.reshape(x.shape), x.dtype.type(0), x * scale)
