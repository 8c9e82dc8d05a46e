"""What benchmarks/fronts.py asks, of which application, and how it judges what came of it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

import fronts  # noqa: E402 - the scripts are no package
from orders import CATALOGUE, COUNT_MAX, OrderDesk  # noqa: E402 - likewise
from rendered import headlines, parts_of_figures  # noqa: E402 - likewise

from happy.testing import running  # noqa: E402 - likewise

# --- the order desk -------------------------------------------------------------------------------

ORDER = {"item": "book-7", "count": 2, "name": "Zoë O'Neill", "street": "1 Hauptstraße",
         "city": "Köln", "note": "ring twice"}  # fmt: skip


@pytest.fixture
def desk():
    """An order desk in memory."""
    with running(OrderDesk) as app:
        yield app


def test_an_order_is_taken_and_counted(desk):
    """The answer has the order's number; orders, copies and items are counted."""
    first = desk.post("/orders", json=ORDER)
    second = desk.post("/orders", json=ORDER | {"item": "book-8", "count": 5})
    assert (first.status, second.status) == (200, 200)
    assert first.json() == {"order": 1, "item": "book-7", "count": 2}
    assert second.json() == {"order": 2, "item": "book-8", "count": 5}
    assert (desk.get("/taken").json(), desk.get("/copies").json()) == (2, 7)
    assert dict(desk.state.sold) == {"book-7": 2, "book-8": 5}


def test_the_same_item_is_added_up(desk):
    """What was sold of an item is the sum over its orders."""
    for _ in range(3):
        desk.post("/orders", json=ORDER)
    assert dict(desk.state.sold) == {"book-7": 6}


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"item": "book-0"}, 409),
        ({"count": 0}, 400),
        ({"count": COUNT_MAX + 1}, 400),
        ({"count": "two"}, 400),
        ({"name": ""}, 400),
        ({"street": " "}, 400),
        ({"city": "x" * 101}, 400),
        ({"note": "x" * 501}, 400),
    ],
)
def test_an_order_that_makes_no_sense_is_refused(desk, changed, status):
    """Nothing is taken of it, and it is counted nowhere."""
    assert desk.post("/orders", json=ORDER | changed).status == status
    assert (desk.state.taken, desk.state.copies, dict(desk.state.sold)) == (0, 0, {})


def test_every_item_of_the_load_can_be_ordered():
    """The load asks for book-1 to book-100, and there are no others."""
    assert {f"book-{n * 37 % 100 + 1}" for n in range(5_000)} == CATALOGUE


# --- its counts -----------------------------------------------------------------------------------


@given(st.integers(0, 4_999), st.integers(0, 3_000), st.integers(1, 64), st.data())
def test_what_was_in_flight_at_the_end_is_no_wrong_sum(begin, sent, clients, data):
    """Wherever the load begins, and whichever of its last orders were not taken."""
    counts = [n % 5 + 1 for n in range(begin, begin + sent)]
    missing = data.draw(st.sets(st.integers(0, max(sent - 1, 0)), max_size=min(clients, sent)))
    taken = [count for n, count in enumerate(counts) if n not in missing]
    assert fronts.adds_up(len(taken), sum(taken), clients)


def test_copies_that_nobody_ordered_are_seen():
    """Were one order in ten counted twice, the sum would be off by more than is in flight."""
    assert fronts.adds_up(10_000, 30_000, 256)
    assert not fronts.adds_up(10_000, 33_000, 256)
    assert not fronts.adds_up(10_000, 27_000, 256)


# --- what is made of it ---------------------------------------------------------------------------


def run(per_s, wrong=0):
    return {"per_s": per_s, "server_us": 60.0, "container_us": 20.0, "fronts_us": 40.0,
            "load_us": 10.0, "wrong": wrong}  # fmt: skip


def row(load, ratios, wrong=0, clients=64, per_s=100.0):
    runs = [{0: run(per_s), 2: run(per_s * ratio, wrong)} for ratio in ratios]
    return fronts.row_of(load, clients, runs)


def test_a_row_is_the_median_of_its_rounds():
    """The ratio is that within a round, with the least and the most; the work is by who did it."""
    found = row("orders", [1.5, 0.9, 1.2])
    assert (found["ratio"], found["least_ratio"], found["most_ratio"]) == (1.2, 0.9, 1.5)
    assert (found["one_per_s"], found["fronts_per_s"]) == (100, 120)
    assert (found["one_us"], found["fronts_us"], found["container_us"]) == (60.0, 40.0, 20.0)
    assert "1.20 times as many (0.90 to 1.50)" in fronts.told(found)


BARE = row("bare", [0.7])


@pytest.mark.parametrize(
    ("rows", "good"),
    [
        ([row("orders", [1.2]), BARE], True),
        ([row("orders", [1.0]), BARE], False),
        ([row("orders", [0.9]), row("orders", [1.3], clients=256), BARE], True),
        ([row("orders", [0.9], per_s=200.0), row("orders", [1.3], clients=256), BARE], False),
        ([row("orders", [0.9]), row("bare", [1.3])], False),
        ([row("orders", [1.2], wrong=1), BARE], False),
        ([row("orders", [1.2]), row("bare", [1.2], wrong=1)], False),
    ],
)
def test_fronts_are_to_serve_more_orders(rows, good):
    """The most of each counts; with the bare request they need not; nothing may be wrong."""
    assert fronts.holds(rows) is good


def test_what_each_serves_at_most_is_told():
    """Of each load, whichever number of clients it was with."""
    rows = [row("orders", [0.9]), row("orders", [1.5], clients=256, per_s=80.0), BARE]
    assert list(fronts.summed_up(rows)) == [
        "orders, the most of each: 100 and 120 a second, 1.20 times",
        "bare, the most of each: 100 and 70 a second, 0.70 times",
    ]


def test_wrong_answers_are_told():
    """Who reads the lines sees them, whichever load it was."""
    assert "3 answers or counts were wrong" in fronts.told(row("bare", [1.0, 1.1, 1.2], wrong=1))
    assert "wrong" not in fronts.told(row("bare", [1.0]))


def test_both_loads_are_told_in_one_breath():
    """Nobody reads how much is won with orders without what is lost with the bare request."""
    rows = [row("orders", [1.2]), row("bare", [0.7])]
    said = list(headlines({"fronts": {"rows": rows}}))
    assert [what.partition(" (")[0] for what, _, _ in said] == [
        "durable orders over HTTP", "durable numbers over HTTP"
    ]  # fmt: skip
    assert ["1.20 x" in said[0][2], "0.70 x" in said[1][2]] == [True, True]
    page = parts_of_figures({"runs": {}, "fronts": {"rows": rows}})["fronts"]
    assert "| orders | 64 | 100/s | 120/s | 1.20 | 1.20 to 1.20 |" in page
    assert "| bare | 64 | 100/s | 70/s | 0.70 | 0.70 to 0.70 |" in page
