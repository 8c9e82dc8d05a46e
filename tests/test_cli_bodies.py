"""How events are shown: as JSON that loses nothing."""

import base64
import json
import math

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from happy.cli.bodies import checked, plain, records_in
from happy.cli.output import json_line
from happy.errors import Corrupt
from happy.journal.frame import Frame, Kind

names = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)


def restore(shown):
    """Read the notation back, as its description says."""
    match shown:
        case {"$utf8": text}:
            return text.encode()
        case {"$base64": text}:
            return base64.b64decode(text)
        case {"$float": text}:
            return float(text)
        case dict():
            return {name: restore(inner) for name, inner in shown.items()}
        case list():
            return [restore(inner) for inner in shown]
    return shown


@given(values)
def test_what_is_shown_can_be_read_back_exactly(value):
    """Bytes stay bytes and text stays text, whatever is in them."""
    journaled = msgspec.msgpack.decode(msgspec.msgpack.encode(value))
    assert restore(json.loads(json_line(plain(journaled)))) == value


def test_numbers_that_json_has_not_are_shown():
    """Infinity and not-a-number are not silently null."""
    assert plain([math.inf, -math.inf]) == [{"$float": "inf"}, {"$float": "-inf"}]
    assert plain(math.nan) == {"$float": "nan"}


@given(st.text())
def test_a_line_is_one_line_of_harmless_characters(text):
    """No control character, and no line end but its own."""
    line = json_line(text).decode()
    assert line.endswith("\n")
    assert all(" " <= c != "\x7f" and not "\x80" <= c <= "\x9f" for c in line[:-1])


# --- records ----------------------------------------------------------------------------------


def frame_of(body, count):
    return Frame(Kind.EVENTS, 1, count, 0, 0, b"", body, 4096, 4096 + 72 + len(body))


def body_with(*records):
    return b"".join(len(record).to_bytes(4, "little") + record for record in records)


def outcome(read, frame):
    """Return the records, or what is said about the first that is none."""
    try:
        return list(read(frame))
    except Corrupt as error:
        return str(error)


GOOD = [msgspec.msgpack.encode(["Note", 1, {"text": "x" * n}, "test"]) for n in (0, 3, 300)]


@given(
    st.lists(st.sampled_from([*GOOD, b"", b"\xc1", GOOD[0][:-1], GOOD[0] + b"\0"]), max_size=4),
    st.integers(-1, 1),
    st.binary(max_size=5),
)
def test_reading_fast_is_reading_the_same(records, more, rest):
    """Whatever stands in a frame: the same records, or the same sentence with its seq."""
    frame = frame_of(body_with(*records) + rest, max(0, len(records) + more))
    assert outcome(checked, frame) == outcome(lambda f: [r for _, r in records_in(f)], frame)
