"""``module:Class`` in, a checked application out; what is wrong with it is one sentence."""

from __future__ import annotations

import contextlib
import importlib
import re
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Final

from happy.app import Definition, definition_of
from happy.codec import EventDecoder
from happy.errors import DefinitionError

_SPEC: Final = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*)")
_NOT_THE_AUTHORS: Final = (
    "<frozen ",
    f"{Path(__file__).parent.parent}/",
    *(f"{sysconfig.get_path(name)}/" for name in ("stdlib", "purelib", "platlib")),
)


@contextlib.contextmanager
def importable_from(directory: Path) -> Iterator[None]:
    """Put a directory first on the module path, as ``python FILE`` does, and write no bytecode.

    The directory stays on the path: an application may import more of its modules later.
    """
    if str(directory) not in sys.path:
        sys.path.insert(0, str(directory))
    before = sys.dont_write_bytecode
    sys.dont_write_bytecode = True  # a check leaves nothing behind
    try:
        yield
    finally:
        sys.dont_write_bytecode = before


def import_application(spec: str) -> Definition:
    """Import the application class that ``module:Class`` names; ``ValueError`` is a sentence."""
    match = _SPEC.fullmatch(spec)
    if match is None:
        raise ValueError(f"expected module:Class, as in 'shop.orders:Orders', not {spec!r}")
    module = _import(match.group(1))
    name = match.group(2)
    app = getattr(module, name, None)
    if app is None:
        raise ValueError(f"{module.__name__} has no class {name}{_hint(module, name)}")
    try:
        definition = definition_of(app)
        EventDecoder(definition.events)
    except DefinitionError as error:
        raise ValueError(str(error)) from None
    return definition


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or name
        if f"{name}.".startswith(f"{missing}."):
            raise ValueError(f"there is no module {missing}") from None
        raise ValueError(_sentence(name, error)) from None
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the author's module, anything
        raise ValueError(_sentence(name, error)) from None


def _sentence(name: str, error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        reason, where = error.msg, f"{error.filename}:{error.lineno}"
    else:
        reason, where = " ".join(str(error).split()), _place(error)
    if not isinstance(error, DefinitionError):
        reason = f"{type(error).__name__}: {reason}" if reason else type(error).__name__
    return f"cannot import {name}: {reason} ({where})"


def _place(error: BaseException) -> str:
    """Return the file and line of the author that raised, or of whoever did."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(_NOT_THE_AUTHORS)]
    last = (own or frames)[-1]
    return f"{last.filename}:{last.lineno}"


def _hint(module: ModuleType, name: str) -> str:
    classes = [key for key, value in vars(module).items() if isinstance(value, type)]
    close = get_close_matches(name, classes, n=1)
    if close:
        return f" (did you mean {close[0]}?)"
    file = getattr(module, "__file__", None)
    return f"; the module is {file}" if file else ""
