"""The local CA: constrained to loopback, kept, and its leaves renewed in time."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sardonyx_hub.embedded import ca
from sardonyx_hub.embedded.ca import CertificateAuthority, KeyPair


def handshake(ca_file: Path, pair: KeyPair, name: str) -> None:
    """Do a TLS handshake in memory; raises what the client raises."""
    client_context = ssl.create_default_context(cafile=str(ca_file))
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(pair.certificate, pair.key)
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server, server_hostname=name)
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    waiting = [client, server]
    while waiting:
        for side in list(waiting):
            try:
                side.do_handshake()
                waiting.remove(side)
            except ssl.SSLWantReadError:
                continue


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1"])
def test_clients_that_trust_the_ca_trust_loopback(tmp_path: Path, name: str) -> None:
    authority = CertificateAuthority(tmp_path)
    handshake(authority.ensure(), authority.issue("s3"), name)


def test_a_stolen_ca_key_cannot_speak_for_other_names(tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path)
    authority.ensure()
    ca_key = serialization.load_pem_private_key((tmp_path / "ca-key.pem").read_bytes(), None)
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    forged = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(authority.certificate().subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("example.org")]), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    pair = KeyPair(tmp_path / "forged.pem", tmp_path / "forged-key.pem")
    pair.certificate.write_bytes(forged.public_bytes(serialization.Encoding.PEM))
    pair.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree"):
        handshake(authority.certificate_file, pair, "example.org")


def test_the_ca_and_its_leaf_are_kept(tmp_path: Path) -> None:
    first = CertificateAuthority(tmp_path)
    pair = first.issue("s3")
    before = [path.read_bytes() for path in (first.certificate_file, pair.certificate, pair.key)]
    again = CertificateAuthority(tmp_path)
    assert again.issue("s3") == pair
    assert [path.read_bytes() for path in (again.certificate_file, pair.certificate, pair.key)] == before


def test_a_leaf_near_its_end_is_renewed_by_the_same_ca(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = CertificateAuthority(tmp_path)
    monkeypatch.setattr(ca, "LEAF_LIFE", timedelta(days=30))
    pair = authority.issue("s3")
    trusted = authority.certificate_file.read_bytes()
    monkeypatch.undo()
    old = pair.certificate.read_bytes()
    CertificateAuthority(tmp_path).issue("s3")
    assert pair.certificate.read_bytes() != old
    assert authority.certificate_file.read_bytes() == trusted
    handshake(authority.certificate_file, pair, "localhost")


def test_a_leaf_of_a_lost_ca_is_issued_anew(tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path)
    pair = authority.issue("s3")
    (tmp_path / "ca-key.pem").write_text("damaged")
    CertificateAuthority(tmp_path).issue("s3")
    handshake(authority.certificate_file, pair, "localhost")


def test_only_certificates_can_be_read_by_others(tmp_path: Path) -> None:
    pair = CertificateAuthority(tmp_path / "ca").issue("s3")
    modes = {path.name: ca.file_mode(path) for path in (tmp_path / "ca").iterdir()}
    assert modes == {"ca.pem": 0o644, "ca-key.pem": 0o600, "s3.pem": 0o644, "s3-key.pem": 0o600}
    assert ca.file_mode(pair.key.parent) == 0o700
