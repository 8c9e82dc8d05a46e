"""TLS at the mail doors: the certificate, and STARTTLS (RFC 3207)."""

from __future__ import annotations

import os
import smtplib
import ssl

import pytest

from certificate_kit import make_certificate
from edge_kit import free_port
from happy.wire.certificate import Certificate, read_certificate
from mail_kit import LISTS, entries
from smtp_kit import Door


@pytest.fixture
def pem(tmp_path):
    """A file with a key and its certificate."""
    path = tmp_path / "mx.pem"
    make_certificate(path)
    return path


@pytest.fixture
def door(pem):
    """A door that offers TLS."""
    return Door(certificate=Certificate(pem))


def test_a_file_that_cannot_be_used_is_a_sentence(tmp_path):
    """It names the file, and says what is missing in it."""
    path = tmp_path / "mx.pem"
    with pytest.raises(ValueError, match=r"mx\.pem cannot be read: no such file"):
        read_certificate(path)
    path.write_text("nothing\n")
    with pytest.raises(ValueError, match=r"mx\.pem holds no certificate"):
        read_certificate(path)
    key, certificate = make_certificate(path)
    other_key, _ = make_certificate(tmp_path / "other.pem")
    for wrong in (certificate, other_key + certificate, key + certificate[:60] + certificate[80:]):
        path.write_bytes(wrong)
        with pytest.raises(ValueError, match=r"mx\.pem holds no private key .* that goes with"):
            read_certificate(path)


def test_a_renewed_certificate_is_used_and_a_broken_one_is_not(pem):
    """The file is looked at for each connection; what cannot be used leaves what could."""
    certificate = Certificate(pem)
    first = certificate.options()
    assert certificate.options() is first
    make_certificate(pem)
    os.utime(pem, ns=(1, 1))
    second = certificate.options()
    assert second is not first
    pem.write_text("broken\n")
    os.utime(pem, ns=(2, 2))
    assert certificate.options() is second
    pem.unlink()
    assert certificate.options() is second


def test_tls_is_offered_until_it_is_there(door):
    """STARTTLS stands in the list of EHLO before, and not after; twice is 503."""
    peer = door.connect()
    assert "250-STARTTLS\r\n" in peer.say(b"EHLO c.example")
    assert peer.say(b"STARTTLS now").startswith("501 ")
    assert peer.say(b"STARTTLS") == "220 2.0.0 Go ahead\r\n"
    assert peer.wire.encrypted_by is not None
    assert "STARTTLS" not in peer.say(b"EHLO c.example")
    assert peer.say(b"STARTTLS").startswith("503 5.5.1 ")


def test_a_door_without_a_certificate_has_no_tls():
    """It is not offered, and asked for it is 502."""
    peer = Door().connect()
    assert "STARTTLS" not in peer.say(b"EHLO c.example")
    assert peer.say(b"STARTTLS").startswith("502 5.5.1 ")


def test_what_was_said_before_is_forgotten(door):
    """No hello and no transaction outlives STARTTLS: anybody could have said them."""
    peer = door.connect().greet()
    peer.say(b"MAIL FROM:<a@s.example>", b"RCPT TO:<dev@lists.example>")
    peer.say(b"STARTTLS")
    assert peer.say(b"RCPT TO:<dev@lists.example>").startswith("503 ")
    assert peer.say(b"MAIL FROM:<a@s.example>").startswith("503 5.5.1 Say hello")
    peer.greet()
    peer.mail()
    (mail,) = door.mails
    assert (mail.tls, mail.protocol) == (True, "ESMTPS")


@pytest.mark.parametrize("behind", [b"MAIL FROM:<injected@plain.example>\r\n", b"x"])
def test_nothing_that_came_in_the_clear_is_read_as_if_it_had_not(door, behind):
    """Bytes behind STARTTLS end the session, and no TLS begins."""
    peer = door.connect().greet()
    peer.push(b"STARTTLS\r\n" + behind)
    assert peer.codes[-1] == 554
    assert not peer.wire.open
    assert peer.wire.encrypted_by is None
    assert door.mails == []


def test_what_waits_in_the_kernel_came_in_the_clear_too(door, monkeypatch):
    """It may come in another segment, and be there when the command is read."""
    monkeypatch.setattr("happy.wire.smtp_session.unread_bytes", lambda _: 1)
    peer = door.connect().greet()
    assert peer.say(b"STARTTLS").startswith("554 5.5.0 ")
    assert not peer.wire.open


def test_a_real_client_sends_over_tls(container, sink, tmp_path):
    """The name and the certificate are right, and the events tell of TLS."""
    _, certificate = make_certificate(tmp_path / "mx.pem")
    port = free_port()
    config = LISTS.format(port=port, smarthost=sink.port)
    house = container(config.replace("[mail]", f'[mail]\ncertificate = "{tmp_path}/mx.pem"'))
    house.start()
    context = ssl.create_default_context(cadata=certificate.decode())
    content = b"Subject: over TLS\r\n\r\n" + b"x" * 70 + b"\r\n" * 20_000
    with smtplib.SMTP("127.0.0.1", port, timeout=60) as client:
        client._host = "mx.lists.example"  # what the certificate is checked against
        client.starttls(context=context)
        for _ in range(2):
            client.sendmail("ann@example.org", "dev-subscribe@lists.example", content)
    mails = entries(house, "happy.Mail")
    assert [(mail["tls"], mail["protocol"]) for mail in mails] == [(True, "ESMTPS")] * 2
