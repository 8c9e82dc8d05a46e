"""Mail to people behind the lists: ``postmaster@`` and ``LIST-owner@`` (RFC 2142)."""

from __future__ import annotations

from happy import Context, Mail, Refused
from happy.examples.lists.model import Lists, is_list


def is_owner(state: Lists) -> bool:
    """Say whether somebody reads mail to the owner."""
    return state.owner != ""


def is_owner_of(state: Lists, name: str) -> bool:
    """Say whether somebody reads mail to the owner of this list."""
    return is_owner(state) and is_list(state, name=name)


def pass_on(state: Lists, mail: Mail, context: Context, **_captures: str) -> None:
    """Send a letter to the owner; no report can come back to us, so none can go in circles."""
    mark = f"X-Loop: {context.recipient}\r\n".encode()
    if mark.lower() in mail.header.lower():
        raise Refused("this letter has been here", smtp=(554, "5.4.6"))
    context.mail(
        state.owner,
        mark + mail.header,
        mail.content,
        content_offset=len(mail.header),
        reverse_path="",
        tag="owner",
    )
