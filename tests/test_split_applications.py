"""Applications over a link: the tests of the examples, with the doors in a front.

Promise 5: the same tests that hold in one process, unchanged: web and mail, queries, keys,
refusals, large messages.
"""

from importlib import import_module

import pytest

from link_kit import LinkedRunning
from test_examples_lists import *  # noqa: F403 - the same tests
from test_examples_numbers import *  # noqa: F403 - all its tests, once more


@pytest.fixture(autouse=True)
def linked(monkeypatch):
    """Every application of this file has its doors in a front."""
    monkeypatch.setattr(import_module("happy.testing.running"), "Running", LinkedRunning)
