"""What an operator does with a message: each act an event like any other, with who it was.

A message that is to be sent now was *delayed* until now, one that is given up has *failed*. One
that came in is handled again as a new event, or goes back to its sender. Either may be held, and
released. So the journal knows it all, and a replay comes to the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from attrs import frozen
from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from happy.dsn import compose_return
from happy.effects import Owed, SendMail
from happy.errors import HandlerFailed, HappyError, Refused
from happy.event import Exchange, Mail, MailDelayed, MailFailed
from happy.holds import Holding, said_of
from happy.mail_again import NotDone, again_source
from happy.moments import moment
from happy.stream import Stream
from happy.system_events import MailHeld, MailReleased, MailReturned

_NOW: Final = "to be sent now, says the operator"
_GIVEN_UP: Final = "5.0.0 given up by the operator"
_RETURNED: Final = "The postmaster returned it."

Done = Deferred[int]
"""Fires with the place of the event that was brought; fails with ``NotDone``."""


@frozen
class Act:
    """Something done to a message of a stream; without ``n`` to the one that came in as ``seq``."""

    name: str
    stream: Stream
    seq: int
    n: int | None
    who: str = ""
    reason: str = ""

    @property
    def what(self) -> str:
        """What the message is called."""
        return f"{self.name}/{self.seq}" if self.n is None else f"{self.name}/{self.seq}.{self.n}"

    def not_done(self, why: str) -> NotDone:
        """Return the exception that says why it was not done."""
        return NotDone(f"{self.what}: {why}")

    def owed(self) -> tuple[Owed, SendMail]:
        """Return a message that is owed; ``NotDone`` when it is not."""
        owed = None if self.n is None else self.stream.debts.outbox.get((self.seq, self.n))
        if owed is None or not isinstance(owed.effect, SendMail):
            raise self.not_done("no such message is owed; it was sent, has failed, or never was")
        return owed, owed.effect

    def put(self, event: object) -> Done:
        """Put an event in the order."""
        return put(self.stream, event, self.what, self.who)


MailAt = Callable[[str, int], Deferred[Mail]]
"""Finds the mail that came to an application at a place, or fails; see ``happy.mail_again``."""


def put(stream: Stream, event: object, what: str, who: str) -> Done:
    """Put an event of an operator in the order, whatever the application makes of it."""
    exchange = Exchange(f"operator {who}".rstrip())

    def not_told(failure: Failure) -> int:
        if failure.check(Refused, HandlerFailed) and exchange.seqs:
            return exchange.seqs[-1]
        raise NotDone(f"{what}: {failure.getErrorMessage()}")

    return stream.submit(event, exchange).addCallbacks(lambda _: exchange.seqs[-1], not_told)


# --- a message that is owed -----------------------------------------------------------------------


def send_now(act: Act) -> Done:
    """Have a message that is owed sent now, not when its pause is over."""
    owed, mail = act.owed()
    if owed.hold is not None:
        raise act.not_done(f"{said_of(owed.hold)}; release it first")
    if owed.sending:
        raise act.not_done("it is being sent just now; look again later")
    now_ns = act.stream.clock.now_ns()
    return act.put(MailDelayed(*owed.id, mail.recipient, owed.attempts, now_ns, _NOW))


def give_up(act: Act) -> Done:
    """Have a message that is owed failed."""
    owed, mail = act.owed()
    if owed.sending:
        raise act.not_done("it is being sent just now; look again later")
    reply = f"5.0.0 {act.reason}" if act.reason else _GIVEN_UP
    envelope = (*owed.id, mail.recipient, mail.reverse_path, mail.tag)
    return act.put(MailFailed(*envelope, reply, owed.ambiguous))


# --- a message that came in -----------------------------------------------------------------------


def handle_again(act: Act, mail_at: MailAt) -> Done:
    """Have a message that came in handled once more, as a new event."""
    exchange = Exchange(again_source(act.seq, act.who))

    def found(mail: Mail) -> Deferred[Any]:
        _check_free(act)
        return act.stream.submit(mail, exchange).addErrback(not_handled)

    def not_handled(failure: Failure) -> None:
        why = failure.getErrorMessage()
        if failure.check(Refused, HandlerFailed) and exchange.seqs:
            why = f"it happened again as seq {exchange.seqs[-1]}, in vain: {why}"
        raise act.not_done(why)

    return _find(act, mail_at).addCallback(found).addCallback(lambda _: exchange.seqs[-1])


def give_back(act: Act, mail_at: MailAt, host: str) -> Done:
    """Return a message that came in to its sender, once; ``host`` is our name in the report."""

    def found(mail: Mail) -> Done:
        _check_free(act)
        key = act.stream.effect_key((act.seq, 0))
        try:
            report = compose_return(
                mail,
                act.reason or _RETURNED,
                host=host,
                message_id=f"<returned-{key}@{host}>",
                date=moment(act.stream.clock.now_ns()),
            )
        except ValueError as error:
            raise act.not_done(str(error)) from None
        header, end, content = report.partition(b"\r\n\r\n")
        envelope = (act.seq, mail.reverse_path, header + end, content)
        return act.put(MailReturned(*envelope, act.who, act.reason))

    return _find(act, mail_at).addCallback(found)


def _find(act: Act, mail_at: MailAt) -> Deferred[Mail]:
    def not_found(failure: Failure) -> Mail:
        failure.trap(HappyError, OSError)
        raise NotDone(failure.getErrorMessage())

    try:
        _check_free(act)
    except NotDone:
        return fail()
    return mail_at(act.name, act.seq).addErrback(not_found)


def _check_free(act: Act) -> None:
    """Raise ``NotDone`` when a message that came in is held, or was returned."""
    why = act.stream.holds.why_left_alone(act.seq)
    if why is not None:
        raise act.not_done(why)


# --- either ---------------------------------------------------------------------------------------


def hold(act: Act, mail_at: MailAt) -> Done:
    """Have a message left alone until it is released."""
    event = MailHeld(act.seq, act.n, act.who, act.reason)
    if act.n is not None:
        act.owed()
        return _turn(act, event)
    if act.stream.holds.is_full():
        raise act.not_done("no more can be held (mail_held_max); release some")
    return _find(act, mail_at).addCallback(lambda _: _turn(act, event))


def release(act: Act) -> Done:
    """Leave a message alone no more."""
    if act.n is not None:
        act.owed()
    return _turn(act, MailReleased(act.seq, act.n, act.who))


def _turn(act: Act, event: Holding) -> Done:
    if act.stream.holds.news(event, act.stream.debts.outbox) is None:
        held = None if act.n is None else act.owed()[0].hold
        raise act.not_done("it is not held" if held is None else said_of(held))
    return act.put(event)
