"""The house cleans itself: floors, sizes, docstrings, and a test for every module."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HAPPY = ROOT / "happy"
TESTS = ROOT / "tests"
LINES_MAX = 400
FUNCTION_LINES_MAX = 70
LINE_CHARS_MAX = 100

# --- the floors --------------------------------------------------------------------------------

# A module imports from its own floor and from those below it. A package stands where its name
# stands; a name that is not here is the house's, so that nothing below may import it.
FLOORS = {
    "words": [
        "errors", "limits", "lifecycle", "values", "moments", "facts", "event", "system_events",
    ],
    "pure": [
        "cron", "schedule",
        "app", "apply", "applying", "codec", "context", "effects", "guard", "http_routes", "order",
        "parameters", "purity", "routes", "row_diff", "state", "touched",
        "declared", "reading", "row", "strict_json", "strict_twin", "unreadable", "upcast",
        "bulk", "digest", "index", "lookup", "marks", "outcomes", "put", "table", "undo",
        "older_image", "untracked",
        "message", "mime", "text", "dsn", "auto_reply", "trace", "bounces", "return_paths",
        "holds",
        "journal.frame", "journal.names", "journal.quarantine", "journal.recovery",
        "exact", "keys", "image", "unacknowledged", "items", "schema", "journal.snapshot_format",
        "bench.figures", "bench.model",
        "edge",
        "split.aside", "split.batches", "split.frame_stream", "split.ledger", "split.messages",
        "split.outcome_frame", "split.replies",
    ],
    "disk": ["journal"],
    "join": [
        "agenda", "collecting", "firing", "stream_clock",
        "world", "accepting", "answers", "debts", "drain", "end_of_turn", "footprint", "handing",
        "idle", "inline_core", "memory", "room", "backlog",
        "opening", "opening_reports",
        "own_events", "pen", "poison", "recall", "retransmission", "snapshotting", "stream",
        "housekeeping",
    ],
    "doors": ["wire", "split"],
    "house": ["", "split.core_life", "split.cores", "split.front", "split.fronts", "split.shares"],
}  # fmt: skip
ORDER = list(FLOORS)
PURE = ORDER.index("pure")

IMPURE = {
    "twisted", "os", "time", "random", "socket", "threading", "subprocess", "asyncio", "io",
    "pathlib", "secrets", "tempfile", "select", "signal", "logging", "shutil", "sys",
}  # fmt: skip
CLOCKS = {"now", "utcnow", "today", "uuid1", "uuid4", "monotonic", "urandom"}

# Below the house, only these touch the operating system by themselves.
OS_IMPORTERS = {"happy.journal.disk", "happy.world"}

SOURCES = sorted(HAPPY.rglob("*.py"))
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in SOURCES
    if "template" not in path.parts and "templates" not in path.parts
}


def tree_of(module):
    return ast.parse(MODULES[module].read_text())


def floor_of(module):
    """Return on which floor a module stands: the longest name in the table that fits it."""
    name = module.removeprefix("happy").removeprefix(".")
    fitting = [
        (len(known), ORDER.index(floor))
        for floor, names in FLOORS.items()
        for known in names
        if known in {"", name} or name.startswith(f"{known}.")
    ]
    return max(fitting)[1]


def imports_of(module):
    """Yield the modules that a module imports, wherever in it."""
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative imports hide the floor"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else str(node.module)


@pytest.mark.parametrize("module", MODULES)
def test_no_module_imports_from_a_floor_above(module):
    """Words < pure < disk < join < doors < house: what is below knows nothing of what is above."""
    mine = floor_of(module)
    above = [
        f"{name} ({ORDER[floor_of(name)]})"
        for name in imports_of(module)
        if name.split(".")[0] == "happy" and floor_of(name) > mine
    ]
    assert above == [], f"{module} stands on the floor {ORDER[mine]!r}"


@pytest.mark.parametrize("module", [m for m in MODULES if floor_of(m) <= PURE])
def test_pure_modules_touch_no_world(module):
    """Promise 4: what is replayed knows no clock, no chance, no disk and no reactor."""
    outside = {name.split(".")[0] for name in imports_of(module)} & IMPURE
    if module == "happy.guard":  # it closes the world, for one thread
        outside -= {"sys", "threading"}
    assert outside == set()
    calls = [
        node.func.attr
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    ]
    assert set(calls) & CLOCKS == set()


@pytest.mark.parametrize("module", [m for m in MODULES if floor_of(m) < ORDER.index("house")])
def test_only_the_disk_imports_os(module):
    """One door to the file system, one to the world; the house above may see to its own files."""
    assert "os" not in imports_of(module) or module in OS_IMPORTERS


def test_every_name_in_the_table_is_a_module():
    """The table of floors speaks of modules that exist, but for those not yet built."""
    names = [name for floor in FLOORS.values() for name in floor if name]
    assert [name for name in names if f"happy.{name}" not in MODULES] == []


# --- sizes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", MODULES)
def test_modules_and_functions_are_short(module):
    """A module has less than 400 lines, a function at most 70, a line at most 100 characters."""
    lines = MODULES[module].read_text().splitlines()
    assert len(lines) < LINES_MAX
    assert [n for n, line in enumerate(lines, 1) if len(line) > LINE_CHARS_MAX] == []
    long = [
        f"{node.name} ({node.end_lineno - node.lineno + 1} lines)"
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno - node.lineno + 1 > FUNCTION_LINES_MAX
    ]
    assert long == []


def texts():
    """Return all source and prose that is ours."""
    found = [ROOT / "pyproject.toml", ROOT / "README.md"]
    for folder in ("happy", "tests", "docs", "conf", "benchmarks", "twisted"):
        for kind in ("*.py", "*.md", "*.toml", "*.html"):
            found += (ROOT / folder).rglob(kind)
    return sorted(path for path in found if path.is_file())


def test_nothing_is_left_for_later():
    """No reminder stays in the text: what is not done is not hidden in it."""
    reminder = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X")) + r")\b")
    left = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in texts()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if reminder.search(line) and path != ROOT / "pyproject.toml"
    ]
    assert left == []


SAID_WHY = re.compile(r"# (?:(?:ruff: )?noqa: [A-Z0-9, ]+ - |type: ignore\[[a-z-]+\] # )\S")


def test_every_exception_to_a_rule_says_why():
    """Who switches off a check of ruff or mypy for a line says the reason on it."""
    unexplained = [
        f"{path.relative_to(ROOT)}:{comment.start[0]}"
        for folder in ("happy", "benchmarks", "tests")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for comment in comments_of(path)
        if re.match("# *(?:(?:ruff: *)?noqa|type: *ignore)", comment.string)
        and not SAID_WHY.match(comment.string)
    ]
    assert unexplained == []


def comments_of(path):
    """Return the comments of a file as tokens."""
    tokens = tokenize.generate_tokens(io.StringIO(path.read_text()).readline)
    return [token for token in tokens if token.type == tokenize.COMMENT]


def test_our_twisted_folder_is_no_package():
    """A ``twisted/__init__.py`` in the checkout would hide Twisted itself."""
    assert list((ROOT / "twisted").rglob("__init__.py")) == []


@pytest.mark.parametrize("name", ["utils", "util", "common", "base", "helpers", "core", "misc"])
def test_no_module_is_a_grab_bag(name):
    """Every module is named for what it holds."""
    assert [m for m in MODULES if m.rpartition(".")[2] == name] == []


# --- docstrings --------------------------------------------------------------------------------


def public(node):
    """Yield the public classes, functions and methods in a body, with their qualified names."""
    for inner in node.body:
        if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if inner.name.startswith("_"):
                continue
            yield inner.name, inner
            if isinstance(inner, ast.ClassDef):
                yield from ((f"{inner.name}.{name}", deeper) for name, deeper in public(inner))


@pytest.mark.parametrize("module", [m for m in MODULES if not m.startswith("happy.examples")])
def test_everything_public_says_what_it_means(module):
    """Modules, classes and functions have docstrings, and so do methods that override nothing."""
    tree = tree_of(module)
    assert ast.get_docstring(tree), f"{module} has no docstring"
    classes = dict(public(tree))
    silent = []
    for name, node in classes.items():
        if ast.get_docstring(node) or any(map(is_overload, node.decorator_list)):
            continue
        owner = classes.get(name.rpartition(".")[0])
        if owner is None or not owner.bases:
            silent.append(name)
    assert silent == []


def is_overload(decorator):
    return isinstance(decorator, ast.Name) and decorator.id == "overload"


# --- tests -------------------------------------------------------------------------------------

# Where a module is tested by the tests of its neighbour.
NEIGHBOURS = {
    "happy": "exports",
    "happy.testing.disk": "journal_disk",
    "happy.testing.running": "testing",
    "happy.text": "message",
    "happy.index": "table",
    "happy.lookup": "table",
    "happy.config.imports": "config",
    "happy.config.endpoints": "config",
    "happy.control": "container",
    "happy.doors": "container",
}


def files_for(module):
    """Return the test files that a module's tests may stand in.

    ``happy/wire/http_site.py`` is tested in ``test_wire_http_site*.py``, or with its family in
    ``test_wire_http*.py``.
    """
    name = NEIGHBOURS.get(module) or module.removeprefix("happy.").replace(".", "_")
    words = name.split("_")
    for length in range(len(words), 0, -1):
        found = sorted(TESTS.glob(f"test_{'_'.join(words[:length])}*.py"))
        if found:
            return found
    return []


def imported_by_tests(path):
    """Return the modules that a test file imports or names in its text."""
    text = path.read_text()
    return set(re.findall(r"\bhappy(?:\.[a-z_]+)*", text))


@pytest.mark.parametrize(
    "module", [m for m in MODULES if MODULES[m].name != "__init__.py" or m == "happy"]
)
def test_every_module_has_its_test(module):
    """Each module has a test file of its name or its family's; below the doors it is imported."""
    files = files_for(module)
    assert files, f"{module} has no test file"
    if floor_of(module) <= ORDER.index("join"):
        assert any(module in imported_by_tests(path) for path in files), f"{module}: {files}"


@pytest.mark.parametrize("path", sorted(TESTS.glob("test_*.py")), ids=lambda path: path.name)
def test_every_test_says_what_it_promises(path):
    """The list of the tests' docstrings is the list of promises."""
    tree = ast.parse(path.read_text())
    functions = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]
    assert [node.name for node in functions if not ast.get_docstring(node)] == []


def test_every_promise_has_a_test():
    """The promises of the architecture, 1 to 9, are each carried by a test that names it."""
    text = "".join(path.read_text() for path in TESTS.glob("test_*.py"))
    named = {
        int(number)
        for line in re.findall(r"Promises? ([0-9, and]+):", text)
        for number in re.findall(r"[0-9]+", line)
    }
    assert named >= set(range(1, 10))
