"""Killing the process at any moment loses and doubles nothing that was answered."""

from __future__ import annotations

import random
import signal
import time

import pytest

from conftest import NUMBERS
from witness_kit import Load, Witness, ask_again, numbers_in, verified

SEGMENT_BYTES = [None, 1 << 20, 1 << 17, 1 << 15, 1 << 13]
CYCLES = 100  # of each journal: a long one takes its time to be replayed
LOAD_S_MAX = 0.06
STARTING_EVERY = 10
STARTING_S_MAX = 0.06
ASKED_AGAIN = 4
RECENT = 10_000  # well below the number of keys that are remembered


def kill_while_starting(house, after_s: float) -> None:
    house.launch()
    time.sleep(after_s)
    house.kill()


def kill_under_load(house, witness: Witness, moments: random.Random) -> None:
    """Compare what was answered before, take numbers, and kill the process at some moment."""
    house.start()
    port = house.port("numbers", "http")
    recent = [*witness.numbers][-RECENT:]
    known = moments.sample(recent, k=min(ASKED_AGAIN, len(recent)))
    ask_again(port, witness, [*witness.unanswered, *known])
    with Load(port, witness):
        time.sleep(moments.uniform(0, LOAD_S_MAX))
        house.kill()


@pytest.mark.parametrize("segment_bytes", SEGMENT_BYTES)
def test_kill_9_under_load_loses_and_doubles_no_answered_number(container, forkers, segment_bytes):
    """Promises 1, 2 and 5: over 5 x 100 kills under 16 clients, every answered number holds."""
    limits = f"[limits]\nsegment_bytes_max = {segment_bytes}\n" if segment_bytes else ""
    house = container(NUMBERS + limits)
    house.spawn = forkers().fork
    witness = Witness()
    moments = random.Random(segment_bytes or 20061122)
    for cycle in range(CYCLES):
        if cycle % STARTING_EVERY == 0:
            kill_while_starting(house, moments.uniform(0, STARTING_S_MAX))
        kill_under_load(house, witness, moments)
    house.start()
    ask_again(house.port("numbers", "http"), witness, [*witness.unanswered])
    assert house.stop() == -signal.SIGTERM
    numbers = sorted(witness.numbers.values())
    print(f"{CYCLES} kills, {len(numbers)} numbers answered")
    assert numbers == list(range(1, len(numbers) + 1))
    assert witness.refused == {}
    journal = house.data / "numbers"
    assert verified(journal) == "whole"
    assert numbers_in(journal) == witness.numbers
