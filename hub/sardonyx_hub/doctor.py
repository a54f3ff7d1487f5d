"""``sardonyx doctor``: looks at a datalab that runs and says in words what is wrong. It shows no secret."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
from cryptography import x509

from sardonyx_hub.admin.health import STS_REFUSALS, sts_error, sts_probe
from sardonyx_hub.embedded.ca import RENEW_BEFORE, CertificateAuthority, certificate_end, file_mode
from sardonyx_hub.embedded.openbao import AUTH_PATH
from sardonyx_hub.embedded.options import NEEDED_BYTES, free_bytes
from sardonyx_hub.embedded.settings import ISSUER_PATH, EmbeddedSettings

#: Clocks that differ by more make tokens "not yet valid" or "expired".
CLOCK_TOLERANCE = 60.0
TIMEOUT = 5.0


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Parameters
    ----------
    what
        The area: ``issuer``, ``clocks``, ``CA``, ``S3``, ``secrets``, ``scopes``, ``files``, ``disk``.
    text
        What was seen; where it is wrong, also what to do.
    well
        Whether it is as it shall be.
    """

    what: str
    text: str
    well: bool = True


def examine(home: Path, say: Callable[[str], None]) -> int:
    """Look at the datalab in `home` and say what was found, a line each.

    Returns
    -------
    int
        0 if all is well, 1 otherwise.
    """
    try:
        settings = EmbeddedSettings.load(home / "settings.json")
    except (OSError, ValueError, KeyError, TypeError):
        say(f"wrong  home: {home} holds no datalab; start one with `sardonyx run`, or set SARDONYX_HOME")
        return 1
    findings = [finding for check in CHECKS for finding in _looked(check, settings)]
    for finding in findings:
        say(f"{'ok   ' if finding.well else 'wrong'}  {finding.what}: {finding.text}")
    wrong = sum(not finding.well for finding in findings)
    say(f"{wrong} of {len(findings)} checks found something wrong" if wrong else "All is well")
    return 1 if wrong else 0


def _looked(
    check: Callable[[EmbeddedSettings], Iterator[Finding]], settings: EmbeddedSettings
) -> Iterator[Finding]:
    """Yield what a check finds; what it trips over becomes a finding, by its kind and not by its text."""
    what = (check.__doc__ or "").split(":", 1)[0]
    try:
        yield from check(settings)
    except httpx.HTTPError as error:
        where = f"{error.request.url.scheme}://{error.request.url.netloc.decode()}"
        yield Finding(
            what, f"{where} does not answer ({type(error).__name__}); is `sardonyx run` running?", False
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        yield Finding(
            what,
            f"could not be looked at ({type(error).__name__}); see the logs in {settings.log_dir}",
            False,
        )


def _get(url: str, **options: object) -> httpx.Response:
    verify = options.pop("verify", True)
    with httpx.Client(timeout=TIMEOUT, trust_env=False, verify=verify) as client:  # type: ignore[arg-type]
        return client.get(url, **options)  # type: ignore[arg-type]


def check_issuer(settings: EmbeddedSettings) -> Iterator[Finding]:
    """issuer: discovery and keys can be read, and the name in it is the one that backends expect."""
    discovery = _get(f"{settings.public_url}{ISSUER_PATH}/.well-known/openid-configuration")
    if discovery.status_code != 200:
        yield Finding("issuer", f"discovery answers {discovery.status_code} instead of 200", False)
        return
    issuer = discovery.json().get("issuer")
    yield Finding(
        "issuer",
        f"calls itself {issuer}"
        + ("" if issuer == settings.issuer_url else f"; backends expect {settings.issuer_url}: start again"),
        issuer == settings.issuer_url,
    )
    for url in dict.fromkeys((str(discovery.json().get("jwks_uri")), settings.jwks_url)):
        keys = _get(url).json().get("keys", [])
        yield Finding("issuer", f"{url} has {len(keys)} key(s)", bool(keys))


def check_clocks(settings: EmbeddedSettings) -> Iterator[Finding]:
    """clocks: what the parts take for the time, beside this machine's."""
    places = {
        "hub": f"{settings.hub_url}/hub/api",
        "S3": f"{settings.s3_endpoint_url}/healthz",
        "secrets": f"{settings.vault_address}/v1/sys/health",
    }
    for name, url in places.items():
        date = _get(url).headers.get("Date")
        if not date:
            yield Finding("clocks", f"{name} tells no time", False)
            continue
        apart = abs((parsedate_to_datetime(date) - datetime.now(UTC)).total_seconds())
        well = apart <= CLOCK_TOLERANCE
        told = f"{name} is {apart:.0f} s away from this machine"
        yield Finding("clocks", told if well else f"{told}; set both by NTP, tokens are refused", well)


def check_ca(settings: EmbeddedSettings) -> Iterator[Finding]:
    """CA: it is valid, can only speak for this machine, and its key is private."""
    authority = CertificateAuthority(settings.ca_file.parent)
    try:
        certificate = authority.certificate()
    except (OSError, ValueError):
        folder = settings.ca_file.parent
        yield Finding("CA", f"{settings.ca_file} is no certificate; remove {folder} and start again", False)
        return
    end = certificate.not_valid_after_utc
    yield Finding("CA", f"is valid until {end:%Y-%m-%d}", datetime.now(UTC) + RENEW_BEFORE < end)
    try:
        names = certificate.extensions.get_extension_for_class(x509.NameConstraints)
        well = names.critical and bool(names.value.permitted_subtrees)
    except x509.ExtensionNotFound:
        well = False
    yield Finding(
        "CA",
        "can only speak for localhost"
        if well
        else f"could speak for any name; remove {settings.ca_file.parent} and start again",
        well,
    )
    leaf = certificate_end(settings.ca_file.parent / "s3.pem")
    yield Finding(
        "CA",
        f"S3's certificate is valid until {leaf:%Y-%m-%d}"
        + ("" if leaf > datetime.now(UTC) else "; start again to renew it"),
        leaf > datetime.now(UTC),
    )


def check_s3(settings: EmbeddedSettings) -> Iterator[Finding]:
    """S3: it answers with and without TLS, refuses strangers, and STS refuses a token that is none."""
    health = _get(f"{settings.s3_endpoint_url}/healthz").status_code
    yield Finding("S3", f"health answers {health}", health == 200)
    try:
        context = ssl.create_default_context(cafile=str(settings.ca_file))
        code = _get(f"{settings.s3_https_endpoint_url}/healthz", verify=context).status_code
        yield Finding("S3", f"{settings.s3_https_endpoint_url} is trusted by our CA", code == 200)
    except (httpx.ConnectError, ssl.SSLError):
        yield Finding("S3", f"{settings.s3_https_endpoint_url} is not trusted by our CA; start again", False)
    anonymous = _get(f"{settings.s3_endpoint_url}/").status_code
    yield Finding("S3", f"an anonymous request is answered with {anonymous}", anonymous == 403)
    answer = httpx.post(
        settings.s3_endpoint_url,
        data=sts_probe(""),
        timeout=TIMEOUT,
        trust_env=False,
    )
    error = sts_error(answer)
    well = error in STS_REFUSALS
    yield Finding(
        "S3",
        f"STS refuses a token that is none ({error})"
        if well
        else f"STS answers {error} to a token that is none, where one of {', '.join(STS_REFUSALS)} is right",
        well,
    )


def check_secrets(settings: EmbeddedSettings) -> Iterator[Finding]:
    """secrets: OpenBao is initialised, unsealed, and lets the hub's people in."""
    health = _get(f"{settings.vault_address}/v1/sys/health", params={"sealedcode": 200, "uninitcode": 200})
    state = health.json()
    yield Finding(
        "secrets",
        "is initialised" if state["initialized"] else "is not initialised; start again",
        state["initialized"],
    )
    if state["sealed"]:
        yield Finding(
            "secrets", "is sealed; `sardonyx run` unseals it within seconds, else start again", False
        )
        return
    yield Finding("secrets", "is unsealed")
    token = json.loads((settings.home / "vault" / "init.json").read_text())["root_token"]
    answer = _get(f"{settings.vault_address}/v1/auth/{AUTH_PATH}/config", headers={"X-Vault-Token": token})
    configuration = answer.json().get("data", {}) if answer.status_code == 200 else {}
    well = (
        configuration.get("bound_issuer") == settings.issuer_url
        and configuration.get("jwks_url") == settings.jwks_url
    )
    yield Finding(
        "secrets",
        "trusts the hub's tokens"
        if well
        else "does not trust this hub's tokens; start again to configure it",
        well,
    )


def check_scopes(settings: EmbeddedSettings) -> Iterator[Finding]:
    """scopes: nobody gets credentials without a token."""
    url = f"{settings.public_url}/hub/api/datalab/v1/credentials"
    for name, headers in (
        ("without a token", {}),
        ("with a wrong token", {"Authorization": "token nonsense"}),
    ):
        code = _get(url, headers=headers).status_code
        well = code in (401, 403)
        yield Finding(
            "scopes",
            f"credentials {name} are answered with {code}" + ("" if well else "; 401 is right"),
            well,
        )


def check_files(settings: EmbeddedSettings) -> Iterator[Finding]:
    """files: what holds a secret can be read by its owner only."""
    home = settings.home
    yield _mode(home, 0o700)
    patterns = (
        "demo-password",
        "proxy-token",
        "supervisor-token",
        "jupyterhub-cookie-secret",
        "ca/*-key.pem",
        "s3/*.json",
        "s3/*.toml",
        "s3/internal/*-key.pem",
        "vault/init.json",
        "state/keys/*",
        "state/*.sqlite",
        "log/*",
    )
    files = [path for pattern in patterns for path in sorted(home.glob(pattern)) if path.is_file()]
    open_ones = [finding for path in files if not (finding := _mode(path, 0o600)).well]
    yield from open_ones
    if not open_ones:
        yield Finding("files", f"{len(files)} files that hold secrets are private")


def check_disk(settings: EmbeddedSettings) -> Iterator[Finding]:
    """disk: there is room for more."""
    free = free_bytes(settings.home)
    well = free >= NEEDED_BYTES
    yield Finding("disk", f"{free >> 20} MB are free" + ("" if well else "; free some, uploads fail"), well)


CHECKS: tuple[Callable[[EmbeddedSettings], Iterator[Finding]], ...] = (
    check_issuer,
    check_clocks,
    check_ca,
    check_s3,
    check_secrets,
    check_scopes,
    check_files,
    check_disk,
)


def _mode(path: Path, wanted: int) -> Finding:
    mode = file_mode(path)
    well = not mode & 0o077
    return Finding(
        "files", f"{path} is {mode:o}" + ("" if well else f"; run `chmod {wanted:o} {path}`"), well
    )
