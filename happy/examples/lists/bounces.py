"""Mail that came back: who cannot be reached for long enough leaves the list.

Every copy has a return path of its own. happy makes it, reads what comes back there, and tells
whose copy it was: the tag that we sent it with is the subscriber's token.

A full mailbox or a broken server is forgiven. At most one failure counts each day, and when
none came for two weeks the counting begins anew. An address that happy gave up, for it will never
do, leaves at once; no letter says so, for none would arrive.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from attrs import evolve

from happy import Context, MailBounced, MailFailed
from happy.examples.lists import joining, letters
from happy.examples.lists.model import Lists, Subscriber, key_of

COUNTED_EVERY: Final = timedelta(days=1)
FORGOTTEN_AFTER: Final = timedelta(days=14)


def came_back(state: Lists, event: MailBounced, context: Context) -> None:
    """Count a copy that the next server took, and nobody could deliver."""
    subscriber = state.subscribers.one(token=event.tag)
    if subscriber is not None:
        count(state, context, subscriber)


def refused(state: Lists, event: MailFailed, context: Context) -> None:
    """Count what the next server would not take, now or ever; no report comes of it."""
    subscriber = state.subscribers.one(token=event.tag)
    if subscriber is None:
        return
    if event.suppressed:
        joining.take_off(state, subscriber)
    else:
        count(state, context, subscriber)


def count(state: Lists, context: Context, subscriber: Subscriber) -> None:
    """Count a failure; with one too many the subscriber leaves, and is told."""
    bounces = subscriber.bounces
    if subscriber.bounced is not None:
        since = context.time - subscriber.bounced
        if since < COUNTED_EVERY:
            return
        if since > FORGOTTEN_AFTER:
            bounces = 0
    if bounces + 1 >= context.settings.bounces_max:
        joining.leave(state, context, subscriber, letters.CAME_BACK)
        return
    key = (subscriber.list, key_of(subscriber.address))
    state.subscribers[key] = evolve(subscriber, bounces=bounces + 1, bounced=context.time)
