"""The access log: one event for each answer, and lines that stay lines."""

import errno
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import formatEvent, globalLogPublisher
from twisted.web.resource import Resource

from happy.event import Exchange
from happy.limits import Limits
from happy.wire.access import (
    Access,
    AccessFile,
    Answered,
    Requested,
    access_log_of,
    combined_line,
    escaped,
    json_line,
)
from happy.wire.http_site import HappySite

REQUESTED = Requested("GET", "/a?b=c", "HTTP/1.1", "http://x.example/", "curl/8")
ACCESS = Access("numbers", "192.0.2.1", REQUESTED, Answered(200, 12, (7, 8)), 0.25)
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
    requested = Requested("GET", "/", "HTTP/1.1", referer=text, user_agent=text)
    access = Access("a", "-", requested, Answered(200, 0), 0.0)
    line = combined_line(access, TIME_S)
    assert line.endswith("\n")
    assert line[:-1].isprintable()
    assert line.isascii()
    assert line.count('"') == 6
    line = json_line(access, TIME_S)
    assert line.index("\n") == len(line) - 1
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in line[:-1])
    json.loads(line)


@given(st.text() | st.text(st.characters(codec="ascii")))
def test_each_character_that_could_do_harm_is_escaped(text):
    """Printable ASCII stays, but for quotes and backslashes; of the rest its bytes are told."""
    told = "".join(
        c if " " <= c <= "~" and c not in '"\\' else "".join(rf"\x{b:02x}" for b in c.encode())
        for c in text
    )
    assert escaped(text) == told


class Turn:
    """What is to be done at the end of a turn, when a test says that it ends."""

    def __init__(self):
        self.acts = []

    def soon(self, act):
        self.acts.append(act)

    def end(self):
        acts, self.acts = self.acts, []
        for act in acts:
            act()


def file_at(path, turn):
    file = access_log_of("combined", path, turn.soon)
    assert isinstance(file, AccessFile)
    file.open()
    return file


def test_the_lines_of_a_turn_are_written_together_at_its_end(tmp_path):
    """However many answers a turn has, it writes once; and the next turn writes again."""
    path, turn = tmp_path / "access.log", Turn()
    file = file_at(path, turn)
    for _ in range(2):
        before = path.read_text()
        for _ in range(3):
            file(ACCESS)
        assert path.read_text() == before
        assert len(turn.acts) == 1
        turn.end()
    assert path.read_text().count("\n") == 6
    file.close()


def test_a_renamed_file_keeps_what_was_answered_before(tmp_path):
    """After a rotation a new file begins; what waited for the end of the turn is in the old one."""
    path, turn = tmp_path / "access.log", Turn()
    file = file_at(path, turn)
    file(ACCESS)
    path.rename(tmp_path / "access.log.1")
    file(ACCESS)
    file.reopen()
    assert (tmp_path / "access.log.1").read_text().count("\n") == 2
    turn.end()
    file(ACCESS)
    file.close()
    assert path.read_text().count("\n") == 1
    assert (tmp_path / "access.log.1").read_text().count("\n") == 2


class Full:
    """A file that takes so many bytes more, and then none."""

    def __init__(self, room):
        self.room, self.data = room, b""

    def write(self, data):
        taken = bytes(data[: self.room])
        if not taken:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.room -= len(taken)
        self.data += taken
        return len(taken)


def test_a_full_disk_costs_lines_and_no_answer(tmp_path):
    """What finds no room is left out, said once, and counted; a line that follows is a line."""
    turn, said = Turn(), []
    file = file_at(tmp_path / "access.log", turn)
    file.close()
    file._file = full = Full(100)
    globalLogPublisher.addObserver(said.append)
    try:
        for _ in range(3):
            file(ACCESS)
            turn.end()
        full.room = 1_000
        file(ACCESS)
        turn.end()
    finally:
        globalLogPublisher.removeObserver(said.append)
    whole = combined_line(ACCESS, TIME_S)
    torn, line, rest = full.data.decode().split("\n")
    assert len(torn) == 100
    assert (line[-60:], rest) == (whole[-61:-1], "")
    told = [formatEvent(event) for event in said]
    assert [text.partition(".log ")[2] for text in told] == [
        "takes no more: no space left on device",
        "goes on, 3 lines short",
    ]


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
    assert [
        (a.requested.method, a.requested.uri, a.answered.status, a.answered.size_bytes)
        for a in seen
    ] == [
        ("GET", "/x?y", 200, 5),
        ("HEAD", "/z", 200, 0),
    ]
    assert (seen[0].app, seen[0].peer, seen[0].answered.seqs) == ("app", "192.168.1.1", (7,))
    assert (seen[0].requested.referer, seen[0].requested.user_agent) == ("r", "\udcff")
    assert "\\xff" in combined_line(seen[0], TIME_S)


@pytest.mark.parametrize(
    ("wire", "status"), [(b"NONSENSE\r\n\r\n", 400), (b"GET /" + b"a" * 100, 414)]
)
def test_refusals_are_reported(wire, status):
    """A request that never became one is reported, too."""
    seen = []
    serve(Limits(http_request_line_bytes_max=50), seen.append).dataReceived(wire)
    assert [(a.requested.method, a.answered.status) for a in seen] == [("-", status)]
    assert seen[0].answered.size_bytes > 0
