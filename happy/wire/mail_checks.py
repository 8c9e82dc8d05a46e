"""SPF, DKIM, DMARC and ARC at the door: what is found out becomes part of the message's event.

The checks are pure: they are run over the answers of DNS that are there, say which ones they
miss, and are run again when those have come. So nothing waits but this, for all of them together
no longer than a bound; what is not told by then has failed, which is a fact like any other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from typing import Any, Final, TypeVar

import attrs
from attrs import frozen
from twisted.internet.interfaces import IReactorTime

from happy.app import BlobReader
from happy.event import Blob, Mail
from happy.facts import Arc, Dkim, DnsAnswer, Facts
from happy.limits import Limits
from happy.wire.arc_verify import Chain, read_chain, verify_chain
from happy.wire.dkim_body import Form, body_hashes
from happy.wire.dkim_fields import Field, Malformed, are_all, fields_of
from happy.wire.dkim_verify import Hashes, Lookup, Signature, read_dkim, verify_dkim
from happy.wire.dmarc_check import check_dmarc
from happy.wire.dns_lookup import DnsLookup, Question
from happy.wire.spf_check import check_spf

CHECKS: Final = ("spf", "dkim", "dmarc", "arc")

_BLOCK_BYTES: Final = 64 * 1024
_NO_FIELD: Final = "there is a line in the header that is no field"

T = TypeVar("T")
Aside = Callable[[Callable[[], T]], Awaitable[T]]
"""Runs a function somewhere else, where it may take its time."""


@frozen
class Signed:
    """What a message says of signatures, read but not verified."""

    fields: Sequence[Field]
    signatures: Sequence[Signature | Dkim]
    chain: Chain | Arc | None

    @property
    def forms(self) -> set[Form]:
        """How its body must be hashed."""
        every = [one.form for one in self.signatures if isinstance(one, Signature)]
        return {*every, *([self.chain.newest.form] if isinstance(self.chain, Chain) else [])}


class _Answers:
    """What DNS has said so far, for one message; and what it was asked beyond that."""

    def __init__(self, known: dict[Question, DnsAnswer], lookups_max: int) -> None:
        self.used: dict[Question, DnsAnswer] = {}
        self.missing: dict[Question, None] = {}
        self._known = known
        self._lookups_max = lookups_max

    def lookup(self, name: str, kind: str) -> DnsAnswer:
        """Answer, or say that it failed and note what is missing."""
        question = (name.lower().removesuffix("."), kind)
        answer = self._known.get(question)
        if answer is None:
            answer = DnsAnswer(*question, "failed")
            if len(self._known) + len(self.missing) < self._lookups_max:
                self.missing[question] = None
        self.used[question] = answer
        return answer


class MailChecks:
    """The checks of a door: ``checks`` are some of ``CHECKS``, ``host`` is who makes them."""

    def __init__(  # noqa: PLR0913 - each is a part of the world that a test replaces
        self,
        checks: Collection[str],
        *,
        dns: DnsLookup,
        clock: IReactorTime,
        now_s: Callable[[], float],
        aside: Aside[Any],
        limits: Limits,
        host: str,
    ) -> None:
        self._checks = frozenset(checks)
        self._dns = dns
        self._clock = clock
        self._now_s = now_s
        self._aside = aside
        self._limits = limits
        self._host = host

    async def look_at(
        self, mail: Mail, client: str, open_blob: Callable[[Blob], BlobReader]
    ) -> Mail:
        """Return a message with what was found out about it.

        ``client`` is the address of whoever sent it to us or to a relay of ours, empty when
        nobody knows. Raises what reading a large body does.
        """
        until_s = self._clock.seconds() + self._limits.mail_check_timeout_s
        signed = read_signed(mail.header, self._checks, self._limits.mail_signatures_max)
        hashes = await self._hashes(mail, signed.forms, open_blob)
        now_s = int(self._now_s())
        known: dict[Question, DnsAnswer] = {}
        while True:
            answers = _Answers(known, self._limits.mail_lookups_max)
            facts = self._evaluate(mail, client, signed, hashes, answers.lookup, now_s)
            if not answers.missing:
                break
            known |= await self._dns.answers(answers.missing, until_s)
        facts = attrs.evolve(facts, answers=tuple(answers.used.values()))
        return attrs.evolve(mail, checked=facts)  # type: ignore[misc] # an attrs class by @event

    async def _hashes(
        self, mail: Mail, forms: set[Form], open_blob: Callable[[Blob], BlobReader]
    ) -> Hashes:
        content, offset = mail.content, len(mail.header)
        if not forms:
            return {}
        if isinstance(content, bytes):
            return body_hashes([content[offset:]], forms)

        def read() -> Hashes:
            return body_hashes(_blocks(open_blob(content), offset), forms)

        hashes: Hashes = await self._aside(read)
        return hashes

    def _evaluate(  # noqa: PLR0913 - all that the results follow from
        self,
        mail: Mail,
        client: str,
        signed: Signed,
        hashes: Hashes,
        lookup: Lookup,
        now_s: int,
    ) -> Facts:
        facts = Facts(client=client, dkim_checked="dkim" in self._checks)
        if "spf" in self._checks:
            helo = _helo_of(mail)
            spf = check_spf(client, mail.reverse_path, helo, self._host, lookup)
            facts = attrs.evolve(facts, spf=spf)
        if "dkim" in self._checks:
            dkim = [
                one
                if isinstance(one, Dkim)
                else verify_dkim(one, signed.fields, hashes, lookup, now_s)
                for one in signed.signatures
            ]
            facts = attrs.evolve(facts, dkim=tuple(dkim))
        if "dmarc" in self._checks:
            dmarc = check_dmarc(mail.header, facts.spf, facts.dkim, lookup)
            facts = attrs.evolve(facts, dmarc=dmarc)
        if "arc" in self._checks:
            chain = signed.chain
            if isinstance(chain, Chain):
                chain = verify_chain(chain, signed.fields, hashes, lookup, now_s)
            facts = attrs.evolve(facts, arc=chain or Arc("none"))
        return facts


def read_signed(header: bytes, checks: Collection[str], signatures_max: int) -> Signed:
    """Read the signatures of a header, the first ones when there are many."""
    fields = fields_of(header) if {"dkim", "arc"} & set(checks) else []
    signatures: list[Signature | Dkim] = []
    chain: Chain | Arc | None = None
    if "dkim" in checks:
        sources = [one for one in fields if one.name == b"dkim-signature"]
        signatures = [_read(one) for one in sources[:signatures_max]]
    if signatures and not are_all(header, fields):
        signatures = [Dkim("neutral", reason=_NO_FIELD)] * len(signatures)
    if "arc" in checks:
        try:
            chain = read_chain(fields)
        except Malformed as fault:
            chain = Arc("fail", reason=str(fault))
        if chain is not None and not are_all(header, fields):
            chain = Arc("fail", reason=_NO_FIELD)
    return Signed(fields, signatures, chain)


def client_of(mail: Mail, *, relayed: bool) -> str:
    """Return the address that a message was sent from, empty when nobody knows.

    That is the peer's; of one ``relayed`` by a server in front, what that tells.
    """
    told = dict(each.partition("=")[::2] for each in mail.forwarded)
    if "ADDR" in told:
        address = told["ADDR"]
        return address[5:] if address[:5].upper() == "IPV6:" else address
    return "" if relayed else mail.peer.partition("%")[0]


def _helo_of(mail: Mail) -> str:
    told = dict(each.partition("=")[::2] for each in mail.forwarded)
    return told.get("HELO", mail.helo)


def _read(source: Field) -> Signature | Dkim:
    try:
        return read_dkim(source)
    except Malformed as fault:
        return Dkim("neutral", reason=str(fault))


def _blocks(reader: BlobReader, offset: int) -> Iterator[bytes]:
    """Yield what a stored message has from an offset on."""
    try:
        while block := reader.read(_BLOCK_BYTES):
            if offset >= len(block):
                offset -= len(block)
                continue
            yield block[offset:]
            offset = 0
    finally:
        reader.close()
