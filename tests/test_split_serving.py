"""Applications whose machine serves from elsewhere: the tests of the examples hold unchanged.

Promise 5 and all the others: web and mail, queries, keys, refusals, timers, schedules, memory.
"""

from importlib import import_module

import pytest

from core_kit import CoredRunning
from test_agenda import *  # noqa: F403 - the same tests
from test_examples_lists import *  # noqa: F403 - all its tests, once more
from test_examples_numbers import *  # noqa: F403 - all its tests, once more


@pytest.fixture(autouse=True)
def cored(monkeypatch):
    """Every application of this file has its machine at the other end of a pipe."""
    monkeypatch.setattr(import_module("happy.testing.running"), "Running", CoredRunning)
