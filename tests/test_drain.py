"""The end of what is on its way: it comes once, and all hear of it."""

from twisted.internet.defer import Deferred

from happy.drain import Drain


def test_what_was_not_begun_is_done():
    """Nobody waits for what nobody wants, and its end is nothing."""
    drain = Drain()
    drain.end()
    assert not drain.begun
    assert drain.wait().called


def test_all_wait_for_the_end_and_for_what_follows():
    """What follows is done once, though the end is told twice."""
    drain, closing, calls, heard = Drain(), Deferred(), [], []
    drain.begin(lambda: calls.append("close") or closing)
    for _ in range(2):
        drain.wait().addCallback(heard.append)
    assert (drain.begun, calls) == (True, [])
    drain.end()
    drain.end()
    assert (calls, heard) == (["close"], [])
    closing.callback("done")
    assert heard == [None, None]
