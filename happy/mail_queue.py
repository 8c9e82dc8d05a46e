"""The mail that applications owe, for whoever looks after the container: ``happy mail`` asks.

What an operator does is an event like any other: a message that is to be sent now was *delayed*
until now, one that is given up has *failed*. So the journal knows it, and a replay as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from happy.effects import EffectId, Owed, SendMail
from happy.errors import HandlerFailed, Refused
from happy.event import Exchange, MailDelayed, MailFailed
from happy.stream import Stream
from happy.wire.smtp_data import size_of

LISTED_MAX: Final = 1_000
"""How many messages of an application are listed; how many there are is told besides."""
SOURCE: Final = "operator"
_NOW: Final = "to be sent now, says the operator"
_GIVEN_UP: Final = "5.0.0 given up by the operator"

Answer = dict[str, Any]


class MailQueue:
    """Answers the command ``mail`` of the control socket, for streams by name."""

    def __init__(self, streams: Mapping[str, Stream]) -> None:
        self._streams = streams

    def command(self, verb: str = "ls", *words: str) -> Answer | Deferred[Answer]:
        """Do what a line says: ``ls [NAME]``, or ``show``, ``redeliver``, ``bounce`` NAME SEQ.N."""
        if verb == "ls" and len(words) <= 1:
            return self._ls(words[0] if words else None)
        if verb not in ("show", "redeliver", "bounce") or len(words) != 2:
            return _error("mail has ls [NAME], and show, redeliver and bounce NAME SEQ.N")
        name, place = words
        try:
            stream, owed = self._find(name, place)
        except LookupError as error:
            return _error(str(error.args[0]))
        if verb == "show":
            mail = owed.effect
            assert isinstance(mail, SendMail)
            return {**_told(name, owed), "header": mail.header.decode("utf-8", "replace")}
        if owed.sending:
            return _error(f"{name}/{place}: it is being sent just now; look again later")
        return self._change(stream, name, owed, verb)

    def _find(self, name: str, place: str) -> tuple[Stream, Owed]:
        """Return a message that is owed; ``LookupError`` says why there is none."""
        stream, effect_id = self._streams.get(name), _effect_id(place)
        if stream is None:
            raise LookupError(f"there is no application {name}")
        owed = None if effect_id is None else stream.debts.outbox.get(effect_id)
        if owed is None or not isinstance(owed.effect, SendMail):
            raise LookupError(
                f"{name}/{place}: no such message is owed; it was sent, has failed, or never was"
            )
        return stream, owed

    def _ls(self, name: str | None) -> Answer:
        if name is not None and name not in self._streams:
            return _error(f"there is no application {name}")
        listed: list[Answer] = []
        count = 0
        for app, stream in self._streams.items():
            if name in (None, app):
                mails = [owed for owed in stream.debts.outbox if isinstance(owed.effect, SendMail)]
                count += len(mails)
                listed += [_told(app, owed) for owed in islice(mails, LISTED_MAX)]
        return {"mail": listed, "count": count}

    def _change(self, stream: Stream, name: str, owed: Owed, verb: str) -> Deferred[Answer]:
        mail = owed.effect
        assert isinstance(mail, SendMail)
        event: MailDelayed | MailFailed
        if verb == "redeliver":
            now_ns = stream.clock.now_ns()
            event = MailDelayed(*owed.id, mail.recipient, owed.attempts, now_ns, _NOW)
        else:
            envelope = (mail.recipient, mail.reverse_path, mail.tag)
            event = MailFailed(*owed.id, *envelope, _GIVEN_UP, owed.ambiguous)
        exchange = Exchange(SOURCE)

        def told(_: object) -> Answer:
            return {"id": _id(name, owed), "done": verb, "seq": exchange.seqs[-1]}

        def not_told(failure: Failure) -> Answer:
            if failure.check(Refused, HandlerFailed) and exchange.seqs:
                return told(None)  # the application's own answer; the event is in the journal
            return _error(f"{_id(name, owed)}: {failure.getErrorMessage()}")

        return stream.submit(event, exchange).addCallbacks(told, not_told)


def _told(name: str, owed: Owed) -> Answer:
    mail = owed.effect
    assert isinstance(mail, SendMail)
    return {
        "id": _id(name, owed),
        "state": owed.state,
        "ambiguous": owed.ambiguous,
        "recipient": mail.recipient,
        "reverse_path": mail.reverse_path,
        "tag": mail.tag,
        "attempts": owed.attempts,
        "since_ns": owed.since_ns,
        "due_ns": owed.due_ns,
        "size_bytes": size_of(mail),
    }


def _id(name: str, owed: Owed) -> str:
    return "{}/{}.{}".format(name, *owed.id)


def _effect_id(place: str) -> EffectId | None:
    seq, _, n = place.partition(".")
    digits = seq.isascii() and n.isascii() and seq.isdigit() and n.isdigit()
    return (int(seq), int(n)) if digits and len(place) < 40 else None


def _error(sentence: str) -> Answer:
    return {"error": sentence}
