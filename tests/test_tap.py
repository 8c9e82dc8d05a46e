"""The command line of ``twistd happy``."""

from __future__ import annotations

import http.client

import pytest
from twisted.python import usage

from conftest import NUMBERS
from happy.tap import Options

TWO = NUMBERS.replace(
    "[log]",
    '[apps.other]\napp = "happy.examples.numbers:NumberService"\n'
    'http = "tcp:0:interface=127.0.0.1"\n[log]',
)


@pytest.fixture
def parse(tmp_path):
    """A function that parses options, with a configuration of two applications."""
    path = tmp_path / "happy.toml"
    path.write_text(TWO)

    def parsed(*words):
        options = Options()
        options.parseOptions(["--config", str(path), *words])
        return options

    return parsed


def test_no_loss_is_accepted_unless_it_is_said(parse):
    """Without the option, no application's journal may lose its end."""
    assert parse()["accept_tail_loss"] == []


def test_a_loss_is_accepted_for_the_applications_that_are_named(parse):
    """The option is given once for each application, and for no other."""
    assert parse("--accept-tail-loss", "other")["accept_tail_loss"] == ["other"]
    both = parse("--accept-tail-loss=other", "--accept-tail-loss=numbers")
    assert both["accept_tail_loss"] == ["other", "numbers"]
    assert parse()["accept_tail_loss"] == []


def test_a_loss_is_not_accepted_for_an_unknown_name(parse):
    """A name that is mistyped is told, with those there are."""
    with pytest.raises(usage.UsageError, match="nubmers: the applications are numbers, other"):
        parse("--accept-tail-loss", "nubmers")


def take(house) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", house.port("numbers", "http"), timeout=60)
    connection.request("POST", "/next")
    body = connection.getresponse().read()
    connection.close()
    return body


def test_a_start_accepts_the_loss_it_is_told_to(container):
    """Refused with the option to give; with it the last answer is lost, told and kept aside."""
    config = NUMBERS.replace("[log]", "limits = { journal_idle_mark_ms = 600_000 }\n[log]")
    house = container(config).start()
    assert [take(house), take(house)] == [b"1\n", b"2\n"]
    house.kill()
    (segment,) = (house.data / "numbers").glob("*.segment")
    content = bytearray(segment.read_bytes())
    content[len(content.rstrip(b"\0")) - 1] ^= 1
    segment.write_bytes(content)
    assert house.launch().wait(60) == 1
    said = house.read_all()
    assert "or start once with --accept-tail-loss numbers, which cuts it off" in said[-1]
    plain = house.spawn
    house.spawn = lambda command, folder: plain([*command, "--accept-tail-loss=numbers"], folder)
    house.start()
    (told,) = [line for line in house.lines if "may have been answered, is lost" in line]
    (kept,) = (house.data / "numbers" / "torn").iterdir()
    assert told.endswith(f"bytes are kept in torn/{kept.name}")
    assert take(house) == b"2\n"
