"""The real container on a real disk that fills, stays full, and has room again."""

from __future__ import annotations

import contextlib
import errno
import http.client
import os
import smtplib
import subprocess
import time

import pytest

from conftest import CI, need
from witness_kit import Load, Witness, ask_again, numbers_in, verified

DISK_BYTES = 2 << 20
FILLER_BYTES = 5 << 18
PATIENCE_S = 60

CONFIG = """
data = "data"
[limits]
segment_bytes_max = 65536
mail_inline_bytes_max = 8192
[apps.numbers]
app = "happy.examples.numbers:NumberService"
http = "tcp:0:interface=127.0.0.1"
[apps.letters]
app = "letters:Letters"
smtp = "tcp:0:interface=127.0.0.1"
domains = ["letters.example"]
[log]
access = "off"
"""

LETTERS = """
from happy import App, MailRoutes, state

@state
class Count:
    '''How many letters came.'''
    letters: int = 0

class Letters(App):
    '''Counts letters.'''
    state, mail = Count, MailRoutes()

    @mail.to("box@")
    def take(state, mail, context):
        '''Count one.'''
        state.letters += 1
"""


@pytest.fixture
def house(container):
    """A container with two applications whose data directory is a small disk of its own."""
    if os.geteuid() != 0:
        (pytest.fail if CI else pytest.skip)("only root can mount a disk")
    made = container(CONFIG)
    (made.folder / "letters.py").write_text(LETTERS)
    made.data.mkdir()
    options = f"size={DISK_BYTES},mode=0700"
    subprocess.run([need("mount"), "-t", "tmpfs", "-o", options, "happy", made.data], check=True)
    yield made
    made.kill()
    subprocess.run([need("umount"), made.data], check=True)


def fill(path, size: int | None = None) -> None:
    """Take room from the disk, all of it when no size is said."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        left = DISK_BYTES if size is None else size
        while left:
            left -= file.write(bytes(min(left, 4096)))


def until(holds) -> None:
    """Wait for something that other threads and processes bring about."""
    patience = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < patience
        time.sleep(0.005)


def last(house) -> tuple[int, int]:
    """Ask for the last number; return the status and the number."""
    connection = http.client.HTTPConnection("127.0.0.1", house.port("numbers", "http"), timeout=60)
    connection.request("GET", "/last")
    answer = connection.getresponse()
    said = answer.status, int(answer.read())
    connection.close()
    return said


def is_full(house) -> dict[str, bool]:
    apps = house.status()["apps"]
    assert {app["mood"] for app in apps} == {"open"}
    return {app["name"]: app["disk_full"] for app in apps}


def send(house, size: int, times: int = 1) -> list[tuple[int, bytes]]:
    """Send letters until one is refused, in one session that ends well; return the replies."""
    line = b"x" * 70 + b"\r\n"
    letter = b"Subject: a letter\r\n\r\n" + line * (size // len(line))
    replies = []
    with smtplib.SMTP("127.0.0.1", house.port("letters", "smtp"), "x.example", 30) as session:
        session.ehlo()
        for _ in range(times):
            session.mail("ann@x.example")
            assert session.rcpt("box@letters.example")[0] == 250
            replies.append(session.data(letter))
            if replies[-1][0] != 250:
                break
        assert session.noop()[0] == 250
    return replies


def blobs(house) -> list[str]:
    return [path.name for path in house.data.glob("letters/blobs/*")]


def test_a_full_disk_refuses_and_serves_again_by_itself(house):
    """Promise 7: while it is full new events are refused, reads go on; with room all goes on."""
    filler = house.data / "filler"
    fill(filler, FILLER_BYTES)
    house.start()
    witness = Witness()
    assert send(house, 1000)[0][0] == 250
    with Load(house.port("numbers", "http"), witness):
        until(lambda: len(witness.refused) > 200)
        assert is_full(house) == {"numbers": True, "letters": False}
        status, number = last(house)
        assert status == 200
        assert number >= max(witness.known().values())
        before = blobs(house)
        code, text = send(house, 400_000)[0]
        assert (code, text[:6]) == (452, b"4.3.1 ")
        assert blobs(house) == before
        code, text = send(house, 6000, times=100)[-1]
        assert (code, text[:6]) == (452, b"4.3.1 ")
        assert is_full(house) == {"numbers": True, "letters": True}
        answered = len(witness.numbers)
        filler.unlink()
        until(lambda: len(witness.numbers) > answered + 200)
        assert is_full(house)["numbers"] is False
        assert [code for code, _ in (*send(house, 6000), *send(house, 400_000))] == [250, 250]
        assert is_full(house)["letters"] is False
    assert set(witness.refused.values()) == {(503, "10")}
    house.stop()
    said = house.read_all()
    full = [line for line in said if "numbers: the disk is full" in line]
    again = [line for line in said if "numbers: there is room again" in line]
    assert len(full) == len(again)
    assert sorted(witness.numbers.values()) == list(range(1, len(witness.numbers) + 1))
    assert numbers_in(house.data / "numbers") == witness.numbers
    assert verified(house.data / "letters") == "whole"


def test_a_process_that_dies_on_a_full_disk_starts_on_it(house):
    """After kill -9 without a byte of room it starts, reads, refuses, and serves with room."""
    house.start()
    witness = Witness()
    filler = house.data / "filler"
    for _ in range(3):
        fill(filler, FILLER_BYTES)
        with Load(house.port("numbers", "http"), witness):
            refused = len(witness.refused)
            until(lambda: len(witness.refused) > refused)  # noqa: B023 - called at once
            house.kill()
        (house.data / "numbers" / "LOCK").unlink()
        fill(house.data / "more")
        house.start()
        port = house.port("numbers", "http")
        ask_again(port, witness, [*witness.known()][-100:])
        assert last(house) >= (200, max(witness.known().values()))
        with Load(port, witness):
            refused = len(witness.refused)
            until(lambda: len(witness.refused) > refused + 100)  # noqa: B023 - called at once
        assert is_full(house)["numbers"] is True
        filler.unlink()
        (house.data / "more").unlink()
        ask_again(port, witness, [*witness.unanswered])
        assert is_full(house)["numbers"] is False
    house.stop()
    assert sorted(witness.numbers.values()) == list(range(1, len(witness.numbers) + 1))
    assert numbers_in(house.data / "numbers") == witness.numbers


def test_a_disk_without_room_for_a_journal_is_a_sentence(house):
    """A first start on a full disk is refused, and leaves no half of a journal."""
    fill(house.data / "filler")
    assert (
        house.fail_to_start() == f"numbers: {house.data / 'numbers'}: the disk is too full to start"
    )
    assert list(house.data.glob("*/*.segment")) == []
    (house.data / "filler").unlink()
    house.start()


def test_a_disk_that_became_read_only_is_a_sentence(house):
    """On a read-only file system it does not start, says so, and changes nothing."""
    house.start()
    house.stop()
    subprocess.run([need("mount"), "-o", "remount,ro", house.data], check=True)
    sentence = house.fail_to_start()
    subprocess.run([need("mount"), "-o", "remount,rw", house.data], check=True)
    assert sentence == (
        f"numbers: {house.data / 'numbers'}: cannot be written: {os.strerror(errno.EROFS).lower()}"
    )
