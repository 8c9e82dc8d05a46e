"""What is made of measurements: ranks, medians, and whether numbers are the right ones."""

from __future__ import annotations

import math
from collections.abc import Sequence


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the least value that ``percent`` of all are not above (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def spread(times_us: Sequence[float]) -> dict[str, float]:
    """Return the 50th and the 99th percentile of times in microseconds."""
    ordered = sorted(times_us)
    return {
        "p50_us": round(percentile(ordered, 50), 1),
        "p99_us": round(percentile(ordered, 99), 1),
    }


def faults_in(numbers: Sequence[Sequence[int]]) -> list[str]:
    """Return what is wrong with the numbers that connections got, each in its order.

    Nothing, if all of them together are a run without a gap, each was given out once, and on
    every connection each is greater than the one before.
    """
    faults = []
    everything = [number for each in numbers for number in each]
    if len(set(everything)) < len(everything):
        faults.append("a number was given out twice")
    if everything and max(everything) - min(everything) + 1 != len(set(everything)):
        faults.append("there is a gap")
    if any(list(each) != sorted(each) for each in numbers):
        faults.append("on a connection, a number is less than the one before")
    return faults
