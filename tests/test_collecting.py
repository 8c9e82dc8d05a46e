"""The garbage collector during a replay."""

from __future__ import annotations

import contextlib
import gc

from happy.collecting import collecting_seldom


def test_the_collector_goes_on_as_before():
    """Whatever happens within, the collector has its own thresholds afterwards."""
    before = gc.get_threshold()
    with contextlib.suppress(KeyError), collecting_seldom():
        assert gc.get_threshold()[0] > before[0]
        raise KeyError
    assert gc.get_threshold() == before
    assert gc.isenabled()
