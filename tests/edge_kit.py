"""What the tests of the shipped configurations share: a file as it is shipped, a folder, a port."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from attrs import frozen

from conftest import CI, need

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
    text = (CONF / path).read_text()
    for old, new in changes.items():
        assert old in text, f"conf/{path} has no {old!r}"
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
    """Return a port that nobody listens on now."""
    with socket.create_server((host, 0)) as taken:
        return int(taken.getsockname()[1])


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
    """Make a key and a certificate for ``NAME`` that signs itself."""
    key, certificate = folder / "privkey.pem", folder / "fullchain.pem"
    command = [need("openssl"), "req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"]
    command += ["-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", f"/CN={NAME}"]
    command += ["-addext", "basicConstraints=critical,CA:FALSE"]
    command += ["-addext", f"subjectAltName=DNS:{NAME}", "-keyout", key, "-out", certificate]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return key, certificate


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
        command = [need("curl"), "--silent", "--show-error", "--max-time", "20"]
        command += ["--cacert", self.certificate, "--path-as-is", "--noproxy", "*"]
        for public, ours in ((80, self.http_port), (443, self.https_port)):
            command += ["--connect-to", f"{NAME}:{public}:127.0.0.1:{ours}"]
        # Expect: curl would ask first, and the answer would have two heads.
        command += ["--header", "Expect:", *arguments]
        said = subprocess.run(command, capture_output=True, timeout=60, check=False)
        assert said.returncode == 0, said.stderr
        return said.stdout

    def get(self, path: str, *more: str) -> Answer:
        """``GET`` over TLS."""
        return self.curl(f"https://{NAME}{path}", *more)

    def post(self, path: str, *more: str) -> Answer:
        """``POST`` over TLS, of nothing unless told otherwise."""
        data = () if any(word.startswith("--data") for word in more) else ("--data", "")
        return self.curl(f"https://{NAME}{path}", "--request", "POST", *data, *more)


def need_root() -> None:
    """Without root, which a server needs that changes users: skip; under CI fail."""
    if os.geteuid() != 0:
        (pytest.fail if CI else pytest.skip)("this server has to be started by root")
