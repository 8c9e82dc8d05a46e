"""Mail routes: which recipient goes to which handler.

A pattern is a local part with captures, ``<list>-subscribe@``: each ``<name>`` takes one or
more characters, as few as possible, and the whole local part must match. ``<box>+<tag>@`` takes
tagged addresses, ``<anybody>@`` all. Patterns are tried in the order they were declared; case
does not matter.

The configuration says which domains an application has, and a pattern is for all of them unless
it names one, ``sales@shop.example``, or some, ``info@<team>.example``. A name in other letters
and its ``xn--`` form are the same.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from typing import Any

import attrs
import idna

from happy.errors import DefinitionError, Refused
from happy.event import Mail

_CAPTURE = re.compile(r"<([a-z_][a-z0-9_]*)>")
_ANYTHING = "\x00"

When = Callable[..., bool]


@attrs.frozen
class _Route:
    pattern: str
    local: re.Pattern[str]
    domain: re.Pattern[str] | None
    """None for every domain."""
    handler: Callable[..., Any]
    when: When | None

    def captures(self, state: Any, local: str, domain: str) -> dict[str, str] | None:
        found = self._match(local, domain)
        if found is None:
            return None
        return found if self.when is None or self.when(state, **found) else None

    def matches(self, local: str, domain: str) -> bool:
        """Say whether an address is one of those that a pattern means."""
        return self._match(local, domain) is not None

    def takes_all_of(self, other: str) -> bool:
        """Say whether nothing that a pattern means is left for it."""
        local, _, domain = _CAPTURE.sub(_ANYTHING, other.lower()).rpartition("@")
        # What matches where each capture stands for a letter of no pattern, matches whatever
        # they stand for: only captures take that letter, and they take anything.
        return self.when is None and self._match(local, domain) is not None

    def _match(self, local: str, domain: str) -> dict[str, str] | None:
        match = self.local.fullmatch(local)
        if match is None:
            return None
        if self.domain is None:
            return match.groupdict()
        within = self.domain.fullmatch(domain)
        return None if within is None else match.groupdict() | within.groupdict()


class MailRoutes:
    """The mail door of an application class: ``mail = MailRoutes()``, then ``@mail.to(...)``."""

    def __init__(self) -> None:
        self._routes: list[_Route] = []

    def to(self, pattern: str, *, when: When | None = None) -> Callable[[Callable[..., Any]], Any]:
        """Declare the handler of recipients that match ``pattern``.

        The handler is called as ``(state, mail, context, **captures)``, pure like every
        handler, once for each matching recipient of a message; ``context.recipient`` is the
        whole address. ``when(state, **captures)`` may say no: then the next pattern is tried,
        and a recipient nobody takes is refused at RCPT. Raises ``DefinitionError`` for a pattern
        that is none, and for one that an earlier one leaves nothing.
        """
        pattern, local, domain = _compiled(pattern)
        for earlier in self._routes:
            if earlier.takes_all_of(pattern):
                raise DefinitionError(
                    f"mail pattern {pattern!r}: {earlier.pattern!r} stands before it and takes all "
                    "that it would take; put it first, or leave it out"
                )

        def declare(handler: Any) -> Any:
            plain = handler.__func__ if isinstance(handler, staticmethod) else handler
            captured = _CAPTURE.findall(pattern)
            check_handler(plain, "state", "mail", "context", named=captured)
            condition = when.__func__ if isinstance(when, staticmethod) else when
            if condition is not None:
                check_handler(condition, "state", named=captured)
            self._routes.append(_Route(pattern, local, domain, plain, condition))
            return staticmethod(plain)

        return declare

    def functions(self) -> list[Callable[..., Any]]:
        """Return all that the routes would call."""
        called = ((route.handler, route.when) for route in self._routes)
        return [function for pair in called for function in pair if function is not None]

    def find(
        self, state: Any, local: str, domain: str = ""
    ) -> tuple[Callable[..., Any], dict[str, str]] | None:
        """Return the handler for an address, with its captures; None when nobody takes it."""
        lowered = local.lower()
        for route in self._routes:
            captures = route.captures(state, lowered, domain)
            if captures is not None:
                return route.handler, captures
        return None

    def knows(self, state: Any, local: str, domain: str = "") -> bool:
        """Say whether an address has a handler now: a query, for the RCPT command."""
        return self.find(state, local, domain) is not None

    def surely_knows(self, local: str, domain: str = "") -> bool | None:
        """Return what ``knows`` says of any state; None when that depends on the state."""
        found = [route for route in self._routes if route.matches(local.lower(), domain)]
        if all(route.when is not None for route in found):
            return None if found else False
        return True

    def deliver(self, state: Any, mail: Mail, context: Any) -> None:
        """Handle a message: its recipients one after the other, all of them or none."""
        for recipient in mail.recipients:
            local, _, domain = recipient.rpartition("@")
            found = self.find(state, local or domain, domain)
            if found is None:
                raise Refused(f"no such recipient: {recipient}", smtp=(550, "5.1.1"))
            handler, captures = found
            context.recipient = recipient
            handler(state, mail, context, **captures)


def check_handler(
    function: Callable[..., Any], *arguments: str, named: Iterable[str] = (), more: bool = False
) -> None:
    """Raise ``DefinitionError`` for a function that would not run when it is called.

    It is called with ``arguments`` in this order and with those that are ``named``; with
    ``more``, whoever calls it has others to give.
    """
    name = function.__qualname__
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise DefinitionError(
            f"{name}: handlers and queries run at once, without await or "
            "yield; what takes time is owed through the context, or done in a door"
        )
    called = ", ".join([*arguments, *named])
    signature = inspect.signature(function)
    if next(iter(signature.parameters), "") == "self":
        raise DefinitionError(f"{name}: it is a function of the state, ({called}), without self")
    try:
        bind = signature.bind_partial if more else signature.bind
        bind(*arguments, **dict.fromkeys(named))
    except TypeError as error:
        raise DefinitionError(f"{name}: it is called as ({called}): {error}") from None


def _compiled(pattern: str) -> tuple[str, re.Pattern[str], re.Pattern[str] | None]:
    """Return a pattern with its domain in one form, and what its two parts match."""
    if pattern.count("@") != 1 or pattern.startswith("@"):
        raise DefinitionError(f"mail pattern {pattern!r}: write a local part and @, as in 'info@'")
    local, _, domain = pattern.partition("@")
    if not domain.isascii():
        try:
            domain = idna.encode(domain, uts46=True).decode("ascii")
        except ValueError:
            raise DefinitionError(
                f"mail pattern {pattern!r}: not a domain; with a capture, write its xn-- form"
            ) from None
    names = [capture[1] for capture in _CAPTURE.finditer(pattern)]
    for name in names:
        if names.count(name) > 1:
            raise DefinitionError(f"mail pattern {pattern!r}: <{name}> stands in it twice")
    rest = _CAPTURE.sub("", local + domain)
    if "<" in rest or ">" in rest:
        raise DefinitionError(f"mail pattern {pattern!r}: a capture is <name>, in small letters")
    return f"{local}@{domain}", _regex(local), _regex(domain) if domain else None


def _regex(part: str) -> re.Pattern[str]:
    regex = ""
    position = 0
    for capture in _CAPTURE.finditer(part):
        literal = part[position : capture.start()]
        regex += re.escape(literal.lower()) + f"(?P<{capture[1]}>.+?)"
        position = capture.end()
    return re.compile(regex + re.escape(part[position:].lower()))
