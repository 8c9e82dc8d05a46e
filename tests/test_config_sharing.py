"""Applications that share a place to listen, as the configuration tells it."""

import pytest

from happy.config import load
from happy.errors import ConfigError

BOTH = """data = "var"
[apps.lists]
app = "happy.examples.lists:MailingLists"
{door} = "{first}"
domains = ["lists.example", "old.example"]
[apps.shop]
app = "happy.examples.lists:MailingLists"
{door} = "{second}"
domains = {domains}
"""


def told(folder, *, door="smtp", first="tcp:2525", second="tcp:2525", domains='["shop.example"]'):
    """Return the complaints about two applications in these places, without the file's name."""
    file = folder / "c.toml"
    text = BOTH.format(door=door, first=first, second=second, domains=domains)
    file.write_text(text)
    try:
        load(file)
    except ConfigError as error:
        return [line.removeprefix(f"{file}:") for line in error.complaints]
    return []


@pytest.mark.parametrize("door", ["smtp", "lmtp"])
@pytest.mark.parametrize("place", ["tcp:2525:interface=127.0.0.1", "unix:mail.sock", "tcp:0"])
def test_two_applications_may_share_a_mail_door(tmp_path, door, place):
    """The same words for the same place, and domains that differ: nothing to complain of."""
    assert told(tmp_path, door=door, first=place, second=place) == []


def test_a_domain_has_one_application_on_a_port(tmp_path):
    """Which of the two would get the mail, nobody could tell; all are named."""
    assert told(tmp_path, domains='["shop.example", "OLD.example", "lists.example"]') == [
        (
            "9: apps.shop.domains[1]: mail for old.example already goes to apps.lists.domains[1] "
            "(line 5), on a port that both have"
        ),
        (
            "9: apps.shop.domains[2]: mail for lists.example already goes to apps.lists.domains[0] "
            "(line 5), on a port that both have"
        ),
    ]


def test_on_ports_of_their_own_two_may_have_a_domain(tmp_path):
    """There the port tells them apart."""
    assert told(tmp_path, second="tcp:2526", domains='["lists.example"]') == []
    assert told(tmp_path, first="tcp:0", second="tcp:0", domains='["lists.example"]') == []


def test_one_place_in_other_words_is_no_shared_door(tmp_path):
    """They cannot both listen; what would be understood is said."""
    assert told(tmp_path, second="tcp:2525:interface=127.0.0.1") == [
        (
            "8: apps.shop.smtp: tcp port 2525 is already taken by apps.lists.smtp (line 4); "
            "to share it, write 'tcp:2525' here too"
        )
    ]


def test_web_doors_share_nothing(tmp_path):
    """A proxy tells web sites apart by more than a port."""
    assert told(tmp_path, door="http") == [
        "8: apps.shop.http: tcp port 2525 is already taken by apps.lists.http (line 4)"
    ]


def test_smtp_and_lmtp_are_no_shared_door(tmp_path):
    """They speak differently."""
    file = tmp_path / "c.toml"
    text = BOTH.format(door="smtp", first="tcp:25", second="tcp:25", domains='["shop.example"]')
    head, _, tail = text.rpartition("smtp")
    file.write_text(head + "lmtp" + tail)
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert [line.removeprefix(f"{file}:") for line in caught.value.complaints] == [
        "8: apps.shop.lmtp: tcp port 25 is already taken by apps.lists.smtp (line 4)"
    ]


def test_an_application_with_fronts_has_its_ports_alone(tmp_path):
    """Its fronts know one application."""
    assert told(tmp_path, domains='["shop.example"]\nfronts = 2') == [
        "8: apps.shop.smtp: an application with fronts cannot share it: set fronts = 0"
    ]


def test_who_share_a_door_face_the_same_peers(tmp_path):
    """One place has one trust: with another it is told, as is a proxy that only one expects."""
    relay = '{ listen = "tcp:2525", trust = "relay" }'
    for second in (relay, '"haproxy:tcp:2525"'):
        file = tmp_path / "c.toml"
        text = BOTH.format(door="smtp", first="tcp:2525", second="X", domains='["shop.example"]')
        file.write_text(text.replace('"X"', second) + '[mail]\nrelays = ["127.0.0.1"]\n')
        with pytest.raises(ConfigError) as caught:
            load(file)
        (line,) = caught.value.complaints
        assert "tcp port 2525 is already taken by apps.lists.smtp (line 4)" in line
        assert line.endswith("with the same trust, both through a proxy or neither")
    file.write_text(text.replace('"X"', relay).replace('"tcp:2525"\n', f"{relay}\n")
                    + '[mail]\nrelays = ["127.0.0.1"]\n')  # fmt: skip
    assert len(load(file).apps) == 2


def test_each_application_behind_a_door_has_its_own_checks(tmp_path):
    """What is looked up about a mail is for the one it is for, and no matter of the place."""
    file = tmp_path / "c.toml"
    text = BOTH.format(door="smtp", first="tcp:2525", second="X", domains='["shop.example"]')
    file.write_text(text.replace('"X"', '{ listen = "tcp:2525", check = ["dkim"] }'))
    assert [app.smtp[0].check for app in load(file).apps] == [(), ("dkim",)]
