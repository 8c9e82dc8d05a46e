"""The configuration: a file in, a Config or every complaint out."""

import datetime
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.endpoints import serverFromString
from twisted.internet.testing import MemoryReactor

from happy.codec import settings_from_bytes
from happy.config import load
from happy.config.endpoints import client_endpoint, server_endpoint, with_backlog
from happy.config.reader import dotted
from happy.errors import ConfigError
from happy.limits import Limits

SHOP = """\
from __future__ import annotations

from datetime import date
from pathlib import Path

import attrs

from happy import App, Mail, MailRoutes, event, handles, state


@attrs.frozen
class Shelf:
    name: str
    places: int = 1


@attrs.frozen
class ShopSettings:
    owner: str
    tags: frozenset[str] = frozenset()
    shelves: tuple[Shelf, ...] = ()
    size: int = attrs.field(default=3, validator=attrs.validators.gt(0))
    share: float = 0.5
    opened: date = date(2001, 2, 3)
    logo: Path = Path("logo.png")


@state
class Goods:
    count: int = 0


class Web(App):
    state = Goods
    http = object()


class Shop(Web):
    Settings = ShopSettings


class Post(App):
    state = Goods
    mail = MailRoutes()


class RawPost(App):
    state = Goods

    @handles(Mail)
    def take(state, mail, context): ...


class Stateless(App):
    http = object()


class NoApp: ...
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the module ``shop``; what is imported from it is forgotten afterwards."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    conf = tmp_path / "conf"
    conf.mkdir()
    (conf / "shop.py").write_text(SHOP)
    yield conf
    for name in ("shop", "broken", "helper_module"):
        sys.modules.pop(name, None)


def write(folder, text):
    file = folder / "c.toml"
    file.write_text(dedent(text).lstrip("\n"))
    return Path("conf/c.toml")


def complaints(path):
    with pytest.raises(ConfigError) as caught:
        load(path)
    return list(caught.value.complaints)


GOOD = """
data = "../var"
[limits]
http_headers_max = 50
smtp_errors_max = 7
[apps.web]
app = "shop:Shop"
http = ["tcp:9000:interface=127.0.0.1", "unix:../run/web.sock"]
settings = { owner = "me", tags = ["z", "b", "a"], shelves = [ { name = "x" } ], share = 1 }
[apps.post-1]
app = "shop:Post"
smtp = "tcp:2525"
lmtp = "unix:lmtp.sock:mode=600"
domains = ["Lists.Example", "b\u00fccher.example"]
[apps.post-1.limits]
smtp_errors_max = 9
[mail]
smarthost = "tcp:127.0.0.1:25"
hostname = "MX.example"
[log]
access = "json"
access_file = "../var/access.log"
"""


# --- what is good ------------------------------------------------------------------------------


def test_a_good_file_becomes_a_config(folder):
    """All that the file says is in the Config, checked and with its types."""
    config = load(write(folder, GOOD))
    root = folder.parent
    assert config.path == Path("conf/c.toml")
    assert config.data == root / "var"
    web, post = config.apps
    assert (web.name, web.app.__name__, web.definition.app) == ("web", "Shop", web.app)
    assert [str(endpoint) for endpoint in web.http] == [
        "tcp:9000:interface=127.0.0.1",
        f"unix:address={root}/run/web.sock:mode=660",
    ]
    assert (web.smtp, web.lmtp, web.domains) == ((), (), ())
    assert post.http == ()
    assert [str(endpoint) for endpoint in post.smtp] == ["tcp:2525"]
    assert [str(e) for e in post.lmtp] == [f"unix:address={folder}/lmtp.sock:mode=600"]
    assert post.domains == ("lists.example", "xn--bcher-kva.example")
    assert (post.settings, post.settings_json) == (None, b"")
    assert config.mail.hostname == "mx.example"
    assert str(config.mail.smarthost) == "tcp:127.0.0.1:25"
    assert (config.log.access, config.log.access_file) == ("json", root / "var/access.log")


def test_what_may_be_left_out(folder):
    """The smallest file has the limits of limits.py, no smarthost, and the machine's name."""
    text = 'data = "d"\n[apps.a]\napp = "shop:Web"\nhttp = "tcp:0"\n'
    config = load(write(folder, text))
    assert config.apps[0].limits == Limits()
    assert config.mail.smarthost is None
    assert config.mail.hostname == socket.getfqdn()
    assert (config.log.access, config.log.access_file) == ("combined", None)


def test_limits_for_all_and_for_one(folder):
    """[limits] is for every application; an application's own limits come before it."""
    web, post = (app.limits for app in load(write(folder, GOOD)).apps)
    assert (web.http_headers_max, web.smtp_errors_max) == (50, 7)
    assert (post.http_headers_max, post.smtp_errors_max) == (50, 9)
    assert web.http_body_bytes_max == Limits().http_body_bytes_max


def test_settings_are_the_same_after_a_replay(folder):
    """The JSON for the journal gives back the settings that the application got."""
    app = load(write(folder, GOOD)).apps[0]
    assert settings_from_bytes(app.settings_json, app.app.Settings) == app.settings
    assert app.settings.share == 1.0
    assert app.settings.logo == Path("logo.png")
    assert msgspec.json.decode(app.settings_json) == {
        "logo": "logo.png",
        "opened": "2001-02-03",
        "owner": "me",
        "share": 1.0,
        "shelves": [{"name": "x", "places": 1}],
        "size": 3,
        "tags": ["a", "b", "z"],
    }


def test_settings_json_is_canonical(folder):
    """The order of keys and of sets makes no other settings, whatever the hash seed."""
    lines = ['tags = ["a", "c", "b", "d"]', 'owner = "me"', 'shelves = [{places=2,name="x"}]']
    head = 'data = "d"\n[apps.a]\napp = "shop:Shop"\nhttp = "tcp:0"\n[apps.a.settings]\n'
    seen = set()
    for order in (lines, lines[::-1]):
        file = write(folder, head + "\n".join(order))
        for seed in "01":
            code = (
                "import sys, pathlib; from happy.config import load;"
                "sys.stdout.buffer.write(load(pathlib.Path(sys.argv[1])).apps[0].settings_json);"
                "assert 'twisted.internet.reactor' not in sys.modules"
            )
            done = subprocess.run(
                [sys.executable, "-c", code, file],
                env=os.environ | {"PYTHONHASHSEED": seed},
                capture_output=True,
                check=True,
                timeout=60,
            )
            seen.add(done.stdout)
    (settings_json,) = seen
    assert json.loads(settings_json)["tags"] == ["a", "b", "c", "d"]


def test_native_dates_and_paths_in_settings(folder):
    """A date is a TOML date, and a relative path of the settings is relative to the file."""
    text = """
        data = "d"
        [apps.a]
        app = "shop:Shop"
        http = "tcp:0"
        [apps.a.settings]
        owner = "me"
        opened = 2020-12-31
        logo = "img/logo.png"
        """
    given_settings = load(write(folder, text)).apps[0].settings
    assert given_settings.opened == datetime.date(2020, 12, 31)
    assert given_settings.logo == folder / "img/logo.png"


def test_an_endpoint_knows_its_place(folder):
    """When a port cannot be bound later on, the sentence can still name file and line."""
    web, post = load(write(folder, GOOD)).apps
    assert web.http[1].place == "conf/c.toml:7: apps.web.http[1]"
    assert post.smtp[0].place == "conf/c.toml:11: apps.post-1.smtp"


def test_nothing_is_left_behind(folder):
    """Reading a configuration, good or bad, makes no file and needs no free port."""
    (folder / "broken.py").write_text("import helper_module\n1 / 0\n")
    (folder / "helper_module.py").write_text("")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        good = write(folder, GOOD.replace("tcp:9000", f"tcp:{port}"))
        before = sorted(folder.parent.rglob("*"))
        load(good)
        assert sorted(folder.parent.rglob("*")) == before
        write(folder, GOOD.replace("shop:Shop", "broken:App"))
        assert len(complaints(good)) == 1
        assert sorted(folder.parent.rglob("*")) == before


def test_the_shipped_configuration_reads(monkeypatch):
    """conf/happy.toml is good as it stands."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    config = load(Path(__file__).parent.parent / "conf" / "happy.toml")
    numbers, lists = config.apps
    assert [str(e) for e in numbers.http] == ["tcp:9000:interface=127.0.0.1"]
    assert [str(e) for e in lists.http] == ["tcp:9001:interface=127.0.0.1"]
    assert [str(e) for e in lists.smtp] == ["tcp:2525:interface=127.0.0.1"]
    assert lists.domains == ("lists.example",)
    assert tuple(lists.settings.lists) == ("dev",)
    assert str(config.mail.smarthost) == "tcp:127.0.0.1:25"


# --- what is bad -------------------------------------------------------------------------------

APP = 'data = "d"\n[apps.a]\n'
WEB = APP + 'app = "shop:Web"\nhttp = "tcp:0"\n'
POST = APP + 'app = "shop:Post"\n'
SHOPS = APP + 'app = "shop:Shop"\nhttp = "tcp:0"\n'
TCP_ARGUMENTS = "port, interface, backlog"

BAD = [
    ("", ["1: data: is missing", "1: apps: is missing"]),
    ("data = 5\napps = 1\n", [
        "1: data: expected text, not a whole number",
        "2: apps: expected a table for each application, as in [apps.numbers]",
    ]),
    ('data = "d"\n[apps]\n', [
        "2: apps: expected a table for each application, as in [apps.numbers]"
    ]),
    ('data = "d"\n[apps]\na = 1\n', ["3: apps.a: expected a table"]),
    ('data = "shop.py"\n' + WEB.partition("\n")[2], ["1: data: {conf}/shop.py is not a directory"]),
    ('data = ""\n' + WEB.partition("\n")[2], ["1: data: '' is not a path"]),
    ('date = "x"\n' + WEB, ["1: date: unknown key (did you mean data?)"]),
    ('"a b" = 1\n' + WEB, [
        '1: "a b": unknown key (there are apps, data, limits, log, mail)'
    ]),
    (WEB + 'htpp = "tcp:1"\n', ["5: apps.a.htpp: unknown key (did you mean http?)"]),
    (WEB.replace("apps.a", "apps.A"), [
        "2: apps.A: a name is 1 to 64 of a-z, 0-9, _ and -, and begins with a letter"
    ]),
    (WEB.replace("apps.a", 'apps."../a"'), [
        '2: apps."../a": a name is 1 to 64 of a-z, 0-9, _ and -, and begins with a letter'
    ]),
    # The application.
    (APP + 'http = "tcp:0"\n', ["2: apps.a.app: is missing"]),
    (WEB.replace("shop:Web", "shop.Web"), [
        "3: apps.a.app: expected module:Class, as in 'shop.orders:Orders', not 'shop.Web'"
    ]),
    (WEB.replace("shop:Web", "shopp:Web"), ["3: apps.a.app: there is no module shopp"]),
    (WEB.replace("shop:Web", "shop.x:Web"), ["3: apps.a.app: there is no module shop.x"]),
    (WEB.replace("shop:Web", "shop:Wep"), [
        "3: apps.a.app: shop has no class Wep (did you mean Web?)"
    ]),
    (WEB.replace("shop:Web", "shop:Zebra"), [
        "3: apps.a.app: shop has no class Zebra; the module is {conf}/shop.py"
    ]),
    (WEB.replace("shop:Web", "shop:NoApp"), [
        "3: apps.a.app: <class 'shop.NoApp'> is not a happy application: subclass happy.App"
    ]),
    (WEB.replace("shop:Web", "shop:Stateless"), [
        "3: apps.a.app: Stateless: set state to a class declared with @state"
    ]),
    # Doors.
    (APP + 'app = "shop:Web"\n', ["2: apps.a: has no door: set http, smtp or lmtp"]),
    (WEB.replace('"tcp:0"', "[]"), ["2: apps.a: has no door: set http, smtp or lmtp"]),
    (WEB + 'domains = ["a.example"]\nsmtp = "tcp:1"\n', [
        "6: apps.a.smtp: Web takes no mail: it has no MailRoutes and no handler of Mail"
    ]),
    (POST + 'http = "tcp:1"\n', [
        "4: apps.a.http: Post has no web door: it sets no http = Klein()"
    ]),
    (POST + 'smtp = "tcp:1"\n', [
        '4: apps.a.smtp: needs domains = ["..."]: those whose mail it takes'
    ]),
    (WEB + "smtp = []\nhttp2 = 1\n", ["6: apps.a.http2: unknown key (did you mean http?)"]),
    (POST + 'lmtp = "tcp:1"\ndomains = []\n', [
        '4: apps.a.lmtp: needs domains = ["..."]: those whose mail it takes'
    ]),
    (POST + 'smtp = "tcp:1"\ndomains = ["ok.example",\n "a b", "-x.y", "10.0.0.1", 3, ""]\n', [
        "6: apps.a.domains[1]: 'a b' is not a host name",
        "6: apps.a.domains[2]: '-x.y' is not a host name",
        "6: apps.a.domains[3]: '10.0.0.1' is not a host name",
        "6: apps.a.domains[4]: expected text, not a whole number",
        "6: apps.a.domains[5]: '' is not a host name",
    ]),
    (POST + 'smtp = "tcp:1"\ndomains = "a.example"\n', [
        "5: apps.a.domains: expected a list, not text"
    ]),
    (WEB.replace('"tcp:0"', "9000"), [
        "4: apps.a.http: expected an endpoint (text) or a list of them"
    ]),
    (WEB.replace('"tcp:0"', '[\n"tcp:x",\n5]'), [
        "5: apps.a.http[0]: port must be a whole number, not 'x'",
        "6: apps.a.http[1]: expected text, not a whole number",
    ]),
    (WEB.replace("tcp:0", "tcp:0:color=red"), [
        f"4: apps.a.http: tcp has no argument 'color': it has {TCP_ARGUMENTS}"
    ]),
    (WEB.replace("tcp:0", "ssl:0:privateKey=key.pem"), [
        "4: apps.a.http: cannot read {conf}/key.pem: no such file or directory"
    ]),
    (WEB.replace('"tcp:0"', '["tcp:80", "tcp:80:interface=127.0.0.1"]'), [
        "4: apps.a.http[1]: tcp port 80 is already taken by apps.a.http[0] (line 4)"
    ]),
    (
        WEB.replace("tcp:0", "tcp:80:interface=127.0.0.1")
        + '[apps.b]\napp = "shop:Web"\nhttp = "tcp:80:interface=127.0.0.1"\n',
        ["7: apps.b.http: tcp port 80 is already taken by apps.a.http (line 4)"],
    ),
    # Settings.
    (WEB + "settings = {}\n", ["5: apps.a.settings: Web has no Settings"]),
    (SHOPS, ["2: apps.a.settings.owner: is missing"]),
    (SHOPS + "settings = 3\n", ["5: apps.a.settings: expected a table, not a whole number"]),
    (
        SHOPS + "[apps.a.settings]\nowner = 1\nownr = 1\ntags = 'dev'\nsize = '7'\nshare = true\n"
        "opened = '2020-01-01'\nshelves = [\n {name = 'x'},\n {places = 2.0, nam = 'x'}]\n",
        [
            "6: apps.a.settings.owner: expected text, not a whole number",
            "7: apps.a.settings.ownr: unknown key (did you mean owner?)",
            "8: apps.a.settings.tags: expected a list, not text",
            "9: apps.a.settings.size: expected a whole number, not text",
            "10: apps.a.settings.share: expected a number, not true or false",
            "11: apps.a.settings.opened: expected a date, without quotes",
            "14: apps.a.settings.shelves[1].name: is missing",
            "14: apps.a.settings.shelves[1].places: expected a whole number, not a number",
            "14: apps.a.settings.shelves[1].nam: unknown key (did you mean name?)",
        ],
    ),
    (SHOPS + "settings.owner = 'me'\nsettings.size = 0\n", [
        "6: apps.a.settings.size: 'size' must be > 0: 0"
    ]),
    # Limits.
    (
        WEB + "[apps.a.limits]\nhttp_headers_max = 0\n[limits]\nhttp_body_byte_max = 1\n"
        "drain_timeout_s = '7'\nsmtp_errors_max = true\nsmtp_commands_max = 1.0\n",
        [
            "6: apps.a.limits.http_headers_max: must be above zero, not 0",
            "8: limits.http_body_byte_max: unknown key (did you mean http_body_bytes_max?)",
            "9: limits.drain_timeout_s: expected a whole number, not text",
            "10: limits.smtp_errors_max: expected a whole number, not true or false",
            "11: limits.smtp_commands_max: expected a whole number, not a number",
        ],
    ),
    (WEB + "limits = 1\n", ["5: apps.a.limits: expected a table"]),
    # Mail and log.
    (
        WEB + "[mail]\nsmarthost = 'tcp:25'\nhost = 'x'\nhostname = 'a_b'\n",
        [
            "6: mail.smarthost: tcp needs a port, as in tcp:127.0.0.1:25",
            "7: mail.host: unknown key (did you mean hostname?)",
            "8: mail.hostname: 'a_b' is not a host name",
        ],
    ),
    (
        WEB + "[mail]\nsmarthost = 'tcp:127.0.0.1:25'\ndirect = true\n",
        ["7: mail.direct: mail goes to the smarthost; leave one of them away"],
    ),
    (
        WEB + "[mail.dkim]\ndomain = 'x.example'\nselector = 'a_b'\nkey = 'none.pem'\n",
        ["7: mail.dkim.selector: 'a_b' is not a name in DNS"],
    ),
    (
        WEB + "[[mail.dkim]]\ndomain = 'x.example'\nselector = 's'\nkee = 'a.pem'\n",
        [
            "5: mail.dkim[0].key: is missing",
            "8: mail.dkim[0].kee: unknown key (did you mean key?)",
        ],
    ),
    (WEB + "[mail]\ndirect = 1\n", ["6: mail.direct: expected true or false, not a whole number"]),
    (
        WEB + "[log]\naccess = 'jsn'\naccess_file = 1\n",
        [
            "6: log.access: expected combined, json or off, not 'jsn' (did you mean json?)",
            "7: log.access_file: expected text, not a whole number",
        ],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), BAD)
def test_every_complaint_at_once_with_its_line(folder, text, expected):
    """What is wrong is told in one go, in the order of the lines, each with file and line."""
    wanted = [f"conf/c.toml:{line.format(conf=folder) if '{conf}' in line else line}"
              for line in expected]  # fmt: skip
    assert complaints(write(folder, text)) == wanted


@pytest.mark.parametrize(
    ("module", "sentence"),
    [
        ("x = 1\n1 / 0\n", "ZeroDivisionError: division by zero ({file}:2)"),
        ("x = 1\ndef f(:\n", "invalid syntax ({file}:2)"),
        ("import nothing_there\n", "No module named 'nothing_there' ({file}:1)"),
        ("from happy import Nothing\n", "cannot import name 'Nothing' from 'happy'"),
        ("import json\n\njson.loads('[')\n", "({file}:3)"),
        ("raise SystemExit(3)\n", "SystemExit: 3 ({file}:1)"),
        (
            "from happy import event\n\n@event\nclass E:\n    names: list[str]\n",
            "({file}:3)",
        ),
    ],
)
def test_a_module_that_fails_is_one_sentence(folder, module, sentence):
    """An error inside the application's module is told with its own file and line."""
    (folder / "broken.py").write_text(module)
    (complaint,) = complaints(write(folder, WEB.replace("shop:Web", "broken:App")))
    assert complaint.startswith("conf/c.toml:3: apps.a.app: cannot import broken: ")
    assert sentence.format(file=folder / "broken.py") in complaint
    assert "\n" not in complaint


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"a = 1\n\nb = = 2\n", ":3: invalid value (column 5)"),
        (b'a = """\nx\n', ":3: unterminated string at the end of the file"),
        (b"a = 1\na = 2\n", ":2: cannot overwrite a value (column 6)"),
        (b"a = 1\n\xff\n", ": is not UTF-8 text (byte 6)"),
        (b"a = " + b"[" * 100_000, ": has lists or tables in too many levels"),
    ],
)
def test_what_is_not_toml(folder, data, expected):
    """A mistake in the syntax is told with its line."""
    (folder / "c.toml").write_bytes(data)
    assert complaints(Path("conf/c.toml")) == [f"conf/c.toml{expected}"]


def test_what_cannot_be_read(folder):
    """A missing file, a directory or a path through a file is one sentence."""
    assert complaints(Path("nope.toml")) == ["nope.toml: cannot be read: no such file or directory"]
    assert complaints(Path("conf")) == ["conf: cannot be read: is a directory"]
    assert complaints(Path("conf/shop.py/x")) == ["conf/shop.py/x: cannot be read: not a directory"]


VALUES = st.recursive(
    st.one_of(
        st.integers(-1, 2**70).map(str),
        st.booleans().map(lambda b: str(b).lower()),
        st.sampled_from(["1.5", "nan", "2020-01-01", "07:00:00", "shop", "{}", "[]"]),
        st.text(st.characters(codec="ascii", exclude_categories=["C"]), max_size=9).map(json.dumps),
        st.sampled_from(["tcp:", "unix:", "shop:", ":", "tcp:1:", "tls:", "haproxy:", "\\"]).map(
            json.dumps
        ),
    ),
    lambda inner: st.lists(inner, max_size=2).map(lambda items: f"[{', '.join(items)}]"),
    max_leaves=3,
)


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(line=st.integers(0, GOOD.strip().count("\n")), value=VALUES)
def test_any_value_is_good_or_a_complaint(folder, line, value):
    """Whatever stands for a value, the file is read, or refused at lines that there are."""
    lines = GOOD.strip().split("\n")
    lines[line] = f"{lines[line].partition('=')[0].strip() or 'x'} = {value}"
    file = write(folder, "\n".join(lines))
    told = ()
    try:
        load(file)
    except ConfigError as error:
        told = error.complaints
    matches = [re.fullmatch(r"conf/c\.toml:(\d+): .+", complaint) for complaint in told]
    assert all(matches), told
    numbers = [int(match[1]) for match in matches]
    assert numbers == sorted(numbers)
    assert all(1 <= number <= len(lines) for number in numbers)


def test_a_key_is_shown_as_toml_writes_it():
    """Keys that need quotes have them, so that a complaint is one line whatever they hold."""
    assert dotted(("apps", "a b", "x", 0, 'y\n"')) == 'apps."a b".x[0]."y\\n\\""'


# --- endpoints ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "'' is not a usable endpoint: Unknown endpoint type: ''"),
        ("tcp", "tcp needs a port, as in tcp:9000"),
        ("tpc:9000", "unknown endpoint type 'tpc' (did you mean tcp?)"),
        ("haproxy:tpc:9000", "unknown endpoint type 'tpc' (did you mean tcp?)"),
        ("carrier:1", "'carrier:1' is not a usable endpoint: Unknown endpoint type: 'carrier'"),
        (
            "127.0.0.1:80",
            (
                "'127.0.0.1:80' is not a usable endpoint: "
                "it begins with its type, as in tcp:9000 or tcp:127.0.0.1:25"
            ),
        ),
        (
            "8080",
            (
                "'8080' is not a usable endpoint: "
                "it begins with its type, as in tcp:9000 or tcp:127.0.0.1:25"
            ),
        ),
        ("tcp:65536", "port 65536: the last one is 65535"),
        ("tcp:-1", "port must be a whole number, not '-1'"),
        ("tcp:1:interfaec=::", "tcp has no argument 'interfaec' (did you mean interface?)"),
        ("tcp:1:interface=example.com", "interface must be an IP address, not 'example.com'"),
        ("tcp:1:backlog=many", "backlog must be a whole number, not 'many'"),
        ("tcp:1:::1:2:3", "tcp has too many arguments; a colon in one of them is written \\:"),
        ("tcp:1\\", "a backslash at the end escapes nothing"),
        ("unix:", "unix needs an address, as in unix:PATH"),
        ("unix:x:mode=rw", "mode must be octal digits, as in 660, not 'rw'"),
        ("unix:/" + "x" * 107, "/" + "x" * 107 + " is too long for the path of a unix socket"),
        ("tls:certs:443", "/base/certs is not a directory of certificates"),
        (
            "systemd:domain=INET",
            (
                "'systemd:domain=INET' is not a usable endpoint: "  # then Twisted's own words
                "Specify exactly one of descriptor index or name"
            ),
        ),
    ],
)  # fmt: skip
def test_a_bad_server_endpoint_is_told_in_its_own_words(text, sentence):
    """What is wrong with an endpoint is said in the words of the description."""
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        server_endpoint(text, Path("/base"))


@pytest.mark.parametrize(
    ("text", "description"),
    [
        ("tcp:80", "tcp:80"),
        ("tcp:80:interface=localhost", "tcp:80:interface=localhost"),
        ("tcp:80:interface=\\:\\:1", "tcp:80:interface=\\:\\:1"),
        ("unix:run/a\\:b", "unix:address=/base/run/a\\:b:mode=660"),
        ("unix:address=/x:mode=600", "unix:address=/x:mode=600"),
        ("unix:/x", "unix:address=/x:mode=660"),
        ("haproxy:unix:../x", "haproxy:unix:address=/x:mode=660"),
        ("systemd:domain=INET:name=web", "systemd:domain=INET:name=web"),
    ],
)
def test_a_good_server_endpoint_has_absolute_paths(text, description):
    """Paths become absolute, unix sockets closed to others, and nothing else changes."""
    assert server_endpoint(text, Path("/base")).description == description


@pytest.mark.parametrize(
    ("description", "listening"),
    [
        ("tcp:80", "tcp:80:backlog=1024"),
        ("tcp:80:interface=\\:\\:1", "tcp:80:interface=\\:\\:1:backlog=1024"),
        ("tcp:80:127.0.0.1:7", "tcp:80:127.0.0.1:7"),
        ("tcp6:80:backlog=7", "tcp6:80:backlog=7"),
        ("unix:address=/x:mode=660", "unix:address=/x:mode=660:backlog=1024"),
        ("haproxy:tcp:80", "haproxy:tcp:80:backlog=1024"),
        ("systemd:domain=INET:name=web", "systemd:domain=INET:name=web"),
    ],
)
def test_many_connections_may_wait_unless_the_endpoint_says_otherwise(description, listening):
    """Promise 8: a burst is not dropped where only a few were said to wait by nobody."""
    assert with_backlog(description) == listening


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tcp:127.0.0.1:25", "tcp:127.0.0.1:25"),
        ("unix:mail", "unix:path=/base/mail"),
        ("tls:mx.example:465", "tls:mx.example:465"),
        ("tls:mx.example:465:endpoint=unix\\:x",
         "tls:host=mx.example:port=465:endpoint=unix\\:path=/base/x"),
        ("tcp:25", "tcp needs a port, as in tcp:127.0.0.1:25"),
        ("tcp:mx.example:0", "port 0: nobody can be reached there"),
        ("tcp:mx.example:smtp", "port must be a whole number, not 'smtp'"),
        ("tls:mx.example:465:trustRoots=ca", "cannot read /base/ca: no such file or directory"),
    ],
)  # fmt: skip
def test_client_endpoints(text, expected):
    """A smarthost's endpoint is checked, and its paths made absolute, in the same way."""
    try:
        found = client_endpoint(text, Path("/base")).description
    except ValueError as error:
        found = str(error)
    assert found == expected


@pytest.mark.parametrize(
    ("one", "other", "clash"),
    [
        ("tcp:80", "tcp:80", True),
        ("tcp:80", "tcp:81", False),
        ("tcp:0", "tcp:0", False),
        ("tcp:80", "haproxy:tcp:080:interface=127.0.0.1", True),
        ("tcp:80:interface=127.0.0.1", "tcp:80:interface=localhost", True),
        ("tcp:80:interface=127.0.0.1", "tcp:80:interface=127.0.0.2", False),
        ("tcp:80:interface=0.0.0.0", "tcp:80:interface=127.0.0.2", True),
        ("tcp:80:interface=127.0.0.1", "tcp6:80:interface=\\:\\:1", False),
        ("tcp:80:interface=127.0.0.1", "tcp6:80", True),
        ("tcp:80", "tcp6:80:interface=\\:\\:1", False),
        ("unix:x", "unix:./y/../x", True),
        ("unix:x", "tcp:80", False),
    ],
)
def test_two_doors_on_one_socket_clash(one, other, clash):
    """Endpoints that cannot both listen are known before they are tried."""
    first, second = server_endpoint(one, Path("/b")), server_endpoint(other, Path("/b"))
    assert first.clashes(second) is clash
    assert second.clashes(first) is clash


def test_a_certificate_beside_the_file(folder):
    """An ssl endpoint finds its key relative to the file, and Twisted takes what is made of it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "happy.example")])
    begin = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(begin)
        .not_valid_after(begin + datetime.timedelta(days=90))
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ) + certificate.public_bytes(serialization.Encoding.PEM)
    (folder / "server.pem").write_bytes(pem)
    endpoint = load(write(folder, WEB.replace("tcp:0", "ssl:8443"))).apps[0].http[0]
    assert endpoint.description == f"ssl:privateKey={folder}/server.pem:port=8443"
    assert serverFromString(MemoryReactor(), endpoint.description)
    (folder / "server.pem").write_bytes(b"nothing")
    (complaint,) = complaints(write(folder, WEB.replace("tcp:0", "ssl:8443")))
    assert complaint.endswith("no certificate and key that OpenSSL can read")


def test_fronts_are_counted(tmp_path):
    """``fronts`` is a whole number, 0 unless set; anything else is told with its line."""
    config = 'data = "d"\n[apps.n]\napp = "happy.examples.numbers:NumberService"\nhttp = "tcp:0"\n'
    path = tmp_path / "happy.toml"
    path.write_text(config)
    assert load(path).apps[0].fronts == 0
    path.write_text(config + "fronts = 3\n")
    assert load(path).apps[0].fronts == 3
    for wrong in ("-1", "65", "true", '"2"'):
        path.write_text(config + f"fronts = {wrong}\n")
        with pytest.raises(ConfigError, match=r"toml:5: apps\.n\.fronts: expected a whole number"):
            load(path)


def test_when_mail_is_accepted(folder):
    """``accept`` is handled, unless set; durable is for mail, and for a core of its own."""
    mail = 'app = "shop:Post"\nsmtp = "tcp:0"\ndomains = ["a.example"]\n'
    post = f'data = "d"\n[apps.post]\n{mail}'
    assert load(write(folder, post)).apps[0].accept == "handled"
    good = post + 'core = "process"\naccept = "durable"\n'
    assert load(write(folder, good)).apps[0].accept == "durable"
    key = "conf/c.toml:6: apps.post.accept: "
    said = 'durable needs core = "process": doors in the same process wait for handlers'
    assert complaints(write(folder, post + 'accept = "durable"\n')) == [key + said]
    said = "expected handled or durable, not 'durabel' (did you mean durable?)"
    assert complaints(write(folder, post + 'accept = "durabel"\n')) == [key + said]
    web = 'data = "d"\n[apps.a]\napp = "shop:Web"\nhttp = "tcp:0"\n'
    said = complaints(write(folder, web + 'core = "process"\naccept = "durable"\n'))
    assert said == ["conf/c.toml:6: apps.a.accept: is about mail, and there is no smtp or lmtp"]
