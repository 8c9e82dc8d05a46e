"""The users of the mail doors, as a table and a file tell them."""

from __future__ import annotations

import os

import pytest

from happy.wire.passwords import Cost, hashed
from happy.wire.users import users_now

HASH = hashed("secret", Cost(1, 1, 1))


def write(path, *names, moment=None, mode=0o600):
    path.write_text("".join(f"{name}:{HASH}\n" for name in names))
    path.chmod(mode)
    if moment is not None:
        os.utime(path, ns=(moment, moment))
    return path


def test_a_table_is_as_it_is(tmp_path):
    """Without a file nothing changes, and nothing is looked at."""
    assert users_now({"ann": HASH}, None)() == {"ann": HASH}


def test_users_come_and_go_with_the_file(tmp_path):
    """Those of the table stay; between changes it is the same mapping."""
    file = write(tmp_path / "users", "bob")
    now = users_now({"ann": HASH}, file)
    assert now().keys() == {"ann", "bob"}
    assert now() is now()
    write(file, "eve", "tom", moment=1)
    assert now().keys() == {"ann", "eve", "tom"}


@pytest.mark.parametrize(
    ("names", "mode", "words"),
    [
        (["ann"], 0o600, "ann is a user of the table as well"),
        (["bob"], 0o644, "others may read it: chmod 600"),
        (["b b"], 0o600, "line 1 'b b' is no name"),
    ],
)
def test_a_file_that_is_unfit_is_refused_at_first_and_passed_over_later(
    tmp_path, names, mode, words
):
    """A sentence names the file; a mistake in an editor locks nobody out."""
    file = write(tmp_path / "users", *names, mode=mode)
    with pytest.raises(ValueError, match=words) as caught:
        users_now({"ann": HASH}, file)
    assert str(file) in str(caught.value)
    write(file, "tom")
    now = users_now({"ann": HASH}, file)
    write(file, *names, moment=1, mode=mode)
    assert now().keys() == {"ann", "tom"}
