"""A durable number through FastAPI and PostgreSQL, ``synchronous_commit`` on.

``/next`` counts in a row, so that there are no gaps; its transactions wait for each other.
``/sequence/next`` is what most people would do: a row of its own for each number of a sequence,
many of them in a sync; where a transaction ends early there is a gap. ``PG`` in the environment
says where the server is.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse

CONNECTIONS = 32
pool: Any = None


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    """Hold a pool of connections."""
    global pool  # noqa: PLW0603 - as FastAPI's users do
    pool = await asyncpg.create_pool(os.environ["PG"], min_size=CONNECTIONS, max_size=CONNECTIONS)
    await pool.execute("CREATE TABLE IF NOT EXISTS counter (last bigint NOT NULL)")
    await pool.execute("INSERT INTO counter SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM counter)")
    await pool.execute("CREATE TABLE IF NOT EXISTS taken (number bigserial PRIMARY KEY)")
    yield
    await pool.close()


app = FastAPI(lifespan=lifespan)


@app.post("/next", response_class=PlainTextResponse)
async def take() -> str:
    """Take the next number."""
    return f"{await pool.fetchval('UPDATE counter SET last = last + 1 RETURNING last')}\n"


@app.get("/last", response_class=PlainTextResponse)
async def last() -> str:
    """Return the last number that was taken."""
    return f"{await pool.fetchval('SELECT last FROM counter')}\n"


@app.post("/sequence/next", response_class=PlainTextResponse)
async def take_of_sequence() -> str:
    """Take the next number of the sequence."""
    return f"{await pool.fetchval('INSERT INTO taken DEFAULT VALUES RETURNING number')}\n"


@app.get("/sequence/last", response_class=PlainTextResponse)
async def last_of_sequence() -> str:
    """Return the last number of the sequence that was taken."""
    return f"{await pool.fetchval('SELECT coalesce(max(number), 0) FROM taken')}\n"
