"""What an HTTP connection waits for, and how long."""

from happy.limits import Limits
from happy.wire.http_phase import NEVER, Phase, patience_of


def test_each_phase_has_the_patience_of_its_limit():
    """A phase lasts as many sweeps as its limit has seconds, and one for the sweep at once."""
    limits = Limits(
        http_idle_timeout_s=10,
        http_header_timeout_s=20,
        http_body_timeout_s=30,
        http_handler_timeout_s=40,
        http_stall_timeout_s=50,
        http_linger_s=3,
    )
    patience = patience_of(limits)
    assert patience[Phase.IDLE] == 11
    assert patience[Phase.HEAD] == 21
    assert patience[Phase.BODY] == 31
    assert patience[Phase.HANDLING] == 41
    assert patience[Phase.STALLED] == 51
    assert patience[Phase.CLOSING] == 4


def test_an_answer_that_goes_on_has_no_end():
    """Whatever the sweep is, the deadline of a running answer is none that comes."""
    assert patience_of(Limits())[Phase.STREAMING] >= NEVER
