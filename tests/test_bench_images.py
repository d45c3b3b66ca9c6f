"""Networks of images in the benchmarks: what they are, their answers, whole trainings."""

import math
from dataclasses import replace

import numpy as np
import pytest
import stub_contestants

from bench import contestants, image_formulas, inputs, lenet, peak_images, reference
from bench.cases import Case
from bench.networks import CH07, CH08, LENET, NETWORKS, Conv, ImageNetwork, Pool
from bench.workers import Setting

# Borders of zeros, and lines and pixels that no window takes.
ODD = ImageNetwork((2, 9, 8), (Conv(3, 3, 1), Pool(2), Conv(4, 2, 2), Pool(2)), (5, 4))
STEPS = Case("odd", "image_training", "convolution", (144, 4), 8, 3, 50, "dense", optimizer="adam",
             lr=0.005, network=ODD)  # fmt: skip


@pytest.mark.parametrize(
    ("network", "numbers"), [(LENET, 44_426), (CH07, 433_890), (CH08, 123_552)], ids=NETWORKS
)
def test_networks_have_the_parameters_that_are_said_of_them(network, numbers):
    outputs = [shape[0] if len(shape) == 4 else shape[1] for shape in network.weights]
    assert sum(map(math.prod, network.weights)) + sum(outputs) == numbers


def test_shapes_leave_out_what_fills_no_window():
    assert ODD.shapes == [(2, 9, 8), (3, 9, 8), (3, 4, 4), (4, 7, 7), (4, 3, 3)]
    assert ODD.weights == [(3, 2, 3, 3), (4, 3, 2, 2), (36, 5), (5, 4)]


def test_products_with_zeros_around_images_are_not_counted():
    assert ODD.multiply_adds == [2 * 3 * 25 * 22, 3 * 4 * 8 * 8, 180, 20]


def test_a_step_multiplies_three_times_but_for_the_first_layer():
    case = replace(STEPS, network=LENET, batch=1)
    assert case.flops == 2 * 758_520
    assert replace(case, kind="image_prediction").flops == 2 * sum(LENET.multiply_adds)


def test_gradients_of_the_reference_are_those_of_differences():
    given = inputs.given(replace(STEPS, dtype="float64"))
    params = reference.parameters(given, np.float64)
    for b in params[1::2]:
        b += 0.1  # where a filter sees zeros alone, z would be at the kink of the ReLU
    x, t = given["x"][:4], given["t"][:4]
    _, gradients = image_formulas.gradients(ODD, params, x, t)
    random = np.random.default_rng(0)
    for array, gradient in zip(params, gradients, strict=True):
        way = random.standard_normal(array.shape)
        losses = []
        for size in (1e-6, -2e-6):
            array += size * way
            losses.append(image_formulas.gradients(ODD, params, x, t)[0])
        array += 1e-6 * way
        assert (losses[0] - losses[1]) / 2e-6 == pytest.approx((gradient * way).sum(), rel=1e-5)


@pytest.mark.parametrize("name", ["fastnn", "numpy", "document"])
@pytest.mark.parametrize("kind", ["image_training", "image_prediction"])
def test_contestants_answer_as_the_reference_does(name, kind):
    case = replace(STEPS, kind=kind)
    given = inputs.given(case)
    found = contestants.run_of(contestants.load(name), case, given)(3)
    expected = getattr(reference, kind)(case, given)(3)
    assert max(reference.differs(case, found, expected, given).values()) <= 1


def test_a_case_of_images_needs_a_network():
    with pytest.raises(ValueError, match="'odd' has no network"):
        inputs.given(replace(STEPS, network=None))


SHORT = replace(lenet.JOB, steps=2, rows=50, batch=10,
                network=ImageNetwork((1, 28, 28), (Pool(7), Conv(2, 3)), (10,)))  # fmt: skip


def test_whole_trainings_take_turns_and_who_fails_is_left_out(capsys):
    found = lenet.measured(SHORT, ["fastnn", "jax"], 1, 1, stub_contestants.load)
    assert list(found) == [Setting("fastnn", 1)]
    ((seconds, accuracy),) = found[Setting("fastnn", 1)]
    assert seconds > 0
    assert 0 < accuracy < 1
    assert "jax (1 thr) failed: ImportError: jax is out" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["fastnn", "numpy"])
def test_contestants_train_and_count_what_is_right(name):
    given = inputs.given(SHORT)
    found = contestants.run_of(contestants.load(name), SHORT, given)(2)
    expected = reference.image_job(SHORT, given)(2)
    assert max(reference.differs(SHORT, found, expected, given).values()) <= 1


def test_the_table_of_whole_trainings():
    turns = {Setting("fastnn", 2): [(1.0, 0.99), (1.2, 0.99)], Setting("jax", 2): [(4.0, 0.98)] * 2}
    lines = lenet.text(turns).splitlines()
    assert lines[2].split("|")[1:-1] == [" fastnn (2 thr) ", "    1.10 ", "       1.00x ",
                                         "        0.9900 "]  # fmt: skip
    assert "3.67x" in lines[3]


def test_kernels_of_images_are_repeated_for_the_share_of_the_peak():
    kernels = list(peak_images.Layers("LeNet", "float32").kernels())
    assert len(kernels) == 9
    for kernel in kernels:
        kernel.call(2)
    flops = [kernel.flops for kernel in kernels if "outputs" in kernel.what and kernel.flops]
    assert flops == [2 * 16 * count for count in LENET.multiply_adds[:2]]


def test_cells_of_the_kernels_table():
    product = peak_images.Kernel("a product", print, flops=2_000_000)
    pooling = peak_images.Kernel("pooling", print, bytes=64_000)
    assert peak_images.cells(product, 2e-5, 0.5) == ["20.0", "100", "50%"]
    assert peak_images.cells(pooling, 2e-6, 0) == ["2.0", "32 GB/s", "–"]
