"""What no audit hook is told, seen in tests: every call that a handler makes, in all libraries.

A profile function sees each call of the thread that runs handlers, whatever name it goes by.
That costs time, so it is for tests: an application that passes them under ``running`` does not
ask clock, chance or environment, in what the tests made it do. The other half is what depends
on the seed of hashes, ``happy.testing.sets``.
"""

from __future__ import annotations

import os
import random
import types
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any, Final

from happy import guard
from happy.guard import complaint_in
from happy.purity import CHANCE, SURROUNDINGS, reason_against

# They stamp what they write, and look at the time between other people's calls.
_ALLOWED: Final = frozenset(
    {"logging", "twisted", "warnings", "hypothesis", "coverage", "_pytest", "pluggy", "importlib"}
)
_PYTHON: Final[dict[CodeType, tuple[str, str]]] = {
    type(os.environ).__getitem__.__code__: ("os.environ", SURROUNDINGS),
    type(os.environ).__iter__.__code__: ("os.environ", SURROUNDINGS),
    uuid.uuid1.__code__: ("uuid.uuid1", CHANCE),
    uuid.uuid4.__code__: ("uuid.uuid4", CHANCE),
}
_SEED: Final = random.Random.seed.__code__
_SHARED: Final = random.random.__self__  # type: ignore[attr-defined] # of a method
_OF_ROWS: Final = frozenset({"builtins.hash", "builtins.id"})
"""Rows are hashed and compared by code that was made for them; ``happy.purity`` sees the rest."""

_known: Final[dict[tuple[str, str], str | None]] = {}


@contextmanager
def watched() -> Iterator[None]:
    """Watch the handlers and queries that run within; what they may not call raises."""
    before, guard.watcher = guard.watcher, _watch
    try:
        yield
    finally:
        guard.watcher = before


def _watch(frame: FrameType, event: str, called: Any) -> None:
    if event == "c_call":
        _see_c(frame, called)
    elif event == "call":
        _see_python(frame)


def _see_c(frame: FrameType, called: Any) -> None:
    owner = getattr(called, "__self__", None)
    if isinstance(owner, types.ModuleType):
        of = owner.__name__
    elif isinstance(owner, type):
        of = f"{owner.__module__}.{owner.__qualname__}"
    elif owner is _SHARED:
        of = "random"
    else:
        return
    key = (of, called.__name__)
    if key not in _known:
        name = ".".join(key)
        _known[key] = None if name in _OF_ROWS else reason_against(name)
    reason = _known[key]
    if reason is not None:
        _refuse(frame, ".".join(key), reason)


def _see_python(frame: FrameType) -> None:
    found = _PYTHON.get(frame.f_code)
    if found is not None:
        _refuse(frame.f_back or frame, *found)
    elif frame.f_code is _SEED and frame.f_locals.get("a") is None:
        _refuse(frame, "random.Random()", CHANCE)


def _refuse(frame: FrameType, name: str, reason: str) -> None:
    module = str(frame.f_globals.get("__name__", ""))
    root = module.partition(".")[0]
    if module == guard.__name__:
        return
    if root not in _ALLOWED and not guard.by_itself(frame):
        raise complaint_in(frame, name, reason)
