"""Real clients and servers bring mail, while the container is killed and answers are lost.

``HAPPY_MAIL_MESSAGES=1000`` makes it so many messages, with a kill each second until they are in.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import ExitStack, contextmanager

import pytest

from edge_kit import wait_until
from exim_kit import exim
from ledger_kit import DIRECT, TAKEN, Ledger, bring, by_smtplib, content_of
from lossy_proxy import LossyProxy
from opensmtpd_kit import opensmtpd
from postfix_kit import postfix
from sendmail_kit import sendmail

RELAYS = {"postfix": postfix, "exim": exim, "opensmtpd": opensmtpd, "sendmail": sendmail}
SENDERS = (*DIRECT, *RELAYS)
MESSAGES = int(os.environ.get("HAPPY_MAIL_MESSAGES", "70")) // len(SENDERS)  # of each sender
KILLS = MESSAGES // 2
KILL_EACH_S = 1
EVERY = 10
WAIT_S_MAX = 240


class Killer:
    """Kills a container each second, and starts it again; senders keep step with it."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._stage = 0
        self._over = False

    def run(self) -> None:
        """Kill it so many times."""
        try:
            for _ in range(KILLS):
                self._kill()
        finally:
            self._over = True

    def _kill(self) -> None:
        """Kill it a second after the last time, and not before one more message was taken."""
        ledger, at_s, before = self._ledger, time.monotonic() + KILL_EACH_S, self._ledger.last_seq
        self._stage += 1
        wait_until(lambda: ledger.last_seq > before, "a message comes", wait_s_max=WAIT_S_MAX)
        time.sleep(max(0.0, at_s - time.monotonic()))
        ledger.house.kill()
        ledger.house.start()

    def wait_for_turn(self, number: int) -> None:
        """Wait until a message of a sender may come: they are spread over all kills."""
        wait_until(
            lambda: self._over or number * KILLS < self._stage * MESSAGES,
            "enough kills",
            wait_s_max=WAIT_S_MAX * MESSAGES,
        )


class Sender(threading.Thread):
    """One who brings messages; ``places`` are where their 250s said they are."""

    def __init__(self, name: str, work) -> None:
        super().__init__(name=name)
        self.failed: BaseException | None = None
        self.places = ()
        self._work = work

    def run(self) -> None:
        """Bring them all."""
        try:
            self.places = self._work(self.name)
        except BaseException as error:  # noqa: BLE001 - the test is to hear of it, whatever it is
            self.failed = error


def names_of(sender: str) -> list[str]:
    return [f"{sender}-{number}" for number in range(MESSAGES)]


@contextmanager
def relays(ports: dict[str, int], sink):
    """Run all mail servers, each before a port of its own; what they kept is theirs to bring."""
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(make(happy=ports[name], smarthost=sink.port))
            for name, make in RELAYS.items()
        }


def through(relay, name: str, wait_for_turn=lambda _number: None) -> list[int]:
    """Hand messages to a mail server, have it try until all are gone; return where they went."""
    for number, message in enumerate(names_of(name)):
        wait_for_turn(number)
        assert by_smtplib(relay.port, content_of(message)).startswith("250")
        relay.flush()

    def all_gone() -> bool:
        relay.flush()
        return not relay.queued()

    wait_until(all_gone, f"{name} has nothing left", wait_s_max=WAIT_S_MAX)
    return [int(seq) for seq in TAKEN.findall(relay.log)]


@pytest.fixture
def ledger(container, forkers):
    """A container with the ledger, serving; it starts in a moment."""
    made = Ledger(container)
    made.house.spawn = forkers().fork
    made.house.start()
    return made


def check(ledger: Ledger, senders: list[Sender]) -> None:
    """Each message is in the journal once, where its 250 said, and was handled once, in order."""
    assert [(s.name, s.failed) for s in senders if s.failed] == []
    in_journal = ledger.messages()
    names = [name for _, name in in_journal]
    assert sorted(names) == sorted(name for s in senders for name in names_of(s.name))
    heard = {s.name: list(s.places) for s in senders}
    for name, places in heard.items():
        assert sorted(places) == [seq for seq, n in in_journal if n.startswith(f"{name}-")], name
    assert ledger.lines() == in_journal
    ledger.house.stop()
    ledger.house.start()
    assert ledger.lines() == in_journal


def test_each_clients_and_servers_mail_comes_once_though_the_container_is_killed(ledger, sink):
    """Promises 1, 2 and 5: what was answered 250 is there once, where it said, handled in order."""
    killer = Killer(ledger)

    def bring_all(name: str) -> list[int]:
        places = []
        for number, message in enumerate(names_of(name)):
            killer.wait_for_turn(number)
            places.append(bring(name, ledger.port, message))
        return places

    with relays(dict.fromkeys(RELAYS, ledger.relay_port), sink) as servers:

        def relay_all(name: str) -> list[int]:
            return through(servers[name], name, killer.wait_for_turn)

        senders = [Sender(name, bring_all) for name in DIRECT]
        senders += [Sender(name, relay_all) for name in RELAYS]
        for sender in senders:
            sender.start()
        try:
            killer.run()
        finally:
            for sender in senders:
                sender.join()
    check(ledger, senders)
    for sender in senders:
        if sender.name in DIRECT:
            assert list(sender.places) == sorted(sender.places)  # one after the other
    print(f"{KILLS} kills, {len(senders) * MESSAGES} messages")


def test_every_server_sends_again_what_it_has_no_answer_to_and_it_is_one_event(ledger, sink):
    """Promise 5: every tenth 250 is swallowed; each server's own retries bring no message twice."""
    ways = {name: LossyProxy(lambda: ledger.relay_port, EVERY) for name in RELAYS}
    try:
        with relays({name: way.port for name, way in ways.items()}, sink) as servers:
            senders = [Sender(name, lambda name: through(servers[name], name)) for name in RELAYS]
            for sender in senders:
                sender.start()
            for sender in senders:
                sender.join()
            assert "may be sent more than once" in servers["postfix"].log
    finally:
        for way in ways.values():
            way.close()
    assert all(way.swallowed for way in ways.values())
    check(ledger, senders)
