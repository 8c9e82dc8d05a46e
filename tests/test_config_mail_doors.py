"""Mail endpoints as the configuration has them: their trust, what it rests on, and users."""

from __future__ import annotations

import pytest

from certificate_kit import make_certificate
from happy.config import load
from happy.config.mail_doors import MailEndpoint
from happy.errors import ConfigError
from happy.wire.passwords import Cost, hashed
from happy.wire.users import users_now

HASH = str(hashed("secret", Cost(1, 1, 1)))
FILE = """
data = "data"
[apps.lists]
app = "happy.examples.lists:MailingLists"
{doors}
domains = ["lists.example"]
[mail]
{mail}
"""
SUBMISSION = 'smtp = { listen = "tcp:587", trust = "submission" }'


def read(tmp_path, doors, mail="", mode=0o600):
    path = tmp_path / "happy.toml"
    path.write_text(FILE.format(doors=doors, mail=mail))
    path.chmod(mode)
    make_certificate(tmp_path / "mx.pem")
    return load(path)


def complaints(tmp_path, doors, mail="", mode=0o600):
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, doors, mail, mode)
    return [line.removeprefix(f"{tmp_path}/happy.toml:") for line in caught.value.complaints]


def test_an_endpoint_is_text_or_a_table_with_its_trust(tmp_path):
    """A text alone faces the world; ``haproxy:`` says that a proxy is in front."""
    doors = """
smtp = [
  "tcp:25",
  "haproxy:tcp:26",
  { listen = "tcp:27" },
  { listen = "haproxy:tcp:28:interface=127.0.0.1", trust = "relay" },
]
lmtp = { listen = "unix:lmtp.sock", trust = "relay" }
"""
    (app,) = read(tmp_path, doors, 'relays = ["127.0.0.1", "unix"]').apps
    assert [(str(each), each.trust, each.proxied) for each in (*app.smtp, *app.lmtp)] == [
        ("tcp:25", "untrusted", False),
        ("tcp:26", "untrusted", True),
        ("tcp:27", "untrusted", False),
        ("tcp:28:interface=127.0.0.1", "relay", True),
        (f"unix:address={tmp_path}/lmtp.sock:mode=660", "relay", False),
    ]
    assert all(isinstance(each, MailEndpoint) for each in (*app.smtp, *app.lmtp))
    assert app.smtp[3].place.endswith("happy.toml:10: apps.lists.smtp[3]")


@pytest.mark.parametrize(
    ("door", "sentence"),
    [
        ('{ listen = "tcp:25", trust = "rely" }', "not 'rely' (did you mean relay?)"),
        ('{ listen = "tcp:25", trust = 1 }', "expected untrusted, relay or submission, not 1"),
        ('{ listn = "tcp:25" }', "unknown key (did you mean listen?)"),
        ('{ trust = "relay" }', "is missing"),
        ('{ listen = "tpc:25" }', "unknown endpoint type 'tpc' (did you mean tcp?)"),
        ("25", "expected an endpoint (text), a table with listen, or a list of them"),
    ],
)  # fmt: skip
def test_what_is_no_mail_endpoint_is_told(tmp_path, door, sentence):
    """By its line and its key, alone or in a list."""
    for doors in (f"smtp = {door}", f"smtp = [{door}]"):
        found = complaints(tmp_path, doors)
        assert any(sentence in line for line in found) or door == "25", found
        assert all(line.startswith("5: apps.lists.smtp") for line in found)


def test_what_is_looked_up_about_mail_is_said_of_each_door(tmp_path):
    """Nothing unless a table says so; two doors may look up different things."""
    doors = 'smtp = [{ listen = "tcp:25", check = ["dkim", "spf"] }, "tcp:2525"]'
    (app,) = read(tmp_path, doors).apps
    assert [door.check for door in app.smtp] == [("spf", "dkim"), ()]
    (complaint,) = complaints(tmp_path, 'smtp = { listen = "tcp:25", check = ["dkmi"] }')
    assert "expected spf, dkim, dmarc, arc, not 'dkmi' (did you mean dkim?)" in complaint
    submission = 'smtp = { listen = "tcp:587", trust = "submission", check = ["spf"] }'
    assert any("leave check out" in one for one in complaints(tmp_path, submission))


def test_the_web_has_no_trust(tmp_path):
    """A table is for mail alone."""
    (line,) = complaints(tmp_path, 'http = { listen = "tcp:80" }\nsmtp = "tcp:25"')
    assert line.startswith("5: apps.lists.http: expected an endpoint")


@pytest.mark.parametrize(
    ("doors", "mail", "sentences"),
    [
        (SUBMISSION, 'relays = ["127.0.0.1"]', [
            "trust submission needs users: set [mail.users] or users_file",
            "trust submission needs TLS: set [mail] certificate",
        ]),
        (SUBMISSION.replace("smtp", "lmtp"), f'certificate = "mx.pem"\nusers.ann = "{HASH}"', [
            "LMTP is for servers: trust submission is for smtp",
        ]),
        ('smtp = { listen = "haproxy:tcp:25", trust = "relay" }', "", [
            "needs [mail] relays: the proxies that are believed",
            "trust relay needs [mail] relays: the servers it is for",
        ]),
        ('smtp = "haproxy:ssl:25:privateKey=mx.pem"', 'relays = ["unix"]', [
            "the header of a proxy comes before TLS: use tcp and STARTTLS",
        ]),
    ],
)  # fmt: skip
def test_trust_rests_on_something(tmp_path, doors, mail, sentences):
    """Servers that are listed, users, and TLS: without them a start would promise too much."""
    make_certificate(tmp_path / "mx.pem")
    found = complaints(tmp_path, doors, mail)
    assert [line.split(": ", 2)[2] for line in found] == sentences


def test_users_stand_in_the_file_or_in_one_it_names(tmp_path):
    """Both, and no hash is shown by accident."""
    users = tmp_path / "users"
    users.write_text(f"# users\nbob:{HASH}\n")
    users.chmod(0o600)
    mail = f'certificate = "mx.pem"\nusers_file = "users"\nusers.ann = "{HASH}"'
    config = read(tmp_path, SUBMISSION, mail)
    users = users_now(config.mail.users, config.mail.users_file)()
    assert {name: kept.matches("secret") for name, kept in users.items()} == {
        "ann": True,
        "bob": True,
    }
    assert "ann" not in repr(config)


def test_a_door_with_tls_of_its_own_needs_no_certificate_beside_it(tmp_path):
    """As on port 465 (RFC 8314)."""
    make_certificate(tmp_path / "mx.pem")
    doors = 'smtp = { listen = "ssl:465:privateKey=mx.pem:certKey=mx.pem", trust = "submission" }'
    (app,) = read(tmp_path, doors, f'users.ann = "{HASH}"').apps
    assert app.smtp[0].trust == "submission"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_hashes_are_for_their_owner_alone(tmp_path, mode):
    """Wherever they stand: whoever reads a hash may guess as long as he likes."""
    in_it = complaints(tmp_path, SUBMISSION, f'certificate = "mx.pem"\nusers.ann = "{HASH}"', mode)
    words = "has password hashes and others may read it: chmod 600"
    assert in_it == [f"9: mail.users: {tmp_path}/happy.toml {words}"]
    users = tmp_path / "users"
    users.write_text(f"bob:{HASH}\n")
    users.chmod(mode)
    named = complaints(tmp_path, SUBMISSION, 'certificate = "mx.pem"\nusers_file = "users"', 0o644)
    assert named == [f"9: mail.users_file: {users} {words}"]


@pytest.mark.parametrize(
    ("mail", "sentence"),
    [
        ('users = "ann"', "mail.users: expected a table of names and password hashes"),
        ('users.ann = "secret"', "mail.users.ann: is no password hash; `happy mail password` "),
        ("users.ann = 1", "mail.users.ann: is no password hash"),
        (f'users."a b" = "{HASH}"', "is no name"),
        ('users_file = "nothing"', "nothing cannot be read: no such file or directory"),
        ('users_file = "bad"', "line 1 is not written NAME:HASH"),
        ('users_file = "binary"', "is not UTF-8 text"),
        (f'users_file = "good"\nusers.bob = "{HASH}"', "bob is a user of the table as well"),
    ],
)
def test_users_that_cannot_be_read_are_told(tmp_path, mail, sentence):
    """With the line of the configuration, and without the hash."""
    files = {"bad": b"bob", "binary": b"\xff", "good": f"bob:{HASH}".encode()}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        (tmp_path / name).chmod(0o600)
    found = complaints(tmp_path, 'smtp = "tcp:25"', mail)
    assert any(sentence in line for line in found), found
    assert not any(HASH in line for line in found)
