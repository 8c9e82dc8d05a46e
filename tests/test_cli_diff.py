"""`happy diff`: the rows and fields that changed between two moments."""

import sys

import pytest

from cli_kit import contents, happy, lines
from past_kit import AGAIN, BY_MAIL, FIRED, LAST, POSTED, Past


@pytest.fixture(scope="module")
def past(tmp_path_factory):
    """Return an application with a past."""
    made = Past(tmp_path_factory.mktemp("past"), "shop_of_diff")
    yield made
    sys.modules.pop(made.module, None)
    sys.path[:] = [place for place in sys.path if place != str(made.folder)]


def diff(past, *options):
    return happy("diff", "shop", "--config", past.config, *options)


def test_rows_and_fields_that_changed_are_shown(past):
    """Added, removed, and field by field; then --json says the same. Nothing is written."""
    before = contents(past.folder)
    result = diff(past, BY_MAIL, FIRED)
    assert result.exit_code == 0, result.stderr
    head, *said = result.stdout.splitlines()
    assert head.startswith(f"shop: seq {BY_MAIL} (2001-")
    assert head.endswith("), 5 events")
    assert "items: 2 changed" in said
    assert '  items["pot"] size: 2 -> 3' in said
    assert '  items["pot"] source: "bob@example.org" -> "web"' in said
    assert '  items["b7"] size: 7 -> 8' in said
    assert "  puts: 2 -> 3" in said
    assert f'  sizes[["pot",3]] added: {AGAIN}' in said
    (plain,) = lines(diff(past, BY_MAIL, FIRED, "--json"))
    assert plain["from"]["seq"] == BY_MAIL
    assert plain["to"]["seq"] == FIRED
    assert plain["tables"] == {"items": {"changed": 2}, "sizes": {"added": 1}}
    changed = {"change": "changed", "table": "items", "key": "b7"}
    assert {**changed, "fields": {"size": {"old": 7, "new": 8}}} in plain["changes"]
    assert {"change": "changed", "field": "puts", "old": 2, "new": 3} in plain["changes"]
    assert contents(past.folder) == before


def test_a_row_that_came_and_went_has_not_changed(past):
    """From the beginning to the end: a pot was put, changed, and taken away."""
    result = diff(past, 0, LAST)
    assert 'items["pot"]' not in result.stdout
    assert 'items["b7"] added: {"size":8,"source":"web"}' in result.stdout
    assert result.stdout.startswith("shop: the beginning to seq")
    assert 'items["pot"] removed: {"size":3' in diff(past, FIRED, LAST).stdout


def test_what_is_shown_is_bounded(past):
    """At most --limit rows; how many more there are is said."""
    result = diff(past, 0, LAST, "--limit", 1)
    (plain,) = lines(diff(past, 0, LAST, "--limit", 1, "--json"))
    assert len(plain["changes"]) == 1
    assert plain["left_out"] > 1
    assert result.stdout.endswith(f"  and {plain['left_out']} more\n")


def test_moments_may_be_times(past):
    """A time is the last event up to it; a range without events says that nothing changed."""
    (plain,) = lines(diff(past, POSTED, LAST, "--json"))
    moment = plain["from"]["time"]
    (same,) = lines(diff(past, moment, plain["to"]["time"], "--json"))
    assert same["from"]["time"] == moment
    assert diff(past, LAST, "2030-01-01T00:00:00Z").stdout.endswith("nothing changed\n")
    (all_of_it,) = lines(diff(past, "1999-01-01T00:00:00Z", LAST, "--json"))
    assert all_of_it["from"] == {"seq": 0, "time": None}


def test_moments_that_are_not_there_are_refused(past):
    """B before A is 64, a seq behind the end 1."""
    assert diff(past, 5, 4).exit_code == 64
    assert diff(past, 5, 99).exit_code == 1
    result = diff(past, 99, "2030-01-01T00:00:00Z")
    assert result.exit_code == 1
    assert f"there is no seq 99: the journal ends with seq {LAST}" in result.stderr
