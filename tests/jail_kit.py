"""A mail server that is not installed: its files alone, in a folder that it takes for the machine.

Debian's mail servers exclude each other, and each has its users, its spool and its configuration
in places that are compiled in. Here one runs in a folder (``chroot``) with all of these: nothing
of the machine is changed, and its configuration is where it is on any other. The folder of its
unpacked package is named by a variable of the environment::

    apt-get download PACKAGE && dpkg -x PACKAGE*.deb $ROOT

The libraries that it needs are installed.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import stat
import subprocess
import tempfile
from pathlib import Path

import pytest

from conftest import CI, need
from edge_kit import need_root, wait_until

NULL = os.makedev(1, 3)
FIRST_UID = 64_000  # of the users in a folder; no user of the machine has it
RUN_S_MAX = 60


def unpacked(variable: str) -> Path:
    """Return the folder of an unpacked package; without it skip, and under CI fail."""
    root = os.environ.get(variable)
    if root is None:
        (pytest.fail if CI else pytest.skip)(f"{variable} does not say where its package is")
    return Path(root)


class Jail:
    """A folder that is the whole machine to what runs in it, with some users of its own."""

    def __init__(self, folder: Path, *users: str) -> None:
        need_root()
        self.folder = folder.resolve()
        self.uids = {name: FIRST_UID + number for number, name in enumerate(users)}
        passwd = ["root:x:0:0::/:/bin/sh"]
        passwd += [f"{name}:x:{uid}:{uid}::/:/bin/false" for name, uid in self.uids.items()]
        group = ["root:x:0:", *[f"{name}:x:{uid}:" for name, uid in self.uids.items()]]
        self.write("/etc/passwd", "\n".join([*passwd, ""]))
        self.write("/etc/group", "\n".join([*group, ""]))
        self.write("/etc/hosts", "127.0.0.1 localhost\n")
        self.write("/etc/services", "smtp 25/tcp mail\n")
        self.make("/tmp").chmod(0o1777)
        null = self.make("/dev") / "null"
        os.mknod(null, stat.S_IFCHR, NULL)
        null.chmod(0o666)

    def path(self, path: str) -> Path:
        """Return where a path in the folder is on the machine."""
        return self.folder / path.lstrip("/")

    def make(self, path: str, user: str = "root") -> Path:
        """Make a directory, and give it to a user."""
        made = self.path(path)
        made.mkdir(parents=True, exist_ok=True)
        uid = self.uids.get(user, 0)
        os.chown(made, uid, uid)
        return made

    def write(self, path: str, text: str) -> None:
        """Write a file."""
        self.make(str(Path(path).parent))
        self.path(path).write_text(text)

    def install(self, program: Path, path: str, *, group: str = "root", mode: int = 0o755) -> None:
        """Copy a program, and the libraries that it needs."""
        said = subprocess.run(
            [need("ldd"), program], capture_output=True, text=True, timeout=RUN_S_MAX, check=True
        ).stdout
        assert "not found" not in said, said
        for source in [str(program), *re.findall(r"(/\S+) \(0x", said)]:
            to = self.path(path if source == str(program) else source)
            if not to.exists():
                self.make(f"/{to.parent.relative_to(self.folder)}")
                shutil.copyfile(source, to)
                to.chmod(0o755)
        os.chown(self.path(path), 0, self.uids.get(group, 0))
        self.path(path).chmod(mode)

    def command(self, *words: str) -> list[str]:
        """Return the words that run a command in the folder."""
        return [need("chroot"), str(self.folder), *words]

    def run(self, *words: str, status: int = 0) -> str:
        """Run a command in the folder, to its end; return what it says."""
        with tempfile.TemporaryFile("w+") as said:  # not a pipe, which a child would keep open
            done = subprocess.run(
                self.command(*words),
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                timeout=RUN_S_MAX,
                check=False,
            )
            said.seek(0)
            told = said.read()
        assert done.returncode == status, told
        return told

    def close(self) -> None:
        """End what still runs in the folder."""
        wait_until(lambda: not self._kill_some(), "nothing runs there any more")

    def _kill_some(self) -> bool:
        found = False
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it has ended meanwhile
                if (process / "root").readlink().is_relative_to(self.folder):
                    found = True
                    os.kill(int(process.name), signal.SIGKILL)
        return found
