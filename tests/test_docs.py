"""What the documents say is true: their code runs, their tables agree, their links lead on."""

from __future__ import annotations

import ast
import inspect
import os
import re
import subprocess
import sys
import tomllib
import types
from pathlib import Path

import attrs
import click
import pytest

from conftest import need
from happy import errors
from happy.cli import main
from happy.codec import EventDecoder, encode
from happy.event import event_meta
from happy.limits import Limits
from happy.system_events import SYSTEM_EVENTS

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
README = ROOT / "README.md"
TUTORIAL = DOCS / "tutorial.md"
PAGES = [README, *sorted(DOCS.glob("*.md"))]
CHANGES = sorted((DOCS / "changes").glob("*"))

_BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_FILE_OF_BLOCK = re.compile(r"# (\S+)\n")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def text_of(page: Path) -> str:
    return page.read_text("utf-8")


def blocks(text: str, kind: str) -> list[str]:
    """Return the code blocks of a kind, in order."""
    return [code for found, code in _BLOCK.findall(text) if found == kind]


def prose(text: str) -> str:
    """Return a page without its code blocks."""
    return _BLOCK.sub("", text)


def section(text: str, heading: str) -> str:
    """Return what stands between a heading of the second level and the next."""
    (found,) = re.findall(
        rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL
    )
    return found


def rows(text: str, header: str) -> list[list[str]]:
    """Return the cells of the table that begins with this line."""
    lines = text.splitlines()
    found = []
    for line in lines[lines.index(header) + 2 :]:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found


# --- the README -------------------------------------------------------------------------------


def test_the_readme_application_runs_as_it_stands(monkeypatch):
    """The README's python block is a module whose tests pass."""
    (code,) = blocks(text_of(README), "python")
    module = types.ModuleType("readme_application")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(code, str(README), "exec"), vars(module))
    tests = [value for name, value in vars(module).items() if name.startswith("test_")]
    assert tests
    for test in tests:
        test()


def test_the_readme_application_has_at_most_thirty_lines():
    """The README's application, its test included, has at most 30 lines that are not blank."""
    (code,) = blocks(text_of(README), "python")
    assert len([line for line in code.splitlines() if line.strip()]) <= 30


@pytest.mark.parametrize(
    ("heading", "ends_with"),
    [("Run it", "--config conf/happy.toml"), ("Test it", "pytest -n 2 --dist loadfile")],
)
def test_the_readme_has_two_commands_of_one_line_each(heading, ends_with):
    """Run it, test it: each is one line to paste, that begins with a fresh environment."""
    (command,) = blocks(section(text_of(README), heading), "console")[0].splitlines()
    assert command.startswith("python3 -m venv .venv && .venv/bin/pip install ")
    assert command.endswith(ends_with)


# --- the tutorial -----------------------------------------------------------------------------


def files_in(text: str) -> dict[str, list[str]]:
    """Return the blocks that name a file in their first line, by file."""
    files: dict[str, list[str]] = {}
    for _, code in _BLOCK.findall(text):
        named = _FILE_OF_BLOCK.match(code)
        if named:
            files.setdefault(named[1], []).append(code)
    return files


def test_the_tutorial_passes_its_tests_after_every_step(tmp_path):
    """The blocks pasted so far are an application, and the tests pasted so far pass."""
    steps = re.split(r"(?=^## \d+\. )", text_of(TUTORIAL), flags=re.MULTILINE)[1:]
    code: list[str] = []
    tests: list[str] = []
    for number, step in enumerate(steps, 1):
        files = files_in(step)
        code += files.get("ledger.py", [])
        tests += files.get("test_ledger.py", [])
        if tests and files:
            pasted = "\n\n".join(tests).replace("from ledger ", f"from ledger_{number} ")
            (tmp_path / f"ledger_{number}.py").write_text("\n\n".join(code))
            (tmp_path / f"test_ledger_{number}.py").write_text(pasted)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", tmp_path],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert len(list(tmp_path.glob("test_ledger_*.py"))) >= 7


def test_the_tutorial_brings_its_first_payments_up(monkeypatch):
    """What the event of step 1 wrote is read by its version 2, as the last step says."""
    made = {}
    for name in ("ledger", "changed"):
        made[name] = types.ModuleType(f"{name}_of_the_tutorial")
        monkeypatch.setitem(sys.modules, made[name].__name__, made[name])
        code = files_in(text_of(TUTORIAL))[f"{name}.py"][0]
        exec(compile(code, str(TUTORIAL), "exec"), vars(made[name]))
    pay = made["changed"].Pay
    record = encode(made["ledger"].Pay("ann", "bob", 250, "cinema"))
    entry = EventDecoder({("Pay", 2): pay}).entry(1, 1, record)
    assert entry.event == pay("ann", "bob", 250, "EUR", "cinema")


def commands_in(block: str) -> list[tuple[str, str]]:
    """Return the commands of a console block, each with what it prints."""
    return [
        (command, output)
        for command, output in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)
    ]


def run_as_told(command: str, output: str, folder: Path, replace: dict[str, str]) -> None:
    """Run a command and compare what it prints; ``...`` stands for anything."""
    for old, new in replace.items():
        command = command.replace(old, new)
    search_path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PATH": search_path},
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for old, new in replace.items():
        output = output.replace(old, new)
    expected = ".*".join(re.escape(part) for part in output.strip().split("..."))
    assert re.fullmatch(expected, done.stdout.strip()), f"{command}\n{done.stdout}"


def test_the_tutorial_runs_as_it_says(container, tmp_path):
    """The commands of the tutorial print what stands there, with a kill before each block."""
    need("curl")
    text = text_of(TUTORIAL)
    files = {name: "\n\n".join(parts) for name, parts in files_in(text).items()}
    written = tmp_path / "written"
    written.mkdir()
    for name, content in files.items():
        (written / name).write_text(content)
    checking, *talking = blocks(section(text, "9. Run it"), "console")
    for command, output in commands_in(checking):
        run_as_told(command, output, written, {})
    config = files["happy.toml"]
    for old, new in (('"var"', '"data"'), (":8080:", ":0:"), (":2525:", ":0:")):
        assert old in config
        config = config.replace(old, new)
    house = container(config)
    (house.folder / "ledger.py").write_text(files["ledger.py"])
    assert len(talking) == 4
    for block in talking:
        house.start()
        replace = {
            "localhost:8080": f"127.0.0.1:{house.port('ledger', 'http')}",
            "var/ledger": "data/ledger",
        }
        for command, output in commands_in(block):
            run_as_told(command, output, house.folder, replace)
        house.kill()


# --- tables and headings ----------------------------------------------------------------------


def test_the_table_of_limits_is_complete_and_right():
    """operating.md has every bound with its default, in the order of limits.py."""
    table = rows(text_of(DOCS / "operating.md"), "| name | default | meaning |")
    assert [(name, int(default)) for name, default, _ in table] == [
        (f"`{field.name}`", field.default) for field in attrs.fields(Limits)
    ]
    assert all(meaning for _, _, meaning in table)


def test_every_error_has_a_heading():
    """operating.md tells of every class in errors.py but the root, and of no other."""
    classes = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, errors.HappyError)
    }
    page = section(text_of(DOCS / "operating.md"), "Errors")
    told = re.findall(r"^### (\w+)$", page, re.MULTILINE)
    assert sorted(told) == sorted(classes - {"HappyError"})


def test_the_journal_format_names_every_event_of_our_own():
    """The table of the container's events has each of them, with all of its fields."""
    table = rows(text_of(DOCS / "journal-format.md"), "| Event | Fields | What happened |")
    written = {name.strip("`"): fields.replace("`", "").split() for name, fields, _ in table}
    assert written == {
        event_meta(cls).name: [field.name for field in attrs.fields(cls)] for cls in SYSTEM_EVENTS
    }


def test_the_tour_mentions_every_module():
    """tour.md leads to every module of happy, and to none that is not there."""
    there = {str(path.relative_to(ROOT / "happy")) for path in (ROOT / "happy").rglob("*.py")}
    told = set(re.findall(r"`([\w/]+\.py)`", text_of(DOCS / "tour.md")))
    assert told == there


def test_the_glossary_has_each_word_once():
    """The glossary is a table of words and meanings, with no word twice."""
    table = rows(text_of(DOCS / "glossary.md"), "| word | meaning |")
    assert len(table) > 20
    assert all(len(cells) == 2 and all(cells) for cells in table)
    words = [word.strip() for cells in table for word in cells[0].split(",")]
    assert len(set(words)) == len(words)


def promises_in(docstring: str) -> set[int]:
    """Return the numbers in "Promise 3" and "Promises 1, 2 and 5"."""
    found = re.findall(r"\bPromises? (\d(?:(?:, | and |, and )\d)*)", docstring)
    return {int(number) for numbers in found for number in re.findall(r"\d", numbers)}


def test_every_promise_has_a_test_that_carries_its_number():
    """Each numbered promise of architecture.md stands in the docstring of a test."""
    promises = section(text_of(DOCS / "architecture.md"), "The promises")
    numbers = [int(n) for n in re.findall(r"^(\d+)\. \*\*", promises, re.MULTILINE)]
    assert numbers == list(range(1, 10))
    tested: set[int] = set()
    for path in (ROOT / "tests").glob("test_*.py"):
        for node in ast.walk(ast.parse(text_of(path))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                tested |= promises_in(ast.get_docstring(node) or "")
    assert set(numbers) - tested == set()


# --- what documents point to ------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(text_of(page)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    """A link names a file of the project, and a heading that it has."""
    for link in _LINK.findall(prose(text_of(page))):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = page if not path else (page.parent / path).resolve()
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_that_are_told_exist(page):
    """Each `happy WORD` in the documents is a command of the console script."""
    text = text_of(page)
    told = re.findall(r"(?:`|\$ |/bin/)happy ([a-z]+)(?:[ \n]([a-z]+))?", text)
    for name, below in told:
        command = main.get_command(click.Context(main), name)
        assert command is not None, f"happy {name}"
        if isinstance(command, click.Group) and below:
            assert below in command.commands, f"happy {name} {below}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_toml_in_documents_is_toml(page):
    """A block of configuration can be parsed."""
    for block in blocks(text_of(page), "toml"):
        assert isinstance(tomllib.loads(block), dict)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
def test_news_is_short_and_named_for_its_kind(change):
    """A news fragment is NAME.KIND.md, of at most five lines."""
    assert re.fullmatch(r"[a-z0-9-]+\.(feature|bugfix|doc|removal|misc)\.md", change.name)
    assert 1 <= len(text_of(change).strip().splitlines()) <= 5


def test_there_is_news():
    """The milestone has its fragments."""
    assert len(CHANGES) >= 8
