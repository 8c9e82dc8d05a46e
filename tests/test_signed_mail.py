"""Signed mail behind a real Postfix: others verify ours, and we what OpenDKIM signs."""

from __future__ import annotations

import re
import subprocess

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from desk_kit import desk, have_written
from edge_kit import free_port, running
from facts_kit import Zone, in_dns
from jail_kit import unpacked
from mail_kit import swaks
from postfix_kit import postfix
from test_signed_corpora import facts_of

KEYS = {"r": generate_private_key(65537, 2048), "e": Ed25519PrivateKey.generate()}
RECORDS = {f"{name}._domainkey.lists.example": in_dns(key) for name, key in KEYS.items()}
TABLE = """
[[mail.dkim]]
domain = "lists.example"
selector = "{name}"
key = "{name}.pem"
"""
# What a hop likes to touch: dots, spaces at the end, empty lines, letters beyond ASCII.
BODY = (
    ".\r\n..two\r\n\tspaces  \r\nCe n'est pas déjà vu.\r\n\r\nFrom here\r\n"
    + "x" * 900
    + "\r\n\r\n"
)
FIELD = re.compile(rb"(?mi)^DKIM-Signature:.*\r?\n(?:[ \t].*\r?\n)*")


@pytest.fixture
def letter(container, sink):
    """A letter as it arrives behind the Postfix."""
    port = free_port()
    with postfix(happy=port, smarthost=sink.port) as relay:
        keys = "".join(TABLE.format(name=name) for name in KEYS)
        house = desk(container, port=port, smarthost=relay.port, keys=keys)
        for name, key in KEYS.items():
            pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            (house.folder / f"{name}.pem").write_bytes(pem)
        house.start()
        have_written(port, "bob", body=BODY)
        sink.wait_for(1)
        house.stop()
    ((_, _, content),) = sink.messages
    return content


def by_dkimpy(letter):
    """Return what dkimpy says of each signature."""

    def dnsfunc(name, **_):
        return RECORDS[name.decode().rstrip(".")].encode()

    said = []
    for n in range(len(FIELD.findall(letter))):
        try:
            said.append(dkim.DKIM(letter).verify(idx=n, dnsfunc=dnsfunc))
        except dkim.ValidationError:
            said.append(False)
    return said


def by_opendkim(letter, folder):
    """Return what OpenDKIM says of each signature alone: of several it names a good one."""
    program = unpacked("OPENDKIM_ROOT") / "usr/sbin/opendkim"
    keys, config = folder / "keys", folder / "opendkim.conf"
    keys.write_text("".join(f"{name} {record}\n" for name, record in RECORDS.items()))
    config.write_text(f"Mode v\nSyslog no\nTestPublicKeys {keys}\n")
    signatures = FIELD.findall(letter)
    said = []
    for signature in signatures:
        alone = signature + FIELD.sub(b"", letter)
        done = subprocess.run(
            [program, "-x", config, "-t", "-"],
            input=alone,
            capture_output=True,
            timeout=60,
            check=False,
        )
        said.append(done.stdout.decode().strip())
    return said


def test_what_arrives_behind_a_postfix_is_verified_by_dkimpy_and_opendkim(letter, tmp_path):
    """Both kinds of key, whoever looks; and one letter changed is seen by both."""
    assert b"\r\n\r\n.\r\n..two\r\n\tspaces  \r\n" in letter
    assert b"Received: from mx.lists.example" in letter.partition(b"DKIM-Signature:")[0]
    assert by_dkimpy(letter) == [True, True]
    by_rsa, by_ed25519 = by_opendkim(letter, tmp_path)
    assert re.search(r"verification \(s=r, d=lists\.example, 2048-bit key\) succeeded$", by_rsa)
    assert re.search(r"verification \(s=e, d=lists\.example, .*\) succeeded$", by_ed25519)
    changed = letter.replace(b"pas d", b"pas D")
    assert by_dkimpy(changed) == [False, False]
    for said in by_opendkim(changed, tmp_path):
        assert said.endswith("failed: signature verification failed")


@pytest.fixture
def signer(tmp_path):
    """OpenDKIM as it signs for a mail server: the line of main.cf that asks it."""
    pem = KEYS["r"].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "key").write_bytes(pem)
    port = free_port()
    config = tmp_path / "signing.conf"
    config.write_text(
        f"Mode s\nSyslog no\nSocket inet:{port}@127.0.0.1\nDomain lists.example\nSelector r\n"
        f"KeyFile {tmp_path}/key\nRequireSafeKeys no\nCanonicalization relaxed/simple\n"
        "OversignHeaders From\n"
    )
    program = unpacked("OPENDKIM_ROOT") / "usr/sbin/opendkim"
    with running([program, "-f", "-x", config], port, tmp_path / "said"):
        yield f"smtpd_milters = inet:127.0.0.1:{port}"


def test_what_opendkim_signs_passes_at_a_door(signer, sink):
    """And does not when a letter of it was changed, in the body or in the header."""
    with postfix(happy=free_port(), smarthost=sink.port, more=signer) as relay:
        to = ("--from", "desk@lists.example", "--to", "bob@x.example")
        swaks(relay.port, *to, "--header", "Subject: hello", "--body", BODY)
        sink.wait_for(1)
    ((_, _, letter),) = sink.messages
    zone = Zone({(name, "TXT"): [record] for name, record in RECORDS.items()})
    (found,) = facts_of(letter, zone, "dkim").dkim
    assert (found.result, found.domain) == ("pass", "lists.example")
    for old, new in ((b"spaces  ", b"spaces "), (b"Subject: hello", b"Subject: hallo")):
        assert letter.count(old) == 1
        (found,) = facts_of(letter.replace(old, new), zone, "dkim").dkim
        assert found.result == "fail"
