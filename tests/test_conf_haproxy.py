"""What `happy edge haproxy` writes, in a real HAProxy before a real container."""

from __future__ import annotations

import subprocess
from contextlib import ExitStack

import pytest

from conftest import need
from edge_kit import (
    ECHO,
    ECHO_CONFIG,
    TWO_NAMES,
    Site,
    changed,
    check_forged,
    check_two,
    free_port,
    make_certificate,
    open_folder,
    running,
    said_to_have,
    shipped,
    two_applications,
    wait_until,
    written,
)
from happy.limits import Limits
from mail_kit import LISTS, STRANGER, entries, swaks


@pytest.fixture
def haproxy():
    """Return a function that starts HAProxy on a text, which must be without a warning."""
    program = need("haproxy")
    with open_folder() as folder, ExitStack() as servers:

        def start(text: str, port: int) -> None:
            file = folder / "happy.cfg"
            file.write_text(text)
            command = [program, "-db", "-f", str(file)]
            checked = subprocess.run([*command, "-c"], capture_output=True, timeout=60, check=False)
            assert checked.returncode == 0, checked.stderr
            assert b"warning" not in checked.stderr.lower(), checked.stderr
            servers.enter_context(running(command, port, folder / "haproxy.log"))

        yield start


@pytest.fixture
def in_front(haproxy):
    """Return a function that starts HAProxy, with the shipped file, before a port."""
    with open_folder() as folder:
        key, certificate = make_certificate(folder)
        (folder / "both.pem").write_text(certificate.read_text() + key.read_text())

        def start(upstream: int = 9000, text: str | None = None) -> Site:
            site = Site(free_port(), free_port(), certificate)
            changes = {
                "bind :80\n": f"bind 127.0.0.1:{site.http_port}\n",
                "bind :443 ": f"bind 127.0.0.1:{site.https_port} ",
                "crt /etc/haproxy/certs/lists.example.pem ": "",
                "/etc/haproxy/certs/numbers.example.pem": str(folder / "both.pem"),
            }
            there = {"127.0.0.1:9000": f"127.0.0.1:{upstream}"}
            text = text or shipped("haproxy/happy.cfg", there)
            haproxy(changed(text, changes), site.https_port)
            return site

        yield start


def test_the_numbers_behind_haproxy(in_front, container, tmp_path):
    """Numbers are taken over HTTP/2, plain HTTP leads to TLS, and what is too long is refused."""
    site = in_front(container().start().port("numbers", "http"))
    taken = [site.post("/next") for _ in range(2)]
    assert [(answer.version, answer.body) for answer in taken] == [
        ("HTTP/2", b"1\n"),
        ("HTTP/2", b"2\n"),
    ]
    assert taken[0].fields["strict-transport-security"] == "max-age=31536000"
    moved = site.curl("http://numbers.example/last?x=1")
    assert (moved.status, moved.fields["location"]) == (301, "https://numbers.example/last?x=1")
    bytes_max = Limits().http_body_bytes_max
    too_long = said_to_have(bytes_max + 1)
    assert site.get("/next", "--http1.1", *too_long).status == 413
    body = tmp_path / "body"
    body.write_bytes(bytes(bytes_max))
    assert site.post("/next", "--data-binary", f"@{body}").body == b"3\n"


def test_nothing_that_a_client_says_of_itself_passes(in_front, container):
    """Forged forwarding fields end at the proxy; address, scheme and host are what it saw."""
    house = container(ECHO_CONFIG)
    (house.folder / "echo_app.py").write_text(ECHO)
    check_forged(in_front(house.start().port("echo", "http")))


def test_two_applications_with_larger_bounds(in_front, container):
    """One behind a unix socket; what they take passes, and what they do not is refused."""
    with open_folder() as folder:
        config = two_applications(container, folder)
        check_two(in_front(text=written("haproxy", config, *TWO_NAMES)), folder)


def test_the_client_behind_haproxy_is_in_the_event(haproxy, container):
    """The address he has, and that of the proxy; the file needs nothing but a port."""
    text = LISTS.format(port=free_port(), smarthost=9).replace('smtp = "', 'smtp = "haproxy:')
    text = text.replace('http = "tcp:0:interface=127.0.0.1"\n', "")
    house = container(text.replace("[mail]", '[mail]\nrelays = ["127.0.0.1"]')).start()
    port = free_port()
    shown = written("haproxy", house.config, "--app", "lists")
    assert "bind :25\n" in shown
    haproxy(shown.replace("bind :25\n", f"bind 127.0.0.1:{port}\n"), port)
    swaks(port, "--to", "dev-subscribe@lists.example", "--from", "ann@example.org",
          stranger=True)  # fmt: skip
    wait_until(lambda: entries(house, "happy.Mail"), "the mail is there")
    (mail,) = entries(house, "happy.Mail")
    assert (mail["peer"], mail["via"]) == (STRANGER, "127.0.0.1")
