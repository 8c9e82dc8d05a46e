"""Plots of what was measured, as SVG: bars beside each other, and curves over decades."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from growth_report import clients_line, fits, line_of, work_of_fronts

from happy.bench.model import Line, predict, throughput

mpl.use("svg")
# Text stays text, and the same figures give the same file.
mpl.rcParams.update(
    {
        "svg.fonttype": "none",
        "svg.hashsalt": "happy",
        "font.family": "sans-serif",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.color": "#e5e5e5",
        "axes.axisbelow": True,
    }
)

from matplotlib import pyplot  # noqa: E402 - after the settings

COLOURS: Final = {"number": "#1b6ca8", "query": "#3a9d6e", "hello": "#9aa5b1"}
_OURS: Final = "#1b6ca8"
_MODEL: Final = "#c0504d"
_OTHER: Final = "#3a9d6e"


def save(figure: Any, path: Path) -> None:
    """Write a figure, without the date."""
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def bars(title: str, rows: Sequence[tuple[str, str, float]], unit: str, path: Path) -> None:
    """Draw horizontal bars; each row is a name, a kind (for its colour) and a value."""
    figure, axes = pyplot.subplots(figsize=(9, 0.6 + 0.34 * len(rows)))
    names, kinds, values = zip(*reversed(rows), strict=True)
    drawn = axes.barh(names, values, color=[COLOURS[kind] for kind in kinds])
    axes.bar_label(drawn, [f" {value:,.0f} {unit}" for value in values])
    axes.set_title(title, loc="left")
    axes.set_xlim(0, max(values) * 1.18)
    axes.grid(visible=False, axis="y")
    save(figure, path)


def web(found: Mapping[str, Any], directory: Path) -> None:
    """Draw what ``web.py`` found: answers a second, and processor time for each."""
    for clients in found["clients"]:
        rows = sorted(
            (row for row in found["rows"] if row["clients"] == clients),
            key=lambda row: -row["per_s"],
        )
        for key, unit, title in (
            ("per_s", "/s", f"Answers a second, one server core, {clients} connections"),
            ("cpu_us", "us", f"Processor time for an answer, {clients} connections"),
        ):
            bars(
                title,
                [(row["name"], row["kind"], row[key]) for row in rows],
                unit,
                directory / f"web-{key.replace('_', '-')}-{clients}.svg",
            )


def growth(found: Mapping[str, Any], directory: Path) -> None:
    """Draw what ``growth.py`` found."""
    _clients(found, directory / "growth-clients.svg")
    if fits(found["restarts"]):
        _events(found, directory / "growth-events.svg")
    if fits(found["rows"]):
        _state(found, directory / "growth-state.svg")
    if found["fronts"]:
        _fronts(found, directory / "growth-fronts.svg")


def _panels(count: int) -> tuple[Any, Any]:
    return pyplot.subplots(1, count, figsize=(4.2 * count, 3.4))


def _curve(  # noqa: PLR0913 - what is drawn, and how
    axes: Any,
    rows: Sequence[Mapping[str, Any]],
    by: str,
    what: str,
    *,
    title: str,
    scale: float = 1.0,
    colour: str = _OURS,
    label: str = "measured",
) -> None:
    axes.loglog(
        [row[by] for row in rows],
        [row[what] * scale for row in rows],
        "o-",
        color=colour,
        label=label,
    )
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_xlabel(by)


def _modelled(axes: Any, rows: Sequence[Mapping[str, Any]], by: str, line: Line) -> None:
    counts = [row[by] for row in rows]
    axes.loglog(counts, [line.at(c) for c in counts], "--", color=_MODEL, label="model")
    axes.legend(fontsize=8)


def _clients(found: Mapping[str, Any], path: Path) -> None:
    rows = found["clients"]
    response = clients_line(found)
    figure, (rate, latency, syncs) = _panels(3)
    _curve(rate, rows, "clients", "per_s", title="durable numbers a second over HTTP")
    counts = [row["clients"] for row in rows]
    rate.loglog(
        counts, [throughput(response, c) for c in counts], "--", color=_MODEL, label="model"
    )
    rate.legend(fontsize=8)
    _curve(latency, rows, "clients", "p50_us", title="latency, ms", scale=1e-3, label="p50")
    _curve(
        latency, rows, "clients", "p99_us", title="latency, ms", scale=1e-3, colour=_OTHER,
        label="p99",
    )  # fmt: skip
    latency.loglog(
        counts, [response.at(c) / 1e3 for c in counts], "--", color=_MODEL, label="model, mean"
    )
    latency.legend(fontsize=8)
    _curve(syncs, rows, "clients", "events_per_sync", title="events in a sync")
    save(figure, path)


def _events(found: Mapping[str, Any], path: Path) -> None:
    figure, (rate, restart) = _panels(2)
    _curve(rate, found["events"], "events", "per_s", title="events a second, by those there")
    rate.set_ylim(bottom=1_000)
    rows = found["restarts"]
    _curve(restart, rows, "tail", "seconds", title="seconds of a restart, by events to replay")
    _modelled(restart, rows, "tail", line_of(rows, "tail", "seconds"))
    save(figure, path)


def _state(found: Mapping[str, Any], path: Path) -> None:
    rows = found["rows"]
    figure, (restart, memory, rate) = _panels(3)
    _curve(restart, rows, "rows", "seconds", title="seconds of a restart from a snapshot")
    _modelled(restart, rows, "rows", line_of(rows, "rows", "seconds"))
    megabytes = [{"rows": row["rows"], "MB": row["memory_bytes"] / 1e6} for row in rows]
    _curve(memory, megabytes, "rows", "MB", title="memory, MB")
    _modelled(memory, megabytes, "rows", line_of(megabytes, "rows", "MB"))
    _curve(rate, rows, "rows", "per_s", title="changes a second, 64 clients")
    rate.set_ylim(bottom=1_000)
    save(figure, path)


def _fronts(found: Mapping[str, Any], path: Path) -> None:
    figure, (here, elsewhere) = _panels(2)
    rows = found["fronts"]
    names = [str(row["fronts"] or "none") for row in rows]
    here.bar(names, [row["per_s"] for row in rows], color=_OURS)
    here.set_title(f"numbers a second on {rows[0]['cores']} cores", loc="left", fontsize=10)
    here.set_xlabel("fronts (the load takes its part of the cores)")
    work = work_of_fronts(found)
    if work is not None:
        for cores, colour in ((4, _OTHER), (8, _OURS), (16, _MODEL)):
            counts = range(1, cores + 1)
            said = [
                predict(work, fronts=n, cores=cores, clients=rows[0]["clients"]).per_s
                for n in counts
            ]
            elsewhere.plot(list(counts), said, ".-", color=colour, label=f"{cores} cores")
        elsewhere.legend(fontsize=8)
    elsewhere.set_title("predicted for other machines", loc="left", fontsize=10)
    elsewhere.set_xlabel("fronts")
    save(figure, path)
