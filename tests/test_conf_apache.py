"""The shipped Apache configuration, in a real Apache before a real container."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest
from attrs import frozen

from conftest import need
from edge_kit import (
    ECHO,
    ECHO_CONFIG,
    NAME,
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
from happy.limits import Limits

MODULES = Path("/usr/lib/apache2/modules")
# What Debian's apache2.conf has around the sites, as far as it is needed here.
AROUND = """
ServerRoot {folder}
ServerName front.example
DefaultRuntimeDir {folder}
PidFile {folder}/apache.pid
ErrorLog {folder}/error.log
SSLSessionCache shmcb:{folder}/sessions(512000)
User www-data
Group www-data
Listen 127.0.0.1:{http_port}
Listen 127.0.0.1:{https_port}
<Directory />
    Require all denied
</Directory>
<Directory {folder}/html>
    Require all granted
</Directory>
Include {folder}/happy.conf
"""


@frozen
class Apache(Site):
    """An Apache with the shipped file, before an application."""

    folder: Path
    said_of_configuration: str

    @property
    def log(self) -> Path:
        """Where it complains."""
        return self.folder / "error.log"

    def hits(self, path: str, *more: str) -> bool:
        """Say whether one of two answers comes from the cache.

        Apache keeps an answer a moment after its client has read all of it, and only if the
        client is still there then; so both are asked for over one connection.
        """
        return "x-cache: hit" in self.heads(path, 2, *more).lower()


def modules() -> str:
    """Load what the file says to enable, and what every Apache of Debian has."""
    enabled = re.findall(r"(?m)^# +a2enmod (.*)$", shipped("apache/happy.conf", {}))
    names = ["mpm_event", "authz_core", *" ".join(enabled).split()]
    return "".join(f"LoadModule {name}_module {MODULES}/mod_{name}.so\n" for name in names)


@pytest.fixture
def apache():
    """Return a function that starts Apache before a port."""
    program = need("apache2")
    with open_folder() as folder, ExitStack() as servers:
        key, certificate = make_certificate(folder)
        (folder / "html/.well-known/acme-challenge").mkdir(parents=True)
        (folder / "html/.well-known/acme-challenge/token").write_text("the answer")
        (folder / "cache").mkdir()
        if os.geteuid() == 0:  # as Debian has it: this folder is Apache's, the one above is not
            shutil.chown(folder / "cache", "www-data", "www-data")

        def start(upstream: int = 9000, text: str | None = None) -> Apache:
            ports = {"http_port": free_port(), "https_port": free_port()}
            changes = {
                "*:80>": f"127.0.0.1:{ports['http_port']}>",
                "*:443>": f"127.0.0.1:{ports['https_port']}>",
                "/var/cache/apache2/mod_cache_disk": f"{folder}/cache",
                "/var/www/html": f"{folder}/html",
                **of_certificates(certificate, key),
            }
            there = {"http://127.0.0.1:9000/": f"http://127.0.0.1:{upstream}/"}
            text = text or shipped("apache/happy.conf", there)
            (folder / "happy.conf").write_text(changed(text, changes))
            around = folder / "apache.conf"
            around.write_text(modules() + AROUND.format(folder=folder, **ports))
            command = [program, "-f", str(around)]
            tested = subprocess.run(
                [*command, "-t"], capture_output=True, text=True, timeout=60, check=False
            )
            servers.enter_context(
                running([*command, "-DFOREGROUND"], ports["https_port"], folder / "out.log")
            )
            said = tested.stdout + tested.stderr
            return Apache(
                **ports, certificate=certificate, folder=folder, said_of_configuration=said
            )

        yield start


@pytest.fixture
def house(container):
    """The numbers, serving."""
    return container().start()


@pytest.fixture
def site(apache, house):
    """The numbers behind Apache."""
    return apache(house.port("numbers", "http"))


def test_apache_takes_the_file_without_a_warning(site):
    """``apachectl configtest`` says that all is well, and nothing else."""
    assert site.said_of_configuration == "Syntax OK\n"
    assert site.get("/last").status == 200
    complaints = re.findall(r"(?m):(?:warn|error|crit|alert|emerg)\].*", site.log.read_text())
    # Not of the file: that the machine's OpenSSL was not updated together with its Apache.
    assert [line for line in complaints if "AH01882" not in line] == []


def test_the_bounds_of_apache_fit_those_of_happy():
    """A refusal comes as early as it can, and the side that gives up first is the right one."""
    text, limits = shipped("apache/happy.conf", {}), Limits()
    (body_bytes,) = set(re.findall(r"Content-Length} -gt (\d+)", text))
    (handler_s,) = set(re.findall(r" timeout=(\d+)", text))
    (idle_s,) = set(re.findall(r" ttl=(\d+)", text))
    assert int(body_bytes) == limits.http_body_bytes_max
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
    first = site.get("/last")
    assert (first.version, first.status, first.body) == ("HTTP/2", 200, b"0\n")
    assert first.fields["x-cache"].startswith("MISS")
    assert first.fields["strict-transport-security"] == "max-age=31536000"
    wait_until(lambda: site.hits("/last"), "a hit")
    assert (site.folder / "cache/lock").is_dir()  # where only one of many renews an answer


def test_what_changes_something_is_never_kept(site):
    """``POST /next`` gives 1, 2, 3, each with its seq."""
    taken = [site.post("/next") for _ in range(3)]
    assert [answer.body for answer in taken] == [b"1\n", b"2\n", b"3\n"]
    assert [answer.fields["happy-seq"] for answer in taken] == ["1", "2", "3"]


def test_a_request_with_credentials_passes_the_cache_by(echo):
    """What is asked with ``Authorization`` is neither kept nor answered from what was kept."""
    wish, who = ("--header", "Wish: public, max-age=60"), ("--user", "ann:secret")
    for _ in range(3):
        assert "x-cache" not in echo.get("/a", *wish, *who).fields
    wait_until(lambda: echo.hits("/a", *wish), "a hit")
    assert "x-cache" not in echo.get("/a", *wish, *who).fields


def test_a_key_passes(site):
    """``Idempotency-Key`` arrives: the same key gets the same number."""
    twins = [site.post("/next", "--header", "Idempotency-Key: one") for _ in range(2)]
    assert [answer.body for answer in twins] == [b"1\n", b"1\n"]
    assert site.post("/next").body == b"2\n"


def test_a_body_over_the_limit_is_refused(site, tmp_path):
    """A body that the application would refuse does not reach it: 413."""
    body = tmp_path / "body"
    body.write_bytes(bytes(20_000_000))
    answer = site.post("/next", "--http1.1", "--data-binary", f"@{body}")
    assert answer.status == 413
    assert answer.fields["server"].startswith("Apache")
    body.write_bytes(bytes(8_000_000))
    assert site.post("/next", "--data-binary", f"@{body}").body == b"1\n"


def test_a_body_that_does_not_say_its_length_is_refused_by_the_application(site, tmp_path):
    """A long body without a length changes nothing, whether Apache hears the reason or not."""
    body = tmp_path / "body"
    body.write_bytes(bytes(20_000_000))
    chunked = ("--http1.1", "--header", "Transfer-Encoding: chunked")
    assert site.post("/next", *chunked, "--data-binary", f"@{body}").status in {413, 502}
    assert site.post("/next").body == b"1\n"


def test_a_stop_shows_readers_a_stale_answer_and_writers_the_truth(apache, house):
    """While the application is away, reading goes on; a change is refused and not done later."""
    upstream = house.port("numbers", "http")
    site = apache(upstream)
    assert site.post("/next").body == b"1\n"
    wait_until(lambda: site.hits("/last"), "a hit")
    house.stop()
    wait_until(lambda: "warning" in site.get("/last").fields, "stale")
    stale = site.get("/last")
    assert (stale.status, stale.body) == (200, b"1\n")
    assert stale.fields["warning"] == "111 Revalidation failed"
    assert site.get("/last?never-asked").status == 503
    assert site.post("/next").status == 503
    house.config.write_text(house.config.read_text().replace("tcp:0:", f"tcp:{upstream}:"))
    house.start()
    assert site.post("/next").body == b"2\n"  # the very next request
    wait_until(lambda: site.get("/last").body == b"2\n", "fresh")


@pytest.fixture
def echo(apache, container):
    """An application behind Apache that shows what arrived."""
    house = container(ECHO_CONFIG)
    (house.folder / "echo_app.py").write_text(ECHO)
    return apache(house.start().port("echo", "http"))


def test_nothing_that_a_client_says_of_itself_passes(echo):
    """Forged forwarding fields end at the proxy; address, scheme and host are what it saw."""
    check_forged(echo, ("x-forwarded-server", NAME))


@pytest.mark.parametrize("wish", ["no-store", "private, max-age=60", "no-cache", "public"])
def test_only_what_says_how_long_is_kept(echo, wish):
    """Without an age for a shared cache an answer is fetched each time."""
    for _ in range(3):
        answer = echo.get("/a", "--header", f"Wish: {wish}")
        assert answer.fields["cache-control"] == wish
        assert answer.fields["x-cache"].startswith("MISS")


def test_what_says_how_long_is_kept(echo):
    """With an age the answer is kept for it."""
    wait_until(lambda: echo.hits("/a", "--header", "Wish: public, max-age=60"), "a hit")
    assert echo.hits("/a", "--header", "Wish: public, max-age=60")


def test_two_applications_with_larger_bounds(apache, container):
    """One behind a unix socket; what they take passes, and what they do not is refused."""
    with open_folder() as folder:
        config = two_applications(container, folder)
        site = apache(text=written("apache", config, *TWO_NAMES))
        assert site.said_of_configuration == "Syntax OK\n"
        check_two(site, folder)
