"""ARC chains that others sealed: dkimpy's, of any length, and all the ways to break one."""

from __future__ import annotations

import re

import dkim
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facts_kit import NOW_S, for_dkimpy, in_dns, rsa_key
from happy.facts import Arc, DnsAnswer
from happy.wire.arc_verify import INSTANCES_MAX, read_chain, verify_chain
from happy.wire.dkim_body import body_hashes
from happy.wire.dkim_fields import Malformed, fields_of

KEYS = {name: rsa_key(n) for n, name in enumerate(("a.example", "b.example", "c.example"))}
SIGNED = [b"from", b"to", b"subject"]
LETTER = b"From: ann@y.example\r\nTo: bob@x.example\r\nSubject: hello\r\n\r\nhello\r\n"


def sealed(*domains, letter=LETTER, found=b"pass"):
    """Return a letter as it has come through the hands of some domains."""
    for domain in domains:
        arc = found if b"ARC-Seal" in letter else b"none"
        told = b"Authentication-Results: %s; dkim=pass; arc=%s\r\n" % (domain.encode(), arc)
        fields = dkim.arc_sign(
            told + letter,
            b"s",
            domain.encode(),
            for_dkimpy(KEYS[domain]),
            domain.encode(),
            include_headers=SIGNED,
            timestamp=str(NOW_S),
        )
        letter = b"".join(fields) + letter
    return letter


def lookup(name, kind):
    """Answer for the domains that seal."""
    assert kind == "TXT"
    key = KEYS.get(name.removeprefix("s._domainkey."))
    if key is None:
        return DnsAnswer(name, kind, "nxdomain")
    return DnsAnswer(name, kind, "found", (in_dns(key),))


def untold(name, kind):
    """Answer as DNS does that does not answer."""
    return DnsAnswer(name, kind, "failed")


def verified(message, told=lookup):
    header, empty, body = message.partition(b"\r\n\r\n")
    fields = fields_of(header + empty)
    chain = read_chain(fields)
    if chain is None:
        return None
    return verify_chain(chain, fields, body_hashes([body], [chain.newest.form]), told, NOW_S)


def test_a_message_that_nobody_handed_on_has_no_chain():
    """Nor does one with a field of a like name."""
    assert verified(b"X-ARC-Seal: i=1\r\n" + LETTER) is None


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_chain_holds_when_each_link_does(length):
    """The seals of dkimpy, one after the other; the first sealer first."""
    domains = tuple(KEYS)[:length]
    assert verified(sealed(*domains)) == Arc("pass", domains)


def test_fields_may_stand_in_any_order():
    """Their numbers tell which belong together."""
    header, _, body = sealed("a.example", "b.example").partition(b"\r\n\r\n")
    fields = [one.raw for one in fields_of(header)]
    assert verified(b"".join(reversed(fields)) + b"\r\n" + body).result == "pass"


def test_an_older_signature_need_not_hold():
    """A list may change the message and seal it anew: the newest signature is what counts."""
    first = sealed("a.example")
    changed = first.replace(b"Subject: hello", b"Subject: [list] hello")
    assert verified(changed).result == "fail"
    assert verified(sealed("b.example", letter=changed)).result == "pass"
    told = sealed("b.example", letter=changed, found=b"fail")
    assert verified(told).reason == "seal 2: it says cv='fail'"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"\r\nhello\r\n", b"\r\nhallo\r\n"),
        (b"Subject: hello", b"Subject: hallo"),
        (b"dkim=pass", b"dkim=fail"),
        (b"i=2; cv=pass", b"i=2; cv=fail"),
        (b"i=2; cv=pass", b"i=2; cv=none"),
        (b"i=1; cv=none", b"i=1; cv=pass"),
        (b"d=a.example", b"d=b.example"),
        (b"d=a.example", b"d=z.example"),
    ],
)
def test_whatever_was_changed_breaks_it(old, new):
    """Body, header, what was found out, and what the seals say."""
    message = sealed("a.example", "b.example")
    assert old in message
    assert verified(message.replace(old, new)).result == "fail"


@pytest.mark.parametrize(
    "name", [b"ARC-Seal", b"ARC-Message-Signature", b"ARC-Authentication-Results"]
)
@pytest.mark.parametrize("number", [1, 2])
def test_a_set_must_be_whole(name, number):
    """One field is gone, or there twice."""
    fields = [one.raw for one in fields_of(sealed("a.example", "b.example"))]
    numbered = re.compile(rb"i=%d\b" % number)
    (field,) = [one for one in fields if one.startswith(name) and numbered.search(one)]
    without = b"".join(one for one in fields if one is not field)
    for broken in (without, without + field + field):
        with pytest.raises(Malformed):
            read_chain(fields_of(broken + b"\r\n"))


def test_no_set_may_be_missing():
    """1 and 3 are no chain, and neither is what begins with 2."""
    fields = [one.raw for one in fields_of(sealed(*KEYS))]
    for gone in (b"i=1", b"i=2"):
        broken = b"".join(one for one in fields if gone not in one)
        with pytest.raises(Malformed, match="a set is missing"):
            read_chain(fields_of(broken + b"\r\n"))


@pytest.mark.parametrize("number", [b"0", b"-1", b"", b"x", b"51", b"9" * 100])
def test_a_set_has_a_number(number):
    """From 1 to 50 (RFC 8617 section 4.2.1): a chain is as long as that and no longer."""
    field = b"ARC-Seal: i=%s; a=rsa-sha256\r\n\r\n" % number
    with pytest.raises(Malformed):
        read_chain(fields_of(field))
    assert INSTANCES_MAX == 50


@pytest.mark.parametrize("tag", [b"h=from", b"bh=AAAA"])
def test_a_seal_is_of_no_message(tag):
    """RFC 8617 section 4.1.3: a seal signs the sets alone."""
    message = sealed("a.example").replace(b"ARC-Seal: ", b"ARC-Seal: " + tag + b"; ")
    assert verified(message) == Arc("fail", reason="seal 1: it must not have h= or bh=")


@pytest.mark.parametrize("tag", [b"cv", b"d", b"s", b"b", b"a"])
def test_a_seal_says_all_it_must(tag):
    """Without one of its tags it says nothing."""
    seal, _, rest = sealed("a.example").partition(b"\r\nARC-M")
    assert seal.startswith(b"ARC-Seal:")
    changed = re.sub(rb"([:;]\s*)%s=[^;]*(;|$)" % tag, rb"\1", seal, count=1)
    assert changed != seal
    assert verified(changed + b"\r\nARC-M" + rest).result == "fail"


def test_a_message_signature_must_not_sign_seals():
    """RFC 8617 section 4.1.2."""
    message = sealed("a.example")
    header = re.sub(rb"(ARC-Message-Signature:(?:.|\r\n[ \t])*?\bh=)", rb"\1arc-seal:", message)
    assert header != message
    with pytest.raises(Malformed, match="must not sign seals"):
        verified(header)


def test_what_dns_cannot_tell_is_a_temperror():
    """It may hold another time."""
    assert verified(sealed("a.example"), untold).result == "temperror"


@settings(deadline=None)
@given(st.binary(max_size=200), st.integers(0, 3))
def test_nothing_at_all_raises(junk, number):
    """A chain of any bytes is read or is malformed, and what is read is verified to an end."""
    names = (b"ARC-Authentication-Results", b"ARC-Message-Signature", b"ARC-Seal")
    tags = b"i=%d; a=rsa-sha256; cv=none; d=a.example; s=s; b=AA; bh=AA; h=from; " % number
    header = b"".join(name + b": " + tags + junk + b"\r\n" for name in names)
    try:
        found = verified(header + LETTER)
    except Malformed:
        return
    assert found is None or found.result == "fail"
