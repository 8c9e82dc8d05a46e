"""Posted forms, both kinds that browsers send, as twisted.web gives them to resources."""

from __future__ import annotations

from email import message_from_bytes

from twisted.web.http import parse_qs

from happy.errors import BadRequest

Fields = dict[bytes, list[bytes]]


def form_of(content_type: bytes, body: bytes) -> Fields:
    """Return the fields of a posted form, nothing when the body is no form.

    Raises ``BadRequest`` for a multipart body (RFC 7578) that is not well-formed.
    """
    kind = content_type.partition(b";")[0].strip().lower()
    if kind == b"application/x-www-form-urlencoded":
        form: Fields = parse_qs(body, 1)
        return form
    if kind != b"multipart/form-data":
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
