"""Answers by a machine: no machine gets one, and no person two on a day."""

from __future__ import annotations

import re
from datetime import datetime
from email import message_from_bytes
from email.utils import parseaddr

import pytest

from bounce_corpus import CORPUS, text_of
from happy import App, MailRoutes, Table, event, handles, query, state, table
from happy.auto_reply import answer_fields, forget_answered, may_answer
from happy.message import compose
from happy.testing import message, running

# They look as if a person had written them, but for the reverse path.
SAY_NOTHING = {
    "bounce_02.txt",
    "groupwise_03.txt",
    "qmail_08.txt",
    "simple_15.txt",
    "simple_20.txt",
    "simple_22.txt",
    "simple_24.txt",
    "simple_43.txt",
}


@event
class Tidy:
    pass


@state
class Desk:
    answered: Table[str, datetime] = table()


class HelpDesk(App):
    """Answers each letter with a receipt."""

    state = Desk
    mail = MailRoutes()

    @mail.to("help@")
    def receive(state, mail, context):
        if may_answer(state.answered, mail, context, own=["desk@elsewhere.example"]):
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

    @handles(Tidy)
    def tidy(state, event, context):
        return forget_answered(state.answered, context)

    @query
    def answered(state):
        return list(state.answered)


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
    assert desk.ask(HelpDesk.answered) == []


@pytest.mark.parametrize("name", CORPUS)
def test_no_bounce_is_answered(desk, name):
    """Nothing of flufl.bounce's corpus, as servers send it: from nobody, or in their own name."""
    content = re.sub(rb"\r?\n", b"\r\n", text_of(name))
    _, own_name = parseaddr(str(message_from_bytes(content)["From"]))
    senders = [""]
    if name not in SAY_NOTHING and re.fullmatch(r"[\w.+-]+@[\w.-]+\w", own_name):
        senders.append(own_name)
    for sender in senders:
        assert desk.mail(sender, "help@app.example", content).code == 250
    assert desk.sent == []


def test_two_desks_do_not_write_to_each_other_for_ever(desk):
    """Our own answer, sent back to us as if it came from a person, gets none."""
    desk.mail("ann@x.example", "help@app.example", message("Hello"))
    (answer,) = desk.sent
    desk.advance(100_000)
    desk.mail("ann@x.example", "help@app.example", answer.header + answer.content)
    assert len(desk.sent) == 1


def test_what_does_not_matter_any_more_can_be_forgotten(desk):
    """The table does not grow with all who ever wrote."""
    desk.mail("ann@x.example", "help@app.example", message("Hello"))
    desk.advance(43_200)
    desk.mail("bob@x.example", "help@app.example", message("Hello"))
    assert desk.submit(Tidy()) == 0
    desk.advance(43_200)
    assert desk.submit(Tidy()) == 1
    assert desk.ask(HelpDesk.answered) == ["bob@x.example"]
