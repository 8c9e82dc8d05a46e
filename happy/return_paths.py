"""Return paths of happy's own: one for each message to each recipient, that nobody can make up.

``bounces+17-0-TOKEN@app.example`` is where mail comes back that effect 0 of event 17 owed (VERP).
So a report needs no understanding to know what it is about. The token is made with a key that only
the journal knows: who was not written to cannot report on anything, and who was, on that alone.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Any, Final

import attrs

from happy.effects import EffectId
from happy.event import Mail

_LOCAL: Final = re.compile(r"bounces\+([1-9][0-9]{0,18})-(0|[1-9][0-9]{0,8})-([0-9a-f]{24})")
_TOKEN_BYTES: Final = 12  # 96 bits; with the longest numbers the local part has 62 octets of 64


class ReturnPaths:
    """Makes the return paths of one journal, and knows them again.

    ``key`` is as secret as the journal, which is not to be had from it; empty knows none.
    """

    def __init__(self, key: bytes = b"") -> None:
        self.key = key

    @classmethod
    def of(cls, journal_id: bytes) -> ReturnPaths:
        """Return those of a journal."""
        return cls(
            hashlib.blake2b(key=journal_id, digest_size=32, person=b"happy returns").digest()
        )

    def make(self, effect_id: EffectId, domain: str) -> str:
        """Return the return path of a message, at one of our domains."""
        return "bounces+{}-{}-{}@{}".format(*effect_id, self._token(effect_id), domain)

    def effect_of(self, address: str) -> EffectId | None:
        """Return the message whose return path an address is; None for any other address.

        ``address`` is whole, or its local part. Large letters are small ones on the way back.
        """
        if address[:8].lower() != "bounces+":
            return None
        match = _LOCAL.fullmatch(address.rpartition("@")[0].lower() or address.lower())
        if match is None or not self.key:
            return None
        effect_id = int(match[1]), int(match[2])
        return effect_id if hmac.compare_digest(match[3], self._token(effect_id)) else None

    def left_of(self, mail: Mail) -> Mail | None:
        """Return a message for its other recipients; None when it is for return paths only."""
        kept = [n for n, to in enumerate(mail.recipients) if self.effect_of(to) is None]
        if len(kept) == len(mail.recipients):
            return mail
        options = mail.recipient_options
        changed: Any = mail
        left: Mail = attrs.evolve(
            changed,
            recipients=tuple(mail.recipients[n] for n in kept),
            recipient_options=tuple(options[n] for n in kept) if options else (),
        )
        return left if kept else None

    def _token(self, effect_id: EffectId) -> str:
        told = b"%d-%d" % effect_id
        return hashlib.blake2b(told, key=self.key, digest_size=_TOKEN_BYTES).hexdigest()
