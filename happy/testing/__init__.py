r"""Testing an application: the whole of it, in memory, on a clock of the test's own.

::

    with running(NumberService) as app:
        assert app.post("/next").text == "1\n"
        app.crash()
        assert app.post("/next").text == "2\n"

Requests and mail go through the real doors, events through the real order and journal; only
the sockets, the disk, the clock and the smarthost are stand-ins. Nothing sleeps.
"""

from happy.testing.disk import MemoryDisk
from happy.testing.doors import MailReply, Response
from happy.testing.running import Running, message, running

__all__ = ["MailReply", "MemoryDisk", "Response", "Running", "message", "running"]
