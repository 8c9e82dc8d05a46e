"""Reading from many connections together: each is read, and ended, as if it were alone."""

from __future__ import annotations

import socket
import struct
import time

import pytest
from twisted.internet import epollreactor, unix
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure

from happy.wire.together import read_together

ENOUGH_S = 60


class Hearing(Protocol):
    """Writes down what it hears, and does what a word says."""

    def connectionMade(self):
        self.heard = b""
        self.end = None
        self.factory.made.append(self)

    def dataReceived(self, data):
        self.heard += data
        if data.startswith(b"fail"):
            raise ZeroDivisionError
        if data == b"oserror":
            raise OSError("the application's own")
        if data == b"end all":
            for one in self.factory.made:
                one.transport.abortConnection()

    def connectionLost(self, reason):
        self.end = reason.type
        if b"at the end" in self.heard:
            raise ZeroDivisionError


class House:
    """A port whose connections are read together, and clients."""

    def __init__(self, endpoint="tcp:0:interface=127.0.0.1"):
        self.reactor = epollreactor.EPollReactor()
        self.factory = Factory.forProtocol(Hearing)
        self.factory.made = self.made = []
        self.port = serverFromString(self.reactor, endpoint).listen(self.factory).result
        read_together(self.port)
        self.clients = []

    def connect(self, count=1):
        """Return clients, in the order in which they were accepted."""
        for _ in range(count):
            where = ("127.0.0.1", self.port.getHost().port)
            self.clients.append(socket.create_connection(where, timeout=ENOUGH_S))
            self.until(lambda: len(self.made) == len(self.clients))
        return self.clients[-count:]

    def until(self, condition):
        deadline = time.monotonic() + ENOUGH_S
        while not condition():
            assert time.monotonic() < deadline
            self.reactor.iterate(0.01)

    def close(self):
        for client in self.clients:
            client.close()
        self.port.stopListening()
        for _ in range(3):
            self.reactor.iterate(0.01)
        self.stop()
        self.reactor._poller.close()

    def stop(self):
        for reader in self.reactor.removeAll():
            reader.connectionLost(Failure(ConnectionLost()))


@pytest.fixture
def house():
    made = House()
    yield made
    made.close()


def test_all_that_are_ready_are_one_to_the_reactor(house):
    """A hundred connections are one descriptor of the reactor, and each hears its own."""
    before = len(house.reactor.getReaders())
    clients = house.connect(100)
    assert len(house.reactor.getReaders()) == before + 1
    for number, client in enumerate(clients):
        client.sendall(b"%d" % number)
    house.until(lambda: all(one.heard for one in house.made))
    assert [one.heard for one in house.made] == [b"%d" % number for number in range(100)]


def test_an_end_is_told_as_the_reactor_tells_it(house):
    """Who closes is done, who resets is lost; the others go on."""
    done, reset, other = house.connect(3)
    done.close()
    reset.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    reset.close()
    house.until(lambda: house.made[0].end and house.made[1].end)
    assert [one.end for one in house.made] == [ConnectionDone, ConnectionLost, None]
    other.sendall(b"still here")
    house.until(lambda: house.made[2].heard)


@pytest.mark.parametrize("word", [b"fail", b"oserror"])
def test_a_failure_ends_one_and_is_logged(house, word):
    """An exception out of one protocol ends that connection, and the log says so."""
    logged = []
    globalLogPublisher.addObserver(logged.append)
    try:
        bad, good = house.connect(2)
        bad.sendall(word)
        good.sendall(b"hello")
        house.until(lambda: house.made[0].end and house.made[1].heard)
    finally:
        globalLogPublisher.removeObserver(logged.append)
    assert issubclass(house.made[0].end, ZeroDivisionError | OSError)
    assert house.made[1].end is None
    assert any(entry.get("log_failure") for entry in logged)


@pytest.mark.parametrize("word", [b"at the end", b"at the end, by a reset", b"fail at the end"])
def test_a_failure_at_the_end_of_one_ends_no_other(house, word):
    """Who does not even end well takes nobody along."""
    bad, good = house.connect(2)
    bad.sendall(word)
    house.until(lambda: house.made[0].heard)
    if b"reset" in word:
        bad.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    bad.close()
    house.until(lambda: house.made[0].end)
    good.sendall(b"hello")
    house.until(lambda: house.made[1].heard)
    assert house.made[1].end is None


def test_one_may_end_those_that_are_ready_with_it(house):
    """The first of many ready ones aborts them all: nothing more is read from them."""
    clients = house.connect(10)
    for client in clients:
        client.sendall(b"end all")
    house.until(lambda: all(one.end for one in house.made))
    assert [one.heard for one in house.made].count(b"end all") == 1


def test_a_paused_connection_is_not_read(house):
    """Paused, it hears nothing, and then all that came meanwhile."""
    client, other = house.connect(2)
    house.made[0].transport.pauseProducing()
    client.sendall(b"wait")
    other.sendall(b"go")
    house.until(lambda: house.made[1].heard)
    assert house.made[0].heard == b""
    house.made[0].transport.resumeProducing()
    house.until(lambda: house.made[0].heard == b"wait")


def test_when_the_last_is_gone_the_next_begins_anew(house):
    """Without connections the reactor watches nothing; the next one is read again."""
    before = len(house.reactor.getReaders())
    for number in (1, 2):
        (client,) = house.connect()
        client.sendall(b"word")
        house.until(lambda number=number: house.made[number - 1].heard == b"word")
        client.close()
        house.until(lambda number=number: house.made[number - 1].end)
        assert len(house.reactor.getReaders()) == before


def test_a_reactor_that_stops_ends_all_of_them(house):
    """What the reactor lets go of at its end loses every connection."""
    house.connect(3)
    house.stop()
    assert [one.end for one in house.made] == [ConnectionLost] * 3


def test_a_port_of_another_kind_is_left_alone(tmp_path):
    """A Unix socket serves as it did."""
    house = House(f"unix:{tmp_path}/door")
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(f"{tmp_path}/door")
            client.sendall(b"hello")
            house.until(lambda: house.made and house.made[0].heard == b"hello")
            assert type(house.made[0].transport) is unix.Server
    finally:
        house.close()
