"""The configuration: a TOML file in, a ``Config`` out, or every complaint at once.

Nothing is opened, created or written here, so that ``happy check`` can do exactly what a start
does. The applications' modules are imported, with FILE's own directory first on the path.
"""

from __future__ import annotations

import re
import socket
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal, NewType

import attrs
import msgspec
from attrs import frozen

from happy.app import App, Definition
from happy.codec import settings_from_bytes
from happy.config.endpoints import Endpoint
from happy.config.imports import import_application, importable_from
from happy.config.lines import KeyPath, toml_lines
from happy.config.mail_doors import MailDoors, MailEndpoint, check_trust, read_mail_doors
from happy.config.reader import (
    ConfigReader,
    Doors,
    HostName,
    Positive,
    Smarthost,
    did_you_mean,
)
from happy.config.resolver import ResolverAddress, read_resolver
from happy.config.retention import Retention, retention_of
from happy.config.sharing import MAIL_DOORS, check_places
from happy.config.signing import signers_of
from happy.config.users import has_users, users_of
from happy.errors import ConfigError
from happy.event import Mail
from happy.limits import Limits
from happy.wire.certificate import read_certificate
from happy.wire.dkim import Signer
from happy.wire.passwords import PasswordHash
from happy.wire.xforward import Relays

_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}")  # it is the name of a folder, and in answers
_NAME_RULE: Final = "a name is 1 to 64 of a-z, 0-9, _ and -, and begins with a letter"
_SYNTAX_ERROR: Final = re.compile(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)")
_DOORS: Final = ("http", *MAIL_DOORS)
_FRONTS_MAX: Final = 64


@frozen
class AppConfig:
    """One application of the container.

    ``settings`` is an instance of its ``Settings``, or None; ``settings_json`` is the same for
    the journal, as JSON with sorted keys, empty when there are none. ``domains`` are those it
    takes mail for, in small letters. ``fronts`` is how many processes have its doors; with 0 they
    are in the container's own.
    """

    name: str
    app: type[App]
    definition: Definition
    http: tuple[Endpoint, ...] = ()
    smtp: tuple[MailEndpoint, ...] = ()
    lmtp: tuple[MailEndpoint, ...] = ()
    domains: tuple[str, ...] = ()
    settings: Any = None
    settings_json: bytes = b""
    limits: Limits = attrs.Factory(Limits)
    retention: Retention = Retention()  # noqa: RUF009 - it is frozen
    fronts: int = 0
    core: Literal["inline", "process"] = "inline"
    """Where its machine runs: in the container's own process, or in one of its own."""
    accept: Literal["handled", "durable"] = "handled"
    """When a mail has its 250: when it was handled, or as soon as it is durable."""


@frozen
class MailConfig:
    """Mail out: the server that takes it, if any, and the name we greet with.

    ``direct`` when it goes to the recipients' own servers instead, which ``validating_resolver``
    is believed about; ``signers`` sign it. With a
    ``certificate``, the doors that take mail offer TLS; ``relays`` are believed what they tell of
    their clients; ``users``, and those of ``users_file``, may log in.
    """

    hostname: str
    smarthost: Endpoint | None = None
    direct: bool = False
    signers: tuple[Signer, ...] = ()
    certificate: Path | None = None
    relays: tuple[str, ...] = ()
    users: Mapping[str, PasswordHash] = attrs.field(factory=dict, repr=False)
    users_file: Path | None = None
    validating_resolver: ResolverAddress | None = None


@frozen
class LogConfig:
    """The access log: its form, and its own file or None for the ordinary log."""

    access: Literal["combined", "json", "off"] = "combined"
    access_file: Path | None = None


@frozen
class Config:
    """What a container is made from; ``data`` holds a journal directory for each application."""

    path: Path
    data: Path
    apps: tuple[AppConfig, ...]
    mail: MailConfig
    log: LogConfig


_Application = NewType("_Application", Definition)
_Access = NewType("_Access", str)
_Fronts = NewType("_Fronts", int)
_Core = NewType("_Core", str)
_Accept = NewType("_Accept", str)

_FILE_KEYS: Final = {"data": Path, "apps": Any, "mail": Any, "log": Any, "limits": Any}
_APP_KEYS: Final = {
    "app": _Application,
    "http": Doors,
    "smtp": MailDoors,
    "lmtp": MailDoors,
    "domains": tuple[HostName, ...],
    "settings": Any,
    "limits": Any,
    "retention": Any,
    "fronts": _Fronts,
    "core": _Core,
    "accept": _Accept,
}
_MAIL_KEYS: Final = {
    "smarthost": Smarthost,
    "direct": bool,
    "validating_resolver": ResolverAddress,
    "hostname": HostName,
    "dkim": Any,
    "certificate": Path,
    "relays": tuple[str, ...],
    "users": Any,
    "users_file": Path,
}
_LOG_KEYS: Final = {"access": _Access, "access_file": Path}
_LIMIT_KEYS: Final = {field.name: Positive for field in attrs.fields(Limits)}


def load(path: Path) -> Config:
    """Read a configuration; ``ConfigError`` holds all that is wrong with it, by line."""
    text = _read(path)
    raw, places = _parse(path, text)
    reader = ConfigReader(path, places)
    read_mail_doors(reader)
    reader.converter.register_structure_hook(_Access, _one_of("combined", "json", "off"))
    reader.converter.register_structure_hook(_Fronts, _fronts)
    reader.converter.register_structure_hook(_Core, _one_of("inline", "process"))
    reader.converter.register_structure_hook(_Accept, _one_of("handled", "durable"))
    reader.converter.register_structure_hook(ResolverAddress, read_resolver)
    reader.converter.register_structure_hook(
        _Application, lambda value, _: import_application(reader.converter.structure(value, str))
    )
    file = reader.table((), raw, _FILE_KEYS, required=("data", "apps"))
    data = file.get("data")
    if data is not None and data.exists() and not data.is_dir():
        reader.complain(("data",), f"{data} is not a directory")
    mail = reader.table(("mail",), file.get("mail", {}), _MAIL_KEYS)
    if mail.get("direct") and "smarthost" in mail:
        reader.complain(("mail", "direct"), "mail goes to the smarthost; leave one of them away")
    if "validating_resolver" in mail and not mail.get("direct"):
        reader.complain(("mail", "validating_resolver"), "only direct = true looks servers up")
    signers = signers_of(reader, ("mail", "dkim"), mail.get("dkim"))
    if "certificate" in mail:
        try:
            read_certificate(mail["certificate"])
        except ValueError as error:
            reader.complain(("mail", "certificate"), str(error))
    try:
        Relays(mail.get("relays", ()))
    except ValueError as error:
        reader.complain(("mail", "relays"), f"{error}; write networks, addresses, or unix")
    users = users_of(reader, ("mail", "users"), mail.get("users"))
    anybody = has_users(reader, ("mail", "users_file"), users, mail.get("users_file"))
    log = reader.table(("log",), file.get("log", {}), _LOG_KEYS)
    limits = _limits(reader, ("limits",), file.get("limits", {}), Limits())
    apps: tuple[AppConfig, ...] = ()
    if "apps" in file:
        with importable_from(reader.base):
            apps, listening = _apps(reader, file["apps"], limits)
        check_trust(reader, listening, mail, users=anybody)
    reader.finish()
    return Config(
        path=path,
        data=file["data"],
        apps=apps,
        mail=MailConfig(
            mail.get("hostname") or socket.getfqdn(),
            mail.get("smarthost"),
            mail.get("direct", False),
            signers,
            certificate=mail.get("certificate"),
            relays=mail.get("relays", ()),
            users=users,
            users_file=mail.get("users_file"),
            validating_resolver=mail.get("validating_resolver"),
        ),
        log=LogConfig(**log),
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError((f"{path}: is not UTF-8 text (byte {error.start})",)) from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError((f"{path}: cannot be read: {reason}",)) from None


def _parse(path: Path, text: str) -> tuple[dict[str, Any], Any]:
    try:
        return tomllib.loads(text), toml_lines(text)
    except tomllib.TOMLDecodeError as error:
        match = _SYNTAX_ERROR.fullmatch(str(error))
        assert match is not None, "as tomllib writes them"
        sentence, line, column = match.groups()
        if line is None:
            line, sentence = text.count("\n") + 1, f"{sentence} at the end of the file"
        else:
            sentence = f"{sentence} (column {column})"
        raise ConfigError((f"{path}:{line}: {sentence[0].lower()}{sentence[1:]}",)) from None
    except RecursionError:
        raise ConfigError((f"{path}: has lists or tables in too many levels",)) from None


def _one_of(*known: str) -> Callable[[Any, Any], str]:
    expected = f"{', '.join(known[:-1])} or {known[-1]}"

    def hook(value: Any, _: Any) -> str:
        if value not in known:
            hint = did_you_mean(value, known) if isinstance(value, str) else ""
            raise ValueError(f"expected {expected}, not {value!r}{hint}")
        return str(value)

    return hook


def _fronts(value: Any, _: Any) -> int:
    if type(value) is not int or not 0 <= value <= _FRONTS_MAX:
        raise ValueError(f"expected a whole number from 0 to {_FRONTS_MAX}, not {value!r}")
    return value


def _limits(reader: ConfigReader, key: KeyPath, raw: Any, outer: Limits) -> Limits:
    return attrs.evolve(outer, **reader.table(key, raw, _LIMIT_KEYS))


# --- applications ----------------------------------------------------------------------------


def _apps(
    reader: ConfigReader, raw: Any, limits: Limits
) -> tuple[tuple[AppConfig, ...], list[tuple[KeyPath, Endpoint]]]:
    """Return the applications, and where each of their doors was configured."""
    if not isinstance(raw, dict) or not raw:
        reader.complain(("apps",), "expected a table for each application, as in [apps.numbers]")
        return (), []
    apps: list[AppConfig] = []
    listening: list[tuple[KeyPath, Endpoint]] = []
    goods: dict[str, dict[str, Any]] = {}
    for name, table in raw.items():
        if not _NAME.fullmatch(name):
            reader.complain(("apps", name), _NAME_RULE)
        good = goods[name] = reader.table(("apps", name), table, _APP_KEYS, required=("app",))
        if isinstance(table, dict):
            for door in _DOORS:
                placed = _placed(reader, ("apps", name, door), table.get(door), good.get(door, ()))
                listening += placed
                good[door] = tuple(endpoint for _, endpoint in placed)
            apps += _app(reader, name, table, good, limits)
    check_places(reader, listening, goods)
    return tuple(apps), listening


def _app(
    reader: ConfigReader, name: str, table: dict[str, Any], good: dict[str, Any], limits: Limits
) -> Iterator[AppConfig]:
    """Yield an application, if its class could be imported; complain about the rest."""
    key = ("apps", name)
    own_limits = _limits(reader, (*key, "limits"), table.get("limits", {}), limits)
    retention = retention_of(reader, (*key, "retention"), table.get("retention"))
    _check_mail(reader, key, table)
    definition: Definition | None = good.get("app")
    if definition is None:
        return
    _check_doors(reader, key, table, definition)
    settings, settings_json = _settings(reader, key, table, definition.app)
    yield AppConfig(
        name=name,
        app=definition.app,
        definition=definition,
        http=good["http"],
        smtp=good["smtp"],
        lmtp=good["lmtp"],
        domains=tuple(dict.fromkeys(good.get("domains", ()))),
        settings=settings,
        settings_json=settings_json,
        limits=own_limits,
        retention=retention,
        fronts=good.get("fronts", 0),
        core=good.get("core", "inline"),
        accept=good.get("accept", "handled"),
    )


def _placed(
    reader: ConfigReader, key: KeyPath, raw: Any, endpoints: tuple[Endpoint, ...]
) -> list[tuple[KeyPath, Endpoint]]:
    """Return the endpoints of a door, each with its key and knowing its place."""
    keys = [(*key, n) if isinstance(raw, list) else key for n in range(len(endpoints))]
    return [
        (own_key, attrs.evolve(endpoint, place=reader.place(own_key)))
        for own_key, endpoint in zip(keys, endpoints, strict=True)
    ]


def _given_doors(table: dict[str, Any]) -> list[str]:
    """Return the doors that are set, well or badly; an empty list sets none."""
    return [door for door in _DOORS if table.get(door) not in (None, [])]


def _check_mail(reader: ConfigReader, key: KeyPath, table: dict[str, Any]) -> None:
    doors = _given_doors(table)
    if not doors:
        reader.complain(key, "has no door: set http, smtp or lmtp")
    elif doors[-1] in MAIL_DOORS and table.get("domains", []) == []:
        reader.complain((*key, doors[-1]), 'needs domains = ["..."]: those whose mail it takes')
    if table.get("accept") == "durable":
        if doors and doors[-1] not in MAIL_DOORS:
            reader.complain((*key, "accept"), "is about mail, and there is no smtp or lmtp")
        if table.get("core") != "process":
            reader.complain(
                (*key, "accept"),
                'durable needs core = "process": doors in the same process wait for handlers',
            )


def _check_doors(
    reader: ConfigReader, key: KeyPath, table: dict[str, Any], definition: Definition
) -> None:
    app = definition.app.__qualname__
    for door in _given_doors(table):
        if door == "http" and not definition.app.has_http():
            reader.complain((*key, door), f"{app} has no web door: it sets no http = Klein()")
        if door in MAIL_DOORS and Mail not in definition.handlers:
            reader.complain(
                (*key, door), f"{app} takes no mail: it has no MailRoutes and no handler of Mail"
            )


def _settings(
    reader: ConfigReader, key: KeyPath, table: dict[str, Any], app: type[App]
) -> tuple[Any, bytes]:
    """Return the settings and their JSON, as a replay will see them."""
    key = (*key, "settings")
    if app.Settings is None:
        if "settings" in table:
            reader.complain(key, f"{app.__qualname__} has no Settings")
        return None, b""
    settings = reader.value(key, table.get("settings", {}), app.Settings)
    if settings is None:
        return None, b""
    try:
        data = _canonical(reader, settings)
        again: Any = settings_from_bytes(data, app.Settings)
        kept = _canonical(reader, again) == data
    except Exception as error:  # noqa: BLE001 - hooks and validators of the application
        reader.complain(key, f"cannot be kept as JSON: {error}")
        return None, b""
    if not kept:
        reader.complain(key, "cannot be kept as JSON: they come back as something else")
    return again, data


def _canonical(reader: ConfigReader, settings: Any) -> bytes:
    return msgspec.json.encode(reader.converter.unstructure(settings), order="sorted")
