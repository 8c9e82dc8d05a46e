"""The HTTP door on real sockets: a reactor of the test's own, and clients that may block."""

from __future__ import annotations

import contextlib
import datetime
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.internet import epollreactor
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from happy.limits import Limits
from happy.wire.http_site import HappySite
from happy.wire.together import read_together

T = TypeVar("T")

ANSWER_S_MAX = 60


class Served:
    """What is served on a free port; its reactor runs while a client of it talks."""

    def __init__(self, site: Callable[[epollreactor.EPollReactor], HappySite], endpoint: str):
        self.reactor = epollreactor.EPollReactor()
        self.site = site(self.reactor)
        listening = serverFromString(self.reactor, endpoint + ":interface=127.0.0.1")
        self._port = listening.listen(self.site).result
        read_together(self._port)
        self.port = self._port.getHost().port
        self._opened: list[socket.socket] = []

    def turn(self) -> None:
        """Let the server do what is to be done now."""
        self.reactor.iterate(0.01)

    def connect(self, *, receive_bytes: int | None = None) -> socket.socket:
        """Return a connected client, with a small receive buffer if one is asked for."""
        client = socket.socket()
        if receive_bytes is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        client.settimeout(ANSWER_S_MAX)
        client.connect(("127.0.0.1", self.port))
        self._opened.append(client)
        return client

    def connect_tls(self) -> ssl.SSLSocket:
        """Return a client that speaks TLS and takes any certificate; to be called while serving."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        client = context.wrap_socket(self.connect())
        self._opened.append(client)
        return client

    def during(self, conversation: Callable[[], T]) -> T:
        """Serve while a client talks in a thread; return what it found."""
        with ThreadPoolExecutor(1) as pool:
            talking = pool.submit(conversation)
            while not talking.done():
                self.turn()
            return talking.result()

    def until(self, condition: Callable[[], bool]) -> None:
        """Serve until a condition holds."""
        deadline = time.monotonic() + ANSWER_S_MAX
        while not condition():
            assert time.monotonic() < deadline, "it does not come to that"
            self.turn()

    def close(self) -> None:
        """Close everything."""
        self._port.stopListening()
        for client in self._opened:
            client.close()
        for _ in range(3):
            self.turn()
        for reader in self.reactor.removeAll():
            reader.connectionLost(Failure(ConnectionDone()))
        self.reactor._poller.close()


@contextlib.contextmanager
def served(resource, endpoint: str = "tcp:0", **limits) -> Iterator[Served]:
    """Serve a resource for the length of a block."""
    with served_site(
        lambda reactor: HappySite(resource, limits=Limits(**limits), reactor=reactor), endpoint
    ) as made:
        yield made


@contextlib.contextmanager
def served_site(
    site: Callable[[epollreactor.EPollReactor], HappySite], endpoint: str = "tcp:0"
) -> Iterator[Served]:
    """Serve a site, which is made for a reactor, for the length of a block."""
    made = Served(site, endpoint)
    try:
        yield made
    finally:
        made.close()


def read_all(client: socket.socket) -> bytes:
    """Read until the server ends; a reset is an error."""
    read = bytearray()
    while piece := client.recv(65_536):
        read += piece
    return bytes(read)


def ssl_endpoint(folder: Path) -> str:
    """Return the beginning of an endpoint with a key and a certificate made for it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "happy.example")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = folder / "server.pem"
    pem.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return f"ssl:privateKey={pem}:port=0"
