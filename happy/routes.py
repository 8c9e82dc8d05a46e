"""Mail routes: which recipient goes to which handler.

A pattern is a local part with captures, ``<list>-subscribe@``: each ``<name>`` takes one or
more characters, as few as possible, and the whole local part must match. Patterns are tried
in the order they were declared; case does not matter. What stands after ``@`` is none of the
pattern's business: the configuration says which domains an application has.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import attrs

from happy.errors import DefinitionError, Refused
from happy.event import Mail

_CAPTURE = re.compile(r"<([a-z_][a-z0-9_]*)>")

When = Callable[..., bool]


@attrs.frozen
class _Route:
    pattern: str
    regex: re.Pattern[str]
    handler: Callable[..., Any]
    when: When | None

    def captures(self, state: Any, local: str) -> dict[str, str] | None:
        match = self.regex.fullmatch(local)
        if match is None:
            return None
        found = match.groupdict()
        return found if self.when is None or self.when(state, **found) else None


class MailRoutes:
    """The mail door of an application class: ``mail = MailRoutes()``, then ``@mail.to(...)``."""

    def __init__(self) -> None:
        self._routes: list[_Route] = []

    def to(self, pattern: str, *, when: When | None = None) -> Callable[[Callable[..., Any]], Any]:
        """Declare the handler of recipients that match ``pattern``.

        The handler is called as ``(state, mail, context, **captures)``, pure like every
        handler, once for each matching recipient of a message; ``context.recipient`` is the
        whole address. ``when(state, **captures)`` may say no: then the next pattern is tried,
        and a recipient nobody takes is refused at RCPT.
        """
        regex = _compile(pattern)

        def declare(handler: Any) -> Any:
            plain = handler.__func__ if isinstance(handler, staticmethod) else handler
            check_handler(plain)
            condition = when.__func__ if isinstance(when, staticmethod) else when
            self._routes.append(_Route(pattern, regex, plain, condition))
            return staticmethod(plain)

        return declare

    def functions(self) -> list[Callable[..., Any]]:
        """Return all that the routes would call."""
        called = ((route.handler, route.when) for route in self._routes)
        return [function for pair in called for function in pair if function is not None]

    def find(self, state: Any, local: str) -> tuple[Callable[..., Any], dict[str, str]] | None:
        """Return the handler for a local part, with its captures; None when nobody takes it."""
        lowered = local.lower()
        for route in self._routes:
            captures = route.captures(state, lowered)
            if captures is not None:
                return route.handler, captures
        return None

    def knows(self, state: Any, local: str) -> bool:
        """Say whether a local part has a handler now: a query, for the RCPT command."""
        return self.find(state, local) is not None

    def deliver(self, state: Any, mail: Mail, context: Any) -> None:
        """Handle a message: its recipients one after the other, all of them or none."""
        for recipient in mail.recipients:
            found = self.find(state, recipient.rpartition("@")[0] or recipient)
            if found is None:
                raise Refused(f"no such recipient: {recipient}", smtp=(550, "5.1.1"))
            handler, captures = found
            context.recipient = recipient
            handler(state, mail, context, **captures)


def check_handler(function: Callable[..., Any]) -> None:
    """Raise ``DefinitionError`` for a function that would not run when it is called."""
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise DefinitionError(
            f"{function.__qualname__}: handlers and queries run at once, without await or "
            "yield; what takes time is owed through the context, or done in a door"
        )


def _compile(pattern: str) -> re.Pattern[str]:
    if not pattern.endswith("@") or pattern.count("@") != 1 or pattern == "@":
        raise DefinitionError(f"mail pattern {pattern!r}: write a local part and @, as in 'info@'")
    regex = ""
    position = 0
    names: set[str] = set()
    local = pattern[:-1]
    for capture in _CAPTURE.finditer(local):
        name = capture.group(1)
        if name in names:
            raise DefinitionError(f"mail pattern {pattern!r}: <{name}> stands in it twice")
        names.add(name)
        regex += re.escape(local[position : capture.start()].lower()) + f"(?P<{name}>.+?)"
        position = capture.end()
    regex += re.escape(local[position:].lower())
    rest = _CAPTURE.sub("", local)
    if "<" in rest or ">" in rest:
        raise DefinitionError(f"mail pattern {pattern!r}: a capture is <name>, in small letters")
    return re.compile(regex)
