"""``python -m fastnn.book``: scripts in the book's manner, from any folder, and how they end."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

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


@pytest.fixture
def book(tmp_path):
    """Write scripts into a folder, and run one of them from another folder."""
    (tmp_path / "ch05").mkdir()
    (tmp_path / "elsewhere").mkdir()

    def run(*arguments, **scripts):
        for name, text in scripts.items():
            (tmp_path / "ch05" / f"{name}.py").write_text(text, encoding="utf-8")
        environment = os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"}
        return subprocess.run(
            [sys.executable, "-m", "fastnn.book", *arguments],
            cwd=tmp_path / "elsewhere",
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


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
    assert "../ch05/syntax.py" in run.stderr.replace(os.sep, "/")
    assert run.stderr.splitlines()[-1].startswith("SyntaxError")
    assert run.returncode == 1


def test_a_script_may_exit_as_it_likes(book):
    assert book("../ch05/exit.py", exit="import sys\nsys.exit(7)\n").returncode == 7


@pytest.mark.parametrize(
    "text",
    [
        "from common.layers import Convolution\n",
        "from common.layers import *\nlayer = Pooling(2, 2)\n",
        "import common.util\ncommon.util.im2col\n",
        "from convolutional import ConvNet\nConvNet()\n",
    ],
)
def test_a_script_that_needs_convolution_ends_with_one_line(book, text):
    other = "from common.layers import *\nclass ConvNet:\n    def __init__(self):\n"
    other += "        self.layer = Convolution(1, 2)\n"
    run = book("../ch05/conv.py", conv=text, convolutional=other)
    assert run.stdout == ""
    (line,) = run.stderr.splitlines()
    assert line.startswith("fastnn.book: ../ch05/conv.py needs ")
    assert line.endswith(", but there is no convolution")
    assert run.returncode == 2


@pytest.mark.parametrize("arguments", [(), ("--help",), ("missing.py",), ("../ch05",)])
def test_what_is_no_script_ends_with_one_line(book, arguments):
    run = book(*arguments)
    (line,) = run.stderr.splitlines()
    assert ("usage" if arguments in [(), ("--help",)] else "there is no script") in line
    assert run.returncode == 2


def test_fastnn_alone_does_not_import_its_book():
    code = "import fastnn, sys; print([m for m in sys.modules if m.startswith('fastnn.book')])"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    found = subprocess.check_output([sys.executable, "-c", code], text=True, env=environment)
    assert found == "[]\n"
