"""`happy journal verify`: every fault is found, and nothing is changed."""

import json
import os
import pty
import shutil
import struct
import subprocess
import sys
import zlib
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from happy.cli import main
from happy.cli.verdict import Verification
from happy.codec import encode
from happy.errors import JournalError
from happy.event import Blob, Mail, event, event_meta
from happy.journal.appender import Appender, create_journal
from happy.journal.disk import FileDisk
from happy.journal.frame import Kind
from happy.marks import DigestMark

SECOND = 1_000_000_000
SEGMENT_BYTES = 8192
TEXT = b"what was answered"


@event
class Note:
    text: str


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch):
    monkeypatch.setattr("happy.cli.segments._PAUSE_S", 0)


def write_journal(path, batches, *, close=True, records=None, digest=b""):
    disk = FileDisk(path)
    disk.lock()
    tail = create_journal(disk, b"j" * 16, 1, SECOND, SEGMENT_BYTES)
    appender = Appender(disk, tail, segment_bytes_max=SEGMENT_BYTES, new_salt=lambda: 2)
    for batch in batches:
        appender.append([encode(e, "test") for e in batch], SECOND)
    if records:
        appender.append(records, SECOND)
    if close:
        appender.mark(Kind.CLOSE_MARK, SECOND, digest)
    disk.close()
    return sorted(path.glob("*.segment"))


def verify(path, *options):
    return CliRunner().invoke(main, ["journal", "verify", *options, str(path)])


def contents(path):
    return {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}


def change(file, offset, data):
    with file.open("r+b") as opened:
        opened.seek(offset)
        opened.write(data)


def test_a_digest_mark_that_is_none_is_status_2(tmp_path):
    """Right checksums, and a body that no program of ours writes."""
    for body, status in ((mark_body(), 0), (b"no mark", 2)):
        path = tmp_path / str(status)
        write_journal(path, [[Note("x")]], digest=body)
        result = verify(path)
        assert result.exit_code == status
    assert "seq 1: the digest mark after it cannot be read" in result.stderr


def mark_body():
    return DigestMark(1, "5a" * 16, "0c" * 16, "5e" * 8).body()


def test_a_whole_journal_is_status_0(tmp_path):
    """Over segments, with the number of events, and as JSON."""
    files = write_journal(tmp_path, [[Note("x" * 1000)] * 2] * 5)
    result = verify(tmp_path)
    assert result.exit_code == 0
    assert result.stdout == f"{tmp_path}: whole: 10 events, {len(files)} segments, 0 blobs\n"
    assert result.stderr == ""
    said = json.loads(verify(tmp_path, "--json").stdout)
    assert (said["health"], said["events"], said["closed"]) == ("whole", 10, True)


def test_a_journal_without_events_is_whole(tmp_path):
    """An application that never did anything is well."""
    write_journal(tmp_path, [], close=False)
    assert "whole: 0 events, 1 segment, 0 blobs" in verify(tmp_path).stdout


def test_a_torn_tail_is_status_1_and_nothing_to_do(tmp_path):
    """It says how much is good, and changes nothing."""
    (file,) = write_journal(tmp_path, [[Note("a")], [Note("b" * 999)]], close=False)
    os.truncate(file, file.read_bytes().rindex(b"bbb") - 100)
    before = contents(tmp_path)
    result = verify(tmp_path)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "after seq 1" in result.stderr
    assert "nothing to do" in result.stderr
    assert json.loads(verify(tmp_path, "--json").stdout)["health"] == "torn"
    assert contents(tmp_path) == before


def test_an_only_segment_without_a_header_is_torn(tmp_path):
    """Every tool says the same: nothing is there but the beginning of a header."""
    (file,) = write_journal(tmp_path, [[Note("a")]])
    os.truncate(file, 100)
    before = contents(tmp_path)
    result = verify(tmp_path)
    assert result.exit_code == 1
    assert "the next start begins anew" in result.stderr
    listed = CliRunner().invoke(main, ["journal", "ls", "--json", str(tmp_path)])
    assert json.loads(listed.stdout)["state"] == "torn"
    shown = CliRunner().invoke(main, ["journal", "show", str(tmp_path)])
    assert (shown.exit_code, shown.stdout) == (0, "")
    copied = CliRunner().invoke(main, ["backup", str(tmp_path), "--to", str(tmp_path / "to")])
    assert copied.exit_code == 3
    assert "nothing but a segment header cut short" in copied.stderr
    assert contents(tmp_path) == before


def test_a_last_segment_without_a_header_is_torn(tmp_path):
    """The segments before it are whole, and counted."""
    files = write_journal(tmp_path, [[Note("x" * 1000)] * 2] * 5)
    os.truncate(files[-1], 100)
    result = verify(tmp_path, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["events"] == 8


def test_a_bad_last_frame_is_status_2_and_called_ambiguous(tmp_path):
    """Whole but wrong, with nothing after it."""
    (file,) = write_journal(tmp_path, [[Note("aaaa")], [Note("bbbb")]], close=False)
    file.write_bytes(file.read_bytes().replace(b"bbbb", b"bXbb"))
    result = verify(tmp_path, "--json")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["health"] == "ambiguous"


def test_damage_is_status_2_and_named(tmp_path):
    """File, offset and seq; what was good before it is counted."""
    files = write_journal(tmp_path, [[Note("x" * 1000)] * 2] * 5)
    change(files[1], 5000, b"?")
    result = verify(tmp_path)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert f"{files[1].name}, offset " in result.stderr
    assert "restore it from a backup" in result.stderr


@pytest.mark.parametrize("number", [0, 1])
def test_a_missing_segment_is_status_2(tmp_path, number):
    """At the beginning or in between."""
    write_journal(tmp_path, [[Note("x" * 1000)] * 2] * 5)[number].unlink()
    assert verify(tmp_path).exit_code == 2


def test_a_damaged_header_is_status_2(tmp_path):
    """Nothing after it can be trusted."""
    (file,) = write_journal(tmp_path, [[Note("a")]])
    change(file, 100, b"x")
    assert verify(tmp_path).exit_code == 2


def test_a_record_that_is_none_is_status_2(tmp_path):
    """Right checksums over something that no program of ours writes."""
    write_journal(tmp_path, [[Note("a")]], records=[b"\xc1"])
    result = verify(tmp_path)
    assert result.exit_code == 2
    assert "seq 2: not an event" in result.stderr


@pytest.mark.parametrize(
    "body",
    [b"\x01", msgspec.msgpack.encode({"content": {}}),
     msgspec.msgpack.encode({"content": {"sha256": "../../etc"}}),
     msgspec.msgpack.encode({"content": {"sha256": 7}})],
)  # fmt: skip
def test_a_mail_that_is_none_is_status_2(tmp_path, body):
    """What it says of a blob is what no program of ours says: a sentence with its seq."""
    record = msgspec.msgpack.encode((event_meta(Mail).name, 1, msgspec.Raw(body), "test"))
    write_journal(tmp_path, [[Note("a")]], records=[record])
    for processes in (0, 2):
        verdict = Verification(tmp_path, lambda _done, _total: None, processes).verdict()
        assert (verdict.health, verdict.events) == ("corrupt", 1)
        assert verdict.sentence.startswith("seq 2: not a mail of this program: ")


def test_what_is_no_journal_is_status_3(tmp_path):
    """Nothing there, something else, or a format from the future."""
    assert verify(tmp_path / "none").exit_code == 3
    assert verify(tmp_path).exit_code == 3
    (tmp_path / "notes.txt").write_text("something else")
    assert verify(tmp_path).exit_code == 3
    (file,) = write_journal(tmp_path / "future", [[Note("a")]])
    head = bytearray(file.read_bytes()[:4092])
    head[8:10] = struct.pack("<H", 999)
    change(file, 0, head + struct.pack("<I", zlib.crc32(head)))
    result = verify(tmp_path / "future")
    assert result.exit_code == 3
    assert "999" in result.stderr


def test_what_cannot_be_read_is_status_4(tmp_path, monkeypatch):
    """Neither good nor damaged: nobody knows."""
    write_journal(tmp_path, [[Note("a")]])

    def read(*_):
        raise JournalError("it: cannot be read: permission denied")

    monkeypatch.setattr(FileDisk, "read", read)
    result = verify(tmp_path)
    assert result.exit_code == 4
    assert result.stderr == "it: cannot be read: permission denied\n"


def test_a_terminal_sees_how_far_it_is(tmp_path):
    """A bar on standard error, where somebody looks; in a pipe there is none."""
    write_journal(tmp_path, [[Note("a")]])
    command = [Path(sys.executable).with_name("happy"), "journal", "verify", tmp_path]
    ours, its = pty.openpty()
    try:
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=its, check=True)
        assert b"reading" in os.read(ours, 65536)
    finally:
        os.close(ours)
        os.close(its)
    assert subprocess.run(command, capture_output=True, check=True).stderr == b""


def test_what_is_damaged_may_be_saved_in_part(tmp_path):
    """The sentence names the command that tells what."""
    (file,) = write_journal(tmp_path, [[Note("a")], [Note("b")]])
    change(file, file.read_bytes().index(b"HFRM") + 80, b"?")
    assert f"happy journal repair {tmp_path} --to NEW" in verify(tmp_path).stderr


# --- blobs ------------------------------------------------------------------------------------


@pytest.fixture
def blob(tmp_path):
    """Return the file of a blob that a mail in the journal names."""
    digest = sha256(TEXT).hexdigest()
    mail = Mail("a@b.example", ("c@d.example",), b"\r\n", Blob(digest, len(TEXT)))
    write_journal(tmp_path, [[Note("a"), mail]])
    file = tmp_path / "blobs" / digest
    file.parent.mkdir()
    file.write_bytes(TEXT)
    (file.parent / "1.part").write_bytes(b"still arriving")
    return file


def test_good_blobs_are_counted(blob):
    """A blob that is being written is nobody's business yet."""
    assert "2 events, 1 segment, 1 blob\n" in verify(blob.parent.parent).stdout


def test_a_missing_blob_is_status_2(blob):
    """The seq of the mail is named."""
    blob.unlink()
    result = verify(blob.parent.parent)
    assert result.exit_code == 2
    assert f"{blob.name} of seq 2 is missing" in result.stderr


def test_a_changed_blob_is_status_2(blob):
    """One changed byte is enough."""
    blob.write_bytes(TEXT.replace(b"a", b"e"))
    result = verify(blob.parent.parent)
    assert result.exit_code == 2
    assert f"blobs/{blob.name}" in result.stderr


# --- beside a writer --------------------------------------------------------------------------


@pytest.fixture(params=["unwritten", "bad", "followed"])
def writing(request, tmp_path, monkeypatch):
    """Return a function: the next so many looks at a segment see its second frame half written."""
    batches = [[Note("a")], [Note("b" * 2000)], [Note("c")]]
    (file,) = write_journal(tmp_path, batches, close=False)
    whole = file.read_bytes()
    begin, end = whole.index(b"bbb"), whole.rindex(b"bbb") + 3
    seen = {
        "unwritten": whole[: begin + 500].ljust(len(whole), b"\0"),
        "bad": whole[: end - 1].ljust(len(whole), b"\0"),
        "followed": whole[:begin] + bytes(1500) + whole[begin + 1500 :],
    }[request.param]
    read = FileDisk.read
    left = 0

    def read_beside_a_writer(disk, name, offset=0, size=None):
        if size is None or not offset <= begin < offset + size:
            return read(disk, name, offset, size)
        nonlocal left
        left -= 1
        return (whole if left < 0 else seen)[offset : offset + size]

    def looks(count):
        nonlocal left
        left = count
        return tmp_path

    monkeypatch.setattr(FileDisk, "read", read_beside_a_writer)
    return looks


@pytest.mark.parametrize("looks", [1, 2])
def test_what_is_half_written_is_no_fault(writing, looks):
    """A frame that was read while it was written is looked at again, and its events count."""
    verdict = Verification(writing(looks), lambda _done, _total: None).verdict()
    assert (verdict.health, verdict.events) == ("whole", 3)


def test_ls_and_show_look_again_too(writing):
    """All events are there, once each, and nothing is called torn."""
    runner = CliRunner()
    shown = runner.invoke(main, ["journal", "show", str(writing(1))])
    assert [json.loads(line)["seq"] for line in shown.stdout.splitlines()] == [1, 2, 3]
    listed = json.loads(runner.invoke(main, ["journal", "ls", str(writing(1))]).stdout)
    assert (listed["state"], listed["events"]) == ("open", 3)


# --- everything -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """Return a journal of several segments, to be damaged."""
    path = tmp_path_factory.mktemp("original")
    write_journal(path, [[Note("x" * 1000)] * 2] * 5, close=False)
    return path


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_changed_byte_goes_unnoticed(original, tmp_path_factory, data):
    """Any byte, anywhere in what was written, and the journal is not called whole."""
    path = tmp_path_factory.mktemp("damaged") / "journal"
    shutil.copytree(original, path)
    file = data.draw(st.sampled_from(sorted(path.glob("*.segment"))))
    used = len(file.read_bytes().rstrip(b"\0"))
    offset = data.draw(st.integers(0, used - 1))
    change(file, offset, bytes([file.read_bytes()[offset] ^ data.draw(st.integers(1, 255))]))
    before = contents(path)
    result = verify(path)
    assert result.exit_code in {1, 2, 3}, result.output
    assert len(result.stderr.splitlines()) == 1
    assert contents(path) == before
    shutil.rmtree(Path(path))
