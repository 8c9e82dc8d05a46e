"""Manners: no machine is answered, no person twice a day, and nobody written to in vain."""

from __future__ import annotations

import pytest

from happy import App, MailFailed, MailRoutes, Table, event, handles, query, state, table
from happy.correspondents import (
    Correspondent,
    answer_fields,
    failed,
    forget_answered,
    is_suppressed,
    may_answer,
    unsuppress,
)
from happy.dsn import read_report
from happy.message import compose
from happy.testing import message, running


@event
class Write:
    to: str


@event
class Forgive:
    address: str


@event
class Tidy:
    pass


@state
class Desk:
    known: Table[str, Correspondent] = table()


class HelpDesk(App):
    """Answers each letter with a receipt, and writes to whom it is told to."""

    state = Desk
    mail = MailRoutes()

    @mail.to("help@")
    def receive(state, mail, context):
        for fate in read_report(mail):
            failed(state.known, fate, context)
        if may_answer(state.known, mail, context, own=["desk@elsewhere.example"]):
            letter = compose(
                sender="help@app.example",
                to=mail.reverse_path,
                subject="We have it",
                text="Thank you.",
                message_id=f"<{context.token()}@app.example>",
                date=context.time,
                extra=answer_fields(mail),
            )
            context.mail(mail.reverse_path, letter, reverse_path="")

    @handles(Write)
    def write(state, event, context):
        if not is_suppressed(state.known, event.to):
            context.mail(event.to, b"Subject: news\r\n\r\n", reverse_path="help@app.example")

    @handles(MailFailed)
    def mail_failed(state, event, context):
        failed(state.known, event, context)

    @handles(Forgive)
    def forgive(state, event, context):
        return unsuppress(state.known, event.address)

    @handles(Tidy)
    def tidy(state, event, context):
        return forget_answered(state.known, context)

    @query
    def known(state):
        return dict(state.known)


@pytest.fixture
def desk():
    with running(HelpDesk) as app:
        yield app


def test_a_person_is_answered_once_a_day(desk):
    """RFC 3834: the first letter of a day gets an answer, whatever letters its address is in."""
    for address in ("ann@x.example", "Ann@X.example", "ann@x.example"):
        assert desk.mail(address, "help@app.example", message("Hello")).code == 250
    assert [mail.recipient for mail in desk.sent] == ["ann@x.example"]
    desk.advance(86_399)
    desk.mail("ann@x.example", "help@app.example", message("Hello"))
    assert len(desk.sent) == 1
    desk.advance(1)
    desk.mail("ann@x.example", "help@app.example", message("Hello"))
    assert len(desk.sent) == 2


def test_an_answer_says_that_a_machine_wrote_it_and_what_it_answers(desk):
    """RFC 3834 section 3: Auto-Submitted, In-Reply-To, References, and no return path."""
    desk.mail("ann@x.example", "help@app.example",
              message("Hello", Message_ID="<2@x>", References="<1@x>"))  # fmt: skip
    (mail,) = desk.sent
    assert mail.reverse_path == ""
    assert b"Auto-Submitted: auto-replied\r\n" in mail.header
    assert b"In-Reply-To: <2@x>\r\nReferences: <1@x> <2@x>\r\n" in mail.header


@pytest.mark.parametrize(
    ("sender", "fields"),
    [
        ("", {}),
        ("ann@x.example", {"Auto_Submitted": "auto-replied"}),
        ("ann@x.example", {"Auto_Submitted": "auto-generated (vacation)"}),
        ("ann@x.example", {"Precedence": "bulk"}),
        ("ann@x.example", {"Precedence": "junk"}),
        ("ann@x.example", {"Precedence": "list"}),
        ("ann@x.example", {"List_Id": "<dev.x.example>"}),
        ("ann@x.example", {"List_Unsubscribe": "<mailto:x@x.example>"}),
        ("ann@x.example", {"X_Auto_Response_Suppress": "DR, OOF, AutoReply"}),
        ("ann@x.example", {"X_Auto_Response_Suppress": "All"}),
        ("MAILER-DAEMON@x.example", {}),
        ("postmaster@x.example", {}),
        ("no-reply@x.example", {}),
        ("owner-dev@x.example", {}),
        ("dev-request@x.example", {}),
        ("majordomo+x@x.example", {}),
        ("help@app.example", {}),
        ("other@App.example", {}),
        ("Desk@elsewhere.example", {}),
    ],
    ids=str,
)
def test_no_machine_is_answered(desk, sender, fields):
    """RFC 3834 section 2: bounces, lists, bulk, machines by what they say or are called, us."""
    assert desk.mail(sender, "help@app.example", message("Hello", **fields)).code == 250
    assert desk.sent == []
    assert desk.ask(HelpDesk.known) == {}


def test_two_desks_do_not_write_to_each_other_for_ever(desk):
    """Our own answer, sent back to us as if it came from a person, gets none."""
    desk.mail("ann@x.example", "help@app.example", message("Hello"))
    (answer,) = desk.sent
    desk.advance(100_000)
    desk.mail("ann@x.example", "help@app.example", answer.header + answer.content)
    assert len(desk.sent) == 1


@pytest.mark.parametrize(
    ("reply", "suppressed"),
    [
        ("550 5.1.1 who?", True),
        ("556 5.1.10 takes no mail", True),
        ("550 5.2.1 disabled", True),
        ("552 5.2.2 full", False),
        ("550 5.7.1 we do not like you", False),
        ("550 no", False),
        ("5.4.7 given up after 100 attempts, the last one: 450 4.1.1 later", False),
    ],
)
def test_only_an_address_that_will_never_do_is_suppressed(desk, reply, suppressed):
    """A full mailbox, a policy, an expiry say nothing of the address; it is written to again."""
    desk.refuse_mail = lambda _mail: reply
    desk.submit(Write("bob@x.example"))
    desk.refuse_mail = lambda _mail: None
    desk.submit(Write("Bob@x.example"))
    assert len(desk.sent) == (0 if suppressed else 1)


def test_a_report_suppresses_and_a_word_unsuppresses(desk):
    """What comes back later counts like what was refused at once, until somebody says otherwise."""
    report = (
        b"Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\n"
        b"Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; x\r\n\r\n"
        b"Final-Recipient: rfc822; bob@x.example\r\nAction: failed\r\nStatus: 5.1.1\r\n"
        b"\r\n--b--\r\n"
    )
    desk.mail("", "help@app.example", report)
    assert desk.ask(HelpDesk.known)["bob@x.example"].status == "5.1.1"
    desk.submit(Write("bob@x.example"))
    assert desk.sent == []
    assert desk.submit(Forgive("BOB@x.example")) is True
    assert desk.submit(Forgive("bob@x.example")) is False
    desk.submit(Write("bob@x.example"))
    assert len(desk.sent) == 1
    assert desk.ask(HelpDesk.known) == {}


def test_who_is_suppressed_is_not_answered(desk):
    """Its answer would come back; when forgiven, it is answered again."""
    desk.refuse_mail = lambda _mail: "550 5.1.1 who?"
    desk.mail("bob@x.example", "help@app.example", message("Hello"))
    desk.refuse_mail = lambda _mail: None
    desk.advance(100_000)
    desk.mail("bob@x.example", "help@app.example", message("Hello"))
    assert desk.sent == []
    desk.submit(Forgive("bob@x.example"))
    desk.mail("bob@x.example", "help@app.example", message("Hello"))
    assert len(desk.sent) == 1


def test_what_does_not_matter_any_more_can_be_forgotten(desk):
    """The table does not grow with all who ever wrote; who is suppressed stays."""
    desk.refuse_mail = lambda _mail: "550 5.1.1 who?"
    desk.mail("bob@x.example", "help@app.example", message("Hello"))
    desk.refuse_mail = lambda _mail: None
    desk.mail("ann@x.example", "help@app.example", message("Hello"))
    assert desk.submit(Tidy()) == 0
    desk.advance(86_400)
    assert desk.submit(Tidy()) == 2
    assert list(desk.ask(HelpDesk.known)) == ["bob@x.example"]
