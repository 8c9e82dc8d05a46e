"""The events of happy itself, one list of them."""

from happy.event import event_meta
from happy.system_events import SYSTEM_EVENTS


def test_they_are_told_apart_from_all_others():
    """Each has a name of its own that no application's event has by chance."""
    names = [event_meta(cls).name for cls in SYSTEM_EVENTS]
    assert len(set(names)) == len(names)
    assert all(name.startswith("happy.") for name in names)
