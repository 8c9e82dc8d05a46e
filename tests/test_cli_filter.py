"""`happy core`: a pipe from a journal to outcomes, in this language or another."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli_kit import Note, pen_of, write
from conftest import need
from happy.app import definition_of
from happy.cli import main
from happy.codec import encode
from happy.event import Configured, FailedOutcome
from happy.examples.numbers import Next, NumberService
from happy.journal.frame import Kind
from happy.journal.quarantine import Quarantined
from happy.limits import Limits
from happy.split.outcome_frame import OutcomeStream
from happy.testing import running
from split_kit import frames_said, journal, said, stream_of, through

HAPPY = Path(sys.executable).with_name("happy")
OTHER = Path(__file__).with_name("other_core.pl")
NUMBERS = "happy.examples.numbers:NumberService"
DEFINITION = definition_of(NumberService)


def core(data, *arguments):
    """Run `happy core` over a stream."""
    return CliRunner().invoke(main, ["core", *map(str, arguments)], input=data)


def numbers(frames=6, events=5):
    """Return a stream of numbers."""
    return stream_of(journal([[Next(n)] * events for n in range(1, frames + 1)]))


def test_a_shell_can_replay_by_a_pipe(tmp_path):
    """`happy journal cat DIR | happy core MODULE:CLASS`: the whole history, checked and applied."""
    write(tmp_path, [[Next(n)] * 3 for n in range(1, 9)], close=True)
    done = subprocess.run(
        ["sh", "-c", f"'{HAPPY}' journal cat '{tmp_path}' | '{HAPPY}' core {NUMBERS}"],
        capture_output=True, check=True, timeout=120,
    )  # fmt: skip
    replies = [outcome.value for outcome in said(done.stdout)]
    firsts = [1]
    for count in [n for n in range(1, 9) for _ in range(3)]:
        firsts.append(firsts[-1] + count)
    assert replies == firsts[:-1]
    assert done.stderr == b""


def test_an_application_of_a_configuration_is_taken_by_its_name(tmp_path):
    """With --config, its modules are found where the configuration is."""
    (tmp_path / "shop.py").write_text(
        "from happy.examples.numbers import NumberService\n\n\n"
        "class Shop(NumberService):\n    '''Sells numbers.'''\n"
    )
    config = tmp_path / "happy.toml"
    config.write_text('data = "var"\n[apps.shop]\napp = "shop:Shop"\nhttp = "tcp:0"\n')
    data = numbers()
    result = core(data, "--config", config, "shop")
    assert result.exit_code == 0, result.output
    assert result.stdout_bytes == through(DEFINITION, data)[0]
    wrong = core(data, "--config", config, "shops")
    assert (wrong.exit_code, wrong.stdout_bytes) == (64, b"")


@pytest.mark.parametrize(
    ("change", "status", "sentence"),
    [
        (lambda data: data[:-1], 2, "the stream ends inside of a frame"),
        (lambda data: data[:-30] + bytes(30), 2, "the checksum of a frame's header is wrong"),
        (lambda _: b"hello, world", 3, "this is no stream of frames"),
        (lambda _: b"", 3, "this is no stream of frames"),
        (lambda _: stream_of(journal([[Note("x")]], close=False)), 4, "'Note' that nobody handles"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_a_sentence_and_a_status(change, status, sentence):
    """What was good before it has been answered."""
    data = change(numbers())
    result = core(data, NUMBERS)
    assert result.exit_code == status
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr
    held = 1 if status == 4 else 3 if status == 2 else 0  # damage may have been the mark
    assert len(frames_said(result.stdout_bytes)) == data.count(b"HFRM") - held


@pytest.mark.parametrize("spec", ["nowhere:App", "happy.examples.numbers:Numbers", "numbers"])
def test_an_application_that_cannot_be_loaded_is_told(spec):
    """Status 1, and not a byte written."""
    result = core(numbers(), spec)
    assert (result.exit_code, result.stdout_bytes) == (1, b"")
    assert "Traceback" not in result.stderr


OTHER_NUMBERS = '''
from happy import App, handles
from happy.examples.numbers import Next, NumberService


class Odd(App):
    """Counts by one too many, and fails at 5."""

    state = NumberService.state

    @handles(Next)
    def take(state, event, _context):
        """Take numbers."""
        if event.count == 5:
            raise ValueError("five")
        state.last += event.count + 1
        return state.last
'''


def test_a_divergence_has_its_status_and_failures_are_told_when_asked(tmp_path, monkeypatch):
    """Status 5, and the sentence of a start; with --accept-divergence it goes on."""
    with running(NumberService, limits=Limits(digest_events_max=2)) as app:
        for count in (1, 5, 7, 2):
            app.post(f"/next?count={count}")
        app.close()
        data = stream_of(app.disk)
    (tmp_path / "odd_numbers.py").write_text(OTHER_NUMBERS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    result = core(data, "odd_numbers:Odd")
    assert result.exit_code == 5
    assert "this replay is not what was answered" in result.stderr
    result = core(data, "odd_numbers:Odd", "--accept-divergence", "--failures")
    assert result.exit_code == 0
    assert "ValueError: five" in result.stderr
    outcomes = said(result.stdout_bytes)
    assert [type(o) is FailedOutcome for o in outcomes].count(True) == 1


def test_a_terminal_gets_no_outcomes(monkeypatch):
    """Binary is for pipes: status 64."""
    monkeypatch.setattr("happy.cli.filter.is_terminal", lambda: True)
    result = core(b"", NUMBERS)
    assert result.exit_code == 64
    assert "binary" in result.stderr


# --- another language ----------------------------------------------------------------------------


def every_form():
    """Return a stream with all that a number service can meet."""

    def numbered(count, key=None):
        return encode(Next(count), "http POST /next", key, key and b"f")

    return stream_of(
        journal(
            [
                [encode(Configured(b"{}", ("a.example",), 2), "configuration"), numbered(1)],
                Kind.IDLE_MARK,
                [numbered(1)],
                [numbered(2)],
                (3, [numbered(3)]),
                (3, [numbered(4)]),
                Quarantined(3, 3),
                Kind.IDLE_MARK,
                [numbered(n) for n in (0, 127, 128, 255, 256, 65_535, 65_536, 10**6, 10**6 + 1)],
                [numbered(2, key) for key in ("a", "b", "a", "c", "a", "b", "x" * 40)],
                [numbered(-1), numbered(-(2**40)), numbered(2**63)],
                [encode(Next(1), "\0" * 1500)] * 3,  # its sectors would be zeros: it is masked
                *[[numbered(1_000_000)] * 700] * 8,  # over 32 bits
                Quarantined(5004, 3),
                [numbered(1)],
                [numbered(2, "q"), numbered(2)],
                [numbered(3)],
                Quarantined(5630, 3),
                [numbered(2, "q"), numbered(2)],
            ],
            64 * 1024,
        )
    )  # fmt: skip


def test_a_core_in_another_language_writes_the_same_bytes():
    """docs/stream-format.md is enough: Perl comes to the same outcomes, byte by byte."""
    data = every_form()
    assert any(data[at + 6 : at + 8] != b"\0\0" for at in range(len(data))
               if data.startswith(b"HFRM", at))  # fmt: skip
    done = subprocess.run(
        [need("perl"), "-w", OTHER], input=data, capture_output=True, timeout=120, check=True
    )
    assert done.stderr == b""
    ours, _ = through(DEFINITION, data)
    assert done.stdout == ours
    *_, keyed, last = said(ours)
    assert keyed == FailedOutcome(5630)
    assert last.value > 2**32


@pytest.mark.parametrize("at", [20, 4096 + 30, 4096 + 80, -10])
def test_a_core_in_another_language_refuses_damage(at):
    """In a block, a header and a body; and it says what it had, no more."""
    data = bytearray(numbers())
    data[at] ^= 1
    done = subprocess.run(
        [need("perl"), "-w", OTHER], input=data, capture_output=True, timeout=120, check=False
    )
    assert done.returncode != 0
    assert done.stderr
    assert through(DEFINITION, numbers())[0].startswith(done.stdout)


# --- as a process --------------------------------------------------------------------------------


def started():
    """Start a core with pipes."""
    return subprocess.Popen(
        [HAPPY, "core", NUMBERS, "--live-from", "1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    )


def resident_kib(pid):
    """Return what memory a process takes."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1])


def read_frames(pipe, count):
    """Read so many outcome frames, or up to the end; return the bytes."""
    data = b""
    while len(frames_whole(data)) < count and (more := pipe.read(65_536)):
        data += more
    return data


def frames_whole(data):
    """Return the outcome frames that are whole, of a stream that may go on."""
    return list(OutcomeStream().feed(data))


def test_a_core_is_live_and_may_be_killed(tmp_path):
    """Promise 1: frames are answered while its input is open; a killed one is begun again."""
    disk, pen = pen_of(tmp_path, size=1 << 20)
    pen.append([encode(Next())] * 3, 10**10)
    pen.append([encode(Next(4))], 10**11)
    disk.close()
    data = (tmp_path / "00000000000000000001.segment").read_bytes().rstrip(b"\0")
    data += bytes(-len(data) % 8)
    second = data.rindex(b"HFRM")
    with started() as killed:
        killed.stdin.write(data[: second + 100])
        before = read_frames(killed.stdout, 1)
        killed.send_signal(signal.SIGKILL)
        assert killed.wait(60) == -signal.SIGKILL
    with started() as again:
        again.stdin.write(data)
        both = read_frames(again.stdout, 2)
        again.stdin.close()
        assert again.stdout.read() == b""
        assert again.wait(60) == 0
    assert both.startswith(before)
    assert [o.value for o in said(both)] == [1, 2, 3, 4]


def test_a_slow_reader_stops_the_core_and_costs_no_memory():
    """Back-pressure is the pipe: what nobody takes is not made."""
    history = [[encode(Next())] * 4096] * 3
    data = stream_of(journal(history, 1 << 20, close=False))
    whole, _ = through(DEFINITION, data)
    with started() as slow:
        slow.stdin.write(data)
        begun = read_frames(slow.stdout, 3)
        first_kib = resident_kib(slow.pid)
        frames = more_frames(history, 120)
        os.set_blocking(slow.stdin.fileno(), False)
        sent, deadline, still = 0, time.monotonic() + 60, 0
        while still < 20 and time.monotonic() < deadline:
            try:
                sent += os.write(slow.stdin.fileno(), frames[sent : sent + 65_536])
                still = 0
            except BlockingIOError:
                still += 1
                time.sleep(0.05)
        assert sent < len(frames), "nothing was read, and all was taken"
        assert resident_kib(slow.pid) - first_kib < 48 * 1024
        slow.kill()
    assert begun == whole


def more_frames(history, count):
    """Return the frames that come after a history, without the block."""
    data = stream_of(journal(history + [history[0]] * count, 1 << 25, close=False))
    return data[len(stream_of(journal(history, 1 << 25, close=False))) :]
