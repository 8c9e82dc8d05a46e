"""Joining and leaving a list.

Nobody's word is taken for whose address it is: a sender is easily forged, and a web form
takes any text. So both are *requests*, and become true when somebody who can read the mail
of that address confirms, by answering our letter or by a button on the page it leads to.

Only one thing needs no confirmation: leaving by the secret that is in the header of each
message a subscriber gets (RFC 2369, and RFC 8058 for its one click).
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from attrs import evolve

from happy import Configured, Context, Mail, Refused
from happy.examples.lists import letters
from happy.examples.lists.letters import REQUEST_DAYS
from happy.examples.lists.model import (
    MESSAGE_ID_CHARS_MAX,
    Action,
    Ask,
    Confirm,
    Leave,
    Lists,
    Request,
    RequestExpired,
    Subscriber,
    checked_address,
    key_of,
)
from happy.message import is_automatic, parse_header

REQUESTS_MAX: Final = 10_000  # that wait for a confirmation, over all addresses
REQUESTS_OF_ADDRESS_MAX: Final = 5  # so that nobody can be buried in our letters
LETTERS_MAX: Final = 3  # of one request; then we say nothing until it has expired

TOKEN_BYTES: Final = 10  # 80 bits: not to be guessed in the life of a list, and short


def configure(state: Lists, _event: Configured, context: Context) -> None:
    """Learn which lists there are: the mail door asks the state, not the configuration."""
    state.names = context.settings.lists
    state.domains = context.domains or ("localhost",)
    state.owner = context.settings.owner


# --- asking ---------------------------------------------------------------------------------


def subscribe_by_mail(state: Lists, mail: Mail, context: Context, name: str) -> None:
    """``LIST-subscribe@``: ask the sender whether it is true."""
    _ask_by_mail(state, mail, context, name, "subscribe")


def unsubscribe_by_mail(state: Lists, mail: Mail, context: Context, name: str) -> None:
    """``LIST-unsubscribe@``: ask the sender whether it is true."""
    _ask_by_mail(state, mail, context, name, "unsubscribe")


def ask_by_web(state: Lists, event: Ask, context: Context) -> None:
    """Ask the address that somebody typed into the page."""
    if event.list not in state.names:
        raise Refused(f"there is no list {event.list}", http_status=404)
    _ask(state, context, event.list, event.address, event.action)


def _ask_by_mail(state: Lists, mail: Mail, context: Context, name: str, action: Action) -> None:
    header = parse_header(mail.header)
    if is_automatic(header, mail.reverse_path):
        return  # a machine's letter is taken and never answered: RFC 3834 section 2
    author = next((box.address for box in header.addresses("from")), mail.reverse_path)
    answered = header.message_id if len(header.message_id) <= MESSAGE_ID_CHARS_MAX else ""
    _ask(state, context, name, author, action, answered)


def _ask(  # noqa: PLR0913 - who asks what, of which list, and in which letter
    state: Lists, context: Context, name: str, typed: str, action: Action, answered: str = ""
) -> None:
    address = checked_address(typed)
    key = key_of(address)
    if key.rpartition("@")[2] in state.domains:
        raise Refused("this is an address of ours", http_status=400, smtp=(550, "5.7.1"))
    waiting = state.requests.where(key=key)
    request = next((r for r in waiting if (r.list, r.action) == (name, action)), None)
    if request is None:
        if len(waiting) >= REQUESTS_OF_ADDRESS_MAX:
            return
        if len(state.requests) >= REQUESTS_MAX:
            raise Refused("too many requests; try tomorrow", http_status=503, smtp=(452, "4.3.1"))
        request = Request(context.token(TOKEN_BYTES), name, address, key, action)
        context.after(timedelta(days=REQUEST_DAYS), RequestExpired(request.token))
    if request.letters < LETTERS_MAX:
        request = evolve(request, letters=request.letters + 1)
        letters.ask(state, context, request, answered)
    state.requests[request.token] = request


def expire(state: Lists, event: RequestExpired, _context: Context) -> None:
    """Forget a request that nobody confirmed; the timer comes for the others too."""
    state.requests.pop(event.token, None)


# --- confirming -----------------------------------------------------------------------------


def is_request(state: Lists, name: str, token: str) -> bool:
    """Say whether a request waits under this token; without one the address is unknown."""
    return token in state.requests and state.requests[token].list == name


def confirm_by_mail(state: Lists, mail: Mail, context: Context, name: str, token: str) -> None:
    """``LIST-confirm-TOKEN@``: an answer to our letter, if a person wrote it."""
    if is_automatic(parse_header(mail.header), mail.reverse_path):
        return  # "I am on holiday" is not a yes
    if is_request(state, name, token):  # a letter may name the address twice
        _fulfil(state, context, state.requests[token])


def confirm_by_web(state: Lists, event: Confirm, context: Context) -> Request:
    """Confirm from the page; return what came true."""
    request = state.requests.get(event.token)
    if request is None:
        raise Refused("this request was confirmed already, or has expired", http_status=404)
    _fulfil(state, context, request)
    return request


def _fulfil(state: Lists, context: Context, request: Request) -> None:
    del state.requests[request.token]
    known = state.subscribers.get((request.list, request.key))
    if request.action == "unsubscribe":
        if known is not None:
            leave(state, context, known, letters.AS_ASKED)
    elif known is None and request.list in state.names:
        subscriber = Subscriber(
            request.list, request.address, context.token(TOKEN_BYTES), context.time
        )
        state.subscribers[request.list, request.key] = subscriber
        letters.welcome(state, context, subscriber)


# --- leaving --------------------------------------------------------------------------------


def leave_by_mail(state: Lists, _mail: Mail, context: Context, name: str, token: str) -> None:
    """``LIST-unsubscribe-TOKEN@``: leave at once; mail programs write there by themselves."""
    subscriber = state.subscribers.one(token=token)
    if subscriber is not None and subscriber.list == name:
        leave(state, context, subscriber, letters.AS_ASKED)


def leave_by_web(state: Lists, event: Leave, context: Context) -> None:
    """Leave at once. Who has left already hears nothing else: all is well."""
    subscriber = state.subscribers.one(token=event.token)
    if subscriber is not None:
        leave(state, context, subscriber, letters.AS_ASKED)


def leave(state: Lists, context: Context, subscriber: Subscriber, reason: str) -> None:
    """Take a subscriber off the list and say so, once."""
    take_off(state, subscriber)
    letters.goodbye(state, context, subscriber, reason)


def take_off(state: Lists, subscriber: Subscriber) -> None:
    """Take a subscriber off the list without a word."""
    del state.subscribers[subscriber.list, key_of(subscriber.address)]
