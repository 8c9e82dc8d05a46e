"""Which file system a directory is on, and whether it is another machine's."""

from __future__ import annotations

import pytest

from happy.journal.mounts import file_system_type, is_network

MOUNTINFO = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
23 22 0:21 / /proc rw,nosuid - proc proc rw
30 22 0:40 / /srv rw,relatime shared:7 master:2 - nfs4 files.example:/export rw,vers=4.2
31 30 0:41 / /srv/local rw - xfs /dev/vdb rw
32 22 0:42 / /mnt/two\\040words\\134 rw - cifs //files.example/share rw
33 22 0:43 / /mnt/covered rw - ext4 /dev/vdc rw
34 33 0:44 / /mnt/covered rw - fuse.sshfs user@files.example: rw
35 22 0:45 / /srv2 rw - tmpfs - - rw
"""


@pytest.mark.parametrize(
    ("path", "type_name", "network"),
    [
        ("/", "ext4", False),
        ("/var/lib/happy", "ext4", False),
        ("/srv", "nfs4", True),
        ("/srv/happy/numbers", "nfs4", True),
        ("/srv/local/happy", "xfs", False),
        ("/srv/localized", "nfs4", True),
        ("/srv2/happy", "tmpfs", False),
        ("/mnt/two words\\/happy", "cifs", True),
        ("/mnt/two", "ext4", False),
        ("/mnt/covered/happy", "fuse.sshfs", True),
    ],
)
def test_the_mount_nearest_to_a_directory_decides(path, type_name, network):
    """The deepest mount above a path counts, of two on one place the later, names unescaped."""
    assert file_system_type(path, MOUNTINFO) == type_name
    assert is_network(type_name) is network


@pytest.mark.parametrize("text", ["", "\n", "no mounts here", "1 2 0:1 /\n", "1 2 - ext4 x rw\n"])
def test_a_table_that_says_nothing_is_no_fault(text):
    """Without a mount above a path nothing is said, and nothing is alleged."""
    assert file_system_type("/srv", text) is None
    assert not is_network(None)


def test_this_machine_has_a_table_that_is_understood():
    """The table of the machine that runs this names a type for its root."""
    with open("/proc/self/mountinfo") as mountinfo:  # noqa: PTH123 - a file of the kernel
        text = mountinfo.read()
    assert file_system_type("/proc/self", text) == "proc"
    assert file_system_type("/", text)
