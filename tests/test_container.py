"""The house as a whole: doors, logs, status, and a stop in good order."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import smtplib
import socket
import stat
import subprocess
import sys
import time

import pytest

from conftest import NUMBERS, TWISTD, need
from edge_kit import free_port, wait_until
from mail_kit import LISTS

WAIT_S = 60
TWO = NUMBERS.replace(
    "[log]",
    '[apps.other]\napp = "happy.examples.numbers:NumberService"\n'
    'http = ["tcp:0:interface=127.0.0.1", "unix:other.sock"]\n[log]',
)


def take(house, app: str) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", house.port(app, "http"), timeout=60)
    connection.request("POST", "/next")
    body = connection.getresponse().read()
    connection.close()
    return body


def test_the_same_class_under_two_names_is_two_applications(container):
    """Each name has its own journal, state and order, however the class is shared."""
    config = TWO.replace(
        '["tcp:0:interface=127.0.0.1", "unix:other.sock"]', '"tcp:0:interface=127.0.0.1"'
    )
    house = container(config).start()
    assert [take(house, "numbers") for _ in range(3)] == [b"1\n", b"2\n", b"3\n"]
    assert take(house, "other") == b"1\n"
    house.kill()
    house.start()
    assert [take(house, "numbers"), take(house, "other")] == [b"4\n", b"2\n"]
    assert sorted(p.name for p in house.data.iterdir() if p.is_dir()) == ["numbers", "other"]


def test_files_are_private_and_sockets_are_for_the_group(container):
    """Journals are 0600 in 0700, the control socket is 0600, a unix door is 0660."""
    house = container(TWO).start()
    modes = {
        path.relative_to(house.folder).as_posix(): stat.S_IMODE(path.stat().st_mode)
        for path in [*house.data.rglob("*"), house.folder / "other.sock"]
    }
    assert modes.pop("other.sock") == 0o660
    assert modes.pop("data/control.sock") == 0o600
    assert {modes.pop("data/numbers"), modes.pop("data/other")} == {0o700}
    assert set(modes.values()) == {0o600}


def test_a_unix_door_serves_like_any_other(container):
    """One application may listen in several places; all of them lead into one order."""
    house = container(TWO).start()
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(str(house.folder / "other.sock"))
        client.sendall(b"POST /next HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        assert client.recv(4096).endswith(b"\r\n\r\n1\n")


@pytest.mark.parametrize("form", ["combined", "json"])
@pytest.mark.parametrize("own_file", [True, False])
def test_the_access_log_tells_each_answer(container, form, own_file):
    """Combined or JSON, in a file of its own or in the ordinary log."""
    setting = f'access = "{form}"' + ('\naccess_file = "access.log"' if own_file else "")
    house = container(NUMBERS.replace('access = "off"', setting)).start()
    take(house, "numbers")
    house.stop()
    lines = (house.folder / "access.log").read_text().splitlines() if own_file else house.read_all()
    (line,) = [line for line in lines if "/next" in line]
    if form == "combined":
        assert '"POST /next HTTP/1.1" 200 2' in line
    else:
        told = json.loads(line[line.index("{") :])
        assert (told["app"], told["status"], told["seqs"]) == ("numbers", 200, [1])


def test_a_rotated_access_log_goes_on_in_a_new_file(container):
    """After SIGHUP a renamed access log is let go, and a new one begun."""
    house = container(NUMBERS.replace('access = "off"', 'access_file = "access.log"')).start()
    log = house.folder / "access.log"
    take(house, "numbers")
    log.rename(house.folder / "access.log.1")
    house.process.send_signal(signal.SIGHUP)
    deadline_s = time.monotonic() + WAIT_S
    while not log.exists() and time.monotonic() < deadline_s:
        house.status()
    take(house, "numbers")
    while not log.read_text() and time.monotonic() < deadline_s:
        house.status()
    assert (house.folder / "access.log.1").read_text().count("/next") == 1
    assert log.read_text().count("/next") == 1


def test_an_access_log_that_cannot_be_written_ends_the_start(container):
    """It is one sentence, before any application serves, and no process is left."""
    house = container(NUMBERS.replace('access = "off"', 'access_file = "no/such/folder/log"'))
    assert house.launch().wait(60) == 1
    (told,) = [line for line in house.read_all() if "cannot be written" in line]
    assert told.endswith("cannot be written: no such file or directory")
    assert "Traceback" not in "\n".join(house.lines)


def test_a_failed_start_is_told_once_also_where_the_log_is_a_file(container):
    """The sentence stands in the log and where twistd was called, once in each."""
    house = container(NUMBERS.replace('"tcp:0:interface=127.0.0.1"', '"unix:no/such/socket"'))
    log = house.folder / "twistd.log"
    done = subprocess.run(
        [TWISTD, "-n", "--pidfile=", "-l", log, "happy", "--config", house.config],
        cwd=house.folder, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("numbers: http cannot listen on unix:")
    assert done.stderr.endswith(": there is no such directory\n")
    assert log.read_text().count("there is no such directory") == 1


def test_a_running_request_is_finished_when_the_container_stops(container):
    """SIGTERM lets an answer that is being made go out, and closes idle connections."""
    house = container().start()
    port = house.port("numbers", "http")
    with socket.create_connection(("127.0.0.1", port), timeout=60) as idle:
        idle.sendall(b"GET /last HTTP/1.1\r\nHost: x\r\n\r\n")
        assert idle.recv(4096).startswith(b"HTTP/1.1 200 ")
        house.process.terminate()
        assert idle.recv(4096) == b""
    assert house.process.wait(60) != 0
    assert "Traceback" not in "\n".join(house.read_all())


def test_the_control_socket_knows_its_commands(container):
    """An unknown command is told which ones there are."""
    house = container().start()
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(60)
        asking.connect(str(house.data / "control.sock"))
        asking.sendall(b"dance\n")
        said = json.loads(asking.makefile().readline())
    assert said == {"error": "unknown command 'dance'; known: ['mail', 'status']"}


def test_as_a_daemon_a_failed_start_is_told_to_the_shell(container):
    """Without -n too: the command ends with 1, says why, and leaves no pidfile."""
    house = container(NUMBERS)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = NUMBERS.replace("tcp:0:", f"tcp:{taken.getsockname()[1]}:")
        house.config.write_text(config)
        done = subprocess.run(
            [TWISTD, "happy", "--config", house.config],
            cwd=house.folder, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert "numbers: http cannot listen on tcp:" in done.stdout + done.stderr
    wait_until(
        lambda: not (house.folder / "twistd.pid").exists(), "the daemon takes its pidfile away"
    )
    assert not house.data.exists()


def test_a_config_option_is_required():
    """Without --config twistd says how to call it."""
    done = subprocess.run(
        [TWISTD, "-n", "--pidfile=", "happy"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "--config FILE is required" in done.stdout + done.stderr


def test_another_reactor_can_be_chosen(container):
    """``twistd --reactor=poll`` is obeyed: nothing of ours picks a reactor first."""
    house = container()
    house.wrapper = ()
    process = subprocess.Popen(
        [TWISTD, "-n", "--pidfile=", "--reactor=poll", "happy", "--config", house.config],
        cwd=house.folder, stdout=subprocess.PIPE, text=True, env={**os.environ},
    )  # fmt: skip
    seen = []
    for line in process.stdout:
        seen.append(line)
        if "happy is serving" in line:
            break
    process.terminate()
    process.stdout.close()
    process.wait(60)
    assert any("PollReactor" in line and "EPoll" not in line for line in seen), sys.version


def test_who_comes_before_the_configuration_is_told_waits_for_it(container):
    """Promise 4: no recipient is refused that is known by what the configuration says."""
    slow = (need("strace"), "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync",
            "-e", "inject=fdatasync:delay_enter=700000")  # fmt: skip
    port = free_port()
    house = container(LISTS.format(port=port, smarthost=9), slow)
    house.launch()
    with smtplib.SMTP(timeout=WAIT_S) as client:
        wait_until(lambda: is_listening(port), "somebody listens")
        client.connect("127.0.0.1", port)
        client.ehlo("client.example")
        client.mail("ann@example.org")
        assert client.rcpt("dev-subscribe@lists.example")[0] == 250
    house.await_serving()


def test_a_burst_of_connections_is_not_dropped(container):
    """As many as may wait do wait for a container that is busy with something else."""
    house = container().start()
    place = "127.0.0.1", house.port("numbers", "http")
    house.process.send_signal(signal.SIGSTOP)
    with contextlib.ExitStack() as burst:
        for _ in range(400):
            burst.enter_context(socket.create_connection(place, timeout=WAIT_S))
        house.process.send_signal(signal.SIGCONT)
    assert take(house, "numbers") == b"1\n"


def is_listening(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
