"""What an application declares, as plain values, and what changed in it."""

from __future__ import annotations

import datetime
import enum
from typing import Literal

import attrs
import msgspec
import pytest

from happy import App, Table, event, handles, row, state, table, upcast
from happy.app import definition_of
from happy.declared import changes, declared_by


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


@attrs.frozen
class Leaf:
    name: str
    leaves: tuple[Leaf, ...] = ()


@event(version=3)
class Grown:
    number: int
    text: str = ""
    leaf: Leaf | None = None
    pairs: tuple[tuple[str, Leaf], ...] = ()
    color: Color = Color.RED
    mode: Literal["a", 1] = "a"
    when: datetime.datetime | None = None
    many: tuple[int, ...] = attrs.field(factory=tuple)


@upcast(Grown, 2)
def _(old):
    return old


@event(name="Grown", version=1)
class FirstGrown:
    pass


@row(version=2)
class Line:
    leaf: Leaf


@state(version=4)
class Root:
    total: int = 0
    lines: Table[str, Line] = table()
    counts: Table[int, int] = table()


class Garden(App):
    state = Root
    retired = ("Cut",)

    @handles(Grown, FirstGrown)
    def grow(state, event, context):
        pass


def test_a_schema_lists_names_versions_fields_and_types():
    """By path, so that a change within a nested class is a change of the event."""
    leaf = {
        "leaf.name": {"type": "str"},
        "leaf.leaves": {"type": "tuple[map, ...]", "default": "()"},
    }
    assert declared_by(definition_of(Garden)) == {
        "events": {
            "Grown": {
                "version": 3,
                "reads": [1, 2, 3],
                "fields": {
                    "number": {"type": "int"},
                    "text": {"type": "str", "default": "''"},
                    "leaf": {"type": "map | None", "default": "None"},
                    **leaf,
                    "pairs": {"type": "tuple[tuple[str, map], ...]", "default": "()"},
                    "pairs.name": {"type": "str"},
                    "pairs.leaves": {"type": "tuple[map, ...]", "default": "()"},
                    "color": {
                        "type": "one of 'red', 'blue'",
                        "default": "<Color.RED: 'red'>",
                    },
                    "mode": {"type": "Literal['a', 1]", "default": "'a'"},
                    "when": {"type": "datetime | None", "default": "None"},
                    "many": {"type": "tuple[int, ...]", "default": "made anew"},
                },
            }
        },
        "retired": ["Cut"],
        "state": {
            "version": 4,
            "reads": [4],
            "fields": {
                "total": {"type": "int", "default": "0"},
                "lines": {"type": "Table[str, Line]", "default": "made anew"},
                "counts": {"type": "Table[int, int]", "default": "made anew"},
            },
        },
        "rows": {"Line": {"version": 2, "reads": [2], "fields": {"leaf": {"type": "map"}, **leaf}}},
    }


def test_a_schema_is_the_same_after_it_was_kept():
    """It is plain, and nothing changed."""
    schema = declared_by(definition_of(Garden))
    kept = msgspec.json.decode(msgspec.json.encode(schema))
    assert kept == schema
    assert changes(kept, schema) == []


def of(*events, retired=()):
    """Return the schema of an application that handles these."""
    grow = handles(*events)(lambda state, event, context: None) if events else None
    return declared_by(
        definition_of(type("Made", (App,), {"state": Root, "grow": grow, "retired": retired}))
    )


def said(version=1, name="Said", **fields):
    """Return an event class with these fields: a type, or a type and a default."""
    hints = {field: hint[0] if isinstance(hint, tuple) else hint for field, hint in fields.items()}
    defaults = {field: hint[1] for field, hint in fields.items() if isinstance(hint, tuple)}
    return event(version=version, name=name)(type(name, (), {"__annotations__": hints, **defaults}))


@attrs.frozen
class Wide:
    name: str
    more: int


@attrs.frozen
class WiderYet:
    name: str
    more: int
    yet: int


AFTER = of(said(text=str))


@pytest.mark.parametrize(
    ("now", "faults"),
    [
        (of(said(text=str)), []),
        (of(said(text=str, loud=(bool, False))), []),
        (of(said(text=(str, "a"))), []),
        (of(said(text=str), said(name="Heard", text=str)), []),
        (of(retired=("Said",)), []),
        (of(said(text=int)), ["event Said: the field text was str and is int now; raise its"]),
        (
            of(said(words=(str, ""))),
            ["event Said: the field text is gone; raise its version: @event(version=2) and"],
        ),
        (of(said(text=str, loud=bool)), ["event Said: the field loud is new; give it a default"]),
        (of(), ["event Said is gone; if its class was renamed, declare @event(name='Said')"]),
        (of(said(2, words=str)), ["event Said: version 1 cannot be read any more: declare @up"]),
    ],
)
def test_what_old_events_do_not_agree_with_is_told(now, faults):
    """A change without a new version, an event that is gone, a version nothing leads from."""
    found = changes(AFTER, now)
    assert len(found) == len(faults)
    for sentence, beginning in zip(found, faults, strict=True):
        assert sentence.startswith(beginning)


def test_a_new_version_that_the_old_one_leads_to_is_no_fault():
    """With an upcaster, or with the old class beside it."""
    newer = said(2, words=str)
    assert changes(AFTER, of(newer, said(text=str))) == []
    upcast(newer, 1)(lambda old: {"words": old["text"]})
    assert changes(AFTER, of(newer)) == []
    assert changes(of(newer), AFTER) == [
        "event Said: it was version 2 and is version 1 now: versions only rise"
    ]


def test_a_change_within_a_nested_class_is_told_by_its_path():
    """The event's version covers it; what is new as a whole has its default above."""
    before, after = of(said(part=Wide)), of(said(part=WiderYet))
    (told,) = changes(before, after)
    assert told.startswith("event Said: the field part.yet is new; give it a default, or raise its")
    assert "part.yet is gone" in changes(after, before)[0]
    assert changes(of(said()), of(said(part=(Wide | None, None)))) == []
