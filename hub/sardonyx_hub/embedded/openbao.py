"""The embedded secrets server: OpenBao, which speaks Vault's API."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sardonyx_hub.credentials.model import HUB_HANDLE, REVOKE_AUDIENCE
from sardonyx_hub.embedded import programs
from sardonyx_hub.embedded.errors import StartError
from sardonyx_hub.embedded.files import private_directory, write_private
from sardonyx_hub.embedded.iam import HANDLE_CLAIM
from sardonyx_hub.embedded.loopback import Answer, ask
from sardonyx_hub.embedded.ports import LOOPBACK
from sardonyx_hub.embedded.processes import ManagedProcess, wait_until

if TYPE_CHECKING:
    import hvac

START_TIMEOUT = 60.0
MOUNT = "onyxia-kv"
AUTH_PATH = "jwt"
ROLE = "datalab"
POLICY = "datalab-person"
#: Of the hub itself: it ends tokens by their accessors, and may do nothing else.
REVOKE_ROLE = "datalab-revoke"
REVOKE_POLICY = "datalab-revoke"
#: Settings of an operator's own Vault, which must not reach this server.
_NO_INHERITED_SETTINGS: dict[str, str | None] = {
    f"{brand}_{name}": None
    for brand in ("VAULT", "BAO")
    for name in (
        "ADDR",
        "TOKEN",
        "API_ADDR",
        "CLUSTER_ADDR",
        "RAFT_PATH",
        "RAFT_NODE_ID",
        "SEAL_TYPE",
        "LOG_LEVEL",
        "NAMESPACE",
    )
}


class NotConfiguredError(Exception):
    """It refused a setting, or did not answer; the message names the path."""


class OpenBao:
    """One ``bao server`` on loopback with raft storage, initialised, unsealed and configured at each start.

    Parameters
    ----------
    directory
        Configuration, data and ``init.json`` (unseal key and root token, 0600).
    port, cluster_port
        Of the API, and of raft (one node; it listens nevertheless, with TLS of its own).
    issuer_url, jwks_url, audience
        Whose tokens the JWT login takes. The keys are not fetched at configuration, so the hub need not run yet.
    ttl
        Life of a token in seconds; it cannot be renewed beyond.
    log
        Log file; default ``bao.log`` in `directory`.
    environment
        Variables added to the process's environment.
    """

    name = "OpenBao"

    def __init__(
        self,
        directory: Path,
        port: int,
        *,
        cluster_port: int,
        jwks_url: str,
        issuer_url: str,
        audience: str = "datalab-vault",
        ttl: int = 3600,
        log: Path | None = None,
        environment: Mapping[str, str | None] | None = None,
    ) -> None:
        self.directory = directory
        self.port = port
        self.cluster_port = cluster_port
        self.ttl = ttl
        self._issuer = (issuer_url, jwks_url, audience)
        self._init_file = directory / "init.json"
        self._begun_file = directory / "init.begun"
        self.process = ManagedProcess(
            self.name,
            [],
            log or directory / "bao.log",
            environment={**(environment or {}), **_NO_INHERITED_SETTINGS},
            directory=directory,
            umask=0o077,
        )

    @property
    def address(self) -> str:
        """URL of the API."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def init_file(self) -> Path:
        """JSON file (0600) with the unseal key and the root token; the root token only configures."""
        return self._init_file

    def prepare(self) -> None:
        """Write the server's configuration.

        Raises
        ------
        StartError
            If ``bao`` is not installed.
        OSError
            If a file cannot be written.
        """
        program = programs.bao()
        private_directory(self.directory)
        if self._begun_file.exists() and not self._init_file.exists():
            # Ended in the middle of its initialisation: nobody ever had its keys, so it holds nothing.
            shutil.rmtree(self.directory / "data", ignore_errors=True)
        data = private_directory(self.directory / "data")
        configuration = {
            "storage": {"raft": {"path": str(data), "node_id": "embedded", "performance_multiplier": 1}},
            "listener": {
                "tcp": {
                    "address": f"{LOOPBACK}:{self.port}",
                    "cluster_address": f"{LOOPBACK}:{self.cluster_port}",
                    "tls_disable": True,
                }
            },
            "api_addr": self.address,
            "cluster_addr": f"https://{LOOPBACK}:{self.cluster_port}",
            "ui": False,
            "log_level": "warn",
        }
        path = self.directory / "server.json"
        write_private(path, json.dumps(configuration, indent=1))
        self.process.command = [program, "server", f"-config={path}"]

    def launch(self) -> None:
        """Prepare and start the process without waiting for it; call from a thread that lives on.

        Raises
        ------
        StartError
            If ``bao`` is not installed or cannot be started.
        """
        self.prepare()
        self.process.start()

    def wait_ready(
        self, timeout: float = START_TIMEOUT, *, cancelled: Callable[[], bool] = lambda: False
    ) -> None:
        """Wait until it answers, initialise it the first time, unseal and configure it.

        Raises
        ------
        StartError
            If it ends, is not ready within `timeout` seconds, or its ``init.json`` is missing or wrong.
        """

        def wait(check: Callable[[], bool]) -> None:
            wait_until(check, name=self.name, process=self.process, timeout=timeout, cancelled=cancelled)

        wait(self._initialised)
        wait(self._unsealed_and_active)
        wait(self._configured)

    def start(self, timeout: float = START_TIMEOUT) -> None:
        """Start it and wait until it is ready; see :meth:`launch` and :meth:`wait_ready`."""
        self.launch()
        try:
            self.wait_ready(timeout)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it; raft's log is synced at each write, so that even a kill loses nothing."""
        self.process.stop(grace=4)

    def healthy(self) -> bool:
        """Whether it answers, unsealed, within 2 s."""
        return self._status() == 200

    def sealed(self) -> bool:
        """Whether it answers and is sealed."""
        return self._status() == 503

    def ensure_unsealed(self) -> bool:
        """Unseal it if it is sealed; return whether that was done.

        Raises
        ------
        StartError
            If the unseal key is missing or wrong.
        """
        if not self.sealed():
            return False
        self._unseal()
        return True

    def client(self) -> hvac.Client:
        """Return an hvac client with the root token."""
        import hvac
        import requests

        session = requests.Session()
        session.trust_env = False  # a proxy in the environment must not be asked for loopback
        client = hvac.Client(url=self.address, timeout=10, session=session)
        # Not by the constructor: it would read VAULT_TOKEN and ~/.vault-token.
        client.token = self._secrets()["root_token"]
        return client

    def configure(self) -> None:
        """Bring mount, policy, JWT login and role to what they shall be; may be repeated.

        Raises
        ------
        NotConfiguredError
            If it refuses or does not answer.
        """
        if f"{MOUNT}/" not in self._configuration("sys/mounts"):
            self._configure(f"sys/mounts/{MOUNT}", {"type": "kv", "options": {"version": "2"}})
        methods = self._configuration("sys/auth")
        if f"{AUTH_PATH}/" not in methods:
            self._configure(f"sys/auth/{AUTH_PATH}", {"type": "jwt"})
            methods = self._configuration("sys/auth")
        accessor = methods[f"{AUTH_PATH}/"]["accessor"]
        self._configure(f"sys/policies/acl/{POLICY}", {"policy": person_policy(accessor)})
        issuer_url, jwks_url, audience = self._issuer
        self._configure(
            f"auth/{AUTH_PATH}/config",
            {
                "jwks_url": jwks_url,
                "bound_issuer": issuer_url,
                "jwt_supported_algs": ["RS256"],
                # The hub that serves the keys starts later than this.
                "skip_jwks_validation": True,
            },
        )
        self._configure(
            f"auth/{AUTH_PATH}/role/{ROLE}",
            {
                "role_type": "jwt",
                "user_claim": HANDLE_CLAIM,
                "bound_audiences": [audience],
                "token_policies": [POLICY],
                "token_ttl": self.ttl,
                "token_max_ttl": self.ttl,
                "token_type": "service",
            },
        )
        self._configure_revocation()

    def _configure_revocation(self) -> None:
        """Bring the hub's own role to what it shall be."""
        self._configure(f"sys/policies/acl/{REVOKE_POLICY}", {"policy": revoke_policy()})
        self._configure(
            f"auth/{AUTH_PATH}/role/{REVOKE_ROLE}",
            {
                "role_type": "jwt",
                "user_claim": HANDLE_CLAIM,
                "bound_claims": {HANDLE_CLAIM: HUB_HANDLE},
                "bound_audiences": [REVOKE_AUDIENCE],
                "token_policies": [REVOKE_POLICY],
                "token_no_default_policy": True,
                # Kept nowhere: one login for one call.
                "token_type": "batch",
                "token_ttl": 60,
                "token_max_ttl": 60,
            },
        )

    def _configuration(self, path: str) -> dict[str, Any]:
        """Return what stands at a path of the configuration."""
        data = self._configure(path, method="GET").json()["data"]
        return dict(data)

    def _configure(self, path: str, body: Mapping[str, Any] | None = None, *, method: str = "POST") -> Answer:
        """Ask with the root token."""
        token = {"X-Vault-Token": self._secrets()["root_token"]}
        answer = self._ask(path, body, method=method, headers=token, timeout=10)
        if answer is None or answer.status >= 400:
            raise NotConfiguredError(f"{path}: {'no answer' if answer is None else answer.status}")
        return answer

    def _ask(
        self,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        method: str = "POST",
        headers: Mapping[str, str] | None = None,
        timeout: float = 2,
    ) -> Answer | None:
        url = f"{self.address}/v1/{path}"
        return ask(url, method=method, body=body, headers=headers, timeout=timeout)

    def _status(self) -> int | None:
        """Return the code of ``sys/health``: 200 active, 429 standby, 501 not initialised, 503 sealed."""
        answer = self._ask("sys/health", method="HEAD")
        return None if answer is None else answer.status

    def _initialised(self) -> bool:
        status = self._status()
        if status is None:
            return False
        if status == 501:
            self._initialise()
        self._secrets()
        return True

    def _initialise(self) -> None:
        write_private(self._begun_file, "")
        answer = self._ask("sys/init", {"secret_shares": 1, "secret_threshold": 1}, timeout=30)
        if answer is None or answer.status != 200:
            raise StartError(
                self.name, "did not finish its initialisation", f"see {self.process.log.path} and start again"
            )
        made = answer.json()
        kept = {"unseal_key": made["keys_base64"][0], "root_token": made["root_token"]}
        write_private(self._init_file, json.dumps(kept))
        self._begun_file.unlink()

    def _unsealed_and_active(self) -> bool:
        if self.sealed():
            self._unseal()
        return self.healthy()

    def _unseal(self) -> None:
        answer = self._ask("sys/unseal", {"key": self._secrets()["unseal_key"]})
        if answer is not None and answer.status >= 400:
            # A wrong key is answered in plain words; the key is not in them, but the answer is not ours to show.
            raise StartError(
                self.name, f"its data cannot be opened with {self._init_file}", "restore both from one backup"
            )

    def _configured(self) -> bool:
        try:
            self.configure()
        except NotConfiguredError:
            # Just unsealed, it answers 500 ("context canceled", "no leader") for a moment.
            return False
        return True

    def _secrets(self) -> dict[str, str]:
        try:
            data: dict[str, str] = json.loads(self._init_file.read_text())
            return {"unseal_key": data["unseal_key"], "root_token": data["root_token"]}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StartError(
                self.name,
                f"its data cannot be opened because {self._init_file} is missing or damaged",
                f"restore it from a backup, or remove {self.directory} to begin with no secrets",
            ) from error


def revoke_policy() -> str:
    """Return the policy of the hub itself: to end a token whose accessor it knows. It may list none."""
    return 'path "auth/token/revoke-accessor" { capabilities = ["update"] }'


def person_policy(accessor: str) -> str:
    """Return the policy of every person: all in their own folder of the mount, nothing beside it.

    Parameters
    ----------
    accessor
        Of the JWT login; the name of a person's alias on it is their handle.
    """
    own = "{{identity.entity.aliases." + accessor + ".name}}"
    rules: dict[str, list[str]] = {
        f"{MOUNT}/data/{own}/*": ["create", "read", "update", "patch", "delete"],
        f"{MOUNT}/metadata/{own}": ["list"],
        f"{MOUNT}/metadata/{own}/*": ["list", "read", "update", "patch", "delete"],
        f"{MOUNT}/delete/{own}/*": ["update"],
        f"{MOUNT}/undelete/{own}/*": ["update"],
        f"{MOUNT}/destroy/{own}/*": ["update"],
        # `bao kv` and hvac ask for the version of the engine first.
        f"sys/internal/ui/mounts/{MOUNT}/{own}/*": ["read"],
    }
    return "\n".join(
        f"path {json.dumps(path)} {{ capabilities = {json.dumps(what)} }}" for path, what in rules.items()
    )
