"""MTA-STS: what a domain demands of those who bring it mail, and what becomes of mail meanwhile."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import reactor, ssl
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.ssl import Certificate, optionsForClientTLS, trustRootFromCertificates
from twisted.names import dns
from twisted.names.error import DNSNameError

from edge_kit import NAME, make_certificate
from happy.event import MailDelayed, MailSent
from happy.wire.mta_sts import Policy, StsHops, parse_policy
from happy.wire.next_hop import Hop, NoHop
from outbound_kit import Post
from test_wire_starttls import Server

GOOD = (
    b"version: STSv1\r\nmode: enforce\r\nmx: mx.x.example\r\nmx: *.Mail.example\r\nmax_age: 100\r\n"
)


@pytest.mark.parametrize(
    ("content", "policy"),
    [
        (GOOD, Policy("enforce", ("mx.x.example", "*.mail.example"), 100)),
        (b"version:STSv1\nmode:none\nmax_age:5\n", Policy("none", (), 5)),
        (GOOD.replace(b"100", b"9999999999"),
         Policy("enforce", ("mx.x.example", "*.mail.example"), 31_557_600)),
        (GOOD.replace(b"STSv1", b"STSv2"), None),
        (GOOD.replace(b"enforce", b"force"), None),
        (GOOD.replace(b"100", b"soon"), None),
        (b"version: STSv1\nmode: enforce\nmax_age: 5\n", None),
        (b"<html>not found</html>", None),
    ],
)  # fmt: skip
def test_a_policy_is_read_or_is_none(content, policy):
    """RFC 8461 section 3.2."""
    assert parse_policy(content) == policy


@settings(deadline=None)
@given(st.lists(st.sampled_from([*GOOD.splitlines(keepends=True), b"\xff:", b"mode", b":"])))
def test_reading_a_policy_never_raises(lines):
    """Whatever a web server answers."""
    assert isinstance(parse_policy(b"".join(lines)), Policy | None)


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("mx.x.example", True),
        ("a.mail.example", True),
        ("mail.example", False),
        ("a.b.mail.example", False),
        ("x.example", False),
        ("amail.example", False),
    ],
)
def test_a_star_stands_for_one_label(host, allowed):
    """RFC 8461 section 4.1."""
    assert parse_policy(GOOD).allows(host) is allowed


class World:
    """One domain: its servers, its TXT record, its policy and the time."""

    def __init__(self, *names):
        self.hops = [Hop(None, name) for name in names]
        self.text = [b"v=STSv1; id=1;"]
        self.policy = GOOD
        self.fetched = []
        self.time_s = 0
        self.sts = StsHops(self, self, self.fetch, lambda: self.time_s, lambda name: f"tls {name}")

    def find(self, _destination):
        return succeed(self.hops)

    def destination_of(self, recipient):
        return recipient.partition("@")[2]

    def lookupText(self, name):
        assert name == "_mta-sts.x.example"
        if self.text is None:
            return fail(DNSNameError())
        made = [dns.RRHeader(name, dns.TXT, payload=dns.Record_TXT(text)) for text in self.text]
        return succeed((made, [], []))

    def fetch(self, url):
        self.fetched.append(url)
        return fail(OSError("no")) if self.policy is None else succeed(self.policy)

    def found(self, destination="x.example"):
        ends = []
        Deferred.fromCoroutine(self.sts.find(destination)).addBoth(ends.append)
        if isinstance(ends[0], list):
            return {hop.name: hop.tls for hop in ends[0]}
        ends[0].trap(NoHop)
        return ends[0].value


OPEN = {"mx.x.example": None, "evil.example": None}
SAFE = {"mx.x.example": "tls mx.x.example"}


def test_only_the_servers_of_the_policy_are_left_and_tls_to_them_is_checked():
    """Whatever DNS says of others; the policy is fetched once."""
    world = World(*OPEN)
    assert world.found() == world.found() == SAFE
    assert world.fetched == ["https://mta-sts.x.example/.well-known/mta-sts.txt"]
    assert world.sts.destination_of("a@x.example") == "x.example"
    assert world.found("[192.0.2.1]") == OPEN


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        (None, GOOD),
        ([b"v=spf1 -all"], GOOD),
        ([b"v=STSv1; id=1;", b"v=STSv1; id=2;"], GOOD),
        ([b"v=STSv1; id=no good;"], GOOD),
        ([b"v=STSv1; id=1;"], None),
        ([b"v=STSv1; id=1;"], b"not a policy"),
        ([b"v=STSv1; id=1;"], GOOD.replace(b"enforce", b"testing")),
        ([b"v=STSv1; id=1;"], GOOD.replace(b"enforce", b"none")),
    ],
)
def test_without_a_policy_to_enforce_all_is_as_ever(text, policy):
    """No record, several, none that can be read, or one that only asks for reports."""
    world = World(*OPEN)
    world.text, world.policy = text, policy
    assert world.found() == OPEN


def test_a_policy_holds_for_as_long_as_it_says():
    """Also when DNS and the web tell it no more: that is what somebody in between would do."""
    world = World(*OPEN)
    assert world.found() == SAFE
    world.text = world.policy = None
    world.time_s = 99
    assert world.found() == SAFE
    world.text = [b"v=STSv1; id=2;"]
    assert world.found() == SAFE
    world.time_s = 100
    assert world.found() == OPEN


def test_a_new_id_brings_a_new_policy():
    """A domain that changes its servers is followed at once."""
    world = World("mx.x.example", "mx2.x.example")
    assert world.found() == SAFE
    world.text, world.policy = [b"v=STSv1;id=2"], GOOD.replace(b"mx.x", b"mx2.x")
    assert world.found() == {"mx2.x.example": "tls mx2.x.example"}


def test_where_no_server_is_allowed_mail_waits():
    """RFC 8461 section 5: it is not refused; the domain may mend what is wrong."""
    none = World("evil.example").found()
    assert none.reply.startswith("4.7.5 ")
    assert not none.permanent


class Way:
    def __init__(self, port, tls):
        self._hop = Hop(TCP4ClientEndpoint(reactor, "127.0.0.1", port), NAME, tls)

    def destination_of(self, _recipient):
        return "x"

    def find(self, _destination):
        return succeed((self._hop,))


@pytest.mark.parametrize(
    ("name", "offers", "sent"),
    [(NAME, True, True), ("other.example", True, False), (NAME, False, False)],
    ids=["its name", "another name", "no TLS"],
)
def test_mail_goes_over_verified_tls_or_waits(tmp_path, name, offers, sent):
    """Over real sockets: the certificate of another name, or no TLS at all, is a delay."""
    key, certificate = make_certificate(tmp_path)
    trusted = trustRootFromCertificates([Certificate.loadPEM(certificate.read_bytes())])
    factory = Factory.forProtocol(Server if offers else Plain)
    factory.taken = []
    factory.context = ssl.DefaultOpenSSLContextFactory(str(key), str(certificate))
    ports = []
    TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory).addCallback(ports.append)
    post = Post(Way(ports[0].getHost().port, optionsForClientTLS(name, trusted)))
    post.owe("bob@x.example")
    (end,) = post.wait_for_ends(1)
    post.close()
    ports[0].stopListening()
    assert isinstance(end, MailSent if sent else MailDelayed)
    assert factory.taken == ([True] if sent else [])


class Plain(Server):
    """Offers no TLS."""

    def lineReceived(self, line):
        if line.startswith(b"EHLO"):
            self.sendLine(b"250 mx")
        else:
            super().lineReceived(line)
