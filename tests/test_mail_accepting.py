"""Mail for an application that is slow or down, through a real container and by real clients."""

from __future__ import annotations

import json
import os
import re
import signal
import smtplib
import subprocess
import urllib.error
import urllib.request
from contextlib import contextmanager, suppress

from edge_kit import wait_until
from mail_kit import HAPPY, shown, swaks

WAIT_S = 60
LETTERS_COUNT = 3
QUEUE = 40

CONFIG = """
data = "data"
[apps.letters]
app = "letters:Letters"
core = "process"
accept = "durable"
http = "tcp:0:interface=127.0.0.1"
smtp = "tcp:0:interface=127.0.0.1"
lmtp = "tcp:0:interface=127.0.0.1"
domains = ["letters.example"]
[apps.letters.limits]
queue_events_max = 40
core_restart_ms = 1
handler_timeout_s = 1000
mail_recipient_timeout_s = 1
[log]
access = "off"
"""

LETTERS = """
from happy import App, HttpRoutes, MailRoutes, Refused, query, state

@state
class Box:
    '''What came, in order.'''
    subjects: tuple[str, ...] = ()

class Letters(App):
    '''Keeps the subjects of letters.'''
    state, mail, routes = Box, MailRoutes(), HttpRoutes()

    @mail.to("box@")
    def take(state, mail, context):
        '''Keep one.'''
        state.subjects += (mail.header.decode().partition("Subject: ")[2].split()[0],)

    @mail.to("refuse@")
    def refuse(state, mail, context):
        '''Take none.'''
        raise Refused("none of these")

    @mail.to("<name>@", when=lambda state, name: name in state.subjects)
    def reply(state, mail, context, name):
        '''Take what is for somebody who is known.'''

    @routes.get("/subjects")
    @query
    def all(state):
        '''Return what came.'''
        return " ".join(state.subjects)
"""


def started(container, more=""):
    made = container(CONFIG.replace("[apps.letters]", f"[apps.letters]\n{more}"))
    (made.folder / "letters.py").write_text(LETTERS)
    return made.start()


def is_mail(entry) -> bool:
    return entry["type"] == "happy.Mail"


def core_pid(house):
    (letters,) = house.status()["apps"]
    return letters["core"]["pid"]


def subjects(house) -> list[str]:
    """Return what the application has handled, in order."""
    with urllib.request.urlopen(
        f"http://127.0.0.1:{house.port('letters', 'http')}/subjects", timeout=WAIT_S
    ) as answer:
        return answer.read().decode().split()


def handled(house, wanted: list[str]) -> None:
    """Wait until the application has handled these, in their order, each once."""

    def have_come() -> bool:
        try:
            return len(subjects(house)) >= len(wanted)
        except urllib.error.HTTPError:
            return False  # there is no core

    wait_until(have_come, "all are handled", wait_s_max=WAIT_S)
    assert subjects(house) == wanted


def sent(house, subject: str, to: str = "box@letters.example") -> int:
    """Hand in a letter with swaks; return the place that its 250 names."""
    said = swaks(
        house.port("letters", "smtp"),
        *("--from", "ann@example.org", "--to", to, "--header", f"Subject: {subject}"),
    )
    (place,) = re.findall(r"250 2\.0\.0 Ok letters/(\d+)", said)
    return int(place)


@contextmanager
def stopped(house):
    """The core does nothing meanwhile, as if a handler took its time."""
    pid = core_pid(house)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield pid
    finally:
        with suppress(ProcessLookupError):  # a test may have ended it
            os.kill(pid, signal.SIGCONT)


def test_letters_have_their_250_while_a_handler_takes_its_time(container):
    """Promises 1, 2: swaks and an LMTP client have it; all is handled later, once, in order."""
    house = started(container)
    first = sent(house, "s0")
    wanted = [f"s{number}" for number in range(2 * LETTERS_COUNT + 2)]
    with stopped(house) as core:
        places = [sent(house, name) for name in wanted[1 : LETTERS_COUNT + 1]]
        with smtplib.LMTP("127.0.0.1", house.port("letters", "lmtp"), timeout=WAIT_S) as client:
            client.ehlo("c.example")
            client.mail("ann@example.org")
            for _ in range(2):
                assert client.rcpt("box@letters.example")[0] == 250
            # Whether there is such a person only the state can say.
            code, text = client.rcpt("s0@letters.example")
            assert (code, text[:5]) == (451, b"4.3.0")
            name = wanted[LETTERS_COUNT + 1]
            code, text = client.data(f"Subject: {name}\r\n\r\nhello\r\n".encode())
            lines = [text, client.getreply()[1]]
        places += [int(line.rpartition(b"/")[2]) for line in lines[:1]]
        assert len({line.rpartition(b"/")[2] for line in lines}) == 1
        os.kill(core, signal.SIGKILL)
        places += [sent(house, name) for name in wanted[LETTERS_COUNT + 2 :]]
    handled(house, wanted)
    assert places == sorted(set(places))
    assert places[0] > first
    mails = [entry["seq"] for entry in shown(house.data / "letters") if is_mail(entry)]
    assert mails == [first, *places]
    house.kill()
    house.start()
    handled(house, wanted)


def test_too_large_a_backlog_is_452_before_the_message_and_goes_away_by_itself(container):
    """Promise 8: the bound of the queue is that of the backlog, and nobody has to do anything."""
    house = started(container)
    taken = []
    with (
        stopped(house),
        smtplib.SMTP(
            "127.0.0.1", house.port("letters", "smtp"), "c.example", timeout=WAIT_S
        ) as client,
    ):
        client.ehlo()
        while (said := client.mail("ann@example.org"))[0] == 250:
            taken.append(f"b{len(taken)}")
            assert client.rcpt("box@letters.example")[0] == 250
            assert client.data(f"Subject: {taken[-1]}\r\n\r\n".encode())[0] == 250
        assert (said[0], said[1][:5]) == (452, b"4.3.1")
        assert len(taken) >= QUEUE - 2
    handled(house, taken)
    taken.append("after")
    sent(house, "after")
    handled(house, taken)


def test_what_is_refused_behind_its_250_is_a_dead_letter(container):
    """It is kept and shown; nobody is written to. Doors in a front accept as early."""
    house = started(container, "fronts = 1")
    with stopped(house):
        place = sent(house, "no", "refuse@letters.example")
    sent(house, "yes")
    handled(house, ["yes"])
    said = subprocess.run(
        [HAPPY, "mail", "dead", "letters", "--config", house.config, "--json"],
        capture_output=True, text=True, timeout=WAIT_S, check=True,
    ).stdout  # fmt: skip
    (dead,) = map(json.loads, said.splitlines())
    assert (dead["id"], dead["error"]) == (f"letters/{place}", "refused: none of these")
    (letters,) = house.status()["apps"]
    assert letters["owed"] == 0
