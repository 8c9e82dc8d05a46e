"""The ARC chain of a message (RFC 8617 section 5.2): who handed it on, and whether that is true."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attrs import define, field

from happy.facts import Arc
from happy.wire.dkim_fields import (
    Field,
    Malformed,
    base64_of,
    domain_of,
    number_of,
    tags_of,
    without_signature,
)
from happy.wire.dkim_verify import (
    Hashes,
    Lookup,
    Signature,
    Unverified,
    check_signature,
    public_key,
    read_signature,
)

INSTANCES_MAX: Final = 50  # section 4.2.1

_RESULTS: Final = b"arc-authentication-results"
_MESSAGE: Final = b"arc-message-signature"
_SEAL: Final = b"arc-seal"
_NAMES: Final = (_RESULTS, _MESSAGE, _SEAL)


@define
class ArcSet:
    """What one of those who handed the message on has put before it."""

    fields: dict[bytes, Field] = field(factory=dict)


@define
class Chain:
    """The sets of a message in their order, and the signature that must still hold."""

    sets: list[ArcSet]
    newest: Signature


def read_chain(fields: Sequence[Field]) -> Chain | None:
    """Read the chain, None when there is none; ``Malformed`` says what is wrong with it."""
    found: dict[int, ArcSet] = {}
    for each in fields:
        if each.name not in _NAMES:
            continue
        instance = _instance(each)
        of_instance = found.setdefault(instance, ArcSet()).fields
        if each.name in of_instance:
            raise Malformed(f"set {instance} has two fields of one name")
        of_instance[each.name] = each
    if not found:
        return None
    if sorted(found) != list(range(1, len(found) + 1)):
        raise Malformed("a set is missing")
    for instance, each_set in found.items():
        if len(each_set.fields) != len(_NAMES):
            raise Malformed(f"set {instance} is not whole")
    sets = [found[instance] for instance in sorted(found)]
    newest = read_signature(sets[-1].fields[_MESSAGE], ("i", "a", "b", "bh", "d", "h", "s"))
    if "arc-seal" in newest.signed:
        raise Malformed("a message signature must not sign seals")
    return Chain(sets, newest)


def verify_chain(
    chain: Chain, fields: Sequence[Field], hashes: Hashes, lookup: Lookup, now_s: int
) -> Arc:
    """Return what comes of a chain: it passes when nobody in it lies."""
    sealers: list[str] = []
    trouble: Unverified | None = None
    for instance, each in enumerate(chain.sets, 1):
        try:
            sealers.append(_verify_seal(chain.sets, instance, each.fields[_SEAL], lookup))
        except Malformed as fault:
            return Arc("fail", reason=f"seal {instance}: {fault}")
        except Unverified as why:
            trouble = trouble or Unverified(why.result, f"seal {instance}: {why.reason}")
    try:
        newest = chain.newest
        newest.check_time(now_s)
        newest.verify(
            fields, hashes, public_key(newest.domain, newest.selector, newest.algorithm, lookup)
        )
    except Malformed as fault:
        trouble = Unverified("fail", f"the message signature: {fault}")
    except Unverified as why:
        trouble = trouble or Unverified(why.result, f"the message signature: {why.reason}")
    if trouble is None:
        return Arc("pass", tuple(sealers))
    # Section 4.4 has no word for what time may mend; RFC 8601 has.
    return Arc("temperror" if trouble.result == "temperror" else "fail", reason=trouble.reason)


def _verify_seal(sets: Sequence[ArcSet], instance: int, seal: Field, lookup: Lookup) -> str:
    """Return the domain of a seal (section 5.1.1.3 says what it signs)."""
    tags = tags_of(seal.value)
    for name in ("i", "a", "b", "cv", "d", "s"):
        if not tags.get(name):
            raise Malformed(f"it has no {name}=")
    if "h" in tags or "bh" in tags:
        raise Malformed("it must not have h= or bh=")
    if tags["cv"].lower() != ("none" if instance == 1 else "pass"):
        raise Malformed(f"it says cv={tags['cv']!a}")
    algorithm = tags["a"].lower()
    if algorithm not in ("rsa-sha256", "ed25519-sha256"):
        raise Malformed("a= is unknown")
    domain = domain_of(tags["d"])
    key = public_key(domain, domain_of(tags["s"]), algorithm, lookup)
    signed = [one.fields[name] for one in sets[:instance] for name in _NAMES]
    signed[-1] = Field(_SEAL, without_signature(seal.raw))
    data = b"".join(one.canonical(simple=False) for one in signed).removesuffix(b"\r\n")
    check_signature(key.key, algorithm, base64_of(tags, "b"), data)
    return domain


def _instance(each: Field) -> int:
    # Of the results only the beginning is a list of tags.
    text = each.value.partition(b";")[0] if each.name == _RESULTS else each.value
    tags = tags_of(text)
    number = number_of(tags, "i")
    if number is None or not 1 <= number <= INSTANCES_MAX:
        raise Malformed("a field has no i= from 1 to 50")
    return number
