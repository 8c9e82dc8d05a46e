"""Passwords as the configuration has them: hashes that cost time, and how they are written."""

from __future__ import annotations

import hashlib

import pytest

from happy.wire.passwords import (
    Cost,
    check_name,
    hash_of_nothing,
    hashed,
    read_hash,
    read_users,
)

CHEAP = Cost(1, 1, 1)


def test_a_hash_is_scrypt_of_the_password_and_a_salt_of_its_own():
    """As RFC 7914 has it, so that others' programs make and check the same."""
    kept = hashed("secret", CHEAP)
    expected = hashlib.scrypt(b"secret", salt=kept.salt, n=2, r=1, p=1, dklen=32)
    assert kept.digest == expected
    assert hashed("secret", CHEAP).salt != kept.salt


def test_a_test_vector_of_the_rfc():
    """RFC 7914 section 12, the second."""
    digest = bytes.fromhex(
        "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162"
        "2eaf30d92e22a3886ff109279d9830dac727afb94a83ee6d8360cbdfa2cc0640"
    )
    kept = hashed("x", Cost(10, 8, 16))
    again = type(kept)(Cost(10, 8, 16), b"NaCl", digest)
    assert again.matches("password")
    assert not again.matches("Password")


def test_what_is_written_is_read_again_and_shows_nothing():
    """The hash survives its text; a repr, as it may stand in a log, has neither part of it."""
    kept = hashed("secret", CHEAP)
    assert read_hash(str(kept)) == kept
    assert read_hash(str(kept)).matches("secret")
    assert str(kept).startswith("$scrypt$ln=1,r=1,p=1$")
    assert str(kept).rpartition("$")[2] not in repr(kept)
    assert "digest" not in repr(kept)


def test_a_password_is_the_same_however_it_is_typed():
    """Composed or not, and with any blank (RFC 8265 section 4.2); its case counts."""
    kept = hashed("s\u00e9same ouvre", CHEAP)
    assert kept.matches("se\u0301same\u00a0ouvre")
    assert not kept.matches("S\u00e9same ouvre")
    assert not kept.matches("")


def test_no_password_has_the_hash_of_nothing():
    """It is there to be compared with, and is new each time."""
    nothing = hash_of_nothing(CHEAP)
    assert nothing.cost == CHEAP
    assert not nothing.matches("")
    assert hash_of_nothing(CHEAP) != nothing


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: "secret", "no password hash"),
        (lambda text: text.replace("scrypt", "argon2"), "no password hash"),
        (lambda text: text.replace("ln=1,", "ln=17,").replace("r=1", "r=8"), "64 MiB of memory"),
        (lambda text: text.replace("ln=1,", "ln=99,"), "costs too much"),
        (lambda text: text.replace("p=1", "p=0"), "costs too much"),
        (lambda text: text[:-2], "is cut"),
        (lambda text: text + "\n", "no password hash"),
    ],
)
def test_what_is_no_hash_is_refused_and_not_repeated(change, words):
    """Damage and costs beyond measure: a sentence without the hash in it."""
    text = change(str(hashed("secret", CHEAP)))
    with pytest.raises(ValueError, match=words) as caught:
        read_hash(text)
    assert text not in str(caught.value)


def test_a_file_has_a_user_on_each_line():
    """NAME:HASH; empty lines and comments are passed over."""
    ann, bob = hashed("a", CHEAP), hashed("b", CHEAP)
    text = f"# users\n\nann:{ann}\r\nbob@lists.example:{bob}\n"
    assert read_users(text) == {"ann": ann, "bob@lists.example": bob}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("\nann", "line 2 is not written NAME:HASH"),
        ("ann:secret", "line 1 is no password hash"),
        ("a b:x", "line 1 'a b' is no name"),
        (f"ann:{hashed('a', CHEAP)}\nann:{hashed('a', CHEAP)}", "line 2 ann is there twice"),
    ],
)
def test_a_line_that_cannot_be_read_is_told_by_its_number(text, words):
    """The first one ends it."""
    with pytest.raises(ValueError, match=words):
        read_users(text)


@pytest.mark.parametrize("name", ["", "a:b", "a b", "a\nb", "a\0", "x" * 256])
def test_what_can_be_no_name(name):
    """No blank, no colon, no control character."""
    with pytest.raises(ValueError, match="is no name"):
        check_name(name)
