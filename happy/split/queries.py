"""What two processes of one application have to agree on: its queries by name, and its schema."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from happy.app import App, Definition, takes_all
from happy.declared import declared_by

Query = Callable[..., Any]

_KNOWS: Final = "mail routes: knows"
_TAKES_ALL: Final = "takes all"


def queries_of(app: type[App]) -> Mapping[str, Query]:
    """Return all that may be asked of a state, by name."""
    found: dict[str, Query] = {_TAKES_ALL: takes_all}
    if app.mail is not None:
        found[_KNOWS] = app.mail.knows
    for name in dir(app):
        function = getattr(app, name, None)
        if callable(function) and hasattr(function, "__happy_query__"):
            found[name] = function
    return found


def schema_digest(definition: Definition) -> str:
    """Return a digest of what an application declares: events, state and rows."""
    declared = msgspec.json.encode(declared_by(definition), order="sorted")
    return hashlib.blake2b(declared, digest_size=16).hexdigest()
