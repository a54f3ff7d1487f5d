"""The certificate authorities of a session: what the starting environment trusts, and ours."""

from __future__ import annotations

import os
import re
import ssl
from typing import Mapping, Optional

BUNDLE_FILE = "ca-bundle.pem"
#: Each client reads one or two of these and no other, and each of them replaces the client's own list: hence
#: all, and one file that holds the system's authorities too.
CA_VARIABLES = (
    "AWS_CA_BUNDLE",
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
)
_SEARCH = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE", "GIT_SSL_CAINFO")
_SYSTEM = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def _read(path: Optional[str]) -> bytes:
    if not path:
        return b""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def trusted_now(environ: Mapping[str, str]) -> bytes:
    """Return the PEM file that this environment trusts: the one it names (a company's proxy, say), else the
    system's."""
    candidates = [environ.get(name) for name in _SEARCH]
    candidates += [ssl.get_default_verify_paths().cafile, *_SYSTEM]
    for path in candidates:
        data = _read(path)
        if _CERTIFICATE.search(data):
            return data
    return b""


def make_bundle(environ: Mapping[str, str]) -> Optional[bytes]:
    """Return all certificates to trust, each once, or ``None`` if there is none of ours
    (``SARDONYX_CA_FILE``) to add."""
    ours = _CERTIFICATE.findall(_read(environ.get("SARDONYX_CA_FILE")))
    if not ours:
        return None
    certificates = dict.fromkeys([*_CERTIFICATE.findall(trusted_now(environ)), *ours])
    return b"\n".join(certificates) + b"\n"


def ca_environment(run_dir: str) -> dict[str, str]:
    """Return the variables that make clients trust the bundle; none if there is no bundle."""
    path = os.path.join(run_dir, BUNDLE_FILE)
    return dict.fromkeys(CA_VARIABLES, path) if os.path.isfile(path) else {}
