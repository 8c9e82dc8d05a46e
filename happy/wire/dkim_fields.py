"""Header fields and tag lists as DKIM and ARC have them (RFC 6376 sections 3.2 and 3.4)."""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import idna
from attrs import frozen

_FIELD: Final = re.compile(rb"(?m)^([!-9;-~]+)[ \t]*:(?:.*\r\n)(?:[ \t].*\r\n)*")
_SPACES: Final = re.compile(rb"[ \t]+")
_TAG_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_LABEL: Final = re.compile(r"[a-z0-9_-]{1,63}")
_NAME_CHARS_MAX: Final = 253  # RFC 1035 section 2.3.4, without the last dot
_WHITE: Final = " \t\r\n"
_NO_WHITE: Final = str.maketrans("", "", _WHITE)


@frozen
class Field:
    """A field of a header: its name in small letters, and all of it as it came."""

    name: bytes
    raw: bytes

    @property
    def value(self) -> bytes:
        """What stands behind the colon."""
        return self.raw.partition(b":")[2]

    def canonical(self, *, simple: bool) -> bytes:
        """Return it in one of the two forms that are signed."""
        return self.raw if simple else relaxed(self.name, self.value)


class Malformed(ValueError):
    """A field that is not what its RFC says; the message is a reason for people."""


def fields_of(header: bytes) -> list[Field]:
    """Return the fields of a header section in their order; lines that are none are left out."""
    whole = header if header.endswith(b"\r\n") else header + b"\r\n"
    return [Field(match[1].lower(), match[0]) for match in _FIELD.finditer(whole)]


def are_all(header: bytes, fields: Sequence[Field]) -> bool:
    """Say whether a header section is nothing but these fields.

    A line that is none may be the end of the header to another reader, and so hide the rest.
    """
    text = header.removesuffix(b"\r\n\r\n").removesuffix(b"\r\n") + b"\r\n"
    return text == b"".join(one.raw for one in fields)


def relaxed(name: bytes, value: bytes) -> bytes:
    """Return a field in its relaxed form (section 3.4.2)."""
    unfolded = _SPACES.sub(b" ", value.replace(b"\r\n", b"")).strip(b" ")
    return name + b":" + unfolded + b"\r\n"


def tags_of(text: bytes | str) -> dict[str, str]:
    """Return the tags of a list by name; ``Malformed`` when it is none (section 3.2)."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    specs = text.split(";")
    if not specs[-1].strip(_WHITE):
        specs.pop()  # of semicolons, one may stand at the end, and none without a tag
    tags: dict[str, str] = {}
    for spec in specs:
        name, equals, value = spec.partition("=")
        name = name.strip(_WHITE)
        if not equals or not _TAG_NAME.fullmatch(name):
            raise Malformed("not a list of tags")
        if name in tags:
            raise Malformed(f"the tag {name} stands there twice")
        tags[name] = value.strip(_WHITE)
    return tags


def without_signature(raw: bytes) -> bytes:
    """Return a field with the value of its ``b`` tag gone (section 3.7)."""
    name, colon, value = raw.partition(b":")
    specs = value.split(b";")
    for n, spec in enumerate(specs):
        tag, equals, _ = spec.partition(b"=")
        if equals and tag.strip(_WHITE.encode()) == b"b":
            specs[n] = tag + equals
    return name + colon + b";".join(specs)


def base64_of(tags: Mapping[str, str], name: str) -> bytes:
    """Return the bytes of a tag in base64, in which white space counts for nothing."""
    text = tags[name].translate(_NO_WHITE)
    try:
        return b64decode(text, validate=True)
    except (Base64Error, ValueError):
        raise Malformed(f"{name}= is not base64") from None


def number_of(tags: Mapping[str, str], name: str) -> int | None:
    """Return the number of a tag, None when it is not there."""
    text = tags.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 76):
        raise Malformed(f"{name}= is not a number")
    return int(text)


def names_of(tags: Mapping[str, str], name: str) -> tuple[str, ...]:
    """Return the parts of a tag with colons between them, in small letters."""
    return tuple(part.strip(_WHITE).lower() for part in tags[name].split(":"))


def domain_of(text: str) -> str:
    """Return a domain as DNS has it, in small letters; ``Malformed`` when it is none."""
    text = text.removesuffix(".").lower()
    if not text.isascii():
        try:
            text = idna.encode(text, uts46=True).decode("ascii")
        except idna.IDNAError:
            raise Malformed(f"{text!a} is not a domain") from None
    # No other letters: what a person reads as two domains must not be one.
    if len(text) > _NAME_CHARS_MAX or not all(map(_LABEL.fullmatch, text.split("."))):
        raise Malformed(f"{text[:_NAME_CHARS_MAX]!a} is not a domain")
    return text


def chosen(fields: Sequence[Field], names: Sequence[str]) -> Iterator[Field]:
    """Yield the fields that are signed: those of one name from the last up (section 5.4.2)."""
    left: dict[bytes, list[Field]] = {}
    for each in fields:
        left.setdefault(each.name, []).append(each)
    for name in names:
        of_name = left.get(name.encode())
        if of_name:
            yield of_name.pop()
