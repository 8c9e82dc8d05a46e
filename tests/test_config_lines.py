"""Where things stand in a TOML text."""

import string
import tomllib
from textwrap import dedent
from time import thread_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from happy.config.lines import toml_lines


def every_path(value, path=()):
    """Yield each path into what tomllib made of a text."""
    yield path
    items = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for key, inner in items:
        yield from every_path(inner, (*path, key))


def lines_of(place, path=()):
    """Return {path: line} of all places."""
    found = {path: place.line}
    for key, inner in place.inside.items():
        found |= lines_of(inner, (*path, key))
    return found


# --- a writer of TOML that keeps account of the lines ------------------------------------------

KEYS = st.one_of(
    st.text(string.ascii_letters + string.digits + "_-", min_size=1, max_size=4),
    st.sampled_from(["", " ", "a.b", "#", "]", "=", '"', "'", "\\", "é", "\n", "a b", "[[x]]"]),
)
TEXTS = st.text(st.sampled_from("ab \n\"'#[]{}=,.\\\té"), max_size=12)
SCALARS = st.sampled_from(
    ["1", "-0.5e3", "true", "1979-05-27 07:32:00Z", "07:32:00", "inf", "0xdead_beef"]
)
VALUES = st.recursive(
    st.one_of(SCALARS.map(lambda s: ("scalar", s)), TEXTS.map(lambda s: ("text", s))),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda v: ("array", v)),
        st.dictionaries(KEYS, inner, max_size=3).map(lambda v: ("inline", v)),
    ),
    max_leaves=8,
)


def escaped(text):
    special = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}
    return '"' + "".join(special.get(c, c) for c in text) + '"'


class Writer:
    """Writes TOML in one of its many styles, and notes the line of each value it begins."""

    def __init__(self, draw):
        self.draw = draw
        self.text = ""
        self.expected = {(): 1}

    def put(self, text):
        self.text += text

    @property
    def line(self):
        return self.text.count("\n") + 1

    def space(self):
        self.put(self.draw(st.sampled_from(["", " ", "\t"])))

    def blank(self):
        self.put(self.draw(st.sampled_from(["", "", " ", "\n", "\n\n  ", " # [a] 'b \"\n"])))

    def key(self, key):
        styles = [escaped(key)]
        if key and all(c in string.ascii_letters + string.digits + "_-" for c in key):
            styles.append(key)
        if "'" not in key and "\n" not in key:
            styles.append(f"'{key}'")
        self.put(self.draw(st.sampled_from(styles)))

    def keys(self, keys):
        for n, key in enumerate(keys):
            if n:
                self.space()
                self.put(".")
            self.space()
            self.key(key)
        self.space()

    def string(self, text):
        multi_line = text.replace("\\", "\\\\").replace('"""', '""\\"')
        styles = [escaped(text), f'"""{multi_line}"""']
        if "'" not in text:
            styles.append(f"'''{text}'''")
            if text:
                styles.append(f"'''''{text}'''''")
            if "\n" not in text:
                styles.append(f"'{text}'")
        self.put(self.draw(st.sampled_from(styles)))

    def value(self, path, value):
        kind, what = value
        self.expected[path] = self.line
        if kind == "scalar":
            self.put(what)
        elif kind == "text":
            self.string(what)
        elif kind == "array":
            self.put("[")
            self.blank()
            for n, item in enumerate(what):
                self.value((*path, n), item)
                self.blank()
                if n + 1 < len(what) or self.draw(st.booleans()):
                    self.put(",")
                    self.blank()
            self.put("]")
        else:
            self.put("{")
            self.space()
            for n, (key, item) in enumerate(what.items()):
                self.put("," if n else "")
                self.keys([key])
                self.put("=")
                self.space()
                self.value((*path, key), item)
                self.space()
            self.put("}")

    def pair(self, table, keys, value):
        for n in range(1, len(keys)):
            self.expected.setdefault((*table, *keys[:n]), self.line)
        self.keys(keys)
        self.put("=")
        self.space()
        self.value((*table, *keys), value)
        self.space()
        self.put(self.draw(st.sampled_from(["\n", " # it's\n", "\n\n"])))

    def header(self, keys, path, *, array=False):
        for n in range(1, len(path)):
            self.expected.setdefault(path[:n], self.line)
        self.expected[path] = self.line
        self.put("[[" if array else "[")
        self.keys(keys)
        self.put("]]" if array else "]")
        self.put(self.draw(st.sampled_from(["\n", " # [no]\n"])))


@st.composite
def documents(draw):
    """Draw a TOML text, and the line of every value in it."""
    writer = Writer(draw)
    writer.blank()

    def pairs(table, table_keys):
        for n, (key, value) in enumerate(draw(st.dictionaries(KEYS, VALUES, max_size=3)).items()):
            if draw(st.booleans()):
                writer.pair(table, [f"dotted{n}", key], value)
            elif key not in table_keys:
                writer.pair(table, [key], value)

    pairs((), {"t", "u", "v"})
    names = draw(st.lists(st.tuples(st.sampled_from("tuv"), KEYS), max_size=3, unique=True))
    arrays = draw(st.integers(0, 3))
    for name in names:
        writer.header(list(name), name)
        pairs(name, {"sub"})
    for n in range(arrays):
        writer.expected.setdefault(("rows",), writer.line)
        writer.header(["rows"], ("rows", n), array=True)
        pairs(("rows", n), {"sub"})
        if draw(st.booleans()):
            writer.header(["rows", "sub"], ("rows", n, "sub"))
            pairs(("rows", n, "sub"), set())
    for top in {name[0] for name in names}:
        if draw(st.booleans()):  # the outer table after the ones inside it
            writer.header([top], (top,))
    return writer.text, writer.expected


@settings(deadline=None)
@given(documents())
def test_every_value_has_its_line(document):
    """Each path that tomllib yields is known, no other is, and its line is the right one."""
    text, expected = document
    assert set(expected) == set(every_path(tomllib.loads(text)))
    assert lines_of(toml_lines(text)) == expected


@settings(deadline=None)
@given(documents())
def test_line_ends_do_not_matter(document):
    """A text with CRLF line ends has its values on the same lines."""
    text, expected = document
    assert lines_of(toml_lines(text.replace("\n", "\r\n"))) == expected


@pytest.mark.parametrize(
    ("text", "path", "line"),
    [
        ('a = """\n""\\"\n#\n"""\nb = 1', ("b",), 5),
        ('a = """x"""""\nb = 1', ("b",), 2),
        ("a = '''\n''x'''''\nb = 1", ("b",), 3),
        ('a = ""\nb = ""', ("b",), 2),
        ('"a\\u0062" = 1\nab2 = 1', ("ab",), 1),
        ("[ a . 'b.c' ]\nd = 1", ("a", "b.c", "d"), 2),
        ("[a.b]\nx = 1\n[a]\ny = 1", ("a",), 3),
        ("[a.b]\nx = 1\n[a]\ny = 1", ("a", "y"), 4),
        ("[[a]]\n[[a.b]]\n[[a]]\n[[a.b]]\n[[a.b]]\nx = 1", ("a", 1, "b", 1, "x"), 6),
        ("[[a]]\n[a.b]\n[[a]]\n[a.b.c]\nx = 1", ("a", 1, "b", "c"), 4),
        ("a = [ # one\n  1,\n  [\n 2 ] ]", ("a", 1, 0), 4),
        ("a.b.c = 1\na.d = 2", ("a", "d"), 2),
    ],
)
def test_the_awkward_corners(text, path, line):
    """Quotes at the end of a string, tables out of order and nested arrays are read rightly."""
    assert tomllib.loads(text)
    assert lines_of(toml_lines(text))[path] == line


def test_what_is_not_there_has_the_line_of_its_table():
    """A missing key is complained about at the header of the table that lacks it."""
    places = toml_lines(
        dedent("""\
        data = "var"

        [apps.numbers]
        http = "tcp:1"
        """)
    )
    assert places.line_of(("apps", "numbers", "app")) == 3
    assert places.line_of(("mail", "smarthost")) == 1


def test_time_is_linear():
    """A text four times as long takes about four times as long, in each of its shapes."""
    shapes = [
        lambda n: "x = [" + "1, " * n + "]",
        lambda n: 'x = """' + '""a\n' * n + '"""',
        lambda n: "".join(f"[[t]]\nk{i} = 1\n" for i in range(n)),
        lambda n: ".".join("a" * n) + " = 1",
        lambda n: "# \n" * n,
    ]

    def best(text):
        times = []
        for _ in range(3):
            begin = thread_time()
            toml_lines(text)
            times.append(thread_time() - begin)
        return min(times)

    for shape in shapes:
        assert best(shape(20_000)) < 16 * best(shape(5_000)) + 0.01
