"""A help desk: what an application does, all of it at once; for tests that need a real history.

Tickets come by HTTP and by mail, are taken, answered, refused, closed and thrown away; timers
remind and give up, letters and calls go out and come to their ends; one handler in a while fails.
"""

from __future__ import annotations

import enum
from datetime import timedelta

from attrs import evolve, frozen

from happy import (
    App,
    CallEnded,
    HttpRoutes,
    MailFailed,
    MailRoutes,
    MailSent,
    Refused,
    Table,
    compose,
    event,
    every,
    handles,
    query,
    state,
    table,
)
from happy.message import parse_header

DOMAIN = "desk.example"
AGENTS = ("ada", "bob", "cyd")


class Status(enum.Enum):
    NEW = "new"
    TAKEN = "taken"
    CLOSED = "closed"


@frozen
class Ticket:
    number: int
    token: str
    by: str
    subject: str
    status: Status = Status.NEW
    agent: str | None = None
    weight: int = 0
    reminded: int = 0


@frozen
class Note:
    ticket: int
    by: str
    text: str


@state
class Desk:
    tickets: Table[int, Ticket] = table(
        index=("status", "agent", "by"), unique=("token",), sorted=("weight",)
    )
    timers: Table[int, tuple[int, int]] = table()
    notes: Table[tuple[int, int], Note] = table(index=("ticket",))
    letters: Table[str, int] = table()
    opened: int = 0
    closed: int = 0
    calls: tuple[int, ...] = ()
    luck: float = 0.0
    reports: tuple[str, ...] = ()


@event
class Opened:
    by: str
    subject: str
    weight: int = 0


@event
class Taken:
    number: int
    agent: str


@event
class Said:
    number: int
    by: str
    text: str
    letter: bool = False


@event
class Closed:
    number: int


@event
class Dropped:
    number: int


@event
class Reminded:
    number: int


@event
class Reported:
    """The day begins: say what is heaviest."""


@frozen
class Settings:
    remind_h: int = 48


def _ticket(state, number):
    if number not in state.tickets:
        raise Refused(f"there is no ticket {number}", http_status=404)
    return state.tickets[number]


def _open(state, context, by, subject, weight):
    state.opened += 1
    number = state.opened
    state.luck = context.random.random()
    state.tickets[number] = Ticket(number, context.token(6), by, subject, weight=weight)
    delay = timedelta(hours=context.settings.remind_h)
    state.timers[number] = context.after(delay, Reminded(number))
    return number


def _write_to(state, context, ticket, text):
    letter = compose(
        sender=f"desk@{DOMAIN}",
        to=ticket.by,
        subject=f"Ticket {ticket.number}",
        text=text,
        message_id=f"<{context.seq}.{ticket.token}@{DOMAIN}>",
        date=context.time,
    )
    context.mail(ticket.by, letter, reverse_path=f"desk+{ticket.number}@{DOMAIN}", tag=ticket.by)


class Helpdesk(App):
    state = Desk
    Settings = Settings
    routes = HttpRoutes()
    mail = MailRoutes()

    @routes.post("/tickets")
    @handles(Opened)
    def open(state, event, context):
        return {"number": _open(state, context, event.by, event.subject, event.weight)}

    @routes.post("/tickets/<number>/take")
    @handles(Taken)
    def take(state, event, context):
        ticket = _ticket(state, event.number)
        state.tickets[event.number] = evolve(ticket, agent=event.agent, status=Status.TAKEN)
        if event.agent not in AGENTS:
            raise Refused(f"{event.agent} is not here")
        context.call("POST", "https://pager.example/page", b"%d" % event.number, tag=event.agent)

    @routes.post("/tickets/<number>/say")
    @handles(Said)
    def say(state, event, context):
        ticket = _ticket(state, event.number)
        state.notes[event.number, context.seq] = Note(event.number, event.by, event.text)
        if event.letter:
            _write_to(state, context, ticket, event.text)
        return 100 // len(event.text)  # nothing said: the handler fails

    @routes.post("/tickets/<number>/close")
    @handles(Closed)
    def close(state, event, context):
        ticket = _ticket(state, event.number)
        if ticket.status is Status.CLOSED:
            raise Refused("it is closed")
        state.tickets[event.number] = evolve(ticket, status=Status.CLOSED)
        state.closed += 1
        context.cancel(state.timers.pop(event.number, (0, 0)))

    @routes.delete("/tickets/<number>")
    @handles(Dropped)
    def drop(state, event, context):
        _ticket(state, event.number)
        for note_key in [k for k, note in state.notes.items() if note.ticket == event.number]:
            del state.notes[note_key]
        del state.tickets[event.number]

    @handles(Reminded)
    def remind(state, event, context):
        ticket = state.tickets.get(event.number)
        if ticket is None or ticket.status is Status.CLOSED:
            return
        state.tickets[event.number] = evolve(ticket, reminded=ticket.reminded + 1)
        if ticket.reminded < 2:
            delay = timedelta(hours=24 * (ticket.reminded + 1))
            state.timers[event.number] = context.after(delay, Reminded(event.number))
        else:
            state.tickets[event.number] = evolve(ticket, status=Status.CLOSED)

    @every("30 7 * * 1-5", tz="Europe/Berlin", missed="all")
    @handles(Reported)
    def report(state, event, context):
        heaviest = [t.number for t in state.tickets.between(weight=(8, None)) if not t.agent]
        day = context.due.date().isoformat()
        state.reports = (*state.reports[-9:], f"{day}: {heaviest[:3]}")

    @mail.to("desk@")
    def by_mail(state, mail, context):
        header = parse_header(mail.header)
        _open(state, context, mail.reverse_path, header.get("Subject"), 1)

    @mail.to("desk+<number>@")
    def answer_by_mail(state, mail, context, number):
        if not number.isdigit():
            raise Refused("no such ticket", smtp=(550, "5.1.1"))
        _ticket(state, int(number))
        text = mail.content[len(mail.header) :].decode("utf-8", "replace")
        state.notes[int(number), context.seq] = Note(int(number), mail.reverse_path, text)

    @handles(MailSent)
    def sent(state, event, context):
        state.letters[event.tag] = state.letters.get(event.tag, 0) + 1

    @handles(MailFailed)
    def unsent(state, event, context):
        state.letters[event.tag] = 0

    @handles(CallEnded)
    def paged(state, event, context):
        state.calls = (*state.calls[-9:], event.status)

    @routes.get("/tickets/<number>")
    @query
    def ticket(state, number: int):
        return state.tickets.get(number)
