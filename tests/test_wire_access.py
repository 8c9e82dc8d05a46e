"""The access log: one event for each answer, and lines that stay lines."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import Logger
from twisted.web.resource import Resource

from happy.event import Exchange
from happy.limits import Limits
from happy.wire.access import (
    NAMESPACE,
    Access,
    AccessFile,
    access_logger,
    combined_line,
    json_line,
)
from happy.wire.http_site import HappySite

ACCESS = Access(
    app="numbers",
    peer="192.0.2.1",
    method="GET",
    uri="/a?b=c",
    protocol="HTTP/1.1",
    status=200,
    size_bytes=12,
    duration_s=0.25,
    referer="http://x.example/",
    user_agent="curl/8",
    seqs=(7, 8),
)
TIME_S = 971_211_336.0  # 10 Oct 2000, 20:55:36 UTC


def test_combined_line():
    """The combined format is Apache's."""
    assert combined_line(ACCESS, TIME_S) == (
        '192.0.2.1 - - [10/Oct/2000:20:55:36 +0000] "GET /a?b=c HTTP/1.1" 200 12 '
        '"http://x.example/" "curl/8"\n'
    )


def test_json_line():
    """The JSON format holds every field and the time."""
    assert json.loads(json_line(ACCESS, TIME_S)) == {
        "time": "2000-10-10T20:55:36.000000Z",
        "app": "numbers",
        "peer": "192.0.2.1",
        "method": "GET",
        "uri": "/a?b=c",
        "protocol": "HTTP/1.1",
        "status": 200,
        "size_bytes": 12,
        "duration_s": 0.25,
        "referer": "http://x.example/",
        "user_agent": "curl/8",
        "seqs": [7, 8],
    }


@given(st.binary())
def test_no_peer_can_break_a_line(noise):
    """Whatever a peer sends, a line is one line, printable, and has its quotes in place."""
    text = noise.decode("utf-8", "surrogateescape")
    access = Access(
        app="a", peer="-", method="GET", uri="/", protocol="HTTP/1.1", status=200, size_bytes=0,
        duration_s=0.0, referer=text, user_agent=text,
    )  # fmt: skip
    line = combined_line(access, TIME_S)
    assert line.endswith("\n")
    assert line[:-1].isprintable()
    assert line.isascii()
    assert line.count('"') == 6
    line = json_line(access, TIME_S)
    assert line.index("\n") == len(line) - 1
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in line[:-1])
    json.loads(line)


def test_file_takes_accesses_only_and_reopens(tmp_path):
    """An access file holds accesses, and goes on in a new file after a rotation."""
    path = tmp_path / "access.log"
    file = AccessFile(path)
    log = Logger(namespace=NAMESPACE, observer=file)
    access_logger(log)(ACCESS)
    log.info("something else")
    assert path.read_text().count("\n") == 1
    path.rename(tmp_path / "access.log.1")
    access_logger(log)(ACCESS)
    assert (tmp_path / "access.log.1").read_text().count("\n") == 2
    file.reopen()
    access_logger(log)(ACCESS)
    file.close()
    assert path.read_text().count("\n") == 1


class Root(Resource):
    isLeaf = True

    def render(self, request):
        request.exchange = Exchange("http GET /")
        request.exchange.seqs.append(7)
        return b"hello"


def serve(limits, access_log):
    clock = Clock()
    clock.advance(10)
    site = HappySite(Root(), limits=limits, reactor=clock, access_log=access_log, name="app")
    channel = site.buildProtocol(None)
    channel.makeConnection(StringTransport())
    return channel


def test_each_answer_is_one_event():
    """An answer is reported once, with what was asked and what was sent."""
    seen = []
    channel = serve(Limits(), seen.append)
    channel.dataReceived(
        b"GET /x?y HTTP/1.1\r\nHost: a\r\nUser-Agent: \xff\r\nReferer: r\r\n\r\n"
        b"HEAD /z HTTP/1.1\r\nHost: a\r\n\r\n"
    )
    assert [(a.method, a.uri, a.status, a.size_bytes) for a in seen] == [
        ("GET", "/x?y", 200, 5),
        ("HEAD", "/z", 200, 0),
    ]
    assert (seen[0].app, seen[0].peer, seen[0].seqs) == ("app", "192.168.1.1", (7,))
    assert (seen[0].referer, seen[0].user_agent) == ("r", "\udcff")
    assert "\\xff" in combined_line(seen[0], TIME_S)


@pytest.mark.parametrize(
    ("wire", "status"), [(b"NONSENSE\r\n\r\n", 400), (b"GET /" + b"a" * 100, 414)]
)
def test_refusals_are_reported(wire, status):
    """A request that never became one is reported, too."""
    seen = []
    serve(Limits(http_request_line_bytes_max=50), seen.append).dataReceived(wire)
    assert [(a.method, a.status) for a in seen] == [("-", status)]
    assert seen[0].size_bytes > 0
