"""What is seen of training: the history, callbacks and the progress bar."""

import io
import sys
import time

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from numpy_mlp import bits, bits_of
from small_fits import batch_table, problem, trained

import fastnn

# ---- the history


def test_the_loss_of_a_step_is_that_of_its_batch_before_the_update():
    net, x, t = problem(dtype="float64")
    table = batch_table(5, 9)
    expected = []
    for batch in table:
        expected.append(net.loss(x[batch], t[batch]))
        net.fit(x, t, batches=[batch])
    again, _, _ = problem(dtype="float64")
    assert_allclose(again.fit(x, t, batches=table).loss, expected, rtol=1e-13)


def test_training_learns():
    net, x, _ = problem(rows=200)
    t = (x[:, 0] > 0).astype(int)
    history = net.fit(x, t, epochs=60, batch_size=20, validation_data=(x, t))
    assert history.loss[-10:].mean() < 0.2 * history.loss[:10].mean()
    assert history.train_accuracy[-1] > 0.97


@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
def test_each_epoch_is_evaluated_where_there_is_validation_data(output):
    net, x, t = problem(output=output)
    history = net.fit(x[:50], t[:50], epochs=3, batch_size=20, validation_data=(x[50:], t[50:]))
    assert_array_equal(history.iterations, [3, 6, 9])
    assert_array_equal(history.epochs, [1, 2, 3])
    assert history.train_accuracy.shape == history.test_accuracy.shape == (3,)
    assert history.train_accuracy[-1] == net.accuracy(x[:50], t[:50])
    assert history.test_accuracy[-1] == net.accuracy(x[50:], t[50:])
    assert history.train_loss[-1] == net.loss(x[:50], t[:50])
    assert history.test_loss[-1] == net.loss(x[50:], t[50:])


def test_real_outputs_are_evaluated_without_accuracy():
    net, x, t = problem(output="identity")
    history = net.fit(x[:50], t[:50], batch_size=20, validation_data=[x[50:], t[50:]])
    assert history.train_accuracy.size == history.test_accuracy.size == 0
    assert history.test_loss.tolist() == [net.loss(x[50:], t[50:])]


@pytest.mark.parametrize(("every", "at"), [(1, range(1, 8)), (3, [3, 6, 7]), (7, [7]), (100, [7])])
def test_evaluations_are_as_far_apart_as_asked_and_at_the_end(every, at):
    net, x, t = problem()
    history = net.fit(x, t, batches=batch_table(7, 5), validation_data=(x, t), evaluate_every=every)
    assert_array_equal(history.iterations, at)


def test_without_validation_data_nothing_is_evaluated():
    net, x, t = problem()
    history = net.fit(x, t, epochs=2, batch_size=20)
    assert history.iterations.size == history.train_accuracy.size == history.test_loss.size == 0


def test_evaluations_and_callbacks_do_not_change_the_steps():
    _, x, t = problem(rows=50)
    watched = {"validation_data": (x, t), "evaluate_every": 2, "callbacks": [lambda *_: None]}
    assert trained([{"epochs": 3}], **watched) == trained([{"epochs": 3}])


def test_the_history_says_how_long_training_took():
    net, x, t = problem()
    began = time.perf_counter()
    history = net.fit(x, t, epochs=2, batch_size=20)
    assert 0 < history.seconds <= time.perf_counter() - began
    assert isinstance(history, fastnn.History)
    assert (history.steps, history.stop_reason) == (6, "finished")
    assert history.loss.shape == (6,)
    assert history.loss.dtype == np.float64


# ---- callbacks


def test_callbacks_see_the_network_and_the_history_after_every_epoch():
    seen = []
    net, x, t = problem()

    def callback(trained_net, history):
        assert trained_net is net
        seen.append((history.steps, bits_of(net)))

    net.fit(x, t, epochs=3, batch_size=20, callbacks=[callback])
    assert [steps for steps, _ in seen] == [3, 6, 9]
    assert seen[-1][1] == bits_of(net)
    assert len({str(found) for _, found in seen}) == 3


def test_callbacks_come_after_every_evaluation():
    steps, evaluations = [], []
    net, x, t = problem()

    def callback(_, history):
        steps.append(history.steps)
        evaluations.append(history.test_loss.size)

    net.fit(x, t, iterations=5, batch_size=20, validation_data=(x, t), evaluate_every=2,
            callbacks=(callback for callback in [callback]))  # fmt: skip
    assert steps == [2, 4, 5]
    assert evaluations == [1, 2, 3]


def test_a_callback_may_end_training_after_all_have_been_called():
    calls = []
    net, x, t = problem()
    callbacks = [lambda *_: calls.append("a") or len(calls) > 2, lambda *_: calls.append("b")]
    history = net.fit(x, t, epochs=100, batch_size=20, callbacks=callbacks)
    assert calls == ["a", "b", "a", "b"]
    assert (history.steps, history.stop_reason) == (6, "callback")
    net.fit(x, t, batch_size=20)


def test_a_callback_may_change_the_weights():
    net, x, t = problem()
    x, t = x.astype(np.float32), t
    net.fit(
        x, t, epochs=1, batch_size=60, callbacks=[lambda net, _: net.params.update(b2=[9, 0, 0])]
    )
    assert net.params["b2"].tolist() == [9, 0, 0]
    history = net.fit(x, t, epochs=1, batch_size=60)
    assert history.loss[0] > 3


@pytest.mark.parametrize("size", [1, 20])
def test_labels_and_batches_are_those_of_the_call(size):
    """They were checked then; what a callback makes of them later could lead anywhere in memory."""
    found = []
    for replaced in ([0, 0], None):
        net, x, t = problem()
        table = batch_table(6, size)

        def spoil(*_, t=t, table=table, replaced=replaced):
            if replaced:
                t[:], table[:] = replaced

        history = net.fit(x, t, batches=table, callbacks=[spoil], evaluate_every=2)
        found.append([bits_of(net), bits(history.loss)])
    assert found[0] == found[1]


def test_the_error_of_a_callback_comes_through_and_the_network_stays_usable():
    net, x, t = problem()

    def callback(*_):
        raise RuntimeError("stop here")

    with pytest.raises(RuntimeError, match="stop here"):
        net.fit(x, t, epochs=2, batch_size=20, callbacks=[callback])
    assert np.isfinite(net.fit(x, t, epochs=1, batch_size=20).loss).all()


def test_a_callback_may_use_the_network():
    net, x, t = problem()
    results = []
    history = net.fit(x, t, epochs=2, batch_size=20,
                      callbacks=[lambda net, _: results.append(net.loss(x, t))])  # fmt: skip
    assert results[-1] == net.loss(x, t)
    assert history.steps == 6


# ---- the progress bar


class Terminal(io.StringIO):
    def isatty(self):
        return True


def slow_fit(seconds, **options):
    net, x, t = problem()
    net.fit(
        x, t, epochs=4, batch_size=20, callbacks=[lambda *_: time.sleep(seconds / 4)], **options
    )


def test_a_long_fit_shows_a_progress_bar_on_a_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    slow_fit(1.6)
    assert "12/12" in sys.stderr.getvalue()
    assert "step/s" in sys.stderr.getvalue()


@pytest.mark.parametrize(
    ("terminal", "seconds", "options"),
    [(Terminal, 0.1, {}), (Terminal, 1.3, {"progress": False}), (io.StringIO, 1.3, {})],
)
def test_no_other_fit_shows_a_progress_bar(terminal, seconds, options, monkeypatch):
    monkeypatch.setattr(sys, "stderr", terminal())
    slow_fit(seconds, **options)
    assert sys.stderr.getvalue() == ""


def test_a_progress_bar_may_be_asked_for(capsys):
    slow_fit(0, progress=True)
    captured = capsys.readouterr()
    assert "12/12" in captured.err
    assert captured.out == ""


@pytest.mark.parametrize("stream", [None, "closed"])
def test_a_program_without_standard_error_can_train(stream, monkeypatch):
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", stream and closed)
    slow_fit(0)
