"""`happy init`: what it writes runs as it is."""

import http.client
import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from happy.cli import main

HAPPY = Path(sys.executable).with_name("happy")
FILES = ["README.md", "guestbook.py", "happy.toml", "test_guestbook.py"]


def init(*arguments):
    return CliRunner().invoke(main, ["init", *map(str, arguments)])


def test_init_writes_an_application_and_says_what_to_do_next(tmp_path):
    """A new directory gets four files, and the next two commands are printed."""
    there = tmp_path / "new" / "my book"
    result = init(there)
    assert result.exit_code == 0
    assert sorted(p.name for p in there.iterdir()) == FILES
    assert f"cd '{there}' && twistd -n --pidfile= happy --config happy.toml\n" in result.stdout
    assert f"cd '{there}' && pytest\n" in result.stdout


def test_init_as_json(tmp_path):
    """`--json` says the same to a program."""
    said = json.loads(init("--json", tmp_path).stdout)
    assert said["files"] == FILES
    assert len(said["next"]) == 2


def test_a_directory_with_something_in_it_is_left_alone(tmp_path):
    """Not even a hidden file may be there; then nothing is written."""
    (tmp_path / ".hidden").touch()
    result = init(tmp_path)
    assert result.exit_code == 1
    assert result.stderr == f"{tmp_path}: is not empty; name a new directory\n"
    assert [p.name for p in tmp_path.iterdir()] == [".hidden"]


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/none"])
def test_a_place_that_cannot_be_a_directory_is_one_sentence(tmp_path, place):
    """Status 1 and no traceback."""
    (tmp_path / "file").touch()
    result = init(tmp_path / place)
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert isinstance(result.exception, SystemExit)


def test_what_init_writes_passes_check_and_its_own_tests(tmp_path):
    """The application is well configured, and its tests pass."""
    init(tmp_path)
    checked = subprocess.run(
        [HAPPY, "check", "happy.toml"], check=False, cwd=tmp_path, capture_output=True
    )
    assert checked.returncode == 0, checked.stderr
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"],
        check=False,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert tested.returncode == 0, tested.stdout
    assert "6 passed" in tested.stdout


def test_what_init_writes_serves_and_its_journal_can_be_read(tmp_path, container):
    """A signature that was answered is in the journal, which is read while it runs."""
    init(tmp_path / "written")
    config = (tmp_path / "written" / "happy.toml").read_text()
    house = container(
        config.replace("8080", "0").replace("2525", "0").replace('data = "var"', 'data = "data"')
    )
    (house.folder / "guestbook.py").write_text((tmp_path / "written" / "guestbook.py").read_text())
    house.start()
    web = http.client.HTTPConnection("127.0.0.1", house.port("guestbook", "http"), timeout=60)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    web.request("POST", "/", "name=Ann&text=Hello", form)
    answer = web.getresponse()
    status, seq = answer.status, int(answer.headers["Happy-Seq"])
    web.close()
    assert status == 303
    shown = CliRunner().invoke(
        main, ["journal", "show", "--config", str(house.config), "guestbook", "--type", "Sign"]
    )
    (entry,) = map(json.loads, shown.stdout.splitlines())
    assert (entry["seq"], entry["source"]) == (seq, "http POST /")
    assert entry["body"] == {"name": "Ann", "text": "Hello"}
