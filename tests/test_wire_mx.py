"""The servers of a domain, as DNS tells them: against a zone in memory and one over real DNS."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.names import client, common, dns, server
from twisted.names.error import DNSNameError, DNSQueryTimeoutError, DNSServerError

from edge_kit import wait_until
from happy.event import MailFailed, MailSent
from happy.limits import Limits
from happy.wire.mx import MxHops
from happy.wire.next_hop import NoHop
from outbound_kit import Post, smtp_sink

V4, V6 = "192.0.2.", "2001:db8::"


class Zone(common.ResolverBase):
    """A resolver that knows a few names; a name's records, or the error that asking brings."""

    def __init__(self, **names):
        super().__init__()
        self.names = {name.replace("_", "."): records for name, records in names.items()}

    def _lookup(self, name, _cls, kind, _timeout):
        name = name.decode().lower()
        known = self.names.get(name)
        if isinstance(known, Exception):
            return fail(known)
        if known is None:
            return fail(DNSNameError())
        made = [_record(each) for each in known]
        found = [dns.RRHeader(name, r.TYPE, payload=r) for r in made if kind == r.TYPE]
        return succeed((found, [], []))


def _record(each):
    if isinstance(each, tuple):
        return dns.Record_MX(each[0], each[1])
    return dns.Record_AAAA(each) if ":" in each else dns.Record_A(each)


def hops_of(zone, *, chance=None, port=25, **limits):
    return MxHops(
        resolver=zone,
        reactor=reactor,
        identity="here.example",
        limits=Limits(**limits),
        chance=chance or random.Random(1),
        port=port,
    )


def found(mx, domain):
    """Return what is found, as addresses, or the NoHop there is instead."""
    ends = []
    Deferred.fromCoroutine(mx.find(domain)).addBoth(ends.append)
    (end,) = ends
    if isinstance(end, list | tuple):
        return [hop.endpoint._host for hop in end]
    end.trap(NoHop)
    return end.value


def test_servers_come_in_the_order_of_their_preference():
    """The lowest number first, IPv6 before IPv4, whatever order DNS tells them in."""
    zone = Zone(
        x_example=[(20, "b.x.example"), (5, "a.x.example"), (30, "c.x.example")],
        a_x_example=[V4 + "1", V6 + "1"],
        b_x_example=[V4 + "2"],
        c_x_example=[V6 + "3"],
    )
    assert found(hops_of(zone), "x.example") == [V6 + "1", V4 + "1", V4 + "2", V6 + "3"]


def test_servers_of_one_preference_share_the_mail():
    """RFC 5321 section 5.1: ties are broken at random."""
    zone = Zone(
        x_example=[(5, f"h{n}.example") for n in range(3)],
        **{f"h{n}_example": [f"{V4}{n}"] for n in range(3)},
    )
    mx = hops_of(zone)
    first = Counter(found(mx, "x.example")[0] for _ in range(300))
    assert len(first) == 3
    assert min(first.values()) > 50


def test_a_domain_without_mx_is_its_own_server():
    """RFC 5321 section 5.1: the address of the name itself."""
    assert found(hops_of(Zone(x_example=[V4 + "9"])), "x.example") == [V4 + "9"]


@pytest.mark.parametrize(
    ("zone", "status", "permanent"),
    [
        ({}, "5.1.2", True),
        ({"x_example": [(0, "")]}, "5.1.10", True),
        ({"x_example": []}, "5.4.4", True),
        ({"x_example": [(5, "gone.example")]}, "5.4.4", True),
        ({"x_example": DNSServerError()}, "4.4.3", False),
        ({"x_example": DNSQueryTimeoutError(1)}, "4.4.3", False),
        ({"x_example": [(5, "a.example"), (6, "gone.example")], "a_example": DNSServerError()},
         "4.4.3", False),
        ({"x_example": [(5, "here.example"), (9, "b.example")], "b_example": [V4 + "2"]},
         "5.4.6", True),
    ],
    ids=["no domain", "null MX", "no address", "MX without address", "servfail", "timeout",
         "one in trouble", "we are the best"],
)  # fmt: skip
def test_where_there_is_no_server_it_is_said_whether_for_good(zone, status, permanent):
    """RFC 7505, RFC 3463: what DNS denies fails at once, what it does not tell is tried again."""
    none = found(hops_of(Zone(**zone)), "x.example")
    assert isinstance(none, NoHop)
    assert none.reply.startswith(f"{status} ")
    assert none.permanent is permanent


def test_a_server_in_trouble_does_not_hide_the_next():
    """What one name cannot tell, another may."""
    zone = Zone(
        x_example=[(1, "a.example"), (2, "b.example")],
        a_example=DNSServerError(),
        b_example=[V4 + "2"],
    )
    assert found(hops_of(zone), "x.example") == [V4 + "2"]


def test_mail_is_not_sent_to_ourselves_nor_behind_us():
    """RFC 5321 section 5.1: of those that we serve, only the better ones are asked."""
    zone = Zone(
        x_example=[(5, "a.example"), (7, "HERE.example"), (7, "c.example"), (9, "b.example")],
        a_example=[V4 + "1"],
        b_example=[V4 + "2"],
        c_example=[V4 + "3"],
    )
    assert found(hops_of(zone), "x.example") == [V4 + "1"]


def test_no_more_servers_are_looked_up_than_are_tried():
    """A domain with a thousand servers costs as much as one with ten."""
    zone = Zone(
        x_example=[(n, f"h{n}.example") for n in range(50)],
        **{f"h{n}_example": [f"{V4}{n}"] for n in range(50)},
    )
    assert len(found(hops_of(zone, mail_out_hops_max=4), "x.example")) == 4


@pytest.mark.parametrize(
    ("recipient", "destination"),
    [
        ("ann@X.Example", "x.example"),
        ('"a@b"@x.example.', "x.example"),
        ("ann@bücher.example", "xn--bcher-kva.example"),
        ("postmaster", ""),
        ("ann@[192.0.2.7]", "[192.0.2.7]"),
        ("ann@\ud800", "\ud800"),
    ],
)
def test_a_domain_is_one_destination_however_it_is_written(recipient, destination):
    """Large and small letters, a last dot, other scripts: one queue."""
    assert hops_of(Zone()).destination_of(recipient) == destination


def test_address_literals_need_no_dns():
    """RFC 5321 section 4.1.3."""
    mx = hops_of(Zone())
    assert found(mx, "[192.0.2.7]") == ["192.0.2.7"]
    assert found(mx, "[ipv6:2001:db8::7]") == ["2001:db8::7"]
    for bad in ("[]", "[x]"):
        assert found(mx, bad).reply.startswith("5.1.2 ")


@pytest.mark.parametrize(
    "bad", ["", "\ud800", "a..b", "x" * 64 + ".example", "x.example" * 40, "a b"]
)
def test_what_cannot_be_a_domain_is_not_looked_up(bad):
    """It fails at once, for no resolver will ever know it."""
    none = found(hops_of(Zone(**{bad: DNSServerError()})), bad)
    assert none.permanent
    assert none.reply.startswith("5.1.2 ")


def test_endpoints_are_of_the_addresses_kind():
    """An IPv6 address is connected to as one, on the port of SMTP."""
    mx = hops_of(Zone(x_example=[V6 + "1", V4 + "1"]))
    ends = []
    Deferred.fromCoroutine(mx.find("x.example")).addCallback(ends.extend)
    assert [type(hop.endpoint) for hop in ends] == [TCP6ClientEndpoint, TCP4ClientEndpoint]
    assert {hop.endpoint._port for hop in ends} == {25}
    assert {hop.name for hop in ends} == {"x.example"}


def test_mail_finds_its_way_by_real_dns(tmp_path):
    """Over UDP from a name server: the dead server is passed over, the null MX fails at once."""
    zone = Zone(
        x_example=[(1, "dead.example"), (2, "mx.example")],
        dead_example=["127.0.0.2"],
        mx_example=["127.0.0.1"],
        none_example=[(0, "")],
    )
    port = reactor.listenUDP(
        0,
        dns.DNSDatagramProtocol(server.DNSServerFactory(clients=[zone])),
        interface="127.0.0.1",
    )
    resolver = client.Resolver(servers=[("127.0.0.1", port.getHost().port)])
    with smtp_sink(tmp_path / "sink") as sink:
        post = Post(hops_of(resolver, port=sink.port))
        post.owe("bob@x.example", "eve@none.example", "tom@missing.example")
        ends = {event.recipient: event for event in post.wait_for_ends(3)}
        wait_until(lambda: sink.messages, "it is there")
        assert len(sink.messages) == 1
        post.close()
    port.stopListening()
    assert isinstance(ends["bob@x.example"], MailSent)
    assert isinstance(ends["eve@none.example"], MailFailed)
    assert ends["eve@none.example"].reply.startswith("5.1.10 ")
    assert ends["tom@missing.example"].reply.startswith("5.1.2 ")
