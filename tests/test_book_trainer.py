"""fastnn.book's trainer."""

import numpy as np
import pytest
from networks_of_the_book import MNIST
from numpy.testing import assert_array_equal

from fastnn.book import trainer
from fastnn.book.multi_layer_net import MultiLayerNet
from fastnn.book.optimizer import SGD
from fastnn.book.trainer import Trainer

pytestmark = pytest.mark.usefixtures("numpys_seed")


class Recorder:
    """A network that only writes down what is asked of it."""

    def __init__(self):
        self.params, self.calls, self.batches = {"W": np.zeros(1)}, [], []

    def gradient(self, x, t):
        self.calls.append("gradient")
        self.batches.append(x[:, 0])
        return {"W": np.ones(1)}

    def loss(self, x, t):
        self.calls.append("loss")
        return float(self.params["W"][0])

    def accuracy(self, x, t):
        self.calls.append(len(x))
        return 0.5


def test_a_trainer_takes_a_rule_that_was_replaced_in_its_module(monkeypatch):
    class Slow(SGD):
        pass

    monkeypatch.setattr(trainer, "SGD", Slow)
    assert type(Trainer(Recorder(), *[np.ones((2, 2))] * 4).optimizer) is Slow


def test_a_trainer_steps_then_takes_the_loss_then_evaluates(capsys):
    x, t = np.arange(10.0).reshape(10, 1), np.arange(10)
    network = Recorder()
    trainer = Trainer(network, x, t, x[:7], t[:7], epochs=2, mini_batch_size=4,
                      optimizer="sGd", optimizer_param={"lr": 0.5})  # fmt: skip
    assert (trainer.iter_per_epoch, trainer.max_iter) == (2.5, 5)
    np.random.seed(2)
    trainer.train()
    np.random.seed(2)
    assert_array_equal(network.batches, [np.random.choice(10, 4) for _ in range(5)])
    assert trainer.train_loss_list == [-0.5, -1, -1.5, -2, -2.5]
    assert trainer.train_acc_list == trainer.test_acc_list == [0.5]
    assert network.calls == ["gradient", "loss", 10, 7, *["gradient", "loss"] * 4, 7]
    assert (trainer.current_iter, trainer.current_epoch) == (5, 1)
    printed = capsys.readouterr().out.splitlines()
    assert printed[:3] == [
        "train loss:-0.5", "=== epoch:1, train acc:0.5, test acc:0.5 ===", "train loss:-1.0"
    ]  # fmt: skip
    assert printed[-2:] == ["=============== Final Test Accuracy ===============", "test acc:0.5"]


def test_a_trainer_can_be_quiet_and_evaluate_on_fewer_rows(capsys):
    x, t = np.arange(10.0).reshape(10, 1), np.arange(10)
    network = Recorder()
    trainer = Trainer(network, x, t, x, t, 1, 20, evaluate_sample_num_per_epoch=3, verbose=False)
    trainer.train()
    assert network.calls == ["gradient", "loss", 3, 3, 10]
    assert type(trainer.optimizer).__name__ == "SGD"
    assert trainer.optimizer.lr == 0.01
    assert not capsys.readouterr().out


def test_a_trainer_knows_the_rules_by_name():
    x, t = np.zeros((4, 1)), np.zeros(4, int)
    for name in ("SGD", "momentum", "Nesterov", "adagrad", "rmsprop", "ADAM"):
        trainer = Trainer(Recorder(), x, t, x, t, optimizer=name)
        assert type(trainer.optimizer).__name__.lower() == name.lower()
    with pytest.raises(KeyError):
        Trainer(Recorder(), x, t, x, t, optimizer="lbfgs")


def test_a_trainer_trains_a_network():
    (x_train, t_train), (x_test, t_test) = MNIST
    network = MultiLayerNet(784, [50], 10)
    trainer = Trainer(network, x_train[:1000], t_train[:1000], x_test[:500], t_test[:500],
                      epochs=8, optimizer="adam", optimizer_param={"lr": 0.005},
                      verbose=False)  # fmt: skip
    trainer.train()
    assert len(trainer.train_loss_list) == 80
    assert trainer.train_loss_list[-1] < 0.3 < trainer.train_loss_list[0]
    assert trainer.test_acc_list[-1] > 0.8
