"""`happy edge`: what is written, from what, and what is said of what cannot be."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from edge_kit import CONF
from happy.cli import main
from happy.edge.servers import SERVERS

FILES = {
    "nginx": "nginx/happy.conf",
    "apache": "apache/happy.conf",
    "haproxy": "haproxy/happy.cfg",
    "postfix": "postfix/main.cf",
    "exim": "exim/exim4.conf",
    "opensmtpd": "opensmtpd/smtpd.conf",
    "sendmail": "sendmail/happy.mc",
}
WEB = ("nginx", "apache", "haproxy")
MAIL = ("postfix", "exim", "opensmtpd", "sendmail")


def edge(*arguments):
    return CliRunner().invoke(main, ["edge", *map(str, arguments)])


@pytest.fixture
def config(tmp_path):
    """Return a function that writes a configuration: the keys of two applications, and more."""

    def write(web="", post="", more=""):
        path = tmp_path / "happy.toml"
        path.write_text(
            'data = "data"\n'
            f'[apps.web]\napp = "happy.examples.numbers:NumberService"\n{web}\n'
            f'[apps.post]\napp = "happy.examples.lists:MailingLists"\n{post}\n{more}\n'
        )
        return path

    return write


HTTP = 'http = "tcp:9000"'
SMTP = 'smtp = "tcp:2525"\ndomains = ["a.example", "b.example"]\nsettings = { lists = ["dev"] }'


def test_every_kind_has_a_file_in_conf():
    """There is no kind of which conf/ has no file that the real server is tested with."""
    assert FILES.keys() == SERVERS.keys()


@pytest.mark.parametrize("kind", FILES)
def test_the_files_in_conf_are_what_it_writes(kind, monkeypatch):
    """So the tests of these files, each in its real server, are tests of the command."""
    monkeypatch.chdir(CONF.parent)
    result = edge(kind, "--config", "conf/happy.toml")
    assert result.exit_code == 0, result.output
    assert result.stdout == (CONF / FILES[kind]).read_text()


def test_it_writes_json(config):
    """`--json` has the text, and the doors that were chosen, by their place in the file."""
    path = config(HTTP, SMTP)
    said = json.loads(edge("nginx", "--config", path, "--json").stdout)
    assert said["doors"] == [f"{path}:4: apps.web.http"]
    assert said["text"] == edge("nginx", "--config", path).stdout
    assert (said["kind"], said["config"]) == ("nginx", str(path))


def test_names_and_certificates_are_options_and_assumed_without(config):
    """What was assumed is what the file says at its top that may be said."""
    path = config(HTTP, SMTP)
    assumed = edge("nginx", "--config", path).stdout
    assert "server_name web.example;" in assumed
    assert "ssl_certificate     /etc/letsencrypt/live/web.example/fullchain.pem;" in assumed
    assert "--name, --certificate and --key" in assumed
    names = ("--name", "Example.org", "--name", "web=www.example.org")
    paths = ("--certificate", "/tls/{name}.crt", "--key", "/tls/{name}.key")
    said = edge("nginx", "--config", path, *names, *paths).stdout
    assert said.count("server_name example.org www.example.org;") == 2
    assert "ssl_certificate     /tls/example.org.crt;" in said
    assert "ssl_certificate_key /tls/example.org.key;" in said
    assert f"# Written by: happy edge nginx --config {path} --name Example.org" in said
    assert "certbot certonly --webroot -w /var/www/html -d example.org -d www.example.org" in said


def test_the_command_in_the_file_is_one_line_whatever_is_in_it(config):
    """A line end in the name of the configuration ends no comment."""
    path = config(HTTP, SMTP)
    odd = path.rename(path.with_name("a\nerror_log x;.toml"))
    said = edge("nginx", "--config", odd).stdout
    assert "\nerror_log" not in said


@pytest.mark.parametrize("kind", WEB)
def test_what_a_web_server_lets_pass_is_the_applications_own(kind, config):
    """Bounds that are set are in the file, and those of another application are not."""
    bounds = "[apps.web.limits]\nhttp_body_bytes_max = 12345678\nhttp_handler_timeout_s = 100"
    path = config(f"{HTTP}\n{bounds}", f'http = "tcp:9001"\n{SMTP}')
    both = edge(kind, "--config", path).stdout
    alone = edge(kind, "--config", path, "--app", "post").stdout
    assert "12345678" in both
    assert "105" in both
    assert "12345678" not in alone
    assert "9000" not in alone


@pytest.mark.parametrize("kind", MAIL)
def test_what_a_mail_server_takes_is_what_the_largest_application_takes(kind, config):
    """With room for the line that the mail server adds."""
    bounds = "[apps.post.limits]\nsmtp_message_bytes_max = 80_004_096"
    assert "80000000" in edge(kind, "--config", config(HTTP, f"{SMTP}\n{bounds}")).stdout


def test_a_door_for_the_mail_server_alone_is_taken_first(config):
    """What asks for a header is passed over, and trust relay comes before the world's door."""
    doors = (
        '["haproxy:tcp:2526", "tcp:2525", { listen = "tcp:2527:interface=127.0.0.9",'
        ' trust = "relay" }]'
    )
    path = config(HTTP, SMTP.replace('"tcp:2525"', doors), '[mail]\nrelays = ["127.0.0.1"]')
    said = edge("postfix", "--config", path).stdout
    assert said.count("= relay:[127.0.0.9]:2527 }") == 2
    assert "2525" not in said


def test_haproxy_passes_mail_on_to_what_asks_for_its_header(config):
    """Port 25 leads to such a door; without one the file has no port 25."""
    assert "bind :25\n" not in edge("haproxy", "--config", config(HTTP, SMTP)).stdout
    asking = SMTP.replace('"tcp:', '"haproxy:tcp:')
    path = config(HTTP, asking, '[mail]\nrelays = ["127.0.0.1"]')
    said = edge("haproxy", "--config", path).stdout
    assert "bind :25\n" in said
    assert "server happy 127.0.0.1:2525 send-proxy-v2 check" in said
    alone = edge("haproxy", "--config", path, "--app", "post").stdout
    assert "mode http" not in alone


FAULTS = [
    ("nginx", 'http = "tcp:0"', SMTP, "port 0 is another one after each start: name a port"),
    ("nginx", 'http = "haproxy:tcp:9000"', SMTP, "nginx sends no PROXY header"),
    ("nginx", 'http = "systemd:domain=INET:index=0"', SMTP, "and this one is systemd"),
    ("nginx", 'http = "unix:/run/it\'s"', SMTP, "has characters that mean something else"),
    ("opensmtpd", HTTP, SMTP.replace("smtp", "lmtp"), "may not be asked to speak LMTP"),
    (
        "postfix",
        HTTP,
        SMTP.replace("tcp:2525", "unix:s"),
        "goes to no unix socket by SMTP: name a port",
    ),
]


@pytest.mark.parametrize(("kind", "web", "post", "sentence"), FAULTS)
def test_a_door_that_nothing_can_be_in_front_of_is_told(kind, web, post, sentence, config):
    """Status 1, one sentence with the place of the door, and nothing on standard output."""
    path = config(web, post)
    result = edge(kind, "--config", path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert sentence in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_an_application_without_such_a_door_is_told_when_it_was_asked_for(config):
    """Otherwise it is left out."""
    path = config(HTTP, SMTP)
    assert edge("nginx", "--config", path).exit_code == 0
    result = edge("nginx", "--config", path, "--app", "post")
    assert (result.exit_code, result.stderr) == (1, "application post has no http door\n")
    result = edge("haproxy", "--config", path, "--app", "post")
    assert "post has no http door, and no smtp door that begins with haproxy:" in result.stderr
    result = edge("opensmtpd", "--config", path, "--app", "web")
    assert (result.exit_code, result.stderr) == (1, "application web has no smtp or lmtp door\n")


def test_a_domain_of_two_applications_is_for_neither(config):
    """A mail server cannot know which one is meant."""
    second = SMTP.replace("2525", "2526")
    path = config(HTTP, SMTP, f'[apps.more]\napp = "happy.examples.lists:MailingLists"\n{second}')
    result = edge("exim", "--config", path)
    assert result.exit_code == 1
    assert "mail for a.example is for post and for more: choose one of them" in result.stderr
    assert edge("exim", "--config", path, "--app", "more").exit_code == 0


def test_a_configuration_that_is_not_fit_is_told_as_check_tells_it(config):
    """FILE:LINE: key: sentence."""
    path = config('http = "tpc:9000"', SMTP)
    result = edge("nginx", "--config", path)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"{path}:4: apps.web.http: ")


USAGE = [
    (("caddy",), "is not one of 'nginx', 'apache', 'haproxy', 'postfix', 'exim'"),
    (("nginx", "--app", "wep"), "has no application 'wep'; they are: web, post"),
    (("nginx", "--name", "x.example"), "say whose, as in web=x.example (web, post)"),
    (("nginx", "--name", "x=x.example"), "there is no 'x' here; say web, post"),
    (("nginx", "--name", "web=a b"), "'a b' is not a host name"),
    (("nginx", "--name", "web=post.example"), "post.example would be the name of two"),
    (("nginx", "--certificate", "/c"), "--certificate and --key go together"),
    (("nginx", "--certificate", "/c;", "--key", "/k"), "has characters that mean something else"),
    (("haproxy", "--key", "/k"), "HAProxy is told of no file with a key alone"),
    (("postfix", "--name", "mx.example"), "Postfix keeps the name that it has"),
    (("exim", "--name", "a.example", "--name", "b.example"), "a mail server has one"),
    (("sendmail", "--certificate", "/c"), "what is written for Sendmail has no TLS"),
]


@pytest.mark.parametrize(("arguments", "sentence"), USAGE)
def test_a_command_line_that_means_nothing_is_told(arguments, sentence, config):
    """Status 64, with what could have been said."""
    path = config(HTTP, f'http = "tcp:9001"\n{SMTP}')
    result = edge(*arguments, "--config", path)
    assert (result.exit_code, result.stdout) == (64, "")
    assert sentence in result.stderr
