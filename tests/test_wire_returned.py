"""Mail that came back, through the door: the event it becomes, and what it does to later mail."""

from __future__ import annotations

import email
import re
from email.message import EmailMessage

import pytest
from flufl.bounce import all_failures
from hypothesis import given, settings
from hypothesis import strategies as st

from bounce_corpus import CORPUS, text_of
from happy import App, MailFailed, MailRoutes, Refused, event, handles, state
from happy.event import Mail
from happy.limits import Limits
from happy.system_events import MailBounced, MailUnsuppressed
from happy.testing import running
from happy.wire.returned import read_bounce

REPORT = """\
From: MAILER-DAEMON@mx.example
To: {to}
Subject: Undelivered Mail Returned to Sender
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary=b

--b
Content-Type: text/plain

It could not be delivered.

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example

Final-Recipient: rfc822; somebody@else.example
Action: {action}
Status: {status}
Diagnostic-Code: smtp; {reason}

--b--
"""


@event
class Write:
    to: str
    tag: str = "t"


@state
class Diary:
    seen: tuple[str, ...] = ()


class Writer(App):
    state = Diary
    mail = MailRoutes()

    @mail.to("desk@")
    def take(state, mail, context):
        state.seen += (f"mail for {context.recipient}",)

    @handles(Write)
    def write(state, event, context):
        context.mail(event.to, b"Subject: hi\r\n\r\n", b"hi\r\n", tag=event.tag)

    @handles(MailBounced)
    def came_back(state, event, context):
        if event.tag == "refused":
            raise Refused("not mine")
        if event.tag == "broken":
            raise RuntimeError("broken")
        state.seen += (f"{event.recipient} {event.tag} {event.status} {event.hard} {event.reply}",)

    @handles(MailFailed)
    def failed(state, event, context):
        state.seen += (f"{event.recipient} {event.hard} {event.suppressed} {event.reply}",)


@pytest.fixture
def app():
    with running(Writer, limits=Limits(segment_bytes_max=1024 * 1024, mail_failures_max=2)) as made:
        yield made


def write(app, to="bob@x.example", tag="t"):
    """Have a message sent; return its return path."""
    app.submit(Write(to, tag))
    app.advance(0)
    return app.sent[-1].reverse_path


def report(to, action="failed", status="5.1.1", reason="550 5.1.1 no such user"):
    return REPORT.format(to=to, action=action, status=status, reason=reason)


def test_a_report_is_an_event_of_the_message_it_is_about(app):
    """Whatever recipient the report names: the return path knows it, and the enhanced code."""
    path = write(app)
    assert re.fullmatch(r"bounces\+[0-9]+-0-[0-9a-f]{24}@app\.example", path)
    assert app.mail("", path, report(path)).code == 250
    assert app.state.seen == ("bob@x.example t 5.1.1 True 550 5.1.1 no such user",)
    app.restart()
    assert len(app.state.seen) == 1


@pytest.mark.parametrize(
    ("action", "status", "seen"),
    [
        ("failed", "5.2.2", "bob@x.example t 5.2.2 False full"),
        ("failed", "4.4.7", "bob@x.example t 4.4.7 False full"),
        ("failed", "5.0.0", "bob@x.example t 5.0.0 True full"),
        ("error", "5.1.10", "bob@x.example t 5.1.10 True full"),
        ("delayed", "4.4.1", None),
        ("delivered", "2.0.0", None),
        ("relayed", "2.0.0", None),
    ],
)
def test_only_what_is_not_tried_any_more_came_back(app, action, status, seen):
    """Hard, when the address will never do; a message that is late may still arrive."""
    path = write(app)
    assert app.mail("", path, report(path, action, status, "full")).code == 250
    assert app.state.seen == (() if seen is None else (seen,))


def test_who_fails_for_good_is_suppressed_until_somebody_says_otherwise(app):
    """Then mail there ends at once, and the application hears why; nothing is sent."""
    for _ in range(2):
        path = write(app)
        app.mail("", path, report(path))
    app.submit(Write("Bob@x.example"))
    app.advance(0)
    assert len(app.sent) == 2
    (seen,) = app.state.seen[2:]
    assert seen.startswith("Bob@x.example False True 5.1.1 suppressed after 2 failures, ")
    assert seen.endswith("the last one: 550 5.1.1 no such user")
    app.restart()
    app.submit(MailUnsuppressed("bob@x.example"))
    write(app)
    assert len(app.sent) == 3


def test_a_report_comes_once(app):
    """However often it is sent: the message is known to have come back."""
    path = write(app)
    for _ in range(3):
        assert app.mail("", path, report(path)).code == 250
    assert len(app.state.seen) == 1
    assert list(app.stream.bounces.suppressed()) == []


def test_nobody_can_report_on_what_was_not_sent_to_him(app):
    """A path that was made up is an unknown recipient; of his own he may say what he will."""
    bob, eve = write(app), write(app, "eve@x.example")
    token = eve.partition("@")[0].rpartition("-")[2]
    forged = bob.partition("@")[0].rpartition("-")[0] + f"-{token}@app.example"
    for made_up in (forged, "bounces+1-0-" + "0" * 24 + "@app.example", "bounces+1-0-@app.example"):
        assert app.mail("", made_up, report(made_up)).code == 550
    app.mail("", eve, report(eve).replace("somebody@else", "bob@x"))
    assert [line.partition(" ")[0] for line in app.state.seen] == ["eve@x.example"]


@pytest.mark.parametrize("tag", ["refused", "broken"])
def test_what_the_application_makes_of_it_is_not_the_peers_affair(app, tag):
    """The report is in the journal: it is answered 250 whatever a handler says."""
    path = write(app, tag=tag)
    assert app.mail("", path, report(path)).code == 250
    assert len(list(app.stream.bounces.bounced())) == 1


def test_a_report_may_come_for_others_besides(app):
    """Each recipient has what is his."""
    path = write(app)
    assert app.mail("", (path.upper(), "desk@app.example"), report(path)).code == 250
    assert len(app.state.seen) == 2


def test_a_large_report_is_read_from_its_beginning(app):
    """It holds the message that came back; the reason stands before it."""
    path = write(app)
    large = report(path).replace("--b--", "--b\nContent-Type: message/rfc822\n\n" + "x\n" * 100_000)
    assert app.mail("", path, large).code == 250
    assert len(app.state.seen) == 1


def test_a_holiday_notice_is_no_report(app):
    """Nor is a letter by somebody who was written to, whatever stands in it."""
    path = write(app)
    text = "Delivery to the following recipients failed permanently:\n\n    bob@x.example\n"
    for sender, field in (("", "Auto-Submitted: auto-replied"), ("bob@x.example", "X-A: b")):
        notice = f"From: bob@x.example\nSubject: away\n{field}\n\n{text}"
        assert app.mail(sender, path, notice).code == 250
    assert app.state.seen == ()


@pytest.mark.parametrize("name", CORPUS)
def test_what_other_servers_write_is_understood(name):
    """Row 39: each message of flufl.bounce's own corpus means here what its authors say."""
    text = text_of(name)
    _, permanent = all_failures(email.message_from_bytes(text))
    content = text.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    header = content.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    found = read_bounce(Mail("", ("x@app.example",), header, content))
    assert (found is not None) == bool(permanent)


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                b"From: mailer-daemon@yahoo.com",
                b"Content-Type: multipart/report; boundary=b; report-type=delivery-status",
                b"Content-Type: multipart/mixed; boundary=b",
                b"Content-Type: message/delivery-status",
                b"Content-Type: message/rfc822",
                b"Content-Type: text/plain; charset=\xff",
                b"Content-Transfer-Encoding: base64",
                b"X-Failed-Recipients: (((<a@b",
                b"X-Mailer: <SMTP32 v",
                b"Final-Recipient: rfc822; <a@b>",
                b"Action: failed",
                b"--b",
                b"--b--",
                b"",
                b"\xff\x00<\xff@>:",
                b"Hi. This is the",
                b"This Message was undeliverable due to the following reason:",
            ]
        ),
        max_size=30,
    )
)
def test_reading_never_raises(lines):
    """Whoever was written to may answer with anything."""
    content = b"\r\n".join(lines)
    header = content.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    found = read_bounce(Mail("", ("x@app.example",), header, content))
    assert found is None or re.fullmatch(r"[245]\.\d+\.\d+", found.status)


def nested(levels):
    made = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n)
        for n in range(levels)
    )
    return made + b"\r\n" * 30_000


PLAIN = b"From: mailer-daemon@x\r\nX-Mailer: <SMTP32 v\r\n\r\n"
NETSCAPE = (
    b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\n"
    b"This Message was undeliverable due to the following reason:\r\n"
)


@pytest.mark.parametrize(
    "content",
    [
        nested(49),
        nested(600),
        b"Content-Type: message/rfc822\r\n\r\n" * 2_000,
        b"Content-Type: multipart/digest; boundary=b\r\n\r\n" + b"--b\r\n\r\n" * 9_000,
        NETSCAPE + (b"<" * 990 + b"\r\n") * 60 + b"--b\r\n\r\nx\r\n--b--\r\n",
        NETSCAPE + (b"a" * 230 + b"<<<<\r\n") * 250 + b"--b\r\n\r\nx\r\n--b--\r\n",
        PLAIN + b" " * 65_000,
        PLAIN + (b", " * 480 + b"\r\n") * 60,
        PLAIN + b"did not reach the following recipient\r\n" + (b"a" * 990 + b"\r\n") * 60,
        b"X-Failed-Recipients: " + (b"(" * 900 + b"\r\n ") * 70 + b"\r\n\r\n",
    ],
    ids=range(10),
)
def test_hostile_mail_takes_no_time_to_speak_of(content):
    """What would take a library minutes is cut before it gets there: none takes a second."""
    header = content.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    assert read_bounce(Mail("", ("x@app.example",), header, content[: 64 * 1024])) is None


def test_a_report_by_a_program_of_python_is_read(app):
    """As other software makes it: with CRLF and folded fields, in parts of its own."""
    path = write(app)
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = "postmaster@x.example", path, "failure"
    made["X-Failed-Recipients"] = "bob@x.example"
    made.set_content("A message that you sent could not be delivered: 550 5.1.1 unknown user\n")
    assert app.mail("", path, bytes(made)).code == 250
    assert app.state.seen == ("bob@x.example t 5.0.0 True ",)
