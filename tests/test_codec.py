"""Events to records and back; JSON that coerces nothing."""

from __future__ import annotations

import datetime
import decimal
import enum
import math
import uuid

import attrs
import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from happy.codec import (
    EventDecoder,
    decode_plain,
    decode_record,
    encode,
    encode_all,
    from_json,
    from_plain,
    members_of,
    settings_from_bytes,
    to_json,
)
from happy.errors import BadRequest, DefinitionError, UnknownEvent
from happy.event import Blob, Configured, Mail, MailSent, event, event_meta
from happy.system_events import SYSTEM_EVENTS
from happy.table import Table


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


@attrs.frozen
class Part:
    name: str
    size: int | None = None
    parts: tuple[Part, ...] = ()


@event
class Full:
    number: int = 0
    text: str = ""
    data: bytes = b""
    ratio: float = 0.0
    truth: bool = False
    maybe: str | None = None
    price: decimal.Decimal = decimal.Decimal(0)
    moment: datetime.datetime = datetime.datetime(2001, 1, 1, tzinfo=datetime.UTC)
    day: datetime.date = datetime.date(2001, 1, 1)
    hour: datetime.time = datetime.time(1)
    span: datetime.timedelta = datetime.timedelta(0)
    ident: uuid.UUID = uuid.UUID(int=0)
    color: Color = Color.RED
    part: Part = Part("")
    numbers: tuple[int, ...] = ()
    pair: tuple[str, int] = ("", 0)


@event(version=2)
class Grown:
    count: int = 0


@event(name="Grown", version=3)
class Regrown:
    count: int = 0
    more: int = 7


@event
class Checked:
    count: int = attrs.field(default=0, validator=attrs.validators.ge(0))
    doubled: int = attrs.field(default=0, converter=lambda value: value * 2)


@attrs.frozen
class Foreign:
    field: msgspec.Raw


@event
class NoUnion:
    thing: Part | Blob = Part("")


def decoder(*classes):
    metas = [(event_meta(cls), cls) for cls in classes]
    return EventDecoder({(meta.name, meta.version): cls for meta, cls in metas})


TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
PARTS = st.recursive(
    st.builds(Part, TEXT, st.none() | st.integers(-(2**63), 2**64 - 1)),
    lambda inner: st.builds(Part, TEXT, parts=st.lists(inner, max_size=3).map(tuple)),
    max_leaves=5,
)
FULL = st.builds(
    Full,
    number=st.integers(-(2**63), 2**64 - 1),
    text=TEXT,
    data=st.binary(max_size=300),
    ratio=st.floats(allow_nan=False),
    truth=st.booleans(),
    maybe=st.none() | TEXT,
    price=st.decimals(allow_nan=False, allow_infinity=False),
    moment=st.datetimes(timezones=st.just(datetime.UTC)),
    day=st.dates(),
    hour=st.times(),
    span=st.timedeltas(datetime.timedelta(-10_000), datetime.timedelta(10_000)),
    ident=st.uuids(),
    color=st.sampled_from(Color),
    part=PARTS,
    numbers=st.lists(st.integers(-5, 5)).map(tuple),
    pair=st.tuples(TEXT, st.integers(-5, 5)),
)


# --- records -----------------------------------------------------------------------------------


@given(
    FULL,
    TEXT,
    st.none() | st.tuples(TEXT, st.none() | st.binary(max_size=32)),
    st.integers(1, 2**62),
    st.integers(0, 2**62),
)
def test_an_event_comes_back_as_it_was(event, source, key, seq, time_ns):
    """Promise 4: what is read back is what was written, with its source and its key."""
    name, fingerprint = key or (None, None)
    entry = decoder(Full).entry(seq, time_ns, encode(event, source, name, fingerprint))
    assert entry.event == event
    assert type(entry.event) is Full
    assert (entry.seq, entry.time_ns) == (seq, time_ns)
    assert (entry.source, entry.key, entry.fingerprint) == (source, name, fingerprint)


@given(FULL)
def test_read_back_is_what_a_replay_reads(event):
    """Promise 4: an event is applied as its record says it, now and later."""
    record = encode(event, "test", "k", b"f")
    now, later = decoder(Full).read_back(record), decoder(Full).entry(1, 1, record)
    assert (now.event, now.source, now.key, now.fingerprint) == (
        later.event, later.source, later.key, later.fingerprint,
    )  # fmt: skip


@given(FULL, TEXT)
def test_what_is_prepared_is_what_is_read_back(event, source):
    """Promise 4: an event that is encoded ahead is the one that its record says."""
    prepared = decoder(Full).prepared(event, source)
    assert prepared.record == encode(event, source)
    assert prepared.event == decoder(Full).read_back(prepared.record).event
    assert (type(prepared.event), prepared.source, prepared.key) == (Full, source, None)


@pytest.mark.parametrize("cls", SYSTEM_EVENTS, ids=lambda cls: cls.__name__)
def test_the_events_of_happy_itself_come_back(cls):
    """Every system event survives the journal with its defaults."""
    values = {"str": "a", "bytes": b"a\0\xff", "int": 3, "tuple[str, ...]": ("x", "y")}
    values["tuple[tuple[int, bytes], ...]"] = ((1, b"a"), (2, b"b"))
    given = {
        f.name: values.get(f.type if isinstance(f.type, str) else f.type.__name__, b"a")
        for f in attrs.fields(cls)
        if f.default is attrs.NOTHING
    }
    made = cls(**given)
    assert decoder(cls).entry(1, 1, encode(made)).event == made


def test_mail_comes_back_inline_or_as_a_blob():
    """The bytes of a message are kept exactly, or the name of the file that holds them."""
    for content in (b"a: b\r\n\r\n\0\xff.\r\n", Blob("0" * 64, 20_000_000)):
        mail = Mail("a@b", ("c@d", "e@f"), b"a: b\r\n\r\n", content, tls=True, options=("SIZE=1",))
        assert decoder(Mail).entry(1, 1, encode(mail)).event == mail


def test_a_record_can_be_read_without_the_application():
    """The journal tells type, version and fields to whoever has no classes."""
    record = decode_record(encode(Grown(3), "http POST /", "k", b"f"))
    assert (record.type, record.version, record.source, record.key, record.fingerprint) == (
        "Grown", 2, "http POST /", "k", b"f",
    )  # fmt: skip
    assert decode_plain(record.body) == {"count": 3}


@given(FULL, st.data())
def test_a_cut_record_is_never_an_event(event, data):
    """No beginning of a record is a record."""
    record = encode(event, "test")
    cut = data.draw(st.integers(0, len(record) - 1))
    with pytest.raises(msgspec.MsgspecError):
        decoder(Full).entry(1, 1, record[:cut])


@given(st.binary(max_size=60))
def test_noise_is_refused_in_a_known_way(noise):
    """Whatever stands in a record, only documented errors come of it."""
    with pytest.raises((msgspec.MsgspecError, ValueError, UnknownEvent)):
        decoder(Full).entry(1, 1, noise)


def test_fields_that_came_later_have_their_default():
    """A record from before a field was added is read with the field's default."""
    old = msgspec.msgpack.encode(("Grown", 3, {"count": 4}, "test"))
    assert decoder(Regrown).entry(1, 1, old).event == Regrown(4, 7)


@pytest.mark.parametrize(
    ("written", "known", "words"),
    [
        (Grown(), [Full], "seq 5: .* event 'Grown' that nobody handles .known: Full"),
        (Grown(), [Mail], "known: none.*name='Grown'"),
        (
            Grown(),
            [Regrown],
            r"seq 5: event Grown has version 2 .* 3; .*@upcast\(Regrown, 2.* old class .*version=2",
        ),
    ],
)
def test_an_event_nobody_knows_is_refused_by_name(written, known, words):
    """Promise 4: an unknown type or version names itself, its seq, and the remedy."""
    with pytest.raises(UnknownEvent, match=words):
        decoder(*known).entry(5, 1, encode(written))


def test_an_event_that_does_not_fit_any_more_is_refused():
    """Promise 4: fields that changed their type without a new version name the fault."""
    old = msgspec.msgpack.encode(("Grown", 2, {"count": "many"}, "test"))
    with pytest.raises(
        UnknownEvent, match=r"seq 5: event Grown version 2 .*count.*raise its version"
    ):
        decoder(Grown).entry(5, 1, old)


@pytest.mark.parametrize(
    "wrong",
    [
        Full(number=2**64),
        Full(number=-(2**63) - 1),
        Full(text="\ud800"),
        Full(text=object()),
        Full(numbers=(complex(1),)),
        Mail,
        5,
        None,
    ],
    ids=range(8),
)
def test_what_cannot_be_written_is_the_authors_error(wrong):
    """A value with no form on disk, or no event at all, is a ``DefinitionError``."""
    with pytest.raises(DefinitionError):
        encode(wrong)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (Full(number="7"), "number"),
        (Full(number=1.5), "number"),
        (Full(text=b"bytes"), "text"),
        (Full(maybe=3), "maybe"),
        (Full(numbers=(1, "2")), "numbers"),
        (Full(pair=("a", 1, 2)), "pair"),
        (Full(part=None), "part"),
    ],
    ids=str,
)
def test_what_would_not_be_read_back_is_the_authors_error(wrong, field):
    """A value that is not what its field declares is refused before it is journaled."""
    with pytest.raises(DefinitionError, match=f"event Full holds a value .*{field}"):
        decoder(Full).read_back(encode(wrong))
    with pytest.raises(DefinitionError, match=f"event Full holds a value .*{field}"):
        decoder(Full).prepared(wrong, "test")


def test_an_event_without_a_handler_is_the_authors_error():
    """Submitting a type that the application does not handle says what to declare."""
    with pytest.raises(DefinitionError, match=r"event Grown version 2 has no handler.*@handles"):
        decoder(Full).read_back(encode(Grown()))


def test_validators_hold_on_replay_and_converters_run_once():
    """A replay makes the very event that was submitted."""
    made = Checked(1, 5)
    assert made.doubled == 10
    assert decoder(Checked).entry(1, 1, encode(made)).event == made
    forged = msgspec.msgpack.encode(("Checked", 1, {"count": -1}, "test"))
    with pytest.raises(UnknownEvent):
        decoder(Checked).entry(1, 1, forged)


def test_a_type_that_cannot_be_read_back_is_refused_at_start():
    """Two classes that look alike on disk cannot stand in one field."""
    with pytest.raises(DefinitionError, match="event NoUnion"):
        decoder(NoUnion)


# --- JSON --------------------------------------------------------------------------------------


@attrs.define
class Order:
    count: int
    name: str = ""
    ratio: float = 0.0
    truth: bool = False
    maybe: int | None = None
    either: int | str = 0
    tags: tuple[str, ...] = ()
    names: list[str] = attrs.field(factory=list)
    pair: tuple[str, int] = ("", 0)
    part: Part = attrs.field(factory=lambda: Part(""))
    parts: tuple[Part, ...] = ()
    rates: dict[str, int] = attrs.field(factory=dict)
    color: Color = Color.RED


def test_json_becomes_an_attrs_class():
    """Every declared kind of field is read."""
    body = b"""{"count": 3, "name": "a", "ratio": 1.5, "truth": true, "maybe": null,
        "either": "x", "tags": ["a", "b"], "names": ["c"], "pair": ["d", 4], "color": "blue",
        "part": {"name": "p", "parts": [{"name": "q"}]}, "parts": [{"name": "r", "size": 1}],
        "rates": {"x": 1}}"""
    assert from_json(body, Order) == Order(
        3, "a", 1.5, True, None, "x", ("a", "b"), ["c"], ("d", 4),
        Part("p", parts=(Part("q"),)), (Part("r", 1),), {"x": 1}, Color.BLUE,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ('{"count": "3"}', "expected a whole number, not text @ $.count"),
        ('{"count": 3.0}', "expected a whole number, not a number @ $.count"),
        ('{"count": true}', "expected a whole number, not true or false @ $.count"),
        ('{"count": null}', "expected a whole number, not nothing @ $.count"),
        ('{"count": [3]}', "expected a whole number, not a list @ $.count"),
        ('{"count": {}}', "expected a whole number, not a table @ $.count"),
        ('{"count": 18446744073709551616}', "expected a whole number of at most 64 bits @ $.count"),
        ("{}", "required field 'count' is missing @ $.count"),
        ('{"count": 1, "cuont": 2}', "unknown field 'cuont' @ $"),
        ('{"count": 1, "name": 5}', "expected text, not a whole number @ $.name"),
        ('{"count": 1, "ratio": true}', "expected a number, not true or false @ $.ratio"),
        ('{"count": 1, "ratio": "1"}', "expected a number, not text @ $.ratio"),
        ('{"count": 1, "truth": 1}', "expected true or false, not a whole number @ $.truth"),
        ('{"count": 1, "maybe": "1"}', "expected a whole number, not text @ $.maybe"),
        ('{"count": 1, "tags": "abc"}', "expected a list, not text @ $.tags"),
        ('{"count": 1, "tags": {"a": 1}}', "expected a list, not a table @ $.tags"),
        ('{"count": 1, "tags": null}', "expected a list, not nothing @ $.tags"),
        ('{"count": 1, "tags": ["a", 2]}', "expected text, not a whole number @ $.tags[1]"),
        ('{"count": 1, "names": "abc"}', "expected a list, not text @ $.names"),
        ('{"count": 1, "pair": ["a"]}', "expected 2 items, not 1 @ $.pair"),
        ('{"count": 1, "pair": ["a", "b"]}', "expected a whole number, not text @ $.pair[1]"),
        ('{"count": 1, "part": []}', "expected a table, not a list @ $.part"),
        ('{"count": 1, "part": {}}', "required field 'name' is missing @ $.part.name"),
        ('{"count": 1, "parts": [{"name": 1}]}',
         "expected text, not a whole number @ $.parts[0].name"),
        ('{"count": 1, "rates": []}', "expected a table, not a list @ $.rates"),
        ('{"count": 1, "rates": {"x": "y"}}', "expected a whole number, not text @ $.rates['x']"),
        ("[]", "expected a table, not a list @ $"),
        ("3", "expected a table, not a whole number @ $"),
        ("null", "expected a table, not nothing @ $"),
        ('"x"', "expected a table, not text @ $"),
    ],
)  # fmt: skip
def test_json_that_does_not_fit_names_the_place(body, fault):
    """Nothing is coerced, and each fault is a sentence with its path."""
    with pytest.raises(BadRequest) as refused:
        from_json(body.encode(), Order)
    assert refused.value.errors == (fault,)
    assert str(refused.value) == fault


def test_a_value_of_an_enum_that_is_none_is_refused():
    """An unknown word for an enum is the peer's fault."""
    with pytest.raises(BadRequest, match=r"green.*\$\.color"):
        from_json(b'{"count": 1, "color": "green"}', Order)


def test_all_faults_are_told_at_once():
    """A peer that made three mistakes hears of three."""
    with pytest.raises(BadRequest) as refused:
        from_json(b'{"name": 1, "tags": [1, "a", null], "cuont": 1}', Order)
    assert len(refused.value.errors) == 5


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff", b'{"count": 1} x', b'{"count": 1e400}', b'{"name": "\\ud800"}',
     b"[" * 5_000 + b"]" * 5_000, b"NaN", b'{"count": 01}'],
    ids=lambda body: repr(body[:12]),
)  # fmt: skip
def test_what_is_not_json_is_a_bad_request(body):
    """Broken, foreign or bottomless input is the peer's fault, with no path to name."""
    with pytest.raises(BadRequest, match="JSON"):
        from_json(body, Order)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))  # fmt: skip
def test_whatever_comes_is_an_order_or_a_bad_request(plain):
    """No input makes anything but an instance or a ``BadRequest`` with at least one fault."""
    for value in (
        plain,
        {"count": 1, "part": plain},
        {"count": plain},
        {"count": 1, "tags": plain},
    ):
        try:
            assert isinstance(from_plain(value, Order), Order)
        except BadRequest as refused:
            assert refused.errors  # noqa: PT017 - either end is fine


@pytest.mark.parametrize(
    ("field", "word"),
    [("price", "decimal"), ("moment", "moment"), ("day", "date"), ("hour", "time of day"),
     ("span", "span"), ("ident", "UUID"), ("data", "base64")],
)  # fmt: skip
def test_what_json_has_no_form_for_says_how_it_is_written(field, word):
    """A date that is none is the peer's fault, and the answer shows what one looks like."""
    for wrong in ("x!", True, None, []):
        with pytest.raises(BadRequest, match=f"expected .*{word}.*, not .* @ .*{field}"):
            from_plain({field: wrong}, Full)


@given(FULL)
def test_every_event_can_be_read_from_json(event):
    """All that may stand in an event has a form in JSON, out and in, but for infinity."""
    assume(math.isfinite(event.ratio))
    assert from_json(to_json(event), Full) == event


def test_a_class_that_has_no_form_in_json_is_the_authors_error():
    """A field that cannot be read from JSON at all is not the peer's fault."""
    with pytest.raises(DefinitionError, match="Foreign"):
        from_plain({"field": 1}, Foreign)


def test_the_members_of_an_object_are_taken_as_they_are():
    """Whatever they hold; what is no object is refused as for a class."""
    assert members_of(b'{"a": [1, {"b": null}], "c": 1.5}') == {"a": [1, {"b": None}], "c": 1.5}
    for body, fault in ((b"[]", "expected a table, not a list"), (b"{", "JSON"), (b"", "JSON")):
        with pytest.raises(BadRequest, match=fault):
            members_of(body)


def test_a_whole_number_is_a_number():
    """A float field takes ``1``, and holds a float."""
    made = from_json(b'{"count": 1, "ratio": 1}', Order)
    assert isinstance(made.ratio, float)


def test_numbers_that_fit_an_event_are_taken():
    """The largest number an event can hold comes through, so that 400 and not 500 says no."""
    for number in (2**64 - 1, -(2**63)):
        made = from_json(b'{"number": %d}' % number, Full)
        assert decoder(Full).read_back(encode(made)).event.number == number


def test_json_goes_out():
    """Instances of attrs classes, tables, lists and plain values are written as JSON."""
    rows = Table()
    rows["a"] = Part("x", 1)
    assert msgspec.json.decode(to_json({"rows": rows, "list": [1, None, "é"]})) == {
        "rows": {"a": {"name": "x", "size": 1, "parts": []}},
        "list": [1, None, "é"],
    }


def test_json_round_trip():
    """What was written with ``to_json`` is read with ``from_json``."""
    order = Order(3, tags=("a",), parts=(Part("x", 2),), rates={"y": 1}, color=Color.BLUE)
    assert from_json(to_json(order), Order) == order


# --- settings in the journal -------------------------------------------------------------------


@attrs.frozen
class Settings:
    lists: list[str] = attrs.field(factory=list)
    size: int = 3


def test_journaled_settings_forgive_fields_that_are_gone():
    """Settings of an older application are read, without what nobody has any more."""
    assert settings_from_bytes(b'{"lists": ["dev"], "gone": 1}', Settings) == Settings(["dev"])


def test_journaled_settings_that_do_not_fit_say_where():
    """A field that changed its type is named."""
    with pytest.raises(BadRequest, match=r"\$\.size"):
        settings_from_bytes(b'{"size": "three"}', Settings)


def test_many_events_are_encoded_as_each_is():
    """One after the other or together, of several kinds, the records are the same."""
    events = [Configured(b"{}"), MailSent(1, 2, "a@b.example"), Configured(b"x", ("c.example",))]
    assert encode_all(events, "web") == [encode(event, "web") for event in events]
    assert encode_all([]) == []
    with pytest.raises(DefinitionError, match="is not an event"):
        encode_all([1])
    with pytest.raises(DefinitionError, match="cannot be written"):
        encode_all([Configured(b""), Configured(object())])
