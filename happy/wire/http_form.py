"""Posted forms, both kinds that browsers send, as twisted.web gives them to resources."""

from __future__ import annotations

from email import message_from_bytes
from typing import Final

from twisted.web.http import parse_qs

from happy.errors import BadRequest

Fields = dict[bytes, list[bytes]]

URLENCODED: Final = b"application/x-www-form-urlencoded"
MULTIPART: Final = b"multipart/form-data"
FORMS: Final = frozenset({URLENCODED, MULTIPART})


def form_of(content_type: bytes, body: bytes) -> Fields:
    """Return the fields of a posted form, nothing when the body is no form.

    Raises ``BadRequest`` for a multipart body (RFC 7578) that is not well-formed.
    """
    kind = content_type.partition(b";")[0].strip().lower()
    if kind == URLENCODED:
        form: Fields = parse_qs(body, 1)
        return form
    if kind != MULTIPART:
        return {}
    parsed = message_from_bytes(b"Content-Type: " + content_type + b"\r\n\r\n" + body)
    if not parsed.is_multipart() or parsed.defects:
        raise BadRequest("the form is not well-formed multipart/form-data")
    fields: Fields = {}
    for part in parsed.walk():
        name = part.get_param("name", header="content-disposition")
        value = part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(value, bytes):
            fields.setdefault(name.encode("utf-8", "surrogateescape"), []).append(value)
    return fields


def texts_of_form(fields: Fields) -> list[tuple[str, str | bytes]]:
    """Return the names of a form with what stands in them: a file is bytes, not a text.

    Raises ``BadRequest`` for a name that is not UTF-8.
    """
    try:
        return [
            (name.decode("utf-8"), value) for name, values in fields.items() for value in values
        ]
    except UnicodeDecodeError:
        raise BadRequest("a name in the form is not UTF-8") from None
