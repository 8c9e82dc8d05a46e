"""Mail that comes back: what the machine makes of it, and whom it suppresses."""

from __future__ import annotations

import random

import pytest
from attrs import evolve

from happy import App, handles, state
from happy.app import definition_of
from happy.apply import Machine
from happy.bounces import as_digested
from happy.codec import EventDecoder
from happy.digest import packed
from happy.event import Configured, Entry, FailedOutcome, Mail, MailFailed, MailSent, event
from happy.image import Image
from happy.return_paths import ReturnPaths
from happy.system_events import MailBounced, MailUnsuppressed

JOURNAL = b"j" * 16
PATHS = ReturnPaths.of(JOURNAL)
BOUNDS = Configured(b"", ("app.example",), 10, 2, 3, 3)


@state
class Diary:
    seen: tuple[str, ...] = ()


class Writer(App):
    state = Diary

    @handles(MailBounced)
    def came_back(state, event, context):
        if event.tag == "broken":
            raise RuntimeError("broken")
        state.seen += (f"{event.recipient} {event.tag} {event.status} {event.reverse_path}",)

    @handles(Mail)
    def came(state, mail, context):
        state.seen += (" ".join(mail.recipients),)


DEFINITION = definition_of(Writer)


def machine_of(*events):
    machine = Machine(DEFINITION, JOURNAL, random.Random)
    return after(machine, BOUNDS, *events)


def after(machine, *events):
    for one in events:
        machine.apply([Entry(machine.seq + 1, machine.seq * 1000, one)])
    return machine


def path(seq):
    return PATHS.make((seq, 0), "app.example")


def sent(seq, to="bob@x.example", tag="t"):
    return MailSent(seq, 0, to, path(seq), tag)


def back(seq, *, hard=True):
    return MailBounced(seq, 0, status="5.1.1" if hard else "5.2.2", reply="no", hard=hard)


def failed(seq, to="bob@x.example"):
    return MailFailed(seq, 0, to, reply="550 5.1.1 no", hard=True)


def suppressed(machine):
    return [one.address for one in machine.bounces.suppressed()]


def test_the_application_hears_what_came_back():
    """Whom it was to, and its own word for it, which the report could not know."""
    machine = machine_of(sent(7), back(7))
    assert machine.state.seen == (f"bob@x.example t 5.1.1 {path(7)}",)
    ((effect_id, one),) = machine.bounces.bounced()
    assert (effect_id, one.recipient, one.status) == ((7, 0), "bob@x.example", "5.1.1")


def test_a_message_comes_back_once():
    """A second report on it, or one on a message that never went out, is no news."""
    machine = machine_of(sent(7), back(7), back(7), back(8), sent(7), back(7))
    assert len(machine.state.seen) == 2  # it was sent once more, and came back from there
    assert suppressed(machine) == ["bob@x.example"]
    assert suppressed(machine_of(sent(7), back(7), back(7), back(8))) == []


def test_mail_under_another_return_path_is_not_awaited():
    """The application has its own way with it; nor is a path good that is of another message."""
    foreign = MailSent(7, 0, "bob@x.example", "ann@app.example", "t")
    for strange in (foreign, evolve(foreign, reverse_path=path(8))):
        assert machine_of(strange, back(7)).state.seen == ()


def test_so_many_failures_for_good_suppress_an_address():
    """Whether it was the next server that refused, or a report came; in whatever letters."""
    machine = machine_of(sent(7), back(7), sent(8), back(8, hard=False))
    assert suppressed(machine) == []
    after(machine, failed(9, "Bob@X.example"))
    assert suppressed(machine) == ["Bob@X.example"]
    found = machine.bounces.suppression_of("BOB@x.example")
    assert (found.failures, found.reply, found.suppressed_ns) == (2, "550 5.1.1 no", 5000)
    after(machine, failed(9))
    assert machine.bounces.suppression_of("bob@x.example").failures == 2
    assert machine.bounces.suppression_of("ann@x.example") is None


def test_a_word_unsuppresses_and_the_counting_begins_anew():
    """An event like any other; for somebody who is not suppressed, it forgets the failures."""
    machine = machine_of(failed(7), failed(8), MailUnsuppressed("BOB@x.example"), failed(9))
    assert suppressed(machine) == []
    after(machine, MailUnsuppressed("nobody@x.example"), failed(10))
    assert suppressed(machine) == ["bob@x.example"]


def test_a_handler_that_fails_on_it_does_not_undo_it():
    """What came back came back; all that the application wanted is undone."""
    machine = machine_of(sent(7, tag="broken"), sent(8, tag="broken"), back(7))
    (outcome,) = machine.apply([Entry(5, 5, back(8))])
    assert isinstance(outcome, FailedOutcome)
    assert suppressed(machine) == ["bob@x.example"]


def test_what_is_remembered_is_bounded_and_the_oldest_goes():
    """By what was configured."""
    machine = machine_of(*(failed(n, f"{n}@x") for n in range(7, 12)))
    assert [key for kind, key, _ in machine.bounces] == [
        (9, 0), (10, 0), (11, 0), "9@x", "10@x", "11@x",
    ]  # fmt: skip


def test_a_message_to_a_return_path_is_for_no_handler():
    """Only its other recipients are told to one; a path that somebody made up is another's."""
    made_up = "bounces+7-0-" + "0" * 24 + "@app.example"
    machine = machine_of(
        Mail("", (path(7),), b"", b""),
        Mail("", (path(7), "ann@app.example"), b"", b""),
        Mail("", (made_up,), b"", b""),
    )
    assert machine.state.seen == ("ann@app.example", made_up)


def test_it_is_in_the_digest_and_in_the_image():
    """Each event changes the digest, and a machine made from the image goes on the same."""
    machine = machine_of()
    digests = {machine.digest()}
    events = [sent(7), back(7), failed(8), MailUnsuppressed("bob@x.example"), sent(9)]
    for one in events:
        images = Image(DEFINITION)
        description = images.describe(machine, {})
        again = Machine(DEFINITION, JOURNAL, random.Random)
        again.seq, again.time_ns = machine.seq, machine.time_ns
        Image(DEFINITION).put(
            again, EventDecoder(DEFINITION.events), description, list(images.take(machine, {}))
        )
        again.outcomes = machine.outcomes
        for each in (machine, again):
            after(each, one)
        assert again.digest() == machine.digest()
        assert list(again.bounces) == list(machine.bounces)
        digests.add(machine.digest())
    assert len(digests) == 1 + len(events)


def test_the_digest_of_an_old_configuration_is_as_it_was():
    """Marks in old journals were made of classes without the bounds of mail, or some of them."""

    @event(name="happy.First")
    class First:
        settings: bytes
        domains: tuple[str, ...] = ()
        keys_remembered_max: int = 100_000

    @event(name="happy.Second")
    class Second:
        settings: bytes
        domains: tuple[str, ...] = ()
        keys_remembered_max: int = 100_000
        mail_failures_max: int = 3
        mail_returns_max: int = 100_000
        mail_unreached_max: int = 100_000

    for told, of in (((b"{}", ("x",), 5), First), ((b"{}", ("x",), 5, 1), Second)):
        assert packed(as_digested(Configured(*told))) == packed(of(*told))


def test_an_old_failure_is_no_reason():
    """What was journaled before anybody looked whether it was for good counts against nobody."""
    machine = Machine(DEFINITION, JOURNAL, random.Random)
    digest = machine.digest()
    after(machine, MailFailed(7, 0, "bob@x.example", reply="550 5.1.1 no"))
    assert (len(machine.bounces), machine.digest() != digest) == (0, True)


@pytest.mark.parametrize("bounds", [(1,), (3, 1), (3, 100_000, 1), (3, 100_000, 100_000, 1)])
def test_a_new_configuration_is_digested_as_another(bounds):
    """Any of the bounds makes it one."""
    usual, other = Configured(b"", (), 5), Configured(b"", (), 5, *bounds)
    assert packed(as_digested(other)) != packed(as_digested(usual))
