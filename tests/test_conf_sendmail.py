"""The shipped lines for Sendmail, in a real Sendmail around a real container.

Sendmail and Postfix cannot both be installed. ``SENDMAIL_ROOT`` names a folder with the files of
Debian's packages sendmail-bin and sendmail-cf; m4 and the libraries they need are installed::

    apt-get download sendmail-bin sendmail-cf
    for deb in sendmail-*.deb; do dpkg -x $deb $SENDMAIL_ROOT; done
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from attrs import frozen

from conftest import CI
from edge_kit import free_port, need_root, open_folder, running, shipped, wait_until
from happy.limits import Limits
from mail_kit import HOSTNAME, LISTS, entries, swaks

# What every sendmail.mc has around our lines, as far as it is needed here. Without a resolver;
# mail for elsewhere goes to the sink.
BEFORE = """\
OSTYPE(`linux')dnl
FEATURE(`no_default_msa')dnl
FEATURE(`accept_unresolvable_domains')dnl
define(`confDOMAIN_NAME', `{hostname}')dnl
define(`confCR_FILE', `-o {folder}/relay-domains')dnl
define(`confSERVICE_SWITCH_FILE', `{folder}/switch')dnl
define(`confDONT_BLAME_SENDMAIL', `ClassFileInUnsafeDirPath,MapInUnsafeDirPath')dnl
define(`confPID_FILE', `{folder}/pid')dnl
define(`confTO_IDENT', `0')dnl
define(`QUEUE_DIR', `{folder}/queue')dnl
define(`ALIAS_FILE', `')dnl
define(`STATUS_FILE', `{folder}/statistics')dnl
define(`HELP_FILE', `{folder}/help')dnl
define(`SMART_HOST', `relay:[127.0.0.1]')dnl
define(`RELAY_MAILER_ARGS', `TCP $h {smarthost}')dnl
DAEMON_OPTIONS(`Family=inet, Addr=127.0.0.1, Port={port}')dnl
"""
AFTER = "MAILER(`smtp')dnl\n"

# Where the machine's name has no dot Sendmail waits for a minute at each start, hoping; so it
# gets to see another name.
RENAMED = ("unshare", "--uts", "sh", "-c", f'hostname {HOSTNAME} && exec "$@"', "sh")
NAMED = () if "." in socket.getfqdn() else RENAMED


@frozen
class Sendmail:
    """A Sendmail with the shipped lines; ``port`` takes mail, 127.0.0.1 may relay."""

    folder: Path
    port: int
    root: Path

    def run(self, *command: str, said: str = "") -> str:
        """Run a command with the programs of Sendmail at hand; return what it says."""
        done = subprocess.run(
            [*NAMED, *command],
            input=said,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            env=self.environment,
            cwd=self.folder,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @property
    def environment(self) -> dict[str, str]:
        """Where the programs and their libraries are."""
        libraries = next((self.root / "usr/lib").glob("*-linux-gnu"), self.root)
        places = [str(self.folder / "bin"), str(self.root / "usr/bin"), os.environ["PATH"]]
        return os.environ | {"PATH": ":".join(places), "LD_LIBRARY_PATH": str(libraries)}

    def resolve(self, address: str) -> str:
        """Return which mailer takes an address, and to which host."""
        out = self.run("sendmail", "-C", "happy.cf", "-bt", said=f"3,0 {address}\n")
        return re.search(r"parse +returns: \$# (.+) \$:", out)[1]


def build(one: Sendmail, smarthost: int, happy: int) -> None:
    """Make the configuration from the shipped lines, and do what they say to do."""
    (one.folder / "bin").mkdir()
    for program in ("sendmail", "makemap"):  # as copies: without their set-group-id bit
        shutil.copyfile(one.root / "usr/libexec/sendmail" / program, one.folder / "bin" / program)
        (one.folder / "bin" / program).chmod(0o755)
    (one.folder / "queue").mkdir(mode=0o700)
    (one.folder / "switch").write_text("hosts files\naliases files\n")
    lines = shipped("sendmail/happy.mc", {"/etc/mail": str(one.folder), "$h 2525": f"$h {happy}"})
    before = BEFORE.format(folder=one.folder, hostname=HOSTNAME, smarthost=smarthost, port=one.port)
    (one.folder / "happy.mc").write_text(before + lines + AFTER)
    macros = one.root / "usr/share/sendmail/cf"
    cf = one.run("m4", f"-D_CF_DIR_={macros}/", f"{macros}/m4/cf.m4", "happy.mc")
    (one.folder / "happy.cf").write_text(cf)
    commands = re.findall(r"(?m)^dnl {5}(\S.*)$", lines)
    assert commands.pop() == f"make -C {one.folder} && service sendmail restart"
    assert commands.pop() == f"makemap hash {one.folder}/mailertable < {one.folder}/mailertable"
    commands.append("makemap -C happy.cf hash mailertable < mailertable")
    for command in commands:
        one.run("sh", "-c", command)


@pytest.fixture
def port():
    """Where happy takes mail."""
    return free_port()


@pytest.fixture
def relay(sink, port):
    """A Sendmail, running."""
    root = os.environ.get("SENDMAIL_ROOT")
    if root is None:
        (pytest.fail if CI else pytest.skip)("SENDMAIL_ROOT does not say where Sendmail is")
    need_root()
    with open_folder() as folder:
        one = Sendmail(folder, free_port(), Path(root))
        build(one, sink.port, port)
        command = [str(folder / "bin/sendmail"), "-C", str(folder / "happy.cf"), "-bD", "-q1s"]
        with running([*NAMED, *command], one.port, folder / "log", one.environment):
            yield one


@pytest.fixture
def house(container, relay, port):
    """A container with the mailing lists, behind it and before it."""
    return container(LISTS.format(port=port, smarthost=relay.port)).start()


def test_sendmail_knows_where_the_lists_are(relay):
    """In address test mode lists.example is happy's, and nothing else is."""
    assert relay.resolve("dev@lists.example") == "happy $@ [ 127 . 0 . 0 . 1 ]"
    assert relay.resolve("dev-bounces+0a@lists.example") == "happy $@ [ 127 . 0 . 0 . 1 ]"
    assert relay.resolve("bob@example.org").startswith("relay ")


def test_sendmail_takes_no_message_that_happy_would_not(relay):
    """The largest message of Sendmail is one that happy takes, with Sendmail's own line added."""
    (bytes_max,) = re.findall(
        r"(?m)^O MaxMessageSize=(\d+)", (relay.folder / "happy.cf").read_text()
    )
    assert 0 < int(bytes_max) <= Limits().smtp_message_bytes_max - 4096


def test_sendmail_relays_both_ways(relay, house, sink):
    """A stranger's mail for the list reaches happy, and happy's answer reaches the stranger."""
    envelope = ("--to", "dev-subscribe@lists.example", "--from", "ann@example.org")
    swaks(relay.port, *envelope, "--header", "Subject: let me in", stranger=True)
    sink.wait_for(1)
    (mail,) = entries(house, "happy.Mail")
    assert mail["reverse_path"] == "ann@example.org"
    assert mail["recipients"] == ["dev-subscribe@lists.example"]
    assert "\r\nSubject: let me in\r\n" in mail["content"]["$utf8"]
    _, recipients, letter = sink.messages[0]
    assert recipients == ("ann@example.org",)
    assert b"dev-confirm-" in letter


def test_sendmail_is_no_open_relay(relay):
    """A stranger's mail for elsewhere is refused."""
    elsewhere = ("--to", "bob@example.org", "--from", "x@example.net")
    said = swaks(relay.port, *elsewhere, stranger=True, ok=False)
    assert re.search(r"RCPT TO:<bob@example\.org>\n<\*\* 550 5\.7\.1", said)


def test_mail_waits_in_sendmail_while_happy_is_away(relay, house):
    """Mail that comes while the container is away arrives when it is back, once."""
    envelope = ("--to", "dev-subscribe@lists.example", "--from", "ann@example.org")
    house.kill()
    swaks(relay.port, *envelope, stranger=True)
    wait_until(lambda: list((relay.folder / "queue").glob("qf*")), "the mail is queued")
    house.start()
    wait_until(lambda: entries(house, "happy.Mail"), "the mail is in the journal")
    wait_until(lambda: not list((relay.folder / "queue").glob("qf*")), "the queue is empty")
    assert len(entries(house, "happy.Mail")) == 1
