"""happy: applications with web and mail doors over one durable order of events.

What an author needs is here; what a test of an application needs is in ``happy.testing``.
"""

from happy.app import App, handles, query
from happy.context import Context
from happy.effects import Call, SendMail
from happy.errors import (
    BadRequest,
    Busy,
    DefinitionError,
    DuplicateKey,
    HandlerFailed,
    HappyError,
    Refused,
    Unavailable,
)
from happy.event import (
    Blob,
    CallEnded,
    Configured,
    Mail,
    MailDelayed,
    MailFailed,
    MailSending,
    MailSent,
    event,
)
from happy.http_routes import Answer, HttpRoutes
from happy.message import Mailbox, compose, parse_header
from happy.routes import MailRoutes
from happy.row import row
from happy.schedule import every
from happy.state import state, table
from happy.system_events import (
    MailBounced,
    MailHeld,
    MailReleased,
    MailReturned,
    MailUnsuppressed,
)
from happy.table import Table
from happy.upcast import upcast

__all__ = [
    "Answer",
    "App",
    "BadRequest",
    "Blob",
    "Busy",
    "Call",
    "CallEnded",
    "Configured",
    "Context",
    "DefinitionError",
    "DuplicateKey",
    "HandlerFailed",
    "HappyError",
    "HttpRoutes",
    "Mail",
    "MailBounced",
    "MailDelayed",
    "MailFailed",
    "MailHeld",
    "MailReleased",
    "MailReturned",
    "MailRoutes",
    "MailSending",
    "MailSent",
    "MailUnsuppressed",
    "Mailbox",
    "Refused",
    "SendMail",
    "Table",
    "Unavailable",
    "compose",
    "event",
    "every",
    "handles",
    "parse_header",
    "query",
    "row",
    "state",
    "table",
    "upcast",
]
