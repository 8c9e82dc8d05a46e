"""What a handler or query may not name: a look at its code when the application is read.

A handler is replayed, perhaps years later on another machine, and has to come to the same. So
it may not ask the clock, chance, the environment, files, the network or other threads. This
module reads the code of handlers, queries and mail routes, and of what they call in their own
package, for names that lead there: ``datetime.now``, ``uuid4``, ``open``. A name is enough; it
need not be called. What it finds is a refusal with file, line and remedy, before the first
event.

It cannot see what a value will be, so a method of an object that comes from elsewhere gets
through, and so does a library that reads the clock for itself. ``happy.guard`` closes files,
sockets, processes and threads while handlers run, and in tests all the rest.
"""

from __future__ import annotations

import contextlib
import dis
import types
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import attrs

from happy.errors import Nondeterministic

CLOCK: Final = "reads the clock; use context.time"
CHANCE: Final = "draws from chance; use context.random or context.token()"
SURROUNDINGS: Final = "asks the system; put what is needed into the settings or the event"
FILES: Final = "touches files; read them in a door, or when the module is imported"
NETWORK: Final = "talks to the outside; owe it with context.call or context.mail"
THREADS: Final = "waits or runs beside the handler; do that in a door"
IDENTITY: Final = "differs from process to process; use the key of a row, or hashlib"

_MODULES: Final = {
    "time": (CLOCK, {"strptime", "struct_time"}),
    "random": (CHANCE, {"Random"}),
    "secrets": (CHANCE, {"compare_digest"}),
    "os": (
        SURROUNDINGS,
        {
            "path", "sep", "linesep", "fspath", "fsencode", "fsdecode", "PathLike", "strerror",
            "_exit", "abort", "kill",
        },
    ),
    "tempfile": (FILES, set()),
    "shutil": (FILES, set()),
    "glob": (FILES, {"escape", "translate"}),
    "sqlite3": (FILES, set()),
    "socket": (NETWORK, {"htonl", "htons", "ntohl", "ntohs", "inet_aton", "inet_pton"}),
    "ssl": (NETWORK, set()),
    "select": (NETWORK, set()),
    "subprocess": (NETWORK, set()),
    "http.client": (NETWORK, set()),
    "urllib.request": (NETWORK, set()),
    "smtplib": (NETWORK, set()),
    "treq": (NETWORK, set()),
    "requests": (NETWORK, set()),
    "threading": (THREADS, set()),
    "_thread": (THREADS, {"get_ident", "allocate_lock", "RLock"}),
    "multiprocessing": (THREADS, set()),
    "concurrent.futures": (THREADS, set()),
    "asyncio": (THREADS, set()),
    "twisted.internet": (THREADS, set()),
}  # fmt: skip
"""What is closed in a module and below it, and what of it is open."""

_NAMES: Final = {
    **dict.fromkeys(
        ("datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today",
         "datetime.date.today"),
        CLOCK,
    ),
    **dict.fromkeys(("uuid.uuid1", "uuid.uuid4", "uuid.getnode", "random.Random()"), CHANCE),
    **dict.fromkeys(("builtins.open", "io.open", "builtins.input", "pathlib.Path",
                     "pathlib.PosixPath"), FILES),
    **dict.fromkeys(
        (f"{path}.{name}" for path in ("posixpath", "genericpath", "os.path")
         for name in ("exists", "lexists", "isfile", "isdir", "islink", "ismount", "getsize",
                      "getmtime", "getatime", "getctime", "samefile", "realpath", "abspath",
                      "expanduser", "expandvars")),
        FILES,
    ),
    **dict.fromkeys(("builtins.hash", "builtins.id"), IDENTITY),
    "os.urandom": CHANCE,
    "os.getrandom": CHANCE,
}  # fmt: skip

_ALIASES: Final = {"posix": "os", "_io": "io", "_socket": "socket", "_random": "random"}
_LOADS: Final = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_CLASSDEREF"})
_STEPS: Final = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
_BETWEEN: Final = frozenset({"CACHE", "PUSH_NULL", "NOP", "COPY", "SWAP"})
_UNKNOWN: Final = object()
_Known = tuple[Mapping[str, object], ...]
_PURE: Final[weakref.WeakSet[Any]] = weakref.WeakSet()
"""What was looked at and is good: an application may be read many times."""


def reason_against(name: str) -> str | None:
    """Return why a handler may not use what has this dotted name; None when it may."""
    root, _, rest = name.partition(".")
    if root in _ALIASES:
        name = f"{_ALIASES[root]}.{rest}" if rest else _ALIASES[root]
    if name in _NAMES:
        return _NAMES[name]
    parts = name.split(".")
    for size in range(1, len(parts)):
        closed = _MODULES.get(".".join(parts[:size]))
        if closed is not None:
            return None if parts[size] in closed[1] else closed[0]
    return None


def complaint(file: str, line: int, where: str, name: str, reason: str) -> Nondeterministic:
    """Return the error that says where a handler does what a replay cannot do again."""
    shown = name.removeprefix("builtins.").removeprefix("_io.")
    return Nondeterministic(f"{file}:{line}: {where}: {shown} {reason}")


def check_pure(functions: Iterable[Callable[..., Any]], state: type) -> None:
    """Raise ``Nondeterministic`` when one of these, or what it calls, leads out of history.

    Followed are functions and classes of the same package as far as their names tell; and of
    classes that are no events the defaults of their fields, as those are drawn in the handler.
    """
    seen: set[int] = set()
    roots = [item for item in (state, *functions) if item not in _PURE]
    waiting: list[tuple[object, str]] = [(item, item.__module__) for item in roots]
    while waiting:
        found, home = waiting.pop()
        if id(found) in seen:
            continue
        seen.add(id(found))
        if isinstance(found, type):
            waiting += [(inner, home) for inner in _parts_of(found)]
            waiting += [(base, home) for base in found.__bases__ if _is_near(base, home)]
        elif isinstance(found, types.FunctionType):
            waiting += [(inner, home) for inner in _called_by(found) if _is_near(inner, home)]
    _PURE.update(roots)


def _is_near(found: object, home: str) -> bool:
    """Say whether something is of the same module, or of the same package."""
    module = getattr(found, "__module__", None)
    if not isinstance(module, str):
        return False
    package = home.rpartition(".")[0]
    return module == home or (bool(package) and module.rpartition(".")[0] == package)


def _parts_of(cls: type) -> Iterator[object]:
    """Yield the functions that an author wrote into a class; check its fields' defaults."""
    for value in vars(cls).values():
        for function in (
            getattr(value, "fget", None),
            getattr(value, "__func__", None),
            value,
        ):
            if (
                isinstance(function, types.FunctionType)
                and function.__code__.co_filename[:1] != "<"
            ):
                yield function
    if attrs.has(cls) and "__happy_event__" not in vars(cls):
        for field in attrs.fields(cls):
            factory = getattr(field.default, "factory", None)
            name = _name_of(factory)
            reason = name and reason_against(name)
            if name and reason:
                raise Nondeterministic(
                    f"{cls.__module__}.{cls.__qualname__}, field {field.name}: {name} {reason}"
                )
            if isinstance(factory, types.FunctionType):
                yield factory


def _called_by(function: types.FunctionType) -> Iterator[object]:
    """Yield what a function names, and raise when that is closed to it."""
    code = function.__code__
    cells: dict[str, object] = {}
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=False):
        with contextlib.suppress(ValueError):  # not bound yet
            cells[name] = cell.cell_contents
    for default in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
        _refuse(_name_of(default), code, code.co_firstlineno)
        yield default
    builtins = function.__globals__.get("__builtins__", {})
    known = builtins if isinstance(builtins, dict) else vars(builtins)
    yield from _named_in(code, (cells, function.__globals__, known))


def _named_in(code: types.CodeType, known: _Known) -> Iterator[object]:
    scan = _Scan(known)
    line = code.co_firstlineno
    for step in dis.get_instructions(code):
        if step.positions is not None and step.positions.lineno is not None:
            line = step.positions.lineno
        if scan.take(step):
            _refuse(scan.dotted, code, line)
            if scan.found is not _UNKNOWN:
                yield scan.found
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _named_in(constant, known)


class _Scan:
    """Goes through the steps of a piece of code, and knows what was just named."""

    def __init__(self, known: _Known) -> None:
        self.found: object = _UNKNOWN
        self.dotted: str | None = None
        self._known = known
        self._module = ""
        self._locals: dict[str, str] = {}

    def take(self, step: dis.Instruction) -> bool:  # noqa: PLR0911 - one for each sort of step
        """Take in one step; say whether it named something."""
        name = step.argval
        if step.opname in _BETWEEN:
            return False
        if step.opname in _LOADS:
            found = next((names[name] for names in self._known if name in names), _UNKNOWN)
            return self._name(found, _name_of(found))
        if step.opname == "IMPORT_NAME":
            self._module = name
            return self._name(_UNKNOWN, name)
        if step.opname == "IMPORT_FROM":
            return self._name(_UNKNOWN, f"{self._module}.{name}")
        if step.opname.startswith("LOAD_FAST"):
            return self._name(_UNKNOWN, self._locals.get(name))
        if step.opname in _STEPS and self.dotted is not None:
            return self._step(f"{self.dotted}.{name}", name)
        if step.opname == "STORE_FAST" and self.dotted is not None:
            whole = self.dotted != self._module
            self._locals[name] = self.dotted if whole else self.dotted.partition(".")[0]
            return False
        return self._name(_UNKNOWN, None)

    def _name(self, found: object, dotted: str | None) -> bool:
        self.found, self.dotted = found, dotted
        return dotted is not None

    def _step(self, dotted: str, name: str) -> bool:
        """Go on to an attribute; nothing is run to know it."""
        if not isinstance(self.found, types.ModuleType) or reason_against(dotted) is not None:
            return self._name(_UNKNOWN, dotted)
        inner = vars(self.found).get(name, _UNKNOWN)
        return self._name(inner, _name_of(inner) or dotted)


def _refuse(name: str | None, code: types.CodeType, line: int) -> None:
    reason = None if name is None else reason_against(name)
    if name is not None and reason is not None:
        raise complaint(code.co_filename, line, code.co_qualname, name, reason)


def _name_of(found: object) -> str | None:
    """Return the dotted name of a module, class or function; of another value, its type's."""
    if found is None or found is _UNKNOWN:
        return None
    if isinstance(found, types.ModuleType):
        return found.__name__
    if isinstance(found, type | types.FunctionType):
        return f"{found.__module__}.{found.__qualname__}"
    if isinstance(found, types.BuiltinFunctionType | types.MethodType):
        return f"{_owner_of(found)}.{found.__name__}"
    name = f"{type(found).__module__}.{type(found).__qualname__}"
    # A generator that outlives its event goes on elsewhere after a start from a snapshot.
    return {"os._Environ": "os.environ", "random.Random": "random.Random()"}.get(name, name)


def _owner_of(method: types.BuiltinFunctionType | types.MethodType) -> str:
    owner = method.__self__
    if owner is None or isinstance(owner, types.ModuleType):
        return method.__module__
    cls = owner if isinstance(owner, type) else type(owner)
    name = f"{cls.__module__}.{cls.__qualname__}"
    # random.choice is a method of an object that nobody sees.
    return "random" if name == "random.Random" else name
