"""Values that go from one process of the house to another."""

import threading

import attrs
import pytest
from werkzeug.exceptions import NotFound

from happy.errors import Busy, HandlerFailed, KeyReused, NoRoom, Refused
from happy.split.pickled import NotTold, pack, pack_each, pack_error, unpack, unpack_error


@attrs.frozen
class Row:
    name: str


class Unmakeable:
    def __reduce__(self):
        return _fail, ()


class Odd(Exception):
    """Its constructor is not what its arguments say."""

    def __init__(self, first, *, second):
        super().__init__("something else")
        self.first, self.second = first, second


def _fail():
    raise KeyError("not here")


@pytest.mark.parametrize("value", [None, 7, "a", (1, 2.5), {"a": [b""]}, Row("ann"), {Row("x")}])
def test_a_reply_is_what_it_was(value):
    """Replies may be anything that Python can pickle, classes of the application among them."""
    assert unpack(pack(value)) == value
    assert unpack(pack_each([value, value])[0]) == [value, value]


def test_a_value_without_a_form_harms_no_other():
    """Of many replies, those that cannot go are named, and the others arrive."""
    data, untold = pack_each([1, threading.Lock(), Row("ann")])
    assert unpack(data) == [1, None, Row("ann")]
    assert list(untold) == [1]
    assert "lock cannot go to another process" in str(untold[1])


def test_a_value_that_cannot_be_made_is_said_in_a_sentence():
    """What fails on arrival is one kind of error, whatever it was."""
    with pytest.raises(NotTold, match="cannot be read: 'not here'"):
        unpack(pack(Unmakeable()))


@pytest.mark.parametrize(
    "error",
    [
        Refused("no", http_status=410, smtp=(550, "5.1.1")),
        HandlerFailed("numbers/7"),
        KeyReused("used"),
        Busy("full"),
        NoRoom("full"),
        Odd(1, second=2),
        NotFound("nothing"),
        KeyError("broken"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_is_what_it_was(error):
    """Class, message and all that doors read of it arrive, whatever its constructor takes."""
    again = unpack_error(pack_error(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


def test_an_error_without_a_form_is_told_by_its_name():
    """The peer's answer does not depend on what an exception holds on to."""
    error = ValueError("odd")
    error.lock = threading.Lock()
    assert str(unpack_error(pack_error(error))) == "ValueError: odd"
