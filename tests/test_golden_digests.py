"""A journal with digest marks that never changes, and that opens for ever."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from golden_kit import Keeper, Ledger, Paid, Reminded
from happy import handles
from happy.app import definition_of
from happy.errors import Diverged
from happy.event import Configured, Exchange
from happy.journal.frame import Kind
from happy.journal.replay import Reader
from happy.marks import SCHEME, mark_in
from happy.testing.disk import MemoryDisk
from test_journal_format import frames_by_the_page

HERE = Path(__file__).parent
GOLDEN = HERE / "golden" / "digests-v1"
EXPECTED = json.loads((GOLDEN / "expected.json").read_text())

DIGESTS = {
    "00000000000000000001.segment": "3885cfc59926f1538995503ad8464ed2",
    "00000000000000000028.segment": "ff48c63350aa6a8703558789ea5de5a6",
    "00000000000000000054.segment": "26eeeff67b9558f43ed6779b4655b305",
    "00000000000000000082.segment": "a8d7cbf870e9b065e9c799cc2b07b2f9",
    "00000000000000000109.segment": "c9c20ed06b2af11ace3a03982c9a15d4",
    "00000000000000000136.segment": "456779ddac08aa71092e6ca085f82c76",
    "expected.json": "b62afd45b245f24c646acc5a53f423c3",
}


def golden_disk():
    disk = MemoryDisk()
    for path in GOLDEN.glob("*.segment"):
        disk.create(path.name)
        disk.write(path.name, 0, path.read_bytes())
        disk.sync(path.name)
    return disk


def frames():
    return list(Reader(golden_disk(), cut=False).frames())


def test_the_journal_was_never_touched():
    """The bytes are those of the day they were made."""
    found = {
        path.name: hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
        for path in GOLDEN.iterdir()
    }
    assert found == DIGESTS


def test_it_has_marks_of_every_sort():
    """Before a batch and at a close, over several segments."""
    kinds = [frame.kind for frame in frames()]
    after = {kinds[n + 1] for n, kind in enumerate(kinds) if kind is Kind.DIGEST_MARK}
    assert {Kind.EVENTS, Kind.CLOSE_MARK} <= after
    assert len(list(GOLDEN.glob("*.segment"))) > 1


def test_the_page_alone_reads_it():
    """A reader written from the description of the format reads every frame."""
    kinds = [kind for kind, *_ in frames_by_the_page(GOLDEN)]
    assert kinds == [frame.kind.value for frame in frames()]


def test_it_opens_and_comes_to_the_digests_it_holds():
    """Promise 9: its marks agree, or are of a way to make digests that is not used any more."""
    keeper = Keeper(golden_disk())
    keeper.stream.open()
    machine = keeper.stream._core.machine
    assert machine.seq == EXPECTED["seq"]
    marks = [mark_in(frame) for frame in frames() if frame.kind is Kind.DIGEST_MARK]
    if {mark.scheme for mark in marks} == {SCHEME}:
        assert machine.agreed == marks[-1]
        assert machine.agreed.seq == machine.seq
        assert (machine.digest(), machine.outcomes.digest()) == (
            EXPECTED["digest"],
            EXPECTED["outcomes"],
        )


def test_it_goes_on():
    """An application that opened it writes on, and opens what it wrote."""
    disk = golden_disk()
    for _ in range(2):
        keeper = Keeper(disk)
        keeper.stream.open()
        keeper.clock.advance(10_000)
        keeper.stream.begin(Configured(b""))
        keeper.stream.submit(Paid("ann", 1), Exchange("test"))
        keeper.stream.close()
    assert keeper.stream._core.machine.seq > EXPECTED["seq"]


class Dearer(Ledger):
    """What pays otherwise, and answers the same."""

    @handles(Reminded)
    def remind(state, event, context):
        state.last = event.payee.upper()
        return state.accounts.get(event.payee)


def test_other_code_does_not_open_it(monkeypatch):
    """Promise 4: a handler that does something else is noticed at the first mark behind it."""
    if {mark_in(f).scheme for f in frames() if f.kind is Kind.DIGEST_MARK} != {SCHEME}:
        pytest.skip("its marks are of a way to make digests that is not used any more")
    monkeypatch.setattr("golden_kit.Ledger", Dearer)
    assert definition_of(Dearer).state is definition_of(Ledger).state
    with pytest.raises(Diverged, match=r"^seq \d+ to \d+: .* the state \(digest") as caught:
        Keeper(golden_disk()).stream.open()
    assert 1 < caught.value.first_seq < caught.value.last_seq < EXPECTED["seq"]


def test_it_is_not_made_again():
    """The script that made it refuses to write over it."""
    done = subprocess.run(
        [sys.executable, HERE / "make_golden_digests.py"],
        check=False,
        capture_output=True,
        cwd=HERE.parent,
    )
    assert done.returncode == 1
    assert b"FileExistsError" in done.stderr
