"""The resolver that is believed, as the configuration names it."""

from __future__ import annotations

import pytest

from happy.config import load
from happy.config.resolver import ResolverAddress
from happy.errors import ConfigError

FILE = """
data = "data"
[apps.numbers]
app = "happy.examples.numbers:NumberService"
http = "tcp:9000"
[mail]
direct = true
"""


def read(path, line):
    (path / "happy.toml").write_text(FILE + line)
    return load(path / "happy.toml").mail.validating_resolver


@pytest.mark.parametrize(
    ("text", "resolver"),
    [
        ("127.0.0.1", ResolverAddress("127.0.0.1", 53)),
        ("127.0.0.1:5353", ResolverAddress("127.0.0.1", 5353)),
        ("::1", ResolverAddress("::1", 53)),
        ("[::1]", ResolverAddress("::1", 53)),
        ("[::1]:5353", ResolverAddress("::1", 5353)),
    ],
)
def test_a_resolver_is_named_by_its_address(tmp_path, text, resolver):
    """The port is that of DNS unless said otherwise."""
    assert read(tmp_path, f'validating_resolver = "{text}"') == resolver


def test_none_is_believed_unless_one_is_named(tmp_path):
    """The resolvers of the machine are anybody's."""
    assert read(tmp_path, "") is None


@pytest.mark.parametrize(
    "value", ['"localhost"', '""', '"127.0.0.1:0"', '"127.0.0.1:x"', '"127.0.0.1:65536"', "true"]
)
def test_what_is_no_address_is_told_with_its_line(tmp_path, value):
    """Names are none: who would look them up?"""
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, f"validating_resolver = {value}")
    assert "happy.toml:8: mail.validating_resolver: expected the address" in str(caught.value)


def test_where_mail_goes_to_a_smarthost_there_is_nobody_to_look_up(tmp_path):
    """A key without effect is a mistake."""
    (tmp_path / "happy.toml").write_text(
        FILE.replace("direct = true", 'smarthost = "tcp:127.0.0.1:25"')
        + 'validating_resolver = "127.0.0.1"'
    )
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "happy.toml")
    assert ":8: mail.validating_resolver: only direct = true looks servers up" in str(caught.value)
