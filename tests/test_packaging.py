"""The package installs as people install things, and twistd finds it."""

from __future__ import annotations

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel, built from a copy as ``pip wheel`` does."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, ROOT], check=True
    )
    (built,) = folder.glob("happy-*.whl")
    return built


def fresh_environment(folder: Path) -> Path:
    """Make an environment that borrows our dependencies but not our own installation."""
    venv.create(folder, with_pip=True)
    ours = [p for p in sys.path if p.endswith("site-packages")]
    borrowed = folder / "borrowed"
    borrowed.mkdir()
    for site in ours:
        for item in Path(site).iterdir():
            if not item.name.startswith(("happy", "_editable_impl_happy", "_happy")):
                (borrowed / item.name).symlink_to(item)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "borrowed.pth").write_text(f"{borrowed}\n")
    return folder / "bin" / "python"


def plugins(python: Path, folder: Path) -> str:
    """Return what ``twistd --help`` says from an empty directory."""
    folder.mkdir()
    return subprocess.run(
        [python, "-c", "from twisted.scripts.twistd import run; run()", "--help"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_a_wheel_holds_the_plugin_and_no_package_of_twisted(wheel):
    """The wheel adds one file to twisted.plugins and replaces none of Twisted's own."""
    names = zipfile.ZipFile(wheel).namelist()
    assert [n for n in names if n.startswith("twisted/")] == ["twisted/plugins/happy_plugin.py"]
    assert "happy/py.typed" in names
    assert "happy/edge/templates/nginx.txt" in names
    assert not [n for n in names if n.endswith("dropin.cache")]


@pytest.mark.parametrize("kind", ["wheel", "editable"])
def test_twistd_finds_happy_from_an_empty_directory(kind, wheel, tmp_path):
    """Installed as a wheel or editable, ``twistd --help`` lists happy, whatever the directory."""
    python = fresh_environment(tmp_path / "environment")
    what = ["-e", str(ROOT)] if kind == "editable" else [str(wheel)]
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", *what], check=True)
    help_text = plugins(python, tmp_path / "empty")
    assert "happy" in help_text
    assert "Host web and mail applications" in help_text
