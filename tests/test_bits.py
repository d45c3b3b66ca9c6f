"""The same bits: with any number of threads, in any pool, process and cache, dense or sparse."""

import hashlib
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy_mlp import OUTPUTS_AND_LOSSES, bits, bits_of, inputs, targets

import fastnn
from fastnn.compiler import runtime
from fastnn.training import steps

ROOT = Path(fastnn.__file__).parent.parent
DTYPES = ["float32", "float64"]


def results(net, x, t, **options):
    """All numbers that a network can give: those of a fit, and those after it."""
    history = net.fit(x, t, **options)
    asked = [net.predict(x), net.loss(x, t), history.loss, *net.gradient(x, t).values()]
    return bits(*net.params.values(), *asked)


def made(sizes, kind=("softmax", "cross_entropy"), dtype="float32", rows=230, nonzeros=1.0):
    net = fastnn.MLP(sizes, "tanh", *kind, "xavier", dtype, seed=5, bias_init=0.1)
    rng = np.random.default_rng(6)
    return net, inputs(rng, rows, sizes[0], nonzeros), targets(rng, net, rows)


# ---- in this process


@pytest.mark.parametrize("nonzeros", [1.0, 0.2])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("sizes", "batch"),
    [
        ([40, 16, 3], 1),
        ([40, 16, 3], 7),
        ([130, 100, 70, 5], 101),
        ([40, 300, 2], 100),
        ([40, 3], 230),
        ([1, 1], 2),
        # shared out by columns:
        ([300, 701, 10], 33),
        ([90, 400, 450, 3], 2),
        ([700, 720, 5], 1),
        ([700, 720, 5], 4),
    ],
)
def test_threads_do_not_change_the_bits(sizes, batch, dtype, nonzeros):
    found = []
    for parallel in (False, True, True):
        with runtime.forced(parallel=parallel):
            net, x, t = made(sizes, dtype=dtype, nonzeros=nonzeros)
            found.append(results(net, x, t, epochs=3, batch_size=batch))
    assert found[1] == found[2] == found[0]


RULES = {
    "sgd": fastnn.SGD(0.1),
    "nesterov": fastnn.Nesterov(0.01, weight_decay=0.01),
    "adam": fastnn.Adam(0.01, weight_decay=0.1),
}


@pytest.mark.parametrize("nonzeros", [1.0, 0.2])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    ("sizes", "batch"), [([40, 16, 3], 77), ([130, 100, 70, 5], 230), ([700, 720, 5], 3)]
)
def test_a_step_in_many_calls_has_the_bits_of_one(
    sizes, batch, rule, nonzeros, both_builds, monkeypatch
):
    """Long ones are made so, that Ctrl-C is noticed in between."""
    found = []
    for long in (steps.LONG_STEP, 0):
        monkeypatch.setattr(steps, "LONG_STEP", long)
        if long == 0:
            monkeypatch.setattr(steps, "LONG_PIECE", sizes[0] * sizes[1] * batch / 3)
        net, x, t = made(sizes, nonzeros=nonzeros)
        options = {"iterations": 7, "batch_size": batch, "optimizer": RULES[rule]}
        found.append((results(net, x, t, **options), bits(net.optimizer_state.memory)))
    assert found[1] == found[0]


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_an_estimators_step_in_many_calls_has_the_bits_of_one(solver, monkeypatch):
    X = np.random.default_rng(0).normal(size=(200, 12))
    y = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0)
    found = []
    for long in (steps.LONG_STEP, 0):
        monkeypatch.setattr(steps, "LONG_STEP", long)
        if long == 0:
            monkeypatch.setattr(steps, "LONG_PIECE", 3000)
        net = fastnn.MLPClassifier((20,), solver=solver, alpha=0.1, tol=0.02, batch_size=50,
                                   max_iter=100, random_state=0, n_iter_no_change=3)  # fmt: skip
        net.fit(X, y)
        found.append((net.n_iter_, bits(*net.coefs_, np.array(net.loss_))))
    assert found[1] == found[0]
    assert 3 < net.n_iter_ < 100  # ended by its rule


@pytest.mark.parametrize("kind", OUTPUTS_AND_LOSSES)
def test_threads_do_not_change_the_bits_of_any_loss(kind):
    found = []
    for parallel in (False, True):
        with runtime.forced(parallel=parallel):
            found.append(results(*made([40, 16, 3], kind), epochs=3, batch_size=50))
    assert found[1] == found[0]


@settings(max_examples=30)
@given(
    sizes=st.lists(st.integers(1, 70), min_size=2, max_size=4),
    batch=st.integers(1, 120),
    dtype=st.sampled_from(DTYPES),
    nonzeros=st.sampled_from([0.0, 0.1, 1.0]),
)
def test_threads_do_not_change_the_bits_of_any_network(sizes, batch, dtype, nonzeros):
    found = []
    for parallel in (False, True):
        with runtime.forced(parallel=parallel):
            net, x, t = made(sizes, dtype=dtype, rows=120, nonzeros=nonzeros)
            found.append(results(net, x, t, iterations=5, batch_size=batch))
    assert found[1] == found[0]


def test_work_enough_for_threads_needs_no_force():
    """The same on the way that a user goes: many threads by default, one if so told."""
    found = []
    try:
        for threads in (None, 1):
            fastnn.set_num_threads(threads)
            net, x, t = made([200, 150, 10])
            found.append(results(net, x, t, epochs=2, batch_size=100))
    finally:
        fastnn.set_num_threads(None)
    assert found[1] == found[0]


# ---- zeros


def beside(x, t, company):
    """The same first rows, and others that no batch uses: these make all rows dense, or sparse."""
    others = np.full_like(x, company)
    return np.vstack([x, others]), np.concatenate([t, t])


@pytest.mark.parametrize("kind", OUTPUTS_AND_LOSSES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", [1, 3, 97])
@pytest.mark.parametrize(("width", "hidden"), [(32, 1), (99, 17), (200, 70), (200, 1001)])
def test_skipping_zeros_does_not_change_the_bits(width, hidden, batch, dtype, kind):
    table = np.random.default_rng(7).integers(0, 100, (6, batch))
    found = []
    for company in (0.0, 1.0):
        net, x, t = made([width, hidden, 3], kind, dtype, rows=100, nonzeros=0.15)
        history = net.fit(*beside(x, t, company), batches=table)
        found.append(bits(history.loss, *net.params.values()))
    assert found[0] == found[1]


@pytest.mark.parametrize("width", [65536, 65537])
def test_skipping_zeros_does_not_change_the_bits_of_very_wide_inputs(width):
    found = []
    for company in (0.0, 1.0):
        net, x, t = made([width, 2], rows=12, nonzeros=0.01)
        x[:, -1] = 1
        history = net.fit(*beside(x, t, company), batches=[[0, 1, 2], [3, 4, 5]])
        found.append(bits(history.loss, *net.params.values()))
    assert found[0] == found[1]


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_few_rows_have_the_bits_of_many(dtype):
    net, x, t = made([50, 20, 3], dtype=dtype, nonzeros=0.2)
    many = net.predict(x)
    for rows in range(1, 10):
        assert bits(net.predict(x[:rows])) == bits(many[:rows])
        with_zeros = beside(x[:rows], t[:rows], 0.0)
        few, more = (
            fastnn.MLP([50, 3], dtype=dtype, seed=0),
            fastnn.MLP([50, 3], dtype=dtype, seed=0),
        )
        table = [range(rows)] * 3
        few.fit(x[:rows], t[:rows], batches=table)
        more.fit(*with_zeros, batches=table)
        assert bits_of(few) == bits_of(more)


def test_rows_without_any_number_do_not_change_the_bits():
    net, x, t = made([50, 20, 3], rows=60, nonzeros=0.2)
    x[::3] = 0
    table = np.random.default_rng(7).integers(0, 60, (20, 9))
    found = []
    for company in (0.0, 1.0):
        net, *_ = made([50, 20, 3])
        history = net.fit(*beside(x, t, company), batches=table)
        found.append(bits(history.loss, *net.params.values()))
    assert found[0] == found[1]


@pytest.mark.parametrize("kind", OUTPUTS_AND_LOSSES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("nonzeros", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("sizes", [[6, 3], [99, 17, 3], [40, 20, 33, 2]])
def test_per_sample_steps_have_the_bits_of_short_batches_of_one_row(sizes, nonzeros, dtype, kind):
    """Per-sample training has a kernel of its own; a last batch of one row has not."""
    net, x, t = made(sizes, kind, dtype, rows=1, nonzeros=nonzeros)
    other, *_ = made(sizes, kind, dtype)
    x, t = np.repeat(x, 9, axis=0), np.repeat(t, 9, axis=0)
    for _ in range(5):
        expected = net.fit(x, t, batch_size=8).loss
        losses = [other.fit(x, t, batches=[rows]).loss for rows in (range(8), [0])]
        assert bits(np.concatenate(losses)) == bits(expected)
        assert bits_of(other) == bits_of(net)


def test_divergence_has_the_same_bits_in_serial_and_parallel():
    found = []
    for parallel in (False, True):
        net, x, t = made([40, 16, 3], ("identity", "squared_error"))
        with runtime.forced(parallel=parallel), pytest.raises(FloatingPointError) as caught:
            net.fit(x, t, epochs=200, batch_size=20, optimizer=fastnn.SGD(50.0))
        found.append([bits_of(net), bits(caught.value.history.loss)])
    assert found[0] == found[1]


# ---- in other processes


def training_digest():
    """A digest of many numbers, all work forced into several threads where they are to be had."""
    digest = hashlib.sha256()
    with runtime.forced(parallel=True):
        for dtype, nonzeros in itertools.product(DTYPES, [0.2, 1.0]):
            for sizes, batch in [([40, 16, 3], 7), ([130, 33, 5], 50), ([90, 400, 450, 3], 16)]:
                net, x, t = made(sizes, dtype=dtype, nonzeros=nonzeros)
                found = results(net, x, t, epochs=2, batch_size=batch)
                digest.update(repr(found).encode())
    return digest.hexdigest()


def short_digest():
    """A digest for which fewer kernels are compiled."""
    with runtime.forced(parallel=True):
        net, x, t = made([40, 16, 3], nonzeros=0.2)
        history = net.fit(x, t, epochs=2, batch_size=50)
        return repr(bits(history.loss, *net.params.values()))


def print_report(digest=training_digest, layer=""):
    """What a process below prints."""
    if layer:  # trusted here: this process has but one thread that calls it
        runtime.SAFE_LAYERS = (*runtime.SAFE_LAYERS, layer)
    report = {"digest": digest(), "info": fastnn.threading_info()}
    print(json.dumps(report))  # noqa: T201


def in_a_process(call="print_report()", **environment):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    path = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
    process = subprocess.run(
        [sys.executable, "-c", f"import test_bits; test_bits.{call}"],
        env=kept | {"PYTHONPATH": path} | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


@pytest.fixture(scope="module")
def digest_here():
    return training_digest()


def allowed(threads):
    """Threads left of so many by the quota of a container."""
    return min(threads, fastnn.threading_info()["limits"]["quota"] or threads)


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_another_process_with_other_threads_has_the_same_bits(threads, digest_here):
    report = in_a_process(NUMBA_NUM_THREADS=str(threads), NUMBA_THREADING_LAYER="omp")
    assert report["digest"] == digest_here
    assert report["info"]["threads"] == allowed(threads)
    assert report["info"]["layer"] == ("omp" if allowed(threads) > 1 else "not started")


def test_the_workqueue_pool_is_left_alone_and_the_bits_are_the_same(digest_here):
    report = in_a_process(NUMBA_NUM_THREADS="4", NUMBA_THREADING_LAYER="workqueue")
    assert report["digest"] == digest_here
    assert not report["info"]["parallel"]


def test_the_workqueue_pool_has_the_same_bits_where_it_is_used_all_the_same(digest_here):
    report = in_a_process("print_report(layer='workqueue')", NUMBA_NUM_THREADS="2",
                          NUMBA_THREADING_LAYER="workqueue")  # fmt: skip
    assert report["digest"] == digest_here
    assert report["info"]["layer"] == ("workqueue" if allowed(2) > 1 else "not started")


def test_cold_and_warm_caches_have_the_same_bits(tmp_path):
    folder = tmp_path / "code"
    for _ in ("cold", "warm"):
        report = in_a_process("print_report(test_bits.short_digest)", FASTNN_CACHE_DIR=str(folder))
        assert report["digest"] == short_digest()
        assert any(folder.rglob("*.nbc"))
