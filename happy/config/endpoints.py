"""Endpoint descriptions, ``tcp:9000:interface=127.0.0.1``: checked, made absolute, compared.

Twisted's own parser has the last word, and is asked on a reactor that opens nothing. What goes
before is for the sake of its reader: relative paths become absolute, a unix socket is not open
to the whole machine, and a mistake is told in the words of the description, not of Python.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from attrs import frozen
from twisted.internet.endpoints import (
    _parse,
    clientFromString,
    quoteStringArgument,
    serverFromString,
)
from twisted.internet.interfaces import IReactorPluggableNameResolver
from zope.interface import implementer

from happy.limits import BACKLOG

# Kind -> what it needs and what it may have besides, in the order of its unnamed arguments.
_Forms = Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]

_SERVERS: Final[_Forms] = {
    "tcp": (("port",), ("interface", "backlog")),
    "tcp6": (("port",), ("backlog", "interface")),
    "unix": (("address",), ("mode", "backlog", "lockfile")),
    "ssl": (
        ("port",),
        (
            "privateKey",
            "certKey",
            "sslmethod",
            "interface",
            "backlog",
            "extraCertChain",
            "dhParameters",
        ),
    ),
    "tls": (("path",), ("port", "backlog", "interface")),
}
_CLIENTS: Final[_Forms] = {
    "tcp": (("host", "port"), ("timeout", "bindAddress")),
    "unix": (("path",), ("timeout", "lockfile")),
    "ssl": (
        ("host", "port"),
        ("timeout", "bindAddress", "privateKey", "certKey", "caCertsDir"),
    ),
    "tls": (
        ("host", "port"),
        ("timeout", "bindAddress", "certificate", "privateKey", "trustRoots", "endpoint"),
    ),
}
_MORE_SERVERS: Final = ("haproxy", "systemd")
_SERVER_PATHS: Final = (
    "address",
    "path",
    "privateKey",
    "certKey",
    "extraCertChain",
    "dhParameters",
)
_CLIENT_PATHS: Final = ("path", "privateKey", "certKey", "caCertsDir", "certificate", "trustRoots")
_PATHS: Final = frozenset((*_SERVER_PATHS, *_CLIENT_PATHS))
_WHOLE_NUMBERS: Final = ("port", "backlog", "timeout", "lockfile")
_UNIX_MODE: Final = "660"  # Twisted's 666 lets everybody on the machine in
_UNIX_PATH_BYTES_MAX: Final = 107  # sun_path, unix(7)


@frozen
class Endpoint:
    """A description that ``serverFromString`` or ``clientFromString`` takes.

    Its paths are absolute. ``binds`` is the socket it takes, with the interface of a port;
    None for port 0, which is a free one. ``place`` says where it was configured.
    """

    description: str
    binds: tuple[str, str] | None = None
    place: str = ""

    def __str__(self) -> str:
        return self.description

    @property
    def can_be_shared(self) -> bool:
        """Whether the same description means the same place: port 0 is another each time."""
        return self.binds is not None

    def is_one_with(self, other: Endpoint) -> bool:
        """Say whether both were written as one and the same place."""
        return self.description == other.description

    def clashes(self, other: Endpoint) -> bool:
        """Say whether this and the other cannot both listen."""
        if self.binds is None or other.binds is None:
            return False
        (socket, here), (other_socket, there) = self.binds, other.binds
        if socket != other_socket:
            return False
        if here == there or "::" in (here, there):
            return True  # :: takes IPv4 as well, on Linux as it comes
        return "" in (here, there) and ":" not in here + there


@implementer(IReactorPluggableNameResolver)
class _NoReactor:
    """As much of a reactor as making an endpoint takes."""

    nameResolver = None

    def installNameResolver(self, _: Any) -> Any:
        """Refuse: no name is looked up here."""
        raise NotImplementedError


def server_endpoint(text: str, base: Path) -> Endpoint:
    """Check where to listen; paths are relative to ``base``. ``ValueError`` is a sentence."""
    wrapper, _, inner = text.partition(":")
    if wrapper.lower() == "haproxy":
        wrapped = server_endpoint(inner, base)
        return Endpoint(f"haproxy:{wrapped.description}", wrapped.binds)
    kind, arguments, description = _read(text, _SERVERS, base)
    if kind == "tls" and not Path(arguments["path"]).is_dir():
        raise ValueError(f"{arguments['path']} is not a directory of certificates")
    if len(os.fsencode(arguments.get("address", ""))) > _UNIX_PATH_BYTES_MAX:
        raise ValueError(f"{arguments['address']} is too long for the path of a unix socket")
    _ask(serverFromString, description)
    return Endpoint(description, _binds(kind, arguments, text))


def with_backlog(description: str) -> str:
    """Return a description by which ``BACKLOG`` connections may wait, unless it says how many.

    Twisted's 50 are few: what one burst brings beyond that is dropped, and comes again a second
    later.
    """
    wrapper, _, inner = description.partition(":")
    if wrapper == "haproxy":
        return f"haproxy:{with_backlog(inner)}"
    kind, said = server_arguments(description)
    _, optional = _SERVERS.get(kind, ((), ()))
    if "backlog" in said or "backlog" not in optional:
        return description
    return f"{description}:backlog={BACKLOG}"


def server_arguments(description: str) -> tuple[str, dict[str, str]]:
    """Return the type of a description that was checked, and its arguments by name.

    Types that are Twisted plugins, whose arguments are not ours to know, have none.
    """
    (kind, *unnamed), named = _parse(description)
    if kind not in _SERVERS:
        return kind, {}
    required, optional = _SERVERS[kind]
    return kind, _by_name(kind, unnamed, named, (*required, *optional))


def client_endpoint(text: str, base: Path) -> Endpoint:
    """Check where to connect; paths are relative to ``base``. ``ValueError`` is a sentence."""
    _, arguments, description = _read(text, _CLIENTS, base)
    if arguments.get("port") == "0":
        raise ValueError("port 0: nobody can be reached there")
    _ask(clientFromString, description)
    return Endpoint(description)


def absolute(base: Path, path: str) -> Path:
    """Return a path of the configuration, which is relative to ``base``."""
    return Path(os.path.normpath(base / path))


def _read(text: str, forms: _Forms, base: Path) -> tuple[str, dict[str, str], str]:
    """Return the kind, its arguments by name, and the description with absolute paths.

    Kinds that are Twisted plugins are not ours to know: they have no arguments here.
    """
    try:
        (kind, *unnamed), named = _parse(text)
    except RuntimeError:
        raise ValueError("a backslash at the end escapes nothing") from None
    if kind not in forms:
        kinds = (*forms, *(_MORE_SERVERS if forms is _SERVERS else ()))
        close = get_close_matches(kind.strip().lower(), kinds, n=1)
        if close and close[0] != kind:
            raise ValueError(f"unknown endpoint type {kind!r} (did you mean {close[0]}?)")
        return kind, {}, text
    required, optional = forms[kind]
    given = _by_name(kind, unnamed, named, (*required, *optional))
    for name in required:
        if not given.get(name):
            raise ValueError(f"{kind} needs {_a(name)}, as in {_example(kind, forms)}")
    _check(given)
    arguments = {"privateKey": "server.pem"} if kind == "ssl" and forms is _SERVERS else {}
    arguments |= given
    for name in _PATHS & arguments.keys():
        arguments[name] = str(absolute(base, arguments[name]))
    if "address" in arguments:
        arguments.setdefault("mode", _UNIX_MODE)
    if "endpoint" in arguments:
        arguments["endpoint"] = client_endpoint(arguments["endpoint"], base).description
    if arguments == given:
        return kind, arguments, text
    words = [f"{name}={quoteStringArgument(value)}" for name, value in arguments.items()]
    return kind, arguments, ":".join([kind, *words])


def _by_name(
    kind: str, unnamed: list[str], named: dict[str, str], names: tuple[str, ...]
) -> dict[str, str]:
    for name in named:
        if name not in names:
            close = get_close_matches(name, names, n=1)
            hint = f" (did you mean {close[0]}?)" if close else f": it has {', '.join(names)}"
            raise ValueError(f"{kind} has no argument {name!r}{hint}")
    free = [name for name in names if name not in named]
    if len(unnamed) > len(free):
        raise ValueError(f"{kind} has too many arguments; a colon in one of them is written \\:")
    return dict(zip(free, unnamed, strict=False)) | named


def _check(arguments: dict[str, str]) -> None:
    for name in _WHOLE_NUMBERS:
        value = arguments.get(name, "0")
        if not (value.isascii() and value.isdigit()):
            raise ValueError(f"{name} must be a whole number, not {value!r}")
    if int(arguments.get("port", "0")) > 65535:
        raise ValueError(f"port {arguments['port']}: the last one is 65535")
    mode = arguments.get("mode", _UNIX_MODE)
    if not mode or set(mode) - set("01234567") or int(mode, 8) > 0o777:
        raise ValueError(f"mode must be octal digits, as in 660, not {mode!r}")
    interface = arguments.get("interface", "")
    if interface not in ("", "localhost"):
        try:
            ipaddress.ip_address(interface)
        except ValueError:
            raise ValueError(f"interface must be an IP address, not {interface!r}") from None


_WITHOUT_TYPE = re.compile(r"([\w-]+(\.[\w-]+)+:|localhost:|\[.+\]:)?[0-9]+")
"""A port, or a host and a port, as other programs have them."""


def _ask(parser: Callable[[Any, str], Any], description: str) -> None:
    try:
        parser(_NoReactor(), description)
    except OSError as error:
        error = getattr(error, "originalException", error)  # Twisted wraps a listing's
        reason = (error.strerror or str(error)).lower()
        raise ValueError(f"cannot read {error.filename}: {reason}") from None
    except Exception as error:  # noqa: BLE001 - parsers are plugins, certificates are OpenSSL's
        if isinstance(error, LookupError) and description.startswith("systemd:"):
            return  # the sockets are there when systemd starts us, not when a person checks
        reason = str(error)
        if type(error).__module__.startswith("OpenSSL"):
            reason = "no certificate and key that OpenSSL can read"
        if _WITHOUT_TYPE.fullmatch(description):
            reason = "it begins with its type, as in tcp:9000 or tcp:127.0.0.1:25"
        raise ValueError(f"{description!r} is not a usable endpoint: {reason}") from None


def _binds(kind: str, arguments: dict[str, str], text: str) -> tuple[str, str] | None:
    if kind == "unix":
        return f"unix socket {arguments['address']}", ""
    if kind not in _SERVERS:
        return text, ""
    port = arguments.get("port", "443")
    if int(port) == 0:
        return None
    interface = arguments.get("interface", "::" if kind in ("tcp6", "tls") else "")
    alike = {"0.0.0.0": "", "localhost": "127.0.0.1"}  # noqa: S104 - compared, not bound
    return f"tcp port {int(port)}", alike.get(interface, interface)


def _a(name: str) -> str:
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"


def _example(kind: str, forms: _Forms) -> str:
    values = {"port": "9000" if forms is _SERVERS else "25", "host": "127.0.0.1"}
    required, _ = forms[kind]
    return ":".join([kind, *(values.get(name, "PATH") for name in required)])
