"""SPF, DKIM, DMARC and ARC through the door: what is found out becomes part of the event."""

from __future__ import annotations

import time

import attrs
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from facts_kit import (
    FAILS,
    NOW_S,
    SILENT,
    Zone,
    ed25519_key,
    in_dns,
    mail_checks,
    rsa_key,
)
from happy.codec import EventDecoder, encode
from happy.event import Blob, Mail
from happy.facts import UNCHECKED, DnsAnswer, Spf
from happy.wire.dkim import Signer, signatures
from happy.wire.mail_checks import CHECKS, client_of
from smtp_kit import Door

CLIENT = "192.0.2.7"
LETTER = b"From: Ann <ann@y.example>\r\nTo: dev@lists.example\r\nSubject: hello\r\n\r\nhello\r\n"
RECORDS = {
    ("y.example", "TXT"): ["something else", f"v=spf1 ip4:{CLIENT} -all"],
    ("s.example", "TXT"): ["v=spf1 -all"],
    ("r._domainkey.y.example", "TXT"): [in_dns(rsa_key())],
    ("e._domainkey.y.example", "TXT"): [in_dns(ed25519_key())],
    ("_dmarc.y.example", "TXT"): ["v=DMARC1; p=reject"],
}
SIGNERS = [Signer("y.example", "r", rsa_key()), Signer("y.example", "e", ed25519_key())]


def signed(letter=LETTER, signers=SIGNERS):
    return signatures(signers, [letter], NOW_S - 60) + letter


class CheckingDoor(Door):
    """A mail door that looks at what comes, over a zone of DNS."""

    def __init__(self, zone=None, checks=CHECKS, relays=(), **limits):
        self.zone = Zone(RECORDS) if zone is None else zone
        clock = Clock()
        looked_at = mail_checks(self.zone, checks, clock=clock, **limits)
        super().__init__(relays=relays, clock=clock, checks=looked_at, **limits)

    def take(self, letter=LETTER, sender=b"ann@y.example", before=()):
        """Take one message; return it as the event has it."""
        peer = self.connect(CLIENT).greet()
        for line in (*before, b"MAIL FROM:<" + sender + b">", b"RCPT TO:<dev@lists.example>"):
            assert peer.say(line).startswith("250 ")
        peer.say(b"DATA")
        peer.push(letter + b".\r\n")
        assert peer.replies.splitlines()[-1].startswith("250 2.0.0 Ok lists/")
        return self.mails[-1]


def test_what_is_true_of_a_message_stands_in_its_event():
    """SPF, DKIM with both kinds of keys, DMARC; and that nobody handed it on."""
    facts = CheckingDoor().take(signed()).facts
    assert facts.client == CLIENT
    assert facts.spf == Spf("pass", "y.example", "mailfrom")
    assert [(one.result, one.domain, one.algorithm) for one in facts.dkim] == [
        ("pass", "y.example", "rsa-sha256"),
        ("pass", "y.example", "ed25519-sha256"),
    ]
    assert facts.signed_by("Y.example")
    assert not facts.signed_by("example")
    assert (facts.dmarc.result, facts.dmarc.policy) == ("pass", "reject")
    assert (facts.dmarc.spf_aligned, facts.dmarc.dkim_aligned) == (True, True)
    assert facts.arc.result == "none"


def test_the_answers_that_it_rests_on_stand_in_the_event():
    """Each question once, with what DNS said to it; what did not matter is not there."""
    assert CheckingDoor().take(signed()).facts.answers == (
        DnsAnswer("y.example", "TXT", "found", ("something else", f"v=spf1 ip4:{CLIENT} -all")),
        DnsAnswer("r._domainkey.y.example", "TXT", "found", (in_dns(rsa_key()),)),
        DnsAnswer("e._domainkey.y.example", "TXT", "found", (in_dns(ed25519_key()),)),
        DnsAnswer("_dmarc.y.example", "TXT", "found", ("v=DMARC1; p=reject",)),
    )


def test_the_same_answers_give_the_same_facts_again():
    """A zone made from the answers in an event, and nothing else: the facts are its own."""
    letter = signed().replace(b"hello\r\n", b"hell0\r\n")
    facts = CheckingDoor().take(letter, sender=b"x@s.example").facts
    told = {(one.name, one.kind): one.values for one in facts.answers if one.status == "found"}
    assert CheckingDoor(Zone(told)).take(letter, sender=b"x@s.example").facts == facts


@pytest.mark.parametrize("position", ["header", "body"])
def test_what_was_changed_on_the_way_is_no_longer_signed(position):
    """One letter, in the header or in the body, and DMARC says what the domain asks for then."""
    changed = {"header": (b"Subject: hello", b"Subject: hell0"), "body": (b"\nhello", b"\nhell0")}
    facts = CheckingDoor().take(signed().replace(*changed[position]), sender=b"x@s.example").facts
    assert [one.result for one in facts.dkim] == ["fail", "fail"]
    assert facts.spf.result == "fail"
    assert (facts.dmarc.result, facts.dmarc.policy) == ("fail", "reject")


def test_a_header_with_a_line_that_is_no_field_is_signed_by_nobody():
    """Another reader may take it for the end, and what was signed for something else."""
    facts = CheckingDoor().take(signed().replace(b"\r\nTo:", b"\r\nhello\r\nTo:")).facts
    assert {one.result for one in facts.dkim} == {"neutral"}


def test_what_fails_is_taken_all_the_same():
    """They are facts: what follows from them, the application says."""
    assert CheckingDoor().take(sender=b"x@s.example").facts.dmarc.result == "fail"


def test_a_message_that_says_nothing_is_none():
    """No signature, no record, no chain."""
    facts = CheckingDoor(Zone()).take().facts
    assert (facts.spf.result, facts.dkim, facts.dmarc.result, facts.arc.result) == (
        "none",
        (),
        "none",
        "none",
    )


def test_a_null_sender_is_looked_at_by_its_helo():
    """RFC 7208 section 2.4: of bounces, SPF asks about the client's own name."""
    zone = Zone({("client.example", "TXT"): [f"v=spf1 ip4:{CLIENT} -all"]})
    assert CheckingDoor(zone).take(sender=b"").facts.spf == Spf("pass", "client.example", "helo")


@pytest.mark.parametrize("checks", [("spf",), ("dkim",), ("arc",), ("spf", "dkim")])
def test_only_what_was_asked_for_is_looked_up(checks):
    """The rest is empty, which says that nobody looked."""
    door = CheckingDoor(checks=checks)
    facts = door.take(signed()).facts
    done = {
        "spf": facts.spf.result != "",
        "dkim": facts.dkim_checked and facts.dkim != (),
        "dmarc": facts.dmarc.result != "",
        "arc": facts.arc.result != "",
    }
    assert {name for name, value in done.items() if value} == set(checks)
    assert all("_dmarc" not in name for name, _ in door.zone.asked)


def test_a_door_that_looks_at_nothing_says_so():
    """No facts is no facts, and no error for the handler that asks."""
    door = Door()
    door.connect(CLIENT).greet().mail()
    (mail,) = door.mails
    assert (mail.checked, mail.facts) == (None, UNCHECKED)
    assert mail.facts.spf.result == ""


# --- time, and trouble -------------------------------------------------------------------------


def test_what_dns_cannot_tell_is_a_temperror():
    """A server that fails; the question stands among the answers, as failed."""
    failing = dict.fromkeys(RECORDS, FAILS)
    facts = CheckingDoor(Zone(failing)).take(signed()).facts
    assert facts.spf.result == "temperror"
    assert {one.result for one in facts.dkim} == {"temperror"}
    assert facts.dmarc.result == "temperror"
    assert DnsAnswer("y.example", "TXT", "failed") in facts.answers


def test_a_dns_that_says_nothing_holds_a_message_up_for_so_long_and_no_longer():
    """Nobody answers: at the end of the time the message is taken, and all is a temperror."""
    door = CheckingDoor(Zone(dict.fromkeys(RECORDS, SILENT)), mail_check_timeout_s=20)
    peer = door.connect(CLIENT).greet()
    peer.say(b"MAIL FROM:<ann@y.example>", b"RCPT TO:<dev@lists.example>", b"DATA")
    peer.push(signed() + b".\r\n")
    door.clock.advance(19)
    assert door.mails == []
    door.clock.advance(1)
    assert peer.replies.splitlines()[-1].startswith("250 2.0.0 Ok")
    (mail,) = door.mails
    assert mail.facts.spf.result == mail.facts.dmarc.result == "temperror"


def test_a_peer_is_not_too_slow_while_dns_is():
    """His time stands still, as it does while a message is made durable."""
    door = CheckingDoor(
        Zone(dict.fromkeys(RECORDS, SILENT)),
        mail_check_timeout_s=100,
        smtp_command_timeout_s=10,
        smtp_session_timeout_s=10,
    )
    peer = door.connect(CLIENT).greet()
    peer.say(b"MAIL FROM:<ann@y.example>", b"RCPT TO:<dev@lists.example>", b"DATA")
    peer.push(signed() + b".\r\n")
    for _ in range(101):
        door.clock.advance(1)
    assert peer.replies.splitlines()[-1].startswith("250 2.0.0 Ok")
    assert peer.say(b"NOOP").startswith("250 ")


def test_commands_behind_a_message_wait_for_it():
    """A pipelined QUIT is answered after the message, though DNS takes its time."""
    zone = Zone(RECORDS)
    zone.held = []
    door = CheckingDoor(zone)
    peer = door.connect(CLIENT).greet()
    peer.say(b"MAIL FROM:<ann@y.example>", b"RCPT TO:<dev@lists.example>", b"DATA")
    peer.push(signed() + b".\r\nQUIT\r\n")
    before = peer.replies
    assert before.splitlines()[-1].startswith("354 ")
    zone.release()
    assert [line[:3] for line in peer.replies[len(before) :].splitlines()] == ["250", "221"]


def test_a_message_asks_dns_so_often_and_no_oftener():
    """What is beyond the bound has failed; a hostile record cannot make us ask for ever."""
    many = " ".join(f"a:n{n}.y.example" for n in range(10))
    zone = Zone({("y.example", "TXT"): [f"v=spf1 {many} -all"]})
    door = CheckingDoor(zone, checks=("spf",), mail_lookups_max=2)
    assert door.take().facts.spf.result == "temperror"
    assert zone.asked.total() == 2


def test_no_more_signatures_are_looked_at_than_the_bound():
    """The first ones; a thousand of them cost no more than ten."""
    letter = signed(signed(signed(LETTER)))
    facts = CheckingDoor(mail_signatures_max=3).take(letter).facts
    assert [one.result for one in facts.dkim] == ["pass", "pass", "pass"]


@pytest.mark.parametrize(
    "field",
    [
        b"DKIM-Signature: v=1; b=" + b"\r\n " * 15_000 + b"!",
        b"DKIM-Signature: v=1; a=rsa-sha256; d=y.example; s=r; h=" + b"from:" * 10_000,
        b"DKIM-Signature:" + b"=;" * 20_000,
        b"ARC-Seal: i=" + b"9" * 50_000,
        b"ARC-Seal: i=1; " + b" \t" * 25_000,
        b"From: " + b"(" * 50_000,
    ],
)
def test_what_was_made_to_take_long_takes_no_long(field):
    """Promise 8: all is read in time that grows with the size alone, and nothing raises."""
    began_s = time.process_time()
    CheckingDoor().take(field + b"\r\n" + signed())
    assert time.process_time() - began_s < 30


def test_a_body_of_spaces_takes_no_long():
    """Lines of spaces up to the limit: one pass, whatever they are."""
    began_s = time.process_time()
    lines = (b" \t" * 15_000 + b"x\r\n") * 60
    facts = CheckingDoor(mail_inline_bytes_max=8 * 1024 * 1024).take(signed(LETTER + lines)).facts
    assert [one.result for one in facts.dkim] == ["pass", "pass"]
    assert time.process_time() - began_s < 30


# --- who sent it -------------------------------------------------------------------------------


def test_a_relay_tells_who_its_client_was():
    """SPF asks about the client of a server in front, and about the name which that gave."""
    zone = Zone({("other.example", "TXT"): ["v=spf1 ip4:198.51.100.9 -all"]})
    before = (b"XFORWARD ADDR=198.51.100.9 HELO=other.example",)
    facts = CheckingDoor(zone, relays=[CLIENT]).take(sender=b"", before=before).facts
    assert facts.client == "198.51.100.9"
    assert facts.spf == Spf("pass", "other.example", "helo")


def test_a_relay_that_tells_nothing_is_not_taken_for_the_sender():
    """Then nobody knows who sent it, and there is no result of SPF; signatures are there."""
    facts = CheckingDoor(relays=[CLIENT]).take(signed()).facts
    assert (facts.client, facts.spf.result) == ("", "")
    assert [one.result for one in facts.dkim] == ["pass", "pass"]
    assert facts.dmarc.result == "pass"


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        (("ADDR=IPV6:2001:db8::1",), "2001:db8::1"),
        (("NAME=x.example", "ADDR=203.0.113.5"), "203.0.113.5"),
        ((), "192.0.2.7"),
    ],
)
def test_addresses_are_read_as_relays_write_them(forwarded, client):
    """Postfix marks the new kind of addresses, as SMTP does."""
    mail = Mail("", (), b"", b"", peer=CLIENT, forwarded=forwarded)
    assert client_of(mail, relayed=False) == client


# --- large messages, and the journal -----------------------------------------------------------


def test_a_large_message_is_read_from_its_blob(tmp_path):
    """It is hashed block by block, from where its body begins."""
    letter = signed(LETTER + b"x" * 60 + b"\r\n" + b"line\r\n" * 50_000)
    path = tmp_path / "blob"
    path.write_bytes(letter)
    header, _, _ = letter.partition(b"\r\n\r\n")
    mail = Mail("ann@y.example", (), header + b"\r\n\r\n", Blob("ab" * 32, len(letter)))
    looked = Deferred.fromCoroutine(
        mail_checks(Zone(RECORDS)).look_at(mail, CLIENT, lambda _: path.open("rb"))
    )
    assert [one.result for one in looked.result.facts.dkim] == ["pass", "pass"]


def test_a_message_that_cannot_be_read_back_is_answered_with_try_again():
    """A blob that the disk gives no more: 451, and no event."""
    door = CheckingDoor(mail_inline_bytes_max=100)

    def gone(_):
        raise FileNotFoundError

    door.app.open_blob = gone
    peer = door.connect(CLIENT).greet()
    peer.say(b"MAIL FROM:<ann@y.example>", b"RCPT TO:<dev@lists.example>", b"DATA")
    peer.push(signed() + b".\r\n")
    assert peer.replies.splitlines()[-1].startswith("451 ")
    assert door.mails == []


def test_facts_come_back_from_the_journal_as_they_went_in():
    """Promise 4: a record holds all of them, and old ones that have none are read as before."""
    mail = CheckingDoor().take(signed())
    decoder = EventDecoder({("happy.Mail", 1): Mail})
    assert decoder.entry(1, 0, encode(mail)).event == mail
    old = attrs.evolve(mail, checked=None)
    assert decoder.entry(1, 0, encode(old)).event.facts == UNCHECKED


def test_two_messages_that_ask_the_same_ask_dns_once():
    """Answers are remembered for as long as they say that they are true."""
    door = CheckingDoor()
    door.take(signed())
    asked = door.zone.asked.total()
    door.take(signed())
    assert door.zone.asked.total() == asked
    door.clock.advance(301)
    door.take(signed())
    assert door.zone.asked.total() == 2 * asked


def test_the_clock_is_not_needed_when_nothing_is_asked():
    """A message without anything to look up is taken in the same turn."""
    clock = Clock()
    checks = mail_checks(Zone(), ("dkim", "arc"), clock=clock)
    mail = Mail("", (), LETTER[:-7], LETTER)
    done = Deferred.fromCoroutine(checks.look_at(mail, "", None))
    assert done.result.facts.answers == ()
    assert clock.getDelayedCalls() == []
