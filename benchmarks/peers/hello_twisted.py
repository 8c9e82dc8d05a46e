"""A hello on Twisted as it comes: ``hello_twisted.py web|klein PORT``, without an access log."""

from __future__ import annotations

import sys
from typing import Any

from klein import Klein
from twisted.internet import reactor as real_reactor
from twisted.web.resource import Resource
from twisted.web.server import Site

reactor: Any = real_reactor


class Hello(Resource):
    """A resource of bare twisted.web."""

    isLeaf = True

    def render_GET(self, request: Any) -> bytes:
        """Say hello."""
        request.setHeader(b"content-type", b"text/plain; charset=utf-8")
        return b"hello\n"


class Quiet(Site):
    """A site that writes no access log."""

    def log(self, _request: Any) -> None:
        """Do nothing."""


klein = Klein()


@klein.route("/hello", methods=["GET"])
def hello(request: Any) -> bytes:
    """Say hello."""
    request.setHeader(b"content-type", b"text/plain; charset=utf-8")
    return b"hello\n"


if __name__ == "__main__":
    resource = Hello() if sys.argv[1] == "web" else klein.resource()
    site = Quiet(resource)
    reactor.listenTCP(int(sys.argv[2]), site, backlog=1_024, interface="127.0.0.1")
    reactor.run()
