"""The servers that ``web.py`` compares: how each is made, started on one core, and stopped.

All run on the same core, databases and workers included; all without an access log.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import attrs

HERE: Final = Path(__file__).parent
APPLICATIONS: Final = HERE / "peers"
PACKAGES: Final = (
    "uvicorn", "httptools", "uvloop", "granian", "fastapi", "redis[hiredis]", "asyncpg",
    "gunicorn", "flask", "aiosmtpd",
)  # fmt: skip
START_S: Final = 60.0
STOP_S: Final = 10.0
APACHE_MODULES: Final = Path("/usr/lib/apache2/modules")
APACHE_SETTINGS: Final = Path("/etc/apache2")
APACHE_ENABLED: Final = (
    "mpm_event", "access_compat", "alias", "auth_basic", "authn_core", "authn_file", "authz_core",
    "authz_host", "authz_user", "autoindex", "deflate", "dir", "env", "filter", "mime",
    "negotiation", "reqtimeout", "setenvif", "status",
)  # fmt: skip
HELLO: Final = "hello\n"


class Missing(Exception):
    """A peer cannot be started here; the message says what is not there."""


@attrs.define
class Room:
    """Where servers run: a directory of their own, a core, and the peers' Python."""

    directory: Path
    core: int
    peers_python: Path | None
    running: list[subprocess.Popen[bytes]] = attrs.Factory(list)
    at_end: list[Callable[[], object]] = attrs.Factory(list)
    """What stops a program that would not end with the one that started it."""

    def spawn(
        self, *argv: str | Path, user: str | None = None, **environment: str
    ) -> subprocess.Popen[bytes]:
        """Start a program on the room's core; it ends with this process, whatever happens."""
        death = ["setpriv", "--pdeathsig", "TERM"]
        if user is not None and os.geteuid() == 0:
            death += ["--reuid", user, "--regid", _group(), "--clear-groups"]
        log = self.directory / f"{Path(argv[0]).name}-{len(self.running)}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                ["taskset", "-c", str(self.core), *death, *map(str, argv)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
                env={**os.environ, **environment},
                start_new_session=True,
            )
        self.running.append(process)
        return process

    def python(self, *argv: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start a module in the peers' own Python, with the applications at hand."""
        if self.peers_python is None:
            raise Missing("their packages cannot be installed")
        found = subprocess.run(
            [self.peers_python, "-c", f"import {argv[0]}"], capture_output=True, check=False
        )
        if found.returncode:
            raise Missing(f"{argv[0]} is not installed")
        environment["PYTHONPATH"] = str(APPLICATIONS)
        return self.spawn(self.peers_python, "-m", *argv, **environment)

    def close(self) -> None:
        """Stop all of it."""
        while self.at_end:
            self.at_end.pop()()
        for process in reversed(self.running):
            stop(process)
        self.running.clear()


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask a program and its children to end, and make them."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def make_python(cache: Path) -> tuple[Path | None, list[str]]:
    """Return the Python of the peers' own environment, and what cannot be installed in it."""
    environment = cache / "peers"
    python = environment / "bin" / "python"
    if not python.exists():
        made = subprocess.run([sys.executable, "-m", "venv", environment], check=False)
        if made.returncode:
            return None, list(PACKAGES)
    pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    if not subprocess.run([*pip, *PACKAGES], capture_output=True, check=False).returncode:
        return python, []
    lost = [p for p in PACKAGES if subprocess.run([*pip, p], check=False).returncode]
    return python, lost


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def need(name: str) -> str:
    """Return where a program is; ``Missing`` when it is not there."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
    found = shutil.which(name, path=path)
    if found is None:
        raise Missing(f"{name} is not installed")
    return found


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    """Return when somebody listens at a port; ``Missing`` when the program ends instead."""
    end = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < end:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    assert isinstance(process.args, list)
    raise Missing(f"{process.args[-1]!r} did not start")


# --- each of them ---------------------------------------------------------------------------------

Started = tuple[int, Sequence[subprocess.Popen[bytes]]]


def happy(room: Room) -> Started:
    """Our container with the numbers example, and the hello in it as a second application."""
    ports = free_port(), free_port()
    (room.directory / "happy.toml").write_text(
        f"""data = "var"
[apps.numbers]
app = "happy.examples.numbers:NumberService"
http = "tcp:{ports[0]}:interface=127.0.0.1:backlog=1024"
[apps.hello]
app = "hello_happy:Hello"
http = "tcp:{ports[1]}:interface=127.0.0.1:backlog=1024"
[log]
access = "off"
"""
    )
    twistd = Path(sys.executable).with_name("twistd")
    process = room.spawn(
        twistd, "-n", "--pidfile=", "happy", "--config", room.directory / "happy.toml",
        PYTHONPATH=str(APPLICATIONS),
    )  # fmt: skip
    wait_for(ports[1], process)
    (room.directory / "hello-port").write_text(str(ports[1]))
    return ports[0], [process]


def _twisted(kind: str) -> Callable[[Room], Started]:
    def start(room: Room) -> Started:
        port = free_port()
        process = room.spawn(sys.executable, APPLICATIONS / "hello_twisted.py", kind, str(port))
        wait_for(port, process)
        return port, [process]

    return start


def apache(room: Room) -> Started:
    """Apache with the event MPM and one static file, as Debian sets it up.

    Its modules with their settings, and what is said of directories and time, are those of Debian's
    package, from ``/etc/apache2`` where it is installed. It differs where all servers here do:
    there is no access log, and a connection serves as many requests as come (Debian: 100). And it
    has more threads: 64 a child, the most that Debian's ThreadLimit allows, 1,024 in all (Debian:
    25 and 150), and ends no child that has too little to do. More still would cost it speed; with
    fewer than there are connections, it closes some that wait for their next request.
    """
    program = need("apache2")
    port = free_port()
    enabled = APACHE_SETTINGS / "mods-enabled"
    if enabled.is_dir():
        modules = f"IncludeOptional {enabled}/*.load\nIncludeOptional {enabled}/*.conf"
    else:
        modules = "\n".join(
            f"LoadModule {name}_module {APACHE_MODULES}/mod_{name}.so"
            for name in APACHE_ENABLED
            if (APACHE_MODULES / f"mod_{name}.so").exists()
        )
    root = _static(room)
    (room.directory / "apache.conf").write_text(
        f"""ServerRoot {room.directory}
ServerName localhost
DefaultRuntimeDir {room.directory}
PidFile {room.directory}/apache.pid
ErrorLog {room.directory}/apache-error.log
User {_user()}
Group {_group()}
{modules}
Listen 127.0.0.1:{port}
ListenBacklog 1024
HostnameLookups Off
Timeout 300
KeepAlive On
KeepAliveTimeout 5
MaxKeepAliveRequests 0
StartServers 2
ServerLimit 16
ThreadLimit 64
ThreadsPerChild 64
MinSpareThreads 25
MaxSpareThreads 1024
MaxRequestWorkers 1024
MaxConnectionsPerChild 0
AccessFileName .htaccess
<FilesMatch "^\\.ht">
    Require all denied
</FilesMatch>
<Directory />
    Options FollowSymLinks
    AllowOverride None
    Require all denied
</Directory>
DocumentRoot {root}
<Directory {root}>
    Options Indexes FollowSymLinks
    AllowOverride None
    Require all granted
</Directory>
"""
    )
    process = room.spawn(program, "-DFOREGROUND", "-f", room.directory / "apache.conf")
    wait_for(port, process)
    return port, [process]


def nginx(room: Room) -> Started:
    """Nginx with one worker and one static file."""
    program = need("nginx")
    port = free_port()
    root = _static(room)
    (room.directory / "nginx.conf").write_text(
        f"""daemon off;
worker_processes 1;
{f"user {_user()} {_group()};" if os.geteuid() == 0 else ""}
pid {room.directory}/nginx.pid;
error_log {room.directory}/nginx-error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    sendfile on;
    tcp_nodelay on;
    keepalive_requests 1000000000;
    open_file_cache max=16;
    types {{ text/plain txt; }}
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        root {root};
    }}
}}
"""
    )
    process = room.spawn(program, "-c", room.directory / "nginx.conf")
    wait_for(port, process)
    return port, [process]


def uvicorn(room: Room) -> Started:
    """Uvicorn, httptools and uvloop, with a hello in raw ASGI."""
    return _uvicorn(room, "hello_asgi:app")


def _uvicorn(room: Room, application: str, **environment: str) -> Started:
    port = free_port()
    process = room.python(
        "uvicorn", application, "--port", str(port), "--backlog", "1024", "--no-access-log",
        "--log-level", "warning", "--http", "httptools", **environment,
    )  # fmt: skip
    wait_for(port, process)
    return port, [process]


def granian(room: Room) -> Started:
    """Granian with one worker and a hello in raw ASGI."""
    port = free_port()
    process = room.python(
        "granian", "--interface", "asgi", "--port", str(port), "--workers", "1",
        "--log-level", "warning", "hello_asgi:app",
    )  # fmt: skip
    wait_for(port, process)
    return port, [process]


def redis(room: Room) -> Started:
    """FastAPI on uvicorn, and Redis that syncs before it answers."""
    program = need("redis-server")
    port = free_port()
    data = room.directory / "redis"
    data.mkdir()
    database = room.spawn(
        program, "--port", str(port), "--bind", "127.0.0.1", "--dir", data, "--save", "",
        "--appendonly", "yes", "--appendfsync", "always", "--tcp-backlog", "1024",
    )  # fmt: skip
    wait_for(port, database)
    http, web = _uvicorn(room, "numbers_redis:app", REDIS=str(port))
    return http, [database, *web]


def postgres(room: Room) -> Started:
    """FastAPI on uvicorn, and PostgreSQL as it comes, which syncs before it answers."""
    initdb, program = need("initdb"), need("postgres")
    user = "nobody" if os.geteuid() == 0 else None  # it does not run as root
    port = free_port()
    data = room.directory / "postgres"
    data.mkdir()
    if user is not None:
        shutil.chown(data, user, _group())
    made = room.spawn(
        initdb, "-D", data, "-U", "bench", "-A", "trust", "--no-instructions", user=user
    )
    if made.wait(START_S):
        raise Missing("initdb did not make a database")
    database = room.spawn(
        program, "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", data,
        "-c", "max_connections=100", "-c", "fsync=on", "-c", "synchronous_commit=on",
        user=user,
    )  # fmt: skip
    wait_for(port, database)
    where = f"postgresql://bench@127.0.0.1:{port}/postgres"
    http, web = _uvicorn(room, "numbers_postgres:app", PG=where)
    return http, [database, *web]


def sqlite(room: Room) -> Started:
    """Gunicorn's threads with Flask and SQLite."""
    port = free_port()
    process = room.python(
        "gunicorn", "--bind", f"127.0.0.1:{port}", "--workers", "1", "--worker-class", "gthread",
        "--threads", "16", "--backlog", "1024", "--worker-connections", "2000", "--keep-alive",
        "60", "--log-level", "warning", "numbers_sqlite:app",
        SQLITE=str(room.directory / "numbers.sqlite"),
    )  # fmt: skip
    wait_for(port, process)
    return port, [process]


def _static(room: Room) -> Path:
    root = room.directory / "static"
    root.mkdir(exist_ok=True)
    (root / "hello.txt").write_text(HELLO)
    return root


def _user() -> str:
    return "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name


def _group() -> str:
    import grp  # noqa: PLC0415 - beside its only use

    gid = pwd.getpwnam(_user()).pw_gid
    return grp.getgrgid(gid).gr_name


SERVERS: Final[dict[str, Callable[[Room], Started]]] = {
    "happy": happy,
    "klein": _twisted("klein"),
    "twisted": _twisted("web"),
    "apache": apache,
    "nginx": nginx,
    "uvicorn": uvicorn,
    "granian": granian,
    "redis": redis,
    "postgres": postgres,
    "sqlite": sqlite,
}


@attrs.frozen
class Row:
    """One line of the table: what is asked of which server."""

    name: str
    server: str
    method: str
    path: str
    kind: str
    """``number`` is a durable number, ``query`` reads, ``hello`` is a fixed answer."""
    last: str | None = None
    """Where a service of numbers tells the last one."""
    closes: bool = False
    """Whether it may close a connection that waits; the load counts a request lost by it."""


ROWS: Final = (
    Row("happy POST /next", "happy", "POST", "/next", "number", "/last"),
    Row("FastAPI + Redis, fsync always", "redis", "POST", "/next", "number", "/last"),
    Row("FastAPI + PostgreSQL, one row", "postgres", "POST", "/next", "number", "/last"),
    Row("FastAPI + PostgreSQL, sequence", "postgres", "POST", "/sequence/next", "number",
        "/sequence/last"),
    Row("gunicorn + Flask + SQLite", "sqlite", "POST", "/next", "number", "/last"),
    Row("happy GET /last", "happy", "GET", "/last", "query"),
    Row("happy Klein hello", "happy", "GET", "/hello", "hello"),
    Row("stock Klein hello", "klein", "GET", "/hello", "hello"),
    Row("twisted.web hello", "twisted", "GET", "/hello", "hello"),
    Row("uvicorn ASGI hello", "uvicorn", "GET", "/hello", "hello"),
    Row("Granian ASGI hello", "granian", "GET", "/hello", "hello"),
    Row("Apache static file", "apache", "GET", "/hello.txt", "hello", closes=True),
    Row("nginx static file", "nginx", "GET", "/hello.txt", "hello"),
)  # fmt: skip


def port_of(row: Row, room: Room, port: int) -> int:
    """Return the port of a row's server; our hello is another application of the same one."""
    if row.server == "happy" and row.path == "/hello":
        return int((room.directory / "hello-port").read_text())
    return port


def tree_of(roots: Sequence[int]) -> set[int]:
    """Return some processes and all below them."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                parents[int(entry.name)] = int(_stat(entry)[1])
    found = set(roots)
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def cpu_s(roots: Sequence[int]) -> float:
    """Return the processor seconds that processes and all below them have used."""
    ticks = 0
    for pid in tree_of(roots):
        with suppress(OSError):
            fields = _stat(Path(f"/proc/{pid}"))
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _stat(process: Path) -> list[str]:
    """Return the fields of ``stat`` behind the name, which may hold anything (proc(5))."""
    return (process / "stat").read_text().rpartition(")")[2].split()


def versions(room: Room) -> dict[str, Any]:
    """Return the versions of what is compared, as far as they say."""
    asked = {
        "nginx": ["nginx", "-v"], "Apache": ["apache2", "-v"], "Redis": ["redis-server", "-v"],
        "PostgreSQL": ["postgres", "-V"],
    }  # fmt: skip
    found: dict[str, Any] = {}
    for name, argv in asked.items():
        with suppress(Missing):
            said = subprocess.run(
                [need(argv[0]), *argv[1:]], capture_output=True, text=True, check=False
            )
            found[name] = (said.stdout + said.stderr).splitlines()[0].strip()
    if room.peers_python is not None:
        said = subprocess.run(
            [room.peers_python, "-m", "pip", "list", "--format", "freeze"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        wanted = {p.partition("[")[0] for p in PACKAGES}
        for line in said.stdout.splitlines():
            name, _, version = line.partition("==")
            if name.lower() in wanted:
                found[name] = version
    return found
