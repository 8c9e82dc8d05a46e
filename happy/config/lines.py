"""Where things stand in a TOML text: key path -> line, for complaints that name the place.

``tomllib`` says what a text means but not where; this scanner says where and understands no
more than it must. It is made for a text that ``tomllib`` has accepted, so it looks for no
faults. One pass, time linear in the length of the text. The format is TOML 1.0
(https://toml.io/en/v1.0.0).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from typing import Final

KeyPath = tuple[str | int, ...]
"""The way to a value: the keys of tables and the indexes (from 0) of arrays."""

_BLANK: Final = re.compile(r"(?:[ \t\n]|#[^\n]*+)*+")
_SPACE: Final = re.compile(r"[ \t]*+")
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]++")
_STRING: Final = re.compile(
    # Up to two quotes may stand in a multi-line string, and right before its end, too.
    r'"""(?:"{0,2}+(?:[^"\\]|\\.))*+"{3,5}+'
    r"|'''(?:'{0,2}+[^'])*+'{3,5}+"
    r'|"(?:[^"\\\n]|\\.)*+"'
    r"|'[^'\n]*+'",
    re.DOTALL,
)
_OTHER_SCALAR: Final = re.compile(r"[^,\]}#\n]*+")


class Place:
    """Where a value begins: its ``line``, from 1, and the places of the values inside it."""

    __slots__ = ("inside", "is_array_of_tables", "line")

    def __init__(self, line: int) -> None:
        self.line = line
        self.inside: dict[str | int, Place] = {}
        self.is_array_of_tables = False

    def line_of(self, path: Iterable[str | int]) -> int:
        """Return the line of the value at ``path``, or of the innermost one that is there."""
        place = self
        for key in path:
            found = place.inside.get(key)
            if found is None:
                break
            place = found
        return place.line

    def enter(self, key: str | int, line: int) -> Place:
        """Return the place of ``key``, which begins at ``line`` if it is new."""
        return self.inside.setdefault(key, Place(line))


def toml_lines(text: str) -> Place:
    """Return the places of all values of a valid TOML text; the whole begins at line 1."""
    return _Scanner(text.replace("\r\n", "\n")).document()


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0
        self._line = 1

    def document(self) -> Place:
        root = table = Place(1)
        self._take(_BLANK)
        while self._position < len(self._text):
            if self._next("["):
                table = self._header(root)
            else:
                self._pair(table)
            self._take(_BLANK)
        return root

    def _header(self, root: Place) -> Place:
        line = self._line
        is_array = self._text.startswith("[[", self._position)
        self._position += 2 if is_array else 1
        *parents, last = self._keys()
        self._position += 2 if is_array else 1
        table = root
        for key in parents:
            table = _newest(table.enter(key, line))
        table = table.enter(last, line)
        if is_array:
            table.is_array_of_tables = True
            return table.enter(len(table.inside), line)
        table.line = line  # a table may have got its place from a table inside it, further up
        return table

    def _pair(self, table: Place) -> None:
        line = self._line
        for key in self._keys():
            table = table.enter(key, line)
        self._position += 1  # the equals sign
        self._take(_SPACE)
        self._value(table)

    def _keys(self) -> list[str]:
        keys = []
        while True:
            self._take(_SPACE)
            keys.append(self._key())
            self._take(_SPACE)
            if not self._next("."):
                return keys
            self._position += 1

    def _key(self) -> str:
        if self._next('"'):
            (key,) = tomllib.loads(self._take(_STRING) + "=0")
            return key
        return self._take(_STRING)[1:-1] if self._next("'") else self._take(_BARE_KEY)

    def _value(self, place: Place) -> None:
        if self._next("["):
            self._position += 1
            self._take(_BLANK)
            while not self._next("]"):
                self._value(place.enter(len(place.inside), self._line))
                self._after_value()
        elif self._next("{"):
            self._position += 1
            self._take(_BLANK)
            while not self._next("}"):
                self._pair(place)
                self._after_value()
        else:
            self._take(_STRING if self._next('"') or self._next("'") else _OTHER_SCALAR)
            return
        self._position += 1

    def _after_value(self) -> None:
        self._take(_BLANK)
        if self._next(","):
            self._position += 1
            self._take(_BLANK)

    def _next(self, character: str) -> bool:
        return self._text.startswith(character, self._position)

    def _take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._position)
        assert match is not None, "a text that tomllib accepted"
        self._position = match.end()
        taken = match.group()
        self._line += taken.count("\n")
        return taken


def _newest(table: Place) -> Place:
    return table.inside[len(table.inside) - 1] if table.is_array_of_tables else table
