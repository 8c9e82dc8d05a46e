"""Rows that are declared: frozen, checked, with a version."""

from __future__ import annotations

import attrs
import pytest

from happy import DefinitionError, Table, event, state, table
from happy.row import row
from happy.upcast import version_of


@row
class Line:
    text: str = ""


@row(version=2)
class Longer:
    text: str = ""
    size: int = 0


@state
class Lines:
    lines: Table[int, Line] = table()
    longer: Table[int, Longer] = table(index=("size",))


def test_a_row_is_a_frozen_attrs_class_with_a_version():
    """It is what ``@attrs.frozen`` makes, and stands in tables."""
    assert (version_of(Line), version_of(Longer)) == (1, 2)
    assert attrs.evolve(Line("a"), text="b") == Line("b")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Line().text = "c"
    lines = Lines()
    lines.longer[1] = Longer("x", 3)
    assert lines.longer.where(size=3) == (Longer("x", 3),)


def test_what_can_change_is_refused():
    """As in an event."""
    with pytest.raises(DefinitionError, match=r"row .*Bad, field names: .* can change"):

        @row
        class Bad:
            names: list[str]


def test_a_version_is_1_or_more():
    """There is none before the first."""
    with pytest.raises(DefinitionError, match="1 or more"):
        row(version=0)(type("Line", (), {}))


def test_a_row_may_be_inherited_and_says_its_own_version():
    """A subclass that does not say so is version 1: the mark is not inherited."""

    @attrs.frozen
    class Child(Longer):
        pass

    assert version_of(Child) == 1


def test_an_event_is_no_row():
    """The two say different things of themselves."""
    assert version_of(event(version=7)(type("Said", (), {}))) == 7
