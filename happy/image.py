"""The image of a machine: all that history has made of it, as blocks of a snapshot, and back.

What history determines is listed here once, in ``_PARTS``. Whoever adds to the machine something
that does not follow from what is listed adds it there, too. An older image does not have that
section; then that part of the machine is as it is in a new one.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterable, Iterator
from types import GenericAlias
from typing import Any, Final

import attrs
import msgspec

from happy.app import Definition
from happy.apply import Machine
from happy.codec import EventDecoder, encode
from happy.effects import Hold, Owed, Timer
from happy.errors import UnfitSnapshot
from happy.event import Configured, FailedOutcome, Outcome, RefusedOutcome, Reply, ScheduledWhen
from happy.items import Items
from happy.journal.snapshot_format import Block, Description, Section
from happy.keys import Remembered
from happy.older_image import STATE, TABLE, TABLES, OlderImage, is_older
from happy.outcomes import OutcomeDigest
from happy.schedule import Place
from happy.schema import fields_schema, schema_of
from happy.table import Table
from happy.undo import fields_of
from happy.unreadable import Faults
from happy.upcast import version_of
from happy.values import hints_of


@attrs.frozen
class Kind:
    """A kind of event that stands in a history, and its first record there."""

    type: str
    version: int
    seq: int
    time_ns: int
    record: bytes = attrs.field(repr=False)


Kinds = dict[tuple[str, int], Kind]
"""The kinds of events of a history, by name and version."""


@attrs.frozen
class Part:
    """A part of an image: what it is called, and how it is taken and put back."""

    name: str
    items: Items
    count: Callable[[Machine], int]
    take: Callable[[Machine], Iterable[Any]]
    put: Callable[[Machine, EventDecoder, list[Any]], None]
    version: int = 1
    schema: str = ""
    cls: type | None = None
    """What the version is of: the state, or the class of the rows."""

    def section(self, machine: Machine) -> Section:
        """Return what a snapshot says of it."""
        return Section(self.name, self.count(machine), self.version, self.schema)


def _take_counters(machine: Machine) -> Iterator[tuple[str, Any]]:
    yield "failed", machine.failed
    yield "configured", encode(machine.configured)


def _put_counters(machine: Machine, decoder: EventDecoder, items: list[Any]) -> None:
    counters = dict(items)
    configured = decoder.entry(0, 0, counters["configured"]).event
    assert isinstance(configured, Configured)
    machine.resume(configured, counters["failed"])


def _take_owed(machine: Machine) -> Iterator[tuple[Any, ...]]:
    for owed in machine.outbox:
        effect: Any = owed.effect
        if isinstance(effect, Timer):
            # As in the journal: its class may have changed when it is read.
            effect = encode(effect.event)
        more: tuple[Any, ...] = ()
        if owed.hold is not None:
            more = (owed.sending, owed.ambiguous, attrs.astuple(owed.hold))
        elif owed.sending or owed.ambiguous:
            more = (owed.sending, owed.ambiguous)
        yield *owed.id, owed.since_ns, owed.due_ns, owed.attempts, effect, *more


def _put_owed(machine: Machine, decoder: EventDecoder, items: list[Any]) -> None:
    for seq, n, since_ns, due_ns, attempts, told, *more in items:
        is_timer = isinstance(told, bytes)
        effect = Timer(decoder.entry(seq, since_ns, told).event) if is_timer else told
        if len(more) > 2:
            more[2] = Hold(*more[2])
        machine.outbox.owe(Owed((seq, n), effect, since_ns, due_ns, attempts, *more))
    machine.outbox.commit()


def _take_schedules(machine: Machine) -> Iterator[tuple[str, str, str, int]]:
    for place in machine.schedules:
        yield place.row.name, place.row.when, place.row.zone, place.last_ns


def _put_schedules(machine: Machine, _decoder: EventDecoder, items: list[Any]) -> None:
    for name, when, zone, last_ns in items:
        machine.schedules.put_back(Place(ScheduledWhen(name, when, zone), last_ns))


def _take_keys(machine: Machine) -> Iterator[tuple[Any, ...]]:
    for key, known in machine.keys:
        yield key, known.fingerprint, known.seq, _told(known.outcome)


def _put_keys(machine: Machine, _decoder: EventDecoder, items: list[Any]) -> None:
    for key, fingerprint, seq, outcome in items:
        machine.keys.put_back(key, Remembered(fingerprint, seq, _untold(outcome)))


def _put_unacknowledged(machine: Machine, _decoder: EventDecoder, items: list[Any]) -> None:
    for seq, copy, time_ns in items:
        machine.unacknowledged.put_back(seq, copy, time_ns)


def _put_bounces(machine: Machine, _decoder: EventDecoder, items: list[Any]) -> None:
    for kind, key, told in items:
        machine.bounces.put_back(kind, key, told)


def _put_holds(machine: Machine, _decoder: EventDecoder, items: list[Any]) -> None:
    for item in items:
        machine.holds.put_back(*item)


def _told(outcome: Outcome) -> tuple[Any, ...]:
    match outcome:
        case Reply(value):
            return "reply", value
        case FailedOutcome(seq):
            return "failed", seq
        case RefusedOutcome():
            return "refused", *msgspec.structs.astuple(outcome)


def _untold(told: tuple[Any, ...]) -> Outcome:
    return _OUTCOMES[told[0]](*told[1:])


_OUTCOMES: Final[dict[str, Callable[..., Outcome]]] = {
    "reply": Reply,
    "failed": FailedOutcome,
    "refused": RefusedOutcome,
}


def _put_outcomes(machine: Machine, _decoder: EventDecoder, items: list[Any]) -> None:
    (image,) = items
    machine.outcomes = OutcomeDigest(image)


_PARTS: Final = (
    Part("machine", Items(), lambda _: 2, _take_counters, _put_counters),
    Part("outbox", Items(), lambda m: len(m.outbox), _take_owed, _put_owed),
    Part("schedules", Items(), lambda m: len(m.schedules), _take_schedules, _put_schedules),
    Part("keys", Items(), lambda m: len(m.keys), _take_keys, _put_keys),
    Part(
        "unacknowledged",
        Items(),
        lambda m: len(m.unacknowledged),
        lambda m: m.unacknowledged,
        _put_unacknowledged,
    ),
    Part("bounces", Items(), lambda m: len(m.bounces), lambda m: m.bounces, _put_bounces),
    Part("holds", Items(), lambda m: len(m.holds), lambda m: m.holds, _put_holds),
    Part("outcomes", Items(), lambda _: 1, lambda m: [m.outcomes.image()], _put_outcomes),
)


def _state_part(state: type) -> Part:
    plain, tables = fields_of(state)
    hints = hints_of(state)

    def take(machine: Machine) -> Iterator[tuple[str, Any]]:
        for name in plain:
            yield name, getattr(machine.state, name)

    def put(machine: Machine, _decoder: EventDecoder, items: list[Any]) -> None:
        for name, value in items:
            # Not setattr: a converter must not get in the way.
            object.__setattr__(machine.state, name, value)

    schema = fields_schema({name: hints[name] for name in plain} | dict.fromkeys(tables))
    return Part(STATE, Items(), lambda _: len(plain), take, put, version_of(state), schema, state)


def _tables_part(state: type) -> Part:
    """Return what is to be known of tables before their rows: the next ordinal of each."""
    _, tables = fields_of(state)

    def take(machine: Machine) -> Iterator[tuple[str, int]]:
        for name in tables:
            yield name, getattr(machine.state, name).next_ordinal

    def put(machine: Machine, _decoder: EventDecoder, items: list[Any]) -> None:
        for name, next_ordinal in items:
            getattr(machine.state, name).next_ordinal = next_ordinal

    return Part(TABLES, Items(), lambda _: len(tables), take, put)


def _table_part(name: str, hint: Any) -> Part:
    key, row = typing.get_args(hint)
    item = GenericAlias(tuple, (int, key, row))

    def table(machine: Machine) -> Table[Any, Any]:
        found: Table[Any, Any] = getattr(machine.state, name)
        return found

    def put(machine: Machine, _decoder: EventDecoder, items: list[Any]) -> None:
        rows = table(machine)
        rows.fill(items, rows.next_ordinal)

    return Part(
        f"{TABLE}{name}",
        Items(item),
        lambda machine: len(table(machine)),
        lambda machine: table(machine).stored(),
        put,
        version_of(row) if attrs.has(row) else 1,
        schema_of(item),
        row if attrs.has(row) else None,
    )


def _parts_of(definition: Definition) -> tuple[Part, ...]:
    state = definition.state
    hints = hints_of(state)
    tables = (_table_part(name, hints[name]) for name in fields_of(state)[1])
    return (*_PARTS, _state_part(state), _tables_part(state), *tables)


_KINDS: Final = "kinds"
_KIND_ITEMS: Final = Items(Kind)


Schemas = tuple[tuple[str, int, str], ...]
"""The name, the version and the schema of each part of an image."""


class Image:
    """Describes, takes and puts back the images of one application's machine."""

    def __init__(self, definition: Definition) -> None:
        self._state = definition.state
        self._parts = _parts_of(definition)
        self.schemas: Schemas = tuple(
            (part.name, part.version, part.schema) for part in self._parts
        )
        """What it is made of: equal where images fit."""

    def describe(self, machine: Machine, kinds: Kinds) -> Description:
        """Return what an image of a machine will be."""
        return Description(
            state=self._state.__qualname__,
            digest=machine.digest(),
            sections=(
                Section(_KINDS, len(kinds)),
                *(part.section(machine) for part in self._parts),
            ),
        )

    def take(self, machine: Machine, kinds: Kinds) -> Iterator[Block]:
        """Yield an image, block by block; the machine must not move meanwhile.

        Raises ``TypeError`` when a value is of a sort that has no form on disk.
        """
        yield from _KIND_ITEMS.blocks(0, kinds.values())
        for number, part in enumerate(self._parts, 1):
            yield from part.items.blocks(number, part.take(machine))

    def check_fits(self, description: Description) -> None:
        """Raise ``UnfitSnapshot`` when an image is not one of this application's state."""
        self.is_older(description)

    def is_older(self, description: Description) -> bool:
        """Say whether an image needs upcasters; ``UnfitSnapshot`` when it is of another state."""
        parts = {part.name: part for part in self._parts}
        sections = [s for s in description.sections if s.name != _KINDS]
        older = {s.name for s in sections if is_older(s, parts.get(s.name))}
        for section in sections:
            name, part = section.name, parts.get(section.name)
            if STATE in older and name.startswith(TABLE):
                continue  # it may be another table, or none, by now
            if part is None:
                raise UnfitSnapshot(
                    f"it has a section {name!r} that is not known here: the state, or happy, is of "
                    "another version"
                )
            if name not in older and section.schema != part.schema:
                raise UnfitSnapshot(f"{name} has other fields than in the application")
        return bool(older)

    def put(
        self,
        machine: Machine,
        decoder: EventDecoder,
        description: Description,
        blocks: Iterable[Block],
    ) -> Kinds:
        """Make of a new machine what an image says; return the kinds of events in its history.

        Raises ``UnfitSnapshot`` when the image cannot be understood, ``UnknownEvent`` when the
        application does not know an event of its history any more.
        """
        parts = {part.name: part for part in self._parts}
        kinds: Kinds = {}
        faults = Faults()
        for name, items in self._items(description, blocks):
            part = parts.get(name)
            if part is not None:
                part.put(machine, decoder, items)
                continue
            for kind in items:
                kinds[kind.type, kind.version] = kind
                decoder.faults(kind.seq, (kind.record,), faults)
            if faults.spans:
                raise faults.error()
        return kinds

    def _items(
        self, description: Description, blocks: Iterable[Block]
    ) -> Iterator[tuple[str, list[Any]]]:
        """Yield the items of each section, block by block, by the section's name."""
        parts = {part.name: part for part in self._parts}
        if self.is_older(description):
            older = OlderImage(self._state, parts, description.sections)
            yield from older.items(blocks, _KIND_ITEMS)
            return
        for block in blocks:
            name = description.sections[block.section].name
            part = parts.get(name)
            yield name, (_KIND_ITEMS if part is None else part.items).read(block)
