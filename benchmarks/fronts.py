"""Whether two fronts beat one process on all cores, as browsers ask and with an access log.

The load takes its part of the cores, which clients elsewhere would not take. Both containers are
there all the time and asked by turns, so that what else the machine does meets both; told are
medians, of the ratios too. Fronts are to be faster with each number of clients.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any, Final

import click
from growth import asked

from happy.bench.machine import MEMORY_TYPES, cores, file_system_of
from happy.bench.parts import serving

COUNTS: Final = (0, 2)
CLIENTS: Final = (64, 256)
REQUEST: Final = ("POST", "browser")

Run = dict[str, Any]


@contextlib.contextmanager
def containers(folder: Path) -> Iterator[dict[int, tuple[int, int]]]:
    """Run a container for each count of fronts; yield their ports and their processes' ids."""
    with contextlib.ExitStack() as stack:
        found = {}
        for count in COUNTS:
            place = folder / f"fronts-{count}"
            place.mkdir()
            port, process = stack.enter_context(
                serving(
                    place, on=cores(), more=f"fronts = {count}\n", log='access_file = "access.log"'
                )
            )
            found[count] = port, process.pid
        yield found


def measured(folder: Path, rounds: int, seconds: float) -> dict[int, list[dict[int, Run]]]:
    """Return for each number of clients what came of each round, by the count of fronts."""
    found: dict[int, list[dict[int, Run]]] = {clients: [] for clients in CLIENTS}
    with containers(folder) as there:
        for port, process in there.values():
            asked(cores(), CLIENTS[-1], 1, port, process, REQUEST)
        for _ in range(rounds):
            for clients, runs in found.items():
                runs.append(
                    {
                        count: asked(cores(), clients, seconds, port, process, REQUEST)
                        for count, (port, process) in there.items()
                    }
                )
    return found


def told(clients: int, runs: list[dict[int, Run]]) -> float:
    """Print what came of a number of clients; return how much faster the fronts were."""
    ratios = sorted(run[2]["per_s"] / run[0]["per_s"] for run in runs)
    ratio = median(ratios)
    rates = [median(run[count]["per_s"] for run in runs) for count in COUNTS]

    def us(count: int, part: str) -> float:
        return median(run[count][part] for run in runs)

    container_us = us(2, "container_us")
    print(
        f"{clients} clients: {rates[0]:,.0f} a second in one process, {rates[1]:,.0f} with fronts, "
        f"{ratio:.2f} times as many ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    )
    print(
        f"  CPU for each: {us(0, 'server_us'):.1f} us in one process; with fronts "
        f"{us(2, 'server_us') - container_us:.1f} us in them and {container_us:.1f} us in the "
        f"container; {us(2, 'load_us'):.1f} us the load"
    )
    return ratio


@click.command()
@click.option(
    "--directory",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=tempfile.gettempdir(),
    help="Where the journals are, in a folder that is removed afterwards.",
)
@click.option("--rounds", default=9)
@click.option("--seconds", default=3.0, help="How long each is asked in each round.")
def main(directory: Path, rounds: int, seconds: float) -> None:
    """Ask a container without fronts and one with two by turns; fronts must be faster."""
    kind = file_system_of(directory)
    if kind in MEMORY_TYPES:
        raise click.UsageError(f"{directory} is in memory ({kind}): nothing is durable there")
    with tempfile.TemporaryDirectory(prefix="happy-fronts-", dir=directory) as name:
        found = measured(Path(name), rounds, seconds)
    ratios = [told(clients, runs) for clients, runs in found.items()]
    wrong = sum(one["wrong"] for runs in found.values() for run in runs for one in run.values())
    if wrong:
        print(f"{wrong} answers were wrong")
    raise SystemExit(bool(wrong) or min(ratios) < 1)


if __name__ == "__main__":
    main()
