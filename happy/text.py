"""Text out of mail (RFC 2045, 2047, 2231): charsets, encoded words and parameters.

All of it is total: any input gives text, which has no lone surrogates and so can be written.
The time it takes is linear in the input.
"""

from __future__ import annotations

import binascii
import codecs
import re
import string
from typing import Final
from urllib.parse import unquote_to_bytes

_CHARSET_CHARS_MAX: Final = 40
_NO_TEXT: Final = frozenset(
    {
        "idna",
        "punycode",
        "unicode_escape",
        "unicode-escape",
        "raw_unicode_escape",
        "raw-unicode-escape",
    }
)  # slow, or not for text

_BASE64: Final = frozenset(string.ascii_letters + string.digits + "+/")
_NOT_BASE64: Final = bytes(n for n in range(256) if chr(n) not in _BASE64)

_ENCODED_WORD = re.compile(r"=\?([^?\s]{1,60})\?([bBqQ])\?([^?]{0,2000})\?=")
_PARAMETER = re.compile(r';\s*([^\s=;"]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s]*))')
_CONTINUED = re.compile(r"([^*]+)(?:\*(\d{1,3}))?(\*)?")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def charset_text(data: bytes, charset: str) -> str:
    """Return bytes as text in a charset; in UTF-8 or Latin-1 when nobody knows that one."""
    try:
        codec = codecs.lookup(charset[:_CHARSET_CHARS_MAX]).name
        if codec not in _NO_TEXT:
            return data.decode(codec, "replace").encode("utf-8", "replace").decode()
    except (LookupError, ValueError):
        pass  # no charset: what it may be is below
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def clean(text: str) -> str:
    """Return text with a space for each control character, line break and lone surrogate."""
    return _CONTROLS.sub(" ", text)


def words_decoded(value: str) -> str:
    """Return the value of a field with its encoded words decoded (RFC 2047)."""
    if "=?" not in value:
        return value
    text = ""
    held = b""  # of words in one charset: a character may be cut in two
    held_charset = ""
    end = 0
    for word in _ENCODED_WORD.finditer(value):
        gap = value[end : word.start()]
        charset = word[1].partition("*")[0].lower()
        if gap.strip() or charset != held_charset or not end:
            text += charset_text(held, held_charset)
            held = b""
            text += gap if gap.strip() or not end else ""
        held += _word_bytes(word[2], word[3])
        held_charset = charset
        end = word.end()
    return text + charset_text(held, held_charset) + value[end:]


def _word_bytes(encoding: str, text: str) -> bytes:
    data = text.encode()
    if encoding in "bB":
        return from_base64(data)
    return binascii.a2b_qp(data, header=True)


def base64_letters(data: bytes) -> bytes:
    """Return only what means something in base64; the padding at its end does not."""
    return data.translate(None, _NOT_BASE64)


def from_base64(data: bytes) -> bytes:
    """Return what base64 says, as far as it says anything; other characters are skipped."""
    bare = base64_letters(data)
    if len(bare) % 4 == 1:
        bare = bare[:-1]
    return binascii.a2b_base64(bare + b"=" * (-len(bare) % 4))


def parameters_of(value: str) -> tuple[str, dict[str, str]]:
    """Return what stands before the first semicolon, and the parameters (RFC 2231 included).

    The first of two parameters with one name counts.
    """
    kind = value.partition(";")[0].strip().lower()
    plain: dict[str, str] = {}
    parts: dict[str, dict[int, tuple[bool, str]]] = {}
    for found in _PARAMETER.finditer(value):
        text = found[3] if found[2] is None else re.sub(r"\\(.)", r"\1", found[2])
        name = _CONTINUED.fullmatch(found[1].lower())
        if name is None:
            continue
        if name[2] is None and name[3] is None:
            plain.setdefault(name[1], words_decoded(text))
        else:
            parts.setdefault(name[1], {}).setdefault(int(name[2] or 0), (bool(name[3]), text))
    extended = {name: _joined(numbered) for name, numbered in parts.items()}
    return kind, {name: clean(text) for name, text in {**plain, **extended}.items()}


def _joined(numbered: dict[int, tuple[bool, str]]) -> str:
    charset = "utf-8"
    data = b""
    for number in sorted(numbered):
        escaped, text = numbered[number]
        if escaped and number == 0 and text.count("'") >= 2:
            charset, _, text = text.split("'", 2)
        data += unquote_to_bytes(text) if escaped else text.encode()
    return charset_text(data, charset)
