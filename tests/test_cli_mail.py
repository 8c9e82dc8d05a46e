"""`happy mail`: the queue of a container that runs, and the letters that a handler failed on."""

from __future__ import annotations

import pytest

from cli_kit import happy, lines
from edge_kit import wait_until
from mail_kit import LISTS, entries, swaks

DESK = """
data = "data"
[apps.lists]
app = "desk:Desk"
smtp = "tcp:0:interface=127.0.0.1"
domains = ["app.example"]
[log]
access = "off"
"""
CODE = """
from happy import App, MailRoutes, state

@state
class Papers:
    count: int = 0

class Desk(App):
    state = Papers
    mail = MailRoutes()

    @mail.to("help@")
    def receive(state, mail, context):
        {line}
"""


@pytest.fixture
def house(container, sink):
    """The mailing lists, and a smarthost that wants all mail later."""
    sink.refuse = lambda _recipient: "450 4.2.1 later"
    return container(LISTS.format(port=0, smarthost=sink.port)).start()


def owe(house, address):
    """Have a letter to somebody owed, and tried once; return what it is called."""
    before = len(entries(house, "happy.MailDelayed"))
    swaks(house.port("lists", "smtp"), "--to", "dev-subscribe@lists.example", "--from", address)
    wait_until(lambda: len(entries(house, "happy.MailDelayed")) > before, "it was tried")
    (row,) = [row for row in listed(house) if row["recipient"] == address]
    return row["id"]


def listed(house):
    result = happy("mail", "ls", "--config", house.config)
    assert result.exit_code == 0, result.stderr
    return lines(result)


def test_the_queue_is_seen_and_hurried_and_given_up(house, sink):
    """ls, show, redeliver and bounce, each of which is an event; then nothing is owed."""
    ann, bob = owe(house, "ann@x.example"), owe(house, "bob@x.example")
    rows = {row["id"]: row for row in listed(house)}
    assert (rows[ann]["state"], rows[ann]["attempts"]) == ("retry", 1)
    assert rows[ann]["due"] > rows[ann]["since"]

    (shown,) = lines(happy("mail", "show", ann, house.data))
    assert "To: ann@x.example" in shown["header"]
    assert [one["type"] for one in shown["attempts"]] == ["MailSending", "MailDelayed"]
    assert shown["attempts"][1]["reply"] == "450 4.2.1 later"

    assert happy("mail", "hold", ann, house.data, "--reason", "wrong text").exit_code == 0
    (held,) = lines(happy("mail", "held", house.data))
    assert (held["id"], held["state"], held["reason"]) == (ann, "held", "wrong text")
    hurried = happy("mail", "redeliver", ann, house.data)
    assert (hurried.exit_code, "wrong text; release it first" in hurried.stderr) == (1, True)
    assert happy("mail", "release", ann, house.data).exit_code == 0
    (shown,) = lines(happy("mail", "show", ann, house.data))
    assert [one["type"] for one in shown["attempts"][2:4]] == ["MailHeld", "MailReleased"]
    assert shown["attempts"][2]["source"] == f"operator {held['who']}"

    assert happy("mail", "bounce", bob, house.data).exit_code == 0
    (failed,) = entries(house, "happy.MailFailed")
    assert (failed["recipient"], failed["reply"]) == (
        "bob@x.example",
        "5.0.0 given up by the operator",
    )

    sink.refuse = lambda _recipient: None
    (done,) = lines(happy("mail", "redeliver", ann, house.data, "--json"))
    assert done["done"] == "redeliver"
    sink.wait_for(1, b"To: ann@x.example")
    wait_until(lambda: not listed(house), "nothing is owed")
    again = happy("mail", "redeliver", ann, house.data)
    assert again.exit_code == 1
    assert "no such message is owed" in again.stderr
    (shown,) = lines(happy("mail", "show", ann, house.data))
    assert shown["attempts"][-1]["type"] == "MailSent"


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (["show", "lists/1"], 64, "say which message"),
        (["bounce", "lists/1"], 1, "seq 1 is a happy.Configured, no mail"),
        (["bounce", "lists/1", "--reason", "a\nb"], 64, "write one line"),
        (["hold", "lists/1", "--reason", "a" * 301], 64, "at most 300 characters"),
        (["hold", "lists/1"], 1, "no mail"),
        (["hold", "lists/1.0"], 1, "no such message is owed"),
        (["release", "lists/1"], 1, "it is not held"),
        (["bounce", "lists"], 64, "write NAME/SEQ.N"),
        (["bounce", "lists/1.0"], 1, "no such message is owed"),
        (["redeliver", "other/1.0"], 1, "there is no application other"),
        (["show", "lists/999.0"], 1, "no such message is owed, and no attempt was made"),
        (["show", "other/1.0"], 3, ""),
    ],
)  # fmt: skip
def test_what_is_not_there_is_said_so(shared, words, status, sentence):
    """A sentence and a status, and nothing done."""
    result = happy("mail", *words, shared)
    assert (result.exit_code, sentence in result.stderr) == (status, True), result.stderr


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """The data directory of a container that runs, for those who change nothing."""
    from conftest import Container  # noqa: PLC0415 - one for all, unlike the fixture

    house = Container(tmp_path_factory.mktemp("shared"), LISTS.format(port=0, smarthost=9), ())
    yield house.start().data
    house.kill()


def test_without_a_container_nobody_can_be_asked(tmp_path):
    """Status 1 and a sentence; so it is for a command the container does not understand."""
    (tmp_path / "data").mkdir()
    result = happy("mail", "ls", tmp_path / "data")
    assert (result.exit_code, "no container runs here" in result.stderr) == (1, True)
    assert happy("mail", "ls").exit_code == 64


def test_a_letter_that_a_handler_failed_on_is_found_and_delivered_again(container):
    """Dead lists it with its error; with the code mended, redeliver makes it a new event."""
    house = container(DESK)
    code = house.folder / "desk.py"
    code.write_text(CODE.format(line="raise RuntimeError('broken')"))
    house.start()
    swaks(house.port("lists", "smtp"), "--to", "help@app.example", "--from", "ann@x.example")
    house.stop()
    (row,) = lines(happy("mail", "dead", "lists", "--config", house.config))
    assert row["recipients"] == ["help@app.example"]
    assert row["reverse_path"] == "ann@x.example"
    assert row["error"] == "RuntimeError: broken"
    name, _, seq = row["id"].partition("/")
    assert (name, len(entries(house, "happy.Mail"))) == ("lists", 1)
    wrong = happy("mail", "redeliver", f"lists/{int(seq) + 7}", house.data)
    assert (wrong.exit_code, "there is no seq" in wrong.stderr) == (1, True)
    done = happy("mail", "redeliver", row["id"], "--config", house.config)
    assert done.exit_code == 0, done.stderr
    assert "happens again as seq" in done.stdout
    assert len(entries(house, "happy.Mail")) == 2
    house.start()
    assert house.status()["apps"][0]["failed"] == 2
    vain = happy("mail", "redeliver", row["id"], house.data)
    assert (vain.exit_code, "in vain" in vain.stderr) == (1, True), vain.stderr


def test_a_letter_is_delivered_again_while_the_container_runs(container):
    """It is listed, and happens again as an event of the running application, from an operator."""
    house = container(DESK)
    (house.folder / "desk.py").write_text(
        CODE.format(line="if not state.count: raise RuntimeError('broken')")
        + "    @mail.to('mend@')\n    def mend(state, mail, context):\n        state.count += 1\n"
    )
    house.start()

    def write(to):
        swaks(house.port("lists", "smtp"), "--to", f"{to}@app.example", "--from", "ann@x.example")

    write("help")
    (row,) = lines(happy("mail", "dead", "lists", "--config", house.config))
    assert happy("mail", "hold", row["id"], house.data, "--reason", "not yet").exit_code == 0
    assert lines(happy("mail", "dead", "lists", "--config", house.config)) == []
    (held,) = lines(happy("mail", "held", "--config", house.config))
    assert (held["id"], held["reason"]) == (row["id"], "not yet")
    for verb in ("redeliver", "bounce"):
        kept = happy("mail", verb, row["id"], house.data)
        assert (kept.exit_code, "not yet; release it first" in kept.stderr) == (1, True)
    assert happy("mail", "release", row["id"], house.data).exit_code == 0
    vain = happy("mail", "redeliver", row["id"], house.data)
    assert (vain.exit_code, "in vain" in vain.stderr) == (1, True), vain.stderr
    write("mend")
    done = happy("mail", "redeliver", row["id"], "--config", house.config, "--json")
    assert done.exit_code == 0, done.stderr
    first, _, _, again = entries(house, "happy.Mail")
    assert again["recipients"] == first["recipients"] == ["help@app.example"]
    assert again["content"] == first["content"]
    (answer,) = lines(done)
    shown = happy("journal", "show", house.data / "lists", "--from", str(answer["seq"]))
    seq = row["id"].partition("/")[2]
    assert lines(shown)[0]["source"] == f"redelivery of {seq} by {held['who']}"
    strange = happy("mail", "redeliver", "lists/999", house.data)
    assert (strange.exit_code, "there is no seq 999" in strange.stderr) == (1, True)
    assert happy("mail", "hold", row["id"], house.data).exit_code == 0
    house.stop()
    assert row["id"] not in happy("mail", "dead", "lists", "--config", house.config).stdout
    kept = happy("mail", "redeliver", row["id"], house.data)
    assert (kept.exit_code, "release it first" in kept.stderr) == (1, True), kept.stderr
    stopped = happy("mail", "release", row["id"], house.data)
    assert (stopped.exit_code, "start it first" in stopped.stderr) == (1, True), stopped.stderr


def test_a_letter_that_a_handler_failed_on_goes_back_to_who_sent_it(container, sink):
    """Once, with a report and the reason; then it is no dead letter any more."""
    config = DESK + f'[mail]\nsmarthost = "tcp:127.0.0.1:{sink.port}"\n'
    house = container(config)
    (house.folder / "desk.py").write_text(CODE.format(line="raise RuntimeError('broken')"))
    house.start()
    for sender in ("ann@x.example", ""):
        envelope = ("--to", "help@app.example", "--from", sender or "<>")
        swaks(house.port("lists", "smtp"), *envelope)
    row, silent = lines(happy("mail", "dead", "lists", "--config", house.config))
    to_nobody = happy("mail", "bounce", silent["id"], house.data)
    assert (to_nobody.exit_code, "no return path" in to_nobody.stderr) == (1, True)
    why = ("--reason", "no such desk")
    done = happy("mail", "bounce", row["id"], "--config", house.config, *why)
    assert done.exit_code == 0, done.stderr
    ((reverse_path, recipients, report),) = sink.wait_for(1, b"no such desk")
    assert (reverse_path, recipients) == ("", ("ann@x.example",))
    assert b"Final-Recipient: rfc822; help@app.example" in report
    again = happy("mail", "bounce", row["id"], house.data)
    assert (again.exit_code, "no such desk" in again.stderr) == (1, True)
    (row,) = lines(happy("mail", "dead", "lists", "--config", house.config))
    assert row["id"] == silent["id"]


def test_who_fails_for_good_is_seen_and_written_to_again(container, sink):
    """Suppressed lists an address with the reason, unsuppress is an event; then mail goes there."""
    config = LISTS.format(port=0, smarthost=sink.port) + "[limits]\nmail_failures_max = 1\n"
    sink.refuse = lambda _recipient: "550 5.1.1 no such user"
    house = container(config).start()
    assert lines(happy("mail", "suppressed", house.data)) == []
    for address in ("ann@x.example", "Ann@x.example"):
        before = len(entries(house, "happy.MailFailed"))
        envelope = ("--to", "dev-subscribe@lists.example", "--from", address)
        swaks(house.port("lists", "smtp"), *envelope)
        wait_until(lambda n=before: len(entries(house, "happy.MailFailed")) > n, "it failed")
    first, second = entries(house, "happy.MailFailed")
    assert (first["hard"], second["suppressed"]) == (True, True)
    (row,) = lines(happy("mail", "suppressed", "--config", house.config))
    assert (row["app"], row["address"], row["failures"]) == ("lists", "ann@x.example", 1)
    assert row["reply"] == "550 5.1.1 no such user"
    assert happy("mail", "unsuppress", "bob@x.example", house.data).exit_code == 1
    done = happy("mail", "unsuppress", "ANN@x.example", house.data)
    assert (done.exit_code, "is written to again" in done.stdout) == (0, True), done.stderr
    assert entries(house, "happy.MailUnsuppressed") == [{"address": "ANN@x.example"}]
    assert lines(happy("mail", "suppressed", house.data)) == []
    assert lines(happy("mail", "bounced", house.data)) == []
