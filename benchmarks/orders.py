"""An order desk that sells books: the application behind the real HTTP load of ``fronts.py``.

::

    [apps.orders]
    app  = "orders:OrderDesk"
    http = "tcp:9002:interface=127.0.0.1"

    curl -H 'Content-Type: application/json' localhost:9002/orders --data \
        '{"item":"book-7","count":2,"name":"Ann","street":"1 High Street","city":"Hull"}'
    curl localhost:9002/taken

It does what such an application does: a body is read field by field, what makes no sense is
refused, some of the state changes, and the answer says something of it. The orders themselves are
in the journal; the state has what is sold, so that a benchmark's memory does not grow.
"""

from __future__ import annotations

from typing import Final

from happy import App, Context, HttpRoutes, Refused, Table, event, handles, query, state, table

CATALOGUE: Final = frozenset(f"book-{number}" for number in range(1, 101))
COUNT_MAX: Final = 100
LINE_CHARS_MAX: Final = 100
NOTE_CHARS_MAX: Final = 500


@event
class Order:
    """Send ``count`` copies of an item to an address."""

    item: str
    count: int
    name: str
    street: str
    city: str
    note: str = ""


@state
class Desk:
    """How many orders were taken, of how many copies, and what was sold of each item."""

    taken: int = 0
    copies: int = 0
    sold: Table[str, int] = table()


class OrderDesk(App):
    """``POST /orders`` takes an order; ``GET /taken`` and ``GET /copies`` say how many."""

    state = Desk
    routes = HttpRoutes()

    @routes.post("/orders")
    @handles(Order)
    def order(state: Desk, event: Order, _context: Context) -> dict[str, int | str]:
        """Return the number of the order, and what it is of."""
        if event.item not in CATALOGUE:
            raise Refused("this item is not in the catalogue")
        if not 1 <= event.count <= COUNT_MAX:
            raise Refused(f"count is one whole number from 1 to {COUNT_MAX}", http_status=400)
        for line in (event.name, event.street, event.city):
            if not line.strip() or len(line) > LINE_CHARS_MAX:
                raise Refused(
                    f"name, street and city have 1 to {LINE_CHARS_MAX} characters", http_status=400
                )
        if len(event.note) > NOTE_CHARS_MAX:
            raise Refused(f"a note has at most {NOTE_CHARS_MAX} characters", http_status=400)
        state.taken += 1
        state.copies += event.count
        state.sold[event.item] = state.sold.get(event.item, 0) + event.count
        return {"order": state.taken, "item": event.item, "count": event.count}

    @routes.get("/taken")
    @query
    def taken(state: Desk) -> int:
        """Return how many orders were taken."""
        return state.taken

    @routes.get("/copies")
    @query
    def copies(state: Desk) -> int:
        """Return of how many copies they were."""
        return state.copies
