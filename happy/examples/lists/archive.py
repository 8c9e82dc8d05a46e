"""The archive: filing a letter under its thread, and what the pages ask.

What the pages need of every letter at once - subject, author, the beginning of the text - is
taken out when it is filed. The letter itself is kept byte for byte: in memory when it is
small, as the ``Blob`` it came as when it is large. A handler never reads one of those, so a
large letter is found by its subject and its author only.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from attrs import evolve, frozen

from happy import Context, Mail
from happy.examples.lists.model import (
    MESSAGE_ID_CHARS_MAX,
    Lists,
    Message,
    Request,
    Subscriber,
    Thread,
    Topic,
)
from happy.examples.lists.text import plain_text
from happy.message import Header
from happy.mime import read_message, text_of

SUBJECT_CHARS_MAX: Final = 200
AUTHOR_CHARS_MAX: Final = 80
EXCERPT_CHARS_MAX: Final = 4_000  # of the text, to be searched
REFERENCES_MAX: Final = 20  # the nearest ancestors, that are looked for
SAME_THREAD: Final = timedelta(days=30)  # how long a "Re:" without references finds its thread

PAGE_THREADS: Final = 30
THREAD_MESSAGES_MAX: Final = 500  # that a page shows of a thread
SEARCHED_MAX: Final = 20_000  # the newest messages, that a search looks at
FOUND_MAX: Final = 50
WORDS_MAX: Final = 8
WORD_CHARS_MAX: Final = 50

_ANSWER: Final = re.compile(r"(?i)^(?:\s*(?:re|aw|sv|antw|fwd?|wg)(?:\[\d+\])?\s*:)+\s*")


# --- filing: part of a handler, so a function of its arguments --------------------------------


def file(state: Lists, mail: Mail, header: Header, context: Context, name: str) -> None:
    """Put a letter into the archive of a list, in the thread that it answers."""
    subject = _shortened(header.subject, SUBJECT_CHARS_MAX) or "(no subject)"
    author = _author(header, mail)
    parent = _parent(state, header, name)
    topic = parent.thread if parent else _by_subject(state, context, subject, name)
    if topic is None:
        topic = (name, context.seq)
        opened = Thread(name, context.seq, (name, topic_of(subject)), subject, author, context.time)
        state.threads[topic] = opened
    else:
        thread = state.threads[topic]
        state.threads[topic] = evolve(thread, latest=context.time, messages=thread.messages + 1)
    state.messages[name, context.seq] = Message(
        list=name,
        seq=context.seq,
        time=context.time,
        message_id=header.message_id[:MESSAGE_ID_CHARS_MAX],
        thread=topic,
        parent=parent.seq if parent else (topic[1] if topic[1] != context.seq else 0),
        subject=subject,
        author=author,
        excerpt=_excerpt(mail),
        content=mail.content,
    )


def topic_of(subject: str) -> str:
    """Return what a subject is about, without the marks of an answer."""
    return " ".join(_ANSWER.sub("", subject).casefold().split())


def _parent(state: Lists, header: Header, name: str) -> Message | None:
    """Return the nearest message of this list that a letter says it answers."""
    named = (
        *header.message_ids("references")[-REFERENCES_MAX:],
        *header.message_ids("in-reply-to"),
    )
    for message_id in reversed(named):
        for message in state.messages.where(message_id=message_id):
            if message.list == name:
                return message
    return None


def _by_subject(state: Lists, context: Context, subject: str, name: str) -> Topic | None:
    """Return the thread of an answer whose mail program told no references."""
    if not _ANSWER.match(subject):
        return None
    for thread in reversed(state.threads.where(name=(name, topic_of(subject)))):
        if context.time - thread.latest <= SAME_THREAD:
            return (name, thread.seq)
    return None


def _author(header: Header, mail: Mail) -> str:
    found = header.addresses("from")
    shown = found[0].name or found[0].address.partition("@")[0] if found else ""
    return _shortened(shown, AUTHOR_CHARS_MAX) or mail.reverse_path.partition("@")[0]


def _shortened(text: str, chars_max: int) -> str:
    one_line = " ".join(text.split())
    return one_line if len(one_line) <= chars_max else one_line[: chars_max - 1] + "…"


def _excerpt(mail: Mail) -> str:
    if not isinstance(mail.content, bytes):
        return ""
    letter = read_message(mail.content)
    part = letter.body("text/plain") or letter.body("text/html")
    return plain_text(part.kind, text_of(mail.content, part))[:EXCERPT_CHARS_MAX] if part else ""


# --- asking: what the pages show ---------------------------------------------------------------


@frozen
class ListPage:
    """A list and a page of its threads, the liveliest first."""

    name: str
    address: str
    subscribers: int
    messages: int
    threads: tuple[Thread, ...]
    page: int
    pages: int


@frozen
class MessagePage:
    """A message, and its thread in the order of answers: each with its depth."""

    address: str
    message: Message
    outline: tuple[tuple[int, Message], ...]
    newer: int
    older: int


@frozen
class Found:
    """What a search found, the newest first; ``whole`` when it looked at every message."""

    address: str
    messages: tuple[Message, ...]
    whole: bool


def overview(state: Lists) -> tuple[ListPage, ...]:
    """Return all lists with the newest of their threads."""
    return tuple(_list_page(state, name, 1, 3) for name in state.names)


def list_page(state: Lists, name: str, page: int) -> ListPage | None:
    """Return a page of a list's threads; None when there is no such list or page."""
    if name not in state.names:
        return None
    found = _list_page(state, name, page, PAGE_THREADS)
    return found if 1 <= page <= found.pages else None


def _list_page(state: Lists, name: str, page: int, size: int) -> ListPage:
    threads = state.threads.where(list=name)
    latest = heapq.nlargest(page * size, threads, key=lambda thread: (thread.latest, thread.seq))
    return ListPage(
        name,
        _address(state, name),
        state.subscribers.count(list=name),
        state.messages.count(list=name),
        tuple(latest[(page - 1) * size :]),
        page,
        max(1, -(-len(threads) // size)),
    )


def message(state: Lists, name: str, seq: int) -> Message | None:
    """Return a message, or None."""
    return state.messages.get((name, seq)) if name in state.names else None


def message_page(state: Lists, name: str, seq: int) -> MessagePage | None:
    """Return a message among its thread, or None."""
    found = message(state, name, seq)
    if found is None:
        return None
    outline = tuple(_outline(state, found.thread))
    seqs = [row.seq for _, row in outline]
    at = seqs.index(seq) if seq in seqs else 0
    return MessagePage(
        _address(state, name),
        found,
        outline,
        seqs[at + 1] if at + 1 < len(seqs) else 0,
        seqs[at - 1] if at else 0,
    )


def _outline(state: Lists, topic: Topic) -> Iterator[tuple[int, Message]]:
    """Yield the messages of a thread, each after the one it answers, with its depth."""
    rows = state.messages.where(thread=topic)[:THREAD_MESSAGES_MAX]
    answers: dict[int, list[Message]] = {}
    for row in rows:
        answers.setdefault(row.parent, []).append(row)
    waiting = [(0, row) for row in reversed(answers.get(0, ()))]
    while waiting:
        depth, row = waiting.pop()
        yield depth, row
        waiting += [(depth + 1, answer) for answer in reversed(answers.get(row.seq, ()))]


def search(state: Lists, name: str, text: str) -> Found | None:
    """Return the newest messages that have all the words in subject, author or text."""
    if name not in state.names:
        return None
    words = [word[:WORD_CHARS_MAX] for word in text.casefold().split()[:WORDS_MAX]]
    rows = state.messages.where(list=name)
    looked_at = rows[-SEARCHED_MAX:]
    hits: list[Message] = []
    for row in reversed(looked_at) if words else ():
        haystack = f"{row.subject}\n{row.author}\n{row.excerpt}".casefold()
        if all(word in haystack for word in words):
            hits.append(row)
            if len(hits) == FOUND_MAX:
                break
    whole = len(looked_at) == len(rows) and len(hits) < FOUND_MAX
    return Found(_address(state, name), tuple(hits), whole)


def request(state: Lists, token: str) -> Request | None:
    """Return the request that waits under a token."""
    return state.requests.get(token)


def subscriber(state: Lists, token: str) -> Subscriber | None:
    """Return the subscriber who was given a token."""
    return state.subscribers.one(token=token)


def _address(state: Lists, name: str) -> str:
    return f"{name}@{state.domains[0]}"
