"""Messages for handlers (RFC 5322): making them, and reading the header of those that came.

Both are pure: the same arguments always give the same bytes. What is made is right or refused
with ``ValueError``; what is read may be anything at all, and never raises.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import format_datetime, getaddresses, parsedate_to_datetime
from typing import Final

from attrs import frozen

from happy.text import charset_text, clean, parameters_of, words_decoded

LINE_CHARS: Final = 78  # RFC 5322 section 2.1.1: should be; and 998 must be
LINE_CHARS_MAX: Final = 998
_WORD_BYTES: Final = 39  # so that an encoded word fits a line (RFC 2047 section 2)

_NAME = re.compile(r"[!-9;-~]+")
_CHUNK = re.compile(r"[ \t]*[^ \t]+")
_MESSAGE_ID = re.compile(r"<[!-;=?-~]+>")
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_ADDRESS = re.compile(
    rf'(?:{_ATOM}(?:\.{_ATOM})*|"(?:[ !#-\[\]-~]|\\[ -~])*")@[A-Za-z0-9._:\[\]-]+'
)
_LENIENT_ADDRESS = re.compile(r'(?:"(?:[^"\\]|\\.)*+"|[^\s"<>]+)@[^\s"<>@]++')
_BARE_NAME = re.compile(rf"{_ATOM}(?: {_ATOM})*")
_PLAIN_TEXT = re.compile(rb"(?:[\t -~]{0,998}\n)*")

_ADDRESS_FIELDS: Final = frozenset(
    f"{resent}{name}"
    for name in ("from", "sender", "reply-to", "to", "cc", "bcc")
    for resent in ("", "resent-")
)
_COMPOSED: Final = frozenset(
    {
        "from",
        "to",
        "subject",
        "date",
        "message-id",
        "mime-version",
        "content-type",
        "content-transfer-encoding",
    }
)


@frozen
class Mailbox:
    """An address and the name shown with it, empty for none; ``str`` puts them together."""

    name: str
    address: str

    def __str__(self) -> str:
        if not self.name:
            return self.address
        name = self.name.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{name}" <{self.address}>'


# --- making -------------------------------------------------------------------------------


def compose(  # noqa: PLR0913 - a letter has as many parts
    *,
    sender: str | Mailbox,
    to: str | Mailbox | Iterable[str | Mailbox],
    subject: str,
    text: str,
    message_id: str,
    date: datetime,
    html: str | None = None,
    extra: Iterable[tuple[str, str]] = (),
) -> bytes:
    """Return a whole message: plain text, and HTML beside it when given; CRLF, 7 bits.

    ``message_id`` is ``<left@right>``: take ``context.token()`` for its left side.
    ``date`` must be aware. ``extra`` are further fields. Raises ``ValueError`` for what
    cannot stand in a header, above all for a line break.
    """
    receivers = [to] if isinstance(to, str | Mailbox) else to
    if not _MESSAGE_ID.fullmatch(message_id) or "@" not in message_id:
        raise ValueError(f"not a message id, <left@right>: {message_id!r}")
    if date.tzinfo is None:
        raise ValueError("a date without a timezone: write datetime(..., tzinfo=UTC)")
    fields = [
        ("From", str(sender)),
        ("To", ", ".join(map(str, receivers))),
        ("Subject", subject),
        ("Date", format_datetime(date)),
        ("Message-ID", message_id),
    ]
    for name, value in extra:
        if name.lower() in _COMPOSED:
            raise ValueError(f"{name} has an argument of its own, or is made")
        fields.append((name, value))
    fields.append(("MIME-Version", "1.0"))
    kind, encoding, body = _text_part("plain", text)
    if html is None:
        fields += [("Content-Type", kind), ("Content-Transfer-Encoding", encoding)]
        return header_block(fields) + body
    boundary = "=_" + hashlib.sha256(f"{text}\0{html}".encode()).hexdigest()[:32]
    fields.append(("Content-Type", f'multipart/alternative; boundary="{boundary}"'))
    message = header_block(fields)
    for part in (_text_part("plain", text), _text_part("html", html)):
        kind, encoding, body = part
        head = header_block([("Content-Type", kind), ("Content-Transfer-Encoding", encoding)])
        message += b"\r\n--%s\r\n" % boundary.encode() + head + body
    return message + b"\r\n--%s--\r\n" % boundary.encode()


def header_block(fields: Iterable[tuple[str, str]]) -> bytes:
    """Return fields as a header with the empty line at its end, folded and in ASCII.

    Other letters become encoded words (RFC 2047). ``ValueError`` for a name that is none, a
    value with a line break or another control character, a word longer than a line may be,
    and in From, To and the like for what is not a list of addresses.
    """
    return b"".join(_field(name, value) for name, value in fields) + b"\r\n"


def _field(name: str, value: str) -> bytes:
    if not _NAME.fullmatch(name):
        raise ValueError(f"not the name of a field: {name!r}")
    if clean(value) != value:
        raise ValueError(f"{name}: a line break or another control character: {value!r}")
    if name.lower() in _ADDRESS_FIELDS:
        value = ", ".join(_shown(box) for box in _split_mailboxes(name, value))
    else:
        value = _in_ascii(value)
    line = f"{name}:"
    lines: list[str] = []
    for number, chunk in enumerate(_CHUNK.findall(" " + value.strip(" "))):
        if len(chunk) > LINE_CHARS_MAX - len(name) - 1:
            raise ValueError(f"{name}: a word of {len(chunk)} characters")
        if len(line) + len(chunk) > LINE_CHARS and (number or len(chunk) < LINE_CHARS):
            lines.append(line)
            line = ""
        line += chunk
    return "".join(f"{one}\r\n" for one in (*lines, line)).encode("ascii")


def _in_ascii(value: str) -> str:
    """Encode what needs it, from the first such word to the last."""
    chunks = _CHUNK.findall(value)
    odd = [n for n, chunk in enumerate(chunks) if not chunk.isascii() or "=?" in chunk]
    if not odd:
        return value
    first, last = odd[0], odd[-1] + 1
    span = "".join(chunks[first:last])
    word = span.lstrip(" \t")
    gap = span[: len(span) - len(word)]
    return "".join(chunks[:first]) + gap + _encoded_words(word) + "".join(chunks[last:])


def _encoded_words(text: str) -> str:
    words: list[bytes] = [b""]
    for char in text:
        data = char.encode()
        if len(words[-1]) + len(data) > _WORD_BYTES:
            words.append(b"")
        words[-1] += data
    return " ".join(f"=?utf-8?b?{base64.b64encode(word).decode()}?=" for word in words)


def _split_mailboxes(name: str, value: str) -> list[Mailbox]:
    if _ADDRESS.fullmatch(value):
        return [Mailbox("", value)]
    found = [Mailbox(shown, address) for shown, address in getaddresses([value])]
    if not found:
        raise ValueError(f"{name}: no address")
    for box in found:
        # The parser is lenient: what it has put together itself is not what was meant.
        if not _ADDRESS.fullmatch(box.address) or box.address not in value:
            raise ValueError(f"{name}: not a list of addresses: {value!r}")
    return found


def _shown(box: Mailbox) -> str:
    if _BARE_NAME.fullmatch(box.name):
        return f"{box.name} <{box.address}>"
    if box.name.isascii() and "=?" not in box.name:
        return str(box)
    return f"{_encoded_words(box.name)} <{box.address}>"


def _text_part(subtype: str, text: str) -> tuple[str, str, bytes]:
    data = text.replace("\r\n", "\n").replace("\r", "\n").encode()
    if data and not data.endswith(b"\n"):
        data += b"\n"
    encoding = "7bit"
    if not _PLAIN_TEXT.fullmatch(data):
        encoding = "quoted-printable"
        data = binascii.b2a_qp(data, istext=True)
    return f"text/{subtype}; charset=utf-8", encoding, data.replace(b"\n", b"\r\n")


# --- reading ------------------------------------------------------------------------------


@frozen
class Parameterized:
    """A value with parameters (RFC 2045, RFC 2183): ``kind`` and names in small letters."""

    kind: str
    parameters: dict[str, str]


class Header:
    """The fields of a message that came; make it with ``parse_header``.

    Names are found whatever their case; a field that is not there is empty. Values are
    decoded text of one line, without control characters.
    """

    __slots__ = ("_fields",)

    def __init__(self, fields: tuple[tuple[str, str], ...]) -> None:
        self._fields = fields

    def __contains__(self, name: str) -> bool:
        return bool(self._raw(name))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the fields in small letters, in their order."""
        return tuple(name for name, _ in self._fields)

    def get(self, name: str) -> str:
        """Return the first field of that name."""
        return next(iter(self.all(name)), "")

    def all(self, name: str) -> tuple[str, ...]:
        """Return every field of that name."""
        return tuple(clean(words_decoded(value)) for value in self._raw(name))

    def addresses(self, name: str) -> tuple[Mailbox, ...]:
        """Return the mailboxes in all fields of that name, as far as they can be read."""
        try:
            found = getaddresses(self._raw(name))
        except Exception:  # noqa: BLE001 - hostile input brings this parser to any error
            return ()
        return tuple(
            Mailbox(clean(words_decoded(shown)).strip(), address)
            for shown, address in found
            if _LENIENT_ADDRESS.fullmatch(address) and clean(address) == address
        )

    def message_ids(self, name: str) -> tuple[str, ...]:
        """Return the message ids in all fields of that name, each as ``<left@right>``."""
        return tuple(_MESSAGE_ID.findall(" ".join(self._raw(name))))

    @property
    def message_id(self) -> str:
        """The message's own id, as ``<left@right>``."""
        return next(iter(self.message_ids("message-id")), "")

    @property
    def in_reply_to(self) -> tuple[str, ...]:
        """The messages that this one answers."""
        return self.message_ids("in-reply-to")

    @property
    def references(self) -> tuple[str, ...]:
        """The messages before this one in its thread, the oldest first."""
        return self.message_ids("references")

    @property
    def subject(self) -> str:
        """The subject."""
        return self.get("subject")

    @property
    def date(self) -> datetime | None:
        """When its author says it was written, aware; None when that is no date."""
        try:
            date = parsedate_to_datetime(self.get("date"))
            return date.astimezone(UTC) if date.tzinfo else date.replace(tzinfo=UTC)
        except Exception:  # noqa: BLE001 - hostile input brings this parser to any error
            return None

    @property
    def content_type(self) -> Parameterized:
        """The media type, ``text/plain`` when none can be read (RFC 2045 section 5.2)."""
        found = self._parameterized("content-type")
        good = re.fullmatch(r"[^\s/;]+/[^\s/;]+", found.kind)
        return found if good else Parameterized("text/plain", found.parameters)

    @property
    def disposition(self) -> Parameterized:
        """How to show it: ``inline``, ``attachment``, or nothing said (RFC 2183)."""
        return self._parameterized("content-disposition")

    @property
    def auto_submitted(self) -> str:
        """``no`` for what a person wrote, else what kind of machine did (RFC 3834)."""
        return self.get("auto-submitted").partition(";")[0].strip().lower() or "no"

    def _raw(self, name: str) -> list[str]:
        lowered = name.lower()
        return [value for known, value in self._fields if known == lowered]

    def _parameterized(self, name: str) -> Parameterized:
        kind, parameters = parameters_of(next(iter(self._raw(name)), ""))
        return Parameterized(kind, parameters)


def parse_header(header: bytes) -> Header:
    """Return the header that some bytes begin with: up to an empty line, or all of them.

    Never raises. A line that is no field is left out; a CR that ends no line is a space.
    """
    fields: list[tuple[str, list[bytes]]] = []
    for line in header.replace(b"\r\n", b"\n").replace(b"\r", b" ").split(b"\n"):
        if not line:
            break
        if line[:1] in b" \t":
            if fields:
                fields[-1][1].append(line)
            continue
        name, colon, value = line.partition(b":")
        name = name.rstrip(b" \t")
        good = colon and _NAME.fullmatch(name.decode("latin-1"))
        # What follows a line that is no field belongs to it, so it is kept until the end.
        fields.append((name.decode("ascii").lower() if good else "", [value]))
    return Header(
        tuple(
            (name, clean(charset_text(b"".join(lines), "")).strip(" "))
            for name, lines in fields
            if name
        )
    )


def is_automatic(header: Header, reverse_path: str) -> bool:
    """Say whether a machine sent this, so that no machine may answer it (RFC 3834 section 2).

    Bounces (their return path is empty), reports, lists and whatever declares itself.
    """
    return (
        not reverse_path
        or header.auto_submitted != "no"
        or header.get("precedence").strip().lower() in {"bulk", "list", "junk"}
        or header.content_type.kind == "multipart/report"
        or any(name.startswith("list-") for name in header.names)
    )
