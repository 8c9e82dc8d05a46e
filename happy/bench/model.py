"""How it grows, on paper: a few constants of a machine, and what follows from them.

Closed loop: each of ``clients`` asks again when it was answered, so by Little's law their number
is throughput times response time. A response takes one wait for the disk, a constant amount of
work for its batch, and the work for every event that is in the machine at the same time, which
at the bottleneck is done one after the other::

    response = sync + batch + event * clients
    throughput = clients / response

One client gets ``1 / (sync + batch + event)``; many get ``1 / event``, however slow the disk: it
is asked once for all of them. ``event`` is the demand at the bottleneck, that is the largest of
the work for an event at a station divided by the processors that share it (Denning and Buzen,
"The Operational Analysis of Queueing Network Models", 1978).

A restart takes time for each row of the snapshot and for each event behind it, and memory is
a constant for each row; see ``Line``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from attrs import Factory, field, frozen

SERVER: Final = "the server"
LOAD: Final = "the load generator"
INLINE: Final = "the one process"
FRONTS: Final = "the fronts"
CONTAINER: Final = "the container"
PROCESSORS: Final = "the processors"
DISK: Final = "the disk's sync"


@frozen
class Line:
    """Something that grows in a line: ``base + each * count``."""

    base: float
    each: float

    @classmethod
    def through(cls, points: Iterable[tuple[float, float]]) -> Line:
        """Return the line with the least squares of relative errors, its base not below zero.

        ``points`` are counts with what was measured, at least two of different counts, all above
        zero; relative, because a decade should not outweigh those before it.
        """
        given = [(x, y, 1 / (y * y)) for x, y in points]
        weight = sum(w for _, _, w in given)
        x_mean = sum(w * x for x, _, w in given) / weight
        y_mean = sum(w * y for _, y, w in given) / weight
        spread = sum(w * (x - x_mean) ** 2 for x, _, w in given)
        if not spread:
            raise ValueError("a line needs two counts that differ")
        each = sum(w * (x - x_mean) * (y - y_mean) for x, y, w in given) / spread
        base = y_mean - each * x_mean
        if base < 0:  # no time is less than none: the best line through zero
            ratios = [(x / y, 1.0) for x, y, _ in given]
            return cls(0.0, sum(r for r, _ in ratios) / sum(r * r for r, _ in ratios))
        return cls(base, each)

    def at(self, count: float) -> float:
        """Return what the line says of a count."""
        return self.base + self.each * count


def response_line(measured: Iterable[tuple[int, float]]) -> Line:
    """Return the response time in us by clients, of clients and their events a second."""
    return Line.through((clients, clients / per_s * 1e6) for clients, per_s in measured)


def throughput(response: Line, clients: int) -> float:
    """Return the events a second that so many clients get."""
    return clients / response.at(clients) * 1e6


def worst_error(pairs: Iterable[tuple[float, float]]) -> float:
    """Return the largest relative error of predictions, each beside what was measured."""
    return max(abs(predicted / measured - 1) for predicted, measured in pairs)


@frozen
class Work:
    """What an event costs at each station, in us of a processor, and what a batch waits for."""

    front_us: float
    """Reading a request and writing its answer; encoding the event."""
    container_us: float
    """Order, journal, machine."""
    wait_us: float
    """The sync, and what is done once for a batch."""
    inline_us: float = field(
        default=Factory(lambda self: self.front_us + self.container_us, takes_self=True)
    )
    """All of it in one process, which spares the hand-over; where it is not known, the sum."""


@frozen
class Prediction:
    """What is to be expected, and what stands in the way of more."""

    fronts: int
    cores: int
    clients: int
    per_s: float
    bottleneck: str


def predict(
    work: Work, *, fronts: int, cores: int, clients: int, load_us: float = 0.0
) -> Prediction:
    """Return the throughput of so many fronts on so many cores; no fronts: all in one process.

    ``load_us`` is what who asks takes of the same cores for an event; nothing, on another machine.
    """
    both_us = work.front_us + work.container_us
    if fronts:
        demands = {
            FRONTS: work.front_us / min(fronts, cores),
            CONTAINER: work.container_us,
            PROCESSORS: (both_us + load_us) / cores,
        }
    else:
        demands = {INLINE: work.inline_us}
    demand_us = max(demands.values())
    slowest = next(name for name, value in demands.items() if value == demand_us)
    response = Line(work.wait_us, demand_us)
    waits_more = work.wait_us > demand_us * clients
    return Prediction(
        fronts, cores, clients, throughput(response, clients), DISK if waits_more else slowest
    )


def best_fronts(work: Work, *, cores: int, clients: int) -> Prediction:
    """Return the fewest fronts, or none, that get within 1 % of the most on so many cores."""
    tried: Sequence[Prediction] = [
        predict(work, fronts=fronts, cores=cores, clients=clients) for fronts in range(cores + 1)
    ]
    most = max(one.per_s for one in tried)
    return next(one for one in tried if one.per_s >= 0.99 * most)


def limit_of(server_busy: float, load_busy: float, *, shared: bool) -> str:
    """Return what kept a measured server from more, by how busy its core and the load's were.

    Both are shares of one core, 0 to 1; ``shared`` when there is only one.
    """
    if shared:
        return "one core for both"
    if load_busy >= _BUSY and load_busy > server_busy:
        return LOAD
    if server_busy >= _BUSY:
        return SERVER
    return _WAITING


def limit_of_fronts(front_busy: float, container_busy: float, load_busy: float, cores: int) -> str:
    """Return what kept a container with one front from more, by the shares of a core they took."""
    if front_busy + container_busy + load_busy >= _BUSY * cores:
        return PROCESSORS
    if max(front_busy, container_busy) < _BUSY:
        return _WAITING
    return FRONTS if front_busy > container_busy else CONTAINER


_WAITING: Final = "the disk, or other work"
_BUSY: Final = 0.9


# --- from what was measured ----------------------------------------------------------------------


def work_of(rows: Sequence[Mapping[str, Any]]) -> Work:
    """Return the constants that the rows of ``happy bench`` come to.

    One front and its container show what each of them does for an event, the hand-over included;
    more and more clients of one process show what a batch waits for.
    """
    asked = [row for row in rows if row["what"] == "POST /next"]
    front = next(row for row in asked if row.get("fronts"))
    sync_us = next(row["p50_us"] for row in rows if row["what"] == "sync")
    response = response_line((row["clients"], row["per_s"]) for row in asked if row != front)
    return Work(
        round(front["cpu_us"] - front["container_us"], 2),
        front["container_us"],
        round(max(response.base, sync_us), 1),
        min(row["cpu_us"] for row in asked if row != front and row["clients"] > 1),
    )


def predictions_of(work: Work, cores: Iterable[int], clients: int) -> list[Prediction]:
    """Return what is to be expected of machines with so many cores, and with how many fronts."""
    return [best_fronts(work, cores=count, clients=clients) for count in cores]
