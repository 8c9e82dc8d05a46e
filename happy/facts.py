"""What the door found out about a message: SPF, DKIM, DMARC and ARC, and the DNS they rest on.

They are facts of the moment at which the message came: part of its event, so that a replay sees
what was seen then and asks nobody. Results are the words of RFC 8601 section 2.7; the empty text
says that nobody looked. A result is no verdict: what follows from it, the application says.
"""

from __future__ import annotations

import re
from typing import Final, Literal

from attrs import frozen

Status = Literal["found", "nodata", "nxdomain", "failed"]

_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`{|}~@/=-]+")
_POLICIES: Final = ("none", "quarantine", "reject")
_SIGNATURE_CHARS: Final = 8  # RFC 6008: enough to tell one signature from another


@frozen
class DnsAnswer:
    """What DNS said to a question when the message came.

    ``kind`` is TXT, A, AAAA, MX or PTR. ``values`` are its records as text: of TXT the strings
    joined, a character for each byte; of MX the preference, a space and the name. Nothing is
    ``found`` when the name has no such records (``nodata``), there is no such name
    (``nxdomain``), or nobody could tell in time (``failed``).
    """

    name: str
    kind: str
    status: Status
    values: tuple[str, ...] = ()


@frozen
class Spf:
    """Whether the client may send for a domain (RFC 7208).

    ``result`` is none, neutral, pass, fail, softfail, temperror or permerror. ``identity`` says
    whose domain it is: that of ``mailfrom``, or of ``helo`` when the sender is null.
    ``explanation`` is the domain's own word to a fail, or ours to an error.
    """

    result: str = ""
    domain: str = ""
    identity: str = ""
    explanation: str = ""


@frozen
class Dkim:
    """What came of one signature (RFC 6376).

    ``result`` is pass, fail, neutral, temperror or permerror; ``reason`` says why not pass.
    ``limited`` when the signature leaves an end of the body unsigned (``l=``), ``testing`` when
    its domain says that it only tries DKIM out (``t=y``).
    """

    result: str
    domain: str = ""
    selector: str = ""
    algorithm: str = ""
    identity: str = ""
    signature: str = ""
    reason: str = ""
    limited: bool = False
    testing: bool = False


@frozen
class Dmarc:
    """Whether SPF or DKIM speak for the domain of ``From`` (RFC 7489).

    ``result`` is none, pass, fail, temperror or permerror. ``policy`` is what the domain asks to
    be done to a fail - none, quarantine or reject - as ``record_domain`` published it;
    ``testing`` when it asks for that not to be done yet. ``spf_aligned`` and ``dkim_aligned``
    say which of the two passed for this domain.
    """

    result: str = ""
    domain: str = ""
    policy: str = ""
    record_domain: str = ""
    spf_aligned: bool = False
    dkim_aligned: bool = False
    testing: bool = False
    reason: str = ""


@frozen
class Arc:
    """Whether the chain of those who handed the message on holds (RFC 8617).

    ``result`` is none, pass, fail or temperror. ``sealers`` are their domains, the first one first;
    what each of them had found out stands in the message, in its ARC-Authentication-Results.
    """

    result: str = ""
    sealers: tuple[str, ...] = ()
    reason: str = ""


@frozen
class Facts:
    """All that was looked up about one message.

    ``client`` is the address that SPF was asked about: of the peer, or of the client that a
    relay told of. ``answers`` are all the answers of DNS that the results rest on.
    """

    client: str = ""
    spf: Spf = Spf()
    dkim: tuple[Dkim, ...] = ()
    dkim_checked: bool = False
    dmarc: Dmarc = Dmarc()
    arc: Arc = Arc()
    answers: tuple[DnsAnswer, ...] = ()

    def signed_by(self, domain: str) -> bool:
        """Say whether a signature of exactly this domain passed."""
        wanted = domain.lower()
        return any(one.result == "pass" and one.domain == wanted for one in self.dkim)

    def results(self) -> tuple[str, ...]:
        """Return the results as Authentication-Results has them (RFC 8601 section 2.2)."""
        found = []
        if self.spf.result:
            named = "smtp.mailfrom" if self.spf.identity == "mailfrom" else "smtp.helo"
            found.append(_resinfo("spf", self.spf.result, ((named, self.spf.domain),)))
        found += [_of_signature(one) for one in self.dkim]
        if self.dkim_checked and not self.dkim:
            found.append("dkim=none")
        if self.dmarc.result:
            policy = f" (p={self.dmarc.policy})" if self.dmarc.policy in _POLICIES else ""
            properties = (("header.from", self.dmarc.domain),)
            found.append(_resinfo("dmarc", self.dmarc.result + policy, properties))
        if self.arc.result:
            chain = f" (i={len(self.arc.sealers)})" if self.arc.sealers else ""
            found.append(f"arc={self.arc.result}{chain}")
        return tuple(found)


UNCHECKED: Final = Facts()
"""What is known of a message that nobody looked at."""


def authentication_results(facts: Facts, host: str) -> str:
    """Return the value of an Authentication-Results field that ``host`` answers for."""
    results = facts.results()
    return ";\r\n\t".join((_value(host) or "localhost", *(results or ("none",))))


def _of_signature(one: Dkim) -> str:
    properties = (
        ("header.d", one.domain),
        ("header.i", one.identity),
        ("header.s", one.selector),
        ("header.a", one.algorithm),
        ("header.b", one.signature[:_SIGNATURE_CHARS]),
    )
    return _resinfo("dkim", one.result, properties)


def _resinfo(method: str, result: str, properties: tuple[tuple[str, str], ...]) -> str:
    told = [f" {name}={_value(value)}" for name, value in properties if value]
    return f"{method}={result}{''.join(told)}"


def _value(text: str) -> str:
    """Return a token, or a quoted string; what a header cannot have is left out."""
    if _TOKEN.fullmatch(text):
        return text
    plain = "".join(c for c in text if " " <= c <= "~")
    escaped = plain.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"' if plain else ""
