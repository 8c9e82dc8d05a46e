"""Questions to DNS: asked once, remembered as long as they are true, never waited for too long."""

from __future__ import annotations

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.names import client, common, dns, server
from twisted.names.error import DNSNameError

from facts_kit import FAILS, SILENT, Zone
from happy.facts import DnsAnswer
from happy.limits import Limits
from happy.wire.dns_lookup import DnsLookup

EVERY = {
    ("y.example", "TXT"): ["one", "x" * 300, "\xe9"],
    ("y.example", "A"): ["192.0.2.1", "192.0.2.2"],
    ("y.example", "AAAA"): ["2001:db8::1"],
    ("y.example", "MX"): ["10 a.example", "20 b.example"],
    ("1.2.0.192.in-addr.arpa", "PTR"): ["a.example"],
}


class Asking:
    """A lookup over a zone and a clock."""

    def __init__(self, zone, **limits):
        self.zone = zone
        self.clock = Clock()
        self.lookup = DnsLookup(zone, self.clock, Limits(**limits))

    def ask(self, *questions, within_s=10):
        asking = self.lookup.answers(questions, self.clock.seconds() + within_s)
        return Deferred.fromCoroutine(asking)

    def told(self, *question):
        return self.ask(question).result[question]


@pytest.mark.parametrize("question", EVERY)
def test_records_come_as_text(question):
    """The strings of a TXT joined, addresses in dots and colons, names in small letters."""
    found = Asking(Zone(EVERY)).told(*question)
    assert found == DnsAnswer(*question, "found", tuple(EVERY[question]))


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("a.example", "nodata"),
        ("none.test", "nxdomain"),
        ("bad.example", "failed"),
        ("x" * 64 + ".example", "nxdomain"),
        ("a..example", "nxdomain"),
        ("", "nxdomain"),
        ("é.example", "nxdomain"),
        ("x." * 130 + "example", "nxdomain"),
    ],
)
def test_what_is_not_there_has_a_word_for_why(name, status):
    """No record, no name, no answer; and what can be no name is not asked."""
    asking = Asking(Zone({("bad.example", "TXT"): FAILS, ("z.a.example", "TXT"): ["z"]}))
    assert asking.told(name, "TXT") == DnsAnswer(name, "TXT", status)
    assert asking.zone.asked.total() == (len(name) < 60 and name.isascii() and ".." not in name
                                         and name != "")  # fmt: skip


def test_those_who_ask_at_the_same_time_share_an_answer():
    """One question goes out, and all who wait are told."""
    zone = Zone(EVERY)
    zone.held = []
    asking = Asking(zone)
    first, second = asking.ask(("y.example", "TXT")), asking.ask(("y.example", "TXT"))
    assert zone.asked.total() == 1
    zone.release()
    assert first.result == second.result


def test_one_who_gives_up_leaves_the_others_their_answer():
    """Each has his own time."""
    zone = Zone(EVERY)
    zone.held = []
    asking = Asking(zone)
    hasty, patient = asking.ask(("y.example", "A"), within_s=1), asking.ask(("y.example", "A"))
    asking.clock.advance(1)
    assert hasty.result["y.example", "A"].status == "failed"
    zone.release()
    assert patient.result["y.example", "A"].status == "found"


def test_when_the_time_is_over_nothing_is_asked():
    """What is asked after the end has failed at once."""
    asking = Asking(Zone(EVERY))
    told = asking.ask(("y.example", "A"), within_s=0).result
    assert told["y.example", "A"].status == "failed"
    assert asking.zone.asked.total() == 0


@pytest.mark.parametrize(
    ("ttl", "after_s", "again"),
    [(300, 299, False), (300, 300, True), (10_000_000, 3_600, True), (0, 0, True)],
)
def test_an_answer_is_remembered_for_as_long_as_it_is_true(ttl, after_s, again):
    """Its own time to live, and never longer than the bound."""
    asking = Asking(Zone(EVERY, ttl=ttl))
    asking.told("y.example", "A")
    asking.clock.advance(after_s)
    asking.told("y.example", "A")
    assert asking.zone.asked.total() == 1 + again


def test_a_failure_is_not_remembered():
    """It may be over in a moment."""
    asking = Asking(Zone({("y.example", "A"): FAILS}))
    assert asking.told("y.example", "A").status == "failed"
    asking.zone["y.example", "A"] = ["192.0.2.1"]
    assert asking.told("y.example", "A").status == "found"


def test_no_more_is_remembered_than_the_bound():
    """Promise 8: the oldest answer goes."""
    asking = Asking(Zone(EVERY), dns_cache_answers_max=2)
    for kind in ("A", "AAAA", "MX", "MX", "A"):
        asking.told("y.example", kind)
    assert asking.zone.asked["y.example", "A"] == 2
    assert asking.zone.asked["y.example", "MX"] == 1


def test_no_more_is_asked_at_once_than_the_bound():
    """The rest waits for its turn, as long as whoever asks does."""
    zone = Zone({("y.example", "A"): SILENT} | {("y.example", "MX"): ["10 a.example"]})
    asking = Asking(zone, dns_lookups_max=1)
    asking.ask(("y.example", "A"))
    waiting = asking.ask(("y.example", "MX"))
    assert zone.asked.total() == 1
    asking.clock.advance(10)
    assert waiting.result["y.example", "MX"].status == "failed"


def test_an_answer_too_large_to_be_meant_is_none():
    """A record of many kilobytes costs time to read, and nobody needs one."""
    asking = Asking(Zone({("y.example", "TXT"): ["x" * 5_000]}))
    assert asking.told("y.example", "TXT").status == "failed"


def test_every_lookup_has_an_end_of_its_own():
    """So that a place among those at once is free again, whoever has given up."""
    asking = Asking(Zone(EVERY))
    asking.told("y.example", "A")
    (tries,) = asking.zone.timeouts
    assert 0 < sum(tries) < 60


class Authority(common.ResolverBase):
    """What a real server of DNS answers from."""

    def _lookup(self, name, cls, kind, timeout):
        del cls, timeout
        if name != b"y.example" or kind != dns.TXT:
            return Deferred.fromCoroutine(self._none())
        record = dns.Record_TXT(b"v=spf1 ", b"-all", ttl=60)
        headers = [dns.RRHeader(name, dns.TXT, payload=record, ttl=60)]
        return Deferred.fromCoroutine(self._found(headers))

    async def _none(self):
        raise DNSNameError

    async def _found(self, headers):
        return headers, [], []


def test_a_server_of_dns_is_asked_over_the_wire():
    """A real question over UDP to a real server, and its answer."""
    protocol = dns.DNSDatagramProtocol(server.DNSServerFactory(clients=[Authority()]))
    port = reactor.listenUDP(0, protocol, interface="127.0.0.1")
    resolver = client.Resolver(servers=[("127.0.0.1", port.getHost().port)])
    lookup = DnsLookup(resolver, reactor, Limits())
    asked = ("y.example", "TXT"), ("gone.example", "TXT")
    done = []
    try:
        asking = lookup.answers(asked, reactor.seconds() + 60)
        Deferred.fromCoroutine(asking).addBoth(done.append)
        until = reactor.seconds() + 60
        while not done and reactor.seconds() < until:
            reactor.iterate(0.01)
        assert done == [
            {
                asked[0]: DnsAnswer(*asked[0], "found", ("v=spf1 -all",)),
                asked[1]: DnsAnswer(*asked[1], "nxdomain"),
            }
        ]
    finally:
        port.stopListening()
