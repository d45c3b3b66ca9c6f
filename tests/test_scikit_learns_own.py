"""scikit-learn's own tests of its perceptrons, on ours."""

import pytest
from sklearn.neural_network.tests import test_mlp
from sklearn.neural_network.tests.test_mlp import *  # noqa: F403

import fastnn

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture
def global_random_seed():
    """What scikit-learn's conftest.py gives if nothing else is said."""
    return 42


@pytest.fixture(autouse=True)
def ours(monkeypatch):
    for name in ("MLPClassifier", "MLPRegressor"):
        monkeypatch.setattr(test_mlp, name, getattr(fastnn, name))
