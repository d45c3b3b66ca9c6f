"""The reader's own `common` and `dataset`: where fastnn.book stands for them, and where not."""

import importlib.util
import os
import subprocess
import sys
import zipfile

import pytest
from conftest import ROOT

from fastnn.book import likeness

APPENDS = "import sys, os\nsys.path.append(os.pardir)\n"
PARTS = {part: package for package, parts in likeness.MODULES.items() for part in parts}
SWISH = "class Swish: pass\n"


def as_in_volume_1(part):
    """Source that has the classes and functions of a module of the book's volume 1, empty."""
    module = importlib.import_module(f"fastnn.book.{part}")
    lines = ["import numpy as np"]
    for name in module.__all__:
        thing = getattr(module, name)
        if getattr(thing, "__module__", "") == module.__name__:
            lines.append(f"class {name}: pass" if isinstance(thing, type) else f"def {name}(): 0")
    return "\n".join([*lines, ""])


def files(*parts, end=""):
    return {f"{PARTS[part]}__{part}": as_in_volume_1(part) + end for part in parts}


def passes_over(tmp_path, package, folder=None):
    where = (tmp_path / "elsewhere" / os.pardir / (folder or package)).resolve()
    return f"fastnn.book: {package} is answered by fastnn, not by {where}\n"


def leaves(tmp_path, file, what):
    package = file.split("/")[0]
    start = f"fastnn.book: {package} is left to its own files, as with Python alone: "
    return f"{start}{(tmp_path / file).resolve()} {what}\n"


# Volume 2: other modules of the same names -----------------------------------------------

VOLUME_2 = {
    "common__np": "import numpy as np\n",
    "common__functions": "from common.np import *\ndef softmax(x): return np.exp(x)\n",
    "common__layers": """
from common.np import *
from common.functions import softmax
class MatMul:
    def __init__(self, W):
        self.params, self.grads = [W], [np.ones_like(W)]
class Affine:
    def __init__(self, W, b):
        self.params, self.grads = [W, b], [np.ones_like(W), np.ones_like(b)]
""",
    "common__optimizer": """
from common.np import *
class SGD:
    def __init__(self, lr=0.01):
        self.lr = lr
    def update(self, params, grads):
        for i in range(len(params)):
            params[i] -= self.lr * grads[i]
""",
    "dataset__spiral": "def load_data(): return [[1.0]], [0]\n",
}
ITS_SCRIPT = """# coding: utf-8
import sys
sys.path.append('..')
import numpy as np
from dataset import spiral
from common.optimizer import SGD
from common.layers import Affine, MatMul
from net import params

layer, x = Affine(np.zeros((2, 2)), np.zeros(2)), spiral.load_data()[0]
SGD(lr=0.5).update(layer.params, layer.grads)
print(layer.params, x, MatMul.__module__, params)
"""


def test_volume_2_runs_as_with_python_alone(book, tmp_path):
    net = "from common.layers import MatMul\nparams = MatMul(3.0).params\n"
    run = book("../ch01/train.py", ch01__train=ITS_SCRIPT, ch01__net=net, **VOLUME_2)
    alone = book("../ch01/train.py", alone=True)
    assert run.stdout == alone.stdout
    assert "-0.5" in run.stdout
    what = "lacks identity_function, which volume 1 has"
    assert run.stderr == leaves(tmp_path, "common/functions.py", what)
    assert run.returncode == alone.returncode == 0


def test_a_package_that_is_left_alone_gets_nothing_of_ours(book):
    script = APPENDS + "import common.optimizer\nimport common.gradient\n"
    run = book("../ch01/ours.py", ch01__ours=script, **VOLUME_2)
    assert run.stderr.splitlines()[-1] == "ModuleNotFoundError: No module named 'common.gradient'"
    assert run.returncode == 1


def test_a_package_is_left_alone_as_a_whole(book, tmp_path):
    """One module that ours cannot stand for, which the script does not even import."""
    script = APPENDS + "import common.optimizer, common.layers, dataset.mnist\n"
    script += "print(common.optimizer.SGD, common.layers.Pooling, dataset.mnist.load_mnist)\n"
    own = files("optimizer", "mnist", "layers") | files("trainer", end=SWISH)
    own["common__layers"] += "class Pooling: pass\n"
    run = book("../ch05/whole.py", whole=script, **own)
    words = run.stdout.split()
    assert words[1::2][:2] == ["'common.optimizer.SGD'>", "'common.layers.Pooling'>"]
    assert "load_mnist" in words[-3]
    what = "has Swish, which fastnn lacks"
    assert run.stderr == leaves(tmp_path, "common/trainer.py", what) + passes_over(
        tmp_path, "dataset"
    )
    assert run.returncode == 0


# What a file must have, and what it must not ---------------------------------------------


def difference(part, file):
    name = f"{PARTS[part]}.{part}"
    return likeness.difference(part, importlib.util.spec_from_file_location(name, file))


@pytest.mark.parametrize("part", PARTS)
def test_our_own_files_are_like_ours_unless_a_name_is_missing_or_added(part, tmp_path):
    module = importlib.import_module(f"fastnn.book.{part}")
    # Our names of what nobody imports are not the book's, and ours has them.
    assert difference(part, module.__file__) is None
    file = tmp_path / "own.py"
    file.write_text(as_in_volume_1(part))
    assert difference(part, file) is None
    first, *others = as_in_volume_1(part).splitlines()[1:]
    file.write_text("\n".join(others))
    name = first.split()[1].rstrip(":()")
    assert difference(part, file) == f"lacks {name}, which volume 1 has"
    file.write_text(as_in_volume_1(part) + SWISH)
    assert difference(part, file) == "has Swish, which fastnn lacks"


@pytest.mark.parametrize(
    ("part", "text", "what"),
    [
        ("layers", "def swish(x): 0", "swish"),
        ("layers", "async def swish(x): 0", "swish"),
        ("layers", "swish = None", "swish"),
        ("layers", "swish: int = 1", "swish"),
        ("layers", "try: import cupy as cp\nexcept ImportError: pass", "cp"),
        ("layers", "for i in range(3): pass", "i"),
        ("layers", "if np: class_ = 3", "class_"),
        ("layers", "import os.path", "os"),
        ("layers", "from common.config import GPU", "GPU"),
        ("layers", "from common.my_layers import *", "* of common.my_layers"),
        ("layers", "from .optimizer import *", "* of .optimizer"),
        ("layers", "from numpy import *", "* of numpy"),
        ("layers", "class Relu:\n  def __call__(self, x): 0", "Relu.__call__"),
        ("layers", "class Relu:\n  def gradient(self): 0", "Relu.gradient"),
        ("layers", "class Relu:\n  params = []", "Relu.params"),
        ("layers", "class Relu:\n  def forward(self, x): self.y, self.z = x", "Relu.y"),
        ("layers", "class Relu:\n  def forward(self, x, train): 0", "Relu.forward(train)"),
        ("layers", "class Relu:\n  def __init__(self, *, a): 0", "Relu.__init__(a)"),
        ("layers", "class Relu:\n  def forward(self, *xs): 0", "Relu.forward(xs)"),
        ("optimizer", "class SGD:\n  def __init__(self, lr, **more): 0", "SGD.__init__(more)"),
        ("functions", "def softmax(x, axis=0): 0", "softmax(axis)"),
        ("mnist", "fashion_num = 60000", "fashion_num"),
    ],
)
def test_what_a_reader_added_is_found(part, text, what, tmp_path):
    file = tmp_path / "own.py"
    file.write_text(as_in_volume_1(part) + text)
    assert difference(part, file) == f"has {what}, which fastnn lacks"


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ("layers", "1 / 0\ndel np\nprint([k for k in 'abc'], lambda a: a)"),
        ("layers", "_mine = 1\ndef _mine(a): 0\nclass _Mine: mine = 1"),
        ("layers", "if __name__ == '__main__':\n  import time\n  begin = time.time()"),
        ("layers", "from common.functions import *\nfrom .functions import *"),
        ("layers", "import numpy as np\nfrom common.util import im2col, col2im"),
        ("layers", "class Relu:\n  def forward(self, x):\n    y = 1\n    self._z = self.__z = x"),
        ("layers", "class Relu:\n  def forward(self, x): x.y = 1"),
        (
            "layers",
            "class Affine:\n  def __eq__(self, a): 0\n  def __repr__(self): return 'Affine'",
        ),
        ("trainer", "from common.optimizer import *\nimport sys, os"),
        ("multi_layer_net", "from collections import OrderedDict\nfrom common.layers import *"),
        ("multi_layer_net_extend", "class MultiLayerNetExtend:\n  def accuracy(self, X, T): 0"),
        ("optimizer", r"'\d'"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_what_no_importer_misses_makes_no_difference(part, text, tmp_path):
    file = tmp_path / "own.py"
    file.write_text(as_in_volume_1(part) + text)
    assert difference(part, file) is None


def test_files_of_earlier_printings_are_like_ours(tmp_path):
    file = tmp_path / "own.py"
    text = as_in_volume_1("functions").replace("def sum_squared_error(): 0", "")
    file.write_text(text.replace("def mean_squared_error()", "def mean_squared_error(y, t)"))
    assert difference("functions", file) is None
    file.write_text(text.replace("def mean_squared_error(): 0", ""))
    assert difference("functions", file) == "lacks sum_squared_error, which volume 1 has"


@pytest.mark.parametrize(
    "content", [b"x = = 1", b"\0", b"# coding: none\n", b"\xff", b"(" * 10_000, None]
)
def test_what_cannot_be_read_is_left_alone(content, tmp_path):
    file = tmp_path / "own.py"
    if content is not None:
        file.write_bytes(content)
    assert difference("layers", file) == "cannot be read"


# The reader's files that fastnn stands for -----------------------------------------------


def test_other_modules_of_common_are_the_readers(book):
    script = """
try:
    import common.my_layers
except ModuleNotFoundError as error:
    print(error.name)
import sys, os
sys.path.append(os.pardir)
from common.my_layers import Swish, Affine
import common.layers, common.sub.deep, dataset.own
print(Swish, Affine is common.layers.Affine, common.sub.deep.name, dataset.own.__name__)
from common import my_layers, my_rules
"""
    layers = "from common.layers import *\nfrom . import functions\nclass Swish(Relu): pass\n"
    run = book(
        "../ch05/own.py",
        own=script,
        common__my_layers=layers,
        dataset__own="",
        **{"common/sub__deep": "name = __name__\n"},
    )
    assert run.stdout.splitlines() == [
        "common.my_layers",
        "<class 'common.my_layers.Swish'> True common.sub.deep dataset.own",
    ]
    assert run.stderr.splitlines()[-1].startswith("ImportError: cannot import name 'my_rules'")
    assert run.returncode == 1


def test_a_line_says_that_the_readers_files_are_passed_over(book, tmp_path):
    script = APPENDS + "from common.layers import *\nimport common.optimizer, dataset.mnist\n"
    own = files("layers", "optimizer", "mnist", end="1 / 0\n")
    run = book("../ch05/plain.py", plain=script + "print('run')\n", **own)
    assert run.stdout == "run\n"
    assert run.stderr == passes_over(tmp_path, "common") + passes_over(tmp_path, "dataset")


def test_the_line_comes_only_for_files_that_the_script_could_import(book, tmp_path):
    script = "import common.layers\n"
    run = book("../ch05/unseen.py", unseen=script, **files("layers"), common__mine="")
    assert run.stderr == ""
    run = book("../ch05/other.py", other=APPENDS + "import common.util, common.mine\n")
    assert run.stderr == ""
    beside = {"ch05/common__gradient": as_in_volume_1("gradient")}
    run = book("../ch05/beside.py", beside="import common.gradient\n", **beside)
    assert run.stderr == passes_over(tmp_path, "common", "ch05/common")


def test_files_that_come_into_sight_later_are_looked_at(book, tmp_path):
    script = f"import common.functions\n{APPENDS}import common.layers\nprint(common.layers.Swish)"
    run = book("../ch05/later.py", later=script, **files("layers", end=SWISH))
    assert run.stdout == "<class 'common.layers.Swish'>\n"
    assert run.stderr == leaves(tmp_path, "common/layers.py", "has Swish, which fastnn lacks")


@pytest.mark.parametrize(
    "text", ["from common.layers import _mine\n", "import common.layers\ncommon.layers._mine\n"]
)
def test_a_name_that_only_the_readers_file_has_is_missed_with_its_file(book, tmp_path, text):
    own = files("layers", "util", end="def _mine(): pass\n")
    run = book("../ch05/added.py", added=APPENDS + "import common.util\n" + text, **own)
    first, *_, error, note = run.stderr.splitlines()
    assert first + "\n" == passes_over(tmp_path, "common")
    assert "'fastnn.book.layers'" in error
    file = (tmp_path / "common" / "layers.py").resolve()
    assert note == f"fastnn.book.layers stands for {file}, which was not run."
    assert run.returncode == 1


def test_the_readers_package_itself_is_run(book, tmp_path):
    script = (
        APPENDS + "from common import SEED, Affine, layers\nprint(SEED, layers.Affine is Affine)"
    )
    start = "from .layers import Affine\nSEED = 7\n"
    run = book("../ch05/seed.py", seed=script, common____init__=start, **files("layers"))
    assert run.stdout == "7 True\n"
    assert run.stderr == passes_over(tmp_path, "common")


IMPORTS = """
import importlib
import common.layers as L
from common import layers
assert importlib.import_module("common.layers") is importlib.import_module(".layers", "common")
print({L.Affine, layers.Affine, importlib.import_module("common.layers").Affine})
print(importlib.util.find_spec("common.optimizer") is not None)
import common.net
print(common.net.Affine is L.Affine, common.net.functions.__name__)
"""


@pytest.mark.parametrize("start", [{}, {"common____init__": ""}])
@pytest.mark.parametrize(("end", "home"), [("", "fastnn.book"), (SWISH, "common")])
def test_all_forms_of_imports_get_the_same_modules(book, start, end, home):
    own = files("layers", "functions", "optimizer", end=end) | start
    own["common__net"] = "from .layers import Affine\nfrom . import functions\n"
    run = book("../ch05/forms.py", forms=APPENDS + IMPORTS, **own)
    assert run.stdout.splitlines() == [
        f"{{<class '{home}.layers.Affine'>}}", "True", f"True {home}.functions",
    ]  # fmt: skip
    assert run.returncode == 0


# Other things of these names -------------------------------------------------------------


def test_a_folder_of_data_is_no_module(book, tmp_path):
    (tmp_path / "dataset" / "mnist").mkdir(parents=True)
    run = book("../ch05/data.py", data=APPENDS + "import dataset.mnist\nprint(dataset.mnist)")
    assert "fastnn.book.mnist" in run.stdout
    assert run.stderr == ""


def test_a_package_in_place_of_a_module_is_left_alone(book, tmp_path):
    own = {"common/layers____init__": as_in_volume_1("layers"), "common/layers__swish": SWISH}
    script = APPENDS + "from common.layers.swish import Swish\nprint(Swish)\n"
    run = book("../ch05/package.py", package=script, **own)
    assert run.stdout == "<class 'common.layers.swish.Swish'>\n"
    assert run.stderr == leaves(tmp_path, "common/layers/__init__.py", "is a package")


def test_a_file_that_cannot_be_read_is_left_to_python(book, tmp_path):
    script = APPENDS + "import common.optimizer\nprint(common.optimizer)\nimport common.layers\n"
    own = files("optimizer") | {"common__layers": "x = = 1\n"}
    run = book("../ch05/broken.py", broken=script, **own)
    assert run.stderr.startswith(leaves(tmp_path, "common/layers.py", "cannot be read"))
    assert run.stderr.splitlines()[-1].startswith("SyntaxError: ")
    assert "common.optimizer" in run.stdout
    assert run.returncode == 1


def test_a_single_file_is_the_readers(book):
    script = "import common\nprint(common.mine)\nimport common.layers\n"
    run = book("../ch05/single.py", single=script, ch05__common="mine = 3\n")
    assert run.stdout == "3\n"
    error = "ModuleNotFoundError: No module named 'common.layers'; 'common' is not a package"
    assert run.stderr.splitlines()[-1] == error
    assert run.returncode == 1


def test_ours_are_added_to_a_package_that_has_no_module_of_ours(book):
    script = "import dataset\nprint(dataset.connect())\nfrom dataset.mnist import load_mnist\n"
    script += "import common.gridworld, common.layers\nprint(load_mnist, common.layers.Affine)\n"
    run = book(
        "../ch05/library.py",
        library=script,
        **{"ch05/dataset____init__": "def connect(): return 'connected'\n"},
        **{"ch05/common__gridworld": ""},
    )
    connected, found = run.stdout.splitlines()
    assert connected == "connected"
    assert found.startswith("<function load_mnist")
    assert found.endswith("<class 'fastnn.book.layers.Affine'>")
    assert run.stderr == ""


@pytest.mark.parametrize(("end", "home"), [("", "fastnn.book"), (SWISH, "common")])
def test_a_package_in_a_zip_file_is_looked_at_as_well(book, tmp_path, end, home):
    with zipfile.ZipFile(tmp_path / "own.zip", "w") as archive:
        archive.writestr("common/__init__.py", "")
        archive.writestr("common/layers.py", as_in_volume_1("layers") + end)
    script = "import sys\nsys.path.append('../own.zip')\nimport common.layers\n"
    run = book("../ch05/zipped.py", zipped=script + "print(common.layers.Affine)\n")
    assert run.stdout == f"<class '{home}.layers.Affine'>\n"
    (line,) = run.stderr.splitlines()
    assert "own.zip" in line


@pytest.mark.parametrize(("end", "home"), [("", "fastnn.book"), (SWISH, "common")])
def test_a_pickle_of_python_alone_is_read_as_what_the_package_has(book, end, home):
    begin = APPENDS + "import pickle\nfrom common.layers import Dropout\n"
    write = begin + "layer = Dropout()\nlayer.dropout_ratio = 0.75\n"
    write += "pickle.dump(layer, open('layer.pkl', 'wb'))\n"
    read = begin + "layer = pickle.load(open('layer.pkl', 'rb'))\n"
    read += "print(type(layer), layer.dropout_ratio, isinstance(layer, Dropout))\n"
    own = files("layers", end=end)
    assert book("../ch05/write.py", alone=True, write=write, read=read, **own).returncode == 0
    run = book("../ch05/read.py")
    assert run.stdout == f"<class '{home}.layers.Dropout'> 0.75 True\n"


def test_a_script_that_calls_answer_imports_has_them_answered_in_new_processes_too(book):
    script = """
import fastnn.book
fastnn.book.answer_imports()
from common.layers import Relu
import multiprocessing
def home(kind): return kind.__module__, Relu is kind
if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.apply_async(home, [Relu]).get(60))
"""
    for alone in (False, True):
        run = book("../ch05/spawn.py", alone=alone, spawn=script)
        assert run.stdout == "('fastnn.book.layers', True)\n"
        assert run.stderr == ""


# In a notebook ---------------------------------------------------------------------------


def in_a_notebook(tmp_path, code, **own):
    for name, text in own.items():
        folder, _, name = name.partition("__")
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / f"{name}.py").write_text(text)
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


def test_imports_are_answered_in_a_notebook_too(tmp_path):
    code = """
import sys
import common.layers, common.mine, dataset.mnist
assert common.layers.Affine is common.mine.Affine
import fastnn.book
fastnn.book.answer_imports()
fastnn.book.answer_imports()
from common.layers import *
import common.layers, common.mine, dataset.mnist, importlib
assert common.layers is fastnn.book.layers and dataset.mnist is fastnn.book.mnist
assert Affine is fastnn.book.layers.Affine is common.mine.Affine
assert fastnn.book.layers.__spec__.name == "fastnn.book.layers"
assert importlib.reload(common.layers) is fastnn.book.layers
print(common.layers.Affine is Affine)
"""
    mine = "from common.layers import *\n"
    run = in_a_notebook(tmp_path, code, common__mine=mine, **files("layers", "mnist"))
    assert run.stderr == passes_over(tmp_path, "common", tmp_path / "common") + passes_over(
        tmp_path, "dataset", tmp_path / "dataset"
    )
    assert run.stdout == "False\n"


def test_packages_of_others_stay_as_they_were_imported_in_a_notebook(tmp_path):
    code = """
import common.layers, dataset
before, library = common.layers, dataset
import fastnn.book
fastnn.book.answer_imports()
import common.layers, common.optimizer, dataset.mnist
assert common.layers is before and dataset is library and library.connected
print(common.optimizer.SGD, dataset.mnist.__name__)
"""
    own = files("optimizer") | files("layers", end=SWISH)
    run = in_a_notebook(tmp_path, code, dataset____init__="connected = True\n", **own)
    assert run.stdout == "<class 'common.optimizer.SGD'> fastnn.book.mnist\n"
    assert run.stderr == leaves(tmp_path, "common/layers.py", "has Swish, which fastnn lacks")
