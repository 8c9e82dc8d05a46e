"""What the tests of the shipped configurations share: a file as it is shipped, a folder, a port."""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from attrs import frozen
from click.testing import CliRunner

from conftest import CI, need
from happy.cli import main

CONF = Path(__file__).parent.parent / "conf"
NAME = "numbers.example"
WAIT_S_MAX = 60

# Beside the numbers: an answer that shows what a proxy made of a request.
ECHO = '''
import json

from klein import Klein

from happy import App
from happy.examples.numbers import Numbers


class Echo(App):
    """Shows the request that arrived, under the ``Cache-Control`` that it wishes for."""

    state = Numbers
    http = Klein()

    @http.route("/<path:path>", methods=["GET", "POST"])
    def echo(self, request, path):
        request.setHeader(b"content-type", b"application/json")
        if wish := request.getHeader("wish"):
            request.setHeader("cache-control", wish)
            request.setHeader("etag", '"1"')
        fields = request.requestHeaders.getAllRawHeaders()
        lines = [[n.decode().lower(), v.decode()] for n, values in fields for v in values]
        return json.dumps({"uri": request.uri.decode(), "fields": lines}).encode()
'''
TWO = """
data = "data"
[apps.numbers]
app = "happy.examples.numbers:NumberService"
http = "unix:{folder}/numbers.sock:mode=666"
[apps.echo]
app = "echo_app:Echo"
http = "tcp:{port}:interface=127.0.0.1"
[limits]
http_request_line_bytes_max = 20_000
http_header_bytes_max = 70_000
http_headers_max = 200
http_body_bytes_max = 12_000_000
[log]
access = "off"
"""
TWO_NAMES = ("--name", f"numbers={NAME}", "--name", "echo=lists.example")
ECHO_CONFIG = """
data = "data"
[apps.echo]
app = "echo_app:Echo"
http = "tcp:0:interface=127.0.0.1"
[log]
access = "off"
"""


def shipped(path: str, changes: Mapping[str, str]) -> str:
    """Return a file of ``conf/`` with these changes; each must have something to change."""
    return changed((CONF / path).read_text(), changes)


def written(kind: str, config: Path, *options: str) -> str:
    """Return what `happy edge` writes."""
    result = CliRunner().invoke(main, ["edge", kind, "--config", str(config), *options])
    assert result.exit_code == 0, result.output
    return result.stdout


def changed(text: str, changes: Mapping[str, str]) -> str:
    """Return a text with these changes; each must have something to change."""
    for old, new in changes.items():
        assert old in text, f"there is no {old!r} in it"
        text = text.replace(old, new)
    return text


@contextmanager
def open_folder() -> Iterator[Path]:
    """Make a folder that servers can enter after they have given up being root."""
    with tempfile.TemporaryDirectory(prefix="happy-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port that nobody listens on now, and that nobody gets who asks for port 0."""
    given_from = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for port in random.SystemRandom().sample(range(10_000, max(given_from, 30_000)), 100):
        with suppress(OSError), socket.create_server((host, port)):
            return port
    raise AssertionError("there is no free port")


def wait_until(true: Callable[[], object], what: str, *, wait_s_max: int = WAIT_S_MAX) -> None:
    """Ask again and again until it is so."""
    until = time.monotonic() + wait_s_max
    while not true():
        assert time.monotonic() < until, f"this did not come true in {wait_s_max} s: {what}"
        time.sleep(0.02)


def answers(port: int) -> bool:
    """Say whether something listens on a port of this machine."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Make a key and a certificate, for both names in the shipped files, that signs itself."""
    key, certificate = folder / "privkey.pem", folder / "fullchain.pem"
    command = [need("openssl"), "req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"]
    command += ["-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", f"/CN={NAME}"]
    command += ["-addext", "basicConstraints=critical,CA:FALSE"]
    command += [
        "-addext",
        f"subjectAltName=DNS:{NAME},DNS:lists.example",
        "-keyout",
        key,
        "-out",
        certificate,
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return key, certificate


def of_certificates(certificate: Path, key: Path) -> dict[str, str]:
    """Return what is changed so that each site of a shipped file has this certificate."""
    return {
        f"/etc/letsencrypt/live/{app}.example/{file}.pem": str(path)
        for app in ("numbers", "lists")
        for file, path in (("fullchain", certificate), ("privkey", key))
    }


@contextmanager
def running(
    command: list[str], port: int, log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server in the foreground, from when its port answers to the end of the block."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=environment
        )
    try:
        wait_until(lambda: process.poll() is not None or answers(port), f"port {port} answers")
        assert process.poll() is None, log.read_text()
        yield process
    finally:
        process.terminate()
        try:
            process.wait(WAIT_S_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@frozen
class Answer:
    """What curl got: ``version`` of HTTP, status, fields by small name, body."""

    version: str
    status: int
    fields: dict[str, str]
    body: bytes


@frozen
class Site:
    """``https://numbers.example`` as a client sees it that trusts our certificate."""

    http_port: int
    https_port: int
    certificate: Path

    def curl(self, url: str, *more: str) -> Answer:
        """Send a request with the real curl."""
        head, _, body = self._curl("--include", *more, url).partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        version, status, *_ = first.split()
        pairs = (line.partition(":") for line in lines)
        fields = {name.lower(): value.strip() for name, _, value in pairs}
        return Answer(version, int(status), fields, body)

    def heads(self, path: str, count: int, *more: str) -> str:
        """Send the same ``GET`` so many times over one connection; return the answers' heads."""
        to_null = ["--output", os.devnull, f"https://{NAME}{path}"] * count
        return self._curl("--dump-header", "-", *more, *to_null).decode("latin-1")

    def _curl(self, *arguments: str) -> bytes:
        command = [need("curl"), "--silent", "--show-error", "--max-time", "60"]
        command += ["--cacert", self.certificate, "--path-as-is", "--noproxy", "*"]
        for public, ours in ((80, self.http_port), (443, self.https_port)):
            command += ["--connect-to", f":{public}:127.0.0.1:{ours}"]
        # Expect: curl would ask first, and the answer would have two heads.
        command += ["--header", "Expect:", *arguments]
        said = subprocess.run(command, capture_output=True, timeout=120, check=False)
        assert said.returncode == 0, said.stderr
        return said.stdout

    def get(self, path: str, *more: str) -> Answer:
        """``GET`` over TLS."""
        return self.curl(f"https://{NAME}{path}", *more)

    def post(self, path: str, *more: str) -> Answer:
        """``POST`` over TLS, of nothing unless told otherwise."""
        data = () if any(word.startswith("--data") for word in more) else ("--data", "")
        return self.curl(f"https://{NAME}{path}", "--request", "POST", *data, *more)


def check_forged(echo: Site, *more: tuple[str, str]) -> None:
    """See that what a client says of itself ends in front, and the rest is what is seen there.

    ``more`` are the fields that a server tells besides.
    """
    forged = ("X-Forwarded-For: 6.6.6.6", "X-Forwarded-Proto: gopher", "X-Real-IP: 6.6.6.6",
              "X-Forwarded-Host: evil.example", "X-Forwarded-Server: evil.example",
              "Forwarded: for=6.6.6.6")  # fmt: skip
    answer = echo.get("/a%2Fb//%43?x=%41", *(word for one in forged for word in ("--header", one)))
    seen = json.loads(answer.body)
    assert seen["uri"] == "/a%2Fb//%43?x=%41"  # as it was written
    fields = [(name, value) for name, value in seen["fields"] if "forward" in name or "ip" in name]
    assert sorted(fields) == [
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-host", NAME),
        ("x-forwarded-proto", "https"),
        *more,
    ]
    assert dict(seen["fields"])["host"] == NAME
    assert answer.fields["cache-control"] == "no-store"


def two_applications(container, folder: Path) -> Path:
    """Start two applications, one behind a unix socket; return their configuration."""
    house = container(TWO.format(folder=folder, port=free_port()))
    (house.folder / "echo_app.py").write_text(ECHO)
    return house.start().config


def check_two(site: Site, folder: Path) -> None:
    """Check that each name leads to its application, and that a request is bounded as there."""
    assert site.post("/next").body == b"1\n"
    target = "/".ljust(20_000 - len("GET  HTTP/1.1"), "x")
    assert ask(site, target) == 200
    assert ask(site, target + "x") in {400, 414}
    assert ask(site, "/a", "--header", f"A: {'x' * 69_000}") == 200
    assert ask(site, "/a", "--header", f"A: {'x' * 70_100}") in {400, 431}
    assert ask(site, "/a", *(word for n in range(190) for word in ("--header", f"A{n}: x"))) == 200
    assert ask(site, "/a", *said_to_have(12_000_001)) == 413
    body = folder / "body"
    body.write_bytes(bytes(12_000_000))
    assert ask(site, "/a", "--data-binary", f"@{body}") == 200


def ask(site: Site, target: str, *more: str) -> int:
    """Ask the second application; return the status."""
    return site.curl(f"https://lists.example{target}", "--http1.1", *more).status


def said_to_have(length: int) -> tuple[str, ...]:
    """Return how to announce a body of this length, of which the answer leaves nothing to send."""
    return ("--request", "POST", "--header", f"Content-Length: {length}")


def need_root() -> None:
    """Without root, which a server needs that changes users: skip; under CI fail."""
    if os.geteuid() != 0:
        (pytest.fail if CI else pytest.skip)("this server has to be started by root")
