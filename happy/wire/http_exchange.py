"""The exchange of a request: where its events come from, and the key that makes them one."""

from __future__ import annotations

import hashlib
import re
from typing import Final

from happy.errors import BadRequest
from happy.event import Exchange
from happy.wire.http_head import RequestHead

_SOURCE_PATH_CHARS: Final = 200
_KEY = re.compile(rb'"([\x21\x23-\x5b\x5d-\x7e]+)"|([\x21\x23-\x7e][\x21-\x7e]*)')


def source_of(head: RequestHead) -> str:
    """Return what the journal says of where an event came from."""
    path = head.target.partition(b"?")[0][:_SOURCE_PATH_CHARS].decode("ascii")
    return f"http {head.method.decode('ascii')} {path}"


def exchange_of(head: RequestHead, body: bytes, key_chars_max: int) -> Exchange:
    """Return the exchange of a request; ``BadRequest`` for a malformed Idempotency-Key."""
    source = source_of(head)
    keys = head.keys
    if not keys:
        return Exchange(source)
    match = _KEY.fullmatch(keys[0]) if len(keys) == 1 else None
    key = b"" if match is None else match[1] or match[2]
    if not 0 < len(key) <= key_chars_max:
        raise BadRequest(
            f"Idempotency-Key is one word of 1 to {key_chars_max} visible ASCII characters"
        )
    digest = hashlib.blake2b(digest_size=16)
    for part in (head.method, head.target):
        digest.update(b"%d:%b" % (len(part), part))
    digest.update(body)
    return Exchange(source, key.decode("ascii"), digest.digest())
