"""JSON that can mean one thing only."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from happy.strict_json import decode_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text() | st.floats(-1e9, 1e9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@settings(deadline=None)
@given(VALUES, st.booleans(), st.sampled_from([None, 1]))
def test_what_has_each_name_once_is_taken(value, ascii_only, indent):
    """Whatever stands in names and texts: colons, quotes, backslashes."""
    data = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    assert decode_json(data) == value


NAMES = st.sampled_from(["a", "", ":", '"', "\\", '\\":', "é", "{", "\\u0061"])


@settings(deadline=None)
@given(NAMES, VALUES, VALUES, st.lists(NAMES, max_size=3, unique=True), st.data())
def test_a_name_that_stands_twice_is_refused(name, first, second, others, data):
    """Wherever it stands, and named."""
    pairs = [(other, 1) for other in others if other != name] + [(name, first), (name, second)]
    pairs = data.draw(st.permutations(pairs))
    inner = ", ".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in pairs)
    text = data.draw(st.sampled_from(["{%s}", '[1, {"x": {%s}}]', '{"a": [[], {%s}], "b": {}}']))
    with pytest.raises(ValueError, match="a name twice in one object") as refused:
        decode_json((text % inner).encode())
    assert str(refused.value).endswith(repr(name))


def written(value, draw):
    """A value as JSON, with white space wherever there may be some."""
    gap = lambda: draw(st.sampled_from(["", "", " ", "\n", "\r", "\t"]))  # noqa: E731 - short
    if isinstance(value, dict):
        pairs = (f"{json.dumps(k)}{gap()}:{gap()}{written(v, draw)}" for k, v in value.items())
        return "{" + f",{gap()}".join(pairs) + gap() + "}"
    if isinstance(value, list):
        return "[" + f"{gap()},".join(written(item, draw) for item in value) + "]"
    return json.dumps(value)


COLONS = st.text(st.sampled_from('":\\ a\t{'), max_size=6)
FULL_OF_COLONS = st.recursive(
    COLONS | st.integers(0, 9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(COLONS, inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(FULL_OF_COLONS, st.data())
def test_colons_are_counted_wherever_they_stand(value, data):
    """In texts and names, behind quotes and white space; a name twice is noticed all the same."""
    text = written(value, data.draw)
    assert decode_json(text.encode()) == value
    name, gap = json.dumps(data.draw(COLONS)), data.draw(st.sampled_from(["", " ", "\n"]))
    with pytest.raises(ValueError, match="a name twice"):
        decode_json(f"[{text}, {{{name}{gap}: {text}, {name}:{gap}{text}}}]".encode())


def test_one_name_spelt_in_two_ways_is_one_name():
    """An escape is another spelling, not another name."""
    with pytest.raises(ValueError, match="twice in one object: 'a'"):
        decode_json(b'{"a": 1, "\\u0061": 2}')


@pytest.mark.parametrize(
    "data",
    [
        b"NaN", b"Infinity", b"-Infinity", b"1e400", b'{"a": nan}', b"[1,]", b"{'a': 1}", b"01",
        b'"\\ud800"', b'"\x01"', b"\xff", b"", b"1 2", b"// x\n1", b"\xef\xbb\xbf1",
        b"[" * 100_000, b'{"a":' * 100_000, b"1" * 5_000,
    ],
)  # fmt: skip
def test_what_is_not_json_is_a_sentence(data):
    """Numbers out of range, endless nesting and noise come to the same end, and soon."""
    with pytest.raises(ValueError, match=r"it is (not )?JSON"):
        decode_json(data)


def test_a_number_in_many_digits_beside_a_name_that_stands_twice():
    """The name is found all the same."""
    with pytest.raises(ValueError, match="'a'"):
        decode_json(b'{"b": 123456789012345678901234567890, "a": 1, "a": 2}')
