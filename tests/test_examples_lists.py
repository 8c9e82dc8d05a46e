"""The mailing lists by mail: joining, leaving, posting, and mail that came back."""

import re
from urllib.parse import quote

import pytest

from golden_archive import disk_of
from happy import SendMail
from happy.examples.lists import MailingLists, Settings
from happy.limits import Limits
from happy.state import digest
from happy.testing import message, running
from make_golden_lists import OLD_REPORT, PLACE, SETTINGS

DOMAINS = ("lists.example", "alias.example")
LIST = "dev@lists.example"
PATH = re.compile(r"bounces\+[0-9]+-[0-9]+-[0-9a-f]{24}@lists\.example")
DAY_S = 86_400
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
def app():
    settings = Settings(lists=("dev", "ops"), url="https://lists.example/", bounces_max=3)
    with running(MailingLists, settings=settings, domains=DOMAINS) as running_app:
        yield running_app


def letter(sender, subject="", text="Hello.", **fields):
    """Return a person's letter."""
    return message(subject, text, From_=sender, **fields)


def ask(app, address, what="subscribe", name="dev"):
    """Ask by mail; return the letter that came back."""
    before = len(app.sent)
    reply = app.mail(address, f"{name}-{what}@lists.example", letter(address, Message_ID="<a@b>"))
    assert reply.accepted, reply
    assert len(app.sent) == before + 1
    return app.sent[-1]


def token_of(mail):
    """Return the token in a letter of ours."""
    return re.search(rb"/(?:confirm|unsubscribe)/([0-9a-f]{20})", mail.header)[1].decode()


def join(app, address, name="dev"):
    """Make an address a subscriber; return the token of its links."""
    app.post(f"/confirm/{token_of(ask(app, address, name=name))}")
    return app.state.subscribers[name, address.lower()].token


def post(app, sender, to=LIST, **fields):
    """Send a letter to the list; return the reply and the copies."""
    before = len(app.sent)
    reply = app.mail(sender, to, letter(sender, **fields))
    return reply, app.sent[before:]


def members(app, name="dev"):
    """Return the addresses on a list."""
    return [row.address for row in app.state.subscribers.where(list=name)]


def fields_of(mail):
    """Return the header of an owed mail as name and value, unfolded, in order."""
    head, _, _ = mail.header.decode().partition("\r\n\r\n")
    lines = re.sub(r"\r\n[ \t]", " ", head).split("\r\n")
    return [(name.lower(), value.strip()) for name, _, value in (s.partition(":") for s in lines)]


# --- joining --------------------------------------------------------------------------------


def test_joining_needs_an_answer_from_the_address():
    """Nobody is on a list before somebody who reads that mail answered the letter."""
    with running(MailingLists, settings=Settings(lists=("dev",)), domains=DOMAINS) as app:
        asked = ask(app, "ann@a.example")
        assert members(app) == []
        answer_to = dict(fields_of(asked))["from"]
        assert app.mail("ann@a.example", answer_to, letter("ann@a.example", "Re: yes")).accepted
        assert members(app) == ["ann@a.example"]
        assert "now on the list" in app.sent[-1].header.decode()


def test_what_we_write_is_marked_as_automatic_and_cannot_bounce(app):
    """RFC 3834: Auto-Submitted, an answer's references, an empty reverse path, an own id."""
    first, second = ask(app, "ann@a.example"), ask(app, "bob@b.example")
    fields = dict(fields_of(first))
    assert first.reverse_path == ""
    assert fields["auto-submitted"] == "auto-replied"
    assert fields["in-reply-to"] == fields["references"] == "<a@b>"
    assert fields["to"] == "ann@a.example"
    assert "date" in fields
    assert fields["message-id"] != dict(fields_of(second))["message-id"]


@pytest.mark.parametrize(
    "fields",
    [
        {"Auto_Submitted": "auto-replied"},
        {"Precedence": "bulk"},
        {"List_Id": "<other.example>"},
        {"Return_Path": "<>", "Auto_Submitted": "auto-generated"},
    ],
)
@pytest.mark.parametrize("to", ["dev-subscribe", "dev-unsubscribe"])
def test_a_machine_is_not_answered(app, fields, to):
    """Automatic mail is taken and dropped: no letter of ours ever answers a machine."""
    reply = app.mail("bot@a.example", f"{to}@lists.example", letter("bot@a.example", **fields))
    assert reply.accepted
    assert app.sent == []
    assert len(app.state.requests) == 0


def test_a_letter_with_a_monstrous_id_is_answered_like_any_other(app):
    """What a header holds is bounded before it is put into ours."""
    raw = b"From: ann@a.example\r\nMessage-ID: <" + b"x" * 5_000 + b"@y>\r\n\r\n"
    assert app.mail("ann@a.example", "dev-subscribe@lists.example", raw).accepted
    assert [mail.recipient for mail in app.sent] == ["ann@a.example"]
    assert b"xxxx" not in app.sent[0].header


def test_a_bounce_is_not_answered(app):
    """What has no reverse path has nobody who could be answered."""
    assert app.mail("", "dev-subscribe@lists.example", letter("x@a.example")).accepted
    assert app.sent == []


def test_a_holiday_notice_confirms_nothing(app):
    """Only a person says yes."""
    asked = ask(app, "ann@a.example")
    notice = letter("ann@a.example", "Away", Auto_Submitted="auto-replied")
    assert app.mail("ann@a.example", dict(fields_of(asked))["from"], notice).accepted
    assert members(app) == []


def test_a_request_is_forgotten_after_three_days(app):
    """A confirmation that comes too late is refused at RCPT and on the page."""
    asked = ask(app, "ann@a.example")
    app.advance(3 * DAY_S + 1)
    assert len(app.state.requests) == 0
    reply = app.mail("ann@a.example", dict(fields_of(asked))["from"], letter("ann@a.example"))
    assert reply.code == 550
    assert app.post(f"/confirm/{token_of(asked)}").status == 404
    assert members(app) == []


def test_nobody_can_be_buried_in_our_letters(app):
    """However often somebody asks for an address, three letters go there for one request."""
    for _ in range(10):
        app.mail("ann@a.example", "dev-subscribe@lists.example", letter("ann@a.example"))
        app.post("/dev/subscribe", b"address=ANN%40a.example", headers=FORM)
    assert len(app.sent) == 3
    assert len(app.state.requests) == 1


def test_confirming_twice_is_confirming_once(app):
    """A second confirmation finds nothing; who is on the list stays on it once."""
    token = token_of(ask(app, "ann@a.example"))
    assert app.post(f"/confirm/{token}").status == 200
    assert app.post(f"/confirm/{token}").status == 404
    assert members(app) == ["ann@a.example"]


def test_an_address_of_ours_cannot_join(app):
    """A list that is on a list would write to itself for ever."""
    reply = app.mail("x@a.example", "dev-subscribe@lists.example", letter("ops@alias.example"))
    assert (reply.code, len(app.sent)) == (550, 0)


@pytest.mark.parametrize("address", ["not an address", "a@b,c@d", "a@b\r\nBcc: x@y", "a" * 300])
def test_what_is_no_address_is_refused(app, address):
    """The form takes what mail can be sent to, and nothing else reaches the journal."""
    seq = app.stream.status()["seq"]
    answer = app.post("/dev/subscribe", b"address=" + quote(address).encode(), headers=FORM)
    assert answer.status == 400
    assert app.stream.status()["seq"] == seq
    assert app.sent == []


def test_only_the_configured_lists_are_known(app):
    """Any other recipient is refused at RCPT."""
    for local in ("nope", "nope-subscribe", "dev-confirm-0123", "dev-nonsense", "dev-owner"):
        assert app.mail("a@a.example", f"{local}@lists.example", letter("a@a.example")).code == 550


# --- leaving --------------------------------------------------------------------------------


def test_leaving_by_mail_needs_an_answer(app):
    """A forged sender takes nobody off a list."""
    join(app, "ann@a.example")
    asked = ask(app, "ann@a.example", "unsubscribe")
    assert members(app) == ["ann@a.example"]
    app.mail("ann@a.example", dict(fields_of(asked))["from"], letter("ann@a.example"))
    assert members(app) == []
    assert "no longer on the list" in app.sent[-1].header.decode()


def test_a_stranger_is_told_so(app):
    """Who is not on the list hears that, and gets no link that would do nothing."""
    text = ask(app, "ann@a.example", "unsubscribe").header.decode()
    assert "not on the list" in text
    assert "/confirm/" not in text


def test_the_link_of_each_copy_leaves_at_once(app):
    """RFC 8058: a POST of the List-Unsubscribe link needs no second step."""
    join(app, "ann@a.example")
    join(app, "bob@b.example")
    _, copies = post(app, "bob@b.example")
    fields = dict(fields_of(copies[0]))
    assert fields["list-unsubscribe-post"] == "List-Unsubscribe=One-Click"
    link = re.match(r"<https://lists\.example(/unsubscribe/\w+)>", fields["list-unsubscribe"])[1]
    assert app.get(link).status == 200
    assert members(app) == ["ann@a.example", "bob@b.example"]
    assert app.post(link, b"List-Unsubscribe=One-Click", headers=FORM).status == 200
    assert members(app) == ["bob@b.example"]
    assert app.post(link, b"List-Unsubscribe=One-Click", headers=FORM).status == 200


def test_the_address_of_each_copy_leaves_at_once(app):
    """The mailto of List-Unsubscribe does the same, whoever sends the letter."""
    join(app, "ann@a.example")
    _, (copy,) = post(app, "ann@a.example")
    address = re.search(r"<mailto:(dev-unsubscribe-\w+@lists\.example)>", copy.header.decode())[1]
    assert app.mail("robot@provider.example", address, letter("robot@provider.example")).accepted
    assert members(app) == []


# --- posting --------------------------------------------------------------------------------


def test_a_letter_reaches_every_subscriber_unchanged(app):
    """The body is the same bytes and the author's fields are the same lines, for each of them."""
    for address in ("ann@a.example", "bob@b.example"):
        join(app, address)
    join(app, "eve@e.example", "ops")
    raw = letter("Ann <ann@a.example>", "Grüße", "Zeile\n.\n..\n", Message_ID="<1@a>")
    before = len(app.sent)
    reply = app.mail("ann@a.example", LIST, raw)
    copies = app.sent[before:]
    assert reply.accepted
    assert sorted(c.recipient for c in copies) == ["ann@a.example", "bob@b.example"]
    head, _, body = raw.replace(b"\n", b"\r\n").partition(b"\r\n\r\n")
    for copy in copies:
        assert copy.content[copy.content_offset :] == body
        assert copy.header.endswith(head + b"\r\n\r\n")


def test_the_fields_of_a_list(app):
    """RFC 2919, 2369 and 5321: what a copy carries, once, in front of the author's fields."""
    join(app, "ann@a.example")
    _, (copy,) = post(app, "ann@a.example", subject="hi")
    names = [name for name, _ in fields_of(copy)]
    fields = dict(fields_of(copy))
    assert names[0] == "received"
    assert fields["list-id"] == "<dev.lists.example>"
    assert fields["list-post"] == "<mailto:dev@lists.example>"
    assert fields["list-archive"] == "<https://lists.example/dev>"
    assert fields["precedence"] == "list"
    assert len(names) == len(set(names))
    assert re.fullmatch(
        r"from test\.example \(127\.0\.0\.1\S*\) by lists\.example with E?SMTP id dev/\d+ "
        r"for <dev@lists\.example>; .+ \+0000",
        fields["received"],
    )


def test_fields_that_speak_for_others_are_left_out(app):
    """No receipts to the author, no blind copies shown, no bounces around us."""
    join(app, "ann@a.example")
    _, (copy,) = post(
        app,
        "ann@a.example",
        Return_Path="<ann@a.example>",
        Bcc="secret@a.example",
        Disposition_Notification_To="ann@a.example",
        Return_Receipt_To="ann@a.example",
        DKIM_Signature="v=1; d=a.example",
        X_Mine="kept",
    )
    names = {name for name, _ in fields_of(copy)}
    assert not names & {"return-path", "bcc", "disposition-notification-to", "return-receipt-to"}
    assert {"dkim-signature", "x-mine", "from"} <= names
    assert b"secret" not in copy.header


def test_each_copy_has_a_return_path_of_its_own(app):
    """A report tells by its recipient whom it is about, and of which letter."""
    tokens = {a: join(app, a) for a in ("ann@a.example", "bob@b.example")}
    copies = [copy for _ in range(2) for copy in post(app, "ann@a.example")[1]]
    assert len({copy.reverse_path for copy in copies}) == 4
    assert all(PATH.fullmatch(copy.reverse_path) for copy in copies)
    assert [(copy.recipient, copy.tag) for copy in copies] == [*tokens.items()] * 2


def test_only_subscribers_write(app):
    """A stranger is refused at the door: no letter of ours, nothing filed, nothing sent."""
    join(app, "ann@a.example")
    reply, copies = post(app, "stranger@x.example")
    assert (reply.code, copies) == (550, [])
    assert "dev-subscribe@lists.example" in reply.text
    assert len(app.state.messages) == 0


def test_a_subscriber_is_known_by_from_or_by_envelope_in_any_case(app):
    """People write from more places than they subscribe from."""
    join(app, "Ann@A.example")
    assert app.mail("bounce@relay.example", LIST, letter("ANN@a.EXAMPLE")).accepted
    assert app.mail("ann@a.example", LIST, letter("other@a.example")).accepted
    assert len(app.state.messages) == 2


def test_a_letter_that_was_here_is_refused(app):
    """A copy that comes back, by whatever way, ends the loop: 554 5.4.6."""
    join(app, "ann@a.example")
    _, (copy,) = post(app, "ann@a.example")
    returned = copy.header + copy.content[copy.content_offset :]
    reply = app.mail("ann@a.example", LIST, returned)
    assert reply.code == 554
    assert reply.text.startswith("5.4.6")
    stripped = re.sub(rb"List-[^\r]*\r\n(?:[ \t][^\r]*\r\n)*|Precedence[^\r]*\r\n", b"", returned)
    assert app.mail("ann@a.example", LIST, stripped).text.startswith("5.4.6")
    assert len(app.state.messages) == 1


def test_machines_do_not_post(app):
    """A subscriber's holiday notice is not sent to everybody."""
    join(app, "ann@a.example")
    reply, copies = post(app, "ann@a.example", Auto_Submitted="auto-replied")
    assert (reply.code, copies) == (550, [])
    assert app.mail("", LIST, letter("ann@a.example")).code == 550


def test_two_addresses_of_a_list_are_one_letter(app):
    """Under two of our domains, a letter is filed once and sent once."""
    join(app, "ann@a.example")
    _, copies = post(app, "ann@a.example", to=(LIST, "DEV@alias.example"))
    assert len(copies) == len(app.state.messages) == 1


def test_one_letter_to_two_lists_is_filed_in_both(app):
    """Each list sends and keeps its own copy."""
    join(app, "ann@a.example")
    join(app, "ann@a.example", "ops")
    _, copies = post(app, "ann@a.example", to=(LIST, "ops@lists.example"))
    assert {dict(fields_of(c))["list-id"] for c in copies} == {
        "<dev.lists.example>",
        "<ops.lists.example>",
    }
    assert len(app.state.messages) == 2


def test_a_large_letter_never_enters_the_handlers():
    """It goes out and into the archive as the blob it came as, byte for byte."""
    limits = Limits(mail_inline_bytes_max=2_000)
    settings = Settings(lists=("dev",))
    with running(MailingLists, settings=settings, domains=DOMAINS, limits=limits) as app:
        join(app, "ann@a.example")
        raw = letter("ann@a.example", "Large", "0123456789\n" * 5_000).replace(b"\n", b"\r\n")
        assert app.mail("ann@a.example", LIST, raw).accepted
        ((_, seq),) = app.state.messages
        copy = app.sent[-1]
        assert copy.content.size == len(raw)
        assert raw[: copy.content_offset].endswith(b"\r\n\r\n")
        assert app.get(f"/dev/{seq}/raw").body == raw
        assert "0123456789" in app.get(f"/dev/{seq}").text


# --- mail that came back ----------------------------------------------------------------------


def report(action="failed", status="5.1.1"):
    """Return a delivery report (RFC 3464)."""
    return (
        "From: MAILER-DAEMON@relay.example\r\nSubject: Undelivered\r\nMIME-Version: 1.0\r\n"
        "Auto-Submitted: auto-replied\r\n"
        'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n\r\n'
        "--b\r\n\r\nSorry. Action: failed\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n"
        "Reporting-MTA: dns; relay.example\r\n\r\n"
        f"Final-Recipient: rfc822; ann@a.example\r\nAction: {action}\r\nStatus: {status}\r\n"
        "--b\r\nContent-Type: text/rfc822-headers\r\n\r\nAction: failed\r\n--b--\r\n"
    )


FULL = report(status="5.2.2")


def come_back(app, content):
    """Have the copy of a letter of hers come back to Ann's return path."""
    _, copies = post(app, "ann@a.example")
    (copy,) = (copy for copy in copies if copy.recipient == "ann@a.example")
    assert app.mail("", copy.reverse_path, content).accepted
    return copy


def bounces(app):
    """Return on how many days Ann's mail came back."""
    return app.state.subscribers["dev", "ann@a.example"].bounces


def test_mail_that_comes_back_often_enough_unsubscribes(app):
    """After the set number of days with a failure the subscriber leaves, and is told once."""
    join(app, "ann@a.example")
    for day in range(3):
        assert members(app) == ["ann@a.example"], day
        copy = come_back(app, FULL)
        app.advance(DAY_S + 1)
        app.restart()
    assert members(app) == []
    goodbye = app.sent[-1]
    assert goodbye.recipient == "ann@a.example"
    assert "came back too often" in goodbye.header.decode()
    before = len(app.sent)
    assert app.mail("", copy.reverse_path, FULL).accepted
    assert len(app.sent) == before


def test_many_failures_of_one_day_count_once(app):
    """A busy list does not lose those whose server was broken for an hour."""
    join(app, "ann@a.example")
    for _ in range(10):
        come_back(app, FULL)
    assert bounces(app) == 1


def test_failures_far_apart_are_forgotten(app):
    """Two weeks without a failure begin the counting anew."""
    join(app, "ann@a.example")
    for _ in range(5):
        come_back(app, FULL)
        app.advance(15 * DAY_S)
    assert bounces(app) == 1


@pytest.mark.parametrize(
    "content",
    [
        report("delayed", "4.4.1"),
        report("relayed", "2.0.0"),
        letter("ann@a.example", "I am on holiday", Auto_Submitted="auto-replied"),
        letter("ann@a.example", "Re: hello"),
    ],
)
def test_what_is_no_failure_does_not_count(app, content):
    """A report of delay, a holiday notice and a misdirected answer are taken and dropped."""
    join(app, "ann@a.example")
    come_back(app, content)
    assert bounces(app) == 0


def test_an_address_that_will_never_do_leaves_without_a_word(app):
    """It is given up after three failures, on one day or many; a letter would not arrive."""
    join(app, "ann@a.example")
    join(app, "bob@b.example")
    for _ in range(3):
        come_back(app, report())
    assert members(app) == ["ann@a.example", "bob@b.example"]
    _, copies = post(app, "bob@b.example")
    assert [copy.recipient for copy in copies] == ["bob@b.example"]
    assert members(app) == ["bob@b.example"]
    assert app.sent[-1] is copies[0]


def test_what_the_smarthost_refuses_counts(app):
    """No report comes of a 5xx at the next hop: its end is the report."""
    join(app, "ann@a.example")
    join(app, "bob@b.example")
    app.refuse_mail = lambda mail: "552 5.2.2" if mail.recipient == "ann@a.example" else None
    for _ in range(3):
        post(app, "bob@b.example")
        app.advance(DAY_S + 1)
    assert members(app) == ["bob@b.example"]


# --- an earlier version -----------------------------------------------------------------------


def test_a_history_from_when_the_return_paths_were_the_lists_own_goes_on():
    """Who left because of what came back has left; what is owed goes out, under new paths."""
    with running(MailingLists, settings=SETTINGS, domains=("lists.example",)) as app:
        app.close()
        app.disk = disk_of(PLACE)
        app.clock.advance(3 * DAY_S)
        app.open()
        counted = {row.address: row.bounces for row in app.state.subscribers.values()}
        assert counted == {
            "ann@a.example": 0, "cyd@c.example": 1, "dan@d.example": 1, "eve@e.example": 0,
        }  # fmt: skip
        assert [copy.recipient for copy in app.sent] == list(counted)
        assert all(PATH.fullmatch(copy.reverse_path) for copy in app.sent)
        token = app.state.subscribers["dev", "cyd@c.example"].token
        still_out = f"dev-bounces+{token}@lists.example"
        assert app.mail("", still_out, OLD_REPORT).accepted
        assert members(app) == ["ann@a.example", "dan@d.example", "eve@e.example"]
        app.restart()
        assert len(app.state.messages) == 3


# --- the rest ---------------------------------------------------------------------------------


def test_mail_to_the_owner_is_passed_on_when_there_is_one():
    """RFC 2142: postmaster and LIST-owner reach a person, with a reverse path of none."""
    settings = Settings(lists=("dev",), owner="me@home.example")
    with running(MailingLists, settings=settings, domains=DOMAINS) as app:
        for local in ("dev-owner", "postmaster"):
            assert app.mail("x@x.example", f"{local}@lists.example", letter("x@x.example")).accepted
        assert [(m.recipient, m.reverse_path) for m in app.sent] == [("me@home.example", "")] * 2
        again = app.sent[0].header + app.sent[0].content[app.sent[0].content_offset :]
        assert app.mail("x@x.example", "dev-owner@lists.example", again).code == 554


def test_a_replay_comes_to_the_same_state(app):
    """A crash in the middle of everything loses nothing and sends nothing twice."""
    join(app, "ann@a.example")
    ask(app, "bob@b.example")
    post(app, "ann@a.example", subject="hi")
    before, sent = app.ask_with(digest), len(app.sent)
    app.crash()
    assert app.ask_with(digest) == before
    assert len(app.sent) == sent
    post(app, "ann@a.example", subject="Re: hi")
    assert all(isinstance(mail, SendMail) for mail in app.sent)
    assert len(app.state.threads) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"lists": ("Dev",)},
        {"lists": ("a" * 31,)},
        {"lists": ("dev-owner",)},
        {"lists": ("health",)},
        {"lists": ("a/b",)},
        {"url": "lists.example"},
        {"owner": "nobody"},
        {"bounces_max": 0},
    ],
)
def test_settings_that_cannot_work_are_refused(wrong):
    """The configuration hears of it before anything is opened."""
    with pytest.raises(ValueError, match=r"\w"):
        Settings(**wrong)
