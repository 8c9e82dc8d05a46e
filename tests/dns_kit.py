"""A name server on this machine that says of each name whether it validated it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from attrs import define, field
from twisted.internet import reactor
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import ServerFactory
from twisted.names import dns

from happy.wire.tlsa import TLSA, Tlsa


@define
class NameServer:
    """Answers from ``records``, lists by name; an int there is an error code.

    It vouches for all but ``insecure`` names, to those who ask for that. ``cut`` names are too
    long for UDP. ``asked`` are the names, with the type, in their order.
    """

    records: dict[str, list | int]
    insecure: set[str] = field(factory=set)
    cut: set[str] = field(factory=set)
    asked: list[tuple[str, int]] = field(factory=list)
    port: int = 0

    def messageReceived(self, message, protocol, address=None):
        (query,) = message.queries
        name = query.name.name.decode().lower()
        self.asked.append((name, query.type))
        reply = dns.Message(message.id, answer=1, recDes=1, recAv=1)
        reply.queries = message.queries
        if name in self.cut and address is not None:
            reply.trunc = 1
        else:
            passed = self._fill(reply, name, query.type)
            reply.authenticData = bool(message.authenticData and not passed & self.insecure)
        protocol.writeMessage(reply, *([] if address is None else [address]))

    def _fill(self, reply, name, kind):
        """Write the answer; return all names that it is about."""
        owner, passed = name, {name}
        known = self.records.get(owner, dns.ENAME)
        while isinstance(known, list) and known and isinstance(known[0], dns.Record_CNAME):
            reply.answers.append(dns.RRHeader(owner, dns.CNAME, payload=known[0]))
            if kind == dns.CNAME:
                return passed
            owner = known[0].name.name.decode()
            passed.add(owner)
            known = self.records.get(owner, dns.ENAME)
        if isinstance(known, int):
            reply.rCode = known
            return passed
        for record in known:
            if kind == (TLSA if isinstance(record, dns.UnknownRecord) else record.TYPE):
                reply.answers.append(dns.RRHeader(owner, kind, payload=record))
        return passed

    def connectionMade(self, protocol):
        pass

    def connectionLost(self, protocol):
        pass


@contextmanager
def name_server(records: dict[str, list | int], **more) -> Iterator[NameServer]:
    """Run a name server over UDP and TCP, on one port."""
    names = NameServer(records, **more)
    factory = ServerFactory()
    factory.buildProtocol = lambda _: dns.DNSProtocol(names)
    factory.noisy = False
    udp, tcp = _listen(dns.DNSDatagramProtocol(names), factory)
    names.port = tcp.getHost().port
    try:
        yield names
    finally:
        udp.stopListening()
        tcp.stopListening()


def _listen(protocol, factory):
    for _ in range(50):
        tcp = reactor.listenTCP(0, factory, interface="127.0.0.1")
        try:
            return reactor.listenUDP(tcp.getHost().port, protocol, interface="127.0.0.1"), tcp
        except CannotListenError:  # somebody else has it for datagrams
            tcp.stopListening()
    pytest.fail("no port is free for both")


def tlsa(*records: Tlsa) -> list[dns.UnknownRecord]:
    """Return records as DNS carries them."""
    return [
        dns.UnknownRecord(bytes((each.usage, each.selector, each.matching)) + each.data)
        for each in records
    ]
