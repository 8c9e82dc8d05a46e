"""The HTTP door under TLS: what goes out is what the peer's TLS can read."""

import pytest
from twisted.web.static import Data

from http_socket_kit import read_all, served, ssl_endpoint

# Twisted's way with OpenSSL, about which we can do nothing.
pytestmark = pytest.mark.filterwarnings("ignore:Passing pyOpenSSL:DeprecationWarning")

GET = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory):
    """The beginning of an endpoint with TLS."""
    return ssl_endpoint(tmp_path_factory.mktemp("keys"))


def resource(content: bytes) -> Data:
    made = Data(content, "text/plain")
    made.isLeaf = True
    return made


def asked(server, request: bytes) -> bytes:
    def talk() -> bytes:
        with server.connect_tls() as client:
            client.sendall(request)
            return read_all(client)

    return server.during(talk)


@pytest.mark.parametrize("size", [5, 1_000_000])
def test_an_answer_arrives_under_tls(endpoint, size):
    """An answer goes through the connection's TLS, however large, never past it."""
    content = b"0123456789" * (size // 5)
    with served(resource(content), endpoint) as server:
        head, _, body = asked(server, GET).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert body == content


def test_a_refusal_arrives_under_tls(endpoint):
    """A refused request hears why, and TLS is ended as it should be."""
    with served(resource(b""), endpoint) as server:
        answer = asked(server, b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n")
        server.until(lambda: not server.site.channels)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.endswith(b"\n")


def test_a_refused_upload_hears_its_answer_under_tls(endpoint):
    """A client in the middle of an upload that is too large reads 413 there, too."""
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n"
    with served(resource(b""), endpoint, http_body_bytes_max=1_000) as server:
        answer = asked(server, head + b"x" * 100_000)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert answer.endswith(b"\n")
