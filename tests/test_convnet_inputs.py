"""Images in any form give the same answers; others, and chains that make no sense, are refused."""

import re

import numpy as np
import pytest
import scipy.sparse
from numpy_convnet import images, made
from numpy_mlp import DTYPES, bits, bits_of, unaligned

import fastnn
from fastnn import Conv, Dense, Dropout, MaxPool

each_dtype = pytest.mark.parametrize("dtype", DTYPES)


def read_only(x):
    return np.frombuffer(x.tobytes(), x.dtype).reshape(x.shape)


def rows(x):
    return x.reshape(len(x), -1)


FORMS = {
    "rows": rows,
    "lists": np.ndarray.tolist,
    "lists of rows": lambda x: rows(x).tolist(),
    "float64": lambda x: x.astype(np.float64),
    "float16": lambda x: x.astype(np.float16),
    "int64": lambda x: x.astype(np.int64),
    "uint8": lambda x: x.astype(np.uint8),
    "uint8 rows": lambda x: rows(x).astype(np.uint8),
    "big-endian": lambda x: x.astype(x.dtype.newbyteorder(">")),
    "Fortran order": np.asfortranarray,
    "channels last": lambda x: x.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2),
    "every second pixel": lambda x: np.repeat(x, 2, axis=3)[..., ::2],
    "a part of larger images": lambda x: np.pad(x, ((0, 0), (1, 1), (2, 2), (3, 3)))[
        :, 1:-1, 2:-2, 3:-3
    ],
    "backwards": lambda x: x[::-1].copy()[::-1],
    "read-only": read_only,
    "read-only rows": lambda x: read_only(rows(x)),
    "unaligned": unaligned,
    "a subclass": lambda x: x.view(np.memmap),
    "sparse rows": lambda x: scipy.sparse.csr_array(rows(x)),
    "a sparse matrix by columns": lambda x: scipy.sparse.csc_matrix(rows(x)),
}


@each_dtype
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("count", [1, 5, 40])
def test_images_of_any_form_give_the_same_answers(count, form, dtype):
    net, change = made("overlapping pools", dtype=dtype), FORMS[form]
    x, t = images(net, count)
    x = np.floor(np.abs(3 * x)).astype(dtype)
    given = change(x)
    assert bits(net.predict(given)) == bits(net.predict(x))
    assert net.loss(given, t) == net.loss(x, t)
    assert net.accuracy(given, t) == net.accuracy(x, t)
    assert bits(*net.gradient(given, t).values()) == bits(*net.gradient(x, t).values())
    found = []
    for each in (x, given):
        other = made("overlapping pools", dtype=dtype)
        losses = [other.train_step(each, t)]
        losses += other.fit(
            each, t, batch_size=min(count, 7), validation_data=(each, t)
        ).loss.tolist()
        found.append((losses, bits_of(other)))
    assert found[1] == found[0]


@pytest.mark.parametrize("name", ["one filter", "a stride below rows"])
def test_images_of_one_channel_need_not_name_it(name):
    net = made(name, dtype="float32")
    x, t = images(net, 20)
    assert bits(net.predict(x[:, 0])) == bits(net.predict(x))
    assert net.loss(x[:, 0].tolist(), t) == net.loss(x, t)
    numerical = net.numerical_gradient(x[:3, 0], t[:3]), net.numerical_gradient(x[:3], t[:3])
    assert bits(*numerical[0].values()) == bits(*numerical[1].values())


def test_asking_changes_neither_network_nor_data():
    net = made("strides", dtype="float32")
    x, t = images(net, 20)
    before = bits(x, t, *net.params.values())
    for name in ("predict", "loss", "accuracy", "gradient", "numerical_gradient"):
        getattr(net, name)(*((x[:4],) if name == "predict" else (x[:4], t[:4])))
    assert bits(x, t, *net.params.values()) == before
    first, second = net.gradient(x, t), net.gradient(x, t)
    assert not any(np.shares_memory(first[key], second[key]) for key in first)


# Refused --------------------------------------------------------------------------------

CALLS = {
    "predict": lambda net, x, t: net.predict(x),
    "loss": lambda net, x, t: net.loss(x, t),
    "gradient": lambda net, x, t: net.gradient(x, t),
    "numerical_gradient": lambda net, x, t: net.numerical_gradient(x, t),
    "train_step": lambda net, x, t: net.train_step(x, t),
    "fit": lambda net, x, t: net.fit(x, t, batch_size=2),
}
each_call = pytest.mark.parametrize("call", CALLS)


def net_of(shape=(2, 4, 5)):
    return fastnn.ConvNet(shape, [Conv(3, 2), Dense(3)], seed=0)


def assert_refused(net, call, x, error, *texts):
    before = bits_of(net)
    with pytest.raises(error) as caught:
        CALLS[call](net, x, np.arange(6) % 3)
    for text in texts:
        assert text in str(caught.value)
    assert bits_of(net) == before


X = np.ones((6, 2, 4, 5))
WRONG = {
    "wrong channels": (X[:, :1], "(images, 2, 4, 5) or (images, 40), got (6, 1, 4, 5)"),
    "turned round": (X.transpose(0, 1, 3, 2), "got (6, 2, 5, 4)"),
    "channels last": (X.transpose(0, 2, 3, 1), "got (6, 4, 5, 2)"),
    "no channel": (X[:, 0], "got (6, 4, 5)"),
    "one image": (X[0], "got (2, 4, 5); one image is x[np.newaxis]"),
    "one row": (X[0].ravel(), "got (40,)"),
    "rows too short": (X.reshape(6, 40)[:, :39], "got (6, 39)"),
    "more dimensions": (X[np.newaxis], "got (1, 6, 2, 4, 5)"),
    "no image": (X[:0], "at least one image, got shape (0, 2, 4, 5)"),
    "a number": (3.0, "got ()"),
    "sparse rows too short": (scipy.sparse.csr_array(np.eye(6, 39)), "(rows, 40), got (6, 39)"),
}


@each_call
@pytest.mark.parametrize("case", WRONG)
def test_other_shapes_are_refused(case, call):
    x, text = WRONG[case]
    assert_refused(net_of(), call, x, ValueError, "x must have", text)


@each_call
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("at", [(0, 0, 0, 0), (5, 1, 3, 4), (3, 1, 0, 2)])
def test_pixels_that_are_not_finite_are_named_as_they_were_given(at, value, call):
    x, net = X.copy(), net_of()
    x[at] = value
    place = ", ".join(map(str, at))
    text = f"x must be finite, got {value} at "
    assert_refused(net, call, x, ValueError, f"{text}x[{place}]")
    assert_refused(net, call, x.astype("f4"), ValueError, f"{text}x[{place}]")
    assert_refused(net, call, x.tolist(), ValueError, text, f"[{place}]")
    column = np.ravel_multi_index(at[1:], x.shape[1:])
    assert_refused(net, call, x.reshape(6, 40), ValueError, f"{text}x[{at[0]}, {column}]")
    sparse = scipy.sparse.csr_array(x.reshape(6, 40))
    assert_refused(net, call, sparse, ValueError, "must be finite", f"{at[0]}, {column}")


@pytest.mark.parametrize("call", ["predict", "fit", "train_step"])
def test_a_pixel_of_images_without_channels_is_named_as_it_was_given(call):
    x, net = np.ones((6, 4, 5)), net_of((1, 4, 5))
    x[4, 2, 3] = np.nan
    assert_refused(net, call, x, ValueError, "x must be finite, got nan at x[4, 2, 3]")
    x[4, 2, 3] = 1e300
    assert_refused(net, call, x, ValueError, "x[4, 2, 3] is 1e+300, too large for float32")


def test_pixels_that_are_not_finite_are_found_among_many():
    net = net_of()
    x = np.ones((300, 2, 4, 5), "f4")
    for image in (0, 15, 16, 127, 128, 299):
        x[image, 1, 3, 4] = np.nan
        with pytest.raises(ValueError, match=rf"x\[{image}, 1, 3, 4\]"):
            net.predict(x)
        with pytest.raises(ValueError, match=rf"validation_data\[0\]\[{image}, 1, 3, 4\]"):
            net.fit(X, np.arange(6) % 3, batch_size=2, validation_data=(x, np.arange(300) % 3))
        x[image, 1, 3, 4] = 1


@pytest.mark.parametrize(
    "x", ["images", None, X.astype(str), X.astype(complex), X.astype(object) + 1j]
)
def test_what_holds_no_numbers_is_refused(x):
    assert_refused(net_of(), "predict", x, TypeError, "x must")


# Chains that make no sense ------------------------------------------------------------------

INPUT = (2, 6, 5)
D = Dense(3)
BAD_LAYERS = {
    "a filter larger than the image": (
        [Conv(3, 2), Conv(4, (5, 5)), D], "layers[1] Conv(4, (5, 5)) has filters of 5 x 5, larger "
        "than its input of 5 x 4; shapes before it: input (2, 6, 5) -> Conv(3, 2) (3, 5, 4)"),
    "with its pad": ([Conv(3, 9, pad=1), D], "9 x 9, larger than its input of 6 x 5, with its pad"),
    "a window larger than the image": (
        [MaxPool(3, 1), MaxPool((4, 4)), D], "layers[1] MaxPool((4, 4)) has windows of 4 x 4, "
        "larger than its input of 4 x 3; shapes before it: input (2, 6, 5) -> MaxPool(3, stride=1) "
        "(2, 4, 3)"),
    "pools that leave nothing": ([MaxPool(2), MaxPool(2), MaxPool(2), D], "layers[2] MaxPool(2)"),
    "strides that leave nothing": ([Conv(2, 3, 3), MaxPool(2), D], "layers[1] MaxPool(2) has"),
    "a Conv after a Dense": (
        [Conv(3, 2), Dense(7), Conv(3, 2), D], "layers[2] Conv(3, 2) cannot follow a Dense",
        "input (2, 6, 5) -> Conv(3, 2) (3, 5, 4) -> Dense(7) (7,)"),
    "a MaxPool after a Dense": ([Dense(7), MaxPool(2), D], "layers[1] MaxPool(2) cannot follow"),
    "no layers": ([], "layers must end with a Dense"),
    "no Dense at the end": ([Conv(3, 2)], "layers must end with a Dense", "not Conv(3, 2)"),
    "Dropout at the end": ([Dense(3), Dropout(0.1)], "must end with a Dense", "not Dropout(0.1)"),
    "Dropout after Dropout": (
        [Conv(3, 2), Dropout(0.1), Dropout(0.2), D], "layers[2] Dropout(0.2) follows another"),
    "an activation of outputs": (
        [Conv(3, 2), Dense(3, "relu")], "layers[1] Dense(3, activation='relu') is the last"),
    "three sizes": ([Conv(3, (1, 2, 3)), D], "layers[0] Conv(3, (1, 2, 3)) has size (1, 2, 3)"),
    "no size": ([MaxPool(()), D], "layers[0] MaxPool(()) has size ()"),
    "no filters": ([Conv(0, 2), D], "filters of layers[0] Conv(0, 2) must be a positive"),
    "fewer filters": ([Conv(-1, 2), D], "filters of layers[0] Conv(-1, 2)", "got -1"),
    "a size of zero": ([Conv(2, (2, 0)), D], "size of layers[0] Conv(2, (2, 0)) must be", "got 0"),
    "a stride of zero": ([Conv(2, 2, 0), D], "stride of layers[0] Conv(2, 2, stride=0)", "got 0"),
    "a pool's stride of zero": ([MaxPool(2, 0), D], "stride of layers[0] MaxPool(2, stride=0)"),
    "a pad below zero": ([Conv(2, 2, 1, -1), D], "pad of layers[0]", "at least 0, got -1"),
    "no units": ([Conv(2, 2), Dense(0)], "units of layers[1] Dense(0)", "got 0"),
    "all dropped": ([Dropout(1.0), D], "rate of layers[0] Dropout(1.0) must be below 1, got 1.0"),
    "fewer than none dropped": ([Dropout(-0.1), D], "rate of layers[0] Dropout(-0.1)"),
    "NaN dropped": ([Dropout(float("nan")), D], "rate of layers[0] Dropout(nan)"),
    "another activation": ([Conv(2, 2, activation="swish"), D], "activation of layers[0] Conv",
                           "got 'swish'"),
    "units beyond any memory": ([Dense(2**40), D], "layers[0] Dense(1099511627776)"),
    "a stride beyond any memory": (
        [MaxPool(2, 2**31), D], "stride of layers[0] MaxPool(2, stride=2147483648) must be at"),
    "a pad beyond any memory": ([Conv(2, 2, 1, 10**9), D], "layers[0] Conv(2, 2, pad=1000000000)"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_LAYERS)
def test_layers_that_make_no_sense_are_refused(case):
    layers, *texts = BAD_LAYERS[case]
    with pytest.raises(ValueError, match=re.escape(texts[0])) as caught:
        fastnn.ConvNet(INPUT, layers)
    for text in texts:
        assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_layers_keep_plain_numbers_of_their_own(tmp_path):
    size = [3, 2]
    layers = [
        Conv(np.int64(2), size, pad=(np.int64(1), 0)),
        MaxPool(np.array([1, 2], np.int32)),
        Dropout(np.float64(0.5)),
        Dense(np.uint8(3)),
    ]
    size[0] = 1
    net = fastnn.ConvNet(INPUT, layers, seed=0)
    shown = "[Conv(2, (3, 2), pad=(1, 0)), MaxPool((1, 2)), Dropout(0.5), Dense(3)]"
    assert repr(list(net.layers)) == shown
    net.save(tmp_path / "net")
    assert fastnn.load(tmp_path / "net").layers == net.layers
    assert len({Conv(2, [3, 2]), Conv(2, (3, 2)), Conv(np.int8(2), np.array([3, 2]))}) == 1


BAD_TYPES = {
    "bool filters": ([Conv(True, 2), D], "filters of layers[0] Conv(True, 2) must be", "got True"),
    "float filters": ([Conv(2.0, 2), D], "filters of layers[0] Conv(2.0, 2)", "got 2.0"),
    "a float size": ([Conv(2, 2.5), D], "size of layers[0] Conv(2, 2.5)", "got 2.5"),
    "a size of text": ([MaxPool("22"), D], "size of layers[0] MaxPool('22')"),
    "a size of nothing": ([Conv(2, None), D], "size of layers[0] Conv(2, None)"),
    "no stride": (
        [Conv(2, 2, None), D],
        "stride of layers[0] Conv(2, 2, stride=None)",
        "got None",
        "shapes before it: input (2, 6, 5)",
    ),
    "a float pad": ([Conv(2, 2, 1, 0.5), D], "pad of layers[0]"),
    "a bool stride": ([MaxPool(2, True), D], "stride of layers[0]"),
    "float units": ([Dense(3.0)], "units of layers[0] Dense(3.0)"),
    "a rate of text": ([Dropout("half"), D], "rate of layers[0] Dropout('half')"),
    "an activation that is no name": ([Conv(2, 2, activation=3), D], "activation of layers[0]"),
    "a number": (
        [Conv(2, 2), 3, D],
        "layers[1] must be one of Conv, MaxPool, Dense, Dropout, got 3",
    ),
    "a class": ([Conv, D], "layers[0] must be one of"),
    "a single layer": (D, "layers must be a sequence of layers, got Dense(3)"),
    "text": ("layers", "layers must be a sequence"),
}


@pytest.mark.parametrize("case", BAD_TYPES)
def test_layers_of_other_types_are_refused(case):
    layers, *texts = BAD_TYPES[case]
    with pytest.raises(TypeError) as caught:
        fastnn.ConvNet(INPUT, layers)
    for text in texts:
        assert text in str(caught.value)


@pytest.mark.parametrize(
    ("shape", "error", "text"),
    [
        ((28, 28), ValueError, "input_shape must be (channels, height, width), got (28, 28)"),
        ((1, 1, 28, 28), ValueError, "(channels, height, width)"),
        ((1, 0, 28), ValueError, "input_shape[1] must be a positive integer, got 0"),
        ((1, 28, -1), ValueError, "input_shape[2]"),
        ((1.0, 28, 28), TypeError, "input_shape[0]"),
        ((True, 28, 28), TypeError, "input_shape[0]"),
        (784, TypeError, "input_shape must be (channels, height, width), got 784"),
        ("abc", TypeError, "input_shape must be"),
        (None, TypeError, "input_shape must be"),
        ((2**20, 2**20, 1), ValueError, "input_shape must be of at most"),
    ],
)
def test_shapes_that_are_none_are_refused(shape, error, text):
    with pytest.raises(error, match=re.escape(text)):
        fastnn.ConvNet(shape, [D])


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"activation": "swish"}, ValueError),
        ({"activation": ["relu"]}, TypeError),
        ({"output": "linear"}, ValueError),
        ({"loss": "mae"}, ValueError),
        ({"weight_init": "lecun"}, ValueError),
        ({"weight_init": -1}, ValueError),
        ({"bias_init": -1}, ValueError),
        ({"dtype": "float16"}, ValueError),
        ({"seed": -1}, ValueError),
        ({"seed": 0.5}, TypeError),
    ],
)
def test_bad_arguments_of_a_network_are_refused(arguments, error):
    (name,) = arguments
    with pytest.raises(error, match=name):
        fastnn.ConvNet(INPUT, [Conv(2, 2), D], **arguments)
