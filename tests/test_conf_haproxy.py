"""The shipped HAProxy configuration, in a real HAProxy before a real container."""

from __future__ import annotations

import subprocess

import pytest

from conftest import need
from edge_kit import free_port, open_folder, running, shipped, wait_until
from happy.limits import Limits
from mail_kit import LISTS, STRANGER, entries, swaks


@pytest.fixture
def house(container):
    """A container whose mail comes through a proxy on this machine."""
    text = LISTS.format(port=0, smarthost=9).replace('smtp = "tcp:0', 'smtp = "haproxy:tcp:0')
    return container(text.replace("[mail]", '[mail]\nrelays = ["127.0.0.1"]')).start()


def test_the_client_behind_haproxy_is_in_the_event(house):
    """The address he has, and that of the proxy; the file needs nothing but ports."""
    port = free_port()
    changes = {
        "bind :25": f"bind 127.0.0.1:{port}",
        "127.0.0.1:2525": f"127.0.0.1:{house.port('lists', 'smtp')}",
    }
    with open_folder() as folder:
        file, log = folder / "happy.cfg", folder / "haproxy.log"
        file.write_text(shipped("haproxy/happy.cfg", changes))
        command = [need("haproxy"), "-db", "-f", str(file)]
        checked = subprocess.run([*command, "-c"], capture_output=True, timeout=60, check=False)
        assert checked.returncode == 0, checked.stderr
        assert b"warning" not in checked.stderr.lower()
        with running(command, port, log):
            swaks(port, "--to", "dev-subscribe@lists.example", "--from", "ann@example.org",
                  stranger=True)  # fmt: skip
            wait_until(lambda: entries(house, "happy.Mail"), "the mail is there", wait_s_max=60)
    (mail,) = entries(house, "happy.Mail")
    assert (mail["peer"], mail["via"]) == (STRANGER, "127.0.0.1")


def test_haproxy_waits_longer_than_happy():
    """So that a client hears happy's 421 and not a connection that ends."""
    text = shipped("haproxy/happy.cfg", {})
    for side in ("client", "server"):
        assert f"timeout {side} 6m" in text
    assert Limits().smtp_command_timeout_s < 6 * 60
