"""What a server in front is to know of an application: names, where it is, how much it takes.

Its bounds are the application's own, so that it refuses nothing that the application would take,
and as little as can be helped reaches the application to be refused there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from attrs import frozen

from happy.edge.reach import Reach
from happy.limits import KIB, MIB, Limits

ANSWERS_FIRST_S: Final = 5
"""So much longer than the application a server waits: the application's own answer says more."""

UPSTREAM_KEPT_MAX: Final = 32
"""Connections to an application that nginx keeps for each of its processes."""

TRACE_BYTES: Final = 4 * KIB
"""What a mail server may add to a message on its way: its Received field, generously."""

ADDED_BYTES: Final = 8 * KIB
"""What a proxy may add to the head of a request, and what it takes to keep it in order."""

ADDED_FIELDS: Final = 20
"""How many header fields a proxy may add or split."""

FIELDS_MAX: Final = 32_767
"""The most header fields that Apache and HAProxy can be told to take."""


@frozen
class Site:
    """An application behind a web server.

    ``names`` are its host names, the first one that of its certificate. ``certificate`` and
    ``key`` are paths; where both are in one file, ``key`` is empty.
    """

    app: str
    names: tuple[str, ...]
    reach: Reach
    limits: Limits
    certificate: str
    key: str = ""

    @property
    def handler_s(self) -> int:
        """How long its answer is waited for."""
        return self.limits.http_handler_timeout_s + ANSWERS_FIRST_S

    @property
    def kept_s(self) -> int:
        """How long a connection to it is kept: not as long as it keeps one, or a second."""
        return max(1, self.limits.http_idle_timeout_s * 4 // 5)

    @property
    def kept(self) -> int:
        """How many connections to it are kept, by each process of nginx."""
        return min(UPSTREAM_KEPT_MAX, max(1, self.limits.http_connections_max // 4))

    @property
    def quiet_s(self) -> int:
        """How long a client may be silent: in a body, in an answer, and while it waits for one."""
        limits = self.limits
        return max(limits.http_body_timeout_s, limits.http_stall_timeout_s, self.handler_s)

    @property
    def longest_line_bytes(self) -> int:
        """The longest line of a request, with room for its end."""
        return line_bytes_max(self.limits) + KIB


@frozen
class Relayed:
    """An application behind a mail server: the ``domains`` whose mail it takes."""

    app: str
    domains: tuple[str, ...]
    reach: Reach
    limits: Limits

    @property
    def message_bytes_max(self) -> int:
        """The largest message that it takes when a mail server has added to it."""
        taken = self.limits.smtp_message_bytes_max
        return max(taken - TRACE_BYTES, taken // 2, 1)


@frozen
class Public:
    """A public port whose connections go to a mail door as they are, behind a PROXY header.

    ``quiet_s`` is how long a side of one may be silent.
    """

    apps: tuple[str, ...]
    port: int
    reach: Reach
    quiet_s: int


@frozen
class Edge:
    """What one server is in front of.

    ``written_by`` is the command that writes it, ``name`` its own where it has one.
    """

    written_by: str
    sites: Sequence[Site] = ()
    relayed: Sequence[Relayed] = ()
    public: Sequence[Public] = ()
    name: str = ""

    @property
    def apps(self) -> set[str]:
        """The applications that can be reached through it."""
        found = {site.app for site in self.sites} | {one.app for one in self.relayed}
        return found.union(*(one.apps for one in self.public))

    @property
    def doors(self) -> list[Reach]:
        """The doors that it leads to."""
        sites, relayed = [site.reach for site in self.sites], [one.reach for one in self.relayed]
        return sites + relayed + [one.reach for one in self.public]


def outwaiting_s(limits: Limits) -> int:
    """Return how long a mail client may be silent: the application's own 421 comes first."""
    return max(limits.smtp_command_timeout_s, limits.smtp_data_timeout_s) + 60


def line_bytes_max(limits: Limits) -> int:
    """Return the length of the longest line of a request."""
    return max(limits.http_request_line_bytes_max, limits.http_header_bytes_max)


def head_bytes_max(limits: Limits) -> int:
    """Return the length of the longest head of a request, as a proxy hands it on."""
    return limits.http_request_line_bytes_max + limits.http_header_bytes_max + ADDED_BYTES


def fields_max(limits: Limits) -> int:
    """Return how many header fields a request may have, as a proxy hands it on."""
    return min(limits.http_headers_max + ADDED_FIELDS, FIELDS_MAX)


def size(count: int) -> str:
    """Return a number of bytes as nginx has it, with m or k where nothing is lost."""
    for unit, letter in ((MIB, "m"), (KIB, "k")):
        if count % unit == 0:
            return f"{count // unit}{letter}"
    return str(count)


def size_up(count: int) -> str:
    """Return a number of bytes as nginx has it, up to the next kibibyte."""
    return size(math.ceil(count / KIB) * KIB)
