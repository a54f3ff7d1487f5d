"""The hub and its proxy as parts of an embedded datalab."""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

from sardonyx_hub.embedded import programs
from sardonyx_hub.embedded.files import write_private
from sardonyx_hub.embedded.loopback import ask
from sardonyx_hub.embedded.ports import LOOPBACK
from sardonyx_hub.embedded.processes import ManagedProcess
from sardonyx_hub.embedded.settings import ISSUER_PATH, EmbeddedSettings

_HUB_CONFIG = '''\
"""Written by `sardonyx run` at each start; change `sardonyx_config.py` instead."""

from pathlib import Path

from sardonyx_hub.config import configure_embedded
from sardonyx_hub.embedded.settings import EmbeddedSettings

settings = EmbeddedSettings.load(Path({settings!r}))
c = get_config()  # noqa: F821
configure_embedded(c, settings)
token = settings.supervisor_token_file.read_text().strip()
c.JupyterHub.services = [*c.JupyterHub.get("services", []), {{"name": "sardonyx-supervisor", "api_token": token}}]
role = {{"name": "sardonyx-supervisor", "scopes": ["proxy"], "services": ["sardonyx-supervisor"]}}
c.JupyterHub.load_roles = [*c.JupyterHub.get("load_roles", []), role]
if settings.config_file:
    load_subconfig(str(settings.config_file))  # noqa: F821
'''


def keep_token(path: Path) -> str:
    """Return the token kept in `path` (0600), made at the first start."""
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

    def __init__(
        self, settings: EmbeddedSettings, token: str, mark: dict[str, str | None], *, debug: bool = False
    ) -> None:
        self._settings = settings
        self._token = token
        self._debug = debug
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
            "log-level": "debug" if self._debug else "warn",
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

    def __init__(
        self, settings: EmbeddedSettings, token: str, mark: dict[str, str | None], *, debug: bool = False
    ) -> None:
        self._settings = settings
        self._debug = debug
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
        keep_token(settings.supervisor_token_file)
        configuration = settings.home / "jupyterhub_config.py"
        write_private(configuration, _HUB_CONFIG.format(settings=str(settings.save())))
        options = ["--debug"] if self._debug else []
        self.process.command = [sys.executable, "-m", "jupyterhub", "-f", str(configuration), *options]
        self.process.start()

    def healthy(self) -> bool:
        """Whether a sign-in would work: the login page through the proxy, and an issuer that says the right name."""
        public = self._settings.public_url
        # The hub itself first: asking a proxy without a hub fills its log.
        if not all(_status(f"{url}/hub/login") == 200 for url in (self._settings.hub_url, public)):
            return False
        answer = ask(f"{public}{ISSUER_PATH}/.well-known/openid-configuration", timeout=5)
        try:
            return answer is not None and answer.json().get("issuer") == self._settings.issuer_url
        except (ValueError, AttributeError):
            return False

    def restore_routes(self) -> bool:
        """Ask it to tell a new proxy where everything is (else it does so every five minutes); return whether it did."""
        token = keep_token(self._settings.supervisor_token_file)
        headers = {"Authorization": f"token {token}"}
        answer = ask(f"{self._settings.hub_url}/hub/api/proxy", method="POST", headers=headers, timeout=10)
        return answer is not None and answer.status == 200

    def stop(self) -> None:
        """End it and, before that, let it end the sessions."""
        self.process.stop(grace=7)


def _status(url: str, headers: dict[str, str] | None = None) -> int | None:
    answer = ask(url, headers=headers)
    return answer.status if answer is not None else None
