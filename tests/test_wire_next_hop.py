"""The way of mail when there is a smarthost."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from happy.wire.next_hop import Hop, Smarthost


def test_all_mail_goes_to_the_smarthost():
    """Whoever it is for: one destination, and one server there."""
    endpoint = object()
    way = Smarthost(endpoint)
    assert {way.destination_of(to) for to in ("a@x.example", "b@y.example")} == {""}
    found = []
    Deferred.fromCoroutine(_find(way)).addCallback(found.append)
    assert found == [(Hop(endpoint),)]


async def _find(way):
    return await way.find("")
