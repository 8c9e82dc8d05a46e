"""A mailing list's whole life through a real Postfix, with ``kill -9`` between the steps."""

from __future__ import annotations

import email
import re
from email.message import Message

import pytest

from edge_kit import free_port, wait_until
from mail_kit import LISTS, entries, swaks
from postfix_kit import postfix

ANN, BOB = "ann@example.org", "bob@example.org"


class Town:
    """People at example.org, a list at lists.example, and a Postfix between them."""

    def __init__(self, house, relay, sink) -> None:
        self.house = house
        self.relay = relay
        self.sink = sink
        self.refusals: dict[str, str] = {}
        sink.refuse = self.refusals.get

    def write(self, sender: str, to: str, subject: str) -> None:
        """Send a letter from out in the world."""
        envelope = ("--from", sender, "--to", to)
        swaks(self.relay.port, *envelope, "--header", f"Subject: {subject}", stranger=True)

    def inbox(self, person: str) -> list[tuple[str, Message]]:
        """Return what a person was sent: return paths and letters."""
        return [
            (sender, email.message_from_bytes(content))
            for sender, recipients, content in self.sink.messages
            if person in recipients
        ]

    def wait_for(self, person: str, count: int) -> tuple[str, Message]:
        """Wait until a person has so many letters; return the latest."""
        wait_until(lambda: len(self.inbox(person)) >= count, f"{person} has {count} letters")
        assert len(self.inbox(person)) == count
        return self.inbox(person)[-1]

    def events(self, kind: str) -> list[dict]:
        """Return the bodies of the events of a kind, out of the journal."""
        return entries(self.house, kind)

    def path_of_latest(self, person: str) -> str:
        """Return the return path of the latest letter to a person, arrived or not."""
        sent = [mail for mail in self.events("happy.MailSent") if mail["recipient"] == person]
        return sent[-1]["reverse_path"]

    def kill(self, *, mail_sent: int) -> None:
        """``kill -9`` when so many letters have gone out and the journal knows."""
        wait_until(lambda: len(self.events("happy.MailSent")) >= mail_sent, f"{mail_sent} sent")
        self.house.kill()
        assert len(self.events("happy.MailSent")) == mail_sent

    def crash(self, *, mail_sent: int) -> None:
        """Kill it, and start it again."""
        self.kill(mail_sent=mail_sent)
        self.house.start()


@pytest.fixture
def town(container, sink):
    """The town, serving."""
    port = free_port()
    with postfix(happy=port, smarthost=sink.port) as relay:
        house = container(LISTS.format(port=port, smarthost=relay.port))
        yield Town(house.start(), relay, sink)


def join(town: Town, person: str, *, mail_sent: int) -> None:
    """Subscribe and confirm by answering the letter, with a crash before and after."""
    town.write(person, "dev-subscribe@lists.example", "let me in")
    _, question = town.wait_for(person, 1)
    town.crash(mail_sent=mail_sent + 1)
    answer_to = email.utils.parseaddr(question["Reply-To"] or question["From"])[1]
    assert re.fullmatch(r"dev-confirm-[0-9a-f]+@lists\.example", answer_to)
    town.write(person, answer_to, f"Re: {question['Subject']}")
    _, welcome = town.wait_for(person, 2)
    assert welcome["Subject"] == "Welcome to dev@lists.example"
    town.crash(mail_sent=mail_sent + 2)


def test_a_list_lives_through_crashes_behind_a_real_mail_server(town):
    """Subscribe, confirm, post, bounce, unsubscribe: nothing is lost, nothing comes twice."""
    join(town, ANN, mail_sent=0)
    join(town, BOB, mail_sent=2)

    # A post goes to both, each copy with a return path of its own.
    town.write(ANN, "dev@lists.example", "hello")
    copies = [town.wait_for(person, 3) for person in (ANN, BOB)]
    assert {letter["Subject"] for _, letter in copies} == {"hello"}
    assert {letter["List-Id"] for _, letter in copies} == {"<dev.lists.example>"}
    paths = [sender for sender, _ in copies]
    assert len(set(paths)) == 2
    assert all(re.fullmatch(r"bounces\+[0-9a-f-]+@lists\.example", path) for path in paths)
    town.crash(mail_sent=6)

    # Bob's mailbox is no more. His copy comes back while happy is away, and waits for it.
    town.refusals[BOB] = "450 4.2.1 not now"
    town.write(ANN, "dev@lists.example", "are you there?")
    town.wait_for(ANN, 4)
    wait_until(lambda: town.relay.queued() == [BOB], "Postfix keeps his copy")
    town.kill(mail_sent=8)
    town.refusals[BOB] = "550 5.1.1 no such mailbox"
    town.relay.flush()
    path = town.path_of_latest(BOB)
    assert path not in paths
    wait_until(lambda: town.relay.queued() == [path], "Postfix keeps the report")
    town.house.start()
    town.relay.flush()
    wait_until(lambda: reports(town), "the report is in the journal")
    (report,) = reports(town)
    assert (report["reverse_path"], report["recipients"]) == ("", [path])
    assert "550 5.1.1 no such mailbox" in report["content"]["$utf8"]
    town.crash(mail_sent=9)  # with a last letter to Bob, which nobody will read
    town.write(ANN, "dev@lists.example", "he is gone")
    town.wait_for(ANN, 5)
    town.crash(mail_sent=10)
    assert len(town.inbox(BOB)) == 3

    # Ann leaves by the address in the header of each of her copies.
    _, latest = town.inbox(ANN)[-1]
    (leave,) = re.findall(r"mailto:(dev-unsubscribe-[0-9a-f]+@lists\.example)",
                          latest["List-Unsubscribe"])  # fmt: skip
    town.write(ANN, leave, "enough")
    _, goodbye = town.wait_for(ANN, 6)
    assert goodbye["Subject"] == "You have left dev@lists.example"
    town.crash(mail_sent=11)

    # A stranger now, she is told so; nobody gets her letter.
    town.write(ANN, "dev@lists.example", "one more thing")
    sender, refusal = town.wait_for(ANN, 7)
    assert sender == ""
    assert "only subscribers write to dev" in refusal.as_string()
    wait_until(lambda: town.relay.queued() == [], "Postfix has nothing left")
    assert len(town.events("happy.MailSent")) == 11
    assert town.events("happy.MailFailed") == []
    assert len(reports(town)) == 1
    (status,) = town.house.status()["apps"]
    assert status["failed"] == 0


def reports(town: Town) -> list[dict]:
    """Return the mails that came back."""
    return [mail for mail in town.events("happy.Mail") if "bounces" in mail["recipients"][0]]
