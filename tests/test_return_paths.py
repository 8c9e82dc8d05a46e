"""Return paths of happy's own: nobody can make one up."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from happy.event import Mail
from happy.return_paths import ReturnPaths
from happy.wire.address import parse_path

PATHS = ReturnPaths.of(b"j" * 16)
ids = st.tuples(st.integers(1, 10**18), st.integers(0, 10**8))


@settings(deadline=None)
@given(ids)
def test_a_return_path_tells_its_message(effect_id):
    """The whole address or its local part, in whatever case it comes back; short enough, too."""
    address = PATHS.make(effect_id, "app.example")
    local, _, domain = address.rpartition("@")
    assert (domain, len(local) <= 64) == ("app.example", True)
    for form in (address, local, address.upper(), local.upper()):
        assert PATHS.effect_of(form) == effect_id
    assert str(parse_path(f"<{address}>".encode())[0]) == address


@settings(deadline=None)
@given(ids, ids)
def test_a_token_is_good_for_its_message_only(effect_id, other):
    """Who was sent one message cannot speak of another one, nor of another journal's."""
    address = PATHS.make(effect_id, "app.example")
    token = address.partition("@")[0].rpartition("-")[2]
    forged = "bounces+{}-{}-{}".format(*other, token)
    assert PATHS.effect_of(forged) == (effect_id if other == effect_id else None)
    assert ReturnPaths.of(b"k" * 16).effect_of(address) is None
    assert ReturnPaths().effect_of(address) is None


@pytest.mark.parametrize(
    "address",
    [
        "",
        "bounces@app.example",
        "bounces+@app.example",
        "bounces+17-0-@app.example",
        "bounces+17-0-" + "0" * 24,
        "bounces+017-0-" + PATHS.make((17, 0), "x").rpartition("-")[2],
        "x" + PATHS.make((17, 0), "x"),
        PATHS.make((17, 0), "x").replace("@", "0@"),
        "bounces+\u0661-0-" + "a" * 24,
        "bounces+17-0-" + "\u0430" * 24,
        "bounces+" + "9" * 5000 + "-0-" + "a" * 24,
    ],
)
def test_other_addresses_are_none(address):
    """Whatever stands there; and a path without a key is known to nobody."""
    assert PATHS.effect_of(address) is None
    assert ReturnPaths().effect_of(ReturnPaths().make((17, 0), "x")) is None


def test_what_is_left_of_a_message_is_for_other_recipients():
    """With their own options; nothing when all it is for are return paths."""
    ours = PATHS.make((17, 0), "x")
    mail = Mail("", ("a@x", ours, "b@x"), b"", b"", recipient_options=(("A=1",), (), ("B=1",)))
    left = PATHS.left_of(mail)
    assert (left.recipients, left.recipient_options) == (("a@x", "b@x"), (("A=1",), ("B=1",)))
    assert PATHS.left_of(left) is left
    assert PATHS.left_of(Mail("", (ours,), b"", b"")) is None
