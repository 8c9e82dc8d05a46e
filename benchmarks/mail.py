"""Mail beside others: messages a second that are answered 250, on real servers and sockets.

    python benchmarks/mail.py [--sizes 1000,20000] [--sessions 20] [--rounds 5] [--seconds 2]
                              [--only NAMES] [--data DIR] [--json FILE]

Postfix's ``smtp-source`` sends, over connections that are kept. Servers run on the first core
that this process may use, the load on the last, and rounds take turns in a new order each time.
Ours, aiosmtpd and Postfix answer when a message is durable, Twisted's own keeps nothing; Postfix
throws away what it has taken (``discard``). Ours is watched with strace: each 250 after the dot
must wait for a sync. Exits with 1 when one did not, when a message that was answered is not in
the order, or when a bound that we promise does not hold.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final

import click
from web_peers import (
    APPLICATIONS,
    Missing,
    Room,
    Started,
    cpu_s,
    free_port,
    make_python,
    need,
    tree_of,
    wait_for,
)

from happy.codec import decode_record
from happy.journal.disk import FileDisk
from happy.journal.frame import Frame, Kind, records_of
from happy.journal.replay import Reader

RATE_MIN: Final = 3_000
SYNCS_MAX: Final = 0.2
SMALL_BYTES: Final = 1_000
SECONDS_MAX: Final = 30.0
MESSAGES_MAX: Final = 200_000
WARM_UP_MESSAGES: Final = 200
PROOF_MESSAGES: Final = 500
TO: Final = "box@mail.example"
DURABLE: Final = "happy"
CALLS: Final = "fsync,fdatasync,sendto,write,writev,sendmsg"
SYNCED: Final = re.compile(r"(?:fdatasync|fsync)(?:\(.*| resumed>.*)= 0$")
ACCEPTED: Final = re.compile(r'(?:sendto|write|writev|sendmsg)\(.*"250 2\.0\.0 ')


# --- the servers --------------------------------------------------------------------------------


def happy(room: Room) -> Started:
    """Our container with an application that counts what comes."""
    port = free_port()
    config = room.directory / "happy-mail.toml"
    config.write_text(
        f"""data = "var"
[apps.box]
app = "mail_happy:Box"
smtp = "tcp:{port}:interface=127.0.0.1:backlog=128"
domains = ["mail.example"]
"""
    )
    twistd = Path(sys.executable).with_name("twistd")
    process = room.spawn(
        twistd, "-n", "--pidfile=", "happy", "--config", config, PYTHONPATH=str(APPLICATIONS)
    )
    wait_for(port, process)
    return port, [process]


def aiosmtpd(room: Room) -> Started:
    """Aiosmtpd with a handler that writes and syncs."""
    if room.peers_python is None:
        raise Missing("aiosmtpd cannot be installed")
    port = free_port()
    kept = room.directory / "kept"
    kept.mkdir()
    process = room.spawn(room.peers_python, APPLICATIONS / "mail_aiosmtpd.py", str(port), kept)
    wait_for(port, process)
    return port, [process]


def twisted(room: Room) -> Started:
    """Twisted's own ESMTP, which keeps nothing here."""
    port = free_port()
    process = room.spawn(sys.executable, APPLICATIONS / "mail_twisted.py", str(port))
    wait_for(port, process)
    return port, [process]


MAIN: Final = """compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/mail.log
maillog_file_prefixes = {folder}
myhostname = localhost
mydestination =
alias_maps =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.1/32
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
default_transport = discard:
relay_domains = mail.example
relay_transport = discard:
"""
MASTER: Final = """127.0.0.1:{port} inet n - n - 100 smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
flush unix n - n 1000 0 flush
proxymap unix - - n - - proxymap
discard unix - - n - 50 discard
retry unix - - n - - error
error unix - - n - - error
anvil unix - - n - 1 anvil
showq unix n - n - - showq
postlog unix-dgram n - n - 1 postlogd
"""


def postfix(room: Room) -> Started:
    """Postfix, which syncs a file for each message, and discards it later."""
    program = need("postfix")
    if os.geteuid() != 0:
        raise Missing("postfix has to be started by root")
    port = free_port()
    folder = Path(tempfile.mkdtemp(prefix="postfix-", dir=room.directory))
    room.directory.chmod(0o755)
    folder.chmod(0o755)
    for name in ("queue", "data", "etc"):
        (folder / name).mkdir()
    shutil.chown(folder / "data", "postfix")
    (folder / "etc" / "main.cf").write_text(MAIN.format(folder=folder))
    (folder / "etc" / "master.cf").write_text(MASTER.format(port=port))
    process = room.spawn(program, "-c", folder / "etc", "start-fg")
    # Its master has a session of its own, and would live on.
    argv = [program, "-c", folder / "etc", "abort"]
    room.at_end.append(partial(subprocess.run, argv, capture_output=True, check=False))
    wait_for(port, process)
    return port, [process]


SERVERS: Final[dict[str, Callable[[Room], Started]]] = {
    DURABLE: happy,
    "aiosmtpd + fsync": aiosmtpd,
    "Postfix + discard": postfix,
    "twisted.mail (keeps nothing)": twisted,
}


# --- the load -----------------------------------------------------------------------------------


def send(core: int, port: int, sessions: int, size: int, messages: int) -> float:
    """Have ``smtp-source`` send some messages; return the seconds that took."""
    argv = [
        "taskset", "-c", str(core), need("smtp-source"), "-d", "-s", str(sessions), "-l", str(size),
        "-m", str(messages), "-f", "load@client.example", "-t", TO, f"127.0.0.1:{port}",
    ]  # fmt: skip
    begun = time.perf_counter()
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    took_s = time.perf_counter() - begun
    if done.returncode:
        raise SystemExit(f"smtp-source: {done.stderr.strip()}")
    return took_s


class Bench:
    """All servers, running, and what was found of them."""

    def __init__(self, room: Room, core: int, sessions: int) -> None:
        self.room = room
        self.missing: dict[str, str] = {}
        self.runs: dict[tuple[str, int], list[dict[str, float]]] = {}
        self.sent = 0
        """How many messages ours has answered."""
        self._core = core
        self._sessions = sessions
        self._started: dict[str, tuple[int, list[int]]] = {}

    def start(self, wanted: Iterable[str]) -> None:
        """Start all that can be started."""
        for name in wanted:
            try:
                port, processes = SERVERS[name](self.room)
            except (Missing, OSError) as error:
                self.missing[name] = str(error)
                say(f"left out: {name}: {error}")
                continue
            self._started[name] = port, [process.pid for process in processes]

    def turn(self, name: str, size: int, messages: int) -> dict[str, float]:
        """Load one server; return how fast it was and what it used."""
        port, roots = self._started[name]
        used_s = cpu_s(roots)
        took_s = send(self._core, port, self._sessions, size, messages)
        if name == DURABLE:
            self.sent += messages
        return {
            "per_s": messages / took_s,
            "cpu_us": (cpu_s(roots) - used_s) / messages * 1e6,
        }

    def measure(self, sizes: Sequence[int], rounds: int, seconds: float) -> None:
        """Take turns; how many messages make a turn, a first one tells."""
        turns = {}
        for size in sizes:
            for name in self._started:
                rate = self.turn(name, size, WARM_UP_MESSAGES)["per_s"]
                turns[name, size] = min(max(int(rate * seconds), self._sessions), MESSAGES_MAX)
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}")
            for name, size in random.sample(list(turns), len(turns)):
                found = self.turn(name, size, turns[name, size])
                self.runs.setdefault((name, size), []).append(found)

    def syncs(self) -> float:
        """Return how many frames a message took, each of which is one write and one sync.

        The journal tells it and not strace, which makes what it watches too slow to be judged.
        """
        frames = messages = 0
        for frame in self._frames():
            frames += 1
            messages += frame.count
        return frames / messages

    def _frames(self) -> Iterator[Frame]:
        journal = FileDisk(self.room.directory / "var" / "box")
        found = Reader(journal, cut=False).frames()
        return (frame for frame in found if frame.kind is Kind.EVENTS)

    def proof(self) -> tuple[int, int]:
        """Return how many messages of a lone session were accepted, and how many after a sync."""
        port, roots = self._started[DURABLE]
        trace = self.room.directory / "trace"
        pids = [option for pid in sorted(tree_of(roots)) for option in ("-p", str(pid))]
        watching = subprocess.Popen(
            [need("strace"), "-f", "-s", "16", "-e", f"trace={CALLS}", "-o", trace, *pids],
            stderr=subprocess.DEVNULL,
        )
        try:
            time.sleep(0.5)
            send(self._core, port, 1, SMALL_BYTES, PROOF_MESSAGES)
            self.sent += PROOF_MESSAGES
        finally:
            watching.send_signal(signal.SIGINT)
            watching.wait(30)
        return accepted_after_sync(trace.read_text(errors="replace").splitlines())

    def kept(self) -> int:
        """Return how many messages are in the journal, among what else happened."""
        return sum(
            decode_record(record).type == "happy.Mail"
            for frame in self._frames()
            for record in records_of(frame)
        )


def accepted_after_sync(lines: Iterable[str]) -> tuple[int, int]:
    """Return how often a trace of one session says 250 to a message, and how often after a sync."""
    accepted = after_sync = 0
    synced = False
    for line in lines:
        if SYNCED.search(line):
            synced = True
        elif ACCEPTED.search(line):
            accepted += 1
            after_sync += synced
            synced = False
    return accepted, after_sync


# --- saying -------------------------------------------------------------------------------------


def summary_of(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the medians over the rounds."""
    rates = [run["per_s"] for run in runs]
    return {
        "per_s": round(median(rates)),
        "least_per_s": round(min(rates)),
        "most_per_s": round(max(rates)),
        "cpu_us": round(median(run["cpu_us"] for run in runs), 1),
    }


def bounds_of(found: Mapping[str, Any]) -> list[tuple[str, bool]]:
    """Return what we promise, each with whether it held."""
    bounds = []
    for row in found["rows"]:
        if row["name"] == DURABLE and row["bytes"] == SMALL_BYTES:
            rate = row["per_s"]
            bounds.append((f"{rate:,} messages/s, at least {RATE_MIN:,}", rate >= RATE_MIN))
    syncs, proof = found.get("syncs_per_message"), found.get("proof")
    if syncs is not None:
        bounds.append((f"{syncs:.3f} syncs a message, below {SYNCS_MAX}", syncs < SYNCS_MAX))
    if proof is not None:
        accepted, after = proof
        bounds.append((f"{after} of {accepted} accepted after a sync", 0 < accepted == after))
    if found.get("sent") is not None:
        sent, kept = found["sent"], found["kept"]
        bounds.append((f"{sent:,} were answered 250, {kept:,} are there", sent == kept))
    return bounds


def say(words: str) -> None:
    """Tell who waits."""
    print(words, file=sys.stderr, flush=True)


def numbers(_context: object, _option: object, value: str) -> list[int]:
    """Read whole numbers with commas between."""
    return [int(number) for number in value.split(",")]


def servers(_context: object, _option: object, value: str) -> list[str]:
    """Read names of servers with commas between."""
    unknown = [name for name in value.split(",") if name not in SERVERS]
    if unknown:
        raise click.BadParameter(f"{unknown[0]!r} is none of {', '.join(SERVERS)}")
    return value.split(",")


@click.command()
@click.option("--sizes", default="1000,20000", callback=numbers, show_default=True)
@click.option("--sessions", default=20, show_default=True)
@click.option("--rounds", type=click.IntRange(1, 50), default=5, show_default=True)
@click.option("--seconds", type=click.FloatRange(0.1, SECONDS_MAX), default=2.0, show_default=True)
@click.option("--only", default=",".join(SERVERS), callback=servers, help="Servers; all of them.")
@click.option("--data", type=click.Path(path_type=Path), help="Where; a temporary directory.")
@click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path.home() / ".cache" / "happy-benchmarks",
    help="Where the peers' Python packages are kept.",
)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Figures, as JSON.")
def main(  # noqa: PLR0913 - the command line
    sizes: list[int],
    sessions: int,
    rounds: int,
    seconds: float,
    only: list[str],
    data: Path | None,
    cache: Path,
    json_file: Path | None,
) -> None:
    """Measure and print; status 1 when something was wrong."""
    cores = sorted(os.sched_getaffinity(0))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    cache.mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix="happy-mail-", dir=data))
    python, _ = make_python(cache)
    room = Room(directory, cores[0], python)
    bench = Bench(room, cores[-1], sessions)
    found: dict[str, Any] = {"sessions": sessions, "cores": len(cores), "load": os.getloadavg()[0]}
    try:
        bench.start(only)
        bench.measure(sizes, rounds, seconds)
        if DURABLE in only and DURABLE not in bench.missing:
            found["syncs_per_message"] = bench.syncs()
            with suppress(Missing):
                found["proof"] = bench.proof()
            found["sent"], found["kept"] = bench.sent, bench.kept()
    finally:
        room.close()
        shutil.rmtree(directory, ignore_errors=True)
    found["missing"] = bench.missing
    found["rows"] = [
        {"name": name, "bytes": size, **summary_of(runs)}
        for (name, size), runs in sorted(bench.runs.items(), key=lambda item: item[0][1])
    ]
    for row in found["rows"]:
        print(
            f"{row['bytes']:6} B  {row['name']:28} {row['per_s']:7,}/s "
            f"({row['least_per_s']:,} to {row['most_per_s']:,})  {row['cpu_us']:7.1f} us CPU"
        )
    bounds = bounds_of(found)
    for sentence, holds in bounds:
        print(f"{'yes' if holds else 'NO '}  {sentence}")
    if json_file is not None:
        json_file.write_text(json.dumps(found, indent=1) + "\n")
    raise SystemExit(not all(holds for _, holds in bounds))


if __name__ == "__main__":
    main()
