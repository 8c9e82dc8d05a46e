"""`happy check`: what a start would say, without a start."""

import json
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner

from happy.cli import main

HAPPY = Path(sys.executable).with_name("happy")
NUMBERS = """
data = "var"
[apps.numbers]
app = "happy.examples.numbers:NumberService"
http = ["tcp:9000:interface=127.0.0.1", "tcp:9001:interface=127.0.0.1"]
"""


def test_a_good_configuration_shows_applications_and_doors(tmp_path):
    """Status 0, a line for each door, and nothing was made."""
    config = tmp_path / "happy.toml"
    config.write_text(NUMBERS)
    result = CliRunner().invoke(main, ["check", str(config)])
    assert result.exit_code == 0, result.output
    head, first, second = result.stdout.splitlines()
    assert head.split() == ["application", "class", "door", "where", "domains"]
    assert first.split() == [
        "numbers",
        "happy.examples.numbers:NumberService",
        "http",
        "tcp:9000:interface=127.0.0.1",
    ]
    assert "tcp:9001" in second
    assert [p.name for p in tmp_path.iterdir()] == ["happy.toml"]


def test_a_good_configuration_as_json(tmp_path):
    """`--json` says the same to a program."""
    config = tmp_path / "happy.toml"
    config.write_text(NUMBERS)
    result = CliRunner().invoke(main, ["check", "--json", str(config)])
    said = json.loads(result.stdout)
    assert result.exit_code == 0
    assert said["ok"] is True
    assert said["data"] == str(tmp_path / "var")
    assert [door["kind"] for door in said["apps"][0]["doors"]] == ["http", "http"]


def test_all_complaints_come_at_once_with_file_and_line(tmp_path):
    """Status 1; each complaint is a line of its own on standard error, and that is all."""
    config = tmp_path / "happy.toml"
    config.write_text(NUMBERS.replace("http =", "htpp =").replace("data =", "date ="))
    result = subprocess.run([HAPPY, "check", config], check=False, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stdout == ""
    complaints = result.stderr.splitlines()
    assert any(line.startswith(f"{config}:2: date: ") for line in complaints), complaints
    assert any(line.startswith(f"{config}:5: apps.numbers.htpp: ") for line in complaints)


def test_complaints_as_json(tmp_path):
    """With `--json` they are a list, too."""
    config = tmp_path / "happy.toml"
    config.write_text("data = 1\n")
    result = CliRunner().invoke(main, ["check", "--json", str(config)])
    said = json.loads(result.stdout)
    assert result.exit_code == 1
    assert said["ok"] is False
    assert said["complaints"] == result.stderr.splitlines()


def test_a_file_that_is_not_there_is_one_sentence(tmp_path):
    """No traceback, one line, status 1."""
    result = CliRunner().invoke(main, ["check", str(tmp_path / "none.toml")])
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert "none.toml" in result.stderr
