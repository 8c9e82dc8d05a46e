"""DKIM signatures that others made: dkimpy's, of every form, and what must not pass."""

from __future__ import annotations

import base64
import re

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from facts_kit import NOW_S, ed25519_key, for_dkimpy, in_dns, rsa_key
from happy.facts import DnsAnswer
from happy.wire.dkim import Signer, signatures
from happy.wire.dkim_body import body_hashes
from happy.wire.dkim_fields import Field, Malformed, are_all, fields_of, tags_of
from happy.wire.dkim_verify import read_dkim, verify_dkim

KEYS = {"r": rsa_key(), "e": ed25519_key()}
ALGORITHMS = {"r": b"rsa-sha256", "e": b"ed25519-sha256"}
LETTER = (
    b"From: Ann <ann@y.example>\r\nTo: bob@x.example\r\nSubject:  hello\r\n\t there \r\n"
    b"Received: one\r\nReceived: two\r\n\r\nhello  you \r\n\r\n  two\t\r\n\r\n\r\n"
)
FORMS = [(a, b) for a in (b"simple", b"relaxed") for b in (b"simple", b"relaxed")]


def signed(letter=LETTER, selector="r", forms=(b"relaxed", b"relaxed"), **more):
    """Return a letter with dkimpy's signature before it."""
    signature = dkim.sign(
        letter,
        selector.encode(),
        b"y.example",
        for_dkimpy(KEYS[selector]),
        canonicalize=forms,
        signature_algorithm=ALGORITHMS[selector],
        **more,
    )
    return signature + letter


def in_zone(key=None, **tags):
    """Return a lookup that knows our keys, or one ``key`` with other tags in its record."""

    def lookup(name, kind):
        assert kind == "TXT"
        selector = name.partition(".")[0]
        if isinstance(key, str):
            return DnsAnswer(name, kind, key)
        record = in_dns(KEYS[selector] if key is None else key)
        for tag, value in tags.items():
            record = re.sub(rf"{tag}=[^;]*(; )?", "", record)
            record = record if value is None else f"{record.rstrip('; ')}; {tag}={value}"
        return DnsAnswer(name, kind, "found", (record,))

    return lookup


def results(message, lookup=None, now_s=NOW_S):
    """Return what comes of each signature."""
    header, empty, body = message.partition(b"\r\n\r\n")
    fields = fields_of(header + empty)
    assert are_all(header + empty, fields)
    found = []
    for field in fields:
        if field.name == b"dkim-signature":
            signature = read_dkim(field)
            hashes = body_hashes([body], [signature.form])
            found.append(verify_dkim(signature, fields, hashes, lookup or in_zone(), now_s))
    return found


def result(message, lookup=None, now_s=NOW_S):
    (found,) = results(message, lookup, now_s)
    return found.result, found.reason


@pytest.mark.parametrize("forms", FORMS)
@pytest.mark.parametrize("selector", ["r", "e"])
def test_what_dkimpy_signed_passes(selector, forms):
    """RSA and Ed25519, each of the four forms."""
    assert result(signed(selector=selector, forms=forms)) == ("pass", "")


@pytest.mark.parametrize("forms", FORMS)
@pytest.mark.parametrize(
    ("old", "new", "simple_only"),
    [
        (b"hello  you", b"hello  me", False),
        (b"Subject:  hello", b"Subject:  hallo", False),
        (b"  two\t\r\n", b"", False),
        (b"hello  you \r\n", b"hello you\r\n", True),
        (b"Subject:  hello\r\n\t there \r\n", b"Subject: hello there\r\n", True),
    ],
)
def test_what_was_changed_fails_and_what_may_be_does_not(forms, old, new, simple_only):
    """Spaces may change where the form says relaxed; nothing else may anywhere."""
    in_header = b"Subject" in old
    strict = forms[0 if in_header else 1] == b"simple"
    changed = signed(forms=forms).replace(old, new)
    passes = simple_only and not strict
    assert result(changed)[0] == ("pass" if passes else "fail")


def test_lines_at_the_end_do_not_matter():
    """Empty lines at the end of the body, and what relays put before the header."""
    message = b"Received: from somewhere\r\n" + signed() + b"\r\n\r\n"
    assert result(message) == ("pass", "")


@pytest.mark.parametrize("body", [b"", b"\r\n", b"\r\n\r\n", b" \r\n", b"\t \r\n\r\n", b"x"])
@pytest.mark.parametrize("forms", FORMS)
def test_a_body_of_nothing_is_signed_too(forms, body):
    """RFC 6376 section 3.4: an empty body is a line end in one form, and nothing in the other."""
    letter = LETTER[: LETTER.index(b"\r\n\r\n") + 4] + body
    assert result(signed(letter, forms=forms)) == ("pass", "")


def test_our_own_signatures_pass():
    """What goes out can come in."""
    signers = [Signer("y.example", name, key) for name, key in KEYS.items()]
    message = signatures(signers, [LETTER], NOW_S) + LETTER
    assert [one.result for one in results(message)] == ["pass", "pass"]


def test_each_signature_is_told_by_itself():
    """One passes, the other was made with another key."""
    found = results(signed(signed(selector="e")), in_zone(key=KEYS["r"]))
    assert [(one.selector, one.result) for one in found] == [("r", "pass"), ("e", "permerror")]
    assert (found[0].domain, found[0].algorithm) == ("y.example", "rsa-sha256")


# --- what must not pass ------------------------------------------------------------------------


def test_a_second_author_is_not_signed_by_the_first():
    """A From that was put in later is what a reader may be shown."""
    message = b"From: eve@z.example\r\n" + signed()
    assert result(message)[0] == "fail"
    once = signed(include_headers=[b"from"])
    assert result(once) == ("pass", "")
    assert result(b"From: eve@z.example\r\n" + once) == (
        "fail",
        "there is a From field that it does not sign",
    )


def test_a_signature_of_a_part_says_so():
    """l= leaves the end open: it passes, and is told to be limited."""
    (found,) = results(signed(length=True) + b"and more\r\n")
    assert (found.result, found.limited) == ("pass", True)
    (whole,) = results(signed())
    assert not whole.limited
    short = signed(length=True).replace(b"hello  you \r\n\r\n  two\t\r\n", b"")
    assert result(short)[0] == "fail"


@pytest.mark.parametrize(
    ("lookup", "expected"),
    [
        (in_zone("failed"), ("temperror", "DNS did not tell the key")),
        (in_zone("nxdomain"), ("permerror", "there is no key in DNS")),
        (in_zone("nodata"), ("permerror", "there is no key in DNS")),
        (in_zone(p=""), ("permerror", "the key in DNS: it was revoked")),
        (in_zone(p=None), ("permerror", "the key in DNS: it has no p=")),
        (in_zone(p="?"), ("permerror", "the key in DNS: p= is not base64")),
        (in_zone(p="AAAA"), ("permerror", "the key in DNS: it cannot be read")),
        (in_zone(v="DKIM2"), ("permerror", "the key in DNS: it is of another version")),
        (in_zone(k="ed25519"), ("permerror", "the key in DNS: it is of another kind")),
        (in_zone(h="sha1"), ("permerror", "the key in DNS: it is not for sha256")),
        (in_zone(s="tlsrpt"), ("permerror", "the key in DNS: it is not for mail")),
        (in_zone(v=None, k=None, s="*:email", h="sha1 : sha256", t="x"), ("pass", "")),
    ],
)
def test_a_key_is_what_its_record_says(lookup, expected):
    """RFC 6376 section 3.6.1, tag by tag."""
    assert result(signed(), lookup) == expected


def test_keys_that_are_too_long_are_not_used():
    """RFC 8301 section 3.2: up to 4096 bits; a longer one only costs time."""
    modulus = int.from_bytes(b"\xff" * 1_024)  # nobody has to have the other half of it
    der = (
        RSAPublicNumbers(65_537, modulus)
        .public_key()
        .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    )
    found = result(signed(), in_zone(p=base64.b64encode(der).decode()))
    assert found == ("permerror", "the key in DNS: 8192 bits are not 1024 to 4096")


def test_a_key_may_be_written_without_its_wrapping():
    """The bare RSAPublicKey that some domains publish."""
    der = KEYS["r"].public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)
    assert result(signed(), in_zone(p=base64.b64encode(der).decode())) == ("pass", "")


def test_a_domain_may_say_that_it_only_tries():
    """t=y is told, and changes nothing."""
    (found,) = results(signed(), in_zone(t="y"))
    assert (found.result, found.testing) == ("pass", True)


def test_a_key_may_be_for_the_very_domain_only():
    """t=s: a user of a domain below may not use it."""
    below = signed(identity=b"ann@m.y.example")
    assert result(below)[0] == "pass"
    assert result(below, in_zone(t="s"))[0] == "permerror"
    assert result(signed(), in_zone(t="s"))[0] == "pass"


@pytest.mark.parametrize(
    ("tag", "value", "fault"),
    [
        ("v", "2", "it is of another version"),
        ("v", "", "it has no v="),
        ("a", "rsa-sha1", "a='rsa-sha1' is not among rsa-sha256, ed25519-sha256"),
        ("c", "loose", "c= is unknown"),
        ("h", "to:subject", "it does not sign From"),
        ("q", "dns/any", "q= is unknown"),
        ("d", "y.example(.z.example", "'y.example(.z.example' is not a domain"),
        ("d", "x.example", "i= is not below d="),
        ("i", "@example", "i= is not below d="),
        ("i", "@evily.example", "i= is not below d="),
        ("b", "?", "b= is not base64"),
        ("bh", "%", "bh= is not base64"),
        ("l", "-1", "l= is not a number"),
        ("s", "", "it has no s="),
    ],
)
def test_a_signature_that_is_none_is_told_why(tag, value, fault):
    """RFC 6376 section 6.1.1; none of them is looked up in DNS."""
    own = next(one for one in fields_of(signed()) if one.name == b"dkim-signature")
    tags = tags_of(own.value) | {tag: value}
    text = "; ".join(f"{name}={each}" for name, each in tags.items())
    with pytest.raises(Malformed, match=re.escape(fault)):
        read_dkim(Field(own.name, b"DKIM-Signature: " + text.encode()))


def test_a_signature_is_of_its_time():
    """Expired, and made tomorrow; ten hours are forgiven to clocks."""
    signers = [Signer("y.example", "r", KEYS["r"])]
    message = signatures(signers, [LETTER], NOW_S) + LETTER
    assert result(message, now_s=NOW_S - 35_000)[0] == "pass"
    assert result(message, now_s=NOW_S - 37_000) == ("neutral", "it was made in the future")
    ended = message.replace(b"; t=", b"; x=%d; t=" % (NOW_S - 40_000))
    assert result(ended) == ("neutral", "it has expired")


# --- against dkimpy, and against everything ----------------------------------------------------


def _agrees(message):
    """Say whether dkimpy and we are of one opinion."""

    def dnsfunc(name, **_):
        return in_dns(KEYS[name.partition(b".")[0].decode()]).encode()

    try:
        theirs = dkim.DKIM(message).verify(dnsfunc=dnsfunc)
    except dkim.DKIMException:
        theirs = False
    try:
        ours = result(message)[0] == "pass"
    except (Malformed, AssertionError):  # the latter where a line is no field
        ours = False
    return theirs == ours


LINE = st.text("ab \t:;=", max_size=12).map(str.encode)


@settings(max_examples=60, deadline=None)
@given(
    lines=st.lists(LINE, max_size=6),
    subject=LINE,
    forms=st.sampled_from(FORMS),
    selector=st.sampled_from("re"),
    cut=st.integers(0, 400),
    put=st.sampled_from([b"", b"x", b" ", b"\t"]),
)
def test_dkimpy_and_we_agree(lines, subject, forms, selector, cut, put):
    """Any message, changed anywhere or not: both say the same of it."""
    header = b"From: ann@y.example\r\nSubject: %s\r\nX: y\r\n\r\n" % subject
    message = signed(header + b"".join(line + b"\r\n" for line in lines), selector, forms)
    assert _agrees(message)
    first = message.index(b"\r\nFrom: ") + 8
    # Not behind the last line end: dkimpy leaves spaces there that section 3.4.4 takes away.
    start = first + cut % (len(message) - first - 1)
    start += message[start - 1 : start + 1] == b"\r\n"  # a line end stays one
    changed = message[:start] + put + message[start:]
    # dkimpy knows no space before a colon; section 3.4.2 does.
    assume(not re.search(rb"(?m)^[!-9;-~]+[ \t]+:", changed.partition(b"\r\n\r\n")[0]))
    assert _agrees(changed)


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_nothing_at_all_raises(field):
    """A field of any bytes is read or is malformed, and what is read is verified to an end."""
    header = b"DKIM-Signature: v=1; a=rsa-sha256; d=y.example; s=r;" + field + b"\r\n"
    fields = fields_of(header + b"From: ann@y.example\r\n\r\n")
    for one in fields:
        if one.name == b"dkim-signature":
            try:
                signature = read_dkim(one)
            except Malformed:
                continue
            hashes = body_hashes([b""], [signature.form])
            verify_dkim(signature, fields, hashes, in_zone(), NOW_S)
