"""The process that makes snapshots goes behind all others, and only then begins to work."""

import json
import os
import subprocess
import sys

from happy import background

WORK = """
import json, os
said = [os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0)]
def main():
    print(json.dumps(said))
"""


def test_it_stands_behind_all_others_before_it_imports_the_package(tmp_path):
    """While the package is imported, a second of a processor, others go first already."""
    package = tmp_path / "happy"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "side_process.py").write_text(WORK)
    ended = subprocess.run(
        [sys.executable, "-P", background.__file__, json.dumps({"niceness": 7})],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        check=True,
    )
    mine = os.getpriority(os.PRIO_PROCESS, 0)
    assert json.loads(ended.stdout) == [min(19, mine + 7), os.SCHED_BATCH]
