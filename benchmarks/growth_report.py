"""What ``growth.py`` found: tables, and the model on paper beside what was measured.

Some of the points of each curve give the constants; the others are predicted by them. So the
model is not asked for what it was told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from documents import table

from happy.bench.model import Line, Work, best_fronts, predict, response_line, throughput

ERROR_MAX: Final = 0.3
"""What a prediction may be off by."""
FITTED_CLIENTS: Final = frozenset({1, 16, 256})
FITTED_FRONTS: Final = 1
CORES: Final = (2, 4, 8, 16, 32)
_MB: Final = 1e6
_NOT_MEASURED: Final = "This was not measured.\n"

Found = Mapping[str, Any]
Checked = dict[str, Any]


def clients_line(found: Found) -> Line:
    """Return the response time in us by clients."""
    return response_line(
        (row["clients"], row["per_s"])
        for row in found["clients"]
        if row["clients"] in FITTED_CLIENTS
    )


def fits(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether there are enough points for a line."""
    return len(rows) > 2


def line_of(rows: Sequence[Mapping[str, Any]], by: str, what: str) -> Line:
    """Return the line through every other point, the first and the last of five among them."""
    return Line.through((row[by], row[what]) for row in rows[::2])


def work_of_fronts(found: Found) -> Work | None:
    """Return what an event costs at a front and in the container; None without fronts."""
    rows = {row["fronts"]: row for row in found["fronts"]}
    if not {0, FITTED_FRONTS} <= rows.keys():
        return None
    one = rows[FITTED_FRONTS]
    wait_us, inline_us = clients_line(found).base, rows[0]["container_us"]
    return Work(one["front_us"], one["container_us"], wait_us, inline_us)


def checked(found: Found) -> list[Checked]:
    """Return every prediction beside what was measured, and how far off it is."""
    return [
        {
            "what": what,
            "predicted": predicted,
            "measured": measured,
            "error": round(predicted / measured - 1, 3),
        }
        for what, predicted, measured in _predicted(found)
    ]


def _predicted(found: Found) -> Iterator[tuple[str, float, float]]:
    response = clients_line(found)
    for row in found["clients"]:
        if row["clients"] not in FITTED_CLIENTS:
            clients = row["clients"]
            yield (
                f"numbers a second, {clients:,} clients",
                throughput(response, clients), row["per_s"],
            )  # fmt: skip
    for rows, by, what, title in (
        (found["restarts"], "tail", "seconds", "seconds of a restart, {:,} events to replay"),
        (found["rows"], "rows", "seconds", "seconds of a restart, snapshot of {:,} rows"),
        (found["rows"], "rows", "memory_bytes", "bytes of memory, {:,} rows"),
    ):
        line = line_of(rows, by, what) if fits(rows) else None
        for row in rows[1::2] if line else ():
            yield title.format(row[by]), line.at(row[by]), row[what]
    for rows, by, title in (
        (found["events"], "events", "events a second, journal of {:,}"),
        (found["rows"], "rows", "events a second, state of {:,} rows"),
    ):
        for row in rows[1:]:
            yield title.format(row[by]), rows[0]["per_s"], row["per_s"]
    work = work_of_fronts(found)
    if work is not None:
        for row in found["fronts"]:
            if row["fronts"] > FITTED_FRONTS:
                said = predict(
                    work, fronts=row["fronts"], cores=row["cores"], clients=row["clients"],
                    load_us=row["load_us"],
                )  # fmt: skip
                yield f"numbers a second, {row['fronts']} fronts", said.per_s, row["per_s"]


def holds(predictions: Sequence[Checked]) -> bool:
    """Return whether every prediction is as near as is stated."""
    return all(abs(one["error"]) <= ERROR_MAX for one in predictions)


# --- tables ---------------------------------------------------------------------------------------


def constants(found: Found) -> str:
    """Return the constants of the model, as measured here."""
    response = clients_line(found)
    said = [
        ("a response: sync and batch, once", f"{response.base:,.0f} us"),
        ("a response: each client, at the bottleneck", f"{response.each:.1f} us"),
    ]
    if fits(found["rows"]):
        rows = line_of(found["rows"], "rows", "seconds")
        memory = line_of(found["rows"], "rows", "memory_bytes")
        said += [
            ("a restart: each row of the snapshot", f"{rows.each * 1e6:.2f} us"),
            ("memory: the program", f"{memory.base / _MB:,.0f} MB"),
            ("memory: each row", f"{memory.each:,.0f} bytes"),
        ]
    if fits(found["restarts"]):
        tail = line_of(found["restarts"], "tail", "seconds")
        said.append(("a restart: each event behind it", f"{tail.each * 1e6:.2f} us"))
    work = work_of_fronts(found)
    if work is not None:
        said += [
            ("an event: in a front", f"{work.front_us:.1f} us"),
            ("an event: in the container behind fronts", f"{work.container_us:.1f} us"),
        ]
    return table(("constant", "here"), said)


def clients_table(found: Found) -> str:
    """Return throughput, latency and syncs by clients, with the model beside."""
    response = clients_line(found)
    return table(
        ("clients", "numbers/s", "model", "p50", "p99", "CPU per answer", "events per sync"),
        [
            (
                f"{row['clients']:,}",
                f"{row['per_s']:,}",
                f"{throughput(response, row['clients']):,.0f}",
                f"{row['p50_us'] / 1e3:.2f} ms",
                f"{row['p99_us'] / 1e3:.2f} ms",
                f"{row['cpu_us']:.0f} us",
                f"{row['events_per_sync']:,.1f}",
            )
            for row in found["clients"]
        ],
    )


def events_table(found: Found) -> str:
    """Return throughput as a journal grows, and restarts by the events behind a snapshot."""
    if not (found["events"] and fits(found["restarts"])):
        return _NOT_MEASURED
    line = line_of(found["restarts"], "tail", "seconds")
    growing = table(
        ("events in the journal", "events/s", "events per sync"),
        [
            (f"{row['events']:,}", f"{row['per_s']:,}", f"{row['events_per_sync']:,.0f}")
            for row in found["events"]
        ],
    )
    restarts = table(
        ("events to replay", "restart", "model"),
        [
            (f"{row['tail']:,}", f"{row['seconds']:.2f} s", f"{line.at(row['tail']):.2f} s")
            for row in found["restarts"]
        ],
    )
    return f"{growing}\n{restarts}\n![by events](benchmarks/growth-events.svg)\n"


def state_table(found: Found) -> str:
    """Return restart, memory and throughput by the rows of the state."""
    if not fits(found["rows"]):
        return _NOT_MEASURED
    seconds = line_of(found["rows"], "rows", "seconds")
    memory = line_of(found["rows"], "rows", "memory_bytes")
    said = table(
        ("rows", "restart", "model", "memory", "model", "events/s", "p50", "p99"),
        [
            (
                f"{row['rows']:,}",
                f"{row['seconds']:.2f} s",
                f"{seconds.at(row['rows']):.2f} s",
                f"{row['memory_bytes'] / _MB:,.0f} MB",
                f"{memory.at(row['rows']) / _MB:,.0f} MB",
                f"{row['per_s']:,}",
                f"{row['p50_us'] / 1e3:.2f} ms",
                f"{row['p99_us'] / 1e3:.2f} ms",
            )
            for row in found["rows"]
        ],
    )
    return f"{said}\n![by rows](benchmarks/growth-state.svg)\n"


def fronts_table(found: Found) -> str:
    """Return what fronts bring here, and what the model expects of more cores."""
    work = work_of_fronts(found)
    if work is None:
        return _NOT_MEASURED
    here = []
    for row in found["fronts"]:
        said = predict(
            work, fronts=row["fronts"], cores=row["cores"], clients=row["clients"],
            load_us=row["load_us"],
        )  # fmt: skip
        modelled = (f"{said.per_s:,.0f}", said.bottleneck) if row["fronts"] else ("", "")
        here.append(
            (
                str(row["fronts"] or "none"),
                f"{row['per_s']:,}",
                *modelled,
                f"{row['p99_us'] / 1e3:.1f} ms",
                f"{row['front_us']:.1f} us",
                f"{row['container_us']:.1f} us",
                f"{row['load_us']:.1f} us",
            )
        )
    clients = found["fronts"][0]["clients"]
    elsewhere = [best_fronts(work, cores=cores, clients=clients) for cores in CORES]
    heads = ("fronts", "numbers/s", "model", "bottleneck", "p99")
    heads += ("fronts' CPU", "container's CPU", "load's CPU")
    more = table(
        ("cores", "fronts", "numbers/s", "bottleneck"),
        [
            (str(one.cores), str(one.fronts or "none"), f"{one.per_s:,.0f}", one.bottleneck)
            for one in elsewhere
        ],
    )
    said = f"Predicted for other machines, {clients} clients that ask from elsewhere:"
    plot = "![fronts, here and predicted](benchmarks/growth-fronts.svg)"
    return f"{table(heads, here)}\n{budget_table(found, work)}\n{said}\n\n{more}\n{plot}\n"


def budget_table(found: Found, work: Work) -> str:
    """Return who had how much of the processors, and what one more would bring, load and all."""
    rows = []
    for row in found["fronts"]:
        busy = [row["per_s"] * row[name] / 1e6 for name in ("front_us", "container_us", "load_us")]
        more = predict(
            work, fronts=row["fronts"], cores=row["cores"] + 1, clients=row["clients"],
            load_us=row["load_us"],
        )  # fmt: skip
        rows.append(
            (
                str(row["fronts"] or "none"),
                *(f"{cores:.2f}" for cores in busy),
                f"{sum(busy):.2f} of {row['cores']}",
                f"{more.per_s:,.0f}",
                more.bottleneck,
            )
        )
    heads = ("fronts", "fronts' cores", "container's", "load's", "together")
    heads += ("model, one core more", "its bottleneck")
    said = "How many processors were busy, with whom; and with one more for all of it:"
    return f"{said}\n\n{table(heads, rows)}"


def checked_table(predictions: Sequence[Checked]) -> str:
    """Return all predictions, each with its error."""
    worst = max((abs(one["error"]) for one in predictions), default=0.0)
    missed = sum(abs(one["error"]) > ERROR_MAX for one in predictions)
    said = f"The largest error is {worst:.0%}"
    said += f"; {missed} of {len(predictions)} are off by more than the stated {ERROR_MAX:.0%}.\n"
    rows = [
        (one["what"], _short(one["predicted"]), _short(one["measured"]), f"{one['error']:+.0%}")
        for one in predictions
    ]
    return f"{said}\n{table(('', 'predicted', 'measured', 'error'), rows)}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def regions(found: Found) -> dict[str, str]:
    """Return the generated parts of docs/benchmarks.md that are about growth."""
    return {
        "growth-constants": constants(found),
        "growth-clients": clients_table(found),
        "growth-events": events_table(found),
        "growth-state": state_table(found),
        "growth-fronts": fronts_table(found),
        "growth-checked": checked_table(checked(found)),
    }
