"""What a container tells of itself as metrics, in the text format of Prometheus.

https://prometheus.io/docs/instrumenting/exposition_formats/, version 0.0.4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import attrs

from happy.lifecycle import Mood

Value = float | int | None
Labels = tuple[tuple[str, str], ...]

_ESCAPES: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def why_unwell(app: Mapping[str, Any]) -> str:
    """Return why an application of a status takes no events at present; empty when it does."""
    if app["mood"] != Mood.OPEN.value:
        return f"is {app['mood']}"
    if app.get("disk_full"):
        return "has a full disk"
    if (app.get("memory") or {}).get("level") == "full":
        return "has no memory left"
    core = app.get("core")
    return "has no core at present" if core and core["state"] != "serving" else ""


@attrs.frozen
class _Metric:
    """One metric of each application: its name, kind and meaning, and where the status has it."""

    name: str
    kind: str
    help: str
    find: Callable[[Mapping[str, Any]], Value]


def _at(*path: str) -> Callable[[Mapping[str, Any]], Value]:
    def find(app: Mapping[str, Any]) -> Value:
        found: Any = app
        for key in path:
            found = found.get(key) if isinstance(found, Mapping) else None
        return found if isinstance(found, int | float) else None

    return find


def _snapshot_time(app: Mapping[str, Any]) -> Value:
    created_ns = _at("snapshot", "created_ns")(app)
    return None if created_ns is None else created_ns / 1e9


_GAUGE: Final = "gauge"
_COUNTER: Final = "counter"
_METRICS: Final = (
    _Metric(
        "happy_app_open",
        _GAUGE,
        "Whether the application takes events: 1 or 0.",
        lambda app: not why_unwell(app),
    ),
    _Metric("happy_events_total", _COUNTER, "The seq of the last event.", _at("seq")),
    _Metric(
        "happy_failed_total",
        _COUNTER,
        "Events whose handler failed, in all of the history.",
        _at("failed"),
    ),
    _Metric(
        "happy_quarantined",
        _GAUGE,
        "Events that are kept away from their handlers.",
        lambda app: len(app.get("quarantined", ())),
    ),
    _Metric("happy_waiting", _GAUGE, "Events that wait for their turn.", _at("waiting")),
    _Metric("happy_owed", _GAUGE, "Mail, calls and timers that are not done.", _at("owed")),
    _Metric("happy_held", _GAUGE, "Mail that is owed and held by an operator.", _at("held")),
    _Metric("happy_timers", _GAUGE, "Timers that are owed.", _at("timers")),
    _Metric("happy_keys", _GAUGE, "Idempotency keys that are remembered.", _at("keys")),
    _Metric("happy_disk_full", _GAUGE, "Whether the disk is full: 1 or 0.", _at("disk_full")),
    _Metric(
        "happy_state_bytes",
        _GAUGE,
        "What the state takes, estimated.",
        _at("memory", "state_bytes"),
    ),
    _Metric(
        "happy_snapshot_timestamp_seconds",
        _GAUGE,
        "When the last snapshot was made.",
        _snapshot_time,
    ),
    _Metric(
        "happy_replay_seconds",
        _GAUGE,
        "How long a restart would replay what is behind the last snapshot, estimated.",
        _at("snapshot", "behind_replay_s"),
    ),
    _Metric(
        "happy_core_restarts_total",
        _COUNTER,
        "How often the application's core was started again.",
        _at("core", "restarts"),
    ),
)


def metrics_text(apps: Iterable[Mapping[str, Any]] | None) -> str:
    """Return the applications of a status as metrics; None when no container answers."""
    lines = list(
        _told("happy_up", _GAUGE, "Whether the container answers.", [((), apps is not None)])
    )
    known = list(apps or ())
    process = [((), _at("memory", "process_bytes")(app)) for app in known[:1]]  # all have the same
    lines += _told("happy_process_bytes", _GAUGE, "What the process has in memory.", process)
    for metric in _METRICS:
        found = [((("app", app["name"]),), metric.find(app)) for app in known]
        lines += _told(metric.name, metric.kind, metric.help, found)
    fronts = [
        ((("app", app["name"]), ("front", str(front["number"]))), front)
        for app in known
        for front in app.get("fronts", ())
    ]
    lines += _told(
        "happy_front_connections",
        _GAUGE,
        "Connections of a front.",
        [(labels, front["connections"]) for labels, front in fronts],
    )
    lines += _told(
        "happy_front_restarts_total",
        _COUNTER,
        "How often a front was started again.",
        [(labels, front["restarts"]) for labels, front in fronts],
    )
    return "".join(f"{line}\n" for line in lines)


def _told(
    name: str, kind: str, meaning: str, found: Iterable[tuple[Labels, Value]]
) -> Iterable[str]:
    """Return the lines of one metric; none when nobody has it."""
    samples = [(labels, value) for labels, value in found if value is not None]
    if samples:
        yield f"# HELP {name} {meaning}"
        yield f"# TYPE {name} {kind}"
    for labels, value in samples:
        inside = ",".join(f'{key}="{text.translate(_ESCAPES)}"' for key, text in labels)
        number = int(value) if isinstance(value, bool) else value
        yield f"{name}{'{' + inside + '}' if inside else ''} {number}"
