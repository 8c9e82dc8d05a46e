"""DANE: who is proven by TLSA records, who must be, and what becomes of mail meanwhile."""

from __future__ import annotations

import random
from contextlib import contextmanager
from hashlib import sha256

import pytest
from attrs import define, field
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ServerFactory
from twisted.logger import capturedLogs, formatEvent
from twisted.names import client, dns

from certificate_kit import Issued, authority, issue, server_side
from dns_kit import NameServer, name_server, tlsa
from edge_kit import wait_until
from happy.event import MailDelayed, MailSent
from happy.limits import Limits
from happy.wire.dane import DaneTls, is_proven
from happy.wire.dnssec import ValidatingResolver
from happy.wire.mta_sts import StsHops
from happy.wire.mx import MxHops
from happy.wire.next_hop import NoHop
from happy.wire.starttls import Opportunistic
from happy.wire.tlsa import Tlsa
from outbound_kit import Post
from test_wire_starttls import Server

DOMAIN, MX, ALIAS = "x.example", "mx.x.example", "alias.x.example"


def pin(issued: Issued, usage: int = 3) -> Tlsa:
    """Return the record that names the key of a certificate by SHA-256."""
    key = issued.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Tlsa(usage, 1, 1, sha256(key).digest())


# --- who is proven -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def root():
    return authority("root")


@pytest.fixture(scope="module")
def middle(root):
    return authority("middle", root)


def proven(records, shown, names=(MX, DOMAIN)):
    return is_proven([each.certificate for each in shown], records, names)


def test_of_a_named_certificate_neither_names_nor_dates_matter():
    """DANE-EE, RFC 7672 section 3.1.1: DNS says both."""
    old = issue("other.example", days=(-30, -1))
    assert proven([pin(old)], [old])
    assert not proven([pin(issue(MX))], [old])
    assert not proven([pin(old)], [])


def test_one_record_that_fits_is_enough():
    """So that a certificate can be changed: the next one is told before it is shown."""
    now, then = issue(MX), issue(MX)
    assert proven([pin(now), pin(then)], [then])


@pytest.mark.parametrize("name", [MX, DOMAIN, "*.x.example"])
def test_below_a_named_authority_a_certificate_must_have_a_name(root, middle, name):
    """DANE-TA, RFC 7672 section 3.2.3: the host's, or the domain's; at any height."""
    own = issue(name, middle)
    assert proven([pin(root, 2)], [own, middle, root])
    assert proven([pin(middle, 2)], [own, middle])


@pytest.mark.parametrize(
    "own",
    [
        {"name": "other.example"},
        {"name": MX, "days": (-30, -1)},
        {"name": MX, "days": (1, 30)},
        {"name": MX, "extensions": (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]),)},
    ],
    ids=["another name", "too old", "too new", "for clients"],
)
def test_what_an_authority_signed_is_not_proven_by_that_alone(root, own):
    """Otherwise whoever is a customer of the same authority could take the mail."""
    names = x509.SubjectAlternativeName([x509.DNSName(MX)])
    if "extensions" in own:
        own["extensions"] += (names,)
    assert not proven([pin(root, 2)], [issue(by=root, **own), root])


def test_an_authority_that_is_only_shown_proves_nobody(root):
    """Its certificate is no secret: what counts is that it signed."""
    assert not proven([pin(root, 2)], [issue(MX), root])
    forged = Issued(issue("root").key, root.certificate)
    assert not proven([pin(root, 2)], [issue(MX, forged), root])


def test_an_authority_need_not_be_shown_when_it_is_told_whole(root, middle):
    """RFC 7671 section 5.2: a digest alone is not enough to check a signature with."""
    own = issue(MX, middle)
    whole = Tlsa(2, 0, 0, root.certificate.public_bytes(Encoding.DER))
    assert proven([whole], [own, middle])
    assert not proven([whole], [own])
    assert not proven([pin(root, 2)], [own, middle])


def test_a_certificate_is_not_its_own_authority():
    """That would be DANE-EE, and said so."""
    own = authority(MX)
    assert not proven([pin(own, 2)], [own])
    assert not proven([Tlsa(2, 0, 0, own.certificate.public_bytes(Encoding.DER))], [own])


# --- who must be -------------------------------------------------------------------------------


def zone(*records: Tlsa, port: int = 25) -> dict:
    """Return a domain with one server and its records."""
    return {
        DOMAIN: [dns.Record_MX(10, MX)],
        MX: [dns.Record_A("127.0.0.1")],
        f"_{port}._tcp.{MX}": tlsa(*records),
    }


def hops_of(names: NameServer, resolver=None, port: int = 25):
    return MxHops(
        resolver=resolver or ValidatingResolver("127.0.0.1", names.port),
        reactor=reactor,
        identity="here.example",
        limits=Limits(),
        chance=random.Random(1),
        port=port,
    )


def found(hops, domain=DOMAIN):
    """Return the hops, or the NoHop there is instead."""
    ends = []
    Deferred.fromCoroutine(hops.find(domain)).addBoth(ends.append)
    wait_until(lambda: reactor.iterate(0.01) or ends, "the servers")
    (end,) = ends
    if isinstance(end, list):
        return end
    end.trap(NoHop)
    return end.value


EE = Tlsa(3, 1, 1, bytes(32))
PKIX = Tlsa(1, 1, 1, bytes(32))
TLSA_OF_MX = f"_25._tcp.{MX}"


def test_servers_with_authentic_records_must_prove_themselves():
    """The records stand below the port and the server's name, not the domain's."""
    with name_server(zone(EE)) as names:
        (hop,) = found(hops_of(names))
    assert isinstance(hop.tls, DaneTls)
    assert hop.proof == "DANE"


@pytest.mark.parametrize("insecure", [DOMAIN, MX, TLSA_OF_MX])
def test_where_anything_on_the_way_is_not_authentic_nothing_is_demanded(insecure):
    """RFC 7672 section 2.2: otherwise whoever forges one could name his own server."""
    with name_server(zone(EE), insecure={insecure}) as names:
        (hop,) = found(hops_of(names))
    assert hop.tls is None
    assert (TLSA_OF_MX, 52) not in names.asked or insecure == TLSA_OF_MX


def test_a_resolver_that_was_not_named_is_not_believed():
    """Whatever bit it sets; nor is it asked for records that would not count."""
    with name_server(zone(EE)) as names:
        (hop,) = found(hops_of(names, client.Resolver(servers=[("127.0.0.1", names.port)])))
    assert hop.tls is None
    assert (TLSA_OF_MX, 52) not in names.asked


def test_records_of_which_none_is_usable_demand_tls_with_whoever_answers():
    """RFC 7672 section 2.2: the domain said that there is TLS; that much can be kept."""
    with name_server(zone(PKIX)) as names:
        (hop,) = found(hops_of(names))
    assert isinstance(hop.tls, Opportunistic)
    assert hop.proof == ""


@pytest.mark.parametrize("denied", [[], dns.ENAME], ids=["no records", "no name"])
def test_who_has_no_records_demands_nothing(denied):
    """Which is so for most servers of signed domains."""
    with name_server(zone() | {TLSA_OF_MX: denied}) as names:
        (hop,) = found(hops_of(names))
    assert hop.tls is None


@pytest.mark.parametrize("code", [dns.ESERVER, dns.EREFUSED, dns.ENOTIMP])
def test_a_server_whose_records_cannot_be_told_is_not_used_now(code):
    """RFC 7672 section 2.1.2: that is what who wants the mail in the clear would bring about."""
    with name_server(zone() | {TLSA_OF_MX: code}) as names:
        none = found(hops_of(names))
        assert none.reply.startswith("4.4.3 ")
        assert not none.permanent
        names.records[DOMAIN].append(dns.Record_MX(20, "mx2.x.example"))
        names.records["mx2.x.example"] = [dns.Record_A("127.0.0.2")]
        assert [hop.name for hop in found(hops_of(names))] == ["mx2.x.example"]


def test_a_domain_that_is_its_own_server_has_the_records_itself():
    """Without MX records, and that authentic."""
    records = {DOMAIN: [dns.Record_A("127.0.0.1")], f"_25._tcp.{DOMAIN}": tlsa(EE)}
    with name_server(records) as names:
        (hop,) = found(hops_of(names))
    assert hop.proof == "DANE"


@pytest.mark.parametrize(
    ("owner", "insecure", "base"),
    [
        (ALIAS, set(), ALIAS),
        (MX, set(), MX),
        (ALIAS, {MX}, ALIAS),
        (MX, {MX}, None),
        (ALIAS, {ALIAS}, None),
    ],
)
def test_a_server_that_is_an_alias_is_looked_for_where_it_leads(owner, insecure, base):
    """RFC 7672 section 2.2.3: there first, then by its own name."""
    records = {
        DOMAIN: [dns.Record_MX(10, ALIAS)],
        ALIAS: [dns.Record_CNAME(MX)],
        MX: [dns.Record_A("127.0.0.1")],
        f"_25._tcp.{owner}": tlsa(EE),
    }
    with name_server(records, insecure=insecure) as names:
        (hop,) = found(hops_of(names))
    assert (None if hop.tls is None else hop.tls.base) == base


@pytest.mark.parametrize(("records", "proof"), [((EE,), "DANE"), ((PKIX,), "MTA-STS")])
def test_dane_goes_before_a_policy_and_a_policy_before_tls_with_anybody(records, proof):
    """RFC 8461 section 2; the policy allows another server only."""
    mode = b"version: STSv1\nmode: enforce\nmx: %s\nmax_age: 100\n"
    allowed = b"other.example" if proof == "DANE" else MX.encode()
    texts = {f"_mta-sts.{DOMAIN}": [dns.Record_TXT(b"v=STSv1; id=1;")]}
    with name_server(zone(*records) | texts) as names:
        resolver = ValidatingResolver("127.0.0.1", names.port)

        async def fetch(_url):
            return mode % allowed

        (hop,) = found(StsHops(hops_of(names, resolver), resolver, fetch, reactor.seconds))
    assert hop.proof == proof


# --- what becomes of mail ----------------------------------------------------------------------


@define
class House:
    """A mail server on this machine, what it has taken, and DNS for it."""

    port: int
    factory: ServerFactory
    names: NameServer
    post: Post = field(init=False)

    def __attrs_post_init__(self):
        self.post = Post(hops_of(self.names, port=self.port))

    def pins(self, *records: Tlsa | int):
        """Tell other records of it, or fail to."""
        name = f"_{self.port}._tcp.{MX}"
        self.names.records[name] = tlsa(*records) if isinstance(records[0], Tlsa) else records[0]


@contextmanager
def house(own: Issued | None, *above: Issued):
    factory = ServerFactory()
    factory.protocol = Server if own else Plain
    factory.taken, factory.noisy = [], False
    factory.context = own and server_side(own, *above)
    port = reactor.listenTCP(0, factory, interface="127.0.0.1")
    number = port.getHost().port
    with name_server(zone(port=number)) as names:
        one = House(number, factory, names)
        try:
            yield one
        finally:
            one.post.close()
            port.stopListening()


class Plain(Server):
    """Offers no TLS."""

    def lineReceived(self, line):
        if line.startswith(b"EHLO"):
            self.sendLine(b"250 mx")
        else:
            super().lineReceived(line)


def test_mail_to_who_shows_the_named_certificate_is_delivered():
    """Though it has another name and is too old; it was asked for by the name of the records."""
    own, asked_for = issue("other.example", days=(-30, -1)), []
    with capturedLogs() as logged, house(own) as one:
        one.factory.context.getContext().set_tlsext_servername_callback(
            lambda connection: asked_for.append(connection.get_servername())
        )
        one.pins(pin(own))
        one.post.owe(f"bob@{DOMAIN}")
        (end,) = one.post.wait_for_ends(1)
    assert isinstance(end, MailSent)
    assert asked_for == [MX.encode()]
    assert any("MailSent over TLS, proven by DANE: 250" in formatEvent(each) for each in logged)
    assert one.factory.taken == [True]


def test_mail_to_who_shows_a_certificate_below_the_named_authority_is_delivered(root, middle):
    """The chain is the one that the server shows."""
    own = issue(MX, middle)
    with house(own, middle, root) as one:
        one.pins(pin(root, 2))
        one.post.owe(f"bob@{DOMAIN}")
        (end,) = one.post.wait_for_ends(1)
    assert isinstance(end, MailSent)
    assert one.factory.taken == [True]


@pytest.mark.parametrize("usage", [3, 2])
def test_mail_waits_until_the_right_certificate_is_shown_and_goes_once(root, usage):
    """Nothing of it was said to who showed the wrong one; the reply names what was wrong."""
    own, other = issue(MX, root), issue(MX)
    with house(own, root) as one:
        one.pins(pin(other, usage))
        one.post.owe(f"bob@{DOMAIN}")
        (delayed,) = one.post.wait_for_ends(1)
        assert isinstance(delayed, MailDelayed)
        assert delayed.reply.startswith("4.7.5 ")
        assert MX in delayed.reply
        assert one.factory.taken == []
        one.pins(pin(own if usage == 3 else root, usage))
        one.post.go_on_to_the_next_attempt()
        _, sent = one.post.wait_for_ends(2)
    assert isinstance(sent, MailSent)
    assert one.factory.taken == [True]


def test_mail_waits_where_the_records_cannot_be_told():
    """SERVFAIL for the records alone, though the server could be reached."""
    own = issue(MX)
    with house(own) as one:
        one.pins(dns.ESERVER)
        one.post.owe(f"bob@{DOMAIN}")
        (delayed,) = one.post.wait_for_ends(1)
        assert isinstance(delayed, MailDelayed)
        assert delayed.reply.startswith("4.4.3 ")
        one.pins(pin(own))
        one.post.go_on_to_the_next_attempt()
        _, sent = one.post.wait_for_ends(2)
    assert isinstance(sent, MailSent)
    assert one.factory.taken == [True]


@pytest.mark.parametrize("records", [(EE,), (PKIX,)], ids=["usable", "unusable"])
def test_mail_is_not_sent_in_the_clear_to_who_has_records(records):
    """Whoever took the offer of STARTTLS away gets nothing."""
    with house(None) as one:
        one.pins(*records)
        one.post.owe(f"bob@{DOMAIN}")
        (delayed,) = one.post.wait_for_ends(1)
    assert isinstance(delayed, MailDelayed)
    assert "4.7.5 " in delayed.reply
    assert one.factory.taken == []


@pytest.mark.parametrize("own", [issue(MX), None], ids=["TLS", "no TLS"])
def test_mail_goes_as_ever_where_dns_is_not_validated(own):
    """The same records without the AD bit: TLS with anybody, or none."""
    with house(own) as one:
        one.pins(EE)
        one.names.insecure |= {DOMAIN, MX}
        one.post.owe(f"bob@{DOMAIN}")
        (end,) = one.post.wait_for_ends(1)
    assert isinstance(end, MailSent)
    assert one.factory.taken == [own is not None]


def test_unusable_records_want_tls_with_anybody():
    """A certificate that nobody vouches for will do."""
    with house(issue("other.example")) as one:
        one.pins(PKIX)
        one.post.owe(f"bob@{DOMAIN}")
        (end,) = one.post.wait_for_ends(1)
    assert isinstance(end, MailSent)
    assert one.factory.taken == [True]
