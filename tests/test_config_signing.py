"""Who signs mail, as the configuration says it."""

from __future__ import annotations

import subprocess

import pytest

from conftest import need
from happy.config import load
from happy.errors import ConfigError

FILE = """
data = "data"
[apps.numbers]
app = "happy.examples.numbers:NumberService"
http = "tcp:9000"
[[mail.dkim]]
domain = "X.example"
selector = "s1"
key = "rsa.pem"
[[mail.dkim]]
domain = "x.example"
selector = "s2"
key = "ed.pem"
"""


def make_keys(folder, bits="2048"):
    openssl = need("openssl")
    for name, kind in (("rsa.pem", ["-algorithm", "RSA", "-pkeyopt", f"rsa_keygen_bits:{bits}"]),
                       ("ed.pem", ["-algorithm", "ed25519"])):  # fmt: skip
        command = [openssl, "genpkey", *kind, "-out", str(folder / name)]
        subprocess.run(command, check=True, capture_output=True, timeout=60)


def test_keys_of_openssl_are_read_from_beside_the_file(tmp_path):
    """Both kinds, in the form openssl writes them; the domain in small letters."""
    make_keys(tmp_path)
    (tmp_path / "happy.toml").write_text(FILE)
    signers = load(tmp_path / "happy.toml").mail.signers
    assert [(signer.domain, signer.selector) for signer in signers] == [
        ("x.example", "s1"),
        ("x.example", "s2"),
    ]
    assert all("PRIVATE" not in repr(signer) for signer in signers)


def test_a_key_that_is_none_is_told_with_its_line(tmp_path):
    """A missing file and a key too short for anybody: FILE:LINE, both at once."""
    make_keys(tmp_path, bits="512")
    (tmp_path / "ed.pem").unlink()
    (tmp_path / "happy.toml").write_text(FILE)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "happy.toml")
    short, missing = str(caught.value).splitlines()
    assert ":9: mail.dkim[0].key: " in short
    assert "1024 at least" in short
    assert ":13: mail.dkim[1].key: " in missing
    assert "no such file" in missing
