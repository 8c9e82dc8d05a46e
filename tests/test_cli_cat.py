"""`happy journal cat`: frames for a pipe, which a reader can check from the first byte on."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from cli_kit import (
    SECOND,
    Note,
    change,
    contents,
    happy,
    lines,
    pen_of,
    records,
    segments,
    write,
)
from happy.codec import encode
from happy.journal.frame import (
    FRAME_HEADER_SIZE,
    SEGMENT_HEADER_SIZE,
    SEGMENT_MAGIC,
    Kind,
    decode_frame_header,
    decode_segment_header,
    records_of,
)
from happy.journal.recovery import after, next_frame, start_of
from happy.marks import DigestMark

HAPPY = Path(sys.executable).with_name("happy")


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch):
    monkeypatch.setattr("happy.cli.segments._PAUSE_S", 0)


def cat(*arguments):
    return happy("journal", "cat", *arguments)


def read_stream(stream):
    """Read a stream as docs/journal-format.md says; return the records by seq."""
    found = {}
    header = position = None
    while stream:
        if stream.startswith(SEGMENT_MAGIC):
            following = decode_segment_header(stream[:SEGMENT_HEADER_SIZE])
            if header is not None:
                assert following.journal_id == header.journal_id
                assert following.number == header.number + 1
                assert (following.first_seq, following.chain) == (
                    position.next_seq,
                    position.chain,
                )
            header, position = following, start_of(following)
            stream = stream[SEGMENT_HEADER_SIZE:]
            continue
        size = decode_frame_header(stream, 0).size
        # The offset in the stream is not that in the file: a reader of a stream needs none.
        block = bytes(position.offset) + stream[:size]
        frame = next_frame(block, header, position)
        found |= dict(enumerate(map(bytes, records_of(frame)), frame.first_seq))
        position = after(frame)
        stream = stream[size:]
    return found


def used(file):
    return file.read_bytes().rstrip(b"\0")


def test_cat_is_what_the_segments_hold(tmp_path):
    """Header and frames of each segment, one after the other, without the zeros behind."""
    files = segments(tmp_path, 4)
    before = contents(tmp_path)
    result = cat(tmp_path)
    assert result.exit_code == 0
    assert result.stdout_bytes == b"".join(
        file.read_bytes()[: len(used(file)) + -len(used(file)) % 8] for file in files
    )
    assert list(read_stream(result.stdout_bytes).values()) == records(tmp_path)
    assert contents(tmp_path) == before


def test_every_part_of_a_journal_can_be_checked_by_itself(tmp_path):
    """From every seq on, and to every seq: the chain holds, and what was asked for is there."""
    write(tmp_path, [[Note("x" * 900)] * (1 + n % 3) for n in range(12)], close=True)
    everything = dict(enumerate(records(tmp_path), 1))
    for first in everything:
        found = read_stream(cat(tmp_path, "--from", first).stdout_bytes)
        assert set(found) >= set(range(first, len(everything) + 1))
        assert min(found) > first - 3
        assert found.items() <= everything.items()
    for last in everything:
        found = read_stream(cat(tmp_path, "--to", last).stdout_bytes)
        assert set(found) >= set(range(1, last + 1))
        assert max(found) < last + 3


def test_the_end_of_a_journal_is_a_header_alone(tmp_path):
    """Where nothing is yet, the stream says where it would go on, and with which chain."""
    write(tmp_path, [[Note("one")], [Note("two")]])
    stream = cat(tmp_path, "--from", 3).stdout_bytes
    assert len(stream) == SEGMENT_HEADER_SIZE
    assert decode_segment_header(stream).first_seq == 3
    write(tmp_path, [[Note("three")]], at=10**12)
    longer = cat(tmp_path, "--from", 3).stdout_bytes
    assert longer.startswith(stream)
    assert list(read_stream(longer)) == [3]


def test_cat_stops_at_damage_after_what_is_before_it(tmp_path):
    """The good frames are written, then one sentence and status 1."""
    files = segments(tmp_path, 3)
    change(files[1], SEGMENT_HEADER_SIZE + FRAME_HEADER_SIZE + 50, b"?")
    result = cat(tmp_path)
    assert result.exit_code == 1
    assert list(read_stream(result.stdout_bytes)) == [1, 2]
    assert len(result.stderr.splitlines()) == 1
    assert files[1].name in result.stderr


def test_cat_tells_of_frames_as_json(tmp_path):
    """Headers and frames, a line each, with what makes them checkable."""
    segments(tmp_path, 2, close=True)
    found = lines(cat(tmp_path, "--json"))
    assert [line["kind"] for line in found] == [
        "segment", "events", "segment", "events", "segment", "close_mark",
    ]  # fmt: skip
    assert [line["first_seq"] for line in found] == [1, 1, 3, 3, 5, 5]
    assert found[1]["chain"] == found[2]["chain"]
    assert found[0]["journal"] == (b"j" * 16).hex()
    assert found[1]["events"] == 2


def test_cat_tells_what_a_digest_mark_says(tmp_path):
    """Both digests in hex, as `happy status` shows them, and whether it accepts a divergence."""
    disk, pen = pen_of(tmp_path)
    mark = DigestMark(2, "5a" * 16, "0c" * 16, "5e" * 8, accepting=True)
    pen.append([encode(Note("x"), "test")] * 2, SECOND)
    pen.mark(Kind.CLOSE_MARK, SECOND, mark.body())
    disk.close()
    told = lines(cat(tmp_path, "--json"))[2]
    assert (told["kind"], told["first_seq"], told["events"]) == ("digest_mark", 3, 0)
    assert (told["state"], told["outcomes"]) == (mark.state, mark.outcomes)
    assert told["accepting"] is True


def test_a_terminal_gets_no_frames(tmp_path):
    """Binary is for pipes: a sentence, status 64, and not a byte of a frame."""
    segments(tmp_path, 1)
    ours, its = pty.openpty()
    try:
        done = subprocess.run(
            [HAPPY, "journal", "cat", tmp_path],
            stdin=subprocess.DEVNULL, stdout=its, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
        os.set_blocking(ours, False)
        with pytest.raises(BlockingIOError):
            os.read(ours, 1)
    finally:
        os.close(ours)
        os.close(its)
    assert done.returncode == 64
    assert "binary" in done.stderr


def test_no_journal_is_a_sentence(tmp_path):
    """Status 1, and nothing on standard output."""
    result = cat(tmp_path)
    assert result.exit_code == 1
    assert result.stdout_bytes == b""
    assert result.stderr == f"{tmp_path}: no journal is here\n"


def test_cat_feeds_a_pipe(tmp_path):
    """What a shell gets is what was said; a reader that goes away is no error."""
    segments(tmp_path, 3)
    done = subprocess.run([HAPPY, "journal", "cat", tmp_path], capture_output=True, check=True)
    assert list(read_stream(done.stdout)) == [1, 2, 3, 4, 5, 6]
    with subprocess.Popen(
        [HAPPY, "journal", "cat", tmp_path, "--follow", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as following:
        assert json.loads(following.stdout.readline())["kind"] == "segment"
        following.stdout.close()
        assert following.wait(60) in {0, 1}
        assert following.stderr.read() == b""
