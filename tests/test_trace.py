"""The fields that a receiver adds, and those that nobody else may have written."""

from __future__ import annotations

from datetime import UTC, datetime

import attrs
import authres
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from happy.event import Mail
from happy.facts import Arc, Dkim, Dmarc, Facts, Spf, authentication_results
from happy.message import parse_header
from happy.trace import authserv_id, delivered, received, relayed, results_field, without_forged

WHEN = datetime(2026, 11, 30, 11, 0, 5, tzinfo=UTC)
HEADER = b"From: ann@y.example\r\nSubject: hello\r\n\r\n"
MAIL = Mail(
    "ann@y.example",
    ("dev@lists.example",),
    HEADER,
    HEADER + b"hello\r\n",
    peer="192.0.2.7",
    helo="client.example",
    protocol="ESMTPS",
    host="mx.lists.example",
)
FACTS = Facts(
    client="192.0.2.7",
    spf=Spf("pass", "y.example", "mailfrom"),
    dkim=(Dkim("fail", "y.example", "s1", "rsa-sha256", "@y.example", "QUJDREVGR0hJSktM"),),
    dkim_checked=True,
    dmarc=Dmarc("pass", "y.example", "reject", "y.example", spf_aligned=True),
    arc=Arc("pass", ("a.example", "b.example")),
)


def test_a_message_says_how_it_came():
    """RFC 5321 section 4.4: from whom, by whom, with what, under which id, for whom, when."""
    assert received(MAIL, "lists", 12, WHEN) == (
        b"Received: from client.example ([192.0.2.7])\r\n"
        b"\tby mx.lists.example with ESMTPS id lists/12\r\n"
        b"\tfor <dev@lists.example>;\r\n"
        b"\tMon, 30 Nov 2026 11:00:05 +0000\r\n"
    )


@pytest.mark.parametrize(
    ("changes", "there", "gone"),
    [
        ({"peer": "2001:db8::1"}, b"([IPv6:2001:db8::1])", b"192."),
        ({"peer": ""}, b"from client.example\r\n", b"("),
        ({"peer": "fe80::1%eth0"}, b"([IPv6:fe80::1])", b"%"),
        ({"helo": "x(y;z"}, b"from unknown ([192.0.2.7])", b"x(y"),
        ({"helo": ""}, b"Received: by mx", b"from"),
        ({"helo": "[192.0.2.7]"}, b"from [192.0.2.7] ([192.0.2.7])", b"unknown"),
        ({"recipients": ("a@x.example", "b@x.example")}, b"id lists/12;", b"for"),
        ({"recipients": ("ü@x.example",)}, b"id lists/12;", b"for"),
        ({"protocol": "UTF8LMTPS"}, b"with UTF8LMTPS id", b"ESMTP"),
        ({"host": ""}, b"by localhost with", b"mx."),
    ],
)
def test_what_is_not_known_or_not_fit_is_left_out(changes, there, gone):
    """Nothing that a peer says can break the field, and nobody learns who else got it."""
    field = received(attrs.evolve(MAIL, **changes), "lists", 12, WHEN)
    assert there in field
    assert gone not in field


def test_results_are_told_as_the_rfc_has_them():
    """RFC 8601: each method, its result, and what it is about."""
    assert authentication_results(FACTS, "mx.lists.example").split(";\r\n\t") == [
        "mx.lists.example",
        "spf=pass smtp.mailfrom=y.example",
        (
            "dkim=fail header.d=y.example header.i=@y.example header.s=s1 header.a=rsa-sha256"
            " header.b=QUJDREVG"
        ),
        "dmarc=pass (p=reject) header.from=y.example",
        "arc=pass (i=2)",
    ]


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        (Facts(), "mx; none"),
        (Facts(dkim_checked=True), "mx; dkim=none"),
        (Facts(spf=Spf("none", "client.example", "helo")), "mx; spf=none smtp.helo=client.example"),
        (Facts(spf=Spf("none", 'a"b c\r\n\xe9', "helo")), 'mx; spf=none smtp.helo="a\\"b c"'),
    ],
)
def test_what_was_not_looked_up_is_not_told(facts, text):
    """None of all says so, and no letter of a peer's makes a field of its own."""
    assert " ".join(authentication_results(facts, "mx").split()) == text


def test_another_program_reads_our_results():
    """Authres finds in the field what the facts say."""
    mail = attrs.evolve(MAIL, checked=FACTS)
    line = " ".join(results_field(mail).decode().split())
    parsed = authres.AuthenticationResultsHeader.parse(line)
    assert parsed.authserv_id == "mx.lists.example"
    assert [(one.method, one.result) for one in parsed.results] == [
        ("spf", "pass"),
        ("dkim", "fail"),
        ("dmarc", "pass"),
        ("arc", "pass"),
    ]
    assert results_field(MAIL) == b""


FORGED = [
    b"Authentication-Results: mx.lists.example; dkim=pass\r\n",
    b"authentication-results :\tMX.lists.example 1;\r\n\tspf=pass\r\n",
    b'Authentication-Results: "mx.lists.example"; spf=pass\r\n',
    b'Authentication-Results: (a (b\\) c)) "mx\\.lists.example" ; spf=pass\r\n',
    b"Authentication-Results:\r\n mx.lists.example; spf=pass\r\n",
    b"Authentication-Results: (never closed mx.lists.example; spf=pass\r\n",
    b"Authentication-Results: ;\r\n",
]
OTHERS = [
    b"Authentication-Results: mx.other.example; dkim=pass\r\n",
    b"Authentication-Results: mx.lists.example.z.example; dkim=pass\r\n",
    b"X-Authentication-Results: mx.lists.example; dkim=pass\r\n",
    b"ARC-Authentication-Results: i=1; mx.lists.example; dkim=pass\r\n",
    b"Subject: Authentication-Results: mx.lists.example\r\n",
]


@pytest.mark.parametrize("field", FORGED)
def test_results_that_only_we_could_have_made_are_gone(field):
    """RFC 8601 section 5: whoever reads the message must not believe them."""
    mail = attrs.evolve(MAIL, header=b"X: 1\r\n" + field + HEADER)
    assert without_forged(mail) == b"X: 1\r\n" + HEADER


@pytest.mark.parametrize("field", OTHERS)
def test_results_of_others_stay(field):
    """They are theirs; whoever trusts them may read them."""
    mail = attrs.evolve(MAIL, header=field + HEADER)
    assert without_forged(mail) == field + HEADER


def test_a_delivered_message_has_one_return_path():
    """The first field of all, of the envelope; whatever stood in the message is gone."""
    header = b"Return-Path: <eve@z.example>\r\n" + FORGED[0] + HEADER
    mail = attrs.evolve(MAIL, header=header, checked=FACTS)
    whole = delivered(mail, "lists", 12, WHEN)
    assert whole.startswith(b"Return-Path: <ann@y.example>\r\nAuthentication-Results: mx.")
    assert parse_header(whole).names == (
        "return-path",
        "authentication-results",
        "received",
        "from",
        "subject",
    )
    assert whole.endswith(HEADER)
    assert delivered(attrs.evolve(mail, reverse_path=""), "l", 1, WHEN).startswith(
        b"Return-Path: <>\r\n"
    )


def test_a_relayed_message_has_none():
    """It is for the last server to add."""
    whole = relayed(attrs.evolve(MAIL, checked=FACTS), "lists", 12, WHEN)
    assert parse_header(whole).names[:2] == ("authentication-results", "received")
    assert b"Return-Path" not in whole


@settings(deadline=None)
@given(st.lists(st.sampled_from([b"A: b\r\n", b" c\r\n", b"\r\n", b"x\n", b"\r", b"\x00:"])))
def test_everything_else_stays_as_it_came(pieces):
    """Byte for byte, whatever it is."""
    header = b"".join(pieces)
    assert without_forged(attrs.evolve(MAIL, header=header)) == header


@settings(deadline=None)
@given(st.text(max_size=100))
def test_no_value_raises(value):
    """Somebody, or nobody."""
    assert authserv_id(value) is None or isinstance(authserv_id(value), str)
