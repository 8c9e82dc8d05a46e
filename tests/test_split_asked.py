"""Questions to a core: each is answered once, to who asked it."""

from __future__ import annotations

import pytest

from happy.errors import CoreLost, DefinitionError
from happy.split.aside import Aside, Say
from happy.split.asked import Asked
from happy.split.pickled import pack, pack_error, unpack


class Heard:
    """Somebody who waits for an answer."""

    def __init__(self):
        self.told = []

    def replied(self, _seq, value):
        self.told.append(value)

    def failed(self, _seq, error):
        self.told.append(type(error))


def one(state): ...


def other(state): ...


def test_each_answer_goes_to_who_asked():
    """In whatever order they come; an error is raised where the question was asked."""
    asked = Asked({one: "one", other: "other"})
    first, second = Heard(), Heard()
    question = asked.ask(one, (1,), {"by": 2}, first)
    assert unpack(question.body) == ("one", (1,), {"by": 2})
    number = asked.ask(other, (), {}, second).number
    asked.take(Aside(Say.RAISED, pack_error(KeyError("x")), number))
    asked.take(Aside(Say.FOUND, pack("found"), question.number))
    assert (first.told, len(second.told)) == (["found"], 1)


def test_who_waits_when_a_core_ends_is_told():
    """Nobody waits for an answer that will not come."""
    asked, heard = Asked({one: "one"}), Heard()
    asked.ask(one, (), {}, heard)
    asked.lose(lambda: CoreLost("it has ended"))
    assert heard.told == [CoreLost]


def test_what_is_no_query_cannot_be_asked():
    """The sentence names the function."""
    with pytest.raises(DefinitionError, match="other is no query of this application"):
        Asked({one: "one"}).ask(other, (), {}, Heard())
