"""Whether what the datalab is made of works: asked all at once, each with a time limit, told in words with what to do."""

from __future__ import annotations

import asyncio
import re
import shutil
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlsplit

import httpx

from ..disk import RESERVE_BYTES
from ..documents import DocumentError

if TYPE_CHECKING:
    from ..datalab import Datalab

Verdict = Literal["ok", "warning", "down", "off"]
#: Seconds that each check may take.
LIMIT: Final = 5.0
#: What STS may answer to a token that is none.
STS_REFUSALS: Final = ("AccessDenied", "InvalidIdentityToken")
#: Free space that is told as running out.
_LITTLE: Final = 8 * RESERVE_BYTES
#: Seconds for which an answer is shown to others who ask.
_FRESH: Final = 3.0


@dataclass(frozen=True)
class Backends:
    """Where the parts are, as the hub reaches them; empty where there is none.

    Parameters
    ----------
    folder
        On the disk that is watched.
    """

    s3_url: str = ""
    sts_url: str = ""
    s3_role: str = ""
    s3_ca_file: str = ""
    vault_url: str = ""
    vault_ca_file: str = ""
    issuer_url: str = ""
    folder: Path | None = None


@dataclass(frozen=True)
class Check:
    """One part that was looked at.

    Parameters
    ----------
    part
        ``s3``, ``sts``, ``vault``, ``issuer``, ``identity``, ``database``, ``documents``, ``proxy``, ``disk``.
    verdict
        ``off``: the datalab has no such part.
    finding
        What was seen; ``admin.health.PART.FINDING`` is its message key.
    params
        What the message's placeholders stand for.
    milliseconds
        How long it took.
    """

    part: str
    verdict: Verdict
    finding: str
    params: Mapping[str, str | int] = field(default_factory=dict)
    milliseconds: int = 0

    @property
    def key(self) -> str:
        """Message key of what was seen."""
        return f"admin.health.{self.part}.{self.finding}"


Probe = Callable[[], Awaitable[Check]]


class Health:
    """Looks at the parts of a hub; those who ask at the same time share one look.

    Parameters
    ----------
    datalab
        Of the hub; its `backends` say what to ask.
    """

    def __init__(self, datalab: Datalab) -> None:
        self._datalab = datalab
        self._running: asyncio.Task[list[Check]] | None = None
        self._seen: tuple[float, list[Check]] = (float("-inf"), [])

    async def look(self, authenticator: Any, database: Any, proxy: Any) -> list[Check]:
        """Return what was seen, in the order in which it is shown. Raises nothing.

        Parameters
        ----------
        authenticator, database, proxy
            JupyterHub's authenticator, database session and proxy.
        """
        if time.monotonic() - self._seen[0] < _FRESH:
            return self._seen[1]
        if self._running is None:
            self._running = asyncio.create_task(self._look(authenticator, database, proxy))
        try:
            return await asyncio.shield(self._running)
        finally:
            if self._running is not None and self._running.done():
                self._running = None

    async def _look(self, authenticator: Any, database: Any, proxy: Any) -> list[Check]:
        backends = self._datalab.backends
        probes: dict[str, Probe] = {
            "s3": lambda: check_s3(backends),
            "sts": lambda: check_sts(backends),
            "vault": lambda: check_vault(backends),
            "issuer": lambda: check_issuer(backends),
            "identity": lambda: check_identity(authenticator),
            "database": lambda: check_database(database),
            "documents": lambda: check_documents(self._datalab),
            "proxy": lambda: check_proxy(proxy),
            "disk": lambda: check_disk(backends.folder),
        }
        found = list(await asyncio.gather(*(_timed(part, probe) for part, probe in probes.items())))
        self._seen = (time.monotonic(), found)
        return found


async def _timed(part: str, probe: Probe) -> Check:
    begun = time.monotonic()
    try:
        async with asyncio.timeout(LIMIT):
            found = await probe()
    except (TimeoutError, httpx.TimeoutException):
        found = Check(part, "down", "slow", {"seconds": int(LIMIT)})
    except Exception as error:
        # Its text may hold an address with a password in it: only the kind is told.
        found = Check(part, "down", "silent", {"error": type(error).__name__})
    return Check(
        found.part, found.verdict, found.finding, found.params, round((time.monotonic() - begun) * 1000)
    )


async def _client(url: str, ca_file: str = "") -> httpx.AsyncClient:
    """Return a client for one part, which believes no proxy or authority of the hub's environment."""
    secure = url.startswith("https:")
    # To read the machine's authorities takes a quarter of a second.
    verify = await asyncio.to_thread(_context, ca_file) if secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return httpx.AsyncClient(timeout=LIMIT, trust_env=False, verify=verify)


@lru_cache(maxsize=8)
def _context(ca_file: str) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca_file or None)


async def check_s3(backends: Backends) -> Check:
    """Ask S3 for anything: every answer that is no server error is one."""
    if not backends.s3_url:
        return Check("s3", "off", "none")
    async with await _client(backends.s3_url, backends.s3_ca_file) as client:
        status = (await client.get(backends.s3_url)).status_code
    return Check(
        "s3", "down" if status >= 500 else "ok", "error" if status >= 500 else "well", {"status": status}
    )


async def check_sts(backends: Backends) -> Check:
    """Show STS a token that is none: it has to refuse it, for the right reason."""
    if not backends.s3_url:
        return Check("sts", "off", "none")
    url = backends.sts_url or backends.s3_url
    async with await _client(url, backends.s3_ca_file) as client:
        answer = await client.post(url, data=sts_probe(backends.s3_role))
    error = sts_error(answer)
    return (
        Check("sts", "ok", "well") if error in STS_REFUSALS else Check("sts", "down", "odd", {"error": error})
    )


def sts_probe(role: str) -> dict[str, str]:
    """Return the form of a request to STS with a token that is none."""
    return {
        "Action": "AssumeRoleWithWebIdentity",
        "Version": "2011-06-15",
        "RoleArn": role or "arn:aws:iam::role/datalab",
        "RoleSessionName": "health",
        "WebIdentityToken": "nonsense",
    }


def sts_error(answer: httpx.Response) -> str:
    """Return the code of the error that STS answered with."""
    found = re.search(r"<Code>(\w{1,60})</Code>", answer.text)
    return found[1] if found else f"status {answer.status_code}"


async def check_vault(backends: Backends) -> Check:
    """Ask Vault or OpenBao for its state. See https://openbao.org/api-docs/system/health/."""
    if not backends.vault_url:
        return Check("vault", "off", "none")
    arguments: dict[str, str | int] = {"sealedcode": 200, "uninitcode": 200, "standbyok": "true"}
    async with await _client(backends.vault_url, backends.vault_ca_file) as client:
        answer = await client.get(f"{backends.vault_url.rstrip('/')}/v1/sys/health", params=arguments)
    if answer.status_code != 200:
        return Check("vault", "down", "error", {"status": answer.status_code})
    state = answer.json()
    if not state["initialized"]:
        return Check("vault", "down", "uninitialized")
    return Check("vault", "down", "sealed") if state["sealed"] else Check("vault", "ok", "well")


async def check_issuer(backends: Backends) -> Check:
    """Read the hub's own discovery document and keys, by the address that S3 and Vault know."""
    url = backends.issuer_url.rstrip("/")
    async with await _client(url) as client:
        discovery = await client.get(f"{url}/.well-known/openid-configuration")
        if discovery.status_code != 200:
            return Check("issuer", "down", "error", {"status": discovery.status_code})
        document = discovery.json()
        keys = await client.get(str(document["jwks_uri"]))
    if document.get("issuer", "").rstrip("/") != url:
        return Check(
            "issuer", "down", "other", {"issuer": str(document.get("issuer"))[:200], "expected": url}
        )
    count = len(keys.json().get("keys", ())) if keys.status_code == 200 else 0
    return Check("issuer", "ok" if count else "down", "well" if count else "keyless", {"keys": count})


async def check_identity(authenticator: Any) -> Check:
    """Ask the identity provider of an OAuthenticator for anything; other authenticators have none."""
    address = str(
        getattr(authenticator, "token_url", "") or getattr(authenticator, "authorize_url", "") or ""
    )
    where = urlsplit(address)
    if not where.netloc:
        return Check("identity", "off", "none", {"kind": type(authenticator).__name__})
    host = where.hostname or ""
    async with await _client(address) as client:
        status = (await client.get(f"{where.scheme}://{where.netloc}/")).status_code
    if status >= 500:
        return Check("identity", "down", "error", {"host": host, "status": status})
    return Check("identity", "ok", "well", {"host": host})


async def check_database(database: Any) -> Check:
    """Ask JupyterHub's database for nothing."""
    engine = database.get_bind()
    name = engine.dialect.name
    if engine.url.database in (None, "", ":memory:"):
        # In memory it has one connection, which is in use: no thread may have it.
        database.connection().exec_driver_sql("SELECT 1")
    else:
        await asyncio.to_thread(_select_one, engine)
    return Check("database", "ok", "well", {"kind": name})


def _select_one(engine: Any) -> None:
    with engine.connect() as connection:
        connection.exec_driver_sql("SELECT 1")


async def check_documents(datalab: Datalab) -> Check:
    """Ask the state database (handles, quotas, announcement) for nothing."""
    try:
        await datalab.documents.ping()
    except DocumentError:
        return Check("documents", "down", "error")
    return Check("documents", "ok", "well")


async def check_proxy(proxy: Any) -> Check:
    """Ask the proxy for its routes: without it nobody reaches a session."""
    routes = await proxy.get_all_routes()
    return Check("proxy", "ok", "well", {"routes": len(routes)})


async def check_disk(folder: Path | None) -> Check:
    """Look at the disk that holds the hub's state, and on one machine the sessions and S3 too."""
    if folder is None:
        return Check("disk", "off", "none")
    free = (await asyncio.to_thread(shutil.disk_usage, folder)).free
    amount = free / 2**30
    # whole numbers where tenths say nothing, which languages write differently
    params = {"free": f"{amount:.0f}" if amount >= 10 else f"{amount:.1f}"}
    if free < RESERVE_BYTES:
        return Check("disk", "down", "full", params)
    return (
        Check("disk", "warning", "little", params) if free < _LITTLE else Check("disk", "ok", "well", params)
    )
