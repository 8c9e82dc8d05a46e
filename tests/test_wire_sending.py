"""Sending at once: what the kernel does not take is left to the transport."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import epollreactor
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableDescriptor, ISSLTransport
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.tcp import Connection
from twisted.internet.testing import StringTransport
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from zope.interface import directlyProvides

from happy.wire.sending import hang_up, send, shut, unsent_bytes


class Tcp(Connection):
    """Twisted's own TCP transport, as far as it is looked at; the kernel takes so much a call."""

    def __init__(self, takes):
        self.takes = list(takes)
        self.connected, self.disconnecting = True, False
        self.dataBuffer, self._tempDataBuffer = b"", []
        self.socket = self
        self.sent = b""

    def send(self, data):
        taken = self.takes.pop(0) if self.takes else BlockingIOError()
        if isinstance(taken, Exception):
            raise taken
        self.sent += data[:taken]
        return min(taken, len(data))

    def write(self, data):
        self._tempDataBuffer.append(data)

    @property
    def whole(self):
        return self.sent + self.dataBuffer + b"".join(self._tempDataBuffer)


@given(
    st.lists(st.binary(min_size=1, max_size=9), max_size=8),
    st.lists(st.integers(1, 12) | st.just(OSError("reset")), max_size=8),
)
def test_bytes_go_out_once_and_in_order(parts, takes):
    """Whatever the kernel takes of each part, all of them are sent or waiting, in order."""
    transport = Tcp(takes)
    for part in parts:
        send(transport, part)
    assert transport.whole == b"".join(parts)


def test_what_is_there_first_goes_first():
    """Behind unsent bytes nothing is sent at once."""
    transport = Tcp([100])
    transport.dataBuffer = b"first"
    send(transport, b"second")
    assert (transport.sent, transport.whole) == (b"", b"firstsecond")


@pytest.mark.parametrize(("connected", "disconnecting"), [(False, False), (True, True)])
def test_a_connection_at_its_end_is_the_transports_business(connected, disconnecting):
    """Closing or closed, it is for the transport to say what becomes of more."""
    transport = Tcp([100])
    transport.connected, transport.disconnecting = connected, disconnecting
    send(transport, b"late")
    assert transport.sent == b""


def test_any_other_transport_writes():
    """TLS, pipes and tests have a ``write``, and that is enough."""
    transport = StringTransport()
    send(transport, b"text")
    assert transport.value() == b"text"


def test_what_is_unsent_is_counted():
    """What waits in a transport is known in bytes; of any other it is taken that nothing does."""
    transport = Tcp([])
    transport.dataBuffer, transport.offset, transport._tempDataLen = b"12345", 2, 4
    assert unsent_bytes(transport) == 7
    assert unsent_bytes(StringTransport()) == 0


class Closing(StringTransport):
    """Remembers how it was closed."""

    def __init__(self):
        super().__init__()
        self.told = []

    def loseWriteConnection(self):
        self.told.append("shut")

    def loseConnection(self):
        self.disconnecting = True
        self.told.append("close")

    def abortConnection(self):
        self.told.append("cut")


@pytest.mark.parametrize(
    ("interface", "at_once", "told"),
    [
        (IHalfCloseableDescriptor, False, ["shut", "close", "cut"]),
        (IHalfCloseableDescriptor, True, ["close", "cut", "cut"]),
        (ISSLTransport, False, ["close", "cut", "cut"]),
    ],
)
def test_a_close_has_stages(interface, at_once, told):
    """First the sending side, then all of it, then by force; TLS has its own stages."""
    transport = Closing()
    directlyProvides(transport, interface)
    shut(transport, at_once=at_once)
    hang_up(transport)
    hang_up(transport)
    assert transport.told == told


def test_a_transport_around_another_is_not_gone_past():
    """TLS has the names of the connection under it; what is for TLS never goes past it."""

    class Wrapper(ProtocolWrapper):
        disconnecting = False

        def write(self, data):
            self.transport.write(b"wrapped " + data)

    inner = Tcp([100])
    wrapper = Wrapper(WrappingFactory(Factory()), Protocol())
    wrapper.makeConnection(inner)
    send(wrapper, b"text")
    assert inner.whole == b"wrapped text"
    bare = Tcp([100])
    bare.TLS = True
    send(bare, b"text")
    assert bare.sent == b""


def test_a_real_transport_sends_at_once():
    """Twisted's transport has the names that are looked at: the kernel has it before a turn."""
    reactor = epollreactor.EPollReactor()
    made = []

    class Server(Protocol):
        def connectionMade(self):
            made.append(self.transport)

    port = reactor.listenTCP(0, Factory.forProtocol(Server), interface="127.0.0.1")
    client = socket.create_connection(("127.0.0.1", port.getHost().port), timeout=60)
    try:
        while not made:
            reactor.iterate(1)
        send(made[0], b"at once")
        assert client.recv(100) == b"at once"
    finally:
        client.close()
        port.stopListening()
        for _ in range(3):
            reactor.iterate(0.01)
        for reader in reactor.removeAll():
            reader.connectionLost(Failure(ConnectionDone()))
        reactor._poller.close()
