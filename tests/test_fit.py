"""Training: the steps are those of a plain loop, on the rows that were asked for."""

import gc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from numpy_mlp import OUTPUTS_AND_LOSSES, NumpyMLP, bits, bits_of, inputs, targets
from small_fits import batch_table, problem, trained

import fastnn
from fastnn.compiler import jit, runtime
from fastnn.kernels.activations import ACTIVATIONS
from fastnn.training import batches

# ---- the steps are those of plain NumPy


@pytest.mark.usefixtures("both_builds")
@pytest.mark.parametrize("nonzeros", [1.0, 0.2])
@pytest.mark.parametrize(("output", "loss"), OUTPUTS_AND_LOSSES)
def test_replayed_batches_give_the_numbers_of_a_numpy_loop(output, loss, nonzeros):
    net, x, t = problem(output=output, loss=loss, dtype="float64", nonzeros=nonzeros)
    reference, table = NumpyMLP(net), batch_table(200, 13)
    history = net.fit(x, t, batches=table, optimizer=fastnn.SGD(0.05))
    assert_allclose(history.loss, reference.train(x, t, table, lr=0.05), rtol=0, atol=1e-10)
    for name, view in net.params.items():
        assert_allclose(view, reference.params[name], rtol=0, atol=1e-10)


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_replayed_batches_give_the_numbers_of_a_numpy_loop_in_deep_networks(activation, size):
    net = fastnn.MLP([6, 9, 5, 7, 2], activation, weight_init="xavier", dtype="float64", seed=4)
    rng = np.random.default_rng(0)
    x, t = inputs(rng, 60, 6), targets(rng, net, 60)
    reference, table = NumpyMLP(net), batch_table(200, size)
    history = net.fit(x, t, batches=table, optimizer=fastnn.SGD(0.05))
    assert_allclose(history.loss, reference.train(x, t, table, lr=0.05), rtol=0, atol=1e-10)
    for name, view in net.params.items():
        assert_allclose(view, reference.params[name], rtol=0, atol=1e-10)


@settings(max_examples=40)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=2, max_size=5),
    kind=st.sampled_from(OUTPUTS_AND_LOSSES),
    size=st.integers(1, 110),
    nonzeros=st.sampled_from([0.1, 1.0]),
    parallel=st.booleans(),
)
def test_replayed_batches_give_the_numbers_of_a_numpy_loop_for_any_network(
    sizes, kind, size, nonzeros, parallel
):
    net = fastnn.MLP(sizes, "tanh", *kind, "xavier", "float64", seed=4, bias_init=0.1)
    rng = np.random.default_rng(size)
    x, t = inputs(rng, 60, sizes[0], nonzeros), targets(rng, net, 60)
    reference, table = NumpyMLP(net), batch_table(20, size)
    with runtime.forced(parallel=parallel):
        history = net.fit(x, t, batches=table, optimizer=fastnn.SGD(0.01))
    assert_allclose(history.loss, reference.train(x, t, table, lr=0.01), rtol=1e-10)
    for name, view in net.params.items():
        assert_allclose(view, reference.params[name], rtol=0, atol=1e-10)


def test_float32_steps_stay_close_to_float64_steps():
    net, x, t = problem(dtype="float32")
    reference, table = NumpyMLP(net), batch_table(200, 10)
    history = net.fit(x, t, batches=table, optimizer=fastnn.SGD(0.05))
    losses = reference.train(x.astype(np.float32), t, table, lr=0.05)
    assert_allclose(history.loss, losses, rtol=0, atol=1e-4)


def test_a_step_is_the_gradient_times_the_learning_rate():
    net, x, t = problem(dtype="float64")
    before = {name: view.copy() for name, view in net.params.items()}
    gradient = net.gradient(x, t)
    net.fit(x, t, iterations=1, batch_size=60, optimizer=fastnn.SGD(0.25))
    for name, view in net.params.items():
        assert_allclose(view, before[name] - 0.25 * gradient[name], rtol=1e-12, atol=1e-15)


def test_the_default_optimizer_is_sgd_with_the_books_rate():
    assert fastnn.SGD() == fastnn.SGD(lr=0.1)
    results = []
    for optimizer in (None, fastnn.SGD(0.1)):
        net, x, t = problem()
        net.fit(x, t, batches=batch_table(5, 4), optimizer=optimizer)
        results.append(bits_of(net))
    assert results[0] == results[1]


BATCH_FORMS = {
    "a list": lambda table: table.tolist(),
    "uint8": lambda table: table.astype(np.uint8),
    "big-endian": lambda table: table.astype(">i8"),
    "Fortran order": np.asfortranarray,
    "every second row of more": lambda table: np.repeat(table, 2, axis=0)[::2],
    "read-only": lambda table: np.frombuffer(table.tobytes(), int).reshape(table.shape),
}


@pytest.mark.parametrize("form", BATCH_FORMS)
def test_batches_of_any_form_give_the_same_steps(form):
    results = []
    for change in (np.asarray, BATCH_FORMS[form]):
        net, x, t = problem()
        history = net.fit(x, t, batches=change(batch_table(20, 7)))
        results.append([bits_of(net), bits(history.loss)])
    assert results[0] == results[1]


def test_data_of_any_form_give_the_same_steps():
    results = []
    for x_form, t_form in [
        (np.array, np.array),
        (np.asfortranarray, list),
        (lambda x: x.astype(">f8"), lambda t: t.astype(np.uint8)),
        (lambda x: np.repeat(x, 2, axis=1)[:, ::2], lambda t: np.eye(3)[t]),
        (lambda x: x.tolist(), lambda t: t.astype(float).tolist()),
    ]:
        net, x, t = problem()
        history = net.fit(x_form(x), t_form(t), batches=batch_table(20, 7))
        results.append([bits_of(net), bits(history.loss)])
    assert all(result == results[0] for result in results)


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def builds():
    """How many compiled forms of kernels there are in this process."""
    # `isinstance` would ask weak references to what is gone.
    entries = [found for found in gc.get_objects() if type(found) is jit.Entry]
    return sum(len(found.serial.signatures) for found in entries)


@pytest.mark.parametrize("output", ["softmax", "identity"])
@pytest.mark.parametrize(
    "change", [read_only, np.asfortranarray, lambda a: np.repeat(a, 2, 0)[::2]]
)
def test_no_form_of_data_needs_kernels_of_its_own(change, output):
    """Numba would compile for each mix of contiguous and writable arrays, for seconds each."""
    for form in (np.array, change):
        net, x, t = problem(output=output)
        x, t, table = form(x.astype(np.float32)), form(t), form(batch_table(5, 7))
        t = t if output == "softmax" else t.astype(np.float32)
        net.fit(x, t, batches=table, validation_data=(x, t))
        net.predict(x), net.gradient(x, t)
        if form is np.array:
            before = builds()
    assert before > 0
    assert builds() == before


def test_fit_leaves_the_data_as_they_are():
    net, x, t = problem()
    table = batch_table(20, 7)
    before = bits(x, t, table)
    net.fit(x, t, batches=table)
    assert bits(x, t, table) == before


# ---- which rows make the batches


def row_numbers(history, net, x, t):
    """Which row every step saw: the rows' losses differ, and the steps are too small to matter."""
    losses = [net.loss(x[i : i + 1], t[i : i + 1]) for i in range(len(x))]
    assert len(set(losses)) == len(x)
    return [losses.index(loss) for loss in history.loss]


NO_STEP = fastnn.SGD(1e-30)


def test_shuffling_makes_each_epoch_a_new_permutation():
    net, x, t = problem(rows=30)
    history = net.fit(x, t, epochs=4, batch_size=1, optimizer=NO_STEP)
    epochs = np.reshape(row_numbers(history, net, x, t), (4, 30)).tolist()
    assert all(sorted(epoch) == list(range(30)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert list(range(30)) not in epochs


def test_drawing_with_replacement_repeats_rows_and_reaches_all():
    net, x, t = problem(rows=30)
    history = net.fit(x, t, iterations=600, batch_size=1, optimizer=NO_STEP,
                      sampling="replacement")  # fmt: skip
    counts = np.bincount(row_numbers(history, net, x, t), minlength=30)
    assert len(set(row_numbers(history, net, x, t)[:30])) < 30
    assert counts.min() > 4  # 20 expected each
    assert counts.max() < 45


def test_a_last_short_batch_is_kept():
    net, x, t = problem(rows=10)
    history = net.fit(x, t, epochs=2, batch_size=4, optimizer=NO_STEP)
    assert history.steps == 6
    sizes = np.array([4, 4, 2, 4, 4, 2])
    for epoch in (history.loss * sizes)[:3], (history.loss * sizes)[3:]:
        assert_allclose(epoch.sum() / 10, net.loss(x, t), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_batch_of_all_rows_has_the_loss_of_all_rows(dtype):
    net, x, t = problem(dtype=dtype)
    before = net.loss(x, t)
    history = net.fit(x, t, iterations=1, batch_size=60)
    assert_allclose(history.loss, [before], rtol=1e-6)


@pytest.mark.usefixtures("both_builds")
def test_five_and_five_epochs_are_ten():
    assert trained([{"epochs": 5}] * 2) == trained([{"epochs": 10}])


def test_five_and_five_drawn_steps_are_ten():
    five, ten = {"iterations": 5}, {"iterations": 10}
    assert trained([five] * 2, sampling="replacement") == trained([ten], sampling="replacement")


def test_five_and_five_replayed_steps_are_ten():
    table = batch_table(10, 6, rows=50)
    both = trained([{"batches": table[:5]}, {"batches": table[5:]}])
    assert both == trained([{"batches": table}])


def test_epochs_and_as_many_steps_are_the_same():
    assert trained([{"epochs": 4}]) == trained([{"iterations": 12}])


def test_without_a_length_one_epoch_is_made():
    assert trained([{}]) == trained([{"epochs": 1}])


@pytest.mark.parametrize("nonzeros", [1.0, 0.2])
def test_rows_that_no_batch_uses_are_not_looked_at(nonzeros, monkeypatch):
    found = []
    for share in (0, batches.FEW_ROWS):
        monkeypatch.setattr(batches, "FEW_ROWS", share)
        net, x, t = problem(rows=200, nonzeros=nonzeros)
        if share:
            x[150] = np.nan
        history = net.fit(x, t, batches=2 * np.arange(75).reshape(3, 25))
        found.append(bits(history.loss, *net.params.values()))
    assert found[0] == found[1]
    with pytest.raises(ValueError, match=r"x must be finite, got nan at x\[150, 0\]"):
        net.fit(x, t, batches=[[3, 150]])
    with pytest.raises(ValueError, match="x must be finite"):
        net.fit(x, t, batches=[[3, 1]], validation_data=(x[:2], t[:2]))


@pytest.mark.parametrize("sampling", ["shuffle", "replacement"])
def test_few_steps_are_those_of_many(sampling, monkeypatch):
    """The rows of a short fit are drawn before its steps; this does not show."""
    options = [{"sampling": sampling, "iterations": 1}] * 3
    few = trained(options)
    monkeypatch.setattr(batches, "FEW_ROWS", 0)
    assert trained(options) == few


def test_a_fit_that_is_refused_draws_no_batches():
    first, x, t = problem()
    second, _, _ = problem()
    with pytest.raises(ValueError, match="finite"):
        first.fit(np.full_like(x, np.nan), t, iterations=1, batch_size=7)
    with pytest.raises(ValueError, match="labels"):
        first.fit(x, t + 5, iterations=1, batch_size=7)
    assert bits(first.fit(x, t, batch_size=7).loss) == bits(second.fit(x, t, batch_size=7).loss)


def test_the_seed_makes_the_batches():
    assert trained([{"seed": 5}]) == trained([{"seed": np.random.default_rng(5)}])
    assert trained([{"seed": 5}]) != trained([{"seed": 6}])
    assert trained([{"seed": 5}] * 2)[0] == trained([{"seed": 5}, {"seed": 5}])[0]


def test_a_seed_of_fit_leaves_the_networks_own_batches_alone():
    first, x, t = problem()
    second, _, _ = problem()
    before = {name: view.copy() for name, view in first.params.items()}
    first.fit(x, t, batch_size=7, seed=5)
    first.params.update(before)
    assert bits(first.fit(x, t, batch_size=7).loss) == bits(second.fit(x, t, batch_size=7).loss)


@pytest.mark.parametrize("sampling", ["shuffle", "replacement"])
def test_many_steps_are_the_steps_of_small_blocks(sampling, monkeypatch):
    """Row numbers are drawn block by block; where a block ends does not show."""
    options = {"sampling": sampling, "iterations": 40}
    whole = trained([options])
    monkeypatch.setattr(batches, "INDEX_BLOCK", 120)
    assert trained([options]) == whole
