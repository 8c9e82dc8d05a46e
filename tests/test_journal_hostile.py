"""A journal that somebody made to hurt: bounded memory, no hang, no traceback."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

FRAMES = 100_000
MEMORY_BYTES_MAX = 192 * 1024 * 1024  # the interpreter and what it imports included
TIME_S_MAX = 120

CHILD = """
import random, resource, struct, sys, zlib
from collections import Counter
from happy.errors import JournalError
from happy.journal.frame import (
    Frame, Kind, SegmentHeader, chain_after, encode_frame, encode_segment_header, first_chain,
    records_of,
)
from happy.journal.recovery import Finding, next_frame, start_of
from happy.codec import decode_record
import msgspec

frames, memory = int(sys.argv[1]), int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
draw = random.Random(20061122)
identity = bytes(16)
header = SegmentHeader(identity, 1, 1, 0, 0, first_chain(identity), 7)
block = encode_segment_header(header)
at = start_of(header)
edges = [0, 1, 7, 8, 2**31 - 1, 2**31, 2**32 - 1]
seen = Counter()


def forged():
    '''A frame whose checksums and chain are right, and whose numbers need not be.'''
    body = draw.randbytes(draw.choice([0, 4, 8, 40]))
    if draw.random() < 0.5:  # a record that says how long it is, rightly or not
        body = struct.pack("<I", draw.choice([*edges, max(0, len(body) - 4)])) + body
    length = draw.choice([len(body), len(body), *edges])
    count = draw.choice([1, 1, *edges])
    padded = body.ljust((len(body) + 7) & ~7, b"\\0")
    head = struct.pack(
        "<4sBBHIIIIQQQ", b"HFRM", draw.choice([1, 1, 2, 3, 0, 9, 255]), draw.choice([0, 0, 1]),
        draw.choice([0, 0, 0x5a5a]), length, count, 7, zlib.crc32(padded),
        draw.choice([1, 1, 0, 2**64 - 1]), draw.choice([0, 1, 2**64 - 1]),
        draw.choice([4096, 0, 2**64 - 1]),
    )
    head += chain_after(header.chain, head, body[:length]) + bytes(4)
    return head + struct.pack("<I", zlib.crc32(head)) + padded


def damaged():
    '''A good frame with some of its bytes changed, cut or doubled.'''
    frame, _ = encode_frame(
        Kind.EVENTS, [b"\\x94\\xa1A\\x01\\x80\\xa1s"], first_seq=1, time_ns=1, offset=4096,
        durable_end=4096, salt=7, chain=header.chain,
    )
    frame = bytearray(frame)
    for _ in range(draw.randrange(4)):
        frame[draw.randrange(len(frame))] ^= 1 << draw.randrange(8)
    return bytes(frame[: draw.choice([len(frame), draw.randrange(len(frame))])])


def garbage():
    return draw.choice([b"HFRM", b"", bytes(9)]) * draw.randrange(30) + draw.randbytes(100)


for _ in range(frames):
    content = block + draw.choice([forged, damaged, garbage])() + bytes(draw.randrange(3) * 300)
    found = next_frame(memoryview(content), header, at)
    if isinstance(found, Finding):
        seen[found.name] += 1
        continue
    try:
        for record in records_of(found):
            decode_record(bytes(record))
        seen["good"] += 1
    except (ValueError, msgspec.MsgspecError):
        seen["no records"] += 1
for name, count in seen.items():
    print(name, count)
"""


def test_100_000_hostile_frames_cost_bounded_memory_and_no_traceback():
    """Forged lengths and counts, damage and garbage: each is a frame or a finding, in memory."""
    root = Path(__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(FRAMES), str(MEMORY_BYTES_MAX)],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=TIME_S_MAX,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    seen = Counter({n: int(c) for n, c in (x.rsplit(" ", 1) for x in done.stdout.splitlines())})
    print(dict(seen))
    assert seen.total() == FRAMES
    assert seen["good"] > 1000
    assert seen["no records"] > 1000
    assert {"FOREIGN", "SHORT", "BAD"} <= set(seen)
