"""Everything about one embedded datalab that its processes must agree on; no secret, only the files that hold them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sardonyx_hub.credentials.s3_policy import SharedBucket
from sardonyx_hub.embedded.files import write_private
from sardonyx_hub.embedded.ports import LOOPBACK, Ports, SeaweedPorts

S3_AUDIENCE = "datalab-s3"
VAULT_AUDIENCE = "datalab-vault"
#: Path of the issuer below the hub's own address.
ISSUER_PATH = "/hub/datalab/oidc"
#: Variable that marks every process of one run; its value is a random id.
SUPERVISOR_VARIABLE = "SARDONYX_SUPERVISOR"
DEFAULT_SHARED_BUCKETS = (SharedBucket("shared", read=("*",), write=("*",)),)


@dataclass(frozen=True)
class EmbeddedSettings:
    """Settings of one embedded datalab.

    Parameters
    ----------
    home
        ``SARDONYX_HOME``, absolute.
    port
        The public port (``PORT``), on loopback.
    ports
        All other ports.
    ttl
        Life of credentials in seconds.
    shared_buckets
        Buckets that several people use.
    environments
        Session environments by name: path of each virtual environment.
    mc_directory
        Folder that holds ``mc``, for the ``PATH`` of sessions; ``None`` if there is none.
    catalogue_file
        The operator's catalogue; ``None`` is the one that comes with Sardonyx.
    config_file
        The operator's ``sardonyx_config.py``; ``None`` if there is none.
    """

    home: Path
    port: int
    ports: Ports
    ttl: int = 3600
    shared_buckets: tuple[SharedBucket, ...] = DEFAULT_SHARED_BUCKETS
    environments: dict[str, Path] = field(default_factory=dict)
    mc_directory: Path | None = None
    catalogue_file: Path | None = None
    config_file: Path | None = None

    @property
    def public_url(self) -> str:
        """Where people go; no slash at the end."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def hub_url(self) -> str:
        """The hub's own address, behind the proxy; no slash at the end."""
        return f"http://{LOOPBACK}:{self.ports.hub}"

    @property
    def issuer_url(self) -> str:
        """``iss`` of the hub's tokens."""
        return self.public_url + ISSUER_PATH

    @property
    def jwks_url(self) -> str:
        """Where S3 and Vault fetch the hub's public keys: from the hub itself, so that the proxy may be down."""
        return f"{self.hub_url}{ISSUER_PATH}/jwks"

    @property
    def proxy_api_url(self) -> str:
        """The proxy's API."""
        return f"http://{LOOPBACK}:{self.ports.proxy_api}"

    @property
    def proxy_token_file(self) -> Path:
        """Token of the proxy's API (0600); the hub also gets it as ``CONFIGPROXY_AUTH_TOKEN``."""
        return self.home / "proxy-token"

    @property
    def supervisor_token_file(self) -> Path:
        """Token by which the supervisor asks the hub to bring a new proxy's routes back (0600), and nothing else."""
        return self.home / "supervisor-token"

    @property
    def s3_endpoint_url(self) -> str:
        """S3 and STS as the hub reaches them (HTTP)."""
        return f"http://{LOOPBACK}:{self.ports.seaweedfs.s3}"

    @property
    def s3_https_endpoint_url(self) -> str:
        """S3 as sessions reach it (HTTPS, certificate of :attr:`ca_file`)."""
        return f"https://{LOOPBACK}:{self.ports.seaweedfs.s3_https}"

    @property
    def s3_admin_keys_file(self) -> Path:
        """JSON (0600): ``access_key`` and ``secret_key`` of the identity that provisions buckets."""
        return self.home / "s3" / "admin.json"

    @property
    def s3_duration(self) -> int | None:
        """``DurationSeconds`` to ask STS for; ``None`` where the life is too short to be asked for."""
        return self.ttl if self.ttl >= 900 else None

    @property
    def vault_address(self) -> str:
        """OpenBao's API."""
        return f"http://{LOOPBACK}:{self.ports.vault}"

    @property
    def ca_file(self) -> Path:
        """Certificate of the CA that sessions trust, PEM."""
        return self.home / "ca" / "ca.pem"

    @property
    def password_file(self) -> Path:
        """Password of the demo accounts (0600)."""
        return self.home / "demo-password"

    @property
    def state_dir(self) -> Path:
        """Signing keys, handles, audit log."""
        return self.home / "state"

    @property
    def database_file(self) -> Path:
        """The hub's SQLite database."""
        return self.home / "jupyterhub.sqlite"

    @property
    def cookie_secret_file(self) -> Path:
        """The hub's cookie secret (0600)."""
        return self.home / "jupyterhub-cookie-secret"

    @property
    def disks_dir(self) -> Path:
        """Disks of sessions."""
        return self.home / "disks"

    @property
    def run_dir(self) -> Path:
        """Run directories of sessions."""
        return self.home / "run"

    @property
    def log_dir(self) -> Path:
        """Logs of the parts (0600, bounded)."""
        return self.home / "log"

    @property
    def file(self) -> Path:
        """Where :meth:`save` writes."""
        return self.home / "settings.json"

    def save(self) -> Path:
        """Write the settings to ``settings.json`` in the home and return its path.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        data = asdict(self) | {"home": str(self.home)}
        write_private(self.file, json.dumps(data, indent=1, default=str) + "\n")
        return self.file

    @classmethod
    def load(cls, path: Path) -> EmbeddedSettings:
        """Return what :meth:`save` wrote.

        Raises
        ------
        OSError
            If there is no such file.
        ValueError, KeyError, TypeError
            If it is damaged.
        """
        data: dict[str, Any] = json.loads(path.read_text())
        ports = data["ports"]
        return cls(
            home=Path(data["home"]),
            port=int(data["port"]),
            ports=Ports(**{**ports, "seaweedfs": SeaweedPorts(**ports["seaweedfs"])}),
            ttl=int(data["ttl"]),
            shared_buckets=tuple(
                SharedBucket(bucket["name"], tuple(bucket["read"]), tuple(bucket["write"]))
                for bucket in data["shared_buckets"]
            ),
            environments={name: Path(place) for name, place in data["environments"].items()},
            mc_directory=_path(data["mc_directory"]),
            catalogue_file=_path(data["catalogue_file"]),
            config_file=_path(data["config_file"]),
        )


def _path(value: str | None) -> Path | None:
    return Path(value) if value else None
