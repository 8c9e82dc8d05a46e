"""Mail routes: which recipient goes to which handler."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from happy.errors import DefinitionError, Refused
from happy.event import Mail
from happy.routes import MailRoutes

STATE = SimpleNamespace(lists={"dev", "ops"})


def take(state, mail, context, **captures):
    """Handle whatever was captured."""


def take_too(state, mail, context, **captures):
    """Another one."""


def routes_of(*patterns):
    """Return routes whose handlers are told apart by their pattern."""
    routes = MailRoutes()
    for pattern in patterns:
        routes.to(pattern)(lambda state, mail, context, pattern=pattern, **c: (pattern, c))
    return routes


def found(routes, local, state=STATE):
    """Return the pattern that took a local part, and its captures."""
    handler, captures = routes.find(state, local) or (None, None)
    return None if handler is None else (handler(None, None, None)[0], captures)


@pytest.mark.parametrize(
    ("local", "pattern", "captures"),
    [
        ("info", "info@", {}),
        ("INFO", "info@", {}),
        ("dev-subscribe", "<list>-subscribe@", {"list": "dev"}),
        ("a-b-subscribe", "<list>-subscribe@", {"list": "a-b"}),
        ("Dev-Subscribe", "<list>-subscribe@", {"list": "dev"}),
        ("dev-bounce-12-ann=x.example", "<list>-bounce-<n>-<who>@",
         {"list": "dev", "n": "12", "who": "ann=x.example"}),
        ("dev", "<list>@", {"list": "dev"}),
        ("-subscribe", "<list>@", {"list": "-subscribe"}),
    ],
)  # fmt: skip
def test_the_first_pattern_that_matches_takes_it(local, pattern, captures):
    """Patterns are tried in order, whole, without regard to case; captures are small letters."""
    routes = routes_of("info@", "<list>-subscribe@", "<list>-bounce-<n>-<who>@", "<list>@")
    assert found(routes, local) == (pattern, captures)


@pytest.mark.parametrize("local", ["", "inf", "infos", "info@", "in.fo"])
def test_what_no_pattern_matches_is_unknown(local):
    """A part of a local part is not enough, and a dot is a dot."""
    routes = routes_of("info@", "i.fo@")
    assert found(routes, local) is None
    assert not routes.knows(STATE, local)


@given(st.text(max_size=60))
def test_letters_of_a_pattern_stand_for_themselves(local):
    """No sign in a pattern but ``<name>`` has a meaning of its own."""
    assert found(routes_of("a.*[b]+(c)?@"), local) is None or local.lower() == "a.*[b]+(c)?"
    assert found(routes_of("a.*[b]+(c)?@"), "A.*[b]+(C)?") is not None


def test_when_decides_and_the_next_is_tried():
    """``when`` is asked with state and captures; its no leads to the next pattern."""
    routes = MailRoutes()
    routes.to("<list>@", when=staticmethod(lambda state, list: list in state.lists))(take)  # noqa: A006 - as in the pattern
    routes.to("ann@")(take_too)
    assert routes.find(STATE, "dev") == (take, {"list": "dev"})
    assert routes.find(STATE, "ann") == (take_too, {})
    assert not routes.knows(STATE, "bob")
    assert routes.knows(SimpleNamespace(lists={"bob"}), "bob")


@pytest.mark.parametrize(
    "wrong",
    ["info", "@", "", "@b", "a@b@", "<list@", "list>@", "<List>@", "<1>@", "<>@", "<a>-<a>@",
     "<List>-<name>@", ">-<name>@", "<a b>@"],
)  # fmt: skip
def test_a_pattern_that_cannot_match_is_refused(wrong):
    """A pattern that is no local part, or a capture that is none, is an author's error."""
    with pytest.raises(DefinitionError, match="mail pattern"):
        MailRoutes().to(wrong)


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("info@", "INFO@"),
        ("<anybody>@", "info@"),
        ("<anybody>@", "<list>-<what>@"),
        ("<list>-<what>@", "<list>-<name>-<what>@"),
        ("<list>@", "<list>@shop.example"),
        ("info@<team>.example", "info@a.<team>.example"),
        ("info@b\u00fccher.example", "info@xn--bcher-kva.example"),
    ],
)
def test_a_pattern_that_is_never_reached_is_refused(earlier, later):
    """An earlier one takes all that it would take: the author hears of it at once."""
    routes = routes_of(earlier)
    with pytest.raises(DefinitionError, match="takes all that it would take"):
        routes.to(later)


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("info@", "<anybody>@"),
        ("<list>-subscribe@", "<list>-<what>@"),
        ("<list>-<name>-<what>@", "<list>-<what>@"),
        ("a<x>@", "<x>a@"),
        ("<list>@shop.example", "<list>@"),
        ("info@shop.example", "info@sale.example"),
        ("info@a.<team>.example", "info@<team>.example"),
    ],
)
def test_a_pattern_with_something_left_is_taken(earlier, later):
    """What overlaps is decided by the order; only what can never match is refused."""
    assert routes_of(earlier, later)


def test_a_route_with_a_condition_leaves_something():
    """``when`` may say no."""
    routes = MailRoutes()
    routes.to("<anybody>@", when=lambda state, anybody: False)(take)
    routes.to("info@")(take_too)
    assert routes.find(STATE, "info") == (take_too, {})


@pytest.mark.parametrize(
    ("address", "pattern", "captures"),
    [
        ("sales@shop.example", "sales@shop.example", {}),
        ("sales@a.team.example", "sales@<team>.team.example", {"team": "a"}),
        ("sales@elsewhere.example", "<who>@", {"who": "sales"}),
        ("ann+news@shop.example", "<who>+<tag>@", {"who": "ann", "tag": "news"}),
        ("ann@xn--bcher-kva.example", "<who>@xn--bcher-kva.example", {"who": "ann"}),
    ],
)
def test_a_pattern_may_be_for_one_domain_or_some(address, pattern, captures):
    """With a domain, it takes what is for that; in either spelling of it."""
    routes = routes_of(
        "sales@Shop.example", "sales@<team>.team.example", "<who>@B\u00fccher.example",
        "<who>+<tag>@", "<who>@",
    )  # fmt: skip
    local, _, domain = address.partition("@")
    handler, found_captures = routes.find(STATE, local, domain)
    shown = handler(None, None, None)[0]
    assert (shown.lower().replace("b\u00fccher", "xn--bcher-kva"), found_captures) == (
        pattern,
        captures,
    )


def test_a_domain_in_other_letters_with_a_capture_is_refused():
    """It has no one form until the capture is known."""
    with pytest.raises(DefinitionError, match="xn-- form"):
        MailRoutes().to("a@<x>.b\u00fccher.example")


def test_handlers_are_functions_that_run_at_once():
    """A handler with ``await`` or ``yield`` in it would never run: refused by name."""

    async def later(state, mail, context):
        pass

    def piecewise(state, mail, context):
        yield

    for wrong in (later, piecewise, staticmethod(later)):
        with pytest.raises(DefinitionError, match="await or yield"):
            MailRoutes().to("a@")(wrong)


def mail_to(*recipients):
    return Mail("s@x", recipients, b"\r\n", b"\r\n")


class Recording:
    def __init__(self):
        self.recipient = ""


def test_each_recipient_is_handled_with_its_own_address():
    """A message is handled once for each recipient, in their order, whole address in sight."""
    seen = []
    routes = MailRoutes()

    @routes.to("<who>@")
    def take(state, mail, context, who):
        seen.append((who, context.recipient))

    routes.deliver(STATE, mail_to("Ann@X.example", "bob@y", "postmaster"), Recording())
    assert seen == [("ann", "Ann@X.example"), ("bob", "bob@y"), ("postmaster", "postmaster")]
    assert isinstance(take, staticmethod)


def test_an_unknown_recipient_refuses_the_whole_message():
    """A recipient whom nobody takes any more refuses the message with 550 5.1.1."""
    routes = routes_of("ann@")
    with pytest.raises(Refused, match="no such recipient: bob@x") as refused:
        routes.deliver(STATE, mail_to("ann@x", "bob@x"), Recording())
    assert (refused.value.smtp_code, refused.value.smtp_status) == (550, "5.1.1")


def test_a_hostile_local_part_costs_little():
    """Matching takes a bounded time, however the local part is made."""
    routes = routes_of("<a>-<b>-<c>-x@")
    began = time.process_time()
    assert found(routes, "-" * 256) is None
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    ("handler", "when"),
    [
        (lambda state, mail: None, None),
        (lambda state, mail, context: None, None),
        (lambda state, mail, context, other: None, None),
        (take, lambda state: True),
    ],
)
def test_what_cannot_be_called_with_the_captures_is_refused(handler, when):
    """It is told with the arguments that there will be, not when the first mail comes."""
    with pytest.raises(DefinitionError, match=r"it is called as \(state, .*box\): "):
        MailRoutes().to("<box>@", when=when)(handler)


@pytest.mark.parametrize(
    ("local", "known"), [("box", True), ("dev-list", None), ("BOX", True), ("nobody", False)]
)
def test_what_patterns_say_of_any_state(local, known):
    """A pattern without ``when`` takes its addresses whatever the state is; else it depends."""
    routes = MailRoutes()
    routes.to("<who>-list@", when=lambda state, who: True)(lambda state, mail, context, who: None)
    routes.to("box@", when=lambda state: False)(lambda state, mail, context: None)
    routes.to("box@")(lambda state, mail, context: None)
    assert routes.surely_knows(local) is known
