"""`happy schema`: what an application declares, and whether old events agree with it."""

import json
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner

from happy.cli import main

HAPPY = Path(sys.executable).with_name("happy")
CONFIG = """
data = "var"
[apps.numbers]
app = "happy.examples.numbers:NumberService"
http = "tcp:9000:interface=127.0.0.1"
"""


def config_in(folder):
    made = folder / "happy.toml"
    made.write_text(CONFIG)
    return str(made)


def schema(*arguments):
    return CliRunner().invoke(main, ["schema", "numbers", *map(str, arguments)])


def test_it_prints_the_schema_and_touches_nothing(tmp_path):
    """JSON for people and programs, and status 0."""
    config = config_in(tmp_path)
    done = subprocess.run(
        [HAPPY, "schema", "numbers", "--config", config], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["events"] == {
        "Next": {
            "version": 1,
            "reads": [1],
            "fields": {"count": {"type": "int", "default": "1"}},
        }
    }
    assert done.stderr == ""
    assert [path.name for path in tmp_path.iterdir()] == ["happy.toml"]


def test_it_compares_with_what_was_kept(tmp_path):
    """Status 0 while old events agree; 1, with all that changed, when they do not."""
    config = config_in(tmp_path)
    kept = tmp_path / "schema.json"
    kept.write_text(schema("--config", config).stdout)
    same = schema("--config", config, "--compare", kept)
    assert (same.exit_code, same.output) == (0, "")
    kept.write_text(kept.read_text().replace("count", "n"))
    other = schema("--config", config, "--compare", kept, "--json")
    assert other.exit_code == 1
    assert other.stderr.startswith("event Next: the field n is gone; raise its version")
    assert json.loads(other.stdout)["ok"] is False
    assert len(json.loads(other.stdout)["changes"]) == 1


def test_what_is_no_schema_is_refused(tmp_path):
    """A sentence with the name of the file."""
    config = config_in(tmp_path)
    for content in (b"", b"[]", b'{"events": 3}', b"\xff"):
        kept = tmp_path / "schema.json"
        kept.write_bytes(content)
        refused = schema("--config", config, "--compare", kept)
        assert refused.exit_code == 1
        assert f"{kept}: this is no schema" in refused.stderr
    missing = schema("--config", config, "--compare", tmp_path / "none.json")
    assert missing.exit_code == 1
    assert "none.json: no such file" in missing.stderr


def test_an_application_that_is_not_there_is_a_usage_error(tmp_path):
    """Status 64, and those that are there are named."""
    result = CliRunner().invoke(main, ["schema", "other", "--config", config_in(tmp_path)])
    assert result.exit_code == 64
    assert "numbers" in result.stderr
