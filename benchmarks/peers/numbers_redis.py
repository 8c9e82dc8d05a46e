"""A durable number through FastAPI and Redis: INCR, ``appendfsync always``.

``REDIS`` in the environment is the port.
"""

from __future__ import annotations

import os

from fastapi import FastAPI
from fastapi.responses import PlainTextResponse
from redis.asyncio import Redis

app = FastAPI()
redis = Redis(host="127.0.0.1", port=int(os.environ["REDIS"]), max_connections=2_048)


@app.post("/next", response_class=PlainTextResponse)
async def take() -> str:
    """Take the next number."""
    return f"{await redis.incr('last')}\n"


@app.get("/last", response_class=PlainTextResponse)
async def last() -> str:
    """Return the last number that was taken."""
    return f"{int(await redis.get('last') or 0)}\n"
