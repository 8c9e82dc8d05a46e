"""``happy mail``: what waits to be sent, and what a handler failed on; sending and ending it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote

import click
import msgspec

from happy.cli.applications import application, application_options
from happy.cli.asking import NoAnswer, ask
from happy.cli.bodies import records_in
from happy.cli.bounds import Wanted
from happy.cli.frames import steps
from happy.cli.output import (
    Unwell,
    is_terminal,
    json_option,
    rfc3339,
    safe,
    short_time,
    write_json,
    write_table,
)
from happy.cli.password import password
from happy.cli.places import data_path
from happy.cli.quarantine import append_event
from happy.cli.segments import segment_names
from happy.cli.statuses import Status, statuses
from happy.codec import decode_plain, encode
from happy.event import MailDelayed, MailFailed, MailSending, MailSent, event_meta
from happy.journal.disk import FileDisk
from happy.journal.frame import Frame
from happy.mail_again import AGAIN, NotDone, mail_at
from happy.system_events import MailBounced

F = TypeVar("F", bound=Callable[..., Any])

_TOLD: Final = tuple(
    event_meta(cls).name for cls in (MailSending, MailDelayed, MailSent, MailFailed, MailBounced)
)


def _place_options(command: F) -> F:
    """Give a command the argument DATA_DIR and the option --config."""
    config = click.option(
        "--config",
        "-c",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="The container of this configuration.",
    )
    data = click.argument(
        "data", metavar="[DATA_DIR]", type=click.Path(path_type=Path), required=False
    )
    return data(config(json_option(command)))


@click.group()
def mail() -> None:
    """Look after the mail that applications owe, and that they failed on.

    A message that is owed is called NAME/SEQ.N: the application, the event that owed it, and
    which of its effects it was. One that came in is called NAME/SEQ, as its 250 said.
    """


mail.add_command(password)


@mail.command()
@_place_options
def ls(data: Path | None, config: Path | None, as_json: bool) -> None:
    """List the messages that a running container owes, in the order they were owed.

    A table has local times; JSON, a line for each message, RFC 3339 in UTC.

    \b
    Exit status:
      0  listed, or there are none
      1  no container answers
    """  # noqa: D301 - click's mark
    path = data_path(data, config)
    found = _asked(path, "ls")
    if as_json or not is_terminal():
        write_json(*map(_as_json, found["mail"]))
        return
    write_table(
        ("message", "state", "recipient", "attempts ", "since", "next attempt"),
        [
            (
                row["id"],
                row["state"] + (", may be taken" if row["ambiguous"] else ""),
                safe(row["recipient"]),
                str(row["attempts"]),
                short_time(row["since_ns"]),
                short_time(row["due_ns"]),
            )
            for row in found["mail"]
        ],
    )
    _say_if_in_part(found, "mail", "messages")


@mail.command()
@_place_options
def bounced(data: Path | None, config: Path | None, as_json: bool) -> None:
    """List the messages that were sent and came back, as a running container remembers them.

    Those are known that went out under a return path of happy's own. `happy mail show` tells more.

    \b
    Exit status:
      0  listed, or there are none
      1  no container answers
    """  # noqa: D301 - click's mark
    found = _asked(data_path(data, config), "bounced")
    if as_json or not is_terminal():
        write_json(*map(_as_json, found["mail"]))
        return
    write_table(
        ("message", "state", "recipient", "status", "since"),
        [
            (row["id"], row["state"], safe(row["recipient"]), row["status"],
             short_time(row["since_ns"]))
            for row in found["mail"]
        ],
    )  # fmt: skip
    _say_if_in_part(found, "mail", "messages")


@mail.command()
@_place_options
def suppressed(data: Path | None, config: Path | None, as_json: bool) -> None:
    """List the addresses that are not written to, for mail there failed for good too often.

    \b
    Exit status:
      0  listed, or there are none
      1  no container answers
    """  # noqa: D301 - click's mark
    found = _asked(data_path(data, config), "suppressed")
    if as_json or not is_terminal():
        write_json(*map(_as_json, found["suppressed"]))
        return
    write_table(
        ("application", "address", "since", "failures ", "the last one"),
        [
            (row["app"], safe(row["address"]), short_time(row["since_ns"]), str(row["failures"]),
             safe(row["reply"]))
            for row in found["suppressed"]
        ],
    )  # fmt: skip
    _say_if_in_part(found, "suppressed", "addresses")


@mail.command()
@click.argument("address")
@_place_options
def unsuppress(address: str, data: Path | None, config: Path | None, as_json: bool) -> None:
    """Let ADDRESS be written to again, by every application of a running container.

    Its failures so far are forgotten.

    \b
    Exit status:
      0  done
      1  not done: it is not suppressed, or no container answers
    """  # noqa: D301 - click's mark
    answer = _asked(data_path(data, config), f"unsuppress {quote(address, safe='@')}")
    _done(address, answer, as_json, "is written to again")


@mail.command()
@click.argument("message", metavar="NAME/SEQ.N")
@_place_options
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
    name, seq, n = _parse(message)
    if n is None:
        raise click.UsageError("say which message: NAME/SEQ.N; `happy journal show` shows events")
    with statuses(path / name):
        attempts = list(_attempts(path / name, seq, n))
    try:
        owed = _answer_of(path, f"show {name} {seq}.{n}")
    except NoAnswer:
        owed = {}
    owed.pop("error", None)
    if not attempts and not owed:
        raise Unwell(f"{message}: no such message is owed, and no attempt was made", 1)
    if as_json or not is_terminal():
        write_json({"id": message, **_as_json(owed), "attempts": attempts})
        return
    for field in ("state", "recipient", "reverse_path", "header"):
        if field in owed:
            click.echo(f"{field}: {safe(owed[field])}")
    columns = ("time", "event", "reply")
    write_table(columns, [(a["time"], a["type"], safe(a["reply"])) for a in attempts])


@mail.command()
@click.argument("message", metavar="NAME/SEQ[.N]")
@_place_options
def redeliver(message: str, data: Path | None, config: Path | None, as_json: bool) -> None:
    """Send a message that is owed now, or have one that came in handled once more.

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
    name, seq, n = _parse(message)
    if n is not None:
        _done(message, _asked(path, f"redeliver {name} {seq}.{n}"), as_json, "is sent now")
        return
    journal = path / name
    try:
        done = _checked(_answer_of(path, f"again {name} {seq}"))
    except NoAnswer:
        pass  # then the journal is nobody's
    else:
        _done(message, done, as_json, f"happened again as seq {done['seq']}")
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
            as_seq = append_event(disk, encode(mail, f"{AGAIN}{seq}"))
        finally:
            disk.close()
    done = {"id": message, "done": "redeliver", "seq": as_seq}
    _done(message, done, as_json, f"happens again as seq {as_seq}, at the next start")


@mail.command()
@click.argument("message", metavar="NAME/SEQ.N")
@_place_options
def bounce(message: str, data: Path | None, config: Path | None, as_json: bool) -> None:
    """Give up a message that is owed: the application is told that it failed.

    \b
    Exit status:
      0  done
      1  not done: there is no such message, it is being sent, or no container answers
    """  # noqa: D301 - click's mark
    path = data_path(data, config)
    name, seq, n = _parse(message)
    if n is None:
        raise click.UsageError("say which message: NAME/SEQ.N, as `happy mail ls` shows it")
    _done(message, _asked(path, f"bounce {name} {seq}.{n}"), as_json, "is given up")


@mail.command()
@application_options
@json_option
def dead(name: str, config: Path, data: Path | None, as_json: bool) -> None:
    """List the messages that came in to application NAME and that a handler failed on.

    The journal is replayed to find them; the container may run. `happy mail redeliver` has one
    handled once more.

    \b
    Exit status:
      0  listed, or there are none
      1  the application cannot be loaded
      2  the journal is damaged
      3  not a journal
      4  something could not be read
    """  # noqa: D301 - click's mark
    from happy.cli.dead_letters import dead_letters  # noqa: PLC0415 - it loads all that replays

    app = application(name, config, data)
    with statuses(app.path):
        found = list(dead_letters(app.path, app.config, AGAIN))
    if as_json or not is_terminal():
        write_json(*found)
        return
    write_table(
        ("message", "time", "from", "to", "error"),
        [
            (
                row["id"],
                row["time"],
                safe(row["reverse_path"]),
                safe(" ".join(row["recipients"])),
                safe(row["error"]),
            )
            for row in found
        ],
    )


def _parse(message: str) -> tuple[str, int, int | None]:
    name, slash, place = message.rpartition("/")
    seq, dot, n = place.partition(".")
    if not (slash and name and seq.isdecimal() and (n.isdecimal() if dot else True)):
        raise click.UsageError(f"{message!r} is no message: write NAME/SEQ.N, as in lists/17.0")
    return name, int(seq), int(n) if dot else None


def _answer_of(path: Path, words: str) -> dict[str, Any]:
    answer: dict[str, Any] = msgspec.json.decode(ask(path, f"mail {words}".encode()))
    return answer


def _asked(path: Path, words: str) -> dict[str, Any]:
    """Return what the container answers; ``Unwell`` when it does not, or says no."""
    try:
        answer = _answer_of(path, words)
    except NoAnswer as error:
        raise Unwell(f"{path}: {error}") from None
    except msgspec.DecodeError:
        raise Unwell(f"{path}: the container gave no answer that can be read") from None
    return _checked(answer)


def _checked(answer: dict[str, Any]) -> dict[str, Any]:
    if "error" in answer:
        raise Unwell(str(answer["error"]))
    return answer


def _done(message: str, answer: dict[str, Any], as_json: bool, what: str) -> None:
    if as_json:
        write_json(answer)
    else:
        click.echo(safe(f"{message} {what}"))


def _say_if_in_part(found: dict[str, Any], listed: str, what: str) -> None:
    if found["count"] > len(found[listed]):
        click.echo(f"{len(found[listed])} of {found['count']} {what}", err=True)


def _as_json(row: dict[str, Any]) -> dict[str, Any]:
    plain = {key: value for key, value in row.items() if not key.endswith("_ns")}
    for key in ("since", "due"):
        if f"{key}_ns" in row:
            plain[key] = rfc3339(row[f"{key}_ns"])
    return plain


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
                    "reply": body.get("reply", ""),
                    "ambiguous": body.get("ambiguous", False),
                    "status": body.get("status", ""),
                }
