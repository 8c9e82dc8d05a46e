"""The page that describes the journal, and the journal that never changes, against the program."""

import base64
import hashlib
import json
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from twisted.internet.defer import maybeDeferred
from twisted.internet.task import Clock

from happy import App, event, handles, state
from happy.app import definition_of
from happy.codec import EventDecoder
from happy.journal import frame as frame_module
from happy.journal.frame import (
    FRAME_HEADER_SIZE,
    SECTOR_SIZE,
    SEGMENT_HEADER_SIZE,
    Kind,
    SegmentHeader,
    encode_frame,
    encode_segment_header,
    first_chain,
    records_of,
)
from happy.journal.names import part_name, segment_name, torn_name
from happy.journal.recovery import DECISIONS, Decision, Finding, Place
from happy.journal.replay import Reader
from happy.limits import Limits
from happy.marks import DigestMark
from happy.opening import open_application
from happy.testing.disk import MemoryDisk
from happy.world import World

HERE = Path(__file__).parent
PAGE = (HERE.parent / "docs" / "journal-format.md").read_text()
GOLDEN = HERE / "golden" / "journal-v1"
EXPECTED = json.loads((GOLDEN / "expected.json").read_text())

DIGESTS = {
    "00000000000000000001.segment": "7b00ca4c132dd259910f6a4aad93a4f0",
    "00000000000000000005.segment": "fb0f0cca15602311cbd9b4116aaa7d46",
    "00000000000000000006.segment": "95808b1328a335c0258e1466c4cd46c3",
    "expected.json": "94fdf8327b2c477c2e8a2f3544c23b11",
}


# --- the page -----------------------------------------------------------------------------------


def tables():
    """Return the tables of the page as lists of rows of cells, the head left out."""
    found = re.findall(r"(?:^\|.*\|\n)+", PAGE, flags=re.MULTILINE)
    return [
        [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
        for table in found
    ]


FILES, SEGMENT, FRAME, _OWN_EVENTS, MARK, FINDINGS, TABLE = tables()


def layout(rows):
    return [(int(offset), int(size), field) for offset, size, field, _ in rows if size]


def places(rows):
    return {field: slice(at, at + size) for at, size, field in layout(rows) if field != "reserved"}


@pytest.mark.parametrize(
    ("rows", "size"), [(SEGMENT, SEGMENT_HEADER_SIZE), (FRAME, FRAME_HEADER_SIZE), (MARK, 48)]
)
def test_the_fields_of_a_table_follow_each_other(rows, size):
    """Each table of the page covers its header byte for byte."""
    end = 0
    for offset, width, _ in layout(rows):
        assert offset == end
        end += width
    assert end == size


def number(data):
    return int.from_bytes(data, "little")


def test_a_segment_header_is_what_the_page_says():
    """Every field of a segment header stands where the page has it."""
    header = SegmentHeader(b"J" * 16, 0x1111, 0x2222, 0x3333, 0x4444, b"C" * 16, 0x5555)
    block = encode_segment_header(header)
    found = {field: block[place] for field, place in places(SEGMENT).items()}
    assert found.pop("magic") == b"HAPPYJNL"
    assert found.pop("journal") == b"J" * 16
    assert found.pop("chain") == b"C" * 16
    assert {field: number(data) for field, data in found.items()} == {
        "version": 1,
        "salt": 0x5555,
        "number": 0x1111,
        "first_seq": 0x2222,
        "created": 0x3333,
        "previous_end": 0x4444,
        "crc": zlib.crc32(block[:4092]),
    }
    taken = sum(len(block[place]) for place in places(SEGMENT).values())
    assert len(block.replace(b"\0", b"")) <= taken
    assert block[80:4092] == bytes(4012)


def test_a_frame_is_what_the_page_says():
    """Every field of a frame stands where the page has it, and the body is what it says."""
    records = [bytes(1500), b"two"]
    data, chain = encode_frame(
        Kind.EVENTS,
        records,
        first_seq=0x1111,
        time_ns=0x2222,
        offset=4096,
        durable_end=0x3333,
        salt=0x4444,
        chain=b"C" * 16,
    )
    found = {field: data[place] for field, place in places(FRAME).items()}
    body = b"".join(struct.pack("<I", len(record)) + record for record in records)
    padded = bytes(byte ^ found["mask"][n % 2] for n, byte in enumerate(body + bytes(1)))
    assert data[72:] == padded
    assert found.pop("mask") == b"\1\0"
    assert found.pop("magic") == b"HFRM"
    assert found.pop("chain") == chain
    assert (
        chain
        == hashlib.blake2b(b"C" * 16 + data[:48] + padded[: len(body)], digest_size=16).digest()
    )
    assert {field: number(value) for field, value in found.items()} == {
        "kind": 1,
        "length": len(body),
        "count": 2,
        "salt": 0x4444,
        "body_crc": zlib.crc32(padded),
        "first_seq": 0x1111,
        "time": 0x2222,
        "durable_end": 0x3333,
        "crc": zlib.crc32(data[:68]),
    }
    assert (data[5], data[64:68]) == (0, bytes(4))


def test_a_digest_mark_is_what_the_page_says():
    """Every field of the body of a digest mark stands where the page has it."""
    mark = DigestMark(9, "51" * 16, "0c" * 16, "5e" * 8, accepting=True, scheme=0x1111)
    found = {field: mark.body()[place] for field, place in places(MARK).items()}
    assert found == {
        "scheme": b"\x11\x11",
        "flags": b"\1\0",
        "shape": b"\x5e" * 8,
        "state": b"\x51" * 16,
        "outcomes": b"\x0c" * 16,
    }


def test_the_kinds_are_those_of_the_page():
    """The page names every kind of frame with its number."""
    (said,) = [meaning for _, _, field, meaning in FRAME if field == "kind"]
    assert said == ", ".join(f"{kind.value} {kind.name.lower().replace('_', ' ')}" for kind in Kind)


def test_the_head_of_the_module_says_the_same():
    """The tables in the module that writes the format are those of the page."""
    rows = re.findall(r"^ +(\d+) +(\d+)?  (\S+)", frame_module.__doc__, flags=re.MULTILINE)
    said = [(int(at), int(size or 0)) for at, size, _ in rows]
    page = [(int(row[0]), int(row[1] or 0)) for row in (*SEGMENT, *FRAME)]
    assert [at for at, _ in said] == [at for at, _ in page]
    sized = dict(zip(range(len(page)), page, strict=True))
    assert all(size in (0, sized[n][1]) for n, (_, size) in enumerate(said))


def test_the_files_are_those_of_the_page():
    """The page shows each file under the name that the program gives it."""
    names = {row[0].strip("`") for row in FILES}
    assert segment_name(1) in names
    assert torn_name("SEGMENT", 0).replace(".0.1.", ".OFFSET.N.") in names
    assert part_name(0).replace("0", "N") in names
    assert {"next.part", "LOCK", "blobs/SHA256"} < names


def test_the_decisions_are_those_of_the_page():
    """What is done about what is found is, cell for cell, what the page says."""
    words = {
        Decision.USE: "use",
        Decision.CUT: "cut",
        Decision.REFUSE_CORRUPT: "corrupt",
        Decision.REFUSE_AMBIGUOUS: "ambiguous",
    }
    assert {
        (row[0], place): word for row in TABLE for place, word in zip(Place, row[1:], strict=True)
    } == {(finding.value, place): words[made] for (finding, place), made in DECISIONS.items()}
    assert {row[0] for row in FINDINGS} == {finding.value for finding in Finding}
    head = next(line for line in PAGE.splitlines() if "in the only segment" in line)
    assert [cell.strip() for cell in head.strip("|").split("|")][1:] == [p.value for p in Place]


def test_the_sizes_in_the_words_are_right():
    """The numbers in the sentences are the program's."""
    assert f"header block of {SEGMENT_HEADER_SIZE} bytes" in PAGE
    assert f"A sector is\n{SECTOR_SIZE} bytes" in PAGE
    assert "`happy journal` (13 bytes" in PAGE
    person = b"happy journal"
    assert len(person) == 13
    chain = hashlib.blake2b(b"i" * 16, digest_size=16, person=person.ljust(16, b"\0")).digest()
    assert chain == first_chain(b"i" * 16)


# --- a reader written from the page alone -------------------------------------------------------


def crc_is(data, at):
    return zlib.crc32(data[:at]) == struct.unpack_from("<I", data, at)[0]


def blake(data, person=b""):
    return hashlib.blake2b(data, digest_size=16, person=person).digest()


def frames_by_the_page(folder):
    """Yield (kind, first seq, time, records) of every frame of a good journal."""
    expected, journal, number, seq, time, end = None, None, 1, 1, 0, 0
    for path in sorted(folder.glob("[0-9]" * 20 + ".segment")):
        data = path.read_bytes()
        assert crc_is(data[:4096], 4092)
        magic, version, salt, identity, here, first, _, before, chain = struct.unpack_from(
            "<8sH2xI16sQQQQ16s", data
        )
        assert (magic, version, here, first, before) == (b"HAPPYJNL", 1, number, seq, end)
        journal = journal or identity
        expected = expected or blake(identity, b"happy journal")
        assert (identity, chain, path.name) == (journal, expected, f"{first:020}.segment")
        end = 4096
        while any(data[end:]):
            head = data[end : end + 72]
            assert crc_is(head, 68)
            (magic, kind, zero, mask, length, count, its_salt, body_crc, first, its_time, durable,
             chain, more_zero) = struct.unpack_from("<4sBB2sIIIIQQQ16sI", head)  # fmt: skip
            assert (magic, its_salt, zero, more_zero) == (b"HFRM", salt, 0, 0)
            assert kind in (1, 2, 3, 4)
            assert durable <= end
            body = data[end + 72 : end + 72 + -(-length // 8) * 8]
            assert zlib.crc32(body) == body_crc
            body = body[:length]
            assert chain == blake(expected + head[:48] + body)
            assert first == seq
            assert its_time >= time
            assert kind != 4 or (length, count) == (48, 0)
            yield kind, first, its_time, [] if kind == 4 else split(unmask(body, mask), count)
            expected, seq, time = chain, seq + count, its_time
            end += 72 + -(-length // 8) * 8
        number += 1


def unmask(body, mask):
    return bytes(byte ^ mask[n % 2] for n, byte in enumerate(body))


def split(body, count):
    records, at = [], 0
    for _ in range(count):
        (length,) = struct.unpack_from("<I", body, at)
        records.append(body[at + 4 : at + 4 + length])
        assert len(records[-1]) == length
        at += 4 + length
    assert at == len(body)
    return records


# --- the journal that never changes -------------------------------------------------------------


def expected_frames():
    kinds = {kind.name: kind.value for kind in Kind}
    return [
        (
            kinds[frame["kind"]],
            frame["first_seq"],
            frame["time_ns"],
            [base64.b64decode(record) for record in frame["records"]],
        )
        for frame in EXPECTED
    ]


def golden_disk():
    disk = MemoryDisk()
    for path in GOLDEN.glob("*.segment"):
        disk.create(path.name)
        disk.write(path.name, 0, path.read_bytes())
        disk.sync(path.name)
    return disk


def test_the_golden_journal_was_never_touched():
    """The bytes of the golden journal are those of the day it was made."""
    assert {path.name: blake(path.read_bytes()).hex() for path in GOLDEN.iterdir()} == DIGESTS


def test_the_golden_journal_has_what_the_format_has():
    """It holds several segments, marks, a batch of several records, and a mask."""
    assert len(list(GOLDEN.glob("*.segment"))) == 3
    assert {frame["kind"] for frame in EXPECTED} == {"EVENTS", "IDLE_MARK", "CLOSE_MARK"}
    assert max(len(frame["records"]) for frame in EXPECTED) == 3
    masks = [
        data[at.start() + 6 : at.start() + 8]
        for data in (path.read_bytes() for path in GOLDEN.glob("*.segment"))
        for at in re.finditer(b"HFRM", data)
    ]
    assert len(masks) == len(EXPECTED)
    assert {mask == b"\0\0" for mask in masks} == {True, False}


def test_the_page_alone_reads_the_golden_journal():
    """A reader written from the page reads every frame of the golden journal."""
    assert list(frames_by_the_page(GOLDEN)) == expected_frames()


def test_the_program_reads_the_golden_journal():
    """What was written then is read now, and ends in good order."""
    reader = Reader(golden_disk(), cut=False)
    found = [
        (f.kind.value, f.first_seq, f.time_ns, [bytes(r) for r in records_of(f)])
        for f in reader.frames()
    ]
    assert found == expected_frames()
    assert (reader.torn, reader.tail.closed) == (None, True)


@event(name="golden.Noted")
class Noted:
    number: int
    text: str = ""
    raw: bytes = b""


@state
class Notes:
    numbers: tuple[int, ...] = ()
    text: str = ""
    raw_bytes: int = 0


class Notebook(App):
    state = Notes

    @handles(Noted)
    def note(state, event, context):
        state.numbers += (event.number,)
        state.text += event.text
        state.raw_bytes += len(event.raw)


def open_golden(disk):
    definition = definition_of(Notebook)
    world = World(Clock(), lambda: 0, maybeDeferred, maybeDeferred, bytes, lambda _: None)
    decoder = EventDecoder(definition.events)
    return open_application("golden", definition, decoder, disk, world, Limits())


def test_the_golden_journal_opens_and_goes_on():
    """Promise 9: an application opens the golden journal, comes to its state, and writes on."""
    disk = golden_disk()
    opened = open_golden(disk)
    notes = opened.core.machine.state
    assert notes.numbers == (1, 2, 3, 4, 5, 6, 7, 8, 9)
    assert notes.text == "onetwovier, четыре, 四zeros" + "x" * 700 + "seveneightkeyed"
    assert notes.raw_bytes == 1_500 + 256
    assert opened.journal_id == bytes(range(16))
    assert opened.core.machine.keys.get("key").seq == 9
    last = base64.b64decode(EXPECTED[-2]["records"][0])
    opened.appender.append([last.replace(b"\xa3key", b"\xa3new")], opened.tail.position.time_ns)
    assert open_golden(disk).core.machine.state.numbers[-2:] == (9, 9)


def test_the_golden_journal_is_not_made_again():
    """The script that made it refuses to write over it."""
    done = subprocess.run(
        [sys.executable, HERE / "make_golden_journal.py"],
        check=False,
        capture_output=True,
        cwd=HERE.parent,
    )
    assert done.returncode == 1
    assert b"FileExistsError" in done.stderr
