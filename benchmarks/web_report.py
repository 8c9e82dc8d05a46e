"""What ``web.py`` found, as a table, as ratios and as bars in SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from statistics import median
from typing import Any, Final

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

_BAR: Final = 22
_LEFT: Final = 230
_WIDTH: Final = 760
_COLOURS: Final = {"number": "#1b6ca8", "query": "#3a9d6e", "hello": "#9aa5b1"}


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


def markdown(found: Mapping[str, Any]) -> str:
    """Return all figures as tables in Markdown."""
    lines = []
    for clients in found["clients"]:
        lines += [
            f"**{clients} connections**",
            "",
            "| | answers/s | least to most | p50 | p99 | CPU per answer |",
            "|---|---:|---:|---:|---:|---:|",
        ]
        lines += [
            f"| {row['name']} | {row['per_s']:,} | {row['least_per_s']:,} to "
            f"{row['most_per_s']:,} | {row['p50_ms']} ms | {row['p99_ms']} ms | "
            f"{row['cpu_us']} us |"
            for row in found["rows"]
            if row["clients"] == clients
        ]
        lines.append("")
    lines += ["| Clients | | beside | ratio | goal |", "|---:|---|---|---:|---:|"]
    lines += [
        f"| {r['clients']} | {r['ours']} | {r['theirs']} | {r['ratio']} | {r['goal']} |"
        for r in found["ratios"]
    ]
    return "\n".join(lines) + "\n"


def bars(title: str, rows: Sequence[tuple[str, str, float]], unit: str) -> str:
    """Return a bar chart as SVG; each row is a name, a kind (for its colour) and a value."""
    most = max((value for _, _, value in rows), default=1.0) or 1.0
    height = 40 + _BAR * len(rows) + 8
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}"',
        'font-family="sans-serif" font-size="12" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
        f'<text x="8" y="22" font-size="15">{escape(title)}</text>',
    ]
    for number, (name, kind, value) in enumerate(rows):
        y = 40 + _BAR * number
        length = (_WIDTH - _LEFT - 90) * value / most
        colour = _COLOURS.get(kind, _COLOURS["hello"])
        parts += [
            f'<text x="{_LEFT - 8}" y="{y + 14}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{_LEFT}" y="{y + 2}" width="{length:.1f}" height="{_BAR - 6}"',
            f'fill="{colour}"/>',
            f'<text x="{_LEFT + length + 6:.1f}" y="{y + 14}">{value:,.0f} {escape(unit)}</text>',
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"
