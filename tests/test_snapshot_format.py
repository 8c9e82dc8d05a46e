"""The page that describes snapshots, and the snapshot that never changes, against the program."""

import hashlib
import re
import zlib
from pathlib import Path

import msgspec
import pytest

from happy.exact import Code
from happy.journal.names import snapshot_name
from happy.journal.snapshot_format import (
    BLOCK_HEADER_SIZE,
    BLOCK_MAGIC,
    FOOTER_MAGIC,
    FOOTER_SIZE,
    HEADER_SIZE,
    MAGIC,
    VERSION,
    Form,
)
from happy.testing.disk import MemoryDisk
from snapshot_kit import Branch, Paid

HERE = Path(__file__).parent
PAGE = (HERE.parent / "docs" / "snapshot-format.md").read_text()


def tables():
    """Return the tables of the page as lists of rows of cells, the head left out."""
    found = re.findall(r"(?:^\|.*\|\n)+", PAGE, flags=re.MULTILINE)
    return [
        [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
        for table in found
    ]


FILES, HEADER, BLOCK, FOOTER, SECTIONS, EXTENSIONS = tables()


@pytest.mark.parametrize(
    ("rows", "size"),
    [(HEADER, HEADER_SIZE), (BLOCK, BLOCK_HEADER_SIZE), (FOOTER, FOOTER_SIZE)],
    ids=["header", "block", "footer"],
)
def test_the_fields_of_a_table_follow_each_other(rows, size):
    """Each table of the page covers its part byte for byte."""
    end = 0
    for offset, length, _, _ in rows:
        assert int(offset) == end
        end += int(length or 0)
    assert end == size


def test_the_page_knows_the_program():
    """Names, magic words, forms, sections and extensions are those of the program."""
    assert FILES[0][0] == f"`{snapshot_name(42)}`"
    for word in (MAGIC, BLOCK_MAGIC, FOOTER_MAGIC):
        assert f"`{word.decode()}`" in PAGE
    assert f"version {VERSION}" in PAGE.splitlines()[0]
    assert {form.value for form in Form} == {1, 2}
    assert [int(row[0]) for row in EXTENSIONS] == [code.value for code in Code]
    header, _, _ = read(made())
    told = {row[0].strip("`") for row in SECTIONS}
    assert {re.sub("^table .*", "table NAME", name) for name, *_ in header["sections"]} == told


def made():
    bank = Branch(MemoryDisk())
    bank.open()
    for n in range(40):
        bank.append(Paid(f"a{n % 7}", n), keyed=n % 3 == 0)
    return bank.disk.read(bank.make().name)


def fields(rows, data):
    """Return the fields of a table, as numbers or bytes, and check what is reserved."""
    found = {}
    for offset, size, field, meaning in rows:
        if not size:
            continue
        raw = data[int(offset) : int(offset) + int(size)]
        if field == "reserved":
            assert meaning.startswith("zero")
            assert not any(raw)
        wide = int(size) > 8 or field == "magic"
        found[field] = raw if wide else int.from_bytes(raw, "little")
    return found


def read(data):
    """Read a snapshot with the page alone; return description, header and bodies by section."""
    head = fields(HEADER, data)
    assert head["magic"] == b"HAPPYSNP"
    assert head["crc"] == zlib.crc32(data[:76])
    end = 80 + head["length"]
    assert head["description_crc"] == zlib.crc32(data[80:end])
    description = msgspec.msgpack.decode(data[80:end])
    blocks, items, bodies = 0, 0, []
    while data[end : end + 4] == b"HBLK":
        block = fields(BLOCK, data[end:])
        assert block["crc"] == zlib.crc32(data[end : end + 28])
        assert block["number"] == blocks
        body = data[end + 32 : end + 32 + block["length"]]
        assert block["body_crc"] == zlib.crc32(body)
        content = msgspec.msgpack.decode(body)
        assert len(content) == block["count"]
        bodies.append((description["sections"][block["section"]][0], block["form"], content))
        blocks, items, end = blocks + 1, items + block["count"], end + 32 + block["length"]
    foot = fields(FOOTER, data[end:])
    assert (foot["blocks"], foot["items"], foot["offset"]) == (blocks, items, end)
    assert foot["crc"] == zlib.crc32(data[end : end + 44])
    digest = hashlib.blake2b(data[: end + 24], digest_size=16).digest()
    assert foot["digest"] == digest
    assert len(data) == end + 48
    return description, head, bodies


def test_a_reader_made_from_the_page_reads_what_the_program_writes():
    """The page is enough: every field is where it says, every checksum is what it says."""
    description, head, bodies = read(made())
    assert head["seq"] == 38
    counts = {name: count for name, count, *_ in description["sections"]}
    assert counts["kinds"] == 1
    accounts = [row for name, _, items in bodies if name == "table accounts" for row in items]
    assert len(accounts) == counts["table accounts"] == 7
