"""`happy core --journal`: what such a process says when it cannot serve, or nobody is there."""

import subprocess
import sys

from happy.errors import StartError
from happy.split.aside import Say
from happy.split.outcome_frame import OutcomeStream
from happy.split.pickled import unpack_error

WAIT_S = 60


def core(*arguments, cwd):
    command = [sys.executable, "-c", "from happy.cli import main; main()", "core", *arguments]
    return subprocess.run(
        command, input=b"", capture_output=True, cwd=cwd, check=False, timeout=WAIT_S
    )


def test_an_application_that_cannot_be_loaded_is_said_to_the_container(tmp_path):
    """It is one sentence, before any header, and no traceback."""
    done = core("nowhere:App", "--journal", str(tmp_path), cwd=tmp_path)
    (ended,) = OutcomeStream().feed(done.stdout)
    assert ended.kind is Say.ENDED
    error = unpack_error(ended.body)
    assert (type(error), str(error)) == (StartError, "there is no module nowhere")
    assert (done.returncode, done.stderr) == (1, b"")


def test_a_container_that_lets_go_at_once_is_no_fault(tmp_path):
    """Nothing was to be done, and nothing is said."""
    done = core("happy.examples.numbers:NumberService", "--journal", str(tmp_path), cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
