"""The messages that flufl.bounce's authors test it with: in its source, which is no part of ours.

``HAPPY_BOUNCE_CORPUS`` says where its source distribution was unpacked (``.ci/run`` does that).
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

FOLDER = os.environ.get("HAPPY_BOUNCE_CORPUS")
FOUND = {} if FOLDER is None else {path.name: path for path in Path(FOLDER).rglob("data/*_*.txt")}
CORPUS = sorted(FOUND) or [None]


def text_of(name: str | None) -> bytes:
    """Return a message; without the corpus the test is skipped."""
    if name is None:
        pytest.skip("the corpus of flufl.bounce is not there: set HAPPY_BOUNCE_CORPUS")
    return FOUND[name].read_bytes()
