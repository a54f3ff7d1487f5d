"""A local certificate authority that can only speak for this machine's loopback.

The CA carries critical name constraints (RFC 5280, section 4.2.1.10): ``localhost``, ``127.0.0.1`` and ``::1``. A person
who trusts it trusts nothing else by it, whoever gets hold of its key.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sardonyx_hub.embedded.files import private_directory, write_private

CA_LIFE = timedelta(days=3650)
LEAF_LIFE = timedelta(days=365)
#: A leaf with less life left than this is issued anew.
RENEW_BEFORE = timedelta(days=90)

_LOOPBACK_NAMES = ("localhost",)
_LOOPBACK_ADDRESSES = (ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1"))


@dataclass(frozen=True)
class KeyPair:
    """Paths of a certificate (with its chain) and its private key, both PEM."""

    certificate: Path
    key: Path


class CertificateAuthority:
    """A CA in a folder: ``ca.pem`` (for everybody) and ``ca-key.pem`` (0600), made once and kept.

    Parameters
    ----------
    directory
        Where it lives; made with mode 0700 if missing.
    name
        Common name of the CA.
    """

    def __init__(self, directory: Path, name: str = "Sardonyx local CA") -> None:
        self.directory = directory
        self.name = name
        self.certificate_file = directory / "ca.pem"
        self._key_file = directory / "ca-key.pem"

    def ensure(self) -> Path:
        """Make the CA if there is none, or if it is within :data:`RENEW_BEFORE` of its end; return its certificate."""
        private_directory(self.directory)
        if not self._usable():
            self._create()
        return self.certificate_file

    def issue(self, stem: str, *, client: bool = False) -> KeyPair:
        """Return a key pair for the loopback names, kept until it nears its end or the CA changed.

        Parameters
        ----------
        stem
            File name without suffix, and common name of the certificate.
        client
            Whether it may also identify a client (mutual TLS).
        """
        self.ensure()
        pair = KeyPair(self.directory / f"{stem}.pem", self.directory / f"{stem}-key.pem")
        if not self._leaf_usable(pair):
            self._issue(pair, stem, client)
        return pair

    def certificate(self) -> x509.Certificate:
        """Return the CA's certificate.

        Raises
        ------
        OSError, ValueError
            If it is missing or no certificate.
        """
        return x509.load_pem_x509_certificate(self.certificate_file.read_bytes())

    def _usable(self) -> bool:
        try:
            certificate, key = self.certificate(), _load_key(self._key_file)
        except (OSError, ValueError, TypeError):
            return False
        return certificate.public_key() == key.public_key() and _has_time_left(certificate)

    def _leaf_usable(self, pair: KeyPair) -> bool:
        try:
            leaf = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
            key = _load_key(pair.key)
            leaf.verify_directly_issued_by(self.certificate())
        except (OSError, ValueError, TypeError):
            return False
        except Exception:  # cryptography raises InvalidSignature, which is no ValueError
            return False
        return leaf.public_key() == key.public_key() and _has_time_left(leaf)

    def _create(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name(self.name)
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            # A day back: a clock that is corrected later must not make the CA "not yet valid".
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + CA_LIFE)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(ca=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.NameConstraints(_permitted(), None), critical=True)
            .sign(key, hashes.SHA256())
        )
        write_private(self._key_file, _key_pem(key))
        write_private(self.certificate_file, certificate.public_bytes(serialization.Encoding.PEM), mode=0o644)

    def _issue(self, pair: KeyPair, name: str, client: bool) -> None:
        ca, ca_key = self.certificate(), _load_key(self._key_file)
        key = ec.generate_private_key(ec.SECP256R1())
        usages = [ExtendedKeyUsageOID.SERVER_AUTH] + ([ExtendedKeyUsageOID.CLIENT_AUTH] if client else [])
        now = datetime.now(UTC)
        leaf = (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(ca.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + LEAF_LIFE)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(ca=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.SubjectAlternativeName(_names()), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(_authority_identifier(ca), critical=False)
            .sign(ca_key, hashes.SHA256())
        )
        chain = leaf.public_bytes(serialization.Encoding.PEM) + ca.public_bytes(serialization.Encoding.PEM)
        write_private(pair.key, _key_pem(key))
        write_private(pair.certificate, chain, mode=0o644)


def certificate_end(path: Path) -> datetime:
    """Return when the first certificate in `path` ends (UTC).

    Raises
    ------
    OSError, ValueError
        If the file is missing or holds no certificate.
    """
    return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc


def file_mode(path: Path) -> int:
    """Return the permission bits of `path`."""
    return path.stat().st_mode & 0o777


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Sardonyx"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _names() -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in _LOOPBACK_NAMES]
    return names + [x509.IPAddress(address) for address in _LOOPBACK_ADDRESSES]


def _permitted() -> Sequence[x509.GeneralName]:
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in _LOOPBACK_NAMES]
    return names + [x509.IPAddress(ipaddress.ip_network(address)) for address in _LOOPBACK_ADDRESSES]


def _authority_identifier(ca: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    identifier = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _has_time_left(certificate: x509.Certificate) -> bool:
    now = datetime.now(UTC)
    return certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc - RENEW_BEFORE


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{path} holds no elliptic curve key")
    return key


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
