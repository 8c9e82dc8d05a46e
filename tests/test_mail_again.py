"""Handling a mail again: which one it is, and what it is by then."""

import pytest

from cli_kit import write
from happy.event import Mail, MailAcknowledged
from happy.mail_again import NotDone, mail_at

PLACED = ((1, b"c" * 16),)
MAIL = Mail("ann@x", ("bob@y",), b"\r\n", b"\r\nhi\r\n", sha256=b"1" * 32, acknowledged=PLACED)


def test_it_is_the_same_but_for_what_only_its_first_coming_meant(tmp_path):
    """Nobody waits for its 250, and it acknowledges no other mail."""
    write(tmp_path, [[MailAcknowledged(()), MAIL]])
    again = mail_at(tmp_path, 2)
    assert (again.recipients, again.content) == (MAIL.recipients, MAIL.content)
    assert (again.sha256, again.acknowledged) == (b"", ())


@pytest.mark.parametrize(("seq", "why"), [(1, "no mail"), (3, "there is no seq 3")])
def test_what_is_no_mail_is_said_so(tmp_path, seq, why):
    """One sentence, and the place."""
    write(tmp_path, [[MailAcknowledged(()), MAIL]])
    with pytest.raises(NotDone, match=why):
        mail_at(tmp_path, seq)
