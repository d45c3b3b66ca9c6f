"""Networks of images have the same bits with any threads, in any company, pieces and vectors."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy_convnet import NETWORKS, images, made
from numpy_mlp import DTYPES, bits, bits_of
from test_convnet_answers import chains

import fastnn
from fastnn.compiler import runtime
from fastnn.compiler.tiles import VECTOR_BYTES
from fastnn.training import evaluation, steps
from fastnn.training import images as image_places

ROOT = Path(fastnn.__file__).parent.parent
each_network = pytest.mark.parametrize("name", NETWORKS)
each_dtype = pytest.mark.parametrize("dtype", DTYPES)


def results(net, x, t, **options):
    """All numbers that a network can give: those of a fit, and those after it."""
    history = net.fit(x, t, **options)
    asked = [net.predict(x), net.loss(x, t), history.loss, *net.gradient(x, t).values()]
    return bits(*net.params.values(), *asked)


@each_network
@each_dtype
@pytest.mark.parametrize("batch", [1, 20, 230, 260, 300])
def test_threads_do_not_change_the_bits(batch, dtype, name):
    found = []
    for parallel in (False, True):
        net = made(name, "relu", dtype)
        with runtime.forced(parallel=parallel):
            found.append(results(net, *images(net, 300), iterations=4, batch_size=batch, seed=1))
    assert found[1] == found[0]


@settings(max_examples=150)
@given(chain=chains(), rows=st.integers(1, 99), dtype=st.sampled_from(DTYPES))
def test_threads_do_not_change_the_bits_of_any_network(chain, rows, dtype):
    """Parts of a batch begin anywhere in a block, and may end with a group of few images."""
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_places, "_block", lambda _, dtype: 2 * 64 // dtype.itemsize)
        net = fastnn.ConvNet(*chain, "tanh", dtype=dtype, seed=0, bias_init=0.1)
        x, t = images(net, rows)
        for parallel in (False, True):
            with runtime.forced(parallel=parallel):
                found.append(bits(net.predict(x), *net.gradient(x, t).values()))
    assert found[1] == found[0]


@each_network
@each_dtype
@pytest.mark.usefixtures("both_builds")
def test_an_image_does_not_depend_on_the_images_beside_it(dtype, name):
    """Of few images vectors hold neighbouring pixels, too; other groups have lanes to spare."""
    net = made(name, "softplus", dtype)
    x, _ = images(net, 140)
    together = net.predict(x)
    for first, count in [(0, n) for n in (*range(1, 20), 31, 33, 37, 128, 129, 130)] + [(7, 3)]:
        rows = x[first : first + count]
        assert bits(net.predict(rows)) == bits(together[first : first + count])
        assert bits(net.predict(rows.reshape(count, -1))) == bits(together[first : first + count])
    assert bits(net.predict(x[[9, 3, 3]])) == bits(together[[9, 3, 3]])


@each_dtype
@pytest.mark.parametrize("name", ["like LeNet", "strides"])
def test_images_are_predicted_in_calls_that_ctrl_c_can_wait_for(name, dtype, monkeypatch):
    net = made(name, dtype=dtype)
    x, t = images(net, 340)
    expected = net.predict(x), net.loss(x, t)
    monkeypatch.setattr(evaluation, "EVALUATION_WORK", 50 * net.params.multiply_adds)
    assert bits(net.predict(x), net.loss(x, t)) == bits(*expected)


RULES = {
    "sgd": fastnn.SGD(0.1, weight_decay=0.01),
    "momentum": fastnn.Momentum(0.1),
    "adam": fastnn.Adam(0.01, weight_decay=0.1),
}


@pytest.mark.usefixtures("both_builds")
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", ["like LeNet", "dropout"])
def test_a_step_in_many_calls_has_the_bits_of_one(name, rule, monkeypatch):
    found = []
    for long in (steps.LONG_STEP, 0):
        monkeypatch.setattr(steps, "LONG_STEP", long)
        net = made(name)
        if long == 0:
            monkeypatch.setattr(steps, "LONG_PIECE", net.params.multiply_adds * 20)
        x, t = images(net, 230)
        options = {"iterations": 4, "batch_size": 101, "optimizer": RULES[rule], "seed": 5}
        found.append((results(net, x, t, **options), bits(net.optimizer_state.memory)))
    assert found[1] == found[0]


@pytest.mark.usefixtures("both_builds")
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("rows", [1, 5, 50])
def test_single_steps_have_the_bits_of_a_fit(rows, rule):
    one, many = made("like LeNet", dtype="float32"), made("like LeNet", dtype="float32")
    x, t = images(one, rows)
    losses = [one.train_step(x, t, RULES[rule]) for _ in range(4)]
    history = many.fit(x, t, batches=[range(rows)] * 4, optimizer=RULES[rule])
    assert losses == history.loss.tolist()
    assert bits_of(one) == bits_of(many)


@each_dtype
@pytest.mark.usefixtures("both_builds")
@pytest.mark.parametrize("name", ["like LeNet", "overlapping pools", "strides", "one filter"])
def test_a_step_of_sgd_is_one_by_the_gradient(name, dtype):
    one, other = made(name, dtype=dtype), made(name, dtype=dtype)
    x, t = images(one, 37)
    one.train_step(x, t, fastnn.SGD(0.25))  # a product with it is exact
    loss, gradient = other.loss_and_gradient(x, t)
    assert loss == other.loss(x, t)
    for key, found in gradient.items():
        other.params[key] -= np.array(0.25, dtype) * found
    assert bits_of(other) == bits_of(one)


@pytest.mark.parametrize("rows", [1, 9])
def test_fits_may_be_cut_anywhere(rows):
    whole, parts = made("like LeNet"), made("like LeNet")
    x, t = images(whole, 40)
    table = np.random.default_rng(0).integers(0, 40, (12, rows))
    adam = fastnn.Adam(0.01)
    expected = whole.fit(x, t, batches=table, optimizer=adam).loss
    losses = [parts.fit(x, t, batches=piece, optimizer=adam).loss for piece in np.split(table, 3)]
    assert bits(np.concatenate(losses)) == bits(expected)
    assert bits_of(parts) == bits_of(whole)


# In other processes -----------------------------------------------------------------------


def digests():
    """Digests of fits, answers and gradients of networks with all kinds of layers."""
    found = {}
    with runtime.forced(parallel=True):
        for name in ("like LeNet", "overlapping pools", "strides", "many pixels", "dropout"):
            for rows in (3, 50, 190):
                net = made(name, "relu", "float32")
                x, t = images(net, 190)
                found[f"{name} {rows}"] = results(net, x, t, iterations=5, batch_size=rows)
                alone = [net.predict(x[n : n + 1]) for n in range(5)]
                found[f"{name} {rows} alone"] = bits(*alone)
    return json.loads(json.dumps(found))


def print_digests(threads=None):
    """What a process below prints; of so many threads, whatever the quota of a container."""
    if threads is not None:
        runtime.cgroup_quota = lambda: None
        assert fastnn.threading_info()["threads"] == threads
    print(json.dumps(digests()))  # noqa: T201


def in_a_process(call, **environment):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    path = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
    process = subprocess.run(
        [sys.executable, "-c", f"import test_convnet_bits; test_convnet_bits.{call}"],
        env=kept | {"PYTHONPATH": path} | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


@pytest.fixture(scope="module")
def digests_here():
    return digests()


@pytest.mark.parametrize("threads", [1, 3, 5])
def test_another_process_with_other_threads_has_the_same_bits(threads, digests_here):
    environment = {"NUMBA_NUM_THREADS": str(threads), "NUMBA_THREADING_LAYER": "omp"}
    assert in_a_process(f"print_digests({threads})", **environment) == digests_here


@pytest.mark.parametrize("width", sorted({16, 32, 64} - {VECTOR_BYTES}))
def test_vectors_of_another_width_have_the_same_bits(width, digests_here, code_folder):
    own = {"FASTNN_VECTOR_BYTES": str(width), "FASTNN_CACHE_DIR": str(code_folder)}
    assert in_a_process("print_digests()", **own) == digests_here
