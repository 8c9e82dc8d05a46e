"""Outcomes on their way from a core to a container."""

import random
from datetime import UTC, datetime

import attrs
import pytest

from happy.event import FailedOutcome, RefusedOutcome, Reply
from happy.journal.frame import Kind
from happy.outcomes import OutcomeDigest
from happy.split.outcome_frame import OutcomeFrame, Verdict, decode_outcomes, encode_outcomes
from happy.split.replies import encode_each, encode_told, resolve


@attrs.frozen
class Row:
    number: int
    when: datetime


OUTCOMES = [
    Reply(1),
    Reply(None),
    Reply("text"),
    Reply(2**70),
    Reply((1, Row(2, datetime(2026, 1, 1, tzinfo=UTC)))),
    RefusedOutcome("no", 409, 554, "5.7.1"),
    FailedOutcome(7),
]


def read(body, count):
    return decode_outcomes(OutcomeFrame(Kind.EVENTS, Verdict.NONE, 1, count, b"", body), resolve)


@pytest.mark.parametrize("outcomes", [OUTCOMES, [Reply(n) for n in range(200)], []])
def test_outcomes_arrive_as_they_were(outcomes):
    """The bytes are those that any core writes."""
    digest = OutcomeDigest()
    digest.add(outcomes)
    body, untold = encode_told(outcomes, digest)
    assert (body, untold) == (encode_outcomes(outcomes), {})
    assert read(body, len(outcomes)) == outcomes


def test_a_reply_that_cannot_go_over_harms_no_other():
    """Nothing has a form for it, or nobody could find its class; its place says so."""

    @attrs.frozen
    class Hidden:
        number: int

    outcomes = [Reply(1), Reply(Hidden(2)), Reply(random.Random), Reply(4)]
    body, untold = encode_each(outcomes)
    assert sorted(untold) == [1, 2]
    assert "Hidden" in untold[1]
    found = read(body, 4)
    assert (found[0], found[3]) == (Reply(1), Reply(4))


@pytest.mark.parametrize("name", ["nowhere:Row", f"{__name__}:Column", f"{__name__}:OUTCOMES", ""])
def test_a_class_that_is_not_there_is_a_lookup_error(name):
    """Whatever is wrong with the name."""
    with pytest.raises(LookupError):
        resolve(name)
