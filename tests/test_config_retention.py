"""Retention in the configuration: a budget, and what becomes of the rest; or nothing goes."""

import pytest

from happy.config import load
from happy.config.retention import Retention
from happy.errors import ConfigError
from happy.journal.retention import Budget

HEAD = """\
data = "data"
[apps.numbers]
app = "happy.examples.numbers:NumberService"
http = "tcp:0"
"""


def retention(tmp_path, text):
    file = tmp_path / "happy.toml"
    file.write_text(HEAD + text)
    return load(file).apps[0].retention


def test_without_a_word_everything_is_kept(tmp_path):
    """No segment goes that nobody gave up."""
    assert retention(tmp_path, "") == Retention()
    assert Retention().keeps_all


def test_a_budget_with_an_archive(tmp_path):
    """Segments above so many bytes go to a directory, relative to the file."""
    found = retention(tmp_path, '[apps.numbers.retention]\nbytes_max = 5\narchive = "old"\n')
    assert found == Retention(Budget(bytes_max=5), tmp_path / "old")
    assert not found.keeps_all


def test_a_budget_and_nothing_kept(tmp_path):
    """To remove segments for good has to be said."""
    found = retention(tmp_path, "[apps.numbers.retention]\nage_max_s = 60\ndelete = true\n")
    assert found == Retention(Budget(age_max_s=60), None)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("bytes_max = 5", ":5: apps.numbers.retention: say what becomes of old segments"),
        ("bytes_max = 5\ndelete = false", "say what becomes of old segments"),
        ('bytes_max = 5\ndelete = true\narchive = "x"', "one of them"),
        ('archive = "x"', "has no budget: set bytes_max or age_max_s"),
        ("bytes_max = 0\ndelete = true", ":6: apps.numbers.retention.bytes_max: "),
        ("byte_max = 5\ndelete = true", "did you mean bytes_max?"),
        ('bytes_max = 5\ndelete = "yes"', "apps.numbers.retention.delete: "),
    ],
)
def test_what_cannot_be_meant_is_told(tmp_path, text, complaint):
    """Each mistake is one line, with its place."""
    with pytest.raises(ConfigError) as error:
        retention(tmp_path, f"[apps.numbers.retention]\n{text}\n")
    assert complaint in str(error.value)


def test_it_is_a_table(tmp_path):
    """A value that is no table is told as such."""
    with pytest.raises(ConfigError, match="expected a table"):
        retention(tmp_path, "retention = 5\n")
