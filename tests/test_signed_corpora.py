"""Signed mail that others test their verifiers with, through a real mail door.

None of it is part of ours: ``.ci/run`` fetches it from where its authors publish their sources.
``HAPPY_DKIMPY`` says where dkimpy's was unpacked, ``HAPPY_MAIL_DKIM`` Perl's Mail::DKIM, which
brings ValiMail's suite for ARC with it. Each case has its authors' keys in DNS, and must come out
as they expect, but for the few that are named here with the reason.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import unittest
from pathlib import Path

import dkim
import pytest
import yaml
from twisted.internet.defer import fail
from twisted.names.error import DNSServerError

from facts_kit import FAILS, Zone
from test_wire_mail_checks import CheckingDoor

DKIMPY = os.environ.get("HAPPY_DKIMPY")
MAIL_DKIM = os.environ.get("HAPPY_MAIL_DKIM")
without_dkimpy = pytest.mark.skipif(DKIMPY is None, reason="HAPPY_DKIMPY is not set")
without_mail_dkim = pytest.mark.skipif(MAIL_DKIM is None, reason="HAPPY_MAIL_DKIM is not set")


def facts_of(message, zone, check):
    """Send a message through a door that makes a check; return the facts in its event."""
    content = re.sub(rb"\r?\n", b"\r\n", message)
    if not content.endswith(b"\r\n"):
        content += b"\r\n"
    letter = re.sub(rb"(?m)^\.", b"..", content)
    return CheckingDoor(zone, (check,)).take(letter).facts


def cases_of(path):
    """Yield every case of a file of ValiMail's suite, with the zone that it is in."""
    for scenario in yaml.load_all(path.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        records = scenario.get("txt-records") or {}
        names = {(name, "TXT"): [text.replace("\n", "")] for name, text in records.items()}
        for name, case in scenario["tests"].items():
            yield name, Zone(names), case


ARC_DIFFERS = {
    # RFC 8301 section 3.1: who still verifies SHA-1 believes what can be forged.
    "ams_fields_a_sha1": "fail",
    "as_fields_a_sha1": "fail",
    # RFC 6376 sections 3.5 and 5.4: h= has at least one name, and From is among them. It signs
    # nothing that a reader sees.
    "ams_fields_h_empty": "fail",
}


@without_mail_dkim
def test_valimails_suite_for_arc_comes_through_the_door():
    """Every chain that its authors call good passes, every other one does not."""
    path = Path(MAIL_DKIM, "t/arc_test_suite/arc-draft-validation-tests.yml")
    wrong, count = [], 0
    for name, zone, case in cases_of(path):
        count += 1
        found = facts_of(case["message"].encode(), zone, "arc").arc
        # A case without a word is what they could not agree on the reason of: it fails.
        if found.result != ARC_DIFFERS.get(name, (case["cv"] or "Fail").lower()):
            wrong.append((name, case["description"], case["cv"], found))
    assert wrong == []
    assert count > 150


# --- Mail::DKIM --------------------------------------------------------------------------------

RESULTS = {
    "pass": {"pass"},
    "fail": {"fail"},
    "invalid": {"neutral", "permerror", "temperror"},
    "none": {"none"},
}
NO_LONGER = {
    "DomainKeys": "RFC 5617 and 6376 took its place: such a message is not signed at all",
    "a draft": "before version 1 (RFC 4871) a signature was another thing",
    "SHA-1": "RFC 8301 section 3.1 forbids to verify it",
}


def age_of(message):
    """Return why nobody may verify the signatures of a message any more, None if he may."""
    header = re.sub(rb"\r?\n[ \t]+", b" ", re.split(rb"\r?\n\r?\n", message)[0])
    signatures = re.findall(rb"(?mi)^DKIM-Signature:(.*)$", header)
    if not signatures:
        return "DomainKeys"
    if not any(re.search(rb"\bv\s*=", one) for one in signatures):
        return "a draft"
    if not any(re.search(rb"\ba\s*=\s*[a-z0-9]+-sha256", one) for one in signatures):
        return "SHA-1"
    return None


def perls_zone():
    names = {}
    for line in Path(MAIL_DKIM, "t/FAKE_DNS.dat").read_text().splitlines():
        name, _, value = line.partition(" ")
        if name and name[0] not in "#;" and value.strip() != "NXDOMAIN":
            trouble = value.strip().startswith("~~")
            names[name.lower(), "TXT"] = FAILS if trouble else [value.strip()]
    return Zone(names)


@without_mail_dkim
def test_the_corpus_of_mail_dkim_comes_through_the_door():
    """What is signed as RFC 8301 wants it has its authors' result; what is older never passes."""
    expected = re.findall(
        r'test_email\(\s*"([^"]+)",\s*"(\w+)"\s*\)', Path(MAIL_DKIM, "t/verifier.t").read_text()
    )
    wrong, judged, older = [], 0, 0
    for name, word in expected:
        message = Path(MAIL_DKIM, "t/corpus", name).read_bytes()
        found = {one.result for one in facts_of(message, perls_zone(), "dkim").dkim} or {"none"}
        age = age_of(message)
        if age is None:
            judged += 1
            right = found <= RESULTS[word]
        else:
            older += 1
            right = found <= (RESULTS["none"] if age == "DomainKeys" else RESULTS["invalid"])
        if not right:
            wrong.append((name, word, age, found))
    assert wrong == []
    assert judged >= 7
    assert older > 60


# --- dkimpy ------------------------------------------------------------------------------------

DKIMPY_TESTS = (
    "test_arc",
    "test_dkim",
    "test_dkim_ed25519",
    "test_dkim_generate",
    "test_dkim_rsavariants",
    "test_dkim_tlsrpt",
)
NOT_FOR_A_DOOR = {
    # RFC 8301 section 3.2: a key of 512 bits, which dkimpy takes when it is asked to.
    "test_dkim.test_dkim_signature_canonicalization",
    # These say that the message is a TLS report (RFC 8460), for which other rules hold.
    "test_dkim_tlsrpt.test_tlsrpt_ignore_l_verify",
    "test_dkim_tlsrpt.test_tlsrpt_with_no_tlsrptsvc",
    "test_dkim_tlsrpt.test_tlsrpt_with_strict_no_tlsrptsvc",
    "test_dkim_tlsrpt.test_tlsrpt_with_strict_tlsrptsvc",
    "test_dkim_tlsrpt.test_tlsrpt_with_tlsrptsvc",
}


def dkimpys_tests():
    """Return the tests of dkimpy's own by name."""
    found = {}
    for name in DKIMPY_TESTS:
        path = Path(DKIMPY or "", "dkim/tests", f"{name}.py")
        if path.exists():
            spec = importlib.util.spec_from_file_location(f"dkimpys_{name}", path)
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            for suite in unittest.defaultTestLoader.loadTestsFromModule(module):
                found.update({f"{name}.{one._testMethodName}": one for one in suite})
    return {name: test for name, test in found.items() if name not in NOT_FOR_A_DOOR}


TESTS = dkimpys_tests()


class TheirZone(Zone):
    """A resolver that asks a function of dkimpy's."""

    def __init__(self, dnsfunc):
        super().__init__()
        self._dnsfunc = dnsfunc

    def _look_up(self, kind, name, timeout):
        assert kind == "TXT"
        try:
            told = self._dnsfunc(name.encode() + b".", timeout=5)
        except AssertionError:  # their way to say that there is no such name
            return self._answer(kind, name, None)
        if told is None:
            return fail(DNSServerError())
        text = told if isinstance(told, str) else told.decode("latin-1")
        return self._answer(kind, name, [text.strip()] if text else None)


@pytest.fixture
def door_for_dkimpy(monkeypatch):
    """Put a mail door in the place of dkimpy's verifier."""
    theirs = dkim.DKIM.verify
    set_message = dkim.DomainSigner.set_message

    def remember(self, message):
        self.whole = message
        set_message(self, message)

    def verify(self, idx=0, dnsfunc=None):
        with contextlib.suppress(dkim.DKIMException, AssertionError):
            theirs(self, idx, dnsfunc)  # for what it leaves in its attributes
        found = facts_of(self.whole, TheirZone(dnsfunc), "dkim").dkim
        return len(found) > idx and found[idx].result == "pass"

    def verify_arc(self, dnsfunc=None):
        found = facts_of(self.whole, TheirZone(dnsfunc), "arc").arc
        return found.result.encode(), [], found.reason

    monkeypatch.setattr(dkim.DomainSigner, "set_message", remember)
    monkeypatch.setattr(dkim.DKIM, "verify", verify)
    monkeypatch.setattr(dkim.ARC, "verify", verify_arc)


@without_dkimpy
@pytest.mark.parametrize("name", sorted(TESTS) or [None])
def test_dkimpys_tests_hold_for_the_door(name, door_for_dkimpy):
    """Each of dkimpy's tests of its verifier, with a mail door in its place."""
    result = unittest.TestResult()
    TESTS[name].run(result)
    assert result.failures + result.errors + result.skipped == []
    assert result.testsRun == 1
