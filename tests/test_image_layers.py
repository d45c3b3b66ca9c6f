"""Kinds of layers of images, each on its own in the memory of a network that is NaN all around."""

from dataclasses import replace

import image_reference as twins
import numpy as np
import pytest
import reference
from image_entries import ImageLayers
from kernel_entries import DTYPES, group_of, normal
from numpy.testing import assert_allclose, assert_array_equal
from reference import assert_same_bits

from fastnn.chain import chain_of
from fastnn.kernels.activations import ACTIVATIONS
from fastnn.kernels.dropout import PARTS
from fastnn.kernels.groups import ROW_BLOCK
from fastnn.layers import Conv, Dense, Dropout, MaxPool

each_dtype = pytest.mark.parametrize("dtype", DTYPES)
# Rows of the last group of a batch: few have neighbouring pixels in the lanes.
each_last = pytest.mark.parametrize("last", [1, 2, 3, 8])


def layers_of(shape, *made, activation="identity"):
    """What the plan knows of layers of images, from rows to rows."""
    return chain_of(shape, (*made, Dense(3)), activation).images


def images_for(rng, layers, number, slot=0, count=None):
    """Normal numbers as outputs of a layer, for as many images as its pixels have room for."""
    image = layers.images[number]
    count = layers.pixel(slot) if count is None else count
    return normal(rng, layers.dtype, count, image.channels, image.height, image.width)


def of_slot(layers, rows, slot):
    """The rows of a group of a batch, and zeros in place of those that are none."""
    mine = rows[slot : slot + layers.group]
    none = layers.pixel(slot) - len(mine)
    return np.concatenate([mine, np.zeros((none, *rows.shape[1:]), rows.dtype)])


@each_dtype
def test_nothing_lies_where_whole_vectors_of_another_group_or_layer_are_written(dtype):
    made = (Conv(3, (2, 1)), MaxPool((2, 1)), Dropout(0.5), Conv(1, 1, pad=(1, 0)), Conv(2, 1))
    for shape in ((2, 9, 1), (1, 8, 2), (3, 7, 5)):
        chain = layers_of(shape, *made)
        for last in (1, 3, 8, group_of(dtype)):
            layers = ImageLayers(chain, dtype, ROW_BLOCK)
            assert layers.places[0].block == ROW_BLOCK
            few = ImageLayers(chain, dtype, last).pixel()
            layers.pixel = lambda slot, few=few: few  # parts of a batch end at any place of a block
            inside, slots = range(1, len(chain) - 1), range(0, ROW_BLOCK, layers.group)
            rooms = [layers._room(n, slot, False) for n in (0, *inside) for slot in slots]
            deltas = [layers._room(n, 0, True) for n in inside]
            rooms += [slice(room.start, room.stop + layers.group) for room in deltas]
            rooms.sort(key=lambda room: room.start)
            ends = [*(room.start for room in rooms[1:]), layers.work.size]
            assert all(room.stop <= end for room, end in zip(rooms, ends, strict=True))


# Rows to images, and images to rows ------------------------------------------------------


@each_dtype
@pytest.mark.parametrize("pad", [0, (0, 2), (3, 0), (1, 4)])
@pytest.mark.parametrize("last", ["whole", "one", "three", "all but one"])
def test_rows_of_data_become_lanes_and_others_zero(last, pad, dtype, rng):
    group = group_of(dtype)
    count = group + {"whole": group, "one": 1, "three": 3, "all but one": group - 1}[last]
    for shape in ((1, 1, 1), (2, 3, 5), (3, 5, 7)):
        layers = ImageLayers(layers_of(shape, Conv(2, 1, pad=pad)), dtype, count)
        x = normal(rng, dtype, 3 * count, layers.images[0].units)
        batch = rng.integers(0, len(x), count)
        for slot in (0, group):
            layers.forward(0, slot, x, batch[slot : slot + group])
            expected = of_slot(layers, x[batch], slot).reshape(-1, *shape)
            assert_same_bits(layers.read(0, slot), expected)
            assert layers.is_zero_around(0, slot)
            first = count + slot  # rows that lie one after another are read there
            layers.forward(0, slot, x, np.arange(first, min(first + group, 2 * count)), first)
            expected = of_slot(layers, x[count : 2 * count], slot).reshape(-1, *shape)
            assert_same_bits(layers.read(0, slot), expected)
            assert layers.is_zero_around(0, slot)


@each_dtype
@each_last
def test_images_become_rows_in_the_order_channel_line_pixel(last, dtype, rng):
    for shape in ((1, 1, 1), (3, 5, 7)):
        layers = ImageLayers(layers_of(shape), dtype, group_of(dtype) + last)
        for slot in (0, layers.group):
            x = images_for(rng, layers, 0, slot)
            layers.write(0, x, slot)
            layers.forward(1, slot)
            found = layers.rows_of_flatten(layers.values, slot)
            assert_same_bits(found[: len(x)], x.reshape(len(x), -1))


@each_dtype
@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize(
    ("shape", "conv"),
    [
        ((1, 7, 9), Conv(3, (2, 3))),
        ((1, 7, 9), Conv(3, (2, 3), 2)),
        ((1, 9, 30), Conv(2, (2, 3), (3, 1))),
        ((2, 5, 1), Conv(3, 1, (1, 2))),
        ((2, 5, 1), Conv(3, 1, (2, 1))),
    ],
    ids=str,
)
def test_deltas_of_rows_become_those_of_images_and_of_no_row_zero(shape, conv, name, dtype, rng):
    group, conv = group_of(dtype), replace(conv, activation=name)
    # A first convolution, so that the deltas of the second have room between them.
    layers = ImageLayers(layers_of(shape, Conv(2, 1), conv), dtype, group + 3)
    for slot in (0, group):
        y = reference.activate(name, images_for(rng, layers, 2, slot)).astype(dtype)
        layers.write(2, y, slot)
        d = images_for(rng, layers, 2, slot, 3 if slot else group)
        given = layers.rows_of_flatten(layers.deltas, slot)
        given[:] = np.nan  # as of rows that there are not
        given[: len(d)] = d.reshape(len(d), -1)
        layers.backward(3, slot)
        found = layers.read(2, slot, deltas=True)
        slopes = reference.slope(name, y).astype(dtype)
        assert_allclose(found[: len(d)], d * slopes[: len(d)], 0, 30 * np.finfo(dtype).eps)
        assert not found[len(d) :].any()
        assert layers.is_zero_around(2, slot, deltas=True)


# Convolution -----------------------------------------------------------------------------

CONVS = {
    "small": ((2, 5, 6), Conv(3, 3)),
    "one number": ((1, 1, 1), Conv(1, 1)),
    "of a line": ((3, 1, 9), Conv(7, (1, 4))),
    "of a column": ((1, 9, 1), Conv(13, (4, 1))),
    "pad": ((2, 6, 5), Conv(5, (3, 2), pad=1)),
    "pad beyond the filter": ((1, 4, 3), Conv(2, (2, 1), pad=(3, 4))),
    "pad larger than the image": ((2, 1, 2), Conv(4, (5, 5), pad=(4, 3))),
    "stride": ((2, 9, 8), Conv(4, 3, 2)),
    "other strides": ((3, 8, 11), Conv(6, (2, 3), (3, 2), (1, 2))),
    "stride beyond the filter": ((2, 8, 9), Conv(3, (1, 2), (2, 3))),
    "lines that no filter meets": ((2, 8, 10), Conv(3, (3, 2), (3, 3), (1, 0))),
    "wide": ((1, 3, 23), Conv(6, 3, 1, (0, 1))),
}
each_conv = pytest.mark.parametrize("case", CONVS)


def convolution(case, dtype, count, activation="identity", below=()):
    """A layer above one of filters of one pixel, so that it has deltas to make."""
    shape, conv = CONVS[case]
    chain = layers_of(shape, Conv(shape[0], 1), *below, conv, activation=activation)
    return ImageLayers(chain, dtype, count), 2 + len(below)


def filters(layers, number):
    """W and b of a layer of images, size, stride and pad as the twins take them."""
    n = sum(image.kind == "convolution" for image in layers.images[: number + 1])
    image = layers.images[number]
    return layers.params[f"W{n}"], layers.params[f"b{n}"], image.size, image.stride, image.pad


@each_dtype
@each_conv
@each_last
def test_outputs_of_filters_are_chains_and_surrounded_by_zeros(last, case, dtype, rng):
    layers, number = convolution(case, dtype, group_of(dtype) + last)
    W, b, _, stride, pad = filters(layers, number)
    for slot in (0, layers.group):
        x = images_for(rng, layers, number - 1, slot)
        layers.write(number - 1, x, slot)
        layers.forward(number, slot)
        assert_same_bits(layers.read(number, slot), twins.convolve(x, W, b, stride, pad))
        assert layers.is_zero_around(number, slot)


each_count = pytest.mark.parametrize("count", [1, 3, 8, 16])


@each_dtype
@each_count
def test_outputs_of_filters_are_surrounded_by_the_zeros_of_the_layer_above(count, dtype, rng):
    for above in (Conv(2, 3, 1, (1, 2)), Conv(2, 1, (2, 1), (3, 0)), Conv(2, 1, 2, (3, 0))):
        chain = layers_of((2, 5, 4), Conv(3, 2, 1, 1), above)
        layers = ImageLayers(chain, dtype, count)
        x = images_for(rng, layers, 0)
        layers.write(0, x)
        layers.forward(1)
        W, b, *_ = filters(layers, 1)
        assert_same_bits(layers.read(1), twins.convolve(x, W, b, (1, 1), (1, 1)))
        assert layers.is_zero_around(1)


@each_dtype
@pytest.mark.parametrize("name", ACTIVATIONS)
@each_count
def test_filters_have_activations(count, name, dtype, rng):
    chain = layers_of((2, 5, 6), Conv(5, 3, activation=name), Conv(2, 1, pad=1))
    layers = ImageLayers(chain, dtype, count)
    x = images_for(rng, layers, 0)
    layers.write(0, x)
    layers.forward(1)
    W, b, *_ = filters(layers, 1)
    expected = reference.activate(name, twins.convolve(x, W, b)).astype(dtype)
    assert_allclose(layers.read(1), expected, 8 * np.finfo(dtype).eps, 8 * np.finfo(dtype).tiny)
    assert layers.is_zero_around(1)


@each_dtype
@each_conv
@each_last
def test_deltas_of_inputs_are_chains_of_filters_turned_round(last, case, dtype, rng):
    layers, number = convolution(case, dtype, group_of(dtype) + last)
    W, _, _, stride, pad = filters(layers, number)
    for slot in (0, layers.group):
        x, d = (images_for(rng, layers, n, slot) for n in (number - 1, number))
        layers.write(number - 1, x, slot)
        layers.write(number, d, slot, deltas=True)
        layers.backward(number, slot)
        expected = twins.input_deltas(d, W, x.shape[2:], stride, pad)
        assert_same_bits(layers.read(number - 1, slot, deltas=True), expected)
        assert layers.is_zero_around(number - 1, slot, deltas=True)


@each_dtype
@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("stride", [1, (2, 1), (2, 3)])
@each_count
def test_deltas_of_inputs_go_through_the_activation_and_lie_a_stride_apart(
    count, stride, name, dtype, rng
):
    below = Conv(3, 2, stride, activation=name)
    layers, number = convolution("pad", dtype, count, below=(Conv(2, 1), below))
    W, _, _, _, pad = filters(layers, number)
    y = reference.activate(name, images_for(rng, layers, number - 1)).astype(dtype)
    d = images_for(rng, layers, number)
    layers.write(number - 1, y)
    layers.write(number, d, deltas=True)
    layers.backward(number)
    expected = twins.input_deltas(d, W, y.shape[2:], pad=pad) * reference.slope(name, y)
    found = layers.read(number - 1, deltas=True)
    assert_allclose(found, expected.astype(dtype), 1e-5 if dtype == np.float32 else 1e-13,
                    40 * np.finfo(dtype).eps)  # fmt: skip
    assert layers.is_zero_around(number - 1, deltas=True)


@each_dtype
@each_count
def test_the_first_layer_of_all_makes_no_deltas(count, dtype, rng):
    layers = ImageLayers(layers_of((2, 5, 6), Conv(3, 3)), dtype, count)
    x, d = images_for(rng, layers, 0), images_for(rng, layers, 1)
    layers.write(0, x)
    layers.write(1, d, deltas=True)
    layers.backward(1)
    assert_array_equal(layers.gradients(1)[0][0], twins.filter_gradient(d, x, (3, 3)))


@each_dtype
@each_conv
@pytest.mark.parametrize("groups", [1, 3])
def test_gradients_of_groups_are_added_in_their_order(groups, case, dtype, rng):
    """Those of a part of the batch begin anew with its first group, whatever was there."""
    layers, number = convolution(case, dtype, groups * group_of(dtype))
    check_gradients(layers, number, rng)


@each_dtype
@each_conv
@each_last
def test_gradients_of_few_images_are_sums_over_neighbouring_pixels(last, case, dtype, rng):
    for count in (last, group_of(dtype) + last):
        layers, number = convolution(case, dtype, count)
        check_gradients(layers, number, rng)


@pytest.mark.parametrize("groups", [15, 16, 17, 31, 33, 50])
def test_gradients_of_many_groups_are_added_in_parts(groups, rng):
    layers, number = convolution("small", np.float64, groups * 8 - 3)
    check_gradients(layers, number, rng)


def check_gradients(layers, number, rng):
    _, _, size, stride, pad = filters(layers, number)
    found_filters, found_biases = [], []
    for slot in range(0, layers.count, layers.group):
        x, d = (images_for(rng, layers, n, slot) for n in (number - 1, number))
        layers.write(number - 1, x, slot)
        layers.write(number, d, slot, deltas=True)
        layers.backward(number, slot)
        found_filters.append(twins.filter_gradient(d, x, size, stride, pad))
        found_biases.append(twins.bias_gradient(d))
    W, b = layers.gradients(number)
    assert_array_equal(twins.sum_of_groups(list(W)), twins.sum_of_groups(found_filters))
    assert_array_equal(twins.sum_of_groups(list(b)), twins.sum_of_groups(found_biases))
    expected = taps_and_biases(*map(twins.sum_of_groups, (found_filters, found_biases)))
    before = layers.params.block.copy()
    for chunks in (1, 2, 3, 7):  # threads share out rows of weights
        assert_array_equal(layers.update(number, chunks=chunks), expected)
    assert_array_equal(layers.params.block, before)
    rate, decay = W.dtype.type(0.1), W.dtype.type(0.25)
    weights = taps_and_biases(*filters(layers, number)[:2])
    wanted = reference.update_block("sgd", rate, expected, weights, None, decay)[0]
    wanted[-1:] = reference.update_block("sgd", rate, expected[-1:], weights[-1:], None)[0]
    assert_same_bits(layers.update(number, "sgd", 2, rate=rate, decay=decay), wanted)


def taps_and_biases(W, b):
    """Filters and biases as a network has them."""
    return np.vstack([W.transpose(1, 2, 3, 0).reshape(-1, len(W)), b])


# Few images -----------------------------------------------------------------------------


@each_dtype
@pytest.mark.parametrize("outputs", range(1, 14))
def test_few_images_meet_any_number_of_filters(outputs, dtype, rng):
    for count in (1, 2, 4):
        layers = ImageLayers(
            layers_of((2, 6, 19), Conv(outputs, (2, 3), (2, 1), (0, 1))), dtype, count
        )
        x = images_for(rng, layers, 0)
        W, b, _, stride, pad = filters(layers, 1)
        layers.write(0, x)
        layers.forward(1)
        assert_same_bits(layers.read(1), twins.convolve(x, W, b, stride, pad))


@each_dtype
@pytest.mark.parametrize("width", range(1, 36))
def test_few_images_may_be_of_any_width(width, dtype, rng):
    for count in (1, 2, 4, 8):
        chain = layers_of((2, 2, width), Conv(2, 1), Conv(7, (1, min(3, width))))
        layers = ImageLayers(chain, dtype, count)
        x, d = images_for(rng, layers, 1), images_for(rng, layers, 2)
        W, b, size, *_ = filters(layers, 2)
        layers.write(1, x)
        layers.forward(2)
        assert_same_bits(layers.read(2), twins.convolve(x, W, b))
        layers.write(2, d, deltas=True)
        layers.backward(2)
        expected = twins.input_deltas(d, W, x.shape[2:])
        assert_same_bits(layers.read(1, deltas=True), expected)
        assert_array_equal(layers.gradients(2)[0][0], twins.filter_gradient(d, x, size))


@each_dtype
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_of_few_images_have_the_bits_of_a_group(name, dtype, rng):
    chain = layers_of((2, 6, 19), Conv(5, 3, activation=name), Conv(1, 3, 1, 1))
    group = ImageLayers(chain, dtype, group_of(dtype))
    x = images_for(rng, group, 0)
    group.write(0, x)
    group.forward(1)
    for count in (1, 2, 4):
        layers = ImageLayers(chain, dtype, count)
        layers.write(0, x[:count])
        layers.forward(1)
        assert_same_bits(layers.read(1), group.read(1)[:count])


@each_dtype
@each_count
def test_a_pass_that_makes_no_deltas_has_the_same_outputs(count, dtype, rng):
    """What lies behind its lines is not cleared, and read with the last pixels of them."""
    chain = layers_of((2, 6, 19), Conv(5, 3), MaxPool(2), Dropout(0.5), Conv(3, 2))
    count = min(count, group_of(dtype))
    layers = ImageLayers(chain, dtype, count, gathers=False)
    x = normal(rng, dtype, count, chain[0].units)
    layers.forward(0, x=x, first=0)
    for number in range(1, len(chain)):
        layers.forward(number)
    W, b, *_ = filters(layers, 1)
    y = twins.max_pool(twins.convolve(x.reshape(-1, 2, 6, 19), W, b), (2, 2), (2, 2))
    W, b, *_ = filters(layers, 4)
    found = layers.rows_of_flatten(layers.values)[:count]
    assert_same_bits(found, twins.convolve(y, W, b).reshape(count, -1))


# Pooling ---------------------------------------------------------------------------------

POOLS = {
    "usual": ((2, 6, 8), MaxPool(2)),
    "one number": ((1, 1, 1), MaxPool(1)),
    "what is left out": ((3, 7, 9), MaxPool((2, 4))),
    "overlapping": ((2, 7, 8), MaxPool(3, 1)),
    "overlapping more one way": ((2, 7, 8), MaxPool((3, 2), (1, 2))),
    "with gaps": ((2, 8, 9), MaxPool((1, 2), (3, 4))),
    "all of it": ((3, 5, 4), MaxPool((5, 4))),
}
each_pool = pytest.mark.parametrize("case", POOLS)


def pooling(case, dtype, count, below="identity", above=()):
    shape, pool = POOLS[case]
    chain = layers_of(shape, Conv(shape[0], 1, activation=below), pool, *above)
    layers = ImageLayers(chain, dtype, count)
    return layers, (layers.images[2].size, layers.images[2].stride)


def ties(rng, layers, slot):
    """Images in most of whose windows some pixels are the largest; zeros have both signs."""
    shape = images_for(rng, layers, 1, slot).shape
    return (rng.integers(-1, 2, shape) * -1.0).astype(layers.dtype)


@each_dtype
@each_pool
@each_last
def test_the_largest_pixel_of_each_window(last, case, dtype, rng):
    layers, pool = pooling(case, dtype, group_of(dtype) + last)
    for slot in (0, layers.group):
        for x in (images_for(rng, layers, 1, slot), ties(rng, layers, slot)):
            layers.write(1, x, slot)
            layers.forward(2, slot)
            assert_array_equal(layers.read(2, slot), twins.max_pool(x, *pool))


@each_dtype
@each_count
def test_the_largest_pixels_are_surrounded_by_the_zeros_of_the_layer_above(count, dtype, rng):
    layers, pool = pooling("overlapping", dtype, count, above=(Conv(2, 3, 1, (1, 2)),))
    x = images_for(rng, layers, 1)
    layers.write(1, x)
    layers.forward(2)
    assert_array_equal(layers.read(2), twins.max_pool(x, *pool))
    assert layers.is_zero_around(2)


@each_dtype
@each_pool
@each_count
def test_a_pixel_that_is_no_number_is_not_hidden(count, case, dtype, rng):
    layers, pool = pooling(case, dtype, count)
    for at in range(3):
        x = images_for(rng, layers, 1)
        x[at % len(x), -1, at % x.shape[2], at % x.shape[3]] = np.nan
        layers.write(1, x)
        layers.forward(2)
        assert_array_equal(layers.read(2), twins.max_pool(x, *pool))


@each_dtype
@each_pool
@each_last
def test_a_delta_goes_to_the_first_of_the_largest(last, case, dtype, rng):
    layers, pool = pooling(case, dtype, group_of(dtype) + last)
    for slot in (0, layers.group):
        tied = ties(rng, layers, slot)
        for x in (images_for(rng, layers, 1, slot), tied, 0 * tied):
            d = images_for(rng, layers, 2, slot)
            layers.write(1, x, slot)
            layers.forward(2, slot)
            layers.write(2, d, slot, deltas=True)
            layers.backward(2, slot)
            found = layers.read(1, slot, deltas=True)
            assert_array_equal(found, twins.max_pool_backward(x, d, *pool))
            assert layers.is_zero_around(1, slot, deltas=True)


@each_dtype
@pytest.mark.parametrize("name", ACTIVATIONS)
@each_count
def test_deltas_of_the_largest_go_through_the_activation_below(count, name, dtype, rng):
    layers, pool = pooling("overlapping", dtype, count, below=name)
    y = reference.activate(name, images_for(rng, layers, 1)).astype(dtype)
    d = images_for(rng, layers, 2)
    layers.write(1, y)
    layers.forward(2)
    layers.write(2, d, deltas=True)
    layers.backward(2)
    expected = twins.max_pool_backward(y, d, *pool) * reference.slope(name, y)
    assert_allclose(layers.read(1, deltas=True), expected.astype(dtype), 0,
                    60 * np.finfo(dtype).eps)  # fmt: skip


# Dropout ---------------------------------------------------------------------------------


def with_dropout(dtype, rate, last, above=()):
    chain = layers_of((3, 5, 4), Conv(2, 2, activation="tanh"), Dropout(rate), *above)
    rates = 0, 0, rate, *[0] * (len(above) + 2)
    return ImageLayers(chain, dtype, group_of(dtype) + last, rates)


@each_dtype
@pytest.mark.parametrize("rate", [1 / PARTS, 0.2, 0.5, 1 - 1 / PARTS])
@pytest.mark.parametrize("above", [(), (Conv(2, 3, 1, 2),)], ids=["rows", "a border"])
@each_last
def test_pixels_are_dropped_by_row_and_place_and_the_others_made_up_for(
    last, above, rate, dtype, rng
):
    layers = with_dropout(dtype, rate, last, above)
    for slot in (0, layers.group):
        for salt in (0, 2**40 + 7):
            x = images_for(rng, layers, 1, slot)
            layers.write(1, x, slot)
            layers.forward(2, slot, salt=salt)
            expected = twins.drop(x, round(rate * PARTS), salt, 2, slot)
            assert_same_bits(layers.read(2, slot), expected)
            assert layers.is_zero_around(2, slot)


@each_dtype
@each_last
def test_the_way_back_drops_the_same_pixels(last, dtype, rng):
    layers = with_dropout(dtype, 0.3, last)
    for slot in (0, layers.group):
        y, d = (images_for(rng, layers, n, slot) for n in (1, 2))
        y = np.tanh(y)
        layers.write(1, y, slot)
        layers.write(2, d, slot, deltas=True)
        layers.backward(2, slot, salt=5)
        kept = twins.drop(d, round(0.3 * PARTS), 5, 2, slot)
        found = layers.read(1, slot, deltas=True)
        assert_array_equal(found[kept == 0], 0)
        assert_allclose(found, kept * reference.slope("tanh", y).astype(dtype), 0,
                        30 * np.finfo(dtype).eps)  # fmt: skip
