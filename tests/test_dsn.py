"""Reports of mail that failed: ours are what RFC 3464 wants, and of others' nothing is too odd."""

from __future__ import annotations

import email
import email.policy
import re
from datetime import UTC, datetime

import pytest
from flufl.bounce import scan_message
from hypothesis import given, settings
from hypothesis import strategies as st

from happy.dsn import Fate, compose_report, read_report, status_of
from happy.event import Blob, Mail, MailFailed

DATE = datetime(2026, 11, 30, 9, 0, tzinfo=UTC)
HEADER = b"From: ann@y.example\r\nSubject: gr\xfc\xdfe\r\nMessage-ID: <1@y.example>\r\n\r\n"


def report(recipient="bob@x.example", reply="550 5.1.1 who?", header=HEADER):
    event = MailFailed(3, 0, recipient, "ann@y.example", "t", reply)
    return compose_report(
        event, host="app.example", message_id="<r1@app.example>", date=DATE, header=header
    )


def arrived(content, reverse_path=""):
    header = content.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    return Mail(reverse_path, ("ann@y.example",), header, content)


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        ("250 2.1.5 ok", "2.1.5"),
        ("550 5.1.1 who?", "5.1.1"),
        ("450 4.2.2", "4.2.2"),
        ("5.4.7 given up after 9 attempts, the last one: 450 later", "5.4.7"),
        ("5.1.10 x.example takes no mail (null MX)", "5.1.10"),
        ("550 no", "5.0.0"),
        ("451 later, at 5.1.1", "4.0.0"),
        ("550 5.1.1.1 not one", "5.0.0"),
        ("550 9.1.1 not one", "5.0.0"),
        ("the connection was lost", ""),
        ("", ""),
    ],
)
def test_a_reply_tells_its_enhanced_code(reply, status):
    """RFC 3463: the code behind the first one; the class alone where a server gives none."""
    assert status_of(reply) == status


def test_a_report_is_what_rfc_3464_wants():
    """The standard library reads it without a defect: three parts, the fields, no second bounce."""
    whole = report()
    assert whole.isascii()
    assert max(map(len, whole.split(b"\r\n"))) <= 998
    assert not re.search(rb"(?<!\r)\n|\r(?!\n)", whole)
    made = email.message_from_bytes(whole, policy=email.policy.default)
    assert made.get_content_type() == "multipart/report"
    assert made.get_param("report-type") == "delivery-status"
    assert made["Auto-Submitted"] == "auto-replied"
    assert made["To"] == "ann@y.example"
    text, status, header = made.iter_parts()
    assert [part.defects for part in made.walk()] == [[]] * len(list(made.walk()))
    assert "bob@x.example" in text.get_content()
    about_us, about_bob = status.iter_parts()
    assert about_us["Reporting-MTA"] == "dns; app.example"
    assert about_bob["Final-Recipient"] == "rfc822; bob@x.example"
    assert about_bob["Action"] == "failed"
    assert about_bob["Status"] == "5.1.1"
    assert about_bob["Diagnostic-Code"] == "smtp; 550 5.1.1 who?"
    assert header.get_content_type() == "text/rfc822-headers"
    assert "Message-ID: <1@y.example>" in header.get_content()


def test_others_recognise_our_report():
    """flufl.bounce, as Mailman uses it, finds the recipient that failed."""
    assert scan_message(email.message_from_bytes(report())) == {b"bob@x.example"}


addresses = st.from_regex(r"[a-z0-9.+=%\"é-]{1,20}@[a-z0-9é.-]{1,20}", fullmatch=True)


@settings(deadline=None)
@given(addresses, st.text(max_size=500), st.binary(max_size=2_000))
def test_a_report_can_be_read_back(recipient, reply, header):
    """Whatever a server said, and whatever the header was: whom it is about, and that it failed."""
    whole = report(recipient, reply, header)
    assert whole.isascii()
    assert max(map(len, whole.split(b"\r\n"))) <= 998
    (fate,) = read_report(arrived(whole))
    assert fate.failed
    assert fate.status.startswith("5")
    if recipient.isascii():
        assert fate.recipient == recipient


def test_a_report_is_never_reported_on():
    """RFC 5321 section 4.5.5: what had no return path has nobody to tell."""
    with pytest.raises(ValueError, match="return path"):
        compose_report(
            MailFailed(3, 0, "b@x.example"), host="a.example", message_id="<1@a>", date=DATE
        )


POSTFIX = b"""\
From: MAILER-DAEMON@mx.example\r
Auto-Submitted: auto-replied\r
Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r
\r
--b\r
Content-Type: text/plain\r
\r
No.\r
--b\r
Content-Type: message/delivery-status\r
\r
Reporting-MTA: dns; mx.example\r
Arrival-Date: Mon, 30 Nov 2026 08:00:00 +0000 (UTC)\r
\r
Final-Recipient: rfc822; bob@x.example\r
Original-Recipient: rfc822;Bob@x.example\r
Action: failed\r
Status: 5.1.1\r
Remote-MTA: dns; mx.x.example\r
Diagnostic-Code: smtp; 550 5.1.1 <bob@x.example>:\r
    Recipient address rejected\r
\r
Final-Recipient: RFC822; <eve@x.example>\r
Action: Delayed (will retry)\r
Status: 4.4.1 (no answer)\r
\r
Action: failed\r
\r
--b--\r
"""


def test_a_report_about_several_tells_of_each():
    """Each group of fields is a recipient; one without a recipient tells nothing."""
    assert read_report(arrived(POSTFIX)) == (
        Fate("bob@x.example", "failed", "5.1.1",
             "550 5.1.1 <bob@x.example>: Recipient address rejected"),
        Fate("eve@x.example", "delayed", "4.4.1"),
    )  # fmt: skip


def test_exim_names_recipients_in_the_header():
    """X-Failed-Recipients, but from an empty return path only: anybody can write a field."""
    content = b"X-Failed-Recipients: bob@x.example,\r\n  eve@y.example\r\n\r\nNo.\r\n"
    assert [fate.recipient for fate in read_report(arrived(content))] == [
        "bob@x.example",
        "eve@y.example",
    ]
    assert read_report(arrived(content, "eve@evil.example")) == ()


@pytest.mark.parametrize(
    "mail",
    [
        arrived(b"Subject: hello\r\n\r\nAction: failed\r\n"),
        arrived(POSTFIX.replace(b"delivery-status\r\n\r\n", b"x\r\n\r\n")),
        Mail("", (), POSTFIX.partition(b"\r\n\r\n")[0] + b"\r\n\r\n", Blob("00", 9)),
    ],
)
def test_what_is_no_report_tells_nothing(mail):
    """Ordinary mail, reports without their fields, and what is not in memory."""
    assert read_report(mail) == ()


@settings(deadline=None)
@given(st.lists(st.sampled_from([*POSTFIX.split(b"\r\n"), b"", b":", b"\xff", b"Action: failed"]),
                max_size=40))  # fmt: skip
def test_reading_a_report_never_raises(lines):
    """Whatever comes in whatever order."""
    assert isinstance(read_report(arrived(b"\r\n".join(lines))), tuple)
