"""The mail of the applications, for whoever looks after the container: ``happy mail`` asks.

What an operator does is an event like any other: a message that is to be sent now was *delayed*
until now, one that is given up has *failed*. So the journal knows it, and a replay as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any, Final
from urllib.parse import unquote

from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.python.failure import Failure

from happy.bounces import Outgone
from happy.effects import EffectId, Owed, SendMail
from happy.errors import HandlerFailed, HappyError, Refused
from happy.event import Exchange, Mail, MailDelayed, MailFailed
from happy.mail_again import AGAIN, NotDone
from happy.stream import Stream
from happy.system_events import MailUnsuppressed
from happy.wire.smtp_data import size_of

LISTED_MAX: Final = 1_000
"""How many messages of an application are listed; how many there are is told besides."""
SOURCE: Final = "operator"
_NOW: Final = "to be sent now, says the operator"
_GIVEN_UP: Final = "5.0.0 given up by the operator"

Answer = dict[str, Any]


class MailQueue:
    """Answers the command ``mail`` of the control socket, for streams by name."""

    def __init__(
        self,
        streams: Mapping[str, Stream],
        mail_at: Callable[[str, int], Deferred[Mail]] | None = None,
    ) -> None:
        """``mail_at`` finds the mail that came to an application at a place; see ``mail_again``."""
        self._streams = streams
        self._mail_at = mail_at

    def command(self, verb: str = "ls", *words: str) -> Answer | Deferred[Answer]:
        """Do what a line says.

        ``ls``, ``bounced`` and ``suppressed`` take a NAME or none, ``show``, ``redeliver`` and
        ``bounce`` NAME SEQ.N, ``again`` NAME SEQ, and ``unsuppress`` an address, in the manner of
        a URL.
        """
        lists = {"ls": self._ls, "bounced": self._bounced, "suppressed": self._suppressed}
        if verb in lists and len(words) <= 1:
            if words and words[0] not in self._streams:
                return _error(f"there is no application {words[0]}")
            return lists[verb]({n: s for n, s in self._streams.items() if n in (words or (n,))})
        if verb == "unsuppress" and len(words) == 1:
            return self._unsuppress(unquote(words[0]))
        if verb == "again" and len(words) == 2:
            return self._again(*words)
        return self._of_one(verb, words)

    def _again(self, name: str, place: str) -> Answer | Deferred[Answer]:
        """Have a mail that came in handled once more, as a new event."""
        stream = self._streams.get(name)
        if stream is None or self._mail_at is None or not (place.isascii() and place.isdigit()):
            return _error(f"there is no application {name}, or {place} is no place")
        what = f"{name}/{place}"

        def found(mail: Mail) -> Deferred[Answer]:
            exchange = Exchange(f"{AGAIN}{place}")

            def told(_: object) -> Answer:
                return {"id": what, "done": "redeliver", "seq": exchange.seqs[-1]}

            def not_told(failure: Failure) -> Answer:
                if failure.check(Refused, HandlerFailed) and exchange.seqs:
                    why = failure.getErrorMessage()
                    seq = exchange.seqs[-1]
                    return _error(f"{what}: it happened again as seq {seq}, in vain: {why}")
                return _error(f"{what}: {failure.getErrorMessage()}")

            return stream.submit(mail, exchange).addCallbacks(told, not_told)

        def not_found(failure: Failure) -> Answer:
            failure.trap(NotDone, HappyError, OSError)
            return _error(failure.getErrorMessage())

        return self._mail_at(name, int(place)).addCallbacks(found, not_found)

    def _of_one(self, verb: str, words: Sequence[str]) -> Answer | Deferred[Answer]:
        if verb not in ("show", "redeliver", "bounce") or len(words) != 2:
            return _error(
                "mail has ls, bounced and suppressed [NAME], show, redeliver and bounce NAME "
                "SEQ.N, and unsuppress ADDRESS"
            )
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

    def _ls(self, streams: Mapping[str, Stream]) -> Answer:
        listed: list[Answer] = []
        count = 0
        for app, stream in streams.items():
            mails = [owed for owed in stream.debts.outbox if isinstance(owed.effect, SendMail)]
            count += len(mails)
            listed += [_told(app, owed) for owed in islice(mails, LISTED_MAX)]
        return {"mail": listed, "count": count}

    def _bounced(self, streams: Mapping[str, Stream]) -> Answer:
        listed: list[Answer] = []
        count = 0
        for app, stream in streams.items():
            bounced = list(stream.bounces.bounced())
            count += len(bounced)
            listed += [_told_of(app, *one) for one in bounced[-LISTED_MAX:]]
        return {"mail": listed, "count": count}

    def _suppressed(self, streams: Mapping[str, Stream]) -> Answer:
        listed: list[Answer] = []
        count = 0
        for app, stream in streams.items():
            suppressed = list(stream.bounces.suppressed())
            count += len(suppressed)
            listed += [
                {
                    "app": app,
                    "address": one.address,
                    "since_ns": one.suppressed_ns,
                    "failures": one.failures,
                    "reply": one.reply,
                }
                for one in suppressed[-LISTED_MAX:]
            ]
        return {"suppressed": listed, "count": count}

    def _unsuppress(self, address: str) -> Answer | Deferred[Answer]:
        """Let an address be written to again, by every application that does not."""
        names = [n for n, s in self._streams.items() if s.bounces.suppression_of(address)]
        if not names:
            return _error(f"{address} is not suppressed")
        done = [
            self._put(self._streams[name], MailUnsuppressed(address), f"{name}: {address}")
            for name in names
        ]

        def told(places: list[int]) -> Answer:
            apps = [{"app": n, "seq": seq} for n, seq in zip(names, places, strict=True)]
            return {"address": address, "done": "unsuppress", "apps": apps}

        return gatherResults(done, consumeErrors=True).addCallbacks(told, _first_error)

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
        done = self._put(stream, event, _id(name, owed))
        return done.addCallbacks(
            lambda seq: {"id": _id(name, owed), "done": verb, "seq": seq}, _said
        )

    def _put(self, stream: Stream, event: object, what: str) -> Deferred[int]:
        """Put an event in the order; fires with its place, fails with ``NotDone``."""
        exchange = Exchange(SOURCE)

        def not_told(failure: Failure) -> int:
            if failure.check(Refused, HandlerFailed) and exchange.seqs:
                return exchange.seqs[-1]  # the application's own answer; it is in the journal
            raise NotDone(f"{what}: {failure.getErrorMessage()}")

        return stream.submit(event, exchange).addCallbacks(lambda _: exchange.seqs[-1], not_told)


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


def _said(failure: Failure) -> Answer:
    failure.trap(NotDone)
    return _error(failure.getErrorMessage())


def _first_error(failure: Failure) -> Answer:
    failure.trap(FirstError)
    assert isinstance(failure.value, FirstError)
    return _said(failure.value.subFailure)


def _id(name: str, owed: Owed) -> str:
    return "{}/{}.{}".format(name, *owed.id)


def _effect_id(place: str) -> EffectId | None:
    seq, _, n = place.partition(".")
    digits = seq.isascii() and n.isascii() and seq.isdigit() and n.isdigit()
    return (int(seq), int(n)) if digits and len(place) < 40 else None


def _error(sentence: str) -> Answer:
    return {"error": sentence}
