"""The console script as a whole: what it costs, what it says when it is not understood."""

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from cli_kit import segments
from happy.cli import main
from happy.cli.output import json_line, safe

HAPPY = Path(sys.executable).with_name("happy")


def test_the_script_is_installed_and_knows_its_commands():
    """`happy --help` names every command there is."""
    said = subprocess.run([HAPPY, "--help"], capture_output=True, text=True, check=True).stdout
    for name in ("backup", "check", "init", "journal", "restore", "schema", "status"):
        assert f"\n  {name} " in said


def commands_of(command):
    """Yield a command and all those below it."""
    yield command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from commands_of(command.get_command(context, name))


def test_lists_of_commands_say_whole_sentences():
    """In a terminal of 80 columns none is cut short."""
    cut = [c.name for c in commands_of(main) if c.get_short_help_str(62).endswith("...")]
    assert cut == []


def test_help_is_quick_for_it_loads_nothing_it_does_not_need():
    """Help imports neither Twisted nor what draws tables."""
    program = (
        "import sys\n"
        "from happy.cli import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "print(*(m for m in sys.modules if m.split('.')[0] in {'twisted', 'rich', 'klein'}))\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True
    )
    assert said.stdout.splitlines()[-1] == ""
    assert said.stderr == ""


def test_a_command_loads_no_other(tmp_path):
    """What looks at a journal loads no Twisted, and nothing of what measures or replays."""
    program = (
        "import sys\n"
        "from happy.cli import main\n"
        "main(['journal', 'verify', sys.argv[1]], standalone_mode=False)\n"
        "print(*(m for m in sys.modules if m.split('.')[0] in {'twisted', 'rich', 'klein'}))\n"
        "print('happy.cli.bench' in sys.modules, 'happy.cli.replay' in sys.modules)\n"
    )
    segments(tmp_path, 1)
    said = subprocess.run(
        [sys.executable, "-c", program, tmp_path], check=True, capture_output=True, text=True
    )
    assert said.stdout.splitlines()[1:] == ["", "False False"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["sing"],
        ["check"],
        ["init"],
        ["status"],
        ["status", "data", "--config", "happy.toml"],
        ["journal"],
        ["journal", "ls"],
        ["journal", "show", ".", "--from", "0"],
        ["journal", "show", ".", "--limit", "-1"],
        ["journal", "verify", ".", "."],
        ["journal", "repair", "."],
        ["backup", "--to", "kept"],
        ["backup", "."],
        ["restore", "."],
        ["schema"],
        ["schema", "ledger"],
        ["restore", ".", "--to", "there", "--verify"],
        ["--sing"],
    ],
)
def test_a_command_line_that_is_not_understood_is_status_64(arguments):
    """Usage errors end with EX_USAGE, as nothing else does, and say nothing on standard output."""
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 64
    assert result.stdout == ""
    assert "Usage: " in result.stderr


@pytest.mark.parametrize(
    "command",
    [
        ["check"],
        ["init"],
        ["status"],
        ["journal", "ls"],
        ["journal", "show"],
        ["journal", "verify"],
        ["journal", "cat"],
        ["journal", "repair"],
        ["backup"],
        ["restore"],
        ["schema"],
        ["bench"],
    ],
)
def test_every_command_has_json_and_tells_its_statuses(command):
    """`--json` is everywhere, and so is what the exit status means."""
    said = CliRunner().invoke(main, [*command, "--help"]).stdout
    assert "--json" in said
    assert "Exit status" in said


def test_json_is_safe_to_show_on_a_terminal():
    """No character that a terminal would obey leaves as it is, and JSON stays JSON."""
    line = json_line({"text": "\x1b[31m \x9b31m \u202e \x7f é"})
    assert line == rb'{"text":"\u001b[31m \u009b31m \u202e \u007f ' + "é".encode() + b'"}\n'


def test_sentences_are_safe_to_show_on_a_terminal():
    """What a file is called cannot paint the terminal."""
    assert safe("a\x1b[31m\x9bb\u202e\n\tc") == "a\ufffd[31m\ufffdb\ufffd\n\tc"
