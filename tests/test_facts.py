"""What a message's facts say to a handler that asks."""

from __future__ import annotations

import pytest

from happy.facts import UNCHECKED, Dkim, Facts


def test_nothing_looked_up_is_empty_everywhere():
    """A handler may ask without looking first whether there is an answer."""
    assert (UNCHECKED.spf.result, UNCHECKED.dmarc.result, UNCHECKED.arc.result) == ("", "", "")
    assert (UNCHECKED.dkim, UNCHECKED.results()) == ((), ())


@pytest.mark.parametrize(
    ("signature", "said"),
    [
        (Dkim("pass", "y.example"), True),
        (Dkim("fail", "y.example"), False),
        (Dkim("pass", "m.y.example"), False),
        (Dkim("pass", "example"), False),
    ],
)
def test_signed_by_means_the_very_domain_and_a_pass(signature, said):
    """Neither below nor above it, and nothing but a pass."""
    assert Facts(dkim=(signature,)).signed_by("y.EXAMPLE") is said
