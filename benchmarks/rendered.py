"""Figures as Markdown: the generated parts of docs/benchmarks.md and README.md."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import growth_report
from documents import table
from web_report import latencies, proof, ratios, rows_table

Figures = Mapping[str, Any]

OURS: Final = "happy POST /next"
QUERY: Final = "happy GET /last"
CLIENTS: Final = 64
_LOADS: Final = {
    "orders": "durable orders over HTTP (JSON, as browsers send them)",
    "bare": "durable numbers over HTTP (one bare request, byte for byte the same)",
}
_VERSION: Final = re.compile(r"\d+(\.\d+)+")


def parts_of_figures(figures: Figures) -> dict[str, str]:
    """Return every part that the figures have something for, by name."""
    parts: dict[str, str] = {}
    for name, make in _MAKERS.items():
        if name in figures:
            parts |= make(figures[name])
    if "machine" in figures:
        parts["machine"] = machine(figures)
    if not any(run["short"] for run in figures["runs"].values()):
        # What was only to see that it works is nothing to quote.
        said = list(headlines(figures))
        parts["numbers"] = table(("", "here", "beside it"), said, words=True)
    return parts


def machine(figures: Figures) -> str:
    """Say what it was measured on, and when, and what is not to be believed."""
    on = figures["machine"]
    runs = figures["runs"].values()
    where = (
        f"{on['cores']} cores ({on['processor']}), Linux {on['kernel']}, {on['file_system']}, "
        f"Python {on['python']}; {', '.join(sorted({run['date'] for run in runs}))}."
    )
    lines = [where]
    peers = figures.get("web", {}).get("machine", {})
    named = [
        f"{name} {version[0]}"
        for name, said in sorted(peers.items(), key=lambda item: item[0].lower())
        if name not in {*on, "load_before"} and (version := _VERSION.search(str(said)))
    ]
    if named:
        lines.append(f"Beside it: {', '.join(named)}.")
    busy = {name: run for name, run in figures["runs"].items() if _busy(run, on["cores"])}
    if busy:
        load = max(run["load_before"] for run in busy.values())
        lines.append(
            f"**The machine was busy with other things** (load {load:.1f} before: "
            f"{', '.join(sorted(busy))}): believe ratios before figures."
        )
    short = sorted(name for name, run in figures["runs"].items() if run["short"])
    if short:
        lines.append(f"**In short form**, to see that it works: {', '.join(short)}.")
    return "\n\n".join(lines) + "\n"


def _busy(run: Mapping[str, Any], cores: int) -> bool:
    return bool(run["load_before"] > cores / 2)


def headlines(figures: Figures) -> Iterator[tuple[str, str, str]]:
    """Yield the lines that sum it up: what, how much, and what is beside it."""
    if "web" in figures:
        yield from _web_headlines(figures["web"])
    if "journal" in figures:
        yield from _journal_headlines(figures["journal"])
    for name, kind in (("stream", "alike, prepared once"), ("distinct", "each made by itself")):
        if name in figures:
            yield (
                f"durable numbers from a stream maker through order and core, events {kind}",
                f"{figures[name]['numbers_per_s']:,}/s",
                "two cores",
            )
    if "replay" in figures:
        found = figures["replay"]
        yield (
            "replay, numbers, frames of 1,024",
            f"{found['numbers, 1024 a frame']:,.0f} events/s",
            f"rows with two indexes, one changes: {found['updates, owner changes']:,.0f}",
        )
    if "mail" in figures:
        yield from _mail_headlines(figures["mail"])
    if "fronts" in figures:
        yield from _fronts_headlines(figures["fronts"])
    if "growth" in figures:
        for largest in figures["growth"]["rows"][-1:]:
            yield (
                f"restart with {largest['rows']:,} rows, from a snapshot",
                f"{largest['seconds']:.1f} s",
                f"{largest['memory_bytes'] / 1e6:,.0f} MB of memory",
            )


def _web_headlines(found: Figures) -> Iterator[tuple[str, str, str]]:
    rows = {row["name"]: row for row in found["rows"] if row["clients"] == CLIENTS}
    beside = {
        (r["ours"], r["theirs"]): r["ratio"] for r in found["ratios"] if r["clients"] == CLIENTS
    }
    for ours, what in ((OURS, "durable numbers"), (QUERY, "queries")):
        if ours in rows:
            compared = [f"{ratio:.1f} x {theirs}" for (o, theirs), ratio in beside.items()
                        if o == ours]  # fmt: skip
            yield (
                f"{what} over HTTP, one core, {CLIENTS} connections",
                f"{rows[ours]['per_s']:,}/s, p99 {rows[ours]['p99_ms']} ms",
                ", ".join(compared),
            )
    if found.get("lone"):
        lone = found["lone"]
        yield (
            "a lone client's durable number over HTTP",
            f"{lone['p50_us']:.0f} us",
            f"{lone['beyond_us']:.0f} us of it beyond the sync",
        )


def _journal_headlines(found: Figures) -> Iterator[tuple[str, str, str]]:
    p50 = {(row["way"], row["batch"]): row["p50_us"] for row in found["appends"]}
    for batch, what in ((1, "alone"), (64, "64 together")):
        others = [f"{way} {us:.0f}" for (way, b), us in p50.items() if b == batch
                  and way != "happy"]  # fmt: skip
        yield f"a durable append, {what}", f"{p50['happy', batch]:.0f} us", ", ".join(others)
    for row in found["streams"]:
        if row["clients"] == CLIENTS:
            yield (
                f"durable events through the order, no door, {CLIENTS} clients",
                f"{row['events_per_s']:,}/s",
                f"{row['events_per_sync']:.0f} events in a sync",
            )


def _mail_headlines(found: Figures) -> Iterator[tuple[str, str, str]]:
    sizes = sorted({row["bytes"] for row in found["rows"]})
    for size in sizes[:1]:
        rows = {row["name"]: row["per_s"] for row in found["rows"] if row["bytes"] == size}
        if "happy" in rows:
            others = [f"{name} {per_s:,}" for name, per_s in rows.items() if name != "happy"]
            yield f"durable mails of {size:,} bytes", f"{rows['happy']:,}/s", ", ".join(others)


def _fronts_headlines(found: Figures) -> Iterator[tuple[str, str, str]]:
    for load, what in _LOADS.items():
        rows = [row for row in found["rows"] if row["load"] == load]
        if rows:
            clients = " and ".join(str(row["clients"]) for row in rows)
            rates = " and ".join(f"{row['fronts_per_s']:,}" for row in rows)
            ratios = " and ".join(f"{row['ratio']:.2f}" for row in rows)
            yield (
                f"{what}, 2 fronts, load and all on two cores, {clients} connections",
                f"{rates}/s",
                f"{ratios} x one process without fronts, likewise",
            )


# --- the parts ------------------------------------------------------------------------------------


def web(found: Figures) -> dict[str, str]:
    """Return what ``web.py`` found."""
    parts = {f"web-{clients}": rows_table(found, clients) for clients in found["clients"]}
    parts["web-ratios"] = ratios(found)
    parts["web-latency"] = latencies(found)
    parts["web-proof"] = proof(found)
    return parts


def stream(found: Figures) -> dict[str, str]:
    """Return what ``stream.py`` found, of events that are alike."""
    return {"stream": _rounds(found)}


def distinct(found: Figures) -> dict[str, str]:
    """Return what ``stream.py`` found, of events that are each made by themselves."""
    return {"stream-distinct": _rounds(found)}


def _rounds(found: Figures) -> str:
    heads = ("round", "numbers/s", "events per frame", "maker", "order", "core")
    rows = [
        (
            str(number),
            f"{one['numbers_per_s']:,}",
            f"{one['events_per_frame']:,}",
            *(f"{one[f'{who}_cpu_us']:.2f} us" for who in ("maker", "order", "core")),
        )
        for number, one in enumerate(found["rounds"], 1)
    ]
    return table(heads, [*rows, ("median", f"{found['numbers_per_s']:,}", "", "", "", "")])


def journal(found: Figures) -> dict[str, str]:
    """Return what ``journal.py`` found."""
    appends = [
        (
            f"{row['way']}, {row['batch']}",
            f"{row['p50_us']:.0f} us",
            f"{row['p99_us']:.0f} us",
            f"{row['p50_us'] / row['batch']:.1f} us",
        )
        for row in sorted(found["appends"], key=lambda row: row["batch"])
    ]
    streams = [
        (
            f"{row['clients']:,}",
            f"{row['events_per_s']:,}",
            f"{row['p50_us'] / 1e3:.2f} ms",
            f"{row['p99_us'] / 1e3:.2f} ms",
            f"{row['events_per_sync']:.0f}",
        )
        for row in found["streams"]
    ]
    return {
        "journal": table(("records together", "p50", "p99", "a record"), appends),
        "order": table(("clients", "events/s", "p50", "p99", "events per sync"), streams),
    }


def replay(found: Figures) -> dict[str, str]:
    """Return what ``replay.py`` found."""
    rows = [
        (name, f"{value:,.0f}/s" if value > 1_000 else f"{value:.2f} us")
        for name, value in found.items()
    ]
    return {"replay": table(("", "events, or time of one"), rows)}


def mail(found: Figures) -> dict[str, str]:
    """Return what ``mail.py`` found."""
    rows = [
        (
            f"{row['name']}, {row['bytes']:,} bytes",
            f"{row['per_s']:,}",
            f"{row['least_per_s']:,} to {row['most_per_s']:,}",
            f"{row['cpu_us']:.0f} us",
        )
        for row in found["rows"]
    ]
    return {"mail": table(("", "messages/s", "least to most", "CPU each"), rows)}


def fronts(found: Figures) -> dict[str, str]:
    """Return what ``fronts.py`` found."""
    heads = ("load", "clients", "one process", "2 fronts", "times as many", "least to most")
    heads += ("CPU: one process", "fronts", "their container", "load")
    rows = [
        (
            row["load"],
            str(row["clients"]),
            f"{row['one_per_s']:,}/s",
            f"{row['fronts_per_s']:,}/s",
            f"{row['ratio']:.2f}",
            f"{row['least_ratio']:.2f} to {row['most_ratio']:.2f}",
            *(f"{row[f'{who}_us']:.1f} us" for who in ("one", "fronts", "container", "load")),
        )
        for row in found["rows"]
    ]
    return {"fronts": table(heads, rows)}


_MAKERS: Final[Mapping[str, Callable[[Figures], dict[str, str]]]] = {
    "web": web,
    "stream": stream,
    "distinct": distinct,
    "journal": journal,
    "replay": replay,
    "mail": mail,
    "fronts": fronts,
    "growth": growth_report.regions,
}
