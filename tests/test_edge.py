"""What `happy edge` is made of: where doors are, which of them fit, and the numbers in between."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from happy.edge.facing import (
    Edge,
    Relayed,
    Site,
    fields_max,
    head_bytes_max,
    outwaiting_s,
    size,
    size_up,
)
from happy.edge.reach import Door, Reach, plain_path, reach_of
from happy.edge.servers import SERVERS
from happy.edge.writing import written
from happy.limits import Limits


def tcp(service, port, **more):
    """Return a door on a port."""
    interface = more.pop("interface", "127.0.0.1")
    return Door(service, "tcp", {"port": str(port), "interface": interface}, **more)


@pytest.mark.parametrize(
    ("endpoint", "arguments", "address"),
    [
        ("tcp", {"port": "9000"}, "127.0.0.1:9000"),
        ("tcp", {"port": "9000", "interface": "0.0.0.0"}, "127.0.0.1:9000"),
        ("tcp", {"port": "9000", "interface": "localhost"}, "127.0.0.1:9000"),
        ("tcp", {"port": "9000", "interface": "10.1.2.3"}, "10.1.2.3:9000"),
        ("tcp", {"port": "9000", "interface": "::"}, "[::1]:9000"),
        ("tcp6", {"port": "9000"}, "[::1]:9000"),
        ("tcp6", {"port": "9000", "interface": "fe80::1"}, "[fe80::1]:9000"),
    ],
)
def test_a_port_is_reached_where_it_listens(endpoint, arguments, address):
    """What listens everywhere is reached on the loopback interface of its kind."""
    assert reach_of(Door("http", endpoint, arguments)).address == address


def test_a_socket_is_reached_by_its_path():
    """Whatever its mode is."""
    door = Door("http", "unix", {"address": "/run/happy.sock", "mode": "660"})
    assert reach_of(door).path == "/run/happy.sock"


@given(st.text())
def test_a_path_means_itself_or_is_refused(path):
    """No text that is let through ends a word, a line or a comment of any configuration."""
    try:
        assert plain_path(path) == path
    except ValueError:
        return
    assert path
    assert not set(path) & set(" \t\r\n\"'`#;{}()[]$%\\|,:=<>*?&!~^")


@pytest.mark.parametrize("kind", SERVERS)
def test_a_port_that_is_no_port_fits_no_server(kind):
    """Port 0 is another one after each start."""
    server = SERVERS[kind]
    with pytest.raises(ValueError, match=r"f.toml:1: apps.a.x: port 0 is another one"):
        server.first_fit([tcp(server.services[0], 0, place="f.toml:1: apps.a.x")])


def test_a_door_that_fits_makes_up_for_those_that_do_not():
    """Users log in at one, and another asks for a header; relay is better than the world's."""
    doors = [
        tcp("smtp", 587, trust="submission"),
        tcp("smtp", 25, proxied=True),
        tcp("lmtp", 24),
        tcp("smtp", 2525),
    ]
    assert SERVERS["postfix"].first_fit(doors).port == 2525
    assert SERVERS["postfix"].first_fit([*doors, tcp("lmtp", 26, trust="relay")]).port == 26
    with pytest.raises(ValueError, match=r"for users, who log in\n.*sends no PROXY header"):
        SERVERS["exim"].first_fit(doors[:2])


def test_only_haproxy_sends_the_header_that_a_door_asks_for():
    """The others refuse such a door."""
    able = {kind for kind, server in SERVERS.items() if server.speaks_proxy}
    assert able == {"haproxy"}
    assert SERVERS["haproxy"].fit(tcp("http", 80, proxied=True)).proxied


bounds = st.integers(1, 10**10)


@given(bounds, bounds, bounds)
def test_a_server_gives_up_after_the_application(handler_s, idle_s, connections):
    """Connections are let go before the application does it, unless that is after a second."""
    limits = Limits(
        http_handler_timeout_s=handler_s,
        http_idle_timeout_s=idle_s,
        http_connections_max=connections,
    )
    site = Site("a", ("a.example",), Reach("http", "127.0.0.1", 1), limits, "/c")
    assert site.handler_s > handler_s
    assert site.quiet_s >= site.handler_s
    assert site.kept_s >= 1
    assert site.kept_s < idle_s or idle_s == 1
    assert 1 <= site.kept <= connections


@given(bounds)
def test_a_message_that_a_mail_server_takes_is_one_that_the_application_takes(most):
    """With the line that is added to it, where the bound leaves room for one."""
    one = Relayed("a", ("a.example",), Reach("smtp"), Limits(smtp_message_bytes_max=most))
    assert 1 <= one.message_bytes_max <= most
    assert one.message_bytes_max + 4096 <= most or most < 8192


@given(bounds, bounds)
def test_haproxy_waits_for_the_applications_own_421(command_s, data_s):
    """Whichever of both times is the longer one."""
    limits = Limits(smtp_command_timeout_s=command_s, smtp_data_timeout_s=data_s)
    assert outwaiting_s(limits) > max(command_s, data_s)


@given(bounds, bounds, bounds)
def test_a_head_that_the_application_takes_has_room(line_bytes, field_bytes, fields):
    """With what is added on the way."""
    limits = Limits(
        http_request_line_bytes_max=line_bytes,
        http_header_bytes_max=field_bytes,
        http_headers_max=fields,
    )
    site = Site("a", ("a.example",), Reach("http"), limits, "/c")
    assert head_bytes_max(limits) > line_bytes + field_bytes
    assert site.longest_line_bytes > max(line_bytes, field_bytes)
    assert fields_max(limits) >= min(fields, 32_767)


@given(bounds)
def test_sizes_as_nginx_has_them_are_the_same_numbers(count):
    """With m, with k, or with neither."""
    units = {"m": 2**20, "k": 2**10}

    def number(text):
        return int(text.rstrip("mk")) * units.get(text[-1], 1)

    assert number(size(count)) == count
    assert count <= number(size_up(count)) < count + 1024


def test_exim_and_sendmail_get_names_of_letters_that_differ():
    """Two applications whose names differ in a hyphen alone are not mixed up."""
    reach = Reach("smtp", "127.0.0.1", 2525)
    relayed = [Relayed(app, (f"{n}.example",), reach, Limits())
               for n, app in enumerate(("a-b", "a_b", "c"))]  # fmt: skip
    text = written(SERVERS["exim"], Edge("it", relayed=relayed, name="mx.example"))
    for name in ("happy_a_b", "happy_a_b_", "happy_c"):
        assert text.count(f"\n{name}:\n") == 2
        assert text.count(f"  transport = {name}\n") == 1


def test_postfix_parts_the_mail_of_applications_that_share_a_port():
    """And only then, for it costs it the order of arrival."""
    one = Relayed("a", ("a.example",), Reach("smtp", "127.0.0.1", 2525), Limits())
    other = attrs.evolve(one, app="b", domains=("b.example",))
    apart = attrs.evolve(other, reach=Reach("smtp", "127.0.0.1", 2526))
    limit = "relay_destination_recipient_limit = 1\n"
    assert limit in written(SERVERS["postfix"], Edge("it", relayed=[one, other]))
    assert limit not in written(SERVERS["postfix"], Edge("it", relayed=[one, apart]))
