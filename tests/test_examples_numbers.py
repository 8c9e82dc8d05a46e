"""The number service, as its users see it."""

from __future__ import annotations

import pytest

from happy import Refused
from happy.examples.numbers import COUNT_MAX, Next, NumberService
from happy.limits import Limits
from happy.testing import running


@pytest.fixture
def numbers():
    """A number service in memory."""
    with running(NumberService) as app:
        yield app


def test_numbers_come_in_order_without_gaps(numbers):
    """Each number is taken once, in order, and the answer names the event's place."""
    answers = [numbers.post("/next") for _ in range(3)]
    assert [a.text for a in answers] == ["1\n", "2\n", "3\n"]
    assert [a.headers["happy-seq"] for a in answers] == ["1", "2", "3"]
    assert answers[0].headers["content-type"].startswith("text/plain")


def test_several_numbers_at_once(numbers):
    """``count`` takes a run of numbers and answers with the first."""
    assert numbers.post("/next?count=10").text == "1\n"
    assert numbers.post("/next").text == "11\n"


def test_the_last_number_can_be_kept_by_a_proxy_for_a_second(numbers):
    """Looking takes nothing, commits nothing and may be cached."""
    numbers.post("/next?count=7")
    answer = numbers.get("/last")
    assert answer.text == "7\n"
    assert "happy-seq" not in answer.headers
    assert answer.headers["cache-control"].startswith("public, max-age=1")
    assert numbers.state.last == 7


@pytest.mark.parametrize("count", ["0", "-1", "x", "1.5", str(COUNT_MAX + 1), "9" * 5000])
def test_a_count_that_is_none_is_a_bad_request(numbers, count):
    """What is not a count from 1 to a million is 400, and takes no number."""
    assert numbers.post(f"/next?count={count}").status == 400
    assert numbers.post("/next").text == "1\n"


def test_a_count_is_checked_whatever_the_door(numbers):
    """The handler refuses by itself: not every event comes by HTTP."""
    with pytest.raises(Refused, match="count is one whole number"):
        numbers.submit(Next(count=0))
    assert numbers.state.last == 0


def test_the_same_key_gets_the_same_number_across_restarts(numbers):
    """Promise 5: a request that is sent again with its key takes nothing and hears the same."""
    key = {"Idempotency-Key": "order-1"}
    first = numbers.post("/next", headers=key)
    assert numbers.post("/next", headers=key) == first
    numbers.crash()
    again = numbers.post("/next", headers=key)
    assert (again.status, again.text, again.headers["happy-seq"]) == (200, "1\n", "1")
    assert numbers.post("/next").text == "2\n"


def test_a_key_used_for_another_request_is_422(numbers):
    """Promise 5: a key belongs to one request; with another one it is refused, nothing taken."""
    key = {"Idempotency-Key": "order-1"}
    numbers.post("/next", headers=key)
    assert numbers.post("/next?count=2", headers=key).status == 422
    assert numbers.state.last == 1


def test_nothing_that_was_answered_is_lost_in_a_crash(numbers):
    """Promise 1: after a power cut the next number follows the last one answered."""
    for _ in range(5):
        numbers.post("/next")
    numbers.crash()
    assert numbers.get("/last").text == "5\n"
    assert numbers.post("/next").text == "6\n"


def test_a_full_disk_refuses_politely_and_recovers_by_itself():
    """Promise 7: no room is 503 with Retry-After for new events, reads go on, room mends it."""
    with running(NumberService, limits=Limits(segment_bytes_max=64 * 1024)) as numbers:
        numbers.disk.room = 0
        taken = 0
        while (answer := numbers.post("/next")).status == 200:
            taken += 1
        assert taken > 0
        assert answer.status == 503
        assert int(answer.headers["retry-after"]) > 0
        assert numbers.get("/last").text == f"{taken}\n"
        numbers.disk.room = None
        assert numbers.post("/next").text == f"{taken + 1}\n"


def test_head_and_wrong_methods(numbers):
    """HEAD is GET without the body; a method nobody declared is 405 and names those that are."""
    assert numbers.request("HEAD", "/last").body == b""
    answer = numbers.get("/next")
    assert (answer.status, answer.headers["allow"]) == (405, "POST")
