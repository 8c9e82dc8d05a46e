"""SPF over answers that are there: what each mechanism says, and all of the RFC's own suite."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import yaml
from twisted.internet.defer import fail
from twisted.names.error import DNSServerError

from facts_kit import Zone
from happy.facts import DnsAnswer, Spf
from happy.wire import spf_check
from happy.wire.spf_check import check_spf, installed
from test_wire_mail_checks import CheckingDoor

SUITE = Path(os.environ.get("HAPPY_SPF_SUITE", ""))
CLIENT = "192.0.2.7"


def spf(zone, client=CLIENT, sender="ann@y.example", helo="h.example"):
    """Return the result of SPF; ``zone`` is (name, kind) to values, or to how it fails."""
    asked = []

    def lookup(name, kind):
        asked.append((name, kind))
        found = zone.get((name, kind), "nxdomain")
        if isinstance(found, str):
            return DnsAnswer(name, kind, found)
        return DnsAnswer(name, kind, "found", tuple(found))

    result = check_spf(client, sender, helo, "mx.lists.example", lookup)
    result_of.asked = asked
    return result


def result_of(record, client=CLIENT, **more):
    """Return the result of a record of ``y.example``; ``more`` are other names' records."""
    zone = {("y.example", "TXT"): [record]}
    for key, values in more.items():
        kind, _, name = key.partition("_")
        zone[name.replace("_", "."), kind] = values
    return spf(zone, client).result


@pytest.mark.parametrize(
    ("record", "more", "result"),
    [
        ("v=spf1 -all", {}, "fail"),
        ("v=spf1 ~all", {}, "softfail"),
        ("v=spf1 ?all", {}, "neutral"),
        ("v=spf1", {}, "neutral"),
        ("v=spf1 ip4:192.0.2.0/24 -all", {}, "pass"),
        ("v=spf1 ip6:2001:db8::/32 -all", {}, "fail"),
        ("v=spf1 a -all", {"A_y_example": [CLIENT]}, "pass"),
        ("v=spf1 a:m.y.example/24 -all", {"A_m_y_example": ["192.0.2.200"]}, "pass"),
        (
            "v=spf1 mx -all",
            {"MX_y_example": ["10 m.example", "20 n.example"], "A_n_example": [CLIENT],
             "A_m_example": ["192.0.2.9"]},
            "pass",
        ),
        ("v=spf1 include:o.example -all", {"TXT_o_example": ["v=spf1 ip4:192.0.2.7"]}, "pass"),
        ("v=spf1 include:o.example ~all", {"TXT_o_example": ["v=spf1 -all"]}, "softfail"),
        ("v=spf1 include:o.example -all", {}, "permerror"),
        ("v=spf1 redirect=o.example", {"TXT_o_example": ["v=spf1 -all"]}, "fail"),
        ("v=spf1 redirect=o.example", {}, "permerror"),
        ("v=spf1 exists:%{ir}.x.example -all", {"A_7_2_0_192_x_example": ["127.0.0.2"]}, "pass"),
        (
            "v=spf1 ptr:y.example -all",
            {"PTR_7_2_0_192_in-addr_arpa": ["m.y.example"], "A_m_y_example": [CLIENT]},
            "pass",
        ),
        ("v=spf1 nonsense -all", {}, "permerror"),
        ("v=spf1 a:o.example -all", {"A_o_example": "failed"}, "temperror"),
        ("v=spf2 -all", {}, "none"),
    ],
)  # fmt: skip
def test_each_mechanism_says_what_it_means(record, more, result):
    """RFC 7208 sections 4 to 6, one of each."""
    assert result_of(record, **more) == result


def test_addresses_of_the_new_kind_match_too():
    """ip6 and AAAA; a mapped old address is an old address."""
    record = "v=spf1 ip6:2001:db8::/32 a -all"
    assert result_of(record, "2001:db8::7") == "pass"
    assert result_of(record, "2001:dead::7", AAAA_y_example=["2001:dead::7"]) == "pass"
    assert result_of("v=spf1 ip4:192.0.2.7 -all", "::ffff:192.0.2.7") == "pass"


def test_a_record_asks_dns_ten_times_and_no_oftener():
    """RFC 7208 section 4.6.4: the eleventh makes it an error."""
    many = {f"A_n{n}_example": ["203.0.113.1"] for n in range(11)}
    terms = [f"a:n{n}.example" for n in range(11)]
    assert result_of(f"v=spf1 {' '.join(terms[:10])} -all", **many) == "fail"
    assert result_of(f"v=spf1 {' '.join(terms)} -all", **many) == "permerror"


def test_names_that_are_not_there_are_asked_for_twice_and_no_oftener():
    """RFC 7208 section 4.6.4: two void lookups."""
    assert result_of("v=spf1 a:a.test a:b.test -all") == "fail"
    assert result_of("v=spf1 a:a.test a:b.test a:c.test -all") == "permerror"


def test_two_records_are_an_error():
    """RFC 7208 section 4.5."""
    assert spf({("y.example", "TXT"): ["v=spf1 -all", "v=spf1 +all"]}).result == "permerror"


def test_a_fail_may_be_explained_by_the_domain():
    """Its own words, from another record; without control characters."""
    zone = {
        ("y.example", "TXT"): ["v=spf1 exp=why.y.example -all"],
        ("why.y.example", "TXT"): ["not from %{i}\r\nX-Evil: yes"],
    }
    assert spf(zone) == Spf("fail", "y.example", "mailfrom", "not from 192.0.2.7X-Evil: yes")


@pytest.mark.parametrize("sender", ["ann@[192.0.2.1]", "ann@x..example", "ann@" + "x" * 64, "ann"])
def test_a_sender_whose_domain_is_none_has_no_result(sender):
    """RFC 7208 section 4.3."""
    assert spf({}, sender=sender).result == "none"


def test_a_domain_in_another_script_is_asked_as_dns_has_it():
    """RFC 7208 section 4.3: as an A-label."""
    zone = {("xn--bcher-kva.example", "TXT"): ["v=spf1 +all"]}
    found = spf(zone, sender="ann@bücher.example")
    assert (found.result, found.domain) == ("pass", "xn--bcher-kva.example")


def test_a_bounce_is_judged_by_the_name_of_its_client():
    """RFC 7208 section 2.4."""
    found = spf({("h.example", "TXT"): ["v=spf1 +all"]}, sender="")
    assert found == Spf("pass", "h.example", "helo")


@pytest.mark.parametrize(
    "record",
    [
        "v=spf1 " + "a:" + "%{d}." * 1_000,
        "v=spf1 " + "%{d}" * 1_000,
        "v=spf1 exists:%{l0r}.x",
        "v=spf1 ip4:999.1.1.1",
        "v=spf1 a/999999999999",
        "v=spf1 ip6:::::::::::",
        "v=spf1 " + "a " * 2_000,
        "v=spf1 \xff\xfe",
        "v=spf1 mx:" + "." * 300,
        "v=spf1 include:%{",
    ],
)
def test_a_hostile_record_is_an_error_and_raises_nothing(record):
    """Anybody may write what he likes into his own DNS."""
    assert result_of(record) in {"permerror", "temperror", "fail", "neutral", "none"}


def test_without_pyspf_it_says_so(monkeypatch):
    """The extra may be missing; a door that needs it is not opened."""
    monkeypatch.setitem(sys.modules, "spf", None)
    monkeypatch.setattr(spf_check, "_query_class", spf_check._query_class.__wrapped__)
    assert not installed()


def test_with_pyspf_it_is_there():
    """As in the tests."""
    assert installed()


# --- the suite of the RFC ----------------------------------------------------------------------


def _cases(path):
    """Yield every case of a file of the suite, with its zone."""
    for scenario in yaml.load_all(path.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        for name, case in scenario["tests"].items():
            yield name, _zone_lookup(scenario["zonedata"]), case


def _zone_lookup(zonedata):
    """Return a lookup in the zone of a scenario, in the suite's own terms."""
    zone = {name.lower(): records for name, records in zonedata.items()}

    def lookup(name, kind, origin=None, depth=0):
        origin = origin or name
        if name not in zone:
            failed = name.startswith("error.")
            return DnsAnswer(origin, kind, "failed" if failed else "nxdomain")
        pairs = [pair for one in zone[name] if isinstance(one, dict) for pair in one.items()]
        if kind == "TXT" and all(of != "TXT" for of, _ in pairs):
            pairs = [("TXT" if of == "SPF" else of, value) for of, value in pairs]
        values = [value for of, value in pairs if of == kind and value != "NONE"]
        if "TIMEOUT" in values or ("TIMEOUT" in zone[name] and not values):
            return DnsAnswer(origin, kind, "failed")
        alias = next((value for of, value in pairs if of == "CNAME"), None)
        if not values and alias is not None and depth < 10:
            return lookup(alias.lower(), kind, origin, depth + 1)
        if not values:
            return DnsAnswer(origin, kind, "nodata")
        return DnsAnswer(origin, kind, "found", tuple(_as_text(kind, one) for one in values))

    return lookup


def _as_text(kind, value):
    if kind == "MX":
        return f"{value[0]} {value[1].lower()}"
    text = value if isinstance(value, str) else "".join(value)
    return text.encode().decode("latin-1")


@pytest.mark.skipif(not SUITE.name, reason="HAPPY_SPF_SUITE is not set: pyspf's test folder")
@pytest.mark.parametrize("rfc", ["rfc7208", "rfc4408"])
def test_the_suite_of_the_rfc(rfc):
    """Every case of the suite comes out as its authors expect, with the same explanation."""
    wrong, count = [], 0
    for name, lookup, case in _cases(SUITE / f"{rfc}-tests.yml"):
        count += 1
        found = check_spf(str(case["host"]), case["mailfrom"] or "", case["helo"], "", lookup)
        expected, explanation = case["result"], case.get("explanation", "DEFAULT")
        right = found.result in ([expected] if isinstance(expected, str) else expected)
        if not right or explanation not in ("DEFAULT", found.explanation):
            wrong.append((name, expected, explanation, found))
    assert wrong == []
    assert count > 150


class _SuiteZone(Zone):
    """A resolver that asks the lookup of a scenario."""

    def __init__(self, lookup):
        super().__init__()
        self._lookup = lookup

    def _look_up(self, kind, name, timeout):
        found = self._lookup(name.lower(), kind)
        if found.status == "failed":
            return fail(DNSServerError())
        return self._answer(kind, name, found.values if found.status != "nxdomain" else None)


def _through_the_door(case, lookup):
    """Send a mail as a case says; return its SPF in the event, None when the door takes none."""
    door = CheckingDoor(_SuiteZone(lookup), ("spf",))
    peer = door.connect(str(case["host"]))
    sender = (case["mailfrom"] or "").encode()
    for line in (
        b"EHLO " + str(case["helo"]).encode(),
        b"MAIL FROM:<" + sender + b">",
        b"RCPT TO:<dev@lists.example>",
        b"DATA",
    ):
        if not peer.say(line).startswith(("250", "354")):
            return None
    peer.push(b"Subject: x\r\n\r\nx\r\n.\r\n")
    return door.mails[-1].facts.spf


@pytest.mark.skipif(not SUITE.name, reason="HAPPY_SPF_SUITE is not set: pyspf's test folder")
@pytest.mark.parametrize("rfc", ["rfc7208", "rfc4408"])
def test_the_suite_of_the_rfc_comes_through_the_door(rfc):
    """What the authors of a case expect stands in the event of a mail sent as it says."""
    wrong, count = [], 0
    for name, lookup, case in _cases(SUITE / f"{rfc}-tests.yml"):
        found = _through_the_door(case, lookup)
        if found is None:  # a name or a sender that is none goes no further than its command
            continue
        count += 1
        expected = case["result"]
        if found.result not in ([expected] if isinstance(expected, str) else expected):
            wrong.append((name, expected, found))
    assert wrong == []
    assert count > 150
