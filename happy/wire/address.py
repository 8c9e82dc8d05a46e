"""Addresses as MAIL and RCPT carry them: the path grammar of RFC 5321 section 4.1.2.

Every expression is possessive: the time to read a command is linear in its length.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import Final

import idna
from attrs import frozen

LOCAL_CHARS_MAX: Final = 255  # the RFC asks for 64 at least; return paths made by VERP are longer
DOMAIN_CHARS_MAX: Final = 255  # RFC 1035 section 2.3.4
LABEL_CHARS_MAX: Final = 63

_DOMAINS_KEPT: Final = 1_000  # that were read before: mail comes from few, again and again

_OTHER: Final = "\u00a1-\U0010ffff"  # RFC 6531 section 3.3; not the controls below
_ATOM: Final = rf"[A-Za-z0-9!#$%&'*+/=?^_`{{|}}~{_OTHER}-]++"
_DOT_STRING: Final = rf"{_ATOM}(?:\.{_ATOM})*+"
_QUOTED_STRING: Final = rf'"(?:[ !#-\[\]-~{_OTHER}]|\\[ -~])*+"'
_DOMAIN: Final = rf"\[[A-Za-z0-9:.]++\]|[A-Za-z0-9.{_OTHER}-]++"
_ROUTE: Final = r"@[A-Za-z0-9.-]++(?:,@[A-Za-z0-9.-]++)*+:"

_PATH: Final = re.compile(
    rf"<(?:{_ROUTE})?+(?P<local>{_DOT_STRING}|{_QUOTED_STRING})(?:@(?P<domain>{_DOMAIN}))?+>"
)
_PLAIN_LOCAL: Final = re.compile(_DOT_STRING)
_QUOTED_PAIR: Final = re.compile(r"\\(.)")
_MUST_BE_QUOTED: Final = re.compile(r'(["\\])')
_PARAMETER: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*+)(?:=([!-<>-~\u00a1-\U0010ffff]++))?+")


class AddressError(ValueError):
    """Not what the grammar of RFC 5321 section 4.1.2 allows; the message says what is wrong."""


class ParameterError(ValueError):
    """Not what the grammar of ``esmtp-param`` allows; the message says what is wrong."""


@frozen
class Address:
    """A mailbox: ``str(address)`` is ``local@domain``.

    ``local`` keeps its case and is quoted only where it must be; a domain is in small letters.
    ``domain`` is empty for the one mailbox that needs none, ``<postmaster>``.
    """

    local: str
    domain: str

    def __str__(self) -> str:
        return f"{self.local}@{self.domain}"

    @property
    def needs_utf8(self) -> bool:
        """Whether only those who speak SMTPUTF8 can name it (RFC 6531)."""
        return not self.local.isascii()


def parse_path(text: bytes) -> tuple[Address | None, bytes]:
    """Read the path that ``text`` begins with; return it and what follows it.

    ``<>`` gives None. A source route is read over (RFC 5321 appendix C). Other letters than
    those of ASCII are UTF-8. Raises ``AddressError``.
    """
    if text.startswith(b"<>"):
        return None, text[2:]
    try:
        match = _PATH.match(text.decode())
    except UnicodeDecodeError:
        match = None
    if match is None:
        raise AddressError("write the address as <local@domain>")
    local = _canonical_local(match["local"])
    domain = match["domain"]
    if domain is None:
        if local.lower() != "postmaster" or match.start("local") != 1:
            raise AddressError("the address has no domain")
        return Address(local, ""), text[match.end() :]
    return Address(local, _checked_domain(domain)), text[len(match[0].encode()) :]


def parse_parameters(text: bytes) -> tuple[tuple[str, str | None], ...]:
    """Read the parameters after a path: ``(KEYWORD, value)``, value None when it has none.

    Keywords come in capitals. Raises ``ParameterError``.
    """
    if text and not text.startswith(b" "):
        raise ParameterError("a blank must follow the address")
    found: dict[str, str | None] = {}
    for word in text.decode(errors="replace").split(" "):
        if not word:
            continue
        match = _PARAMETER.fullmatch(word)
        if match is None:
            raise ParameterError("write a parameter as KEYWORD or KEYWORD=value")
        keyword = match[1].upper()
        if keyword in found:
            raise ParameterError(f"{keyword} is given twice")
        found[keyword] = match[2]
    return tuple(found.items())


def canonical_domain(domain: str) -> str:
    """Return the form by which domains are compared: small letters, A-labels (RFC 5891).

    Raises ``ValueError`` for a name in other letters that IDNA does not allow.
    """
    if domain.isascii():
        return domain.lower()
    return idna.encode(domain, uts46=True).decode("ascii").lower()


def _canonical_local(local: str) -> str:
    if len(local) > LOCAL_CHARS_MAX:
        raise AddressError(f"a local part is at most {LOCAL_CHARS_MAX} characters long")
    if not local.startswith('"'):
        return local
    bare = _QUOTED_PAIR.sub(r"\1", local[1:-1])
    if _PLAIN_LOCAL.fullmatch(bare):
        return bare
    return '"' + _MUST_BE_QUOTED.sub(r"\\\1", bare) + '"'


@lru_cache(_DOMAINS_KEPT)
def _checked_domain(domain: str) -> str:
    if domain.startswith("["):
        return _checked_literal(domain)
    try:
        domain = canonical_domain(domain)
    except ValueError:
        raise AddressError("not a domain name") from None
    if len(domain) > DOMAIN_CHARS_MAX:
        raise AddressError(f"a domain is at most {DOMAIN_CHARS_MAX} characters long")
    for label in domain.split("."):
        if not 0 < len(label) <= LABEL_CHARS_MAX or label[0] == "-" or label[-1] == "-":
            raise AddressError("not a domain name")
    return domain


def _checked_literal(literal: str) -> str:
    inner = literal[1:-1]
    try:
        if inner[:5].lower() == "ipv6:":
            return f"[IPv6:{IPv6Address(inner[5:])}]"
        return f"[{IPv4Address(inner)}]"
    except ValueError:
        raise AddressError("not an address literal") from None
