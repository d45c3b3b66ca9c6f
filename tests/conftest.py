"""Settings and fixtures that the tests share."""

import hypothesis
import numpy as np
import pytest

from fastnn import runtime

# The same examples on every run; machines shared with others are too noisy for deadlines.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture
def rng():
    return np.random.default_rng(20)


@pytest.fixture(params=["serial", "parallel"])
def both_builds(request):
    """Run a test twice: all work in one thread, and all that may in several."""
    with runtime.forced(parallel=request.param == "parallel"):
        yield request.param


@pytest.fixture(scope="session")
def code_folder(request, tmp_path_factory):
    """Where processes of tests keep other builds, from one run of the tests to the next."""
    cache = getattr(request.config, "cache", None)
    return cache.mkdir("compiled") if cache else tmp_path_factory.mktemp("compiled")
