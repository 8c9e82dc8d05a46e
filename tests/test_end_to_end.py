"""The container as a user meets it: real processes, real sockets, real programs."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import need
from smtp_sink import Sink

MIB = 1024 * 1024
HAPPY = Path(sys.executable).with_name("happy")

BOTH = """
data = "data"
[apps.numbers]
app = "happy.examples.numbers:NumberService"
http = "tcp:0:interface=127.0.0.1"
[apps.lists]
app = "happy.examples.lists:MailingLists"
http = "tcp:0:interface=127.0.0.1"
smtp = "tcp:0:interface=127.0.0.1"
domains = ["lists.example"]
settings = {{ lists = ["dev"], url = "http://lists.example" }}
[mail]
hostname = "mx.lists.example"
smarthost = "tcp:127.0.0.1:{port}"
[log]
access = "off"
"""


@pytest.fixture
def sink():
    """A smarthost."""
    made = Sink()
    yield made
    made.close()


@pytest.fixture
def house(container, sink):
    """A container with both examples, serving."""
    return container(BOTH.format(port=sink.port)).start()


def request(house, app: str, method: str, path: str, **more):
    """Send one request; return its status, headers and body."""
    connection = http.client.HTTPConnection("127.0.0.1", house.port(app, "http"), timeout=60)
    connection.request(method, path, **more)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, dict(answer.getheaders()), body


def swaks(house, *arguments: str, ok: bool = True) -> str:
    """Send a message with swaks; return the conversation."""
    command = [need("swaks"), "--server", f"127.0.0.1:{house.port('lists', 'smtp')}"]
    done = subprocess.run(
        [*command, "--helo", "client.example", *arguments],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=60,
        check=False,
    )
    assert (done.returncode == 0) is ok, done.stdout + done.stderr
    return done.stdout


def subscribe(house, sink, address: str) -> None:
    """Join the list dev by mail, confirming by reply."""
    swaks(house, "--to", "dev-subscribe@lists.example", "--from", address)
    (asked,) = sink.wait_for(1, f"To: {address}".encode())
    (reply_to,) = set(re.findall(r"dev-confirm-[0-9a-f]+@lists\.example", asked[2].decode()))
    swaks(house, "--to", reply_to, "--from", address)


def post(house, sender: str, subject: str) -> None:
    """Write to the list dev."""
    swaks(
        house, "--to", "dev@lists.example", "--from", sender,
        "--header", f"Subject: {subject}", "--body", subject,
    )  # fmt: skip


def memory_kib(pid: int) -> int:
    """Return the resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status).group(1))


def peak_kib(pid: int) -> int:
    """Return the highest resident memory a process ever had."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1))


def test_three_numbers_and_a_kill(container):
    """The first three numbers are 1, 2, 3, and after a kill the next one is 4."""
    house = container().start()
    taken = [request(house, "numbers", "POST", "/next") for _ in range(3)]
    assert [body for _, _, body in taken] == [b"1\n", b"2\n", b"3\n"]
    assert [headers["Happy-Seq"] for _, headers, _ in taken] == ["1", "2", "3"]
    house.kill()
    house.start()
    assert request(house, "numbers", "POST", "/next")[2] == b"4\n"


def test_a_large_message_is_synced_before_its_250_and_kept_byte_for_byte(container, sink, tmp_path):
    """Promise 1: 20 MB by mail: blob and frame are synced, then 250; memory grows < 4 MB."""
    trace = tmp_path / "trace"
    calls = "fdatasync,fsync,pwrite64,sendto,write,writev,rename"
    wrapper = (need("strace"), "-f", "-y", "-s", "60", "-e", f"trace={calls}", "-o", str(trace))
    house = container(BOTH.format(port=sink.port), wrapper).start()
    subscribe(house, sink, "ann@example.org")
    message = tmp_path / "message"
    line = "all work and no play makes Jack a dull boy, again and again and again.\r\n"
    head = "From: ann@example.org\r\nTo: dev@lists.example\r\nSubject: big\r\n"
    head += "Message-ID: <big@example.org>\r\nDate: Mon, 23 Nov 2026 10:00:00 +0000\r\n\r\n"
    message.write_text(head + line * (20_000_000 // len(line)), newline="")
    swaks(house, "--to", "dev@lists.example", "--from", "ann@example.org", "--data", f"@{message}")
    (pid,) = map(
        int,
        Path(f"/proc/{house.process.pid}/task/{house.process.pid}/children").read_text().split(),
    )
    # The first message has warmed the caches up; the second shows what one costs.
    sink.wait_for(1, b"<big@example.org>")
    content = (head.replace("big", "big2") + line * (20_000_000 // len(line))).encode()
    message.write_bytes(content + b".\r\n")  # as it is on the wire, the last dot included
    before = memory_kib(pid)
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak counts from here
    said = swaks(
        house,
        "--to",
        "dev@lists.example",
        "--from",
        "ann@example.org",
        "--data",
        f"@{message}",
        "--no-data-fixup",
    )
    grown_kib = peak_kib(pid) - before
    seq = int(re.search(r"250 2\.0\.0 Ok lists/(\d+)", said).group(1))
    sink.wait_for(1, b"<big2@example.org>")
    status, headers, raw = request(house, "lists", "GET", f"/dev/{seq}/raw")
    assert status == 200
    assert hashlib.sha256(raw).digest() == hashlib.sha256(content).digest()
    assert int(headers["Content-Length"]) == len(raw)
    house.kill()
    print(f"20 MB by mail: the memory grew by {grown_kib} kB at the most")
    assert grown_kib < 4 * 1024
    assert_synced_before_answered(trace.read_text(errors="replace"), seq)


def assert_synced_before_answered(trace: str, seq: int) -> None:
    """Read a trace backwards from the 250: the frame's sync, the frame, the blob's sync."""
    lines = trace.splitlines()
    answered = next(n for n, call in enumerate(lines) if f"Ok lists/{seq}" in call)

    def last(what: str, before: int) -> int:
        return max(n for n in range(before) if re.search(what, lines[n]))

    frame = last(r"pwrite64\(\d+<[^>]*\.segment>", answered)
    synced = last(r"fdatasync\(\d+<[^>]*\.segment>.*= 0|fdatasync resumed.*= 0", answered)
    named = last(r"rename\(.*blobs/[0-9a-f]{64}", frame)
    blob_synced = last(r"fdatasync\(\d+<[^>]*\.part>", named)
    assert blob_synced < named < frame < synced < answered


def test_mail_for_elsewhere_is_refused_at_rcpt(house):
    """The container is no open relay: a recipient of another domain is refused at RCPT."""
    said = swaks(house, "--to", "someone@elsewhere.example", "--from", "a@example.org", ok=False)
    assert re.search(r"RCPT TO:<someone@elsewhere\.example>\n<\*\* 550 5\.7\.1", said)


def test_a_hundred_unknown_verbs_end_the_session(house):
    """A peer that talks nonsense is told so a few times, and then 421 and goodbye."""
    with socket.create_connection(("127.0.0.1", house.port("lists", "smtp"))) as peer:
        peer.settimeout(60)
        assert peer.recv(1000).startswith(b"220 ")
        peer.sendall(b"EHLO client.example\r\n")
        for _ in range(100):
            try:
                peer.sendall(b"XYZZY\r\n")
            except OSError:
                break
        said = b""
        while True:
            try:
                more = peer.recv(65536)
            except ConnectionResetError:
                break
            if not more:
                break
            said += more
    lines = said.decode().splitlines()
    assert lines[-1].startswith("421 4.7.0")
    assert sum(line.startswith("500") for line in lines) < 100


def test_a_huge_body_is_refused_without_being_read(house):
    """1 GB over HTTP gets 413 at once, and the process does not grow by it."""
    before = memory_kib(house.process.pid)
    port = house.port("numbers", "http")
    head = b"POST /next HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=60) as peer:
        peer.sendall(head)
        with peer.makefile("rb") as answer:
            assert answer.readline().startswith(b"HTTP/1.1 413 ")
    with socket.create_connection(("127.0.0.1", port), timeout=60) as peer:
        peer.sendall(head)
        sent = 0
        with contextlib.suppress(OSError):
            while sent < 1000 * MIB:
                peer.sendall(bytes(MIB))
                sent += MIB
    assert sent < 100 * MIB
    assert memory_kib(house.process.pid) - before < 16 * 1024


def test_curl_hears_413(house, tmp_path):
    """A real client with a body over the limit reads the answer."""
    body = tmp_path / "body"
    body.write_bytes(bytes(9 * MIB))
    url = f"http://127.0.0.1:{house.port('numbers', 'http')}/next"
    said = subprocess.run(
        [need("curl"), "-s", "-o", "/dev/null", "-w", "%{http_code}", "--data-binary",
         f"@{body}", url],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert said.stdout == "413"


def test_the_journal_shows_web_and_mail_in_one_order(house, sink):
    """Promise 2: `happy journal show` lists both kinds by seq, and the answers name the same."""
    subscribe(house, sink, "ann@example.org")
    status, headers, _ = request(
        house,
        "lists",
        "POST",
        "/dev/subscribe",
        body="address=bob@example.org",
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert status == 200
    by_web = int(headers["Happy-Seq"])
    said = swaks(house, "--to", "dev@lists.example", "--from", "ann@example.org")
    by_mail = int(re.search(r"250 2\.0\.0 Ok lists/(\d+)", said).group(1))
    shown = subprocess.run(
        [HAPPY, "journal", "show", house.data / "lists"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    entries = [json.loads(line) for line in shown.splitlines()]
    assert [entry["seq"] for entry in entries] == list(range(1, len(entries) + 1))
    types = {entry["seq"]: (entry["type"], entry["source"]) for entry in entries}
    assert types[by_web] == ("lists.Ask", "http POST /dev/subscribe")
    assert types[by_mail][0] == "happy.Mail"
    assert types[by_mail][1].startswith("smtp")


def test_subscribe_post_bounce_and_unsubscribe_over_restarts(house, sink):
    """A list's whole life by mail, killed between the steps: nothing is lost or sent again."""
    subscribe(house, sink, "ann@example.org")
    house.kill()
    house.start()
    subscribe(house, sink, "bob@example.org")
    house.kill()
    house.start()
    post(house, "ann@example.org", "hello all")
    posted = sink.wait_for(2, b"Subject: hello all")
    assert sorted(to for _, to, _ in posted) == [("ann@example.org",), ("bob@example.org",)]
    assert all(b"List-Id:" in message for _, _, message in posted)
    assert all(re.match(r"bounces\+[\w-]+@lists\.example$", s) for s, _, _ in posted), posted
    house.kill()
    house.start()
    (for_bob,) = [message for _, to, message in posted if to == ("bob@example.org",)]
    (token,) = set(re.findall(r"http://lists\.example/unsubscribe/(\w+)", for_bob.decode()))
    assert request(house, "lists", "POST", f"/unsubscribe/{token}")[0] == 200
    house.kill()
    house.start()
    post(house, "ann@example.org", "once more")
    post(house, "ann@example.org", "the last one")
    sink.wait_for(1, b"Subject: the last one")
    (only,) = sink.wait_for(1, b"Subject: once more")
    assert only[1] == ("ann@example.org",)
    assert house.status()["apps"][1]["failed"] == 0
