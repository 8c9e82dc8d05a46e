"""`happy replay`: what a journal comes to, with other code beside, and served as it was."""

import json
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import pytest

from cli_kit import contents, happy, lines
from happy.cli.gate import _around_difference
from past_kit import APPLICATION, DROPPED, FAILED, FIRED, LAST, POSTED, SENT, Past
from side_kit import Sides

HAPPY = Path(sys.executable).with_name("happy")
TIMEOUT_S = 120


@pytest.fixture(scope="module")
def past(tmp_path_factory):
    """Return an application with a past."""
    made = Past(tmp_path_factory.mktemp("past"), "shop_of_replay")
    yield made
    sys.modules.pop(made.module, None)
    sys.path[:] = [place for place in sys.path if place != str(made.folder)]


@pytest.fixture(scope="module")
def sides():
    """Return what starts processes quickly."""
    made = Sides()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _quick(monkeypatch, sides):
    monkeypatch.setattr("happy.cli.segments._PAUSE_S", 0)
    monkeypatch.setattr("happy.cli.gate.spawn", sides)


def replay(past, *options):
    return happy("replay", "shop", "--config", past.config, *options)


def gate(past, other, *options):
    return replay(past, "--with", other, *options)


# --- replaying ---------------------------------------------------------------------------------


def test_a_replay_says_what_it_came_to(past):
    """Seq, events by type, refused, failed, the digest; nothing in the directory changes."""
    before = contents(past.folder)
    (said,) = lines(replay(past, "--json"))
    assert said["seq"] == LAST
    assert said["types"]["Put"] == 5
    assert said["types"]["happy.Mail"] == said["types"]["happy.TimerFired"] == 1
    assert (said["refused"], said["failed"]) == (1, 1)
    assert said["digest"] == lines(replay(past, "--json"))[0]["digest"]
    text = replay(past).stdout
    assert f"replayed {LAST} events to seq {LAST}" in text
    assert "1 refused, 1 failed" in text
    assert said["digest"] in text
    assert contents(past.folder) == before


def test_a_replay_ends_where_it_is_told(past):
    """After a seq, or with what came at a moment; a seq that is not there is refused."""
    (then,) = lines(replay(past, "--until", FAILED, "--json"))
    assert then["seq"] == FAILED
    (same,) = lines(replay(past, "--until", then["time"], "--json"))
    assert same["seq"] >= FAILED
    result = replay(past, "--until", 999)
    assert result.exit_code == 1
    assert f"there is no seq 999: the journal ends with seq {LAST}" in result.stderr


def test_a_copy_is_replayed_where_it_is(past, tmp_path):
    """--data takes a journal, or a directory that has one of the application's name."""
    copy = shutil.copytree(past.journal, tmp_path / "shop")
    for place in (copy, tmp_path):
        (said,) = lines(replay(past, "--data", place, "--json"))
        assert (said["journal"], said["seq"]) == (str(copy), LAST)
    result = replay(past, "--data", tmp_path / "nowhere")
    assert result.exit_code == 3
    assert "no such directory" in result.stderr


def test_what_cannot_be_replayed_has_its_own_status(past, tmp_path):
    """Damage is 2, an event that nobody handles 4; an unfit configuration is told as by check."""
    copy = shutil.copytree(past.journal, tmp_path / "shop")
    (segment,) = copy.glob("*.segment")
    data = bytearray(segment.read_bytes())
    data[5000] ^= 1
    segment.write_bytes(data)
    assert replay(past, "--data", copy).exit_code == 2
    past_config = past.config.read_text()
    config = tmp_path / "happy.toml"
    config.write_text(past_config.replace(f"{past.module}:Shop", "happy.examples.numbers:Numbers"))
    result = happy("replay", "shop", "--config", config)
    assert result.exit_code == 1
    assert f"{config}:4: apps.shop.app: " in result.stderr
    config.write_text(
        past_config.replace(f"{past.module}:Shop", "happy.examples.numbers:NumberService")
        .replace('smtp = "tcp:0:interface=127.0.0.1"\n', "")
        .replace('domains = ["app.example"]\n', "")
    )
    result = happy("replay", "shop", "--config", config, "--data", past.journal)
    assert result.exit_code == 4
    assert "'Put' that nobody handles" in result.stderr
    assert happy("replay", "stop", "--config", past.config).exit_code == 64


# --- the gate ----------------------------------------------------------------------------------


def test_the_same_code_passes_the_gate(past, tmp_path):
    """Status 0, with the code in a directory and in a wheel; comments are no difference."""
    result = gate(past, past.other("import attrs\n", "import attrs  # frozen rows\n"))
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"shop: the same over {LAST} events\n"
    wheel = tmp_path / "shop-2-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as made:
        made.writestr(past.code.name, APPLICATION)
    (said,) = lines(gate(past, wheel, "--json"))
    assert (said["same"], said["events"], said["first_different"]) == (True, LAST, None)


def test_a_changed_handler_is_stopped_at_its_first_event(past):
    """Status 5, with the seq, the event and its source, and the row as it comes to be in both."""
    result = gate(past, past.other("size=item.size + 1", "size=item.size + 2"))
    assert result.exit_code == 5
    assert f"seq {FIRED}, " in result.stdout
    assert "happy.TimerFired from timer" in result.stdout
    assert '  items["b7"] size: 8 -> 9\n' in result.stdout
    assert f", from seq {FIRED} on" in result.stderr


def test_the_gate_tells_programs_all_of_it(past):
    """--json has both outcomes, what is owed, and rows that only one of the two has."""
    other = past.other("state.items[event.name] = Item(event.size)", "")
    result = gate(past, other, "--json")
    assert result.exit_code == 5
    (said,) = lines(result)
    first = said["first_different"]
    assert (first["seq"], first["type"], first["key"]) == (POSTED, "Put", "k1")
    assert first["source"] == "http POST /b7"
    assert first["event"] == {"name": "b7", "size": 7}
    assert first["ours"]["outcome"] == first["theirs"]["outcome"] == "reply 1"
    (row,) = first["rows"]
    assert (row["table"], row["key"], row["change"]) == ("items", "b7", "removed")
    assert row["row"] == {"size": 7, "source": "web"}


@pytest.mark.parametrize(
    ("old", "new", "shown"),
    [
        ("return state.puts", "return state.puts * 10", "outcome: reply 1 -> reply 10"),
        ('Refused("too large")', 'Refused("no")', "outcome: refused: too large (HTTP 409"),
        ("raise ValueError(event.size)", "return 0", "outcome: failed: ValueError: -1 -> reply 0"),
        ("seconds=60", "seconds=59", 'Z {"name":"b7"}\n  + owes Timer Grow due '),
        (
            "if event.size == 7:",
            "if event.size == 3: context.cancel((2, 0))\n        if event.size == 7:",
            "owed in all: 1 -> 0",
        ),
        ("puts: int = 0", "puts: int = 5", "outcome: reply 1 -> reply 6"),
    ],
)
def test_whatever_an_event_comes_to_is_compared(past, old, new, shown):
    """Replies, refusals, failures, debts, and what a field begins with."""
    result = gate(past, past.other(old, new))
    assert result.exit_code == 5
    assert shown in result.stdout


def test_a_long_debt_is_shown_where_it_differs():
    """Two letters that part after a page are told apart in a line each, by what is not alike."""
    page = "SendMail due 2026-11-30T14:14:34.150270388Z " + "alike " * 200
    ours, theirs = f"{page}We have it. {'alike ' * 200}", f"{page}We have got it."
    shown = [_around_difference(*pair) for pair in ((ours, theirs), (theirs, ours))]
    assert all(line.startswith("SendMail due 2026-11-30T14:14:34.150270388Z ") for line in shown)
    assert "We have it." in shown[0]
    assert shown[1].endswith("We have got it.")
    assert all(len(line) < 350 for line in shown)
    assert _around_difference("Timer due 1", "Timer due 2") == "Timer due 1"
    assert _around_difference(ours, "").startswith("SendMail due")


def test_a_field_that_only_one_has_is_named_and_not_compared(past):
    """An added field with a default passes, and is said; what both have is compared still."""
    added = ('source: str = "web"', 'source: str = "web"\n    color: str = "red"')
    result = gate(past, past.other(*added))
    assert result.exit_code == 0, result.stdout
    assert "so not compared: Item.color\n" in result.stdout
    result = gate(past, past.other("sent: Table[int, str]", "mails: Table[int, str]"))
    assert result.exit_code == 5  # for the handler of MailSent fails there
    assert "state.mails" in result.stdout
    assert "state.sent" in result.stdout
    assert f"seq {SENT}, " in result.stdout


def test_code_that_cannot_run_has_its_own_status(past, tmp_path):
    """6 when it cannot be loaded, 7 for an event it does not know, 8 when its process ends."""
    result = gate(past, past.other("import attrs", "import attrz"))
    assert result.exit_code == 6
    assert "cannot import shop_of_replay: ModuleNotFoundError: No module named" in result.stderr
    renamed = past.other("class Put:", "class Place:")
    (renamed / past.code.name).write_text(
        APPLICATION.replace("class Put:", "class Place:")
        .replace("handles(Put)", "handles(Place)")
        .replace("submit(Put(", "submit(Place(")
    )
    result = gate(past, renamed)
    assert result.exit_code == 7
    assert "'Put' that nobody handles" in result.stderr
    end = "import os; print('that was it'); os._exit(3)"
    result = gate(past, past.other("del state.items[event.name]", end))
    assert result.exit_code == 8
    assert "the process ended with status 3" in result.stderr


def test_the_gate_refuses_to_compare_code_with_itself(past, tmp_path):
    """A PATH that has nothing of the application would let anything pass: status 6."""
    (tmp_path / "elsewhere.py").write_text("")
    result = gate(past, tmp_path)
    assert result.exit_code == 6
    assert f"nothing that shop is made of was found in {tmp_path}" in result.stderr
    assert gate(past, tmp_path / "elsewhere.py").exit_code == 64


def test_a_gate_in_a_pipeline(past):
    """The command as it is run by a program: two real processes, a status and two sentences."""
    other = past.other("state.sizes[event.name, event.size] = context.seq", "")
    command = [HAPPY, "replay", "shop", "--config", past.config, "--with", other]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert done.returncode == 5
    assert f'  sizes[["b7",7]]: {POSTED} -> -\n' in done.stdout
    assert done.stderr == f"shop: different with {other}, from seq {POSTED} on\n"


def test_the_gate_ends_where_it_is_told(past):
    """A difference behind --until is none."""
    other = past.other("del state.items[event.name]", "pass")
    assert gate(past, other, "--until", DROPPED - 1).exit_code == 0
    assert gate(past, other, "--until", DROPPED).exit_code == 5


# --- serving -----------------------------------------------------------------------------------


def ask(where, method="GET"):
    """Return status and body."""
    try:
        with urllib.request.urlopen(
            urllib.request.Request(where, method=method), timeout=TIMEOUT_S
        ) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_an_application_is_served_as_it_was(past):
    """Questions are answered from the state of then; what submits is refused, with a sentence."""
    before = contents(past.folder)
    command = [HAPPY, "replay", "shop", "--config", past.config, "--until", DROPPED - 1, "--json"]
    command += ["--serve", "tcp:0:interface=127.0.0.1"]
    with subprocess.Popen(
        [*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            line = process.stdout.readline()
            assert line, process.stderr.read()
            said = json.loads(line)
            assert said["seq"] == DROPPED - 1
            assert ask(f"http://{said['http']}/") == (200, "b7=8 pot=3")
            status, body = ask(f"http://{said['http']}/b9", "POST")
            assert status == 409
            assert f"a replay up to seq {DROPPED - 1}; nothing can change" in body
            assert ask(f"http://{said['http']}/") == (200, "b7=8 pot=3")
            process.send_signal(signal.SIGINT)
            assert process.wait(TIMEOUT_S) == 0
        finally:
            process.kill()
    assert contents(past.folder) == before


def test_what_cannot_be_served_is_refused_before_the_replay(past):
    """An endpoint that is none, and --with beside --serve: status 64."""
    assert replay(past, "--serve", "tpc:0").exit_code == 64
    assert replay(past, "--serve", "tcp:0", "--with", past.folder).exit_code == 64
