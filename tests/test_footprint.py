"""What memory there is, as the kernel's files tell it."""

import pytest

from happy.footprint import Footprint, read_footprint

MIB = 1024 * 1024
MACHINE = {
    "/proc/self/status": "Name:\thappy\nVmPeak:\t  9999 kB\nVmRSS:\t   2048 kB\nThreads:\t3\n",
    "/proc/meminfo": "MemTotal: 9000 kB\nMemFree: 1 kB\nMemAvailable:   4096 kB\nSwapFree: 5 kB\n",
    "/proc/self/cgroup": "4:memory:/old\n0::/system.slice/happy.service\n",
}


def looked_at(files):
    return read_footprint(lambda path: files.get(path, ""))


def group(path, most, now, inactive=0):
    return {
        f"/sys/fs/cgroup{path}/memory.max": f"{most}\n",
        f"/sys/fs/cgroup{path}/memory.current": f"{now}\n",
        f"/sys/fs/cgroup{path}/memory.stat": f"anon 5\ninactive_file {inactive}\nfile 9\n",
    }


def test_a_machine_without_groups_tells_what_is_available():
    """What the process has, and what can be taken without swapping."""
    assert looked_at(MACHINE) == Footprint(2 * MIB, 4 * MIB)


@pytest.mark.parametrize("path", ["/system.slice/happy.service", "/system.slice", ""])
def test_the_tightest_group_counts(path):
    """A limit of the process's group, or of one above it, less what was taken from it."""
    files = MACHINE | group(path, 3 * MIB, 2 * MIB)
    assert looked_at(files).free_bytes == MIB


def test_file_pages_that_nobody_uses_can_be_taken_back():
    """They count as taken for the group, and yet as free."""
    files = MACHINE | group("/system.slice", 3 * MIB, 2 * MIB, inactive=MIB // 2)
    assert looked_at(files).free_bytes == MIB + MIB // 2


def test_a_group_that_is_over_its_limit_has_nothing_left():
    """Never less than nothing."""
    assert looked_at(MACHINE | group("/system.slice", MIB, 2 * MIB)).free_bytes == 0


def test_a_group_without_a_limit_changes_nothing():
    """``max`` is no number."""
    assert looked_at(MACHINE | group("/system.slice", "max", 2 * MIB)).free_bytes == 4 * MIB


def test_what_is_not_told_is_not_known():
    """A system without these files bounds nothing."""
    assert looked_at({}) == Footprint(None, None)


def test_this_machine_tells_something():
    """The files are those of a real system."""
    seen = read_footprint()
    assert seen.resident_bytes > 5 * MIB
    assert seen.free_bytes > 0
