"""SPF (RFC 7208) by pyspf, over answers that are there already: it asks nobody itself."""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Final

from happy.facts import Spf
from happy.wire.dkim_fields import Malformed, domain_of
from happy.wire.dkim_verify import Lookup

MISSING: Final = (
    "SPF needs pyspf, which is not installed: pip install 'happy[spf]', "
    "or leave spf and dmarc out of check"
)

_LABEL: Final = re.compile(r"[ -~]{1,63}")
_EXPLANATION_CHARS_MAX: Final = 500


@cache
def _query_class() -> Any:
    """Return pyspf's query with our lookups in it; ``ImportError`` when there is no pyspf."""
    import spf  # noqa: PLC0415 - an extra, and slow to import

    class Query(spf.query):  # type: ignore[misc] # it has no types
        """One check, whose questions ``lookup`` answers."""

        lookup: Lookup

        def dns(
            self, name: Any, qtype: str, cnames: Any = None, ignore_void: bool = False
        ) -> list[Any]:
            """Return the records that are there; pyspf's own bounds stay (section 4.6.4)."""
            del cnames  # a resolver follows them
            name = str(name).removesuffix(".").lower()
            if not all(_LABEL.fullmatch(label) for label in name.split(".")):
                return []
            answer = self.lookup(name, qtype)
            if answer.status == "failed":
                raise spf.TempError(f"DNS did not tell {qtype} of {name}")
            if not answer.values and not ignore_void:
                self.void_lookups += 1
                if self.void_lookups > spf.MAX_VOID_LOOKUPS:
                    raise spf.PermError(f"more than {spf.MAX_VOID_LOOKUPS} lookups for nothing")
            return [_record(qtype, value) for value in answer.values]

    return Query


def installed() -> bool:
    """Say whether pyspf is there."""
    try:
        _query_class()
    except ImportError:
        return False
    return True


def check_spf(client: str, reverse_path: str, helo: str, receiver: str, lookup: Lookup) -> Spf:
    """Return whether a client may send for the domain of a reverse-path, or of its HELO.

    ``client`` is an IP address; empty when nobody knows it, and then there is no result.
    """
    if not client:
        return Spf()
    identity = "mailfrom" if reverse_path else "helo"
    local, _, domain = (reverse_path or f"postmaster@{helo}").rpartition("@")
    try:
        domain = domain_of(domain)
    except Malformed:
        return Spf("none", domain.lower(), identity)
    try:
        query = _query_class()(client, f"{local}@{domain}", helo, receiver=receiver)
        query.lookup = lookup
        result, _, explanation = query.check()
    except Exception as error:  # noqa: BLE001 - hostile records bring it to any error
        return Spf("permerror", domain, identity, f"it cannot be read: {type(error).__name__}")
    told = explanation if result in ("fail", "permerror", "temperror") else ""
    return Spf(result, domain, identity, _printable(told))


def _record(kind: str, value: str) -> Any:
    """Return a record as pyspf has it."""
    if kind == "TXT":
        return (value.encode("latin-1"),)
    if kind == "MX":
        preference, _, name = value.partition(" ")
        return int(preference), name
    return value


def _printable(text: str) -> str:
    return "".join(c for c in text[:_EXPLANATION_CHARS_MAX] if c.isprintable())
