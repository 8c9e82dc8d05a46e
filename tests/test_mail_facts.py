"""Facts of a mail, from the door through the journal to a handler, and again at a replay."""

from __future__ import annotations

import smtplib

import pytest

from facts_kit import Zone, mail_checks
from happy import App, MailRoutes, event, handles, state
from happy.limits import Limits
from happy.testing import running
from happy.testing.doors import send_mail
from happy.trace import delivered
from happy.wire.smtp import MailFactory
from mail_kit import LISTS, entries
from test_wire_mail_checks import LETTER, RECORDS, signed

WAIT_S = 60
HERE = {**RECORDS, ("y.example", "TXT"): ["v=spf1 ip4:127.0.0.1 -all"]}


@event
class Forget:
    """Forget all."""


@state
class Box:
    believed: int = 0
    doubted: int = 0
    header: bytes = b""


class Inbox(App):
    """Believes what a domain stands behind, and keeps the header of the last one."""

    state = Box
    mail = MailRoutes()

    @mail.to("<who>@")
    def take(state, mail, context, who):
        if mail.facts.dmarc.result == "pass":
            state.believed += 1
        else:
            state.doubted += 1
        state.header = delivered(mail, "inbox", context.seq, context.time)

    @handles(Forget)
    def forget(state, event, context):
        state.believed = state.doubted = 0


def test_a_handler_sees_facts_and_a_replay_sees_the_same_without_dns():
    """Promise 4: after a stop, after a kill, and with nobody left who could be asked."""
    zone = Zone(HERE)
    with running(Inbox, domains=("app.example",)) as inbox:
        checks = mail_checks(zone, clock=inbox.clock, host="mx.app.example")
        door = MailFactory(
            inbox.app,
            limits=Limits(),
            clock=inbox.clock,
            hostname="mx.app.example",
            checks=checks,
        )
        for sender, letter in (
            ("ann@y.example", signed()),
            ("eve@s.example", LETTER),
            ("eve@s.example", signed().replace(b"\nhello", b"\nhell0")),
        ):
            assert send_mail(door, inbox._until, sender, ("box@app.example",), letter).accepted
        before = (inbox.state.believed, inbox.state.doubted, inbox.state.header)
        assert before[:2] == (1, 2)
        assert b"dmarc=fail (p=reject) header.from=y.example" in before[2]
        assert before[2].startswith(b"Return-Path: <eve@s.example>\r\nAuthentication-Results: mx.")
        asked = zone.asked.total()
        zone.names.clear()
        for again in (inbox.restart, inbox.crash):
            again()
            now = (inbox.state.believed, inbox.state.doubted, inbox.state.header)
            assert now == before
        assert zone.asked.total() == asked


@pytest.mark.parametrize("fronts", [0, 1])
def test_a_container_looks_at_what_comes_to_a_door_that_says_so(container, sink, fronts):
    """As the configuration says, here or in a front."""
    smtp = '{ listen = "tcp:0:interface=127.0.0.1", check = ["dkim", "arc"] }'
    text = LISTS.format(port=0, smarthost=sink.port).replace(
        '"tcp:0:interface=127.0.0.1"\ndom', smtp + "\ndom"
    )
    assert smtp in text
    house = container(text.replace("domains =", f"fronts = {fronts}\ndomains =")).start()
    port = house.port("lists", "smtp")
    with smtplib.SMTP("127.0.0.1", port, "c.example", timeout=WAIT_S) as client:
        client.sendmail("ann@y.example", ["dev-subscribe@lists.example"], LETTER.decode())
    (mail,) = entries(house, "happy.Mail")
    assert mail["checked"]["dkim_checked"] is True
    assert mail["checked"]["arc"]["result"] == "none"
    assert mail["checked"]["spf"]["result"] == ""
    assert mail["host"] == "mx.lists.example"
