"""One tree of errors: whose fault, and how a door puts it."""

from __future__ import annotations

import inspect

import pytest

from happy import errors
from happy.errors import (
    BadRequest,
    Busy,
    ConfigError,
    DefinitionError,
    DuplicateKey,
    Halted,
    HandlerFailed,
    HappyError,
    JournalError,
    KeyReused,
    NoRoom,
    NotOpen,
    PeerError,
    Refused,
    TooLarge,
    Unavailable,
)

CLASSES = [
    cls
    for _, cls in inspect.getmembers(errors, inspect.isclass)
    if cls.__module__ == errors.__name__
]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_error_is_in_the_tree_and_explained(cls):
    """One ``except HappyError`` catches all, and each class says what it means."""
    assert issubclass(cls, HappyError)
    assert cls.__doc__
    assert cls.__doc__ != cls.__base__.__doc__


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_error_has_words_for_the_doors(cls):
    """The three codes are sane and agree: 4yz goes with 4.x.x, 5yz with 5.x.x."""
    assert 400 <= cls.http_status <= 599
    assert 400 <= cls.smtp_code <= 599
    assert cls.smtp_status.split(".")[0] == str(cls.smtp_code)[0]
    assert len(cls.smtp_status.split(".")) == 3


@pytest.mark.parametrize(
    "cls",
    [cls for cls in CLASSES if not issubclass(cls, PeerError | Refused)],
    ids=lambda c: c.__name__,
)
def test_our_trouble_is_never_permanent(cls):
    """What is not the peer's fault is 5xx over HTTP and 4xx over SMTP: mail is not bounced."""
    assert cls.http_status >= 500
    assert cls.smtp_code < 500


@pytest.mark.parametrize(
    ("cls", "http", "smtp"),
    [
        (BadRequest, 400, 554),
        (TooLarge, 413, 552),
        (KeyReused, 422, 554),
        (Busy, 503, 452),
        (NoRoom, 503, 452),
        (NotOpen, 503, 421),
        (Halted, 503, 451),
        (HappyError, 500, 451),
    ],
)
def test_the_codes_peers_rely_on(cls, http, smtp):
    """Promise 7: full is 503 and 452, closing 503 and 421, and so on."""
    assert (cls.http_status, cls.smtp_code) == (http, smtp)


def test_what_is_unavailable_says_when_to_try_again():
    """``Retry-After`` has a positive number of seconds for each."""
    for cls in CLASSES:
        if issubclass(cls, Unavailable):
            assert cls.retry_after_s > 0


def test_a_refusal_carries_its_own_codes():
    """``Refused`` is 409 and 554 unless the handler says otherwise; the class stays as it was."""
    mine = Refused("no seat left", http_status=410, smtp=(550, "5.1.1"))
    assert (str(mine), mine.http_status, mine.smtp_code, mine.smtp_status) == (
        "no seat left", 410, 550, "5.1.1",
    )  # fmt: skip
    plain = Refused("no")
    assert (plain.http_status, plain.smtp_code, plain.smtp_status) == (409, 554, "5.7.1")


def test_a_bad_request_lists_its_faults():
    """Every fault is a sentence of its own."""
    assert BadRequest("two faults", ("a", "b")).errors == ("a", "b")
    assert BadRequest("one").errors == ()


def test_a_failed_handler_is_found_by_its_reference():
    """The peer hears a reference and no internals."""
    failed = HandlerFailed("numbers/7")
    assert failed.reference == "numbers/7"
    assert "numbers/7" in str(failed)


def test_a_duplicate_key_reads_as_a_sentence():
    """It is a ``KeyError`` for those who catch one, but prints without quotes."""
    assert str(DuplicateKey("mail 1 is taken")) == "mail 1 is taken"
    assert isinstance(DuplicateKey("x"), KeyError)


def test_a_wrong_definition_is_a_type_error():
    """Tools that catch ``TypeError`` at definition time catch ours."""
    assert issubclass(DefinitionError, TypeError)


def test_configuration_complaints_are_kept_apart():
    """All complaints are in the message, one to a line, and each by itself."""
    error = ConfigError(("a.toml:1: x: wrong", "a.toml:2: y: wrong"))
    assert str(error).splitlines() == list(error.complaints)


def test_disk_errors_are_one_branch():
    """What the operator must mend on disk is a ``JournalError``; a full disk is not."""
    names = {cls.__name__ for cls in CLASSES if issubclass(cls, JournalError)}
    assert names >= {"Locked", "NotAJournal", "Corrupt", "Ambiguous", "UnknownEvent", "SyncFailed"}
    assert not issubclass(NoRoom, JournalError)
