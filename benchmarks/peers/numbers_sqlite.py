"""A durable number through Flask and SQLite: WAL, ``synchronous=FULL``.

One connection and a lock: there is one writer at a time anyway, and SQLite's own way to wait for
it is to sleep. ``SQLITE`` in the environment is the file.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from typing import Any

from flask import Flask, Response

app = Flask(__name__)
lock = threading.Lock()
database = sqlite3.connect(os.environ["SQLITE"], check_same_thread=False, isolation_level=None)
database.execute("PRAGMA journal_mode=WAL")
database.execute("PRAGMA synchronous=FULL")
database.execute("CREATE TABLE IF NOT EXISTS counter (last INTEGER NOT NULL)")
database.execute("INSERT INTO counter SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM counter)")


def _value(sql: str) -> Any:
    with lock:
        return database.execute(sql).fetchall()[0][0]


@app.post("/next")
def take() -> Response:
    """Take the next number."""
    number = _value("UPDATE counter SET last = last + 1 RETURNING last")
    return Response(f"{number}\n", mimetype="text/plain")


@app.get("/last")
def last() -> Response:
    """Return the last number that was taken."""
    return Response(f"{_value('SELECT last FROM counter')}\n", mimetype="text/plain")
