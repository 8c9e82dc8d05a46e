"""DMARC (RFC 7489), with the tree walk of its successor in place of a list of suffixes.

The organizational domain is found by asking DNS, from the author's domain upwards, so that every
result rests on answers that stand in the event, and on no list that is another one tomorrow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from attrs import frozen

from happy.facts import Dkim, Dmarc, Spf
from happy.message import parse_header
from happy.wire.dkim_fields import Malformed, domain_of, tags_of
from happy.wire.dkim_verify import Lookup

LABELS_MAX: Final = 8  # of a name that is asked about; a longer one is shortened at once

_POLICIES: Final = ("none", "quarantine", "reject")


@frozen
class _Record:
    domain: str
    tags: Mapping[str, str]

    def policy(self, *names: str) -> str:
        """Return the first of some policies that is set; none when none is, or it is unknown."""
        found = next((self.tags[name] for name in names if name in self.tags), "none").lower()
        return found if found in _POLICIES else "none"

    def strict(self, name: str) -> bool:
        """Say whether domains must be equal."""
        return self.tags.get(name, "r").lower() == "s"


class _Untold(Exception):
    """DNS did not say what must be known."""


def author_domain(header: bytes) -> str:
    """Return the domain of From; ``Malformed`` when there is not exactly one."""
    parsed = parse_header(header)
    if parsed.names.count("from") != 1:
        raise Malformed("there is not one From field")
    domains = {box.address.rpartition("@")[2].lower() for box in parsed.addresses("from")}
    if len(domains) != 1:
        raise Malformed("From does not name one domain")
    return domain_of(domains.pop())


def check_dmarc(header: bytes, spf: Spf, signatures: Sequence[Dkim], lookup: Lookup) -> Dmarc:
    """Return whether SPF or a signature speaks for the author's domain."""
    try:
        domain = author_domain(header)
    except Malformed as fault:
        return Dmarc("permerror", reason=str(fault))
    try:
        return _check(domain, spf, signatures, lookup)
    except _Untold:
        return Dmarc("temperror", domain, reason="DNS did not tell the policy")


def _check(domain: str, spf: Spf, signatures: Sequence[Dkim], lookup: Lookup) -> Dmarc:
    record = _record_of(domain, lookup)
    if record is not None:
        policy = record.policy("p")
    else:
        walk = _walk(domain, lookup)
        if not walk:
            return Dmarc("none", domain)
        org = _organization(domain, walk)
        record = next((one for one in walk if one.domain == org), walk[-1])
        exists = lookup(domain, "A").status != "nxdomain"
        policy = record.policy("sp", "p") if exists else record.policy("np", "sp", "p")
    used = record

    def aligned(other: str, name: str) -> bool:
        if other == domain or used.strict(name):
            return other == domain
        walks = [(each, _walk(each, lookup)) for each in (domain, other)]
        return len({_organization(each, walk) for each, walk in walks}) == 1

    def speaks(result: str) -> tuple[bool, bool]:
        return (
            spf.result == result and aligned(spf.domain, "aspf"),
            any(one.result == result and aligned(one.domain, "adkim") for one in signatures),
        )

    by_spf, by_dkim = speaks("pass")
    result, reason = "pass", ""
    if not by_spf and not by_dkim:
        result, reason = "fail", "neither SPF nor DKIM passed for this domain"
        if any(speaks("temperror")):
            result, reason = "temperror", "SPF or DKIM may pass another time"
    return Dmarc(
        result=result,
        domain=domain,
        policy=policy,
        record_domain=used.domain,
        spf_aligned=by_spf,
        dkim_aligned=by_dkim,
        testing=used.tags.get("t", "n").lower() == "y",
        reason=reason,
    )


def _walk(domain: str, lookup: Lookup) -> list[_Record]:
    """Return the records from a domain upwards; nothing is above one that says what it is."""
    labels = domain.split(".")
    names = [domain]
    labels = labels[1:] if len(labels) < LABELS_MAX else labels[1 - LABELS_MAX :]
    names += [".".join(labels[n:]) for n in range(len(labels))]
    for name in names:
        lookup(*_question(name))  # so that all of them are asked at once
    records = []
    for name in names:
        record = _record_of(name, lookup)
        if record is not None:
            records.append(record)
            if record.tags.get("psd", "u").lower() in ("y", "n"):
                break
    return records


def _organization(domain: str, walk: Sequence[_Record]) -> str:
    """Return the organizational domain of a domain, whose records are these."""
    for record in walk:
        kind = record.tags.get("psd", "u").lower()
        if kind == "n":
            return record.domain
        if kind == "y" and record.domain != domain:
            depth = record.domain.count(".") + 2
            return ".".join(domain.split(".")[-depth:])
    return walk[-1].domain if walk else domain


def _record_of(domain: str, lookup: Lookup) -> _Record | None:
    """Return the policy record of a domain, if it has exactly one."""
    answer = lookup(*_question(domain))
    if answer.status == "failed":
        raise _Untold
    found = [record for value in answer.values if (record := _read(domain, value)) is not None]
    return found[0] if len(found) == 1 else None


def _question(domain: str) -> tuple[str, str]:
    return f"_dmarc.{domain}", "TXT"


def _read(domain: str, text: str) -> _Record | None:
    version, _, rest = text.partition(";")
    if "".join(version.split()) != "v=DMARC1":
        return None
    # Section 6.3: a semicolon too many is no reason to do less than the domain asks for.
    specs = [spec for spec in rest.split(";") if spec.strip()]
    try:
        tags = tags_of(";".join(specs))
    except Malformed:
        return None
    if tags.get("p", "").lower() not in _POLICIES and "rua" not in tags:
        return None  # RFC 7489 section 6.6.3: it asks for nothing
    return _Record(domain, tags)
