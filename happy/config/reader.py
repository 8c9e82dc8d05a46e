"""Reading the tables of a configuration: strict types, and every complaint with its line.

The types of the configuration are cattrs hooks on top of the strict converter. A hook raises
``ValueError`` with a sentence; the reader puts the place before it and goes on, so that a person
sees all that is wrong at once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import date, datetime, time
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, NewType

import attrs
import cattrs
import idna

from happy.codec import strict_converter
from happy.config.endpoints import Endpoint, absolute, client_endpoint, server_endpoint
from happy.config.lines import KeyPath, Place
from happy.errors import ConfigError

Doors = NewType("Doors", tuple[Endpoint, ...])
"""One server endpoint, or a list of them."""
Smarthost = NewType("Smarthost", Endpoint)
"""A client endpoint."""
HostName = NewType("HostName", str)
"""A host name in small letters; a name in another script becomes its ``xn--`` form."""
Positive = NewType("Positive", int)
"""A whole number above zero."""

_Server = NewType("_Server", Endpoint)
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_VALIDATED: Final = re.compile(r"'(\w+)' ")  # how attrs begins the sentence of a validator
_KNOWN_SHOWN_MAX: Final = 12


class ConfigReader:
    """Reads the tables of one file; ``complaints`` gathers what is wrong with them."""

    def __init__(self, path: Path, places: Place) -> None:
        self.path = path
        self._places = places
        self._complaints: list[tuple[int, str]] = []
        self.base = path.parent.resolve()
        self.converter = _converter(self.base)

    def line(self, key: KeyPath) -> int:
        """Return the line of a key, or of the table it is missing from."""
        return self._places.line_of(key)

    def place(self, key: KeyPath) -> str:
        """Return ``FILE:LINE: key``."""
        where = f"{self.path}:{self.line(key)}"
        return f"{where}: {dotted(key)}" if key else where

    def complain(self, key: KeyPath, sentence: str) -> None:
        """Note what is wrong with a key."""
        self._complaints.append((self.line(key), f"{self.place(key)}: {sentence}"))

    def finish(self) -> None:
        """Raise ``ConfigError`` when there was any complaint."""
        if self._complaints:
            ordered = sorted(self._complaints, key=lambda complaint: complaint[0])
            raise ConfigError(tuple(text for _, text in ordered))

    def table(
        self, key: KeyPath, raw: Any, kinds: Mapping[str, Any], required: Collection[str] = ()
    ) -> dict[str, Any]:
        """Return the good values of a table, complaining about all others."""
        if not isinstance(raw, dict):
            self.complain(key, "expected a table")
            return {}
        for name in raw.keys() - kinds.keys():
            self.complain((*key, name), _unknown(name, kinds))
        for name in required:
            if name not in raw:
                self.complain((*key, name), "is missing")
        good = {
            name: self.value((*key, name), raw[name], kind)
            for name, kind in kinds.items()
            if name in raw
        }
        return {name: value for name, value in good.items() if value is not None}

    def value(self, key: KeyPath, raw: Any, kind: Any) -> Any:
        """Return ``raw`` as a ``kind``; complain and return None when it is not."""
        try:
            return self.converter.structure(raw, kind)
        except Exception as error:  # noqa: BLE001 - cattrs gathers whatever hooks raise
            for inner, sentence in _faults(error, kind):
                self.complain((*key, *inner), sentence)
            return None


def dotted(key: KeyPath) -> str:
    """Return a key path as TOML would write it, with indexes in brackets."""
    text = ""
    for part in key:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            word = part if _BARE_KEY.fullmatch(part) else json.dumps(part, ensure_ascii=False)
            text += f".{word}" if text else word
    return text


def did_you_mean(word: str, known: Collection[str]) -> str:
    """Return a hint to what somebody may have meant, with a space before it; or nothing."""
    close = get_close_matches(word, known, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def host_name(text: str) -> str:
    """Return a host name in small ASCII letters; ``ValueError`` when it is none."""
    try:
        name = idna.encode(text, uts46=True).decode("ascii")
    except (idna.IDNAError, UnicodeError):
        name = ""
    labels = name.split(".")
    if not all(labels) or labels[-1].isdigit():
        raise ValueError(f"{text!r} is not a host name")
    return name


def _unknown(name: str, known: Collection[str]) -> str:
    hint = did_you_mean(name, known)
    if not hint and 0 < len(known) <= _KNOWN_SHOWN_MAX:
        hint = f" (there are {', '.join(sorted(known))})"
    return f"unknown key{hint}"


def _faults(error: BaseException, kind: Any) -> Iterator[tuple[KeyPath, str]]:
    """Yield the faults that cattrs gathered, each with the way to it and a sentence."""
    if isinstance(error, cattrs.ClassValidationError | cattrs.IterableValidationError):
        noted, plain = error.group_exceptions()
        for inner_error, note in noted:
            step: str | int = (
                note.index if isinstance(note, cattrs.IterableValidationNote) else note.name
            )
            if isinstance(inner_error, KeyError) and inner_error.args == (step,):
                yield (step,), "is missing"
                continue
            for inner, sentence in _faults(inner_error, note.type):
                yield (step, *inner), sentence
        for inner_error in plain:
            yield from _faults(inner_error, kind)
    elif isinstance(error, cattrs.ForbiddenExtraKeysError):
        known = [field.name for field in attrs.fields(error.cl)]
        for name in sorted(error.extra_fields):
            yield (name,), _unknown(name, known)
    elif isinstance(error, ValueError | TypeError) and error.args:
        sentence = str(error.args[0])  # the validators of attrs have more, for programs
        field = _VALIDATED.match(sentence)
        is_named = field and attrs.has(kind) and field[1] in attrs.fields_dict(kind)
        yield (field[1],) if field and is_named else (), sentence
    else:
        yield (), f"is not a valid {getattr(kind, '__name__', kind)}: {error!r}"


# --- the types -------------------------------------------------------------------------------


def _converter(base: Path) -> Any:
    converter = strict_converter()

    def of_text(read: Callable[[str], Any]) -> Callable[[Any, Any], Any]:
        return lambda value, _: read(converter.structure(value, str))

    def doors(value: Any, _: Any) -> tuple[Endpoint, ...]:
        if isinstance(value, str):
            return (converter.structure(value, _Server),)
        if not isinstance(value, list):
            raise ValueError(  # noqa: TRY004 - it is told like any other
                "expected an endpoint (text) or a list of them"
            )
        endpoints: tuple[Endpoint, ...] = converter.structure(value, tuple[_Server, ...])
        return endpoints

    def path(text: str) -> Path:
        if not text or "\0" in text:
            raise ValueError(f"{text!r} is not a path")
        return absolute(base, text)

    def positive(value: Any, _: Any) -> int:
        number = converter.structure(value, int)
        if number <= 0:
            raise ValueError(f"must be above zero, not {number}")
        return number

    converter.register_structure_hook(Doors, doors)
    converter.register_structure_hook(_Server, of_text(lambda text: server_endpoint(text, base)))
    converter.register_structure_hook(Smarthost, of_text(lambda text: client_endpoint(text, base)))
    converter.register_structure_hook(HostName, of_text(host_name))
    converter.register_structure_hook(Positive, positive)
    converter.register_structure_hook(Path, of_text(path))
    for moment in (datetime, date, time):
        converter.register_structure_hook(moment, _moment)
    return converter


def _moment(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise ValueError(f"expected a {kind.__name__}, without quotes")
    return value
