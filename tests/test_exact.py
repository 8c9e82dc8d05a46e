"""The exact form: whatever may stand in a state or a reply comes back as it was."""

import datetime
import decimal
import enum
import uuid
from zoneinfo import ZoneInfo

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from happy.exact import decode_exactly, encode_exactly, name_of


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 10**20


@attrs.frozen
class Cat:
    name: str
    lives: int = 9


@attrs.frozen
class Dog:
    name: str
    friends: tuple["Cat | Dog", ...] = ()


@attrs.frozen
class Checked:
    """A class whose constructor would change what it is given."""

    value: int = attrs.field(converter=lambda value: value + 1)

    def __attrs_post_init__(self):
        raise AssertionError("an instance is made again, and not anew")


CLASSES = {name_of(cls): cls for cls in (Colour, Size, Cat, Dog, Checked)}

zones = st.sampled_from(
    [
        None,
        datetime.UTC,
        datetime.timezone(datetime.timedelta(hours=-3, minutes=30)),
        ZoneInfo("UTC"),
    ]
)
plain = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False),
    st.binary(max_size=20),
    st.text(st.characters(), max_size=20),
    st.text(st.characters(categories=["Cs", "L"]), max_size=5),
    st.decimals(allow_nan=False),
    st.datetimes(timezones=zones),
    st.dates(),
    st.times(),
    st.timedeltas(),
    st.uuids(),
    st.sampled_from(Colour),
    st.sampled_from(Size),
)
values = st.recursive(
    plain,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.text(max_size=3), inner, max_size=3),
        st.builds(Cat, st.text(max_size=3)),
        st.builds(Dog, st.text(max_size=3), st.lists(inner, max_size=3).map(tuple)),
    ),
    max_leaves=12,
)


def there_and_back(value):
    return decode_exactly(encode_exactly(value), CLASSES.__getitem__)


def spelt(value):
    """Return a value with all that ``==`` passes over: types, zones, folds, signs of zero."""
    if isinstance(value, list | tuple):
        return type(value), [spelt(item) for item in value]
    if isinstance(value, dict):
        return dict, [(spelt(k), spelt(v)) for k, v in value.items()]
    if attrs.has(type(value)):
        return type(value), [spelt(getattr(value, f.name)) for f in attrs.fields(type(value))]
    return type(value), repr(value)


@given(values)
def test_every_value_comes_back_as_it_was(value):
    """Numbers of any size, any text, moments with their zones, lists and tuples told apart."""
    assert spelt(there_and_back(value)) == spelt(value)


@pytest.mark.parametrize(
    "value",
    [
        datetime.datetime(2020, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1),
        datetime.datetime(2020, 10, 25, 2, 30, fold=1),  # noqa: DTZ001 - such values are kept too
        decimal.Decimal("-0E+3"),
        decimal.Decimal("NaN"),
        float("nan"),
        -0.0,
        2**64,
        -(2**63) - 1,
        "\ud800\udfff",
        uuid.UUID(int=7),
        [[], ((),), {"a": [()]}],
    ],
    ids=repr,
)
def test_what_is_easily_lost_is_kept(value):
    """The second of two equal times, the exponent of a zero, half of a pair: all is there."""
    assert spelt(there_and_back(value)) == spelt(value)


def test_an_instance_is_not_constructed_again():
    """Converters and validators have had their say when the value was made."""
    made = object.__new__(Checked)
    object.__setattr__(made, "value", 5)
    assert there_and_back(made).value == 5


class Own(datetime.tzinfo):
    def utcoffset(self, dt):
        return datetime.timedelta(0)


@pytest.mark.parametrize(
    "value",
    [
        {1, 2},
        object(),
        datetime.datetime(2020, 1, 1, tzinfo=Own()),
        datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(0), "mine")),
        datetime.time(1, tzinfo=datetime.UTC),
        bytearray(b"x"),
        type("Text", (str,), {})("x"),
    ],
)
def test_what_has_no_form_is_refused(value):
    """What would not come back as it was is not written."""
    with pytest.raises(TypeError, match="no form"):
        encode_exactly((value,))


def test_a_class_that_has_changed_is_noticed():
    """An instance whose class is gone, or has other fields now, cannot be made again."""
    data = encode_exactly(Cat("tom"))
    with pytest.raises(KeyError):
        decode_exactly(data, {}.__getitem__)
    with pytest.raises(ValueError, match="other fields"):
        decode_exactly(data, lambda _name: Dog)
    with pytest.raises(ValueError, match="other fields"):
        decode_exactly(data, lambda _name: int)


def test_a_class_can_be_called_otherwise():
    """Whoever writes may give a class a name that outlives its place."""
    data = encode_exactly(Cat("tom"), lambda _cls: "cat")
    assert decode_exactly(data, {"cat": Cat}.__getitem__) == Cat("tom")


def test_bytes_that_are_none_of_ours_are_refused():
    """An extension type that is not known is no value."""
    with pytest.raises(ValueError, match="none of ours"):
        decode_exactly(b"\xd4\x63\x00", CLASSES.__getitem__)
