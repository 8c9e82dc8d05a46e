"""TLSA records: what is in them, which of them count, and which certificate they mean."""

from __future__ import annotations

from hashlib import sha256, sha512

import dns.rdata
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_der_x509_certificate, load_pem_x509_certificate
from hypothesis import given
from hypothesis import strategies as st

from certificate_kit import make_certificate
from happy.wire.tlsa import Tlsa, parse_tlsa, public_key_of, usable

BYTE = st.integers(0, 255)
SIZES = {1: 32, 2: 64}  # dnspython writes no digest of a wrong length
RECORDS = BYTE.flatmap(
    lambda matching: st.builds(
        Tlsa,
        BYTE,
        BYTE,
        st.just(matching),
        st.binary(min_size=SIZES.get(matching, 1), max_size=SIZES.get(matching, 80)),
    )
)
DIGEST = sha256(b"x").digest()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    _, pem = make_certificate(tmp_path_factory.mktemp("mx") / "mx.pem")
    return load_pem_x509_certificate(pem)


def sequence(content):
    """Return a SEQUENCE in DER."""
    length = len(content)
    long = length.to_bytes((length.bit_length() + 7) // 8)
    size = bytes([length]) if length < 128 else bytes([0x80 | len(long)]) + long
    return b"\x30" + size + content


@given(RECORDS)
def test_a_record_is_read_as_others_write_it(record):
    """RFC 6698 section 2.1, against dnspython."""
    text = f"{record.usage} {record.selector} {record.matching} {record.data.hex()}"
    wire = dns.rdata.from_text("IN", "TLSA", text).to_wire()
    assert parse_tlsa(wire) == record


@given(st.binary(max_size=80))
def test_whatever_stands_in_a_record_it_is_usable_or_not(data):
    """Nothing raises; what is cut off is no record."""
    record = parse_tlsa(data)
    assert (record is None) is (len(data) <= 3)
    if record is not None:
        assert usable([record]) == ((record,) if record.is_usable else ())


@pytest.mark.parametrize("selector", [0, 1], ids=["certificate", "key"])
@pytest.mark.parametrize("matching", [0, 1, 2], ids=["whole", "sha256", "sha512"])
def test_a_record_means_one_certificate(certificate, tmp_path, selector, matching):
    """Whole or as a digest, itself or its key; no other certificate, and no other bytes."""
    chosen = certificate.public_bytes(Encoding.DER)
    if selector:
        chosen = certificate.public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )
    data = (lambda: chosen, sha256(chosen).digest, sha512(chosen).digest)[matching]()
    record = Tlsa(3, selector, matching, data)
    _, other = make_certificate(tmp_path / "other.pem")
    assert record.is_usable
    assert record.matches(certificate)
    assert not record.matches(load_pem_x509_certificate(other))
    assert not Tlsa(3, selector, matching, data[:-1] + bytes([data[-1] ^ 1])).matches(certificate)


@pytest.mark.parametrize(
    "record",
    [
        Tlsa(0, 1, 1, DIGEST),
        Tlsa(1, 1, 1, DIGEST),
        Tlsa(4, 1, 1, DIGEST),
        Tlsa(255, 1, 1, DIGEST),
        Tlsa(3, 2, 1, DIGEST),
        Tlsa(3, 1, 3, DIGEST),
        Tlsa(3, 1, 2, DIGEST),
        Tlsa(3, 1, 1, DIGEST[1:]),
        Tlsa(3, 0, 0, b"not a certificate"),
        Tlsa(2, 1, 0, b"not a key"),
    ],
    ids=str,
)
def test_what_proves_no_mail_server_is_unusable(record):
    """PKIX usages (RFC 7672 section 3.1.3), numbers nobody knows, digests of a wrong length."""
    assert not record.is_usable


def test_of_several_digests_only_the_strongest_counts():
    """RFC 7671 section 9: for each usage and selector by itself; what is whole always counts."""
    key = bytes.fromhex("302a300506032b6570032100") + bytes(32)  # Ed25519, RFC 8410
    whole, weak, strong = (
        Tlsa(3, 1, 0, key),
        Tlsa(3, 1, 1, DIGEST),
        Tlsa(3, 1, 2, sha512(b"x").digest()),
    )
    elsewhere = Tlsa(2, 1, 1, DIGEST)
    assert usable([weak, elsewhere]) == (weak, elsewhere)
    assert usable([weak, whole, strong, elsewhere]) == (whole, strong, elsewhere)
    broken = Tlsa(3, 1, 2, b"short")
    assert usable([weak, broken]) == (weak,)


def test_a_key_is_taken_as_it_stands_in_the_certificate(certificate):
    """A point that its owner compressed stays so: a digest is one of bytes, not of a number."""
    der, key = certificate.public_bytes(Encoding.DER), certificate.public_key()
    plain = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    point = key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    # The same algorithm, and a bit string that is shorter by the second coordinate.
    short = sequence(plain[2:23] + b"\x03\x22\x00" + point)
    tbs = certificate.tbs_certificate_bytes
    changed = sequence(tbs[tbs.index(b"\xa0\x03") :].replace(plain, short))
    signed = der[der.index(tbs) + len(tbs) :]
    other = load_der_x509_certificate(sequence(changed + signed))
    assert public_key_of(der) == plain
    assert public_key_of(other.public_bytes(Encoding.DER)) == short
    assert other.public_key() == key
    assert Tlsa(3, 1, 1, sha256(short).digest()).matches(other)
