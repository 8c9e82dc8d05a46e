"""Replies as values, and what each error is called on the wire (RFC 5321 section 4.2).

The rule of this file: trouble of ours is 4xx, so that the peer keeps the message and tries
again; 5xx is only said when the peer's message itself will never be taken.
"""

from __future__ import annotations

import re
from typing import Final

from attrs import field, frozen

from happy.errors import HappyError

TEXT_CHARS_MAX: Final = 400  # with code and line end well under the 512 of section 4.5.3.1.5

_NOT_PRINTABLE: Final = re.compile(r"[^ -~]+")


@frozen
class Reply:
    """One reply: ``code`` (RFC 5321), ``status`` (RFC 3463, empty for none) and its text."""

    code: int
    status: str
    text: str
    wire: bytes = field(init=False, eq=False, repr=False)
    """The whole reply as it is sent: printable ASCII, bounded in length."""

    @wire.default
    def _wire(self) -> bytes:
        text = _NOT_PRINTABLE.sub("?", self.text)[:TEXT_CHARS_MAX]
        words = f"{self.status} {text}".strip()
        return f"{self.code} {words}\r\n".encode("ascii")

    @property
    def line(self) -> str:
        """The reply without its line end."""
        return self.wire[:-2].decode("ascii")


OK: Final = Reply(250, "2.0.0", "Ok")
SENDER_OK: Final = Reply(250, "2.1.0", "Ok")
RECIPIENT_OK: Final = Reply(250, "2.1.5", "Ok")
BYE: Final = Reply(221, "2.0.0", "Bye")
START_TLS: Final = Reply(220, "2.0.0", "Go ahead")
GO_AHEAD: Final = Reply(354, "", "End data with <CR><LF>.<CR><LF>")
CANNOT_VERIFY: Final = Reply(252, "2.0.0", "Send the message, then I will know")

TROUBLE: Final = Reply(451, "4.3.0", "Trouble here, please try again later")
SHUTTING_DOWN: Final = Reply(421, "4.3.2", "Shutting down, please try again later")
TOO_SLOW: Final = Reply(421, "4.4.2", "Timeout, closing")
TOO_MANY_CONNECTIONS: Final = Reply(421, "4.7.0", "Too many connections")
TOO_MANY_ERRORS: Final = Reply(421, "4.7.0", "Too many errors, closing")
TOO_MANY_COMMANDS: Final = Reply(421, "4.7.0", "Too many commands without a message, closing")
TOO_MANY_MESSAGES: Final = Reply(421, "4.7.0", "Too many messages in one session, closing")
TOO_MANY_RECIPIENTS: Final = Reply(452, "4.5.3", "Too many recipients, send the others later")
ANOTHER_MESSAGE: Final = Reply(452, "4.5.3", "Send to this one in a message of its own")
ENDLESS_LINE: Final = Reply(421, "4.7.0", "Command line without an end, closing")
SPOKE_TOO_EARLY: Final = Reply(554, "5.5.0", "You spoke out of turn, closing")

LINE_TOO_LONG: Final = Reply(500, "5.5.2", "Command line too long")
NOT_A_LINE: Final = Reply(500, "5.5.2", "A command is one line that ends with CRLF")
UNKNOWN_COMMAND: Final = Reply(500, "5.5.1", "Command unknown")
NOT_IMPLEMENTED: Final = Reply(502, "5.5.1", "Command not implemented")
NO_ARGUMENT: Final = Reply(501, "5.5.4", "This command takes no argument")
NEEDS_ARGUMENT: Final = Reply(501, "5.5.4", "This command needs an argument")
NO_PEER_NAME: Final = Reply(501, "", "Say your host name or address literal")
NOT_GREETED: Final = Reply(503, "5.5.1", "Say hello first")
HAVE_TLS: Final = Reply(503, "5.5.1", "This connection is encrypted already")
HAVE_SENDER: Final = Reply(503, "5.5.1", "There is a sender already")
NO_SENDER: Final = Reply(503, "5.5.1", "Send MAIL first")
NO_RECIPIENTS: Final = Reply(503, "5.5.1", "No recipient was accepted")
NOT_SERVED: Final = Reply(554, "5.7.1", "This door is for servers of ours only, closing")
NOT_AUTHORIZED: Final = Reply(550, "5.7.0", "This is believed from servers of ours only")
NOT_TRUSTED: Final = Reply(550, "5.7.1", "This is believed from servers of ours only")
RELAY_DENIED: Final = Reply(550, "5.7.1", "Relay access denied")
NO_SUCH_RECIPIENT: Final = Reply(550, "5.1.1", "No such recipient here")

LOGGED_IN: Final = Reply(235, "2.7.0", "Welcome")
NO_LOGIN: Final = Reply(535, "5.7.8", "Name or password is wrong")
TOO_MANY_LOGINS: Final = Reply(421, "4.7.0", "Name or password is wrong too often, closing")
NEEDS_TLS: Final = Reply(530, "5.7.0", "Send STARTTLS first")
NEEDS_LOGIN: Final = Reply(530, "5.7.0", "Log in first")
LOGIN_NEEDS_TLS: Final = Reply(538, "5.7.11", "Send STARTTLS first")
HAVE_LOGIN: Final = Reply(503, "5.5.1", "You are logged in already")
UNKNOWN_MECHANISM: Final = Reply(504, "5.5.4", "Unknown mechanism")
LOGIN_CANCELLED: Final = Reply(501, "5.7.0", "Cancelled")
LOGIN_GARBLED: Final = Reply(501, "5.5.2", "This is not what the mechanism says in base64")
LOGIN_LINE_TOO_LONG: Final = Reply(500, "5.5.6", "Line too long")

NEEDS_UTF8: Final = Reply(553, "5.6.7", "Say SMTPUTF8 to name an address in such letters")
BAD_CHUNK: Final = Reply(501, "5.5.4", "Write BDAT and a number of bytes, closing")
IN_A_MESSAGE: Final = Reply(503, "5.5.1", "Chunks of a message have come; send the others")
TOO_BIG: Final = Reply(552, "5.3.4", "Message too big")
HEADER_TOO_BIG: Final = Reply(552, "5.3.4", "Message header too big")
TEXT_LINE_TOO_LONG: Final = Reply(552, "5.5.2", "Message has a line that is too long")
BARE_LINE_END: Final = Reply(550, "5.5.2", "Message has a CR or LF that stands alone")
LOOP: Final = Reply(554, "5.4.6", "Too many hops, this message loops")


def reply_to(error: HappyError) -> Reply:
    """Say an error of the house in the words it chose for itself."""
    if not 400 <= error.smtp_code < 600:
        return Reply(554, "5.7.1", str(error))
    return Reply(error.smtp_code, error.smtp_status, str(error))
