"""One call at a time: the answers of prepared examples, whatever lies on a desk; and steps."""

import copy
import gc
import os
import pickle
import threading
import weakref

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from numpy_mlp import OUTPUTS, bits, bits_of, inputs, targets

import fastnn
from fastnn.kernels.groups import GRADIENT
from fastnn.training import desk
from fastnn.training.steps import gradient_block

OPTIMIZERS = [
    fastnn.SGD(0.1),
    fastnn.SGD(0.1, weight_decay=0.01),
    fastnn.SGD(lambda step: 0.1 / (step + 1)),
    fastnn.Momentum(0.1),
    fastnn.Nesterov(0.1),
    fastnn.AdaGrad(0.1),
    fastnn.RMSprop(0.01),
    fastnn.Adam(0.01),
]
# Layers, rows, share of nonzeros: narrow, sparse, dense, wide with few rows, with room to spare.
SHAPES = [
    ((3, 5, 2), 1, 1.0),
    ((3, 5, 2), 7, 1.0),
    ((40, 50, 3), 300, 0.15),
    ((40, 50, 3), 300, 1.0),
    ((200, 9, 12), 130, 0.1),
    ((500, 420, 3), 3, 1.0),
    ((500, 420, 3), 50, 0.1),
    ((784, 50, 10), 100, 0.2),
]


def problem(sizes, rows, nonzeros, output="softmax", dtype="float32"):
    rng = np.random.default_rng(1)
    net = fastnn.MLP(sizes, "tanh", output, weight_init="he", dtype=dtype, seed=0)
    x = inputs(rng, rows, sizes[0], nonzeros).astype(dtype)
    t = targets(rng, net, rows)
    return net, x, t if output == "softmax" else t.astype(dtype)


def memories():
    """All that lies on the desks that are kept."""
    parts = [(one._dense, one._answer, one._step) for one in desk._kept]
    return [memory for memory in sum(parts, ()) if memory is not None]


def poison():
    """Fill it with what would be seen in a result."""
    for memory in memories():
        for array in memory.arrays:
            array.fill(np.nan if array.dtype.kind == "f" else 77)
        if isinstance(memory, desk.StepMemory):
            memory.scratch.arrays.work[:, : int(GRADIENT)] = 0  # to start sums from


def prepared(net, x, t):
    """Loss, accuracy, and gradients, of examples that are prepared for a fit."""
    model = net._model
    examples = model.examples(x, t)
    loss, block = gradient_block(model.params, model.loss, examples)
    views = model.params.views_of(block)
    return *model.measure(examples), loss, *(np.ascontiguousarray(v) for v in views.values())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_answers_are_those_of_prepared_examples(shape, output, dtype, both_builds):
    net, x, t = problem(*shape, output, dtype)
    loss, accuracy, batch_loss, *gradients = prepared(net, x, t)
    for _ in range(3):
        assert bits(net.loss(x, t)) == bits(loss)
        if output != "identity":
            assert net.accuracy(x, t) == accuracy
        found, grads = net.loss_and_gradient(x, t)
        assert bits(found, *grads.values()) == bits(batch_loss, *gradients)
        assert bits(*net.gradient(x, t).values()) == bits(*gradients)
        assert bits(net.predict(x)) == bits(net._model.outputs(net._model.examples(x, t).samples))
        poison()


@pytest.mark.parametrize("shape", SHAPES[2:], ids=str)
def test_rows_that_stop_being_sparse_and_begin_again_are_answered(shape, both_builds):
    net, x, t = problem(*shape)
    dense = np.where(x == 0, 1, x).astype(x.dtype)
    late = x.copy()
    late[len(x) // 2 :] = dense[len(x) // 2 :]
    for rows in (x, dense, late, x, late, dense, x):
        loss, accuracy, _, *gradients = prepared(net, rows, t)
        assert (net.loss(rows, t), net.accuracy(rows, t)) == (loss, accuracy)
        assert bits(*net.gradient(rows, t).values()) == bits(*gradients)


def test_gradients_are_arrays_of_their_own():
    net, x, t = problem((3, 5, 2), 7, 1.0)
    first = net.gradient(x, t)
    kept = copy.deepcopy(first)
    for array in first.values():
        assert array.flags.c_contiguous
        assert array.flags.writeable
    net.gradient(x * 2, t)
    assert all((first[name] == kept[name]).all() for name in kept)
    first["W1"][:] = 7
    assert (first["b1"] == kept["b1"]).all()
    assert (first["W2"] == kept["W2"]).all()


def test_many_rows_are_answered_in_many_calls(monkeypatch, both_builds):
    net, x, t = problem((40, 20, 3), 3000, 0.2)
    expected = net.loss(x, t), net.accuracy(x, t), bits(net.predict(x))
    for name in ("EVALUATION_WORK",):
        monkeypatch.setattr(desk, name, 10_000)
        monkeypatch.setattr("fastnn.training.evaluation." + name, 10_000)
    assert (net.loss(x, t), net.accuracy(x, t), bits(net.predict(x))) == expected


# Desks -----------------------------------------------------------------------------------------


def test_threads_share_no_desk():
    net, x, t = problem((40, 50, 3), 200, 0.15)
    other, _, _ = problem((40, 50, 3), 200, 0.15)
    expected = [net.loss(x[:n], t[:n]) for n in range(1, 200)]
    gradients = [bits(*net.gradient(x[:n], t[:n]).values()) for n in range(1, 200)]
    wrong = []

    def work(asked, numbers):
        for n in numbers:
            if asked.loss(x[:n], t[:n]) != expected[n - 1]:
                wrong.append(n)
            if bits(*asked.gradient(x[:n], t[:n]).values()) != gradients[n - 1]:
                wrong.append(n)

    jobs = [range(1, 200), range(199, 0, -1)] * 3
    threads = [
        threading.Thread(target=work, args=((net, other)[i % 2], job)) for i, job in enumerate(jobs)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_desks_are_few_and_small():
    kinds = [(3, width, 2) for width in range(1, 2 * desk.KEPT_DESKS)]
    for sizes in kinds:
        net, x, t = problem(sizes, 5, 1.0)
        net.gradient(x, t), net.loss(x, t), net.predict(x)
    assert len(desk._kept) <= desk.KEPT_DESKS
    net, x, t = problem((1000, 1000, 1000, 3), 2000, 1.0)
    net.gradient(x, t), net.loss(x, t)
    assert sum(one.nbytes for one in desk._kept) <= desk.KEPT_BYTES
    counted = sum(array.nbytes for memory in memories() for array in memory.arrays)
    assert counted == sum(one.nbytes for one in desk._kept)


def test_desks_hold_no_network():
    net, x, t = problem((3, 5, 2), 7, 1.0)
    net.train_step(x, t), net.loss(x, t), net.gradient(x, t), net.predict(x)
    net.fit(x, t, iterations=2, batch_size=3)
    gone = weakref.ref(net._model)
    del net
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("output", OUTPUTS)
def test_desks_hold_nothing_of_the_caller(output):
    net, x, t = problem((3, 5, 2), 7, 1.0, output)
    for call in (net.loss, net.gradient, net.train_step):
        given = [x.copy(), t.copy()]
        gone = [weakref.ref(array) for array in given]
        call(*given)
        given.clear()
        gc.collect()
        assert [array() for array in gone] == [None, None]


FORMS = {
    "float64": lambda t: t.astype(np.float64),
    "list": np.ndarray.tolist,
    "strided": lambda t: np.repeat(t, 2, axis=0)[::2],
    "read-only": lambda t: np.frombuffer(t.tobytes(), t.dtype).reshape(t.shape),
    "F": np.asfortranarray,
    "integers": lambda t: np.round(t).astype(np.int8),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["labels", "one-hot", "targets", "one output"])
def test_no_usual_form_of_targets_goes_the_long_way(kind, form, monkeypatch):
    output = "softmax" if kind in ("labels", "one-hot") else "identity"
    net, x, t = problem((5, 4, 1 if kind == "one output" else 3), 24, 1.0, output)
    t = np.eye(3)[t] if kind == "one-hot" else t.ravel() if kind == "one output" else t
    t = np.round(t) if form == "integers" else t
    other = copy.deepcopy(net)
    history = other.fit(x, t, batches=[range(24)])
    monkeypatch.setattr(fastnn.MLP, "fit", None)
    monkeypatch.setattr(type(net._model), "examples", None)
    assert net.train_step(x, FORMS[form](t)) == history.loss[0]
    assert bits_of(net) == bits_of(other)
    net.loss(x, FORMS[form](t)), net.gradient(x, FORMS[form](t))


def test_copies_and_pickles_are_no_larger():
    net, x, t = problem((3, 5, 2), 7, 1.0)
    before = len(pickle.dumps(net))
    for _ in range(3):
        net.loss(x, t), net.gradient(x, t), net.predict(x)
    assert len(pickle.dumps(net)) == before
    net.train_step(x, t, fastnn.Adam())
    trained = len(pickle.dumps(net))
    for _ in range(3):
        net.train_step(x, t, fastnn.Adam())
    assert len(pickle.dumps(net)) == trained
    other = copy.deepcopy(net)
    assert other.loss(x, t) == net.loss(x, t)
    other.train_step(x, t)
    assert other.loss(x, t) != net.loss(x, t)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_child_forked_while_a_desk_is_at_work_answers():
    net, x, t = problem((40, 50, 3), 200, 0.15)
    expected = net.loss(x, t)
    taken = desk.take_desk(net._model)
    child = os.fork()
    if child == 0:
        os._exit(0 if net.loss(x, t) == expected and net.train_step(x, t) else 1)
    _, status = os.waitpid(child, 0)
    desk.give_back(taken)
    assert status == 0


# Steps -----------------------------------------------------------------------------------------


def state_of(net):
    state = net.optimizer_state
    return bits_of(net), bits(state.memory), state.steps


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_step_is_a_fit_of_one_step(shape, optimizer, both_builds):
    net, x, t = problem(*shape)
    other = copy.deepcopy(net)
    for _ in range(4):
        loss = net.train_step(x, t, optimizer)
        history = other.fit(x, t, batches=[range(len(x))], optimizer=optimizer)
        assert bits(loss) == bits(history.loss[0])
        assert state_of(net) == state_of(other)
        poison()


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_steps_and_fits_alternate(output, dtype):
    net, x, t = problem((5, 4, 3), 24, 1.0, output, dtype)
    other = copy.deepcopy(net)
    adam, table = fastnn.Adam(0.01), np.arange(24)[np.newaxis]
    for i in range(100):  # beyond the rates that are asked for ahead
        if i % 7 == 3:
            net.fit(x, t, batches=table, optimizer=adam)
        else:
            net.train_step(x, t, adam)
    other.fit(x, t, batches=table.repeat(100, axis=0), optimizer=adam)
    assert state_of(net) == state_of(other)


# Of three rows each is a step of its own, in the loop that fuses layers.
@pytest.mark.parametrize(
    "shape", [*SHAPES, ((3, 20, 33, 2), 3, 1.0), ((40, 9, 16, 5), 3, 1.0)], ids=str
)
def test_a_fit_sees_nothing_of_what_lay_on_its_desk(shape, both_builds):
    states = []
    for prepare in (desk._kept.clear, poison):
        net, x, t = problem(*shape)
        prepare()
        net.fit(x, t, epochs=2, batch_size=max(1, len(x) // 3), optimizer=fastnn.Adam(), seed=0)
        states.append(state_of(net))
    assert states[0] == states[1]


@pytest.mark.parametrize("optimizer", [fastnn.Adam(0.01), fastnn.Momentum(0.1)], ids=repr)
def test_steps_that_a_callback_makes_on_the_network_count(optimizer):
    net, x, t = problem((5, 4, 3), 24, 1.0)
    other = copy.deepcopy(net)

    def step(net, history):
        if history.steps == 5:
            net.train_step(x[:10], t[:10], optimizer)

    table = np.arange(24)[np.newaxis].repeat(10, axis=0)
    net.fit(x, t, batches=table, optimizer=optimizer, evaluate_every=5, callbacks=[step])
    for i in range(10):
        other.train_step(x, t, optimizer)
        if i == 4:
            other.train_step(x[:10], t[:10], optimizer)
    assert state_of(net) == state_of(other)


def test_another_optimizer_begins_anew():
    net, x, t = problem((5, 4, 3), 24, 1.0)
    other = copy.deepcopy(net)
    for optimizer in (fastnn.Adam(0.01), None, fastnn.Adam(0.01), fastnn.Adam(0.02)):
        net.train_step(x, t, optimizer)
        other.fit(x, t, batches=[range(24)], optimizer=optimizer)
        assert state_of(net) == state_of(other)


def test_rows_of_any_form_make_the_same_step():
    import scipy.sparse

    found = []
    for form in (np.asarray, np.ndarray.tolist, np.asfortranarray, scipy.sparse.csr_array,
                 lambda x: x.astype(np.float64), lambda x: x.astype(np.float32)):  # fmt: skip
        net, x, t = problem((40, 5, 3), 24, 0.2)
        x = np.round(x * 8) / 8
        found.append((net.train_step(form(x), t.tolist()), state_of(net)))
    assert all(one == found[0] for one in found)


BAD = {
    "NaN": (lambda x, t: (np.where(x == x[3, 1], np.nan, x), t), ValueError, "x must be finite"),
    "x is too wide": (lambda x, t: (np.hstack([x, x]), t), ValueError, "x must have shape"),
    "x is text": (lambda x, t: ("text", t), TypeError, "x must hold real numbers"),
    "no class": (lambda x, t: (x, t + 2), ValueError, "t must hold labels"),
    "no rows": (lambda x, t: (x[:0], t[:0]), ValueError, "x must have at least one row"),
    "not one-hot": (lambda x, t: (x, np.ones((24, 3))), ValueError, "t must be one-hot"),
    "too few": (lambda x, t: (x, t[:5]), ValueError, "t must be labels of shape"),
}  # fmt: skip


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("trained", [False, True])
def test_what_is_refused_changes_nothing(bad, trained):
    net, x, t = problem((5, 4, 3), 24, 1.0)
    if trained:
        net.train_step(x, t)
    before, state = bits_of(net), net.optimizer_state
    change, kind, text = BAD[bad]
    for call in (net.train_step, net.loss, net.gradient, net.accuracy, net.loss_and_gradient):
        args = change(x.astype(float), t)
        with pytest.raises(kind, match=text):
            call(*args, *([fastnn.Adam()] if call == net.train_step else []))
    assert bits_of(net) == before
    assert net.optimizer_state is state


def test_an_optimizer_that_is_none_is_refused():
    net, x, t = problem((5, 4, 3), 24, 1.0)
    with pytest.raises(TypeError, match="optimizer must be one of fastnn's"):
        net.train_step(x, t, 0.1)
    with pytest.raises(ValueError, match=r"lr\(0\) must be a finite number"):
        net.train_step(x, t, fastnn.SGD(lambda step: -1.0))
    assert net.optimizer_state is None


def test_a_loss_that_is_not_finite_leaves_the_network_as_it_was():
    net, x, _ = problem((5, 4, 3), 24, 1.0, "identity")
    net.train_step(x, np.zeros((24, 3), "float32"), fastnn.SGD(1e-38))
    before, state = bits_of(net), net.optimizer_state
    with pytest.raises(FloatingPointError, match=r"the loss became inf in this step; .* unchanged"):
        net.train_step(x, np.full((24, 3), 3e38, "float32"), fastnn.Adam())
    assert bits_of(net) == before
    assert net.optimizer_state is state


def test_errors_of_large_inputs_say_so():
    net, x, t = problem((5, 3), 24, 1.0, "identity")
    with pytest.raises(FloatingPointError, match=r"in this step; .* Inputs reach 1e\+30: bring"):
        net.train_step(np.full_like(x, 1e30), t)


def test_weights_that_are_not_finite_are_told():
    net, x, t = problem((5, 4, 3), 24, 1.0)
    with pytest.raises(FloatingPointError, match=r"weights were no longer finite after step 1"):
        net.train_step(x, t, fastnn.SGD(1e38, weight_decay=1e38))


# Parameters ------------------------------------------------------------------------------------


def test_parameters_are_a_vector_and_back():
    net, x, t = problem((5, 4, 3), 24, 1.0)
    vector = net.params.to_vector()
    assert_array_equal(vector, np.concatenate([v.ravel() for v in net.params.values()]))
    net.params.from_vector(2.0 * vector.astype(float))
    assert_array_equal(net.params.to_vector(), 2 * vector)
    gradients = net.gradient(x, t)
    found = net.params.to_vector(gradients)
    assert_array_equal(found, np.concatenate([g.ravel() for g in gradients.values()]))
    net.params.from_vector(-0.0 * vector)
    assert not np.signbit(net.params.to_vector()).any()


@pytest.mark.parametrize(
    ("vector", "error", "text"),
    [
        (np.zeros(38), ValueError, r"vector must have shape \(39,\), got \(38,\)"),
        (np.zeros((39, 1)), ValueError, r"vector must have shape \(39,\)"),
        (np.full(39, 1e300), ValueError, r"vector\[0\] is 1e\+300, too large for float32"),
        (["a"] * 39, TypeError, "vector must hold real numbers"),
    ],
)
def test_other_vectors_are_refused(vector, error, text):
    net, _, _ = problem((5, 4, 3), 24, 1.0)
    before = bits_of(net)
    with pytest.raises(error, match=text):
        net.params.from_vector(vector)
    assert bits_of(net) == before


def test_other_arrays_are_refused():
    net, x, t = problem((5, 4, 3), 24, 1.0)
    gradients = net.gradient(x, t)
    with pytest.raises(ValueError, match="arrays must have the names W1, b1, W2, b2"):
        net.params.to_vector({"W1": gradients["W1"]})
    with pytest.raises(TypeError, match="arrays must be a mapping, got int"):
        net.params.to_vector(3)
    with pytest.raises(ValueError, match=r"arrays\['W1'\] must have shape \(5, 4\), got \(4, 5\)"):
        net.params.to_vector({**gradients, "W1": gradients["W1"].T})


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_documents_update_is_that_of_sgd(dtype):
    net, x, t = problem((5, 4, 3), 24, 1.0, dtype=dtype)
    plain = {name: view.copy() for name, view in net.params.items()}
    gradients = net.gradient(x, t)
    for key in ("W1", "b1", "W2", "b2"):
        net.params[key] -= 0.1 * gradients[key]
        plain[key] -= 0.1 * gradients[key]
    assert bits_of(net) == bits(*plain.values())


def test_a_bias_has_no_negative_zero_after_an_update():
    """It would be 0.0 after a product with zeros, but not if they are skipped."""
    net, _, _ = problem((5, 4, 3), 24, 1.0)
    net.params["b1"] *= -1
    assert not np.signbit(net.params["b1"]).any()


def test_scipy_minimises_the_loss():
    from scipy.optimize import minimize

    net, x, t = problem((5, 4, 3), 24, 1.0, "softmax", "float64")

    def loss_and_gradient(vector):
        net.params.from_vector(vector)
        loss, gradients = net.loss_and_gradient(x, t)
        return loss, net.params.to_vector(gradients)

    before = net.loss(x, t)
    found = minimize(loss_and_gradient, net.params.to_vector(), jac=True, method="L-BFGS-B")
    net.params.from_vector(found.x)
    assert found.success
    assert net.loss(x, t) == found.fun < before / 100
