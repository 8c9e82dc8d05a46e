"""Counts the mail that comes for ``box@``: an application that does as little as one can."""

from __future__ import annotations

from happy import App, Mail, MailRoutes, state


@state
class Counted:
    """How many mails there were."""

    mails: int = 0


class Box(App):
    """Counts mail."""

    state = Counted
    mail = MailRoutes()

    @mail.to("box@")
    def count(state: Counted, _mail: Mail, _context: object) -> int:
        """Count one."""
        state.mails += 1
        return state.mails
