"""The mail of the applications, for whoever looks after the container: ``happy mail`` asks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Any, Final
from urllib.parse import unquote

from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.python.failure import Failure

from happy.bounces import Outgone, Unreached
from happy.effects import EffectId, Hold, Owed, SendMail
from happy.mail_acts import (
    Act,
    Done,
    MailAt,
    give_back,
    give_up,
    handle_again,
    hold,
    put,
    release,
    send_now,
)
from happy.mail_again import NotDone
from happy.stream import Stream
from happy.system_events import MailUnsuppressed
from happy.wire.smtp_data import size_of

LISTED_MAX: Final = 1_000
"""How many messages of an application are listed; how many there are is told besides."""
_PLACE: Final = re.compile(r"([0-9]{1,19})(?:\.([0-9]{1,9}))?")

Answer = dict[str, Any]


class MailQueue:
    """Answers the command ``mail`` of the control socket, for streams by name."""

    def __init__(self, streams: Mapping[str, Stream], mail_at: MailAt, host: str) -> None:
        """``host`` is how a report calls us that a message goes back with."""
        self._streams = streams
        self._mail_at = mail_at
        self._host = host

    def command(self, verb: str = "ls", *words: str) -> Answer | Deferred[Answer]:
        """Do what a line says; its words are written in the manner of a URL.

        ``ls``, ``held``, ``bounced`` and ``suppressed`` take a NAME or none; ``show`` takes NAME
        SEQ.N; ``redeliver``, ``bounce``, ``hold`` and ``release`` take NAME SEQ.N or, for a message
        that came in, NAME SEQ, and then WHO and REASON, each of which may be left out;
        ``unsuppress`` takes an address and WHO.
        """
        words = tuple(map(unquote, words))
        try:
            if verb in _LISTS and len(words) <= 1:
                streams = {name: self._stream(name) for name in words or self._streams}
                return _listed(_LISTS[verb](name, stream) for name, stream in streams.items())
            if verb == "unsuppress" and 1 <= len(words) <= 2:
                return self._unsuppress(*words).addErrback(_said)
            if 2 <= len(words) <= 4 and verb in ("show", "redeliver", "bounce", "hold", "release"):
                return self._of_one(verb, *words)
        except NotDone as error:
            return {"error": str(error)}
        return {
            "error": "mail has ls, held, bounced and suppressed [NAME], show NAME SEQ.N, "
            "redeliver, bounce, hold and release NAME SEQ[.N], and unsuppress ADDRESS"
        }

    def _stream(self, name: str) -> Stream:
        stream = self._streams.get(name)
        if stream is None:
            raise NotDone(f"there is no application {name}")
        return stream

    def _of_one(
        self, verb: str, name: str, place: str, who: str = "", reason: str = ""
    ) -> Answer | Deferred[Answer]:
        found = _PLACE.fullmatch(place)
        if found is None:
            raise NotDone(f"{name}/{place} is no message")
        stream, n = self._stream(name), found[2]
        act = Act(name, stream, int(found[1]), None if n is None else int(n), who, reason)
        if verb == "show":
            owed, mail = act.owed()
            return {**_told(name, owed), "header": mail.header.decode("utf-8", "replace")}
        done = self._do(verb, act)
        return done.addCallbacks(lambda seq: {"id": act.what, "done": verb, "seq": seq}, _said)

    def _do(self, verb: str, act: Act) -> Done:
        came_in = act.n is None
        match verb:
            case "redeliver":
                return handle_again(act, self._mail_at) if came_in else send_now(act)
            case "bounce":
                return give_back(act, self._mail_at, self._host) if came_in else give_up(act)
            case "hold":
                return hold(act, self._mail_at)
        return release(act)

    def _unsuppress(self, address: str, who: str = "") -> Deferred[Answer]:
        """Let an address be written to again, by every application that does not."""
        names = [n for n, s in self._streams.items() if s.bounces.suppression_of(address)]
        if not names:
            raise NotDone(f"{address} is not suppressed")
        event = MailUnsuppressed(address)
        done = [put(self._streams[name], event, f"{name}: {address}", who) for name in names]

        def told(places: list[int]) -> Answer:
            apps = [{"app": n, "seq": seq} for n, seq in zip(names, places, strict=True)]
            return {"address": address, "done": "unsuppress", "apps": apps}

        return gatherResults(done, consumeErrors=True).addCallbacks(told, _first_error)


# --- the lists: how many there are of one application, and what is told of each -------------------

Found = tuple[int, Iterator[Answer]]


def _listed(found: Iterable[Found]) -> Answer:
    listed: list[Answer] = []
    count = 0
    for of_one, rows in found:
        count += of_one
        listed += islice(rows, min(of_one, LISTED_MAX))
    return {"listed": listed, "count": count}


def _owed_of(name: str, stream: Stream) -> Found:
    outbox = stream.debts.outbox
    rows = (_told(name, owed) for owed in outbox if isinstance(owed.effect, SendMail))
    return outbox.count(SendMail), rows


def _held_of(name: str, stream: Stream) -> Found:
    outbox, came_in = stream.debts.outbox, list(stream.holds.held())
    rows = (_told(name, owed) for owed in outbox if owed.hold is not None)
    more = ({"id": f"{name}/{seq}", "state": "held", **_told_hold(hold)} for seq, hold in came_in)
    return outbox.held + len(came_in), chain(islice(rows, outbox.held), more)


def _bounced_of(name: str, stream: Stream) -> Found:
    bounced = list(stream.bounces.bounced())
    return len(bounced), (_told_of(name, *one) for one in bounced[-LISTED_MAX:])


def _suppressed_of(name: str, stream: Stream) -> Found:
    suppressed = list(stream.bounces.suppressed())
    return len(suppressed), (_told_suppressed(name, one) for one in suppressed[-LISTED_MAX:])


_LISTS: Final[dict[str, Callable[[str, Stream], Found]]] = {
    "ls": _owed_of,
    "held": _held_of,
    "bounced": _bounced_of,
    "suppressed": _suppressed_of,
}


def _told(name: str, owed: Owed) -> Answer:
    mail = owed.effect
    assert isinstance(mail, SendMail)
    return {
        "id": "{}/{}.{}".format(name, *owed.id),
        "state": owed.state,
        "ambiguous": owed.ambiguous,
        "recipient": mail.recipient,
        "reverse_path": mail.reverse_path,
        "tag": mail.tag,
        "attempts": owed.attempts,
        "since_ns": owed.since_ns,
        "due_ns": owed.due_ns,
        "size_bytes": size_of(mail),
        **_told_hold(owed.hold),
    }


def _told_hold(hold: Hold | None) -> Answer:
    if hold is None:
        return {}
    return {"held_ns": hold.time_ns, "who": hold.who, "reason": hold.reason}


def _told_of(name: str, effect_id: EffectId, sent: Outgone) -> Answer:
    return {
        "id": "{}/{}.{}".format(name, *effect_id),
        "state": sent.end,
        "recipient": sent.recipient,
        "reverse_path": sent.reverse_path,
        "tag": sent.tag,
        "status": sent.status,
        "since_ns": sent.time_ns,
    }


def _told_suppressed(name: str, one: Unreached) -> Answer:
    return {
        "app": name,
        "address": one.address,
        "since_ns": one.suppressed_ns,
        "failures": one.failures,
        "reply": one.reply,
    }


def _said(failure: Failure) -> Answer:
    failure.trap(NotDone)
    return {"error": failure.getErrorMessage()}


def _first_error(failure: Failure) -> Answer:
    failure.trap(FirstError)
    assert isinstance(failure.value, FirstError)
    return _said(failure.value.subFailure)
