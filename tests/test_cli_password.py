"""``happy mail password``: a line that the configuration takes, and the password only in it."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from happy.cli import main
from happy.wire.passwords import COST, read_hash, read_users


def run(*arguments, given):
    """Run the command; return its exit status, output and complaint."""
    done = CliRunner().invoke(main, ["mail", "password", *arguments], input=given)
    return done.exit_code, done.stdout, done.stderr


def test_the_line_is_one_of_a_users_file():
    """The first line of the input is the password, and it is in no other form in the output."""
    status, line, _ = run("ann", given="sésame ouvre-toi\nmore\n")
    assert status == 0
    kept = read_users(line)["ann"]
    assert kept.matches("sésame ouvre-toi")
    assert kept.cost == COST
    assert "ouvre" not in line


def test_programs_get_json():
    """The name, and the hash as [mail.users] has it."""
    status, text, _ = run("ann", "--json", given="secret\n")
    told = json.loads(text)
    assert (status, told["name"]) == (0, "ann")
    assert read_hash(told["hash"]).matches("secret")


@pytest.mark.parametrize(
    ("name", "given", "status", "words"),
    [
        ("ann", "", 1, "there is no password"),
        ("ann", "\n", 1, "there is no password"),
        ("ann", "a\tb\n", 1, "printable"),
        ("ann", "x" * 1001, 1, "up to 1000"),
        ("a:b", "x\n", 64, "is no name"),
        ("a b", "x\n", 64, "is no name"),
    ],
)
def test_what_can_be_no_password_is_refused(name, given, status, words):
    """A sentence, and no line."""
    ended, line, complaint = run(name, given=given)
    assert (ended, line) == (status, "")
    assert words in complaint
