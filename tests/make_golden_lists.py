"""Made ``tests/golden/lists-v1.tar.xz``, once; kept to show how. It refuses to write over it.

Mailing lists when each subscriber had a return path of the list's own, ``dev-bounces+TOKEN@``:
people join and write, mail comes back in each of the ways that counted, somebody leaves because of
it, and at the end four copies are still owed.
"""

from __future__ import annotations

import re
from pathlib import Path

from twisted.internet.defer import succeed

from golden_archive import keep, refuse_to_write_over
from happy.effects import SendMail
from happy.examples.lists import MailingLists, Settings
from happy.limits import Limits
from happy.testing import message, running

PLACE = Path(__file__).parent / "golden" / "lists-v1.tar.xz"
SETTINGS = Settings(lists=("dev",), url="https://lists.example", bounces_max=2)
DOMAINS = ("lists.example",)
LIMITS = Limits(segment_bytes_max=256 * 1024)
PEOPLE = ("ann@a.example", "bob@b.example", "cyd@c.example", "dan@d.example", "eve@e.example")
DAY_S = 86_400

REPORT = (
    b"From: MAILER-DAEMON@relay.example\r\nMIME-Version: 1.0\r\n"
    b'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n\r\n'
    b"--b\r\nContent-Type: message/delivery-status\r\n\r\n"
    b"Reporting-MTA: dns; relay.example\r\n\r\nAction: failed\r\nStatus: 5.1.1\r\n--b--\r\n"
)
OLD_REPORT = message("Undelivered", "Sorry.", From_="MAILER-DAEMON@old.example")


class Nobody:
    """Takes no mail out of our hands."""

    def perform(self, owed):
        pass

    def stop(self):
        return succeed(None)


def join(app, address):
    app.mail(address, "dev-subscribe@lists.example", message("", From_=address))
    (token,) = re.findall(rb"/confirm/([0-9a-f]{20})", app.sent[-1].header)
    app.post(f"/confirm/{token.decode()}")


def post(app, subject):
    app.mail(PEOPLE[0], "dev@lists.example", message(subject, "Hello.", From_=PEOPLE[0]))


def history():
    """Return the disk of lists that have had all that, closed in good order."""
    with running(MailingLists, settings=SETTINGS, domains=DOMAINS, limits=LIMITS) as app:
        for address in PEOPLE:
            join(app, address)
        tokens = {row.address: row.token for row in app.state.subscribers.values()}
        paths = {address: f"dev-bounces+{token}@lists.example" for address, token in tokens.items()}
        post(app, "One")
        app.mail("", paths["bob@b.example"], REPORT)
        app.mail("", paths["cyd@c.example"], OLD_REPORT)
        app.advance(DAY_S + 1)
        app.mail("", paths["bob@b.example"], REPORT)
        app.refuse_mail = lambda mail: "550 5.1.1 no" if mail.recipient == PEOPLE[3] else None
        post(app, "Two")
        app.restart()
        app.stream.debts.runners[SendMail] = Nobody()
        post(app, "Three")
    return app.disk


def make():
    """Write the journal."""
    refuse_to_write_over(PLACE)
    keep(history(), PLACE)


if __name__ == "__main__":
    make()
