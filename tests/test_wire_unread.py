"""The kernel is asked what has come that nobody read."""

import socket
from types import SimpleNamespace

from happy.wire.unread import unread_bytes


def test_what_waits_in_the_kernel_is_counted():
    """Bytes that the peer has sent, and that were not read."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert unread_bytes(ours) == 0
        theirs.sendall(b"QUIT\r\n")
        assert unread_bytes(ours) == 6
        ours.recv(4)
        assert unread_bytes(ours) == 2


def test_without_a_descriptor_nothing_waits():
    """A transport in memory, and one that is closed, have nothing in the kernel."""
    closed, other = socket.socketpair()
    closed.close()
    other.close()
    assert unread_bytes(SimpleNamespace()) == 0
    assert unread_bytes(closed) == 0
