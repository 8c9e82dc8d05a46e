"""A reactor for tests of what reads and writes without waiting."""

from __future__ import annotations

from twisted.python.failure import Failure


class Reactor:
    """Knows who wants to read and write, and lets them when the test says so."""

    def __init__(self):
        self.readers, self.writers = set(), set()
        self.addReader, self.addWriter = self.readers.add, self.writers.add
        self.removeReader, self.removeWriter = self.readers.discard, self.writers.discard

    def turn(self):
        for writer in tuple(self.writers):
            writer.doWrite()
        for reader in tuple(self.readers):
            reason = reader.doRead()
            if reason is not None:
                self.readers.discard(reader)
                reader.connectionLost(Failure(reason))
