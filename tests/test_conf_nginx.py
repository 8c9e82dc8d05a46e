"""The shipped nginx configuration, in a real nginx before a real container."""

from __future__ import annotations

import os
import re
import subprocess
from contextlib import ExitStack

import pytest
from attrs import frozen

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
    of_certificates,
    open_folder,
    running,
    shipped,
    two_applications,
    wait_until,
    written,
)
from happy.limits import MIB, Limits

# What a distribution's nginx.conf has around the files of conf.d, as far as it is needed here.
AROUND = """
{user}
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log notice;
events {{}}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/client_body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/happy.conf;
}}
"""


@frozen
class Nginx(Site):
    """An nginx with the shipped file, before an application."""

    upstream: int
    said_of_configuration: str


@pytest.fixture
def nginx():
    """Return a function that starts nginx before a port."""
    with open_folder() as folder, ExitStack() as servers:
        key, certificate = make_certificate(folder)
        (folder / "html/.well-known/acme-challenge").mkdir(parents=True)
        (folder / "html/.well-known/acme-challenge/token").write_text("the answer")

        def start(upstream: int = 9000, text: str | None = None) -> Nginx:
            http_port, https_port = free_port(), free_port()
            changes = {
                "listen 80;": f"listen 127.0.0.1:{http_port};",
                "listen [::]:80;": "",
                "listen 443 ssl http2;": f"listen 127.0.0.1:{https_port} ssl http2;",
                "listen [::]:443 ssl http2;": "",
                "/var/cache/nginx/happy": f"{folder}/cache",
                "/var/www/html": f"{folder}/html",
                **of_certificates(certificate, key),
            }
            there = {"server 127.0.0.1:9000;": f"server 127.0.0.1:{upstream};"}
            text = text or shipped("nginx/happy.conf", there)
            (folder / "happy.conf").write_text(changed(text, changes))
            user = "user www-data;" if os.geteuid() == 0 else ""
            around = folder / "nginx.conf"
            around.write_text(AROUND.format(folder=folder, user=user))
            command = [need("nginx"), "-p", str(folder), "-c", str(around)]
            command += ["-e", str(folder / "error.log")]
            tested = subprocess.run(
                [*command, "-t"], capture_output=True, text=True, timeout=60, check=False
            )
            servers.enter_context(running(command, https_port, folder / "out.log"))
            said = tested.stdout + tested.stderr + (folder / "error.log").read_text()
            return Nginx(http_port, https_port, certificate, upstream, said)

        yield start


@pytest.fixture
def house(container):
    """The numbers, serving."""
    return container().start()


@pytest.fixture
def site(nginx, house):
    """The numbers behind nginx."""
    return nginx(house.port("numbers", "http"))


def test_nginx_takes_the_file_without_a_warning(site):
    """``nginx -t`` says that all is well, and nothing else."""
    complaints = [
        line
        for line in site.said_of_configuration.splitlines()
        if any(f"[{level}]" in line for level in ("warn", "error", "crit", "alert", "emerg"))
    ]
    assert "test is successful" in site.said_of_configuration
    assert complaints == []


def test_the_bounds_of_nginx_fit_those_of_happy():
    """A refusal comes as early as it can, and the side that gives up first is the right one."""
    text, limits = shipped("nginx/happy.conf", {}), Limits()
    (body_mib,) = set(re.findall(r"client_max_body_size (\d+)m;", text))
    (handler_s,) = set(re.findall(r"proxy_read_timeout (\d+)s;", text))
    (idle_s,) = set(re.findall(r"keepalive_timeout (\d+)s;", text))
    assert int(body_mib) * MIB == limits.http_body_bytes_max
    assert int(handler_s) > limits.http_handler_timeout_s
    assert int(idle_s) < limits.http_idle_timeout_s


def test_plain_http_leads_to_tls_except_for_the_certificate_authority(site):
    """Port 80 redirects to TLS, and answers what proves the name to a certificate authority."""
    moved = site.curl("http://numbers.example/last?x=1")
    assert moved.status == 301
    assert moved.fields["location"] == "https://numbers.example/last?x=1"
    proof = site.curl("http://numbers.example/.well-known/acme-challenge/token")
    assert (proof.status, proof.body) == (200, b"the answer")


def test_an_old_tls_is_refused(site):
    """Nothing below TLS 1.2 is spoken."""
    with pytest.raises(AssertionError, match="alert protocol version"):
        site.get("/last", "--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0")


def test_an_answer_that_may_be_kept_is_kept(site):
    """``GET /last`` misses, then hits; browsers are told to stay with TLS."""
    first, second = site.get("/last"), site.get("/last")
    assert (first.version, first.status, first.body) == ("HTTP/2", 200, b"0\n")
    assert first.fields["x-cache-status"] == "MISS"
    assert first.fields["strict-transport-security"] == "max-age=31536000"
    assert (second.fields["x-cache-status"], second.body) == ("HIT", b"0\n")


def test_what_changes_something_is_never_kept(site):
    """``POST /next`` gives 1, 2, 3, each with its seq."""
    taken = [site.post("/next") for _ in range(3)]
    assert [answer.body for answer in taken] == [b"1\n", b"2\n", b"3\n"]
    assert [answer.fields["happy-seq"] for answer in taken] == ["1", "2", "3"]
    assert not [answer for answer in taken if "x-cache-status" in answer.fields]


def test_a_request_with_credentials_passes_the_cache_by(echo):
    """What is asked with ``Authorization`` is neither kept nor answered from what was kept."""
    wish, who = ("--header", "Wish: public, max-age=60"), ("--user", "ann:secret")
    for _ in range(2):
        assert echo.get("/a", *wish, *who).fields["x-cache-status"] == "BYPASS"
    assert echo.get("/a", *wish).fields["x-cache-status"] == "MISS"
    assert echo.get("/a", *wish).fields["x-cache-status"] == "HIT"
    assert echo.get("/a", *wish, *who).fields["x-cache-status"] == "BYPASS"


def test_a_key_passes(site):
    """``Idempotency-Key`` arrives: the same key gets the same number."""
    twins = [site.post("/next", "--header", "Idempotency-Key: one") for _ in range(2)]
    assert [answer.body for answer in twins] == [b"1\n", b"1\n"]
    assert site.post("/next").body == b"2\n"


@pytest.mark.parametrize("how", ["Content-Length: 20000000", "Transfer-Encoding: chunked"])
def test_a_body_over_the_limit_is_refused(site, tmp_path, how):
    """A body that the application would refuse does not reach it: 413."""
    body = tmp_path / "body"
    body.write_bytes(bytes(20_000_000))
    answer = site.post("/next", "--http1.1", "--header", how, "--data-binary", f"@{body}")
    assert answer.status == 413
    assert answer.fields["server"].startswith("nginx")
    body.write_bytes(bytes(8_000_000))
    assert site.post("/next", "--data-binary", f"@{body}").body == b"1\n"


def test_a_stop_shows_readers_a_stale_answer_and_writers_the_truth(nginx, house, container):
    """While the application is away, reading goes on; a change is refused and not done later."""
    upstream = house.port("numbers", "http")
    site = nginx(upstream)
    assert site.post("/next").body == b"1\n"
    assert site.get("/last").body == b"1\n"
    house.stop()
    wait_until(lambda: site.get("/last").fields["x-cache-status"] == "STALE", "stale")
    stale = site.get("/last")
    assert (stale.status, stale.body) == (200, b"1\n")
    assert site.get("/last?never-asked").status == 502
    assert site.post("/next").status == 502
    house.config.write_text(house.config.read_text().replace("tcp:0:", f"tcp:{upstream}:"))
    house.start()
    wait_until(lambda: site.get("/last").fields["x-cache-status"] != "STALE", "fresh")
    assert site.post("/next").body == b"2\n"


@pytest.fixture
def echo_house(container):
    """An application that shows what arrived."""
    house = container(ECHO_CONFIG)
    (house.folder / "echo_app.py").write_text(ECHO)
    return house.start()


@pytest.fixture
def echo(nginx, echo_house):
    """The same behind nginx."""
    return nginx(echo_house.port("echo", "http"))


def test_a_stop_shows_readers_what_was_kept_until_it_was_too_old(echo, echo_house):
    """Also an answer that did not say so is shown for longer when there is no other."""
    wish = ("--header", "Wish: public, max-age=1")
    assert echo.get("/a", *wish).fields["x-cache-status"] == "MISS"
    echo_house.stop()
    wait_until(lambda: echo.get("/a", *wish).fields.get("x-cache-status") != "HIT", "too old")
    late = echo.get("/a", *wish)
    assert (late.status, late.fields["x-cache-status"]) == (200, "STALE")


def test_nothing_that_a_client_says_of_itself_passes(echo):
    """Forged forwarding fields end at the proxy; address, scheme and host are what it saw."""
    check_forged(echo)


@pytest.mark.parametrize("wish", ["no-store", "private, max-age=60", "no-cache", "public"])
def test_only_what_says_how_long_is_kept(echo, wish):
    """Without an age for a shared cache an answer is fetched each time."""
    for _ in range(3):
        answer = echo.get("/a", "--header", f"Wish: {wish}")
        assert answer.fields["cache-control"] == wish
        assert answer.fields["x-cache-status"] == "MISS"


def test_what_says_how_long_is_kept(echo):
    """With an age the second answer is the first one."""
    wish = ("--header", "Wish: public, max-age=60")
    assert echo.get("/a", *wish).fields["x-cache-status"] == "MISS"
    assert echo.get("/a", *wish).fields["x-cache-status"] == "HIT"


def test_two_applications_with_larger_bounds(nginx, container):
    """One behind a unix socket; what they take passes, and what they do not is refused."""
    with open_folder() as folder:
        config = two_applications(container, folder)
        site = nginx(text=written("nginx", config, *TWO_NAMES))
        assert "[warn]" not in site.said_of_configuration
        check_two(site, folder)
