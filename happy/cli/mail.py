"""``happy mail``: what is owed and what a handler failed on; sending, holding and ending it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from happy.cli.asking import NotRunning
from happy.cli.bodies import records_in
from happy.cli.bounds import Wanted
from happy.cli.frames import steps
from happy.cli.mail_asking import (
    answer_of,
    as_json_row,
    asked,
    checked,
    message_of,
    place_options,
    reason_option,
    say_done,
    who,
)
from happy.cli.mail_lists import bounced, dead, held, ls, suppressed
from happy.cli.output import Unwell, is_terminal, rfc3339, safe, write_json, write_table
from happy.cli.password import password
from happy.cli.places import data_path
from happy.cli.quarantine import append_event
from happy.cli.segments import segment_names
from happy.cli.statuses import Status, statuses
from happy.codec import decode_plain, encode
from happy.event import MailDelayed, MailFailed, MailSending, MailSent, event_meta
from happy.holds import HOLDING, Holds
from happy.journal.disk import FileDisk
from happy.journal.frame import Frame
from happy.mail_again import NotDone, again_source, mail_at
from happy.system_events import MailBounced, MailHeld, MailReleased

_TOLD: Final = tuple(
    event_meta(cls).name
    for cls in (MailSending, MailDelayed, MailSent, MailFailed, MailBounced, MailHeld, MailReleased)
)
_HOLDING: Final = {event_meta(cls).name: cls for cls in HOLDING}


@click.group()
def mail() -> None:
    """Look after mail: what is owed, and what handlers failed on.

    A message that is owed is called NAME/SEQ.N: the application, the event that owed it, and
    which of its effects it was. One that came in is called NAME/SEQ, as its 250 said.
    """


for command in (ls, held, bounced, suppressed, dead, password):
    mail.add_command(command)


@mail.command()
@click.argument("address")
@place_options
def unsuppress(address: str, data: Path | None, config: Path | None, as_json: bool) -> None:
    """Let ADDRESS be written to again.

    Every application of a running container does. Its failures so far are forgotten.

    \b
    Exit status:
      0  done
      1  not done: it is not suppressed, or no container answers
    """  # noqa: D301 - click's mark
    answer = asked(data_path(data, config), "unsuppress", address, who())
    say_done(address, answer, as_json, "is written to again")


@mail.command()
@click.argument("message", metavar="NAME/SEQ.N")
@place_options
def show(message: str, data: Path | None, config: Path | None, as_json: bool) -> None:
    """Show a message's attempts, and its header while it is owed.

    The attempts are read from the journal, so those of a message that is done are shown too, and
    no container needs to run.

    \b
    Exit status:
      0  shown
      1  the journal knows no such message
      2  the journal is damaged
      3  not a journal
      4  something could not be read
    """  # noqa: D301 - click's mark
    path = data_path(data, config)
    name, seq, n = message_of(message)
    if n is None:
        raise click.UsageError("say which message: NAME/SEQ.N; `happy journal show` shows events")
    with statuses(path / name):
        attempts = list(_attempts(path / name, seq, n))
    try:
        owed = answer_of(path, "show", name, f"{seq}.{n}")
    except NotRunning:
        owed = {}
    owed.pop("error", None)
    if not attempts and not owed:
        raise Unwell(f"{message}: no such message is owed, and no attempt was made", 1)
    if as_json or not is_terminal():
        write_json({"id": message, **as_json_row(owed), "attempts": attempts})
        return
    for field in ("state", "recipient", "reverse_path", "header"):
        if field in owed:
            click.echo(f"{field}: {safe(owed[field])}")
    columns = ("time", "event", "reply")
    write_table(columns, [(a["time"], a["type"], safe(a["reply"])) for a in attempts])


@mail.command()
@click.argument("message", metavar="NAME/SEQ[.N]")
@place_options
def redeliver(message: str, data: Path | None, config: Path | None, as_json: bool) -> None:
    """Send a message now, or have it handled once more.

    NAME/SEQ.N is tried at once, not when its pause is over; the container must run. NAME/SEQ, a
    message that came in, happens again as a new event: at once where the container runs, else at
    the next start. Mend the handler first that failed on it.

    \b
    Exit status:
      0  done
      1  not done, or in vain: there is no such message, its handler failed again, or no
         container answers
      2  the journal is damaged
      3  not a journal
      4  in use, or something could not be read or written
    """  # noqa: D301 - click's mark
    path = data_path(data, config)
    name, seq, n = message_of(message)
    if n is not None:
        done = asked(path, "redeliver", name, f"{seq}.{n}", who())
        say_done(message, done, as_json, "is sent now")
        return
    journal = path / name
    try:
        done = checked(answer_of(path, "redeliver", name, str(seq), who()))
    except NotRunning:
        pass  # then the journal is nobody's
    else:
        say_done(message, done, as_json, f"happened again as seq {done['seq']}")
        return
    with statuses(journal):
        segment_names(FileDisk(journal), journal)
        disk = FileDisk(journal)
        disk.lock()
        try:
            try:
                mail = mail_at(journal, seq)
            except NotDone as error:
                raise Unwell(str(error), Status.NOT_DONE) from None
            why = _holds_of(journal, seq).why_left_alone(seq)
            if why is not None:
                raise Unwell(f"{message}: {why}", Status.NOT_DONE)
            as_seq = append_event(disk, encode(mail, again_source(seq, who())))
        finally:
            disk.close()
    done = {"id": message, "done": "redeliver", "seq": as_seq}
    say_done(message, done, as_json, f"happens again as seq {as_seq}, at the next start")


@mail.command()
@click.argument("message", metavar="NAME/SEQ[.N]")
@reason_option
@place_options
def bounce(
    message: str, data: Path | None, config: Path | None, reason: str, as_json: bool
) -> None:
    """Give up a message, or return it to its sender.

    Of NAME/SEQ.N, the application is told that it failed. NAME/SEQ, one that a handler failed on
    or any other that came in, goes back to its return path with a report that says the reason;
    that happens once.

    \b
    Exit status:
      0  done
      1  not done: there is no such message, it is being sent or held, it was returned before or
         has no return path, or no container answers
    """  # noqa: D301 - click's mark
    name, seq, n = message_of(message)
    place = str(seq) if n is None else f"{seq}.{n}"
    done = asked(data_path(data, config), "bounce", name, place, who(), reason)
    is_now = f"goes back, as {name}/{done['seq']}" if n is None else "is given up"
    say_done(message, done, as_json, is_now)


@mail.command()
@click.argument("message", metavar="NAME/SEQ[.N]")
@reason_option
@place_options
def hold(message: str, data: Path | None, config: Path | None, reason: str, as_json: bool) -> None:
    """Have a message left alone until it is released.

    NAME/SEQ.N, which is owed, is not sent, however long it is due; its time goes on. If it is being
    sent just now, that goes on as well. NAME/SEQ, which came in, is no dead letter that waits, and
    is neither redelivered nor returned; what it did when it came stays.

    \b
    Exit status:
      0  done
      1  not done: there is no such message, it is held already, or no container answers
    """  # noqa: D301 - click's mark
    name, seq, n = message_of(message)
    place = str(seq) if n is None else f"{seq}.{n}"
    done = asked(data_path(data, config), "hold", name, place, who(), reason)
    say_done(message, done, as_json, "is held")


@mail.command()
@click.argument("message", metavar="NAME/SEQ[.N]")
@place_options
def release(message: str, data: Path | None, config: Path | None, as_json: bool) -> None:
    """Leave a message alone no more.

    One that is owed is sent when it is due.

    \b
    Exit status:
      0  done
      1  not done: it is not held, or no container answers
    """  # noqa: D301 - click's mark
    name, seq, n = message_of(message)
    place = str(seq) if n is None else f"{seq}.{n}"
    done = asked(data_path(data, config), "release", name, place, who())
    say_done(message, done, as_json, "is released")


def _holds_of(journal: Path, first: int) -> Holds:
    """Return what was said of the messages that came in as event ``first`` or later."""
    holds = Holds()
    for step in steps(journal, Wanted(first=first)):
        if not isinstance(step, Frame):
            continue
        for seq, record in records_in(step):
            cls = _HOLDING.get(record.type)
            if cls is not None:
                holds.take(msgspec.msgpack.decode(record.body, type=cls), seq, step.time_ns)
    return holds


def _attempts(journal: Path, seq: int, n: int) -> Iterator[dict[str, Any]]:
    """Yield what the journal tells of one message."""
    for step in steps(journal, Wanted(first=seq + 1)):
        if not isinstance(step, Frame):
            continue
        for at, record in records_in(step):
            if record.type not in _TOLD:
                continue
            body = decode_plain(record.body)
            if (body["event_seq"], body["n"]) == (seq, n):
                yield {
                    "seq": at,
                    "time": rfc3339(step.time_ns),
                    "type": record.type.removeprefix("happy."),
                    "source": record.source,
                    "reply": body.get("reply", body.get("reason", "")),
                    "ambiguous": body.get("ambiguous", False),
                    "status": body.get("status", ""),
                }
