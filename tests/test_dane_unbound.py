"""Mail to signed domains, DNS validated by unbound: what the AD bit says, and what it stops."""

from __future__ import annotations

from datetime import timedelta

import dns.dnssec
import dns.zone
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.internet import reactor
from twisted.internet.protocol import ServerFactory

from certificate_kit import issue, server_side
from conftest import need
from dns_kit import NameServer
from edge_kit import free_port, open_folder, running
from happy.event import MailDelayed, MailSent
from outbound_kit import Post
from test_wire_dane import hops_of, pin
from test_wire_starttls import Server

ZONE = """
@ 300 IN SOA ns root 1 3600 600 86400 300
@ 300 IN NS ns
@ 300 IN MX 10 mx
wrong 300 IN MX 10 mx-wrong
changed 300 IN MX 10 mx-changed
plain 300 IN MX 10 mx-plain
ns 300 IN A 127.0.0.1
mx 300 IN A 127.0.0.1
mx-wrong 300 IN A 127.0.0.1
mx-changed 300 IN A 127.0.0.1
mx-plain 300 IN A 127.0.0.1
_{port}._tcp.mx 300 IN TLSA 3 1 1 {right}
_{port}._tcp.mx-wrong 300 IN TLSA 3 1 1 {wrong}
_{port}._tcp.mx-changed 300 IN TLSA 3 1 1 {wrong}
"""
WRONG, CHANGED = "dd" * 32, "ee" * 32

CONFIG = """
server:
    interface: 127.0.0.1@{port}
    access-control: 127.0.0.0/8 allow
    do-not-query-localhost: no
    local-zone: "example." nodefault
    module-config: "validator iterator"
    trust-anchor: "x.example. DS {ds}"
    directory: "{folder}"
    chroot: ""
    username: ""
    pidfile: ""
    use-syslog: no
remote-control:
    control-enable: no
auth-zone:
    name: "x.example."
    zonefile: "{folder}/signed"
    for-downstream: no
    fallback-enabled: no
auth-zone:
    name: "y.example."
    zonefile: "{folder}/unsigned"
    for-downstream: no
    fallback-enabled: no
"""


def write_zones(folder, port, right):
    """Write one zone signed, a record of which was changed since, and one as it is; return DS."""
    text = ZONE.format(port=port, right=right, wrong=WRONG)
    zone = dns.zone.from_text(text, origin="x.example.", relativize=False)
    key = ec.generate_private_key(ec.SECP256R1())
    public = dns.dnssec.make_dnskey(
        key.public_key(), dns.dnssec.Algorithm.ECDSAP256SHA256, flags=257
    )
    with zone.writer() as writer:
        dns.dnssec.sign_zone(
            zone,
            writer,
            keys=[(key, public)],
            lifetime=int(timedelta(days=1).total_seconds()),
            add_dnskey=True,
        )
    changed = [
        line.replace(WRONG, CHANGED) if "mx-changed" in line else line
        for line in zone.to_text(relativize=False).splitlines()
    ]
    (folder / "signed").write_text("\n".join(changed) + "\n")
    (folder / "unsigned").write_text(f"$ORIGIN y.example.\n{text}")
    return dns.dnssec.make_ds(zone.origin, public, "SHA256").to_text()


def test_only_what_is_signed_binds_and_what_was_changed_stops_mail():
    """The right record delivers, a wrong or a changed one waits, an unsigned one says nothing."""
    unbound, own = need("unbound"), issue("anybody.example")
    factory = ServerFactory()
    factory.protocol, factory.taken, factory.noisy = Server, [], False
    factory.context = server_side(own)
    server = reactor.listenTCP(0, factory, interface="127.0.0.1")
    smtp, port = server.getHost().port, free_port()
    with open_folder() as folder:
        ds = write_zones(folder, smtp, pin(own).data.hex())
        (folder / "unbound.conf").write_text(CONFIG.format(port=port, ds=ds, folder=folder))
        command = [unbound, "-d", "-c", str(folder / "unbound.conf")]
        with running(command, port, folder / "log"):
            post = Post(hops_of(NameServer({}, port=port), port=smtp))
            post.owe("a@x.example", "b@wrong.x.example", "c@changed.x.example",
                     "d@plain.x.example", "e@wrong.y.example")  # fmt: skip
            ends = {end.recipient[0]: end for end in post.wait_for_ends(5)}
            post.close()
    server.stopListening()
    assert {who for who, end in ends.items() if isinstance(end, MailSent)} == {"a", "d", "e"}
    assert isinstance(ends["b"], MailDelayed)
    assert ends["b"].reply.startswith("4.7.5 no TLS with the server: ")
    assert isinstance(ends["c"], MailDelayed)
    assert ends["c"].reply.startswith(f"4.4.3 _{smtp}._tcp.mx-changed.x.example ")
    assert factory.taken == [True] * 3
