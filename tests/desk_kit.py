"""An application that writes to whoever it is told to, in a real container."""

from __future__ import annotations

import re

from conftest import Container
from mail_kit import HOSTNAME, swaks

DESK = '''
from happy import App, MailBounced, MailRoutes, handles, state


@state
class Returned:
    count: int = 0


class Desk(App):
    """A message to ``to-WHO@`` goes on to ``WHO@x.example``, in the desk's own name."""

    state = Returned
    mail = MailRoutes()

    @mail.to("to-<who>@")
    def write(state, mail, context, who):
        body = mail.content.partition(b"\\r\\n\\r\\n")[2]
        header = b"From: desk@lists.example\\r\\nTo: %s@x.example\\r\\nSubject: hello\\r\\n"
        context.mail(f"{who}@x.example", header % who.encode() + b"\\r\\n", body)

    @handles(MailBounced)
    def came_back(state, event, context):
        state.count += 1
'''
CONFIG = f"""
data = "data"
[apps.desk]
app = "desk_app:Desk"
smtp = "tcp:{{port}}:interface=127.0.0.1"
domains = ["lists.example"]
[mail]
hostname = "{HOSTNAME}"
smarthost = "tcp:127.0.0.1:{{smarthost}}"
{{keys}}
[limits]
mail_failures_max = 1
"""
TAKEN = re.compile(r"250 2\.0\.0 Ok desk/\d+")
"""What a mail server logs of each mail that it brought."""


def desk(container, *, port: int, smarthost: int, keys: str = "") -> Container:
    """Return a container with a desk, not started yet."""
    house = container(CONFIG.format(port=port, smarthost=smarthost, keys=keys))
    (house.folder / "desk_app.py").write_text(DESK)
    return house


def have_written(port: int, *names: str, body: str = "hello\r\n") -> None:
    """Have the desk write to ``NAME@x.example``."""
    for name in names:
        mail = ("--to", f"to-{name}@lists.example", "--from", "ann@example.org")
        swaks(port, *mail, "--body", body)
