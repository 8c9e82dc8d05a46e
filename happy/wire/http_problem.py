"""Errors as answers: ``application/problem+json`` (RFC 9457), and nothing of the inside."""

from __future__ import annotations

import secrets
from typing import Any

import msgspec
from attrs import field, frozen
from werkzeug.exceptions import HTTPException

from happy.errors import BadRequest, HandlerFailed, HappyError, Unavailable
from happy.wire.http_answer import reason_of
from happy.wire.http_head import Rejected

CONTENT_TYPE = b"application/problem+json"


class HandlerTimeout(Unavailable):
    """The application did not answer in time; what it submitted may have been taken."""


@frozen
class Problem:
    """What the peer hears of an error.

    ``reference`` is set when the error is ours: it finds the traceback in the log.
    ``fields`` are header fields the answer needs beside its type.
    """

    status: int
    detail: str
    errors: tuple[str, ...] = ()
    reference: str | None = None
    fields: tuple[tuple[bytes, bytes], ...] = field(default=())

    def body(self) -> bytes:
        """Return the problem as JSON."""
        members: dict[str, Any] = {
            "title": reason_of(self.status).decode("ascii"),
            "status": self.status,
            "detail": self.detail,
        }
        if self.errors:
            members["errors"] = self.errors
        if self.reference is not None:
            members["reference"] = self.reference
        return msgspec.json.encode(members) + b"\n"


def is_expected(error: BaseException) -> bool:
    """Say whether an error is an answer in itself; any other one belongs into the log."""
    return isinstance(error, HTTPException) or (
        isinstance(error, HappyError)
        and (error.http_status < 500 or isinstance(error, HandlerFailed | Unavailable | Rejected))
    )


def new_reference() -> str:
    """Return a short random word that ties an answer to a line of the log."""
    return secrets.token_hex(6)


def problem_of(error: BaseException, reference: str | None = None) -> Problem:
    """Return what the peer hears; ``reference`` is for an error that is not ``is_expected``."""
    if not is_expected(error):
        detail = "the server failed on this request"
        if reference is not None:
            detail += f" (reference {reference})"
        return Problem(500, detail, reference=reference)
    if isinstance(error, HTTPException):
        return _of_werkzeug(error)
    assert isinstance(error, HappyError)
    fields: tuple[tuple[bytes, bytes], ...] = ()
    if isinstance(error, Unavailable):
        fields = ((b"Retry-After", b"%d" % error.retry_after_s),)
    elif isinstance(error, Rejected) and error.allow is not None:
        fields = ((b"Allow", error.allow),)
    return Problem(
        error.http_status,
        str(error),
        error.errors if isinstance(error, BadRequest) else (),
        error.reference if isinstance(error, HandlerFailed) else None,
        fields,
    )


def _of_werkzeug(error: HTTPException) -> Problem:
    own = {"content-type", "content-length"}
    fields = tuple(
        (name.encode("latin-1"), value.encode("latin-1", "replace"))
        for name, value in error.get_headers({})
        if name.lower() not in own
    )
    return Problem(error.code or 500, str(error.description or error.name), fields=fields)
