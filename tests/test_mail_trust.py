"""Mail doors and whom they face, before real clients: swaks, smtplib and Postfix."""

from __future__ import annotations

import smtplib
import ssl
import subprocess

import pytest

from certificate_kit import make_certificate
from conftest import CI, Container, need
from edge_kit import wait_until
from happy.wire.passwords import Cost, hashed
from mail_kit import LETTER, LISTS, STRANGER, entries, forwarded_to, swaks
from postfix_kit import postfix

PASSWORD = "correct horse"
DOORS = """smtp = [
  "haproxy:tcp:0:interface=127.0.0.1",
  { listen = "tcp:0:interface=127.0.0.1", trust = "relay" },
  { listen = "tcp:0:interface=127.0.0.1", trust = "submission" },
]
limits = { smtp_auth_delay_s = 1, smtp_proxy_timeout_s = 10 }
"""
MAIL = """[mail]
relays = ["127.0.0.1"]
certificate = "mx.pem"
users_file = "users"
"""


def config(folder, smarthost=9, more=""):
    """Return a configuration with a door of each kind, and make the files that it names."""
    folder.mkdir(exist_ok=True)
    make_certificate(folder / "mx.pem")
    users = folder / "users"
    users.write_text(f"ann:{hashed(PASSWORD, Cost(10, 8, 1))}\n")
    users.chmod(0o600)
    text = LISTS.format(port=0, smarthost=smarthost).replace("[mail]", MAIL)
    return text.replace('smtp = "tcp:0:interface=127.0.0.1"', DOORS + more)


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """A container with a door behind a proxy, one for relays, and one for users."""
    folder = tmp_path_factory.mktemp("trust") / "house"
    running = Container(folder, config(folder), ()).start()
    yield running
    running.kill()


def need_tls_for_swaks():
    """Skip the test where swaks lacks what it encrypts with; under CI that is a failure."""
    loads = [need("perl"), "-MNet::SSLeay", "-e1"]
    if subprocess.run(loads, capture_output=True, timeout=60, check=False).returncode:
        (pytest.fail if CI else pytest.skip)("Net::SSLeay is not installed")


def ports(house):
    (app,) = house.status()["apps"]
    return [int(d["where"].rpartition(":")[2]) for d in app["doors"] if d["kind"] == "smtp"]


def last(house, subject):
    """Return the one mail with a subject."""
    (found,) = [
        m for m in entries(house, "happy.Mail") if f"Subject: {subject}" in str(m["header"])
    ]
    return found


@pytest.mark.parametrize("version", ["1", "2"])
def test_swaks_as_a_proxy(house, version):
    """Both versions of the header: the event has the client that it tells of."""
    behind_proxy, *_ = ports(house)
    swaks(
        behind_proxy, *LETTER, "--h-Subject", f"proxy-{version}", "--proxy-version", version,
        "--proxy-family", {"1": "TCP4", "2": "AF_INET"}[version], "--proxy-source", "198.51.100.7",
        "--proxy-source-port", "50000", "--proxy-dest", "192.0.2.1", "--proxy-dest-port", "25",
    )  # fmt: skip
    mail = last(house, f"proxy-{version}")
    assert (mail["peer"], mail["via"]) == ("198.51.100.7", "127.0.0.1")


def test_swaks_without_a_header_is_sent_away(house):
    """And so is a stranger with one: neither hears a word."""
    behind_proxy, *_ = ports(house)
    for arguments in (
        (),
        ("--proxy-version", "1", "--proxy", "TCP4 198.51.100.7 192.0.2.1 50000 25"),
    ):
        talk = swaks(behind_proxy, *LETTER, *arguments, stranger=bool(arguments), ok=False)
        assert "<-  220" not in talk


def test_swaks_speaks_as_its_client(house):
    """XCLIENT at the door for relays: the session begins again, and the client is the peer."""
    _, for_relays, _ = ports(house)
    talk = swaks(
        for_relays, *LETTER, "--h-Subject", "xclient", "--xclient-addr", "198.51.100.7",
        "--xclient-name", "client.example", "--xclient-login", "ann",
    )  # fmt: skip
    assert talk.count("<-  220 ") == 2
    mail = last(house, "xclient")
    assert (mail["peer"], mail["via"], mail["login"]) == ("198.51.100.7", "127.0.0.1", "ann")
    assert "NAME=client.example" in mail["forwarded"]


def test_a_stranger_is_nobody_at_the_door_for_relays(house):
    """He is told so, and that is all."""
    _, for_relays, _ = ports(house)
    assert "554 5.7.1 " in swaks(for_relays, *LETTER, stranger=True, ok=False)


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_swaks_logs_in_over_tls(house, mechanism):
    """The name is a fact of the event; in the clear there is nothing to log in with."""
    need_tls_for_swaks()
    *_, for_users = ports(house)
    credentials = ("--auth", mechanism, "--auth-user", "ann", "--auth-password", PASSWORD)
    swaks(for_users, *LETTER, "--h-Subject", f"auth-{mechanism}", "--tls", *credentials)
    mail = last(house, f"auth-{mechanism}")
    assert (mail["login"], mail["protocol"], mail["tls"]) == ("ann", "ESMTPSA", True)
    assert "AUTH" not in swaks(for_users, *LETTER, "--quit-after", "EHLO").partition("EHLO")[2]
    swaks(for_users, *LETTER, *credentials, ok=False)


def submit(port, password):
    """Hand in a message as a mail program does."""
    unchecked = ssl._create_unverified_context()
    with smtplib.SMTP("127.0.0.1", port, timeout=60) as client:
        client.starttls(context=unchecked)
        client.login("ann", password)
        client.sendmail(
            "ann@example.org", "dev-subscribe@lists.example", "Subject: smtplib\r\n\r\nx\r\n"
        )


def test_smtplib_logs_in(house):
    """With the right password the mail is taken; with a wrong one there is none, and no secret."""
    *_, for_users = ports(house)
    submit(for_users, PASSWORD)
    assert last(house, "smtplib")["login"] == "ann"
    with pytest.raises((smtplib.SMTPAuthenticationError, smtplib.SMTPServerDisconnected)):
        submit(for_users, "battery staple")
    wait_until(lambda: any("could not log in as ann" in line for line in house.lines), "it is told")
    said = "\n".join(house.lines)
    assert PASSWORD not in said
    assert "battery" not in said


def test_a_front_knows_whom_it_faces(container, tmp_path):
    """Doors in processes of their own have the same trust and the same users, those of now."""
    fronted = container(config(tmp_path / "house", more="fronts = 1\n")).start()
    behind_proxy, for_relays, for_users = ports(fronted)
    submit(for_users, PASSWORD)
    assert last(fronted, "smtplib")["login"] == "ann"
    (tmp_path / "house" / "users").write_text(f"ann:{hashed('another', Cost(10, 8, 1))}\n")
    submit(for_users, "another")
    with pytest.raises((smtplib.SMTPAuthenticationError, smtplib.SMTPServerDisconnected)):
        submit(for_users, PASSWORD)
    assert "554 5.7.1 " in swaks(for_relays, *LETTER, stranger=True, ok=False)
    assert "<-  220" not in swaks(behind_proxy, *LETTER, ok=False)


def test_a_postfix_in_front_of_the_door_for_relays(container, sink, tmp_path):
    """What it knows of its client comes by XFORWARD; that client is a stranger to us."""
    behind = container(config(tmp_path / "house", smarthost=sink.port)).start()
    _, for_relays, _ = ports(behind)
    with postfix(happy=for_relays, smarthost=sink.port) as front:
        mail, told = forwarded_to(behind, front)
    assert (told["ADDR"], mail["peer"]) == (STRANGER, "127.0.0.1")
