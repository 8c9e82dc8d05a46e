"""What ``web.py`` found, as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, Final

from documents import table

GOALS: Final = (
    (64, "happy POST /next", "Apache static file", 1.8),
    (64, "happy POST /next", "FastAPI + Redis, fsync always", 6.5),
    (64, "happy POST /next", "FastAPI + PostgreSQL, sequence", 10.0),
    (256, "happy POST /next", "twisted.web hello", 2.4),
    (64, "happy GET /last", "uvicorn ASGI hello", 1.2),
    (64, "happy GET /last", "Granian ASGI hello", 1.0),
    (64, "happy Klein hello", "stock Klein hello", 1.6),
)
"""At so many clients: this, beside that, is at least so many times as fast."""
P99_MS_GOAL: Final = 5
LONE_US_GOAL: Final = 400


def summary_of(runs: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the medians over the rounds of one row at one number of clients."""
    rates = [run["answers"] / run["duration_us"] * 1e6 for run in runs]
    return {
        "per_s": round(median(rates)),
        "least_per_s": round(min(rates)),
        "most_per_s": round(max(rates)),
        "p50_ms": round(median(run["p50_us"] for run in runs) / 1e3, 2),
        "p99_ms": round(median(run["p99_us"] for run in runs) / 1e3, 2),
        "cpu_us": round(median(run["cpu_s"] / max(run["answers"], 1) for run in runs) * 1e6, 1),
    }


def ratio_of(ours: Sequence[Mapping[str, Any]], theirs: Sequence[Mapping[str, Any]]) -> float:
    """Return the median over the rounds of how many times as fast one is as the other.

    Both of a round ran within seconds of each other, so what disturbed the machine for longer
    disturbed both.
    """
    return median(
        (a["answers"] / a["duration_us"]) / (b["answers"] / b["duration_us"])
        for a, b in zip(ours, theirs, strict=True)
    )


def ratios_of(runs: Mapping[tuple[str, int], Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Return the ratios that there are goals for, as far as both of a pair were measured."""
    return [
        {
            "clients": clients,
            "ours": ours,
            "theirs": theirs,
            "ratio": round(ratio_of(runs[ours, clients], runs[theirs, clients]), 2),
            "goal": goal,
        }
        for clients, ours, theirs, goal in GOALS
        if runs.get((ours, clients)) and runs.get((theirs, clients))
    ]


def rows_table(found: Mapping[str, Any], clients: int) -> str:
    """Return all rows with so many clients as a table, the fastest first."""
    rows = sorted(
        (row for row in found["rows"] if row["clients"] == clients), key=lambda row: -row["per_s"]
    )
    return table(
        ("", "answers/s", "least to most", "p50", "p99", "CPU per answer"),
        [
            (
                row["name"],
                f"{row['per_s']:,}",
                f"{row['least_per_s']:,} to {row['most_per_s']:,}",
                f"{row['p50_ms']} ms",
                f"{row['p99_ms']} ms",
                f"{row['cpu_us']} us",
            )
            for row in rows
        ],
    )


def ratios(found: Mapping[str, Any]) -> str:
    """Return the ratios beside their goals, and what could not be compared."""
    said = table(
        ("ours", "beside", "connections", "ratio", "goal", ""),
        [
            (
                r["ours"],
                r["theirs"],
                str(r["clients"]),
                f"{r['ratio']:.2f}",
                f"{r['goal']:.1f}",
                "reached" if r["ratio"] >= r["goal"] else "not reached",
            )
            for r in found["ratios"]
        ],
    )
    left_out = [f"Left out: {name}, {why}.\n" for name, why in found["missing"].items()]
    closed = [
        f"{name} closed connections that waited: {count} requests were lost by it.\n"
        for name, count in found.get("closed", {}).items()
        if count
    ]
    wrong = [f"**Wrong**: {fault}.\n" for fault in found["wrong"]]
    return "\n".join((said, *left_out, *closed, *wrong))


def latencies(found: Mapping[str, Any]) -> str:
    """Return latencies at half of the most, and what a lone client waits."""
    said = table(
        ("at half of its most", "asked a second", "p50", f"p99, goal {P99_MS_GOAL} ms"),
        [
            (
                f"{row['name']}, {row['clients']} connections",
                f"{row['rate']:,}",
                f"{row['p50_us'] / 1e3:.2f} ms",
                f"{row['p99_us'] / 1e3:.2f} ms",
            )
            for row in found["half"]
        ],
    )
    lone = found["lone"]
    if lone is None:
        return said
    return (
        f"{said}\nA lone client waits {lone['p50_us']:.0f} us at the median; a sync alone takes "
        f"{lone['sync_us']:.0f} us there, and the rest is {lone['beyond_us']:.0f} us "
        f"(goal: {LONE_US_GOAL}).\n"
    )


def proof(found: Mapping[str, Any]) -> str:
    """Return what strace saw."""
    seen = found["proof"]
    if seen is None:
        return "strace was not at hand.\n"
    return (
        f"Of {seen['answers']:,} answers, {seen['after_sync']:,} left after an `fdatasync` that "
        f"began after their request had come and ended before; {seen['syncs']:,} syncs in all.\n"
    )


def markdown(found: Mapping[str, Any]) -> str:
    """Return all figures as tables in Markdown."""
    by_clients = [f"{n} connections\n\n{rows_table(found, n)}" for n in found["clients"]]
    return "\n".join((*by_clients, ratios(found)))
