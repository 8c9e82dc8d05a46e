"""Messages between a front and its container, as bytes."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from happy.split.messages import BrokenLink, Events, Kind, MessageReader, message

MESSAGES = st.lists(st.tuples(st.sampled_from(Kind), st.binary(max_size=300)), max_size=8)


@given(MESSAGES, st.data())
def test_messages_come_out_as_they_went_in_however_they_are_cut(messages, data):
    """Any pieces of the stream make the same messages, in the same order."""
    stream = b"".join(message(kind, body) for kind, body in messages)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=12).map(sorted))
    reader = MessageReader()
    found = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += reader.feed(stream[start:end])
    assert found == messages


@given(MESSAGES, st.integers(len(Kind) + 1, 255))
def test_a_kind_that_is_not_known_breaks_the_link_after_what_was_good(messages, kind):
    """Nothing is guessed: what came before is taken, and then the link is no good."""
    reader = MessageReader()
    stream = b"".join(message(kind, body) for kind, body in messages)
    found = []
    with pytest.raises(BrokenLink, match=f"kind {kind} "):
        found.extend(reader.feed(stream + bytes((0, 0, 0, 0, kind))))
    reader = MessageReader()
    assert list(reader.feed(stream)) == messages


@given(
    st.integers(1, 2**60),
    st.lists(st.binary(max_size=50)),
    st.lists(st.tuples(st.integers(0, 99), st.text(max_size=9), st.none() | st.binary())),
)
def test_a_batch_of_events_is_what_it_was(first_id, records, keys):
    """Records, and the keys beside them, come out of msgpack as they went in."""
    batch = Events(first_id, records, keys)
    data = msgspec.msgpack.encode(batch)
    assert msgspec.msgpack.decode(data, type=Events) == batch
