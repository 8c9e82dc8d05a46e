"""Outcomes on their way from a core to a container that runs the same application.

A reply goes as in any outcome frame. One that has no form there, or whose class the other end
could not find again, goes as a text that says what it is; and whoever waits for it is told so,
though the event holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from importlib import import_module
from typing import Any

import msgspec

from happy.event import Outcome, Reply
from happy.outcomes import OutcomeDigest
from happy.split.outcome_frame import (
    PLAIN,
    decode_outcome,
    encode_outcome,
    formless,
    is_formless,
)


class ToldFailure(Exception):
    """What another process tells of an event that failed; the text is all there is here."""


Untold = dict[int, str]
"""The replies that cannot go over as they are: their places, and what they are."""


def resolve(name: str) -> type:
    """Return the class that a reply is an instance of; ``LookupError`` when it is not there."""
    module, _, path = name.partition(":")
    try:
        found: Any = reduce(getattr, path.split("."), import_module(module))
    except (AttributeError, ImportError, ValueError):
        raise LookupError(f"the class {name} cannot be found by its name") from None
    if isinstance(found, type):
        return found
    raise LookupError(f"{name} is no class")


def encode_told(outcomes: Sequence[Outcome], digest: OutcomeDigest) -> tuple[bytes, Untold]:
    """Return the body of an outcome frame; ``digest`` has taken in these outcomes last."""
    told = digest.told
    if (
        digest.latest is not None
        and len(told) == len(outcomes)
        and PLAIN.issuperset(map(type, told))
    ):
        return digest.latest, {}
    return encode_each(outcomes)


def encode_each(outcomes: Sequence[Outcome]) -> tuple[bytes, Untold]:
    """Return the body of an outcome frame, for outcomes of any sort."""
    items: list[bytes] = []
    untold: Untold = {}
    for place, outcome in enumerate(outcomes):
        item = encode_outcome(outcome)
        if isinstance(outcome, Reply) and type(outcome.value) not in PLAIN:
            why = _why_untold(item)
            if why:
                item, untold[place] = formless(why), why
        items.append(item)
    return b"".join(items), untold


def _why_untold(item: bytes) -> str:
    try:
        outcome = decode_outcome(item, resolve)
    except (LookupError, TypeError, ValueError, msgspec.MsgspecError) as error:
        return str(error) or type(error).__name__
    return str(outcome.value) if is_formless(item) and isinstance(outcome, Reply) else ""
