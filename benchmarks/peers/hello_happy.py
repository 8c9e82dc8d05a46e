"""The hello of ``hello_twisted.py`` as a Klein route of a happy application."""

from __future__ import annotations

from typing import Any

from klein import Klein

from happy import App, state


@state
class Nothing:
    """There is nothing to know."""


class Hello(App):
    """Says hello, and has no events."""

    state = Nothing
    http = Klein()

    @http.route("/hello", methods=["GET"])
    def hello(self, request: Any) -> bytes:
        """Say hello."""
        request.setHeader(b"content-type", b"text/plain; charset=utf-8")
        return b"hello\n"
