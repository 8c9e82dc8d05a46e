"""A sequential number service: numbers in order, without gaps, never the same one twice.

It is the smallest application there is, and the one its architecture was invented for. Read
it from top to bottom; each part is explained where it stands. Try it::

    curl -X POST http://localhost:9000/next
    curl -X POST http://localhost:9000/next?count=10
    curl http://localhost:9000/last
"""

from __future__ import annotations

from happy import App, Context, HttpRoutes, Refused, event, handles, query, state

COUNT_MAX = 1_000_000


# What can happen. An event goes into the journal as it is, so it holds plain values only.
@event
class Next:
    """Take the next ``count`` numbers."""

    count: int = 1


# What is known: plain Python, in memory. After a crash it is rebuilt from the events.
@state
class Numbers:
    """The last number that was taken."""

    last: int = 0


def line(number: int) -> str:
    """Return a number as the peer gets it."""
    return f"{number}\n"


class NumberService(App):
    """``POST /next`` takes a number, ``GET /last`` looks."""

    state = Numbers
    routes = HttpRoutes()

    # What an event does. A handler sees the state, the event and its context, and nothing
    # else; when it raises, nothing has happened. The route above it is its door: the query
    # string says the fields of the event, ``line`` makes an answer of the reply. The answer
    # goes out when the event is on the disk, so a number that was given out stays given out.
    @routes.post("/next", reply=line)
    @handles(Next)
    def take(state: Numbers, event: Next, _context: Context) -> int:
        """Return the first of the numbers taken."""
        if not 1 <= event.count <= COUNT_MAX:
            raise Refused(f"count is one whole number from 1 to {COUNT_MAX}", http_status=400)
        first = state.last + 1
        state.last += event.count
        return first

    # What can be asked. A query reads and never changes; a proxy may keep this answer for a
    # second.
    @routes.get(
        "/last",
        reply=line,
        headers={"Cache-Control": "public, max-age=1, stale-while-revalidate=30"},
    )
    @query
    def last(state: Numbers) -> int:
        """Return the last number that was taken, 0 before the first."""
        return state.last
