"""Mail out against real servers in each of their moods: one copy each, or it is said why not."""

from __future__ import annotations

import re
import socket
import threading
from collections import Counter

import pytest
from twisted.internet import reactor
from twisted.internet.defer import succeed
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.names import dns

from dns_kit import name_server
from edge_kit import wait_until
from happy.event import MailDelayed, MailFailed, MailSent
from happy.wire.next_hop import Hop, Smarthost
from mail_kit import LISTS, entries, swaks
from outbound_kit import Post, smtp_sink

HELLO = b"Hello.\r\n"
LARGE = (b"x" * 78 + b"\r\n") * 100_000 + HELLO
"""More than the buffers between two sockets hold."""


def smarthost(port):
    return Smarthost(TCP4ClientEndpoint(reactor, "127.0.0.1", port))


def only_copy(messages):
    (message,) = messages
    assert b"\nHello.\n" in message.replace(b"\r\n", b"\n")
    return message


def send_one(folder, *options, content=HELLO):
    """Send a message to an smtp-sink with options; return its end, what is owed, and the copies."""
    with smtp_sink(folder, *options) as sink:
        post = Post(smarthost(sink.port))
        post.owe("bob@x.example", content=content)
        (end,) = post.wait_for_ends(1)
        post.close()
        return end, list(post.outbox), sink.messages


@pytest.mark.parametrize("way", ["-r", "-Q", "-q"])
@pytest.mark.parametrize("command", ["CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "."])
def test_trouble_for_now_is_tried_again_and_sent_once(tmp_path, way, command):
    """smtp-sink answers 4xx (-r), 421 (-Q) or nothing (-q): later it is sent, in one copy."""
    with smtp_sink(tmp_path / "bad", way, command) as bad:
        post = Post(smarthost(bad.port))
        post.owe("bob@x.example")
        (delayed,) = post.wait_for_ends(1)
    assert isinstance(delayed, MailDelayed)
    assert delayed.ambiguous is (way == "-q" and command == ".")
    (owed,) = post.outbox
    assert owed.state == ("ambiguous" if delayed.ambiguous else "retry")
    with smtp_sink(tmp_path / "good") as good:
        post.go_on_to_the_next_attempt(smarthost(good.port))
        _, sent = post.wait_for_ends(2)
        only_copy(good.messages)
    assert isinstance(sent, MailSent)
    assert sent.ambiguous is delayed.ambiguous
    assert len(post.outbox) == 0
    post.close()


@pytest.mark.parametrize("way", ["-r", "-Q", "-q"])
def test_trouble_with_helo_is_tried_again_and_sent_once(tmp_path, way):
    """The same of a server that knows no EHLO (-e)."""
    with smtp_sink(tmp_path / "bad", "-e", way, "HELO") as bad:
        post = Post(smarthost(bad.port))
        post.owe("bob@x.example")
        (delayed,) = post.wait_for_ends(1)
    assert isinstance(delayed, MailDelayed)
    assert not delayed.ambiguous
    with smtp_sink(tmp_path / "good", "-e") as good:
        post.go_on_to_the_next_attempt(smarthost(good.port))
        _, sent = post.wait_for_ends(2)
        post.close()
        only_copy(good.messages)
    assert isinstance(sent, MailSent)


@pytest.mark.parametrize("command", ["MAIL", "RCPT", "DATA", "."])
def test_a_refusal_for_good_fails_at_once(tmp_path, command):
    """smtp-sink answers 5xx (-f): MailFailed, at the first attempt, with the server's word."""
    failed, owed, _ = send_one(tmp_path / "sink", "-f", command)
    assert isinstance(failed, MailFailed)
    assert failed.reply.startswith("500 5.3.0 ")
    assert not failed.ambiguous
    assert owed == []


@pytest.mark.parametrize("way", ["-f", "-r", "-Q", "-q"])
def test_trouble_after_the_250_changes_nothing(tmp_path, way):
    """Whatever smtp-sink says to QUIT, or if it says nothing, a message that was taken is sent."""
    sent, _, copies = send_one(tmp_path / "sink", way, "QUIT")
    only_copy(copies)
    assert isinstance(sent, MailSent)
    assert not sent.ambiguous


@pytest.mark.parametrize("way", ["-f", "-r", "-Q", "-q"])
def test_a_server_that_wants_a_connection_for_each_message_gets_them(tmp_path, way):
    """smtp-sink lets no second message begin on a connection (RSET): nothing was begun yet."""
    with smtp_sink(tmp_path / "sink", way, "RSET") as sink:
        post = Post(smarthost(sink.port), outbox_deliveries_max=1)
        post.owe(*[f"bob{n}@x.example" for n in range(3)])
        ends = post.wait_for_ends(3)
        post.close()
        assert len(sink.messages) == 3
    assert all(isinstance(event, MailSent) and not event.ambiguous for event in ends)


@pytest.mark.parametrize("lacks", ["-8", "-a", "-C", "-e", "-E", "-F", "-N", "-p", "-P"])
def test_a_server_that_lacks_an_extension_gets_its_mail_once(tmp_path, lacks):
    """Without 8BITMIME, AUTH, XCLIENT, ESMTP at all, enhanced codes, XFORWARD, DSN, PIPELINING."""
    sent, _, copies = send_one(tmp_path / "sink", lacks)
    only_copy(copies)
    assert isinstance(sent, MailSent)


@pytest.mark.parametrize("command", ["CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "."])
def test_a_server_that_takes_its_time_is_left_and_tried_again(tmp_path, command):
    """smtp-sink answers late (-W): after the timeout it is delayed, at the dot it is ambiguous."""
    with smtp_sink(tmp_path / "slow", "-W", f"{command}:600") as slow:
        post = Post(smarthost(slow.port), mail_out_timeout_s=1, mail_out_final_timeout_s=1)
        post.owe("bob@x.example")
        (delayed,) = post.wait_for_ends(1)
    assert isinstance(delayed, MailDelayed)
    assert delayed.ambiguous is (command == ".")
    with smtp_sink(tmp_path / "good") as good:
        post.go_on_to_the_next_attempt(smarthost(good.port))
        _, sent = post.wait_for_ends(2)
        post.close()
        only_copy(good.messages)
    assert isinstance(sent, MailSent)
    assert sent.ambiguous is (command == ".")


@pytest.mark.parametrize("ending", [("-M", "2"), ("-n", "3", "-q", "RSET")])
def test_a_server_that_ends_between_two_messages_gets_the_rest_when_it_is_back(tmp_path, ending):
    """smtp-sink ends with a message (-M) or session (-n): each is sent once unless ambiguous."""
    with smtp_sink(tmp_path / "brief", *ending) as brief:
        post = Post(smarthost(brief.port), outbox_deliveries_max=1)
        post.owe(*[f"bob{n}@x.example" for n in range(5)])
        post.wait_for_ends(5)
        taken = brief.messages
    with smtp_sink(tmp_path / "good") as good:
        while len(post.outbox):
            before = len(post.ends)
            post.go_on_to_the_next_attempt(smarthost(good.port))
            post.wait_for_ends(before + 1)
        post.close()
        taken += good.messages
    sent = [event for event in post.ends if isinstance(event, MailSent)]
    assert sorted(event.recipient for event in sent) == [f"bob{n}@x.example" for n in range(5)]
    copies = Counter(
        re.search(rb"(?m)^X-Rcpt-Args: <(\S+)>", message)[1].decode() for message in taken
    )
    assert set(copies) == {event.recipient for event in sent}
    # It may end before its last 250 has left: that message comes twice, and is said to.
    twice = {recipient for recipient, count in copies.items() if count > 1}
    assert twice <= {event.recipient for event in sent if event.ambiguous}


def test_a_refusal_in_the_middle_of_a_message_fails_at_once(tmp_path):
    """smtp-sink refuses with 550 before the dot, reads no more and hangs up (-A)."""
    failed, _, _ = send_one(tmp_path / "sink", "-A", "0")
    assert isinstance(failed, MailFailed)
    assert failed.reply.startswith("550 ")
    assert not failed.ambiguous


def test_a_refusal_while_a_long_message_is_written_is_no_doubt(tmp_path):
    """The same when we write and cannot (-T): its word may be lost with the connection."""
    end, _, copies = send_one(tmp_path / "sink", "-T", "4096", "-A", "1", content=LARGE)
    assert isinstance(end, MailDelayed) or end.reply.startswith("550 ")
    assert not end.ambiguous
    assert not any(b"Hello." in copy for copy in copies)


def test_a_server_that_reads_late_and_little_gets_its_mail_once(tmp_path):
    """smtp-sink reads nothing for a second behind DATA (-H), and has a small window (-T)."""
    sent, _, copies = send_one(tmp_path / "sink", "-T", "16384", "-H", "1", content=LARGE)
    assert isinstance(sent, MailSent)
    assert only_copy(copies).count(b"x" * 78) == LARGE.count(b"x" * 78)


def test_a_server_that_does_not_read_is_left_and_tried_again(tmp_path):
    """smtp-sink reads nothing behind DATA (-H), its window is small (-T): there was no dot yet."""
    with smtp_sink(tmp_path / "deaf", "-T", "4096", "-H", "600") as deaf:
        post = Post(smarthost(deaf.port), mail_out_timeout_s=1)
        post.owe("bob@x.example", content=LARGE)
        (delayed,) = post.wait_for_ends(1)
    assert isinstance(delayed, MailDelayed)
    assert not delayed.ambiguous
    with smtp_sink(tmp_path / "good") as good:
        while len(post.outbox):
            before = len(post.ends)
            post.go_on_to_the_next_attempt(smarthost(good.port))
            post.wait_for_ends(before + 1)
        post.close()
        only_copy([message for message in good.messages if b"Hello." in message])
    assert isinstance(post.ends[-1], MailSent)
    assert not any(event.ambiguous for event in post.ends)


def test_a_server_that_serves_one_at_a_time_gets_all(tmp_path):
    """smtp-sink leaves further connections waiting (-m): each message is sent, and once."""
    with smtp_sink(tmp_path / "sink", "-m", "1") as sink:
        post = Post(smarthost(sink.port), outbox_deliveries_max=5)
        post.owe(*[f"bob{n}@x.example" for n in range(5)])
        ends = post.wait_for_ends(5)
        post.close()
        assert len(sink.messages) == 5
    assert all(isinstance(event, MailSent) and not event.ambiguous for event in ends)


@pytest.mark.parametrize(
    ("options", "kind", "reply"),
    [
        (("-r", "RCPT", "-b", "451 4.7.1 come back in a while"), MailDelayed, "451 4.7.1 come"),
        (("-r", "RCPT", "-b", "421 4.3.2 closing"), MailDelayed, "421 4.3.2 closing"),
        (("-f", ".", "-B", "554 5.7.1 no such words here"), MailFailed, "554 5.7.1 no such"),
    ],
)
def test_what_a_server_says_is_in_the_event(tmp_path, options, kind, reply):
    """In smtp-sink's own words (-b, -B)."""
    end, _, _ = send_one(tmp_path / "sink", *options)
    assert type(end) is kind
    assert end.reply.startswith(reply)


def test_a_server_of_another_protocol_is_tried_again(tmp_path):
    """smtp-sink speaks LMTP (-L) and knows no greeting of ours: nobody was refused."""
    delayed, _, copies = send_one(tmp_path / "sink", "-L")
    assert isinstance(delayed, MailDelayed)
    assert copies == []


@pytest.mark.parametrize("commands", ["CONNECT", "EHLO,HELO"])
def test_a_server_that_serves_nobody_may_do_so_later(tmp_path, commands):
    """A 5xx (-f) that is about the server and not about the message is tried again."""
    delayed, _, _ = send_one(tmp_path / "sink", "-f", commands)
    assert isinstance(delayed, MailDelayed)
    assert not delayed.ambiguous


def test_a_server_that_knows_no_ehlo_is_greeted_with_helo(tmp_path):
    """A 5xx to EHLO (-f) is no refusal: RFC 5321 section 3.2."""
    sent, _, copies = send_one(tmp_path / "sink", "-f", "EHLO")
    only_copy(copies)
    assert isinstance(sent, MailSent)


class SilentAfterDot:
    """A server that takes a whole message and says nothing; the second time it answers.

    What it has taken stays taken, as with a server whose answer was lost on the way. It hangs
    up, or ``waits`` until the other side does.
    """

    def __init__(self, *, waits):
        self.taken = []
        self._waits = waits
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        for answer in (None, b"250 2.0.0 taken\r\n"):
            connection, _ = self._listening.accept()
            with connection, connection.makefile("rwb", buffering=0) as line:
                line.write(b"220 mx.example\r\n")
                while (said := line.readline()) and not said.startswith(b"DATA"):
                    line.write(b"250 ok\r\n")
                line.write(b"354 go on\r\n")
                message = b""
                while (said := line.readline()) != b".\r\n":
                    message += said
                self.taken.append(message)
                if answer:
                    line.write(answer)
                if answer or self._waits:
                    line.readline()

    def close(self):
        self._listening.close()


def test_a_connection_dropped_after_the_dot_is_ambiguous_and_sent_again_with_its_id():
    """RFC 1047: two copies, one Message-ID; both ends say that there may be two."""
    server = SilentAfterDot(waits=False)
    post = Post(smarthost(server.port))
    post.owe("bob@x.example")
    post.wait_for_ends(1)
    assert [owed.state for owed in post.outbox] == ["ambiguous"]
    post.go_on_to_the_next_attempt()
    delayed, sent = post.wait_for_ends(2)
    post.close()
    server.close()
    assert isinstance(delayed, MailDelayed)
    assert isinstance(sent, MailSent)
    assert delayed.ambiguous
    assert sent.ambiguous
    first, second = server.taken
    assert first == second
    assert re.findall(rb"(?m)^Message-ID: <(.*)>\r$", first) == [b"1-0@y.example"]


def test_a_kill_while_a_message_is_sent_leaves_it_ambiguous(container):
    """Promise 6: after ``kill -9`` behind the dot, it is sent again with its id, and called so."""
    server = SilentAfterDot(waits=True)
    house = container(LISTS.format(port=0, smarthost=server.port)).start()
    swaks(house.port("lists", "smtp"), "--to", "dev-subscribe@lists.example", "--from", "a@x.org")
    wait_until(lambda: server.taken, "the message is at the server")
    house.kill()
    house.start()
    wait_until(lambda: entries(house, "happy.MailSent"), "it is sent")
    house.stop()
    server.close()
    assert [begun["attempt"] for begun in entries(house, "happy.MailSending")] == [1, 2]
    (sent,) = entries(house, "happy.MailSent")
    assert sent["ambiguous"] is True
    first, second = server.taken
    assert first == second
    assert len(re.findall(rb"(?mi)^Message-ID: ", first)) == 1


def test_a_container_that_delivers_directly_starts_and_stops(container):
    """`[mail] direct = true` is all it takes."""
    config = LISTS.format(port=0, smarthost=25).replace(
        'smarthost = "tcp:127.0.0.1:25"', "direct = true"
    )
    house = container(config).start()
    assert house.status()["apps"][0]["mood"] == "open"
    house.stop()


def test_a_container_asks_the_resolver_that_it_is_told_to_believe(container):
    """And says so when that one vouches for nothing: then no TLSA record will ever count."""
    with name_server({"": [dns.Record_NS("a.example")]}, insecure={""}) as names:
        direct = f'direct = true\nvalidating_resolver = "127.0.0.1:{names.port}"'
        config = LISTS.format(port=0, smarthost=25)
        house = container(config.replace('smarthost = "tcp:127.0.0.1:25"', direct)).start()
        told = "127.0.0.1 was named validating_resolver: it does not vouch for the root of DNS"
        wait_until(
            lambda: reactor.iterate(0.01) or any(told in line for line in house.lines),
            "it is told",
            wait_s_max=60,
        )
        house.stop()
    assert sum(told in line for line in house.lines) == 1


class InTurn:
    """A destination with several servers, the best one first."""

    def __init__(self, *ports):
        self._ports = ports

    def destination_of(self, recipient):
        return recipient.partition("@")[2]

    def find(self, destination):
        ways = [TCP4ClientEndpoint(reactor, "127.0.0.1", port) for port in self._ports]
        return succeed(tuple(map(Hop, ways)))


@pytest.mark.parametrize("way", ["-f", "-r", "-Q", "-q"])
def test_a_server_that_serves_nobody_is_passed_over(tmp_path, way):
    """RFC 5321 section 5.1: the next server has the message in the same attempt, and it alone."""
    with (
        smtp_sink(tmp_path / "first", way, "CONNECT") as first,
        smtp_sink(tmp_path / "second", way, "EHLO,HELO") as second,
        smtp_sink(tmp_path / "third") as third,
    ):
        post = Post(InTurn(first.port, second.port, third.port))
        post.owe("bob@x.example")
        (sent,) = post.wait_for_ends(1)
        post.close()
        assert (first.messages, second.messages) == ([], [])
        only_copy(third.messages)
    assert isinstance(sent, MailSent)
    assert not sent.ambiguous


class ByDomain:
    """Each domain has a server of its own on this machine."""

    def __init__(self, **ports):
        self._ports = ports

    def destination_of(self, recipient):
        return recipient.partition("@")[2]

    def find(self, destination):
        port = self._ports[destination]
        return succeed((Hop(TCP4ClientEndpoint(reactor, "127.0.0.1", port)),))


def test_one_stuck_destination_delays_no_other(tmp_path):
    """While smtp-sink keeps one destination waiting at the dot (-w), another gets all its mail."""
    with (
        smtp_sink(tmp_path / "slow", "-w", "600") as slow,
        smtp_sink(tmp_path / "quick") as quick,
    ):
        post = Post(ByDomain(slow=slow.port, quick=quick.port), drain_timeout_s=1)
        post.owe(*[f"a{n}@slow" for n in range(50)], *[f"b{n}@quick" for n in range(50)])
        ends = post.wait_for_ends(50)
        assert {event.recipient for event in ends} == {f"b{n}@quick" for n in range(50)}
        assert all(isinstance(event, MailSent) for event in ends)
        assert len(quick.messages) == 50
        post.close()
    assert {owed.state for owed in post.outbox} == {"pending", "sending"}
