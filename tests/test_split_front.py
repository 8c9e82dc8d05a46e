"""Fronts as a user meets them: real processes that share the sockets of a real container."""

from __future__ import annotations

import http.client
import re
import signal
import smtplib
import socket
import ssl
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from twisted.internet.task import Clock

from edge_kit import NAME, make_certificate
from happy.split.front import Accepting
from witness_kit import verified

WAIT_S_MAX = 240
CLIENTS = 4
EACH = 20
FORM = {"Content-Type": "application/x-www-form-urlencoded"}

ONE_FRONT = """
data = "data"
[apps.numbers]
app = "shop:NumberService"
http = "tcp:0:interface=127.0.0.1"
fronts = 1
[log]
access = "off"
"""

EVERYTHING = """
data = "data"
[apps.numbers]
app = "happy.examples.numbers:NumberService"
http = [
    "tcp:0:interface=127.0.0.1", "unix:numbers.sock", "haproxy:unix:proxied.sock",
    "ssl:0:interface=127.0.0.1:privateKey=privkey.pem:certKey=fullchain.pem",
    "systemd:domain=UNIX:index=0", "haproxy:systemd:domain=UNIX:index=1",
]
fronts = 2
[apps.lists]
app = "happy.examples.lists:MailingLists"
http = "tcp:0:interface=127.0.0.1"
smtp = "tcp:0:interface=127.0.0.1"
domains = ["lists.example"]
settings = {{ lists = ["dev"], url = "http://lists.example" }}
fronts = 1
[mail]
hostname = "mx.lists.example"
smarthost = "tcp:127.0.0.1:{port}"
[log]
access_file = "access.log"
"""

# Listens as systemd would, and becomes the container.
ACTIVATE = """
import os, socket, sys
held = [socket.socket(socket.AF_UNIX) for _ in range(2)]
for number, listening in enumerate(held):
    listening.bind(f"activated{number}.sock")
    listening.listen()
for number, listening in enumerate(held):
    os.dup2(listening.fileno(), 20 + number)
for number in range(2):
    os.dup2(20 + number, 3 + number)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2", "LISTEN_FDNAMES": "a:b"}
os.execv(sys.argv[1], sys.argv[1:])
"""


class Port:
    """A socket that listens, as far as it matters who accepts."""

    numberAccepts = 100

    def __init__(self, clock):
        self.reactor, self.accepted, self.reads = clock, [], True

    def doRead(self):
        self.accepted.append(self.numberAccepts)

    def startReading(self):
        self.reads = True

    def stopReading(self):
        self.reads = False


class AcceptingPort(Accepting, Port):
    may_take = 3

    def room(self):
        return self.may_take


def test_a_front_that_has_more_than_its_part_leaves_a_connection_for_a_moment():
    """It looks away, so that another may take it; then it takes what still waits, stuck or not."""
    port = AcceptingPort(Clock())
    port.doRead()
    assert port.accepted == [3]
    port.may_take = 0
    for taken in (1, 2, 3):
        port.doRead()
        assert (len(port.accepted), port.reads) == (taken, False)
        port.reactor.advance(0.01)
        assert (len(port.accepted), port.reads) == (taken + 1, True)


def test_a_front_serves_those_it_has_before_it_accepts_more():
    """However many wait and however few the others have, a turn takes a part of them."""
    port = AcceptingPort(Clock())
    port.may_take = 1_000_000
    port.doRead()
    assert 1 < port.accepted[0] < 100


def test_a_front_that_drains_accepts_nothing_more():
    """Not what it had left for a moment either."""
    port = AcceptingPort(Clock())
    port.may_take = 0
    port.doRead()
    port.stop_accepting()
    port.reactor.advance(1)
    assert (port.accepted, port.reads) == ([], False)


def await_that(holds, what, house):
    """Wait until something holds, and return it."""
    until_s = time.monotonic() + WAIT_S_MAX
    while time.monotonic() < until_s:
        found = holds()
        if found:
            return found
        time.sleep(0.02)
    said = "\n".join(house.lines[-20:])
    raise AssertionError(f"it never came about that {what}; the container said:\n{said}")


def fronts_of(house, app="numbers"):
    (status,) = [one for one in house.status()["apps"] if one["name"] == app]
    return status["fronts"]


def address(where):
    host, _, port = where.rpartition(":")
    return host, int(port)


def place_of(house, app, kind="http", nth=0):
    (status,) = [one for one in house.status()["apps"] if one["name"] == app]
    return address([d["where"] for d in status["doors"] if d["kind"] == kind][nth])


def request(house, app, method, path, **more):
    connection = http.client.HTTPConnection(*place_of(house, app), timeout=WAIT_S_MAX)
    connection.request(method, path, **more)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, dict(answer.getheaders()), body


def is_gone(pid):
    """Say whether a process has ended; a zombie that nobody waits for has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def say(path, words):
    """Send words to a unix socket; return all of the answer."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(WAIT_S_MAX)
        client.connect(str(path))
        client.sendall(words)
        with client.makefile("rb") as answer:
            return answer.read()


def say_by_tls(place, folder, words):
    """Send words over TLS; return all of the answer."""
    trusting = ssl.create_default_context(cafile=folder / "fullchain.pem")
    with (
        socket.create_connection(place, timeout=WAIT_S_MAX) as plain,
        trusting.wrap_socket(plain, server_hostname=NAME) as client,
    ):
        client.sendall(words)
        with client.makefile("rb") as answer:
            return answer.read()


def take_many(place):
    """Take numbers on a connection of one's own; return them with their seqs."""
    connection = http.client.HTTPConnection(*place, timeout=WAIT_S_MAX)
    taken = []
    for _ in range(EACH):
        connection.request("POST", "/next")
        answer = connection.getresponse()
        taken.append((int(answer.read()), int(answer.getheader("Happy-Seq"))))
    connection.close()
    return taken


def ask_to_join(house, sink):
    """Have one ask to join a list by web and another by mail; each is written to."""
    by_web = request(
        house, "lists", "POST", "/dev/subscribe", body="address=bob@example.org", headers=FORM
    )
    assert by_web[0] == 200
    with smtplib.SMTP(*place_of(house, "lists", "smtp"), timeout=WAIT_S_MAX) as peer:
        peer.ehlo("client.example")
        peer.mail("ann@example.org")
        assert peer.rcpt("nobody@lists.example")[0] == 550
        assert peer.rcpt("dev-subscribe@lists.example")[0] == 250
        code, said = peer.data("From: ann@example.org\r\n\r\nlet me in\r\n")
    assert (code, bool(re.search(rb"Ok lists/\d+", said))) == (250, True)
    sink.wait_for(1, b"To: ann@example.org")
    sink.wait_for(1, b"To: bob@example.org")


def test_fronts_serve_as_one_process_would(container, sink):
    """Promises 2 and 5: web, Klein, queries, keys and mail by several processes, in one order.

    Through sockets of every kind: TCP, unix, TLS, behind a proxy's protocol, and systemd's.
    """
    wrapper = (sys.executable, "-S", "-c", ACTIVATE)
    house = container(EVERYTHING.format(port=sink.port), wrapper)
    make_certificate(house.folder)
    house.start()
    place = place_of(house, "numbers")
    with ThreadPoolExecutor(CLIENTS) as pool:
        taken = [one for each in pool.map(take_many, [place] * CLIENTS) for one in each]
    count = CLIENTS * EACH
    assert sorted(taken) == [(n, n) for n in range(1, count + 1)]
    assert request(house, "numbers", "GET", "/last")[2] == b"%d\n" % count

    key = {"Idempotency-Key": "once"}
    answers = [request(house, "numbers", "POST", "/next", headers=key) for _ in range(4)]
    assert {(h["Happy-Seq"], body) for _, h, body in answers} == {
        (str(count + 1), b"%d\n" % (count + 1))
    }
    words = b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    proxied = b"PROXY TCP4 192.0.2.7 192.0.2.8 1111 80\r\n" + words
    for answer in (
        say(house.folder / "numbers.sock", words),
        say(house.folder / "proxied.sock", proxied),
        say_by_tls(place_of(house, "numbers", nth=3), house.folder, words),
        say(house.folder / "activated0.sock", words),
        say(house.folder / "activated1.sock", proxied),
    ):
        assert answer.endswith(b"\r\n\r\n%d\n" % (count + 1))

    ask_to_join(house, sink)

    log = house.folder / "access.log"
    await_that(
        lambda: log.read_text().count("POST /next") == count + 4,  # told after it is answered
        "each answer is in the access log",
        house,
    )
    assert "192.0.2.7" in log.read_text()
    log.rename(house.folder / "access.log.1")
    house.process.send_signal(signal.SIGHUP)
    await_that(
        lambda: (
            request(house, "numbers", "GET", "/last")
            and log.exists()
            and "/last" in log.read_text()
        ),
        "the access log goes on in a new file",
        house,
    )

    pids = [front["pid"] for app in ("numbers", "lists") for front in fronts_of(house, app)]
    assert len(set(pids)) == 3
    assert {f["state"] for f in fronts_of(house)} == {"serving"}
    with socket.create_connection(place, timeout=WAIT_S_MAX) as idle:
        await_that(
            lambda: sum(front["connections"] for front in fronts_of(house)) == 1,
            "the connection is counted",
            house,
        )
        house.process.terminate()
        assert idle.recv(100) == b""
    assert house.process.wait(WAIT_S_MAX) == -signal.SIGTERM
    assert all(map(is_gone, pids))
    assert "Traceback" not in "\n".join(house.read_all())
    assert verified(house.data / "numbers") == "whole"


def test_a_front_that_cannot_start_ends_the_start(container):
    """It is one sentence, and exit status 1; no process is left, and no application serves."""
    house = container(ONE_FRONT)
    (house.folder / "shop.py").write_text(
        "import sys\n"
        "if 'happy.split.front' in sys.orig_argv:\n"
        "    raise ValueError('not here')\n"
        "from happy.examples import numbers\n"
        "class NumberService(numbers.NumberService):\n"
        "    pass\n"
    )
    assert house.launch().wait(WAIT_S_MAX) == 1
    lines = house.read_all()
    assert re.search(r"numbers: front 1 cannot start: .*not here", lines[-1])
    assert "Traceback" not in "\n".join(lines)
