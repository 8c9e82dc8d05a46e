"""Mail of a container that real mail servers cannot deliver, and what they write about that."""

from __future__ import annotations

from collections import defaultdict

import pytest

from desk_kit import TAKEN, desk, have_written
from edge_kit import free_port, wait_until
from exim_kit import exim
from mail_kit import shown
from opensmtpd_kit import opensmtpd
from postfix_kit import postfix
from test_cli_mail import happy, lines

REFUSALS = {
    "gone@x.example": "550 5.1.1 no such user",
    "full@x.example": "552 5.2.2 the mailbox is full",
    "late@x.example": "450 4.2.0 come back later",
}
# Postfix's own counts in hours.
LATE = """
delay_template = <<EOF
From: MAILER-DAEMON
Subject: Delayed Mail

It has not been delivered for $delay_warning_time_seconds seconds.
EOF
"""


def suppressed(house) -> list[str]:
    """Return the addresses that the container writes to no more."""
    return [row["address"] for row in lines(happy("mail", "suppressed", house.data))]


def bodies(house) -> dict[str, list[dict]]:
    """Return the bodies of all events by their type."""
    found = defaultdict(list)
    for entry in shown(house.data / "desk"):
        found[entry["type"]].append(entry["body"])
    return found


def flushed(relay, true, what) -> None:
    """Have a mail server try what waits in its queue, until something is true."""

    def tried() -> bool:
        relay.flush()
        return true()

    wait_until(tried, what)


@pytest.mark.parametrize("relay", [postfix, exim, opensmtpd])
def test_what_a_server_reports_is_an_event_and_suppresses_who_is_gone(container, sink, relay):
    """A DSN comes to the return path of its message; only who will never be there is suppressed."""
    sink.refuse = REFUSALS.get
    port = free_port()
    with relay(happy=port, smarthost=sink.port) as one:
        house = desk(container, port=port, smarthost=one.port).start()
        have_written(port, "gone", "full", "bob")
        wait_until(lambda: len(TAKEN.findall(one.log)) >= 2, "both have come back")
        assert sink.wait_for(1)[0][1] == ("bob@x.example",)
        assert suppressed(house) == ["gone@x.example"]
        have_written(port, "gone")
        house.stop()
    told = bodies(house)
    assert sorted((one["status"], one["hard"]) for one in told["happy.MailBounced"]) == [
        ("5.1.1", True),
        ("5.2.2", False),
    ]
    # OpenSMTPD gives the reason in its text for people only.
    replies = {one["reply"] for one in told["happy.MailBounced"] if one["reply"]}
    assert replies in (set(), {REFUSALS["gone@x.example"], REFUSALS["full@x.example"]})
    (failed,) = told["happy.MailFailed"]
    assert (failed["suppressed"], len(sink.messages)) == (True, 1)


def test_what_postfix_gives_up_is_an_event_and_suppresses_nobody(container, sink):
    """A message that is not taken in its time in the queue: 4.2.0, and the address may yet do."""
    sink.refuse = REFUSALS.get
    port = free_port()
    tries_once = "maximal_queue_lifetime = 0\nbounce_queue_lifetime = 0"
    with postfix(happy=port, smarthost=sink.port, more=tries_once) as one:
        house = desk(container, port=port, smarthost=one.port).start()
        have_written(port, "late")
        wait_until(lambda: TAKEN.findall(one.log), "it has come back")
        assert suppressed(house) == []
        house.stop()
    (expired,) = bodies(house)["happy.MailBounced"]
    assert (expired["status"], expired["hard"]) == ("4.2.0", False)


def test_a_notice_that_mail_is_late_is_a_mail_and_no_event(container, sink, tmp_path):
    """Postfix says that it goes on trying: nothing has come back, and the message arrives."""
    sink.refuse = REFUSALS.get
    port = free_port()
    template = tmp_path / "bounce.cf"
    template.write_text(LATE)
    warns = f"delay_warning_time = 1s\nbounce_template_file = {template}"
    with postfix(happy=port, smarthost=sink.port, more=warns) as one:
        house = desk(container, port=port, smarthost=one.port).start()
        have_written(port, "late")

        flushed(one, lambda: TAKEN.findall(one.log), "the notice has come")
        sink.refuse = lambda _recipient: None
        flushed(one, lambda: sink.messages, "it has arrived")
        house.stop()
    told = bodies(house)
    assert told["happy.MailBounced"] == []
    _, notice = told["happy.Mail"]
    assert notice["reverse_path"] == ""
    assert "Action: delayed" in str(notice["content"])
