"""Signatures that others verify: dkimpy, over messages of every shape, and after the wire."""

from __future__ import annotations

import base64
import re
from itertools import pairwise

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, succeed

from happy.effects import SendMail
from happy.event import MailDelayed
from happy.wire.dkim import Signer, load_key, signatures
from happy.wire.smtp_data import as_sent, blocks_of
from test_wire_smtp_out import MAIL, House

RSA = generate_private_key(65537, 1024)
ED25519 = Ed25519PrivateKey.generate()
SIGNERS = [Signer("y.example", "r", RSA), Signer("y.example", "e", ED25519)]
HEADER = (
    b"From: Ann <ann@y.example>\r\nTo: bob@x.example\r\nSubject: hello\r\n  there\r\n"
    b"X-Other: 1\r\nSubject: twice\r\n\r\n"
)


def in_dns(name, **_):
    """Answer as DNS does where our keys are published (RFC 6376 section 3.6, RFC 8463)."""
    selector = name.partition(b".")[0].decode()
    if selector == "r":
        form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return b"v=DKIM1; k=rsa; p=" + base64.b64encode(RSA.public_key().public_bytes(*form))
    raw = ED25519.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return b"v=DKIM1; k=ed25519; p=" + base64.b64encode(raw)


def verified(message):
    """Return what dkimpy says of each signature."""
    count = message.count(b"DKIM-Signature:")
    return [dkim.DKIM(message).verify(idx=n, dnsfunc=in_dns) for n in range(count)]


def signed(message, signers=SIGNERS):
    return signatures(signers, [message], 1_700_000_000) + message


def test_both_kinds_of_key_are_verified_by_dkimpy():
    """rsa-sha256 and ed25519-sha256 side by side, so that old verifiers have one they know."""
    message = signed(HEADER + b"Hello.\r\n")
    assert re.findall(rb"a=([a-z0-9-]+);", message) == [b"rsa-sha256", b"ed25519-sha256"]
    assert verified(message) == [True, True]
    assert max(map(len, message.split(b"\r\n"))) <= 80


bodies = st.lists(
    st.sampled_from(
        [b"a", b" ", b"\t", b"\r\n", b"\r\n\r\n", b".", b"\n", b"\r", b"\xff", b"ab c"]
    ),
    max_size=40,
)


@settings(deadline=None)
@given(bodies, st.lists(st.integers(0, 300), max_size=5))
def test_a_message_is_signed_as_it_arrives(parts, cuts):
    """Whatever its line ends, and wherever its blocks are cut: what arrives verifies."""
    raw = HEADER + b"".join(parts)
    places = sorted({0, *(cut % (len(raw) + 1) for cut in cuts), len(raw)})
    blocks = [raw[a:b] for a, b in pairwise(places)]
    prefix = signatures(SIGNERS[1:], as_sent(blocks), 1_700_000_000)
    assert verified(prefix + b"".join(as_sent([raw]))) == [True]


names = st.sampled_from(["To", "cc", "SUBJECT", "List-Id", "X-A", "Date"])
values = st.lists(st.sampled_from(["a", " ", "\t", "b c", "\r\n d", "\r\n\te f"]), max_size=6)


@settings(deadline=None)
@given(st.lists(st.tuples(names, values.map("".join)), max_size=8))
def test_any_header_is_signed_rightly(fields):
    """Folded, with spaces, large letters, and several of one name."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
    message = b"From: ann@y.example\r\n" + lines.encode() + b"\r\nHello.\r\n"
    assert verified(signed(message, SIGNERS[1:])) == [True]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Hello.", b"Hello!"),
        (b"Ann <ann@y", b"Eve <eve@y"),
        (b"Subject: twice", b"Subject: other"),
        (b"X-Other: 1", b"From: eve@y.example"),
        (b"X-Other: 1", b"Subject: a third one"),
        (b"X-Other: 1", b"Reply-To: eve@evil.example"),
    ],
)
def test_what_is_changed_on_the_way_does_not_verify(old, new):
    """Body and header; and no field of those that matter can be added."""
    message = signed(HEADER + b"Hello.\r\n")
    assert old in message
    with_change = message.replace(old, new)
    for n in range(2):
        try:
            good = dkim.DKIM(with_change).verify(idx=n, dnsfunc=in_dns)
        except dkim.DKIMException:
            good = False
        assert not good


@pytest.mark.parametrize(
    ("author", "count"),
    [
        (b"ann@y.example", 2),
        (b"ann@Mail.Y.example", 2),
        (b"ann@notmy.example", 0),
        (b"ann@y.example.evil.example", 0),
        (b"ann@y.example, eve@evil.example", 0),
        (b"", 0),
    ],
)
def test_only_mail_of_the_domain_is_signed(author, count):
    """The author's domain or one below; a message of two domains' authors is nobody's."""
    made = signatures(SIGNERS, [b"From: " + author + b"\r\n\r\n"], 0)
    assert made.count(b"DKIM-Signature:") == count


def test_a_message_without_a_header_is_not_signed():
    """However much of it there is."""
    assert signatures(SIGNERS, [b"x" * 100_000] * 12, 0) == b""
    assert signatures(SIGNERS, [], 0) == b""


def pem(key):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def test_keys_are_read_or_refused_in_a_sentence(tmp_path):
    """PEM of the two kinds; anything else says what is wrong and where."""
    for key in (RSA, ED25519):
        (tmp_path / "key").write_bytes(pem(key))
        assert pem(load_key(tmp_path / "key")) == pem(key)
    for content, sentence in [
        (pem(ec.generate_private_key(ec.SECP256R1())), "DKIM knows RSA and Ed25519"),
        (b"-----BEGIN x", "is not a private key"),
    ]:
        (tmp_path / "key").write_bytes(content)
        with pytest.raises(ValueError, match=sentence):
            load_key(tmp_path / "key")
    with pytest.raises(ValueError, match="no such file"):
        load_key(tmp_path / "none")


# --- on the way out ----------------------------------------------------------------------------


def signing(house, sign):
    house.runner = house.make_runner(sign=sign)
    return house


def test_a_message_goes_out_signed_with_the_fields_that_were_added():
    """The Message-ID that it had not is signed, too."""
    house = House()
    header = b"From: ann@y.example\r\nSubject: hello\r\n\r\n"

    def sign(mail: SendMail):
        return succeed(signatures(SIGNERS, as_sent(blocks_of(mail, None)), 0))

    signing(house, sign).owe(1, header=header)
    house.pump()
    ((_, message),) = house.taken
    assert verified(message) == [True, True]
    assert re.search(rb"h=[^;]*message-id:message-id", message.replace(b"\r\n\t ", b""))


def test_no_attempt_is_made_before_the_signature_is_there():
    """It is made in a thread, and takes its time."""
    house = House()
    made = Deferred()
    signing(house, lambda _mail: made).owe(1)
    house.pump()
    assert (house.begun, house.taken) == ([], [])
    made.callback(b"DKIM-Signature: x\r\n")
    house.pump()
    ((_, message),) = house.taken
    assert message == b"DKIM-Signature: x\r\n" + MAIL.header + MAIL.content


def test_a_message_that_cannot_be_read_is_tried_again():
    """A body that is not there now may be put back."""
    house = House()
    signing(house, lambda _mail: fail(OSError("no such file"))).owe(1)
    house.pump()
    (event,) = house.events
    assert isinstance(event, MailDelayed)
    assert event.reply == "4.3.0 the message cannot be read: no such file"
