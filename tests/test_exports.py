"""The front door: what authors may rely on is a list, and the list is pinned here."""

from __future__ import annotations

import importlib

import pytest

FRONT_DOOR = {
    "happy": [
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
    ],
    "happy.testing": [
        "MailReply",
        "MemoryDisk",
        "Response",
        "Running",
        "message",
        "running",
    ],
}


@pytest.mark.parametrize("module", FRONT_DOOR)
def test_the_front_door_has_these_names_and_no_others(module):
    """Adding or removing a public name is a decision, taken here too."""
    assert importlib.import_module(module).__all__ == FRONT_DOOR[module]


@pytest.mark.parametrize(
    ("module", "name"), [(m, n) for m, names in FRONT_DOOR.items() for n in names]
)
def test_every_public_name_is_there_and_explained(module, name):
    """Each name can be imported and says what it is."""
    thing = getattr(importlib.import_module(module), name)
    assert (thing.__doc__ or "").strip()


@pytest.mark.parametrize("module", FRONT_DOOR)
def test_a_star_import_brings_the_list(module):
    """What ``import *`` gives is what is promised."""
    names = {}
    exec(f"from {module} import *", names)
    assert set(names) - {"__builtins__"} == set(FRONT_DOOR[module])
