"""Which checks of mail a configuration asks for, and what it cannot ask for."""

from __future__ import annotations

import re

import pytest

from happy.config import checks
from happy.config.checks import read_checks


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ([], ()),
        (["dkim"], ("dkim",)),
        (["arc", "spf", "arc"], ("spf", "arc")),
        (["arc", "dmarc", "dkim", "spf"], ("spf", "dkim", "dmarc", "arc")),
    ],
)
def test_checks_are_asked_for_by_name(value, names):
    """In any order; each once."""
    assert read_checks(value, None) == names


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("spf", "expected a list of spf, dkim, dmarc, arc"),
        (["dkmi"], "expected spf, dkim, dmarc, arc, not 'dkmi' (did you mean dkim?)"),
        ([1], "expected spf, dkim, dmarc, arc, not 1"),
        (["dmarc"], "dmarc is made of spf and dkim: add spf and dkim"),
        (["dmarc", "spf"], "dmarc is made of spf and dkim: add dkim"),
    ],
)
def test_what_cannot_be_meant_is_told(value, sentence):
    """One sentence, with what to write instead."""
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        read_checks(value, None)


def test_spf_without_its_library_is_no_start(monkeypatch):
    """The sentence says what to install; without spf nothing is missing."""
    monkeypatch.setattr(checks, "installed", lambda: False)
    with pytest.raises(ValueError, match=r"pip install 'happy\[spf\]'"):
        read_checks(["spf"], None)
    assert read_checks(["dkim", "arc"], None) == ("dkim", "arc")
