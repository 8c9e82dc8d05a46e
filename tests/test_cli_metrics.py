"""The metrics of `happy status --metrics`, as Prometheus reads them."""

from __future__ import annotations

import re

import pytest
from click.testing import CliRunner

from happy.cli import main
from happy.cli.metrics import metrics_text, why_unwell

APP = {"name": "desk", "mood": "open", "seq": 17, "failed": 2, "waiting": 0, "owed": 3}
HEAD = re.compile(r"# (HELP|TYPE) (happy_[a-z_]+) (.+)")
SAMPLE = re.compile(r'(happy_[a-z_]+)(?:\{([a-z]+="(?:[^"\\\n]|\\["\\n])*",?)+\})? [0-9.e+]+')


def metrics(*arguments):
    return CliRunner().invoke(main, ["status", "--metrics", *map(str, arguments)])


def test_a_running_container_is_told_in_metrics(container):
    """Every line is a head or a sample, and each sample stands behind its own head."""
    house = container().start()
    told = metrics("--config", house.config)
    assert told.exit_code == 0
    heads = []
    for line in told.stdout.splitlines():
        head = HEAD.fullmatch(line)
        if head:
            heads.append(head[2])
        else:
            sample = SAMPLE.fullmatch(line)
            assert sample, line
            assert heads[-2:] == [sample[1], sample[1]]
    assert 'happy_app_open{app="numbers"} 1' in told.stdout.splitlines()
    assert len(set(heads)) * 2 == len(heads)
    assert "happy_process_bytes " in told.stdout


def test_no_container_is_a_metric_too(tmp_path):
    """An alert needs a figure also where nobody answers; the status is 1."""
    told = metrics(tmp_path)
    assert told.exit_code == 1
    assert told.stdout.splitlines()[-1] == "happy_up 0"


def test_what_is_not_known_is_left_out():
    """A figure that an application does not have is no line, and never a nought."""
    lines = metrics_text([APP]).splitlines()
    assert 'happy_events_total{app="desk"} 17' in lines
    assert 'happy_failed_total{app="desk"} 2' in lines
    assert not any("snapshot" in line or "core" in line or "front" in line for line in lines)


def test_fronts_and_cores_have_metrics_of_their_own():
    """Each front is told by its number, in the format's own quotes."""
    front = {"number": 1, "connections": 5, "restarts": 2}
    core = {"state": "serving", "restarts": 4}
    lines = metrics_text([APP | {"name": 'a"b\\', "fronts": [front], "core": core}]).splitlines()
    assert r'happy_front_connections{app="a\"b\\",front="1"} 5' in lines
    assert r'happy_front_restarts_total{app="a\"b\\",front="1"} 2' in lines
    assert r'happy_core_restarts_total{app="a\"b\\"} 4' in lines


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({}, ""),
        ({"mood": "draining"}, "is draining"),
        ({"disk_full": True}, "has a full disk"),
        ({"memory": {"level": "full"}}, "has no memory left"),
        ({"core": {"state": "ended"}}, "has no core at present"),
    ],
)
def test_an_application_that_takes_no_events_is_not_open(more, why):
    """Whatever the reason; `happy status` says it and ends with 1."""
    assert why_unwell(APP | more) == why
    line = f'happy_app_open{{app="desk"}} {0 if why else 1}'
    assert line in metrics_text([APP | more]).splitlines()
