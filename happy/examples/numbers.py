"""A sequential number service: numbers in order, without gaps, never the same one twice.

It is the smallest application there is, and the one its architecture was invented for. Read
it from top to bottom; each part is explained where it stands. Try it::

    curl -X POST http://localhost:9000/next
    curl -X POST http://localhost:9000/next?count=10
    curl http://localhost:9000/last
"""

from __future__ import annotations

from klein import Klein
from twisted.web.server import Request

from happy import App, Context, Refused, event, handles, query, state
from happy.wire.http import query_int

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


class NumberService(App):
    """``POST /next`` takes a number, ``GET /last`` looks."""

    state = Numbers
    http = Klein()

    # What an event does. A handler sees the state, the event and its context, and nothing
    # else; when it raises, nothing has happened.
    @handles(Next)
    def take(state: Numbers, event: Next, _context: Context) -> int:
        """Return the first of the numbers taken."""
        if not 1 <= event.count <= COUNT_MAX:
            raise Refused(f"count must be 1 to {COUNT_MAX}", http_status=400)
        first = state.last + 1
        state.last += event.count
        return first

    # What can be asked. A query reads and never changes.
    @query
    def last(state: Numbers) -> int:
        """Return the last number that was taken, 0 before the first."""
        return state.last

    # The doors: words in, an event or a question, words out. ``submit`` answers when the
    # event is on the disk, so a number that was given out stays given out.
    @http.route("/next", methods=["POST"])
    async def post_next(self, request: Request) -> bytes:
        """Take numbers: ``POST /next`` or ``POST /next?count=N``."""
        first = await self.submit(
            Next(count=query_int(request, "count", default=1, minimum=1, maximum=COUNT_MAX))
        )
        return _line(request, first)

    @http.route("/last", methods=["GET"])
    async def get_last(self, request: Request) -> bytes:
        """Look at the last number: a proxy may keep the answer for a second."""
        request.setHeader(b"cache-control", b"public, max-age=1, stale-while-revalidate=30")
        return _line(request, await self.ask(self.last))


def _line(request: Request, number: int) -> bytes:
    request.setHeader(b"content-type", b"text/plain; charset=utf-8")
    return b"%d\n" % number
