"""``python -m fastnn.book``: scripts in the book's manner, from any folder, and how they end."""

import importlib
import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT
from numpy.testing import assert_array_equal

from fastnn.book import mnist

NETWORK = """
import sys, os
sys.path.append(os.pardir)
import numpy as np
from common.layers import *
from common.gradient import numerical_gradient
from collections import OrderedDict


class TwoLayerNet:
    def __init__(self, input_size, hidden_size, output_size):
        self.params = {
            'W1': 0.01 * np.random.randn(input_size, hidden_size), 'b1': np.zeros(hidden_size),
            'W2': 0.01 * np.random.randn(hidden_size, output_size), 'b2': np.zeros(output_size)}
        self.layers = OrderedDict()
        self.layers['Affine1'] = Affine(self.params['W1'], self.params['b1'])
        self.layers['Relu1'] = Relu()
        self.layers['Affine2'] = Affine(self.params['W2'], self.params['b2'])
        self.lastLayer = SoftmaxWithLoss()

    def loss(self, x, t):
        for layer in self.layers.values():
            x = layer.forward(x)
        return self.lastLayer.forward(x, t)

    def gradient(self, x, t):
        self.loss(x, t)
        dout = self.lastLayer.backward(1)
        for layer in reversed(list(self.layers.values())):
            dout = layer.backward(dout)
        return {'W1': self.layers['Affine1'].dW, 'b1': self.layers['Affine1'].db,
                'W2': self.layers['Affine2'].dW, 'b2': self.layers['Affine2'].db}
"""
TRAINING = """# coding: utf-8
import sys, os
sys.path.append(os.pardir)  # 親ディレクトリ
import numpy as np
from dataset.mnist import load_mnist
from common.optimizer import *
from common.util import smooth_curve
from two_layer_net import TwoLayerNet

(x_train, t_train), (x_test, t_test) = load_mnist(normalize=True, one_hot_label=True)
np.random.seed(1)
network, optimizer, losses = TwoLayerNet(784, 50, 10), SGD(lr=0.1), []
for i in range(60):
    batch_mask = np.random.choice(len(x_train), 100)
    x_batch, t_batch = x_train[batch_mask], t_train[batch_mask]
    optimizer.update(network.params, network.gradient(x_batch, t_batch))
    losses.append(network.loss(x_batch, t_batch))
print(len(smooth_curve(losses)), losses[-1] < losses[0])
print(__name__, sys.argv[1:], os.path.basename(__file__))
"""


def test_a_script_runs_unchanged_and_finds_its_neighbours(book):
    run = book("../ch05/train.py", "a", "--b", train=TRAINING, two_layer_net=NETWORK)
    assert run.stderr == ""
    assert run.stdout.splitlines() == ["60 True", "__main__ ['a', '--b'] train.py"]
    assert run.returncode == 0


def test_a_plot_does_not_wait_for_anybody(book):
    script = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()\nprint('shown')\n"
    run = book("../ch05/plot.py", plot=script)
    assert run.stdout == "shown\n"
    assert run.returncode == 0


def test_modules_are_those_of_fastnn_under_both_names(book):
    script = """
import common.layers, common.functions, common.multi_layer_net_extend, common.trainer
import dataset.mnist, fastnn.book.layers
from common import optimizer
assert common.layers is fastnn.book.layers
assert optimizer.SGD is fastnn.book.optimizer.SGD
import os, sys
print(os.path.basename(os.getcwd()), os.path.basename(sys.path[0]))
import common.vision
"""
    run = book("../ch05/names.py", names=script)
    assert run.stdout == "elsewhere ch05\n"
    assert run.stderr.splitlines()[-1] == "ModuleNotFoundError: No module named 'common.vision'"
    assert run.returncode == 1


def test_numba_is_there_when_an_array_is_large_enough_for_a_kernel(book):
    script = """
import sys
import numpy as np
from common.multi_layer_net_extend import MultiLayerNetExtend
from common.optimizer import Adam
from common.trainer import Trainer
from common.util import smooth_curve
from dataset.mnist import load_mnist
network, optimizer = MultiLayerNetExtend(4, [5], 3, use_batchnorm=True), Adam()
x, t = np.eye(4), np.array([0, 1, 2, 0])
for _ in range(3):
    optimizer.update(network.params, network.gradient(x, t))
print(network.loss(x, t) > 0, "numba" in sys.modules, "llvmlite" in sys.modules)
from common.functions import sigmoid
print(sigmoid(np.zeros(1000)).max(), "numba" in sys.modules)
"""
    run = book("../ch05/small.py", small=script)
    assert run.stdout.splitlines() == ["True False False", "0.5 True"], run.stderr


def test_an_error_of_the_script_has_the_scripts_traceback(book):
    script = "def f(x):\n    return 1 / x\n\nf(0)\n"
    run = book("../ch05/wrong.py", wrong=script)
    lines = run.stderr.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    places = [line.partition("wrong.py")[2] for line in lines if "File" in line]
    assert places == ['", line 4, in <module>', '", line 2, in f']
    assert lines[-1] == "ZeroDivisionError: division by zero"
    assert run.returncode == 1


def test_a_syntax_error_shows_its_line(book):
    run = book("../ch05/syntax.py", syntax="x = = 1\n")
    first = run.stderr.splitlines()[0]
    assert first.endswith('/ch05/syntax.py", line 1')
    assert run.stderr.splitlines()[-1].startswith("SyntaxError")
    assert run.returncode == 1


def test_a_script_may_exit_as_it_likes(book):
    assert book("../ch05/exit.py", exit="import sys\nsys.exit(7)\n").returncode == 7


def test_an_interrupted_script_ends_as_with_python(book, tmp_path):
    run = book("../ch05/stopped.py", stopped="def f():\n    raise KeyboardInterrupt\n\nf()\n")
    elsewhere = tmp_path / "elsewhere"
    alone = subprocess.run(
        [sys.executable, "../ch05/stopped.py"], cwd=elsewhere, capture_output=True, text=True
    )
    assert run.stderr == alone.stderr
    assert run.stderr.count("File") == 2
    assert run.returncode == alone.returncode


def test_a_script_knows_itself_as_with_python(book, tmp_path):
    script = """
import inspect, os, pickle, sys
class Net: pass
print(__file__, sys.argv, __name__, __package__, __spec__, __doc__)
print(inspect.getsource(Net).strip(), type(pickle.loads(pickle.dumps(Net()))) is Net)
os.chdir(os.pardir)
print(os.path.isfile(__file__), os.path.isabs(__file__))
print(compile("1 | x", "", "eval").co_flags == compile("1", "", "eval").co_flags)
"""
    run = book("../ch05/itself.py", "a", itself=script)
    alone = subprocess.run(
        [sys.executable, "../ch05/itself.py", "a"],
        cwd=tmp_path / "elsewhere",
        capture_output=True,
        text=True,
    )
    assert run.stdout == alone.stdout
    assert run.stdout.splitlines()[2] == "True True"
    assert run.stderr == alone.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((), "usage: python -m fastnn.book SCRIPT.py [ARGUMENT ...]"),
        (("--fast",), "usage: python -m fastnn.book SCRIPT.py [ARGUMENT ...]"),
        (("missing.py",), "fastnn.book: there is no script missing.py"),
        (("missing.ipynb",), "fastnn.book: there is no script missing.ipynb"),
        (("../elsewhere",), "fastnn.book: there is no script ../elsewhere"),
        (
            ("ch05.ipynb",),
            "fastnn.book: ch05.ipynb is a notebook; in its first cell, "
            "import fastnn.book; fastnn.book.answer_imports()",
        ),
    ],
)
def test_what_is_no_script_ends_with_one_line(book, tmp_path, arguments, line):
    (tmp_path / "elsewhere" / "ch05.ipynb").write_text('{"cells": []}\n')
    run = book(*arguments)
    assert run.stderr == line + "\n"
    assert run.stdout == ""
    assert run.returncode == 2


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help(book, option):
    run = book(option)
    assert run.stdout.startswith("usage: python -m fastnn.book SCRIPT.py [ARGUMENT ...]\n")
    assert "answer_imports()" in run.stdout
    assert run.stderr == ""
    assert run.returncode == 0


# What the modules hand on ---------------------------------------------------------------

FUNCTIONS = """np identity_function step_function sigmoid sigmoid_grad relu relu_grad softmax
    sum_squared_error mean_squared_error cross_entropy_error softmax_loss"""
LAYERS = f"""{FUNCTIONS} Relu Sigmoid Affine SoftmaxWithLoss Dropout BatchNormalization
    Convolution Pooling im2col col2im"""
RULES = "np SGD Momentum Nesterov AdaGrad RMSprop Adam"
NETWORKS = f"{LAYERS} sys os OrderedDict numerical_gradient"
# All names of the book's modules, in all printings, that do not begin with _.
STARS = {
    "functions": FUNCTIONS,
    "gradient": "np numerical_gradient numerical_gradient_2d",
    "layers": LAYERS,
    "multi_layer_net": f"{NETWORKS} MultiLayerNet",
    "multi_layer_net_extend": f"{NETWORKS} MultiLayerNetExtend",
    "optimizer": RULES,
    "trainer": f"{RULES} sys os Trainer",
    "util": "np smooth_curve shuffle_dataset conv_output_size im2col col2im",
    "mnist": """np os gzip pickle urllib url_base key_file dataset_dir save_file train_num test_num
        img_dim img_size download_mnist init_mnist load_mnist""",
}
HOMES = ["functions", "gradient", "layers", "optimizer"]


@pytest.mark.parametrize("module", STARS)
def test_a_star_import_hands_on_what_the_books_does(module):
    found = {}
    exec(f"from fastnn.book.{module} import *", found)
    del found["__builtins__"]
    assert sorted(found) == sorted(STARS[module].split())
    for home in HOMES:
        theirs = importlib.import_module(f"fastnn.book.{home}")
        for name in set(theirs.__all__) & set(found):
            assert found[name] is getattr(theirs, name)
    for name in {"os", "sys", "gzip", "pickle", "urllib"} & set(found):
        assert found[name] is importlib.import_module(name)


# What the book's objects show, once they are made.
ATTRIBUTES = {
    "Relu": "mask",
    "Sigmoid": "out",
    "Affine": "W b x original_x_shape dW db",
    "Convolution": "W b stride pad x dW db",
    "Pooling": "pool_h pool_w stride pad x",
    "SoftmaxWithLoss": "loss y t",
    "Dropout": "dropout_ratio mask",
    "BatchNormalization": """gamma beta momentum input_shape running_mean running_var batch_size xc
        std xn dgamma dbeta""",
    "SGD": "lr",
    "Momentum": "lr momentum v",
    "Nesterov": "lr momentum v",
    "AdaGrad": "lr h",
    "RMSprop": "lr decay_rate h",
    "Adam": "lr beta1 beta2 iter m v",
    "MultiLayerNet": """input_size output_size hidden_size_list hidden_layer_num weight_decay_lambda
        params layers last_layer""",
    "MultiLayerNetExtend": """input_size output_size hidden_size_list hidden_layer_num use_dropout
        weight_decay_lambda use_batchnorm params layers last_layer""",
    "Trainer": """network verbose x_train t_train x_test t_test epochs batch_size optimizer
        evaluate_sample_num_per_epoch train_size iter_per_epoch max_iter current_iter current_epoch
        train_loss_list train_acc_list test_acc_list""",
}
ARGUMENTS = {
    "Affine": (np.ones((2, 2)), np.ones(2)),
    "Convolution": (np.ones((1, 1, 2, 2)), np.ones(1)),
    "Pooling": (2, 2),
    "BatchNormalization": (np.ones(2), np.ones(2)),
    "MultiLayerNet": (2, [2], 2),
    "MultiLayerNetExtend": (2, [2], 2),
    "Trainer": (None, *[np.ones((2, 2))] * 4),
}


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_objects_have_the_attributes_of_the_books(name):
    modules = [importlib.import_module(f"fastnn.book.{module}") for module in STARS]
    (kind,) = {getattr(module, name) for module in modules if name in module.__all__}
    assert set(ATTRIBUTES[name].split()) <= vars(kind(*ARGUMENTS.get(name, ()))).keys()


def test_the_data_sets_places_and_its_conversion_of_labels():
    assert set(mnist.key_file) == {"train_img", "train_label", "test_img", "test_label"}
    assert mnist.url_base.startswith("https://")
    assert os.path.isdir(mnist.dataset_dir)
    assert mnist.save_file == mnist.dataset_dir + "/mnist.pkl"
    assert mnist.urllib.request
    T = mnist._change_one_hot_label(np.array([[2], [0]], np.uint8))
    assert_array_equal(T, np.eye(10)[[2, 0]], strict=True)


def test_fastnn_alone_does_not_import_its_book():
    code = "import fastnn, sys; print([m for m in sys.modules if m.startswith('fastnn.book')])"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    found = subprocess.check_output([sys.executable, "-c", code], text=True, env=environment)
    assert found == "[]\n"
