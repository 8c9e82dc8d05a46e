"""``happy replay``: what an application's journal comes to, now or at a moment of the past."""

from __future__ import annotations

import time
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from happy.cli.applications import Application, application, application_options
from happy.cli.bounds import SeqOrTime, Wanted, wanted
from happy.cli.output import counted, json_option, progress, rfc3339, safe, write_json
from happy.cli.statuses import statuses
from happy.event import FailedOutcome, RefusedOutcome, name_of

if TYPE_CHECKING:
    from happy.apply import Machine


@click.command()
@application_options
@click.option("--until", type=SeqOrTime(), metavar="SEQ|TIME",
              help="End with this seq, or with what came at this time.")  # fmt: skip
@click.option("--with", "other", type=click.Path(path_type=Path), metavar="PATH",
              help="Compare with the code in PATH, a directory or a wheel.")  # fmt: skip
@click.option("--serve", metavar="ENDPOINT",
              help="Answer HTTP from the state as it was then; nothing can change.")  # fmt: skip
@json_option
def replay(  # noqa: PLR0913 - one for each option
    name: str,
    config: Path,
    data: Path | None,
    until: int | datetime | None,
    other: Path | None,
    serve: str | None,
    as_json: bool,
) -> None:
    """Replay the journal of NAME and say what it comes to.

    The code is the configured one. No lock is taken, nothing is written and no effect is
    performed: a container may be running on the journal.

    With --with, two processes replay side by side, one with the configured code, one with PATH
    first on its module path. The outcome of each event, what it owes and the rows it changes are
    compared, and the first event that comes to something else is shown. Fields that only one of
    the two has are named and not compared. As a gate, run it before a new version is deployed.

    With --serve, the application is opened as it was after the last event, at an endpoint such
    as tcp:8080:interface=127.0.0.1, until Ctrl-C. Queries are answered; what would submit an
    event is refused (409).

    \b
    Exit status:
      0  replayed; with --with, both come to the same
      1  not replayed: the configuration is not fit, or the journal ends before --until
      2  not replayed: the journal is damaged
      3  not replayed: there is no journal
      4  not replayed: the code does not know an event, or something could not be read
      5  different: what the code in PATH comes to is shown
      6  the code in PATH cannot be loaded, or nothing is loaded from it
      7  the code in PATH does not know an event, or does not fit the snapshot to begin with
      8  the process with the code in PATH broke off
    """  # noqa: D301 - click's mark
    if other is not None and serve is not None:
        raise click.UsageError("--with compares and --serve answers: one of the two")
    app = application(name, config, data)
    asked = wanted(1, until)
    if other is not None:
        from happy.cli.gate import compare  # noqa: PLC0415 - only here

        compare(app, config, other, asked, as_json=as_json)
    elif serve is not None:
        from happy.cli.past import serve_past  # noqa: PLC0415 - it picks a reactor

        serve_past(app, asked, serve, as_json=as_json)
    else:
        _replay(app, asked, as_json=as_json)


@attrs.define
class _Tally:
    """What is counted while a journal is replayed."""

    types: Counter[str] = attrs.field(factory=Counter)
    refused: int = 0
    failed: int = 0
    begin_seq: int = 0
    """What a snapshot held is not counted."""

    def events(self, machine: Machine) -> int:
        """Return how many were applied."""
        return machine.seq - self.begin_seq


def _replay(app: Application, asked: Wanted, *, as_json: bool) -> None:
    began = time.monotonic()
    with statuses(app.path), progress("replaying") as tell:
        machine, tally = _replayed(app, asked, tell)
    seconds = time.monotonic() - began
    said = _plain(app, machine, tally, seconds)
    if as_json:
        write_json(said)
        return
    place = f"seq {machine.seq}" + (f" ({said['time']})" if machine.seq else "")
    events = counted(tally.events(machine), "event")
    if tally.begin_seq:
        events += f" behind the snapshot of seq {tally.begin_seq},"
    click.echo(safe(
        f"{app.config.name}: replayed {events} to {place}: {tally.refused} refused, "
        f"{tally.failed} failed; state digest {said['digest']}; "
        f"{said['events_per_s']:,} events a second"
    ))  # fmt: skip
    for kind, count in tally.types.most_common():
        click.echo(safe(f"{count:>12,}  {kind}"))


def _plain(app: Application, machine: Machine, tally: _Tally, seconds: float) -> dict[str, Any]:
    return {
        "app": app.config.name,
        "journal": str(app.path),
        "seq": machine.seq,
        "time": rfc3339(machine.time_ns) if machine.seq else None,
        "begin_seq": tally.begin_seq,
        "types": dict(tally.types.most_common()),
        "refused": tally.refused,
        "failed": tally.failed,
        "digest": machine.digest(),
        "seconds": round(seconds, 3),
        "events_per_s": round(tally.events(machine) / max(seconds, 1e-9)),
    }


def _replayed(app: Application, asked: Wanted, tell: Any) -> tuple[Machine, _Tally]:
    """Return the machine of an application as it was, and what was counted on the way."""
    from happy.cli.replaying import Replay, check_until  # noqa: PLC0415 - as above

    replaying = Replay(app.path, app.config.definition, asked, tell)
    machine = replaying.machine
    tally = _Tally(begin_seq=replaying.begin_seq)
    for batch in replaying.batches():
        entries = list(batch)
        tally.types.update(name_of(entry.event) for entry in entries)
        for outcome in machine.apply(entries):
            kind = type(outcome)
            tally.refused += kind is RefusedOutcome
            tally.failed += kind is FailedOutcome
    check_until(app.path, asked, machine.seq)
    return machine, tally
