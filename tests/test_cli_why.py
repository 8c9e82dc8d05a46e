"""`happy why`: every event that touched a row, with its provenance."""

import sys
from datetime import date
from enum import Enum

import click
import pytest

from cli_kit import contents, happy, lines
from happy.cli.why import _key_of
from past_kit import AGAIN, BY_MAIL, DROPPED, FIRED, LAST, POSTED, SENT, Past


@pytest.fixture(scope="module")
def past(tmp_path_factory):
    """Return an application with a past."""
    made = Past(tmp_path_factory.mktemp("past"), "shop_of_why")
    yield made
    sys.modules.pop(made.module, None)
    sys.path[:] = [place for place in sys.path if place != str(made.folder)]


def why(past, *options):
    return happy("why", "shop", "--config", past.config, *options)


def test_every_event_that_touched_a_row_is_told(past):
    """Put by mail, changed by a request, removed by another; refused ones touched nothing."""
    before = contents(past.folder)
    first, second, third = lines(why(past, "items", "pot", "--json"))
    assert (first["seq"], first["type"]) == (BY_MAIL, "happy.Mail")
    assert first["source"] == "smtp 127.0.0.1"
    assert first["did"]["change"] == "added"
    assert first["did"]["row"] == {"size": 2, "source": "bob@example.org"}
    assert (second["seq"], second["source"]) == (AGAIN, "http POST /pot")
    assert second["did"]["fields"]["size"] == {"old": 2, "new": 3}
    assert (third["seq"], third["did"]["change"]) == (DROPPED, "removed")
    assert contents(past.folder) == before


def test_timers_and_effects_name_who_owed_them(past):
    """A timer says what it brought; it and the end of a mail name the event that owed them."""
    posted, fired = lines(why(past, "items", "b7", "--json"))
    assert (posted["seq"], posted["key"], posted["owed_by"]) == (POSTED, "k1", None)
    assert fired["seq"] == FIRED
    assert fired["owed_by"] == {"seq": POSTED, "type": "Put", "source": "http POST /b7"}
    assert fired["brought"] == {"type": "Grow", "body": {"name": "b7"}}
    (sent,) = lines(why(past, "sent", SENT, "--json"))
    assert sent["owed_by"] == {"seq": FIRED, "type": "happy.TimerFired", "source": "timer"}
    text = why(past, "items", "b7").stdout
    owed = f"owed by seq {POSTED} (Put from http POST /b7)\n"
    assert f": happy.TimerFired from timer, {owed}" in text
    assert '  brought Grow {"name":"b7"}\n  items["b7"] size: 7 -> 8\n' in text
    assert text.endswith(f'2 of {LAST} events touched items["b7"]\n')
    assert "Put from http POST /b7, key k1\n" in text


def test_a_field_has_a_story_too(past):
    """A field that is no table is asked for without a key; the last --limit events are shown."""
    seqs = [touched["seq"] for touched in lines(why(past, "puts", "--json"))]
    assert seqs == [POSTED, BY_MAIL, AGAIN, LAST]
    text = why(past, "puts", "--limit", 1).stdout
    assert text.startswith(f"3 earlier events left out\nseq {LAST}, ")
    assert '  event: {"name":"cup","size":1}\n  puts: 3 -> 4\n' in text


def test_a_row_nobody_touched_is_said(past):
    """Status 1, with how many events there were."""
    result = why(past, "items", "b8")
    assert result.exit_code == 1
    assert result.stderr == f'shop: none of {LAST} events ever touched items["b8"]\n'


def test_a_row_that_cannot_be_is_a_mistake_in_the_command(past):
    """An unknown table, a key of another type, a key too much or too little: status 64."""
    result = why(past, "itmes", "b7")
    assert result.exit_code == 64
    assert "it has items, sizes, sent, puts" in result.stderr
    assert why(past, "items").exit_code == 64
    assert why(past, "puts", "1").exit_code == 64
    result = why(past, "sent", "b7")
    assert result.exit_code == 64
    assert "the keys of sent are int, not 'b7'" in result.stderr
    assert lines(why(past, "sizes", '["b7", 7]', "--json"))[0]["seq"] == POSTED


class Color(Enum):
    """A key."""

    RED = "red"


@pytest.mark.parametrize(
    ("text", "kind", "key"),
    [
        ("17", str, "17"),
        ('"17"', str, '"17"'),
        ("17", int, 17),
        ('["a", 1]', tuple[str, int], ("a", 1)),
        ("red", Color, Color.RED),
        ("2026-01-02", date, date(2026, 1, 2)),
        ("17", int | str, 17),
        ("ann", int | str, "ann"),
        ("YQ==", bytes, b"a"),
    ],
)
def test_keys_are_read_as_their_type(text, kind, key):
    """Text as it stands, anything else as JSON, or as JSON would have it within quotes."""
    assert _key_of("rows", text, kind) == key


def test_a_key_that_is_none_is_refused():
    """With the type that was expected."""
    with pytest.raises(click.UsageError, match="the keys of rows are int, not 'x'"):
        _key_of("rows", "x", int)
