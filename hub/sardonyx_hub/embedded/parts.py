"""The hub and its proxy as parts of an embedded datalab."""

from __future__ import annotations

import os
import secrets
import sys

import httpx

from sardonyx_hub.embedded import programs
from sardonyx_hub.embedded.files import write_private
from sardonyx_hub.embedded.ports import LOOPBACK
from sardonyx_hub.embedded.processes import ManagedProcess
from sardonyx_hub.embedded.settings import ISSUER_PATH, EmbeddedSettings

_HUB_CONFIG = '''\
"""Written by `sardonyx run` at each start; change `sardonyx_config.py` instead."""

from pathlib import Path

from sardonyx_hub.config import configure_embedded
from sardonyx_hub.embedded.settings import EmbeddedSettings

settings = EmbeddedSettings.load(Path({settings!r}))
configure_embedded(get_config(), settings)  # noqa: F821
if settings.config_file:
    load_subconfig(str(settings.config_file))  # noqa: F821
'''


def keep_proxy_token(settings: EmbeddedSettings) -> str:
    """Return the token of the proxy's API, made at the first start and kept (0600)."""
    path = settings.proxy_token_file
    try:
        token = path.read_text().strip()
    except OSError:
        token = ""
    if not token:
        token = secrets.token_hex(32)
        write_private(path, token + "\n")
    return token


class Proxy:
    """configurable-http-proxy: started here and not by the hub, so that sessions stay reachable while it restarts."""

    name = "proxy"

    def __init__(self, settings: EmbeddedSettings, token: str, mark: dict[str, str | None]) -> None:
        self._settings = settings
        self._token = token
        self.process = ManagedProcess(
            self.name,
            [],
            settings.log_dir / "proxy.log",
            environment={"CONFIGPROXY_AUTH_TOKEN": token, **mark},
            directory=settings.home,
        )

    def launch(self) -> None:
        """Start it without waiting for it.

        Raises
        ------
        StartError
            If it, or Node.js, is not installed.
        """
        settings = self._settings
        options = {
            "ip": LOOPBACK,
            "port": settings.port,
            "api-ip": LOOPBACK,
            "api-port": settings.ports.proxy_api,
            "error-target": f"{settings.hub_url}/hub/error",
            "log-level": "warn",
        }
        arguments = [text for key, value in options.items() for text in (f"--{key}", str(value))]
        self.process.command = [*programs.proxy(), *arguments]
        self.process.start()

    def healthy(self) -> bool:
        """Whether its API answers within 2 s."""
        headers = {"Authorization": f"token {self._token}"}
        return _status(f"{self._settings.proxy_api_url}/api/routes", headers) == 200

    def stop(self) -> None:
        """End it."""
        self.process.stop(grace=2)


class Hub:
    """JupyterHub."""

    name = "hub"

    def __init__(self, settings: EmbeddedSettings, token: str, mark: dict[str, str | None]) -> None:
        self._settings = settings
        # A run from inside a session must not take that session's hub for its own.
        inherited: dict[str, str | None] = dict.fromkeys(
            name for name in os.environ if name.startswith(("JUPYTERHUB_", "SARDONYX_"))
        )
        cache = os.environ.get("SARDONYX_CACHE")
        self.process = ManagedProcess(
            self.name,
            [],
            settings.log_dir / "hub.log",
            environment={
                **inherited,
                "SARDONYX_HOME": str(settings.home),
                "SARDONYX_CACHE": cache,
                "CONFIGPROXY_AUTH_TOKEN": token,
                "PYTHONUNBUFFERED": "1",
                **mark,
            },
            directory=settings.home,
        )

    def launch(self) -> None:
        """Write its configuration and start it without waiting for it.

        Raises
        ------
        StartError
            If it cannot be started.
        OSError
            If a file cannot be written.
        """
        settings = self._settings
        configuration = settings.home / "jupyterhub_config.py"
        write_private(configuration, _HUB_CONFIG.format(settings=str(settings.save())))
        self.process.command = [sys.executable, "-m", "jupyterhub", "-f", str(configuration)]
        self.process.start()

    def healthy(self) -> bool:
        """Whether a sign-in would work: the login page through the proxy, and an issuer that says the right name."""
        public = self._settings.public_url
        # The hub itself first: asking a proxy without a hub fills its log.
        if not all(_status(f"{url}/hub/login") == 200 for url in (self._settings.hub_url, public)):
            return False
        try:
            answer = httpx.get(
                f"{public}{ISSUER_PATH}/.well-known/openid-configuration", timeout=5, trust_env=False
            )
            return bool(answer.json().get("issuer") == self._settings.issuer_url)
        except (httpx.HTTPError, ValueError, AttributeError):
            return False

    def stop(self) -> None:
        """End it and, before that, let it end the sessions."""
        self.process.stop(grace=7)


def _status(url: str, headers: dict[str, str] | None = None) -> int | None:
    try:
        return httpx.get(url, headers=headers, timeout=2, trust_env=False).status_code
    except httpx.HTTPError:
        return None
