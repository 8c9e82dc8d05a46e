"""Every bound, once."""

from __future__ import annotations

import ast
import inspect

import attrs
import pytest

from happy import limits
from happy.limits import Limits

FIELDS = attrs.fields(Limits)


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_every_bound_is_a_whole_number_above_zero(field):
    """Promise 8: each bound has a default, and takes nothing but whole numbers above zero."""
    assert isinstance(field.default, int)
    assert field.default > 0
    assert getattr(Limits(**{field.name: 1}), field.name) == 1
    for wrong in (0, -1, 1.5, "7", None):
        with pytest.raises((ValueError, TypeError)):
            Limits(**{field.name: wrong})


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_every_bound_says_what_it_counts(field):
    """The unit is in the name: times end in ``_s`` or ``_ms``, sizes in ``_max`` or ``_min``."""
    assert field.name.endswith(("_max", "_min", "_s", "_ms"))


def test_bounds_agree_with_each_other():
    """An event fits a frame, a frame the queue and a segment; the defaults need no thought."""
    bounds = Limits()
    assert bounds.event_bytes_max + 4 <= bounds.frame_bytes_max
    assert bounds.frame_bytes_max <= bounds.queue_bytes_max
    assert bounds.frame_bytes_max <= bounds.segment_bytes_max
    assert bounds.frame_events_max <= bounds.queue_events_max
    assert bounds.mail_inline_bytes_max + bounds.mail_header_bytes_max <= bounds.event_bytes_max
    assert bounds.mail_out_retry_s <= bounds.mail_out_retry_max_s <= bounds.mail_out_lifetime_s


def test_bounds_cannot_be_changed_under_way():
    """Limits are frozen, and given by name."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Limits().queue_events_max = 1
    with pytest.raises(TypeError):
        Limits(1)


def test_nearly_every_bound_gives_its_reason():
    """A number nobody can explain is a number nobody dares to change."""
    source = inspect.getsource(limits)
    (cls,) = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
    lines = source.splitlines()
    bound = [node for node in cls.body if isinstance(node, ast.AnnAssign)]
    without = [node.target.id for node in bound if "#" not in lines[node.end_lineno - 1]]
    named = {"_timeout_s", "_connections_max", "_body_bytes_max"}
    assert [name for name in without if not any(name.endswith(end) for end in named)] == []
