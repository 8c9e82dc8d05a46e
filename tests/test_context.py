"""What a handler is told, and what it may owe."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from happy.context import Context
from happy.effects import Call, Outbox, Owed, SendMail, Timer
from happy.errors import DefinitionError
from happy.event import Blob, event
from happy.moments import nanoseconds

NOW_NS = 1_000_000_000_000_000_123


@event
class Wake:
    number: int = 0


@pytest.fixture
def context():
    """Return the context of event 7."""
    made = Context(random.Random, Outbox())
    made.enter(7, NOW_NS)
    return made


def test_time_is_the_moment_of_the_event(context):
    """The time is aware, UTC, and exact to the microsecond."""
    assert context.time == datetime(2001, 9, 9, 1, 46, 40, 0, UTC)
    assert context.time_ns == NOW_NS


def test_entering_an_event_forgets_the_one_before(context):
    """Debts, recipient and random position do not leak from one event into the next."""
    first = context.random.random()
    context.mail("a@b", b"\r\n", reverse_path="")
    context.recipient = "a@b"
    context.configure("settings", ("d.example",))
    context.enter(8, NOW_NS + 5)
    assert (context.seq, context.time_ns, context.recipient, context.owed) == (
        8,
        NOW_NS + 5,
        "",
        [],
    )
    assert context.random.random() != first
    assert (context.settings, context.domains) == ("settings", ("d.example",))


def test_random_numbers_repeat_themselves():
    """Promise 4: an event draws the same numbers and tokens on every replay, its own."""

    def draws(seq):
        made = Context(random.Random, Outbox())
        made.enter(seq, 0)
        return made.random.random(), made.token(), made.token(), made.random.randrange(10**9)

    assert draws(1) == draws(1)
    assert len({draws(seq) for seq in range(1, 50)}) == 49
    assert draws(1)[1] != draws(1)[2]


@pytest.mark.parametrize("count", [1, 16, 32])
def test_a_token_is_a_word_of_small_letters_and_digits(context, count):
    """A token can stand in a mail address and a URL as it is."""
    token = context.token(count)
    assert len(token) == 2 * count
    assert set(token) <= set("0123456789abcdef")


# --- mail --------------------------------------------------------------------------------------


def test_mail_is_owed_to_each_recipient(context):
    """Promise 6: one debt for each recipient, each with its own stable id, due at once."""
    blob = Blob("0" * 64, 100)
    context.mail(
        (name for name in ("a@x", "b@x")), b"h\r\n\r\n", blob, reverse_path="r@x",
        content_offset=10, tag="t",
    )  # fmt: skip
    assert [owed.id for owed in context.owed] == [(7, 0), (7, 1)]
    assert [owed.effect for owed in context.owed] == [
        SendMail(name, "r@x", b"h\r\n\r\n", blob, 10, "t") for name in ("a@x", "b@x")
    ]
    assert {(owed.since_ns, owed.due_ns, owed.attempts) for owed in context.owed} == {
        (NOW_NS, NOW_NS, 0)
    }


def test_one_recipient_is_a_recipient_not_letters(context):
    """A text is one address; the null reverse-path is allowed."""
    context.mail("a@x", b"\r\n", reverse_path="")
    assert [owed.effect.recipient for owed in context.owed] == ["a@x"]


@pytest.mark.parametrize(
    "wrong",
    ["", "a@x\r\nRCPT TO:<b@x>", "a@x>", "<a@x", "a b@x", "a@x\0", "a\t@x", "a@x\x7f", "\n"],
)
def test_an_address_that_would_break_the_envelope_is_refused(context, wrong):
    """A wrong recipient or reverse-path owes nothing, not even to those before it."""
    with pytest.raises(ValueError, match="not a mail address"):
        context.mail(["good@x", wrong], b"\r\n", reverse_path="")
    if wrong:
        with pytest.raises(ValueError, match="not a mail address"):
            context.mail("good@x", b"\r\n", reverse_path=wrong)
    assert context.owed == []


# --- calls and timers --------------------------------------------------------------------------


def test_a_header_that_is_text_is_an_error_at_once(context):
    """It would be found only when the mail is sent, long after the event."""
    with pytest.raises(TypeError, match="a header is bytes"):
        context.mail("ann@x.example", "Subject: x\r\n\r\n", reverse_path="")


def test_a_call_is_owed(context):
    """A call keeps its method, body, headers and tag, and is due at once."""
    context.call("POST", "https://x.example/", b"body", headers=[("A", "b")], tag="t")
    (owed,) = context.owed
    assert owed.effect == Call("POST", "https://x.example/", b"body", (("A", "b"),), "t")
    assert (owed.id, owed.due_ns) == ((7, 0), NOW_NS)


@given(st.timedeltas(timedelta(-1000), timedelta(1000)))
def test_a_timer_is_due_after_its_delay(delay):
    """A delay counts from the event's own moment, exactly; a negative one is due already."""
    context = Context(random.Random, Outbox())
    context.enter(7, NOW_NS)
    assert context.after(delay, Wake(1)) == (7, 0)
    (owed,) = context.owed
    assert owed.effect == Timer(Wake(1))
    assert owed.due_ns - NOW_NS == delay // timedelta(microseconds=1) * 1000


def test_a_timer_at_a_moment_is_due_then(context):
    """The moment may be written in any zone; the ids count up over all kinds of debts."""
    when = datetime(2030, 1, 1, tzinfo=timezone(timedelta(hours=2)))
    context.call("GET", "https://x.example/")
    assert context.at(when, Wake()) == (7, 1)
    assert context.owed[1].due_ns == nanoseconds(when)


def test_wrong_timers_are_errors(context):
    """What is no event, a naive time and a bare number of seconds are refused."""
    with pytest.raises(DefinitionError, match="@event"):
        context.after(timedelta(1), object())
    with pytest.raises(ValueError, match="timezone"):
        context.at(datetime(2030, 1, 1), Wake())  # noqa: DTZ001 - which is refused
    with pytest.raises(TypeError):
        context.after(5, Wake())
    assert context.owed == []


# --- cancelling and due moments --------------------------------------------------------------


def test_a_timer_of_this_event_can_be_cancelled(context):
    """Once: the second time it is owed no more. The ids of others stay as they are."""
    first, second = context.after(timedelta(1), Wake()), context.after(timedelta(2), Wake())
    assert context.cancel(first)
    assert not context.cancel(first)
    assert context.after(timedelta(3), Wake()) == (7, 2)
    assert context.cancel(second)


def test_a_timer_of_an_earlier_event_can_be_cancelled():
    """Only a timer, and only while it is owed."""
    outbox = Outbox()
    outbox.owe(Owed((3, 0), Timer(Wake()), 0, 5))
    outbox.owe(Owed((3, 1), SendMail("a@x", "", b"\r\n"), 0, 5))
    made = Context(random.Random, outbox)
    made.enter(7, NOW_NS)
    assert made.cancel((3, 0))
    assert not made.cancel((3, 0))
    assert not made.cancel((3, 1))
    assert not made.cancel((4, 0))
    assert not made.cancel((7, 0))
    assert len(outbox) == 2  # until the handler has returned


def test_due_is_the_moment_an_event_was_to_come(context):
    """An aware datetime for what a timer or a schedule brings, None for all else."""
    assert context.due is None
    context.enter(8, NOW_NS, NOW_NS - 5 * 10**9)
    assert context.due == context.time - timedelta(seconds=5)
