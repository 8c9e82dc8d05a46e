"""A world in which the checks of mail can be made: keys, a zone of DNS, and a door that asks it."""

from __future__ import annotations

import base64
from collections import Counter
from functools import cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.names import dns
from twisted.names.error import DNSNameError, DNSServerError

from happy.limits import Limits
from happy.wire.dns_lookup import DnsLookup
from happy.wire.mail_checks import CHECKS, MailChecks

RECORDS = {"TXT": dns.Record_TXT, "A": dns.Record_A, "AAAA": dns.Record_AAAA,
           "MX": dns.Record_MX, "PTR": dns.Record_PTR}  # fmt: skip
FAILS, SILENT = object(), object()
NOW_S = 1_800_000_000


class Zone:
    """A resolver that knows ``names``: (name, kind) to values, ``FAILS`` or ``SILENT``."""

    def __init__(self, names=(), ttl=300):
        self.names = dict(names)
        self.ttl = ttl
        self.asked = Counter()
        self.timeouts = set()
        self.held = None

    def __setitem__(self, question, values):
        self.names[question] = values

    def _look_up(self, kind, name, timeout):
        assert isinstance(name, str)
        self.asked[name, kind] += 1
        self.timeouts.add(timeout)
        values = self.names.get((name, kind))
        if values is FAILS:
            return fail(DNSServerError())
        if values is SILENT:
            return Deferred()
        if self.held is not None:
            waiting = Deferred()
            self.held.append((waiting, lambda: self._answer(kind, name, values)))
            return waiting
        return self._answer(kind, name, values)

    def _answer(self, kind, name, values):
        if values is None:
            known = any(each == name or each.endswith("." + name) for each, _ in self.names)
            return succeed(([], [], [])) if known else fail(DNSNameError())
        records = [RECORDS[kind](*_rdata(kind, value)) for value in values]
        headers = [
            dns.RRHeader(name, record.TYPE, payload=record, ttl=self.ttl) for record in records
        ]
        return succeed((headers, [], []))

    def release(self):
        """Answer what was held back."""
        held, self.held = self.held, None
        for waiting, answer in held:
            answer().chainDeferred(waiting)

    def lookupText(self, name, timeout=None):
        return self._look_up("TXT", name, timeout)

    def lookupAddress(self, name, timeout=None):
        return self._look_up("A", name, timeout)

    def lookupIPV6Address(self, name, timeout=None):
        return self._look_up("AAAA", name, timeout)

    def lookupMailExchange(self, name, timeout=None):
        return self._look_up("MX", name, timeout)

    def lookupPointer(self, name, timeout=None):
        return self._look_up("PTR", name, timeout)


def _rdata(kind, value):
    if kind == "TXT":
        data = value.encode("latin-1")
        return [data[n : n + 255] for n in range(0, len(data), 255)] or [b""]
    if kind == "MX":
        preference, name = value.split(" ")
        return int(preference), name
    return (value,)


def aside(function):
    """Run at once what a container runs in a thread."""
    try:
        return succeed(function())
    except OSError as error:
        return fail(error)


def mail_checks(zone, checks=CHECKS, clock=None, now_s=NOW_S, host="mx.lists.example", **limits):
    """Return the checks of a door over a zone."""
    clock = Clock() if clock is None else clock
    bounds = Limits(**limits)
    return MailChecks(
        checks,
        dns=DnsLookup(zone, clock, bounds),
        clock=clock,
        now_s=lambda: now_s,
        aside=aside,
        limits=bounds,
        host=host,
    )


@cache
def rsa_key(number=0):
    """Return an RSA key, one and the same for each number."""
    del number
    return generate_private_key(65537, 1024)


@cache
def ed25519_key(number=0):
    """Return an Ed25519 key, one and the same for each number."""
    del number
    return Ed25519PrivateKey.generate()


def in_dns(key):
    """Return what DNS has of a key (RFC 6376 section 3.6.1, RFC 8463 section 4)."""
    public = key.public_key()
    if isinstance(key, Ed25519PrivateKey):
        raw = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
        return f"v=DKIM1; k=ed25519; p={base64.b64encode(raw).decode()}"
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"v=DKIM1; k=rsa; p={base64.b64encode(der).decode()}"


def for_dkimpy(key):
    """Return a private key as dkimpy takes it."""
    if isinstance(key, Ed25519PrivateKey):
        raw = key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
        return base64.b64encode(raw)
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
