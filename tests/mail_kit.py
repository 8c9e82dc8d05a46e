"""What the tests of mail servers share: the mailing lists, a real client, and the journal."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from conftest import need
from edge_kit import wait_until, written

HAPPY = Path(sys.executable).with_name("happy")
HOSTNAME = "mx.lists.example"
STRANGER = "127.0.0.2"  # an address of this machine that no mail server here trusts
LETTER = ("--to", "dev-subscribe@lists.example", "--from", "ann@example.org")
ELSEWHERE = ("--to", "bob@example.org", "--from", "x@example.net")

LISTS = f"""
data = "data"
[apps.lists]
app = "happy.examples.lists:MailingLists"
http = "tcp:0:interface=127.0.0.1"
smtp = "tcp:{{port}}:interface=127.0.0.1"
domains = ["lists.example"]
settings = {{{{ lists = ["dev"], bounces_max = 1 }}}}
[mail]
# As it is where both run on one machine: the mail server's own name.
hostname = "{HOSTNAME}"
smarthost = "tcp:127.0.0.1:{{smarthost}}"
[log]
access = "off"
"""


# Two applications, of which the second one takes its mail elsewhere.
TWO = LISTS.replace(
    "[mail]",
    """[apps.post]
app = "happy.examples.lists:MailingLists"
{second}
domains = ["post.example"]
settings = {{ lists = ["dev"] }}
[apps.post.limits]
smtp_message_bytes_max = 90_004_096
[mail]""",
)


def two_written(kind: str, folder: Path, second: str) -> str:
    """Return what `happy edge` writes for two applications that run nowhere."""
    config = folder / "happy.toml"
    config.write_text(TWO.format(port=2525, smarthost=25, second=second))
    return written(kind, config)


def shown(journal: Path) -> list[dict]:
    """Return the entries of a journal, as `happy journal show` shows them."""
    said = subprocess.run(
        [HAPPY, "journal", "show", journal],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    return list(map(json.loads, said.splitlines()))


def entries(house, kind: str, app: str = "lists") -> list[dict]:
    """Return the bodies of the events of a kind that an application of a container has."""
    return [entry["body"] for entry in shown(house.data / app) if entry["type"] == kind]


def swaks(port: int, *arguments: str, stranger: bool = False, ok: bool = True) -> str:
    """Hand in a message with the real swaks; return the conversation."""
    command = [need("swaks"), "--server", f"127.0.0.1:{port}", "--helo", "client.example"]
    command += ["--timeout", "60"]  # its own 30 s are few where a server asks before it answers
    command += ["--local-interface", STRANGER if stranger else "127.0.0.1"]
    done = subprocess.run(
        [*command, *arguments],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=120,
        check=False,
    )
    assert (done.returncode == 0) is ok, done.stdout + done.stderr
    return done.stdout


def first_mail(house) -> dict:
    """Return the one mail that the lists of a container got, when they have it."""
    wait_until(lambda: entries(house, "happy.Mail"), "the mail is in the journal")
    (mail,) = entries(house, "happy.Mail")
    return mail


def forwarded_to(house, relay) -> tuple[dict, dict[str, str]]:
    """Have a stranger write by a Postfix that tells of him; return the mail, and what it told."""
    relay.command("postconf", "-e", "smtp_send_xforward_command=yes")
    relay.command("postfix", "reload")
    swaks(relay.port, *LETTER, stranger=True)
    mail = first_mail(house)
    return mail, dict(word.split("=", 1) for word in mail["forwarded"])


def relayed_both_ways(relay, house, sink) -> str:
    """Have a stranger write to a list, and the list answer; return the mail as the list got it."""
    swaks(relay.port, *LETTER, "--header", "Subject: let me in", stranger=True)
    sink.wait_for(1)
    mail = first_mail(house)
    assert mail["reverse_path"] == "ann@example.org"
    assert mail["recipients"] == ["dev-subscribe@lists.example"]
    _, recipients, letter = sink.messages[0]
    assert recipients == ("ann@example.org",)
    assert b"dev-confirm-" in letter
    content = mail["content"]["$utf8"]
    assert "\r\nSubject: let me in\r\n" in content
    return content
