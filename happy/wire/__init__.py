"""The doors: words of a protocol in, events to the stream; outcomes back, words out.

The rules of a door:

- It holds no state of the application and never touches it: it submits events and asks
  queries, through the application object it is given.
- It knows its protocol and its peer, and nothing of the order, the journal or the disk.
- It says yes only when the stream said so: a reply waits for the Deferred of ``submit``.
- It trusts nothing it reads: every length, count and time is bounded by ``happy.limits``,
  and what is malformed is answered once and ends the connection.
- Parsing and writing are functions of bytes; a connection joins them to a transport. The
  clock and the reactor are handed in, so a test owns both.
- An idle connection costs what a socket costs, and little more.
"""
