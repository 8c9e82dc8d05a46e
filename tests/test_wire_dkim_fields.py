"""Fields and tag lists, as they are signed."""

from __future__ import annotations

import pytest

from happy.wire.dkim_fields import (
    Field,
    Malformed,
    are_all,
    chosen,
    domain_of,
    fields_of,
    tags_of,
    without_signature,
)


def test_a_header_is_its_fields_as_they_came():
    """Folded lines belong to their field; what is no field is left out."""
    header = b"From: a\r\nnonsense\r\nSubject : b\r\n\tc\r\n\r\n"
    assert fields_of(header) == [
        Field(b"from", b"From: a\r\n"),
        Field(b"subject", b"Subject : b\r\n\tc\r\n"),
    ]
    assert fields_of(b"From: a") == [Field(b"from", b"From: a\r\n")]


@pytest.mark.parametrize(
    ("header", "clean"),
    [
        (b"From: a\r\nTo: b\r\n\t, c\r\n\r\n", True),
        (b"From: a\r\n", True),
        (b"From: a", True),
        (b"From: a\r\nnonsense\r\nTo: b\r\n\r\n", False),
        (b" From: a\r\nTo: b\r\n\r\n", False),
        (b"From nobody\r\nFrom: a\r\n\r\n", False),
    ],
)
def test_a_header_is_fields_or_it_is_not(header, clean):
    """A line that is no field is found, wherever it stands."""
    assert are_all(header, fields_of(header)) is clean


def test_two_forms_of_a_field():
    """Simple is what came; relaxed has one space for many, and a small name."""
    (field,) = fields_of(b"SubJect \t:  A \t B\r\n\t C  \r\n\r\n")
    assert field.canonical(simple=True) == field.raw
    assert field.canonical(simple=False) == b"subject:A B C\r\n"


def test_fields_of_one_name_are_signed_from_the_last_up():
    """RFC 6376 section 5.4.2; a name that is not there signs nothing."""
    fields = fields_of(b"R: 1\r\nS: x\r\nR: 2\r\n\r\n")
    picked = [one.value.strip() for one in chosen(fields, ["r", "s", "r", "r", "t"])]
    assert picked == [b"2", b"x", b"1"]


@pytest.mark.parametrize(
    ("field", "left"),
    [
        (b"D: a=1; b=XYZ; c=2\r\n", b"D: a=1; b=; c=2\r\n"),
        (b"D: b=X\r\n Y\r\n", b"D: b="),
        (b"D: bh=AB; b = X Y\r\n\tZ;\r\n", b"D: bh=AB; b =;\r\n"),
        (b"D: a=1\r\n", b"D: a=1\r\n"),
    ],
)
def test_a_signature_does_not_sign_itself(field, left):
    """Only the value of b= is gone, with the space around it; bh= stays."""
    assert without_signature(field) == left


@pytest.mark.parametrize(
    "text",
    ["a", "a=1; a=2", "=1", "1a=2", "a b=1", "a=1;;b", "a=1; ;b=2", "a=1;;", ";a=1", ";"],
)
def test_what_is_no_list_of_tags(text):
    """RFC 6376 section 3.2: no tag twice, each has a name and a value, one semicolon between."""
    with pytest.raises(Malformed):
        tags_of(text)


def test_tags_may_be_folded_and_empty():
    """White space around them is nothing; a semicolon may stand at the end."""
    assert tags_of(b" v = 1;\r\n\tb=A B; p=;") == {"v": "1", "b": "A B", "p": ""}


@pytest.mark.parametrize("text", ["", ".", "a..b", "a b.c", "a(.b", "x" * 64, "a." * 127 + "a"])
def test_what_is_no_domain(text):
    """What can be no name in DNS, and what a person could read as another one."""
    with pytest.raises(Malformed):
        domain_of(text)


def test_domains_are_as_dns_has_them():
    """Small letters, no dot at the end, and A-labels."""
    assert domain_of("Y.Example.") == "y.example"
    assert domain_of("Bücher.example") == "xn--bcher-kva.example"
