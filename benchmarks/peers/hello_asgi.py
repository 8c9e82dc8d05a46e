"""A hello as raw ASGI, without a framework: for uvicorn and Granian."""

from __future__ import annotations

from typing import Any

_START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"6")],
}
_BODY = {"type": "http.response.body", "body": b"hello\n"}


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Say hello to every request."""
    if scope["type"] == "http":
        await send(_START)
        await send(_BODY)
        return
    while (await receive())["type"] != "lifespan.shutdown":
        await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.shutdown.complete"})
