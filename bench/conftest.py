"""Lets `pytest bench --benchmark-only` do what it says."""

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    """Lift the project's --benchmark-disable, which pytest-benchmark would report as a clash."""
    if getattr(config.option, "benchmark_only", False):
        config.option.benchmark_enable = True
