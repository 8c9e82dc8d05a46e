"""What a validating resolver vouches for, over real UDP and TCP."""

from __future__ import annotations

from functools import partial

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs, formatEvent
from twisted.names import client, dns

from dns_kit import name_server
from edge_kit import wait_until
from happy.wire.dnssec import ValidatingResolver, look_up, warn_unless_validating
from happy.wire.next_hop import NoHop

ZONE = {
    "x.example": [dns.Record_MX(10, "mx.x.example")],
    "mx.x.example": [dns.Record_A("192.0.2.1")],
    "alias.example": [dns.Record_CNAME("mx.x.example")],
    "bogus.example": dns.ESERVER,
}


def asked(resolver, name, kind=dns.A):
    """Return what is found, or the NoHop that there is instead."""
    ends = []
    ask = partial(resolver.query, dns.Query(name, kind, dns.IN))
    Deferred.fromCoroutine(look_up(ask, name, kind)).addBoth(ends.append)
    wait_until(lambda: reactor.iterate(0.01) or ends, "an answer")
    (end,) = ends
    if hasattr(end, "trap"):
        end.trap(NoHop)
        return end.value
    return end


@pytest.mark.parametrize("cut", [set(), {"mx.x.example"}], ids=["UDP", "TCP"])
def test_an_answer_is_authentic_when_the_resolver_says_so(cut):
    """The AD bit, which is asked for: in a datagram, and where that had no room."""
    with name_server(ZONE, cut=cut) as names:
        found = asked(ValidatingResolver("127.0.0.1", names.port), "mx.x.example")
    assert found.is_authentic
    assert [record.dottedQuad() for record in found.records] == ["192.0.2.1"]


def test_what_the_resolver_does_not_vouch_for_is_found_all_the_same():
    """Most of DNS is not signed."""
    with name_server(ZONE, insecure={"mx.x.example"}) as names:
        found = asked(ValidatingResolver("127.0.0.1", names.port), "mx.x.example")
    assert found.records
    assert not found.is_authentic


def test_the_same_bit_of_any_other_resolver_is_not_believed():
    """Whoever stands between can set it."""
    with name_server(ZONE) as names:
        found = asked(client.Resolver(servers=[("127.0.0.1", names.port)]), "mx.x.example")
    assert found.records
    assert not found.is_authentic


def test_an_alias_is_followed_to_where_the_records_stand():
    """The name that they really have is told."""
    with name_server(ZONE) as names:
        found = asked(ValidatingResolver("127.0.0.1", names.port), "alias.example")
    assert (found.name, found.is_authentic, len(found.records)) == ("mx.x.example", True, 1)


def test_that_there_is_nothing_can_be_authentic_too():
    """A name that has no records of the kind."""
    with name_server(ZONE) as names:
        found = asked(ValidatingResolver("127.0.0.1", names.port), "mx.x.example", dns.MX)
    assert (found.records, found.name, found.is_authentic) == ((), "mx.x.example", True)


@pytest.mark.parametrize(
    ("records", "insecure", "why"),
    [
        ({"": [dns.Record_NS("a.example")]}, set(), None),
        ({"": [dns.Record_NS("a.example")]}, {""}, "it does not vouch for the root of DNS"),
        ({"": dns.ESERVER}, set(), "4.4.3 . cannot be looked up: ServerError"),
    ],
    ids=["validates", "does not", "fails"],
)
def test_a_resolver_that_does_not_validate_is_told(records, insecure, why):
    """Every one that does vouches for the root; without a word nobody would miss DANE."""
    ends = []
    with capturedLogs() as logged, name_server(records, insecure=insecure) as names:
        resolver = ValidatingResolver("127.0.0.1", names.port)
        Deferred.fromCoroutine(warn_unless_validating(resolver)).addBoth(ends.append)
        wait_until(lambda: reactor.iterate(0.01) or ends, "an answer")
    assert ends == [None]
    told = [formatEvent(each) for each in logged if "validating" in formatEvent(each)]
    assert told == ([] if why is None else [f"127.0.0.1 was named validating_resolver: {why}"])


@pytest.mark.parametrize(
    ("name", "status", "permanent"),
    [("none.example", "5.1.2", True), ("bogus.example", "4.4.3", False)],
)
def test_what_was_tampered_with_is_trouble_and_not_an_answer(name, status, permanent):
    """A validating resolver tells SERVFAIL: that is not "there is no such name"."""
    with name_server(ZONE) as names:
        none = asked(ValidatingResolver("127.0.0.1", names.port), name)
    assert none.reply.startswith(f"{status} ")
    assert none.permanent is permanent
