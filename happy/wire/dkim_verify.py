"""DKIM signatures of the mail that comes in (RFC 6376, RFC 8301, RFC 8463), one after the other.

Pure: from the header, the hashes of the body and what DNS says. So the same facts come of the
same answers at any time, and a message is read once, block by block, however large it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from attrs import field, frozen
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from happy.facts import Dkim, DnsAnswer
from happy.wire.dkim_body import Form
from happy.wire.dkim_fields import (
    Field,
    Malformed,
    base64_of,
    chosen,
    domain_of,
    names_of,
    number_of,
    tags_of,
    without_signature,
)

RSA_BITS_MIN: Final = 1024  # RFC 8301 section 3.2
RSA_BITS_MAX: Final = 4096  # the same; longer ones cost more than they are worth
_CLOCK_SLACK_S: Final = 36_000  # how far the clocks of others are wrong; dkimpy's figure

_ALGORITHMS: Final = ("rsa-sha256", "ed25519-sha256")
_FORMS: Final = {"simple": False, "relaxed": True}

Lookup = Callable[[str, str], DnsAnswer]
"""What DNS says to a name and a kind of record."""
Hashes = Mapping[Form, bytes | None]


class Unverified(Exception):
    """Why a signature did not pass: a ``result`` of RFC 8601, and a reason for people."""

    def __init__(self, result: str, reason: str) -> None:
        super().__init__(reason)
        self.result = result
        self.reason = reason


@frozen
class PublicKey:
    """A key as DNS has it."""

    key: RSAPublicKey | Ed25519PublicKey
    flags: tuple[str, ...]


@frozen
class Signature:
    """A signature of a header and a body: a DKIM-Signature, or an ARC-Message-Signature."""

    source: Field
    tags: Mapping[str, str] = field(repr=False)
    domain: str
    selector: str
    algorithm: str
    simple: bool
    form: Form
    signed: tuple[str, ...]
    expected: bytes = field(repr=False)
    signature: bytes = field(repr=False)

    def check_time(self, now_s: int) -> None:
        """Raise ``Unverified`` when it is not of this time."""
        made_s, ends_s = number_of(self.tags, "t"), number_of(self.tags, "x")
        if made_s is not None and made_s > now_s + _CLOCK_SLACK_S:
            raise Unverified("neutral", "it was made in the future")
        if ends_s is not None and ends_s < now_s - _CLOCK_SLACK_S:
            raise Unverified("neutral", "it has expired")

    def verify(self, fields: Sequence[Field], hashes: Hashes, key: PublicKey) -> None:
        """Raise ``Unverified`` unless header and body are what was signed."""
        if hashes[self.form] != self.expected:
            raise Unverified("fail", "the body is not what was signed")
        if sum(each.name == b"from" for each in fields) > self.signed.count("from"):
            raise Unverified("fail", "there is a From field that it does not sign")
        data = b"".join(each.canonical(simple=self.simple) for each in chosen(fields, self.signed))
        own = Field(self.source.name, without_signature(self.source.raw))
        data += own.canonical(simple=self.simple).removesuffix(b"\r\n")
        check_signature(key.key, self.algorithm, self.signature, data)


def read_signature(source: Field, required: Sequence[str]) -> Signature:
    """Read a signature; ``Malformed`` says what is wrong with it."""
    tags = tags_of(source.value)
    for name in required:
        if not tags.get(name):
            raise Malformed(f"it has no {name}=")
    algorithm = tags["a"].lower()
    if algorithm not in _ALGORITHMS:
        raise Malformed(f"a={algorithm!a} is not among {', '.join(_ALGORITHMS)}")
    header_form, _, body_form = tags.get("c", "simple/simple").lower().partition("/")
    body_form = body_form or "simple"
    if header_form not in _FORMS or body_form not in _FORMS:
        raise Malformed("c= is unknown")
    signed = names_of(tags, "h")
    if "from" not in signed:
        raise Malformed("it does not sign From")
    if "dns/txt" not in names_of({"q": tags.get("q", "dns/txt")}, "q"):
        raise Malformed("q= is unknown")
    return Signature(
        source=source,
        tags=tags,
        domain=domain_of(tags["d"]),
        selector=domain_of(tags["s"]),
        algorithm=algorithm,
        simple=not _FORMS[header_form],
        form=(_FORMS[body_form], number_of(tags, "l")),
        signed=signed,
        expected=base64_of(tags, "bh"),
        signature=base64_of(tags, "b"),
    )


def public_key(domain: str, selector: str, algorithm: str, lookup: Lookup) -> PublicKey:
    """Return the key that DNS has for a signature; ``Unverified`` when there is none."""
    answer = lookup(f"{selector}._domainkey.{domain}", "TXT")
    if answer.status == "failed":
        raise Unverified("temperror", "DNS did not tell the key")
    trouble = Unverified("permerror", "there is no key in DNS")
    for value in answer.values:
        try:
            return _read_key(value, algorithm)
        except Malformed as fault:
            trouble = Unverified("permerror", f"the key in DNS: {fault}")
    raise trouble


def check_signature(
    key: RSAPublicKey | Ed25519PublicKey, algorithm: str, signature: bytes, data: bytes
) -> None:
    """Raise ``Unverified`` unless the holder of the key signed the data."""
    try:
        if isinstance(key, RSAPublicKey):
            key.verify(signature, data, PKCS1v15(), SHA256())
        else:
            key.verify(signature, hashlib.sha256(data).digest())
    except InvalidSignature:
        raise Unverified("fail", f"the {algorithm} signature is wrong") from None


def _read_key(text: str, algorithm: str) -> PublicKey:
    """Read a key record (section 3.6.1)."""
    tags = tags_of(text)
    if tags.get("v", "DKIM1") != "DKIM1":
        raise Malformed("it is of another version")
    if not tags.get("p"):
        raise Malformed("it was revoked" if "p" in tags else "it has no p=")
    kind, _, digest = algorithm.partition("-")
    if tags.get("k", "rsa").lower() != kind:
        raise Malformed("it is of another kind")
    if "h" in tags and digest not in names_of(tags, "h"):
        raise Malformed(f"it is not for {digest}")
    if not {"*", "email"} & set(names_of({"s": tags.get("s", "*")}, "s")):
        raise Malformed("it is not for mail")
    flags = names_of({"t": tags.get("t", "")}, "t")
    return PublicKey(_key_of(base64_of(tags, "p"), kind), flags)


def _key_of(data: bytes, kind: str) -> RSAPublicKey | Ed25519PublicKey:
    try:
        if kind == "ed25519":
            return Ed25519PublicKey.from_public_bytes(data)
        key = load_der_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise Malformed("it cannot be read") from None
    if not isinstance(key, RSAPublicKey):
        raise Malformed("it is of another kind")
    if not RSA_BITS_MIN <= key.key_size <= RSA_BITS_MAX:
        raise Malformed(f"{key.key_size} bits are not {RSA_BITS_MIN} to {RSA_BITS_MAX}")
    return key


_REQUIRED: Final = ("v", "a", "b", "bh", "d", "h", "s")


def read_dkim(source: Field) -> Signature:
    """Read a DKIM-Signature (section 6.1.1); ``Malformed`` says what is wrong with it."""
    signature = read_signature(source, _REQUIRED)
    if signature.tags["v"] != "1":
        raise Malformed("it is of another version")
    identity = _identity_domain(signature)
    if identity != signature.domain and not identity.endswith(f".{signature.domain}"):
        raise Malformed("i= is not below d=")
    return signature


def verify_dkim(
    signature: Signature, fields: Sequence[Field], hashes: Hashes, lookup: Lookup, now_s: int
) -> Dkim:
    """Return what comes of a DKIM-Signature (section 6.1)."""
    result, reason, testing = "pass", "", False
    try:
        signature.check_time(now_s)
        key = public_key(signature.domain, signature.selector, signature.algorithm, lookup)
        testing = "y" in key.flags
        signature.verify(fields, hashes, key)
        if "s" in key.flags and _identity_domain(signature) != signature.domain:
            result, reason = "permerror", "the key in DNS: i= must be of the very domain"
    except Unverified as why:
        result, reason = why.result, why.reason
    except Malformed as fault:
        result, reason = "neutral", str(fault)
    return Dkim(
        result=result,
        domain=signature.domain,
        selector=signature.selector,
        algorithm=signature.algorithm,
        identity=signature.tags.get("i", ""),
        signature=signature.tags["b"],
        reason=reason,
        limited=signature.form[1] is not None,
        testing=testing,
    )


def _identity_domain(signature: Signature) -> str:
    identity = signature.tags.get("i")
    return signature.domain if identity is None else domain_of(identity.rpartition("@")[2])
