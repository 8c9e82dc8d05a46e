"""Declaring events, and the forms they take."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from happy.errors import DefinitionError
from happy.event import (
    Blob,
    EventMeta,
    Exchange,
    FailedOutcome,
    Mail,
    event,
    event_meta,
)
from happy.system_events import SYSTEM_EVENTS


@event
class Plain:
    """Counted."""

    count: int = 1
    names: tuple[str, ...] = ()


@event(version=3, name="Older")
class Renamed:
    pass


class NotAnEvent:
    pass


def test_an_event_is_a_frozen_attrs_class():
    """What was journaled cannot be changed before it is applied."""
    assert attrs.has(Plain)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Plain().count = 2
    assert Plain(2) == Plain(count=2)
    assert Plain.__doc__ == "Counted."


def test_the_journal_knows_an_event_by_name_and_version():
    """The name is the class's own and the version 1, unless it is told."""
    assert event_meta(Plain) == EventMeta("Plain", 1)
    assert event_meta(Renamed) == EventMeta("Older", 3)


@pytest.mark.parametrize("version", [0, -1])
def test_versions_begin_at_one(version):
    """A version below 1 is refused."""
    with pytest.raises(DefinitionError, match="1 or more"):
        event(version=version)(type("Wrong", (), {"__annotations__": {}}))


@pytest.mark.parametrize("hint", [list, "list[int]", "dict[str, int]", "set[str]", "object"])
def test_fields_that_could_change_are_refused(hint):
    """A list or a dict in an event is refused when it is declared."""
    with pytest.raises(DefinitionError, match="event Wrong, field things"):
        event(type("Wrong", (), {"__annotations__": {"things": hint}, "__module__": __name__}))


@pytest.mark.parametrize("cls", [NotAnEvent, type("Derived", (Plain,), {}), int])
def test_only_declared_classes_are_events(cls):
    """A class that was not declared itself is no event, whatever it derives from."""
    with pytest.raises(DefinitionError, match="@event"):
        event_meta(cls)


def test_system_events_stand_apart():
    """The events of happy itself have names no application would choose, each once."""
    names = [event_meta(cls).name for cls in SYSTEM_EVENTS]
    assert len(set(names)) == len(names)
    assert all(name.startswith("happy.") for name in names)


# --- exchanges ---------------------------------------------------------------------------------


def test_an_exchange_without_a_key_gives_none():
    """No key, no memory."""
    exchange = Exchange("http POST /")
    assert [exchange.claim_key(), exchange.claim_key()] == [None, None]


def test_each_event_of_an_exchange_has_its_own_key():
    """Promise 5: an exchange that submits several events is repeated event by event."""
    keys = [[e.claim_key() for _ in range(3)] for e in (Exchange("x", "k"), Exchange("x", "k"))]
    assert keys[0] == keys[1]
    assert len(set(keys[0])) == 3
    assert keys[0][0] == "k"


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1))
def test_no_peer_can_name_the_second_event_of_another(key):
    """Promise 5: what a header can hold is never the key of somebody's second event."""
    exchange = Exchange("x", "k")
    exchange.claim_key()
    assert exchange.claim_key() != key


# --- outcomes and mail -------------------------------------------------------------------------


def test_a_failure_is_the_same_whatever_it_was_this_time():
    """The identity of a failed outcome is its seq: the exception is for the log only."""
    assert FailedOutcome(3, ValueError("a")) == FailedOutcome(3)
    assert FailedOutcome(3) != FailedOutcome(4)


@pytest.mark.parametrize(
    ("content", "size"), [(b"", 0), (b"abc", 3), (Blob("0" * 64, 20_000_000), 20_000_000)]
)
def test_mail_knows_its_size(content, size):
    """The size is the whole message's, inline or beside the journal."""
    assert Mail("a@b", ("c@d",), b"", content).size == size
