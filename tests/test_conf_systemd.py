"""The shipped systemd unit: systemd takes it, and the container lives within what it allows."""

from __future__ import annotations

import re
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import need
from edge_kit import CONF, free_port, shipped, wait_until
from happy.limits import Limits
from mail_kit import LISTS, entries, swaks

BIN = Path(sys.executable).parent
PATHS = {"/opt/happy/bin": str(BIN)}


def settings(name: str, text: str | None = None) -> list[str]:
    """Return what the unit says under a name."""
    unit = shipped("systemd/happy.service", PATHS) if text is None else text
    return re.findall(rf"(?m)^{name}=(.*)$", unit)


def test_systemd_takes_the_unit(tmp_path):
    """``systemd-analyze verify`` finds nothing to say about it."""
    (tmp_path / "happy.service").write_text(shipped("systemd/happy.service", PATHS))
    command = [need("systemd-analyze"), "verify", "--man=no", tmp_path / "happy.service"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_systemd_takes_the_socket(tmp_path):
    """``systemd-analyze verify`` finds nothing to say about port 25 and the unit that has it."""
    for name in ("happy.service", "happy-smtp.socket"):
        changes = PATHS if name == "happy.service" else {}
        (tmp_path / name).write_text(shipped(f"systemd/{name}", changes))
    command = [need("systemd-analyze"), "verify", "--man=no", tmp_path / "happy-smtp.socket"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_who_comes_before_the_container_waits_in_the_kernel(container, sink):
    """On a socket that was listening before, the first client is the one that it starts for."""
    text = (CONF / "systemd/happy-smtp.socket").read_text()
    (door,) = re.findall(r'(?m)^# +(smtp = "systemd:.*")$', text)
    (name,) = settings("FileDescriptorName", text)
    port = free_port()
    config = LISTS.format(port=port, smarthost=sink.port)
    door = door.replace("INET6", "INET")  # which every machine has
    config = config.replace(f'smtp = "tcp:{port}:interface=127.0.0.1"', door)
    assert door in config
    listening = (f"--listen=127.0.0.1:{port}", f"--fdname={name}", "--")
    wrapper = (need("systemd-socket-activate"), *listening)
    house = container(config, wrapper)
    house.launch()
    wait_until(lambda: listens(port), "systemd listens")
    swaks(port, "--to", "dev-subscribe@lists.example", "--from", "ann@example.org")
    house.await_serving()
    assert len(entries(house, "happy.Mail")) == 1


def listens(port: int) -> bool:
    """Say whether somebody listens on a port, without a connection."""
    listening = re.compile(rf"(?m)^ *\d+: \S+:{port:04X} \S+ 0A ")
    return bool(listening.search(Path("/proc/net/tcp").read_text()))


def test_one_capability_is_enough_for_a_low_port(container, sink):
    """With CAP_NET_BIND_SERVICE and no other, the container takes mail below port 1024."""
    wrapper = (need("setpriv"), "--bounding-set=-all,+net_bind_service", "--inh-caps=-all")
    port = free_low_port()
    house = container(LISTS.format(port=port, smarthost=sink.port), wrapper).start()
    swaks(port, "--to", "dev-subscribe@lists.example", "--from", "ann@example.org")
    assert len(entries(house, "happy.Mail")) == 1


def free_low_port() -> int:
    """Return a port below 1024 that nobody listens on now."""
    for port in range(1023, 0, -1):
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port
    raise AssertionError("there is none")


def test_the_unit_gives_the_container_what_its_bounds_need():
    """It waits longer than a stop takes, and allows as many files as connections."""
    (stop,), (files,) = settings("TimeoutStopSec"), settings("LimitNOFILE")
    limits = Limits()
    assert int(stop) > limits.drain_timeout_s
    assert int(files) > 2 * (limits.http_connections_max + limits.smtp_connections_max)


@pytest.mark.parametrize("name", ["ExecStartPre", "ExecStart"])
def test_the_commands_of_the_unit_work(container, sink, name):
    """The check before the start succeeds, and the start is the one that these tests make."""
    house = container(LISTS.format(port=0, smarthost=sink.port))
    command = shlex.split(*settings(name))
    command[command.index("/etc/happy/happy.toml")] = str(house.config)
    if name == "ExecStartPre":
        done = subprocess.run(command, timeout=50, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert not house.data.exists()
    else:
        assert house.start().process.args == command
        assert house.stop() == -signal.SIGTERM  # which systemd counts as success


def test_the_container_calls_nothing_that_the_unit_forbids(container, sink, tmp_path):
    """From start to stop, with web and mail both ways, all system calls are allowed ones."""
    trace = tmp_path / "trace"
    wrapper = (need("strace"), "-f", "-qq", "-s", "200", "-o", str(trace))
    port = free_port()
    house = container(LISTS.format(port=port, smarthost=sink.port), wrapper).start()
    swaks(port, "--to", "dev-subscribe@lists.example", "--from", "ann@example.org")
    sink.wait_for(1)
    wait_until(lambda: entries(house, "happy.MailSent"), "the letter has gone out")
    children = Path(f"/proc/{house.process.pid}/task/{house.process.pid}/children")
    (pid,) = children.read_text().split()
    subprocess.run(["kill", pid], check=True)
    assert house.process.wait(60) == -signal.SIGTERM
    calls = trace.read_text(errors="replace")
    made = set(re.findall(r"(?m)^\d+ +(\w+)\(", calls))
    assert {"openat", "fdatasync", "accept4", "connect"} <= made
    assert made - allowed(*settings("SystemCallFilter")) == set()
    (families,) = settings("RestrictAddressFamilies")
    opened = set(re.findall(r"(?m)^\d+ +socket(?:pair)?\((AF_\w+)", calls))
    assert opened - {"AF_NETLINK"} <= set(families.split())  # the C library does without that one
    # What the machine has left is looked at, so the unit must not hide it.
    assert settings("ProcSubset") == []
    assert set(re.findall(r'"(/proc/(?!self/|\d+/)[^"]*)"', calls)) <= {"/proc/meminfo"}


def allowed(group: str) -> set[str]:
    """Return the system calls of a group, as systemd knows them."""
    command = [need("systemd-analyze"), "syscall-filter", group]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    names = {line.strip() for line in said.splitlines()[1:] if not line.strip().startswith("#")}
    groups = {name for name in names if name.startswith("@")}
    return (names - groups).union(*map(allowed, groups))
