"""A start that fails is one sentence, an exit status that is not 0, and nothing left behind."""

from __future__ import annotations

import signal
import socket

import pytest

from conftest import NUMBERS


def left_behind(house) -> list[str]:
    return sorted(p.name for p in house.folder.iterdir() if p != house.config)


def test_a_missing_file(container):
    """A configuration that is not there is named."""
    house = container()
    house.config.unlink()
    assert f"{house.config}: " in house.fail_to_start()
    assert left_behind(house) == []


def test_a_directory_in_place_of_the_file(container):
    """A directory is no configuration, and is called one."""
    house = container()
    house.config.unlink()
    house.config.mkdir()
    assert "directory" in house.fail_to_start()
    assert left_behind(house) == []


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('htpt = "tcp:0"', "apps.numbers.htpt"),
        ("domains = 7", "apps.numbers.domains"),
        ('limits = { http_body_bytes_max = "7" }', "http_body_bytes_max"),
        ("settings = { colour = 1 }", "settings"),
    ],
)
def test_a_key_that_is_wrong_is_named_with_its_line(container, line, complaint):
    """Unknown keys and wrong types are told as FILE:LINE: key: sentence."""
    config = NUMBERS.replace("[log]", f"{line}\n[log]")
    house = container(config)
    number = config.splitlines().index(line) + 1
    sentence = house.fail_to_start()
    assert sentence.startswith(f"{house.config}:{number}: ")
    assert complaint in sentence
    assert left_behind(house) == []


def test_an_application_that_does_not_import(container):
    """A module that is not there is one sentence, not a traceback."""
    house = container(NUMBERS.replace("happy.examples.numbers:", "no_such_module:"))
    assert "no_such_module" in house.fail_to_start()
    assert left_behind(house) == []


def test_an_application_that_raises_when_imported(container):
    """An error inside the application's module is told with its place."""
    house = container(NUMBERS.replace("happy.examples.numbers:", "broken_app:"))
    (house.folder / "broken_app.py").write_text("\n\n1 / 0\n")
    sentence = house.fail_to_start()
    assert "broken_app.py" in sentence
    assert "division by zero" in sentence
    assert not house.data.exists()


def test_a_port_in_use(container):
    """A port somebody else has is named, and no journal is begun."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        house = container(NUMBERS.replace("tcp:0:", f"tcp:{port}:"))
        sentence = house.fail_to_start()
    assert f"tcp:{port}:interface=127.0.0.1" in sentence
    assert "address already in use" in sentence
    assert left_behind(house) == []


def test_a_journal_locked_by_a_running_container(container):
    """A second container on the same journal is refused and told who has it."""
    first = container().start()
    second = container(NUMBERS.replace('"data"', f'"{first.data}"'), name="second")
    sentence = second.fail_to_start()
    assert f"in use by process {first.process.pid} on " in sentence
    assert left_behind(second) == []
    assert first.status()["apps"][0]["mood"] == "open"


def test_a_damaged_journal(container):
    """A journal with damage in the middle is refused with file, offset and seq."""
    house = container().start()
    port = house.port("numbers", "http")
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(
                b"POST /next HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )
            while client.recv(4096):
                pass
    house.stop()
    (segment,) = (house.data / "numbers").glob("*.segment")
    bytes_before = bytearray(segment.read_bytes())
    bytes_before[4096 + 80] ^= 1
    segment.write_bytes(bytes_before)
    sentence = house.fail_to_start()
    assert f"{segment.name}, offset 4096, from seq 1 on" in sentence
    assert segment.read_bytes() == bytes_before


def test_stopping_in_good_order_marks_the_journal(container):
    """SIGTERM ends the process in good order, and the next start has nothing to mend."""
    house = container().start()
    assert house.stop() == -signal.SIGTERM
    house.start()
    assert not [line for line in house.lines if "cut off" in line]
