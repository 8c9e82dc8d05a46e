"""The readers of what is journaled: present, older and retired kinds, and what does not fit."""

from __future__ import annotations

import re

import attrs
import msgspec
import pytest

from happy.errors import CannotUpcast, DefinitionError
from happy.event import ANY_VERSION, Blob, Retired, event
from happy.reading import MISFITS, Lost, Readers, strict_reader
from happy.upcast import upcast

encode = msgspec.msgpack.encode


@event(version=2)
class Said:
    text: str
    loud: bool = False


@upcast(Said, 1)
def _(old):
    return {"text": old["words"]}


READERS = Readers({("Said", 2): Said, ("Heard", ANY_VERSION): Retired})


def test_each_kind_has_its_reader():
    """The present version, an older one, and one that does nothing any more."""
    assert READERS.get(("Said", 2))(encode({"text": "a", "loud": True})) == Said("a", True)
    assert READERS.get(("Said", 1))(encode({"words": "b"})) == Said("b")
    assert READERS.get(("Heard", 9))(encode({"any": [1]})) == Retired("Heard", 9)
    assert READERS.get(("Said", 3)) is None
    assert READERS.get(("Seen", 1)) is None


@pytest.mark.parametrize(
    ("kind", "body", "words"),
    [
        (("Said", 2), {"text": 1}, "Said version 2 .*Expected `str`.*version=3.*upcast.Said, 2"),
        (("Said", 2), {"text": "", "x": 1}, "unknown field `x`: its value would be lost"),
        (("Said", 1), {"text": ""}, "Said version 1 cannot be read: .*KeyError: 'words'"),
        (("Said", 1), {"words": 5}, "Said version 1 does not fit its class after its upcasters"),
        (("Said", 1), [1], "Said version 1 does not fit .*Expected `object`"),
        (("Said", 4), {"text": ""}, "version 4 .* newer code"),
        (("Saying", 1), {}, "did you mean Said?"),
    ],
)
def test_a_complaint_names_the_kind_and_the_remedy(kind, body, words):
    """Whatever is wrong with a record, there is a sentence for it."""
    assert re.search(words, READERS.complaint(kind, encode(body)))


def test_what_can_be_read_is_not_complained_of():
    """With a body, and of the kind alone."""
    assert READERS.complaint(("Said", 1)) is None
    assert READERS.complaint(("Said", 2), encode({"text": "a"})) is None
    assert READERS.complaint(("Heard", 2), b"") is None
    assert "version 3" in READERS.complaint(("Said", 3))


def test_bytes_that_are_no_body_are_a_misfit():
    """Only what is announced comes of noise."""
    for kind in (("Said", 1), ("Said", 2)):
        for noise in (b"", b"\xc1", b"\x81\xa1", b"\x00"):
            with pytest.raises(MISFITS):
                READERS.get(kind)(noise)
    assert READERS.complaint(("Seen", 1), b"\xc1")


def test_the_misfits_are_three():
    """A value that does not fit, a field that would be lost, an upcaster that failed."""
    with pytest.raises(msgspec.ValidationError):
        READERS.get(("Said", 2))(encode({"text": None}))
    with pytest.raises(Lost):
        READERS.get(("Said", 2))(encode({"text": "", "more": None}))
    with pytest.raises(CannotUpcast):
        READERS.get(("Said", 1))(encode({}))


def test_a_class_that_cannot_be_read_is_the_authors_error():
    """Two classes that look alike on disk cannot stand in one field."""

    @attrs.frozen
    class Alike:
        thing: Retired | Blob

    with pytest.raises(DefinitionError, match="Alike"):
        strict_reader(Alike)
