"""Mailing lists people could really run: by mail and by web, in one order of events.

::

    [apps.lists]
    app      = "happy.examples.lists:MailingLists"
    http     = "tcp:9001:interface=127.0.0.1"
    smtp     = "tcp:2525:interface=127.0.0.1"
    domains  = ["lists.example"]
    settings = { lists = ["dev"], url = "https://lists.example" }

Write to ``dev-subscribe@lists.example`` to join ``dev@lists.example``, to
``dev-unsubscribe@`` to leave. Read it in this order:

- ``app``: which address and which event leads to what; the whole on one page.
- ``model``: settings, events and state.
- ``joining`` and ``letters``: requests, and their confirmation by mail or by web.
- ``posting``: who may write, and what each subscriber gets.
- ``bounces`` and ``owner``: mail that came back, and mail to people; ``earlier``: what came
  back of mail that an earlier version sent.
- ``archive``: filing a letter, and what the pages ask.
- ``web``, with ``shown``, ``text`` and ``download``: the pages.
"""

from happy.examples.lists.app import MailingLists
from happy.examples.lists.model import Settings

__all__ = ["MailingLists", "Settings"]
