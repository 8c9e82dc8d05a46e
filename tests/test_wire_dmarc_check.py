"""DMARC: who speaks for an author's domain, and what that asks for when nobody does."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from happy.facts import Dkim, Dmarc, DnsAnswer, Spf
from happy.wire.dkim_fields import Malformed
from happy.wire.dmarc_check import author_domain, check_dmarc

REJECT = {"y.example": "v=DMARC1; p=reject"}


def checked(author, records, *, spf=None, dkim=None, missing=(), failing=()):
    """Return what DMARC says of a message; ``records`` are by domain."""

    def lookup(name, kind):
        domain = name.removeprefix("_dmarc.")
        if domain in failing:
            return DnsAnswer(name, kind, "failed")
        if kind == "A":
            return DnsAnswer(name, kind, "nxdomain" if domain in missing else "nodata")
        found = records.get(domain, ())
        values = (found,) if isinstance(found, str) else tuple(found)
        return DnsAnswer(name, kind, "found" if values else "nodata", values)

    header = b"From: <ann@%s>\r\n\r\n" % author.encode()
    signatures = [] if dkim is None else [Dkim(dkim[0], dkim[1])]
    return check_dmarc(header, Spf(*spf) if spf else Spf("none"), signatures, lookup)


def test_a_domain_without_a_record_has_no_result():
    """RFC 7489 section 11.2: none is the word for it."""
    assert checked("y.example", {}) == Dmarc("none", "y.example")


@pytest.mark.parametrize(
    ("spf", "dkim", "result", "aligned"),
    [
        (("pass", "y.example"), None, "pass", (True, False)),
        (("pass", "m.y.example"), None, "pass", (True, False)),
        (None, ("pass", "y.example"), "pass", (False, True)),
        (None, ("pass", "other.example"), "fail", (False, False)),
        (("pass", "other.example"), None, "fail", (False, False)),
        (("softfail", "y.example"), ("fail", "y.example"), "fail", (False, False)),
        (("pass", "y.example"), ("pass", "y.example"), "pass", (True, True)),
        (("temperror", "y.example"), None, "temperror", (False, False)),
        (("temperror", "other.example"), None, "fail", (False, False)),
        (("temperror", "y.example"), ("pass", "y.example"), "pass", (False, True)),
    ],
)
def test_one_of_the_two_that_passed_for_this_domain_is_enough(spf, dkim, result, aligned):
    """RFC 7489 section 4.2; what may be better another time is no fail yet."""
    found = checked("y.example", REJECT, spf=spf, dkim=dkim)
    assert (found.result, (found.spf_aligned, found.dkim_aligned)) == (result, aligned)
    assert found.policy == "reject"


@pytest.mark.parametrize(("mode", "result"), [("r", "pass"), ("s", "fail")])
def test_strict_means_the_very_domain(mode, result):
    """RFC 7489 section 3.1: adkim and aspf, each for itself."""
    record = {"y.example": f"v=DMARC1; p=none; adkim={mode}; aspf={mode}"}
    assert checked("y.example", record, spf=("pass", "m.y.example")).result == result
    assert checked("y.example", record, dkim=("pass", "m.y.example")).result == result


def test_brothers_are_aligned_by_their_common_domain():
    """Both have the same organizational domain: the one that has the record."""
    found = checked("a.y.example", REJECT, dkim=("pass", "b.y.example"))
    assert (found.result, found.record_domain) == ("pass", "y.example")


def test_strangers_under_one_suffix_are_not_aligned():
    """Two domains of one registry have nothing to do with each other, whatever it publishes."""
    records = {
        "co.example": "v=DMARC1; p=reject; psd=y",
        "a.co.example": "v=DMARC1; p=reject",
        "b.co.example": "v=DMARC1; p=reject",
    }
    assert checked("a.co.example", records, dkim=("pass", "b.co.example")).result == "fail"
    assert checked("x.a.co.example", records, dkim=("pass", "a.co.example")).result == "pass"
    assert checked("x.c.co.example", records, dkim=("pass", "c.co.example")).result == "pass"


def test_a_domain_may_say_that_it_is_the_top():
    """psd=n: what is above it has nothing to say, and those below are its own."""
    records = {"dep.y.example": "v=DMARC1; p=none; psd=n", "y.example": "v=DMARC1; p=reject"}
    assert checked("a.dep.y.example", records, dkim=("pass", "y.example")).result == "fail"
    assert checked("a.dep.y.example", records, dkim=("pass", "dep.y.example")).result == "pass"


@pytest.mark.parametrize(
    ("author", "record", "missing", "policy"),
    [
        ("y.example", "v=DMARC1; p=reject; sp=none", (), "reject"),
        ("m.y.example", "v=DMARC1; p=reject; sp=none", (), "none"),
        ("m.y.example", "v=DMARC1; p=reject", (), "reject"),
        ("m.y.example", "v=DMARC1; p=none; sp=quarantine; np=reject", ("m.y.example",), "reject"),
        ("m.y.example", "v=DMARC1; p=none; np=reject", (), "none"),
        ("y.example", "v=DMARC1; p=nonsense; rua=mailto:a@y.example", (), "none"),
        ("y.example", "v=DMARC1;p=QUARANTINE", (), "quarantine"),
        ("y.example", "v=DMARC1;; p=reject; ;", (), "reject"),
    ],
)
def test_the_policy_is_that_for_this_domain(author, record, missing, policy):
    """The tag p is for the domain of the record, sp below it, np for what is not there at all."""
    found = checked(author, {"y.example": record}, missing=missing)
    assert (found.result, found.policy, found.record_domain) == ("fail", policy, "y.example")


@pytest.mark.parametrize(
    "record",
    [
        "v=DMARC2; p=reject",
        "p=reject; v=DMARC1",
        "v=DMARC1",
        "v=DMARC1; p=nonsense",
        "v=DMARC1; p=reject; p=none",
        "v=DMARC1; reject",
        ["v=DMARC1; p=reject", "v=DMARC1; p=none"],
    ],
)
def test_what_is_no_record_is_none(record):
    """RFC 7489 section 6.6.3: of another version, with nothing in it, or two of them."""
    assert checked("y.example", {"y.example": record}).result == "none"


def test_records_of_other_things_beside_it_do_not_matter():
    """Whoever puts something else there does no harm."""
    assert checked("y.example", {"y.example": ["hello", REJECT["y.example"]]}).result == "fail"


def test_a_domain_that_only_tries_is_told_of():
    """t=y asks for the policy not to be applied yet."""
    assert checked("y.example", {"y.example": "v=DMARC1; p=reject; t=y"}).testing


def test_a_long_name_is_shortened_at_once():
    """Eight questions at the most, however many labels a name has."""
    asked = []

    def lookup(name, kind):
        asked.append(name)
        return DnsAnswer(name, kind, "nodata")

    check_dmarc(b"From: a@" + b"x." * 40 + b"y.example\r\n\r\n", Spf("none"), [], lookup)
    assert len(set(asked)) == 8
    assert "_dmarc.example" in asked


def test_no_answer_is_a_temperror():
    """Nobody knows whether there is a policy."""
    assert checked("y.example", {}, failing=["y.example"]).result == "temperror"


@pytest.mark.parametrize(
    "header",
    [
        b"Subject: x\r\n\r\n",
        b"From: a@y.example\r\nFrom: a@y.example\r\n\r\n",
        b"From: a@y.example, b@z.example\r\n\r\n",
        b"From: nobody\r\n\r\n",
        b"From: \r\n\r\n",
    ],
)
def test_a_message_without_one_author_is_a_permerror(header):
    """Two authors could each be shown to the reader; RFC 7489 section 6.6.1."""
    with pytest.raises(Malformed):
        author_domain(header)
    assert check_dmarc(header, Spf("none"), [], None).result == "permerror"


@pytest.mark.parametrize("author", ["Ann@Y.Example", "ann@bücher.example", '"a@b"@y.example'])
def test_a_domain_is_read_in_any_spelling(author):
    """Large letters and other scripts: as DNS has them."""
    domain = author_domain(f"From: {author}\r\n\r\n".encode())
    assert domain in {"y.example", "xn--bcher-kva.example"}


@settings(deadline=None)
@given(st.binary(max_size=200), st.text(max_size=200))
def test_nothing_at_all_raises(header, record):
    """Hostile headers and records have a result like any other."""
    found = check_dmarc(
        b"From: a@y.example\r\n" + header,
        Spf("none"),
        [],
        lambda name, kind: DnsAnswer(name, kind, "found", (record, f"v=DMARC1;{record}")),
    )
    assert found.result in {"none", "pass", "fail", "permerror"}
