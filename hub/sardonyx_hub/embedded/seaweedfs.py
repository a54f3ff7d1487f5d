"""The embedded S3 server: SeaweedFS with STS, where only the S3 ports answer without a certificate of ours."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sardonyx_hub.credentials.s3_policy import SharedBucket
from sardonyx_hub.disk import RESERVE_BYTES
from sardonyx_hub.embedded import programs
from sardonyx_hub.embedded.ca import CertificateAuthority, KeyPair
from sardonyx_hub.embedded.files import private_directory, write_private
from sardonyx_hub.embedded.iam import iam_configuration
from sardonyx_hub.embedded.loopback import ask
from sardonyx_hub.embedded.ports import LOOPBACK, SeaweedPorts
from sardonyx_hub.embedded.processes import ManagedProcess, wait_until

REGION = "us-east-1"
#: Seconds until S3 answers: 3 at rest, up to 20 on a loaded machine.
START_TIMEOUT = 90.0
_COMPONENTS = ("master", "volume", "filer", "s3", "client")


class SeaweedFS:
    """One ``weed server`` on loopback.

    Parameters
    ----------
    directory
        Keys, configuration and data; 0700.
    ports
        All its ports.
    issuer_url, jwks_url, audience
        Whose tokens STS takes: ``iss``, where the keys are, ``aud``. The keys are fetched at the first token, so the
        hub need not run yet.
    ttl
        Life of credentials in seconds.
    tls
        Certificate and key of the HTTPS port; without it there is no HTTPS port.
    shared_buckets
        Made at start, opened to whom they name.
    log
        Log file; default ``weed.log`` in `directory`.
    environment
        Variables added to the process's environment.
    """

    name = "SeaweedFS"

    def __init__(
        self,
        directory: Path,
        ports: SeaweedPorts,
        *,
        issuer_url: str,
        jwks_url: str,
        audience: str = "datalab-s3",
        ttl: int = 3600,
        tls: KeyPair | None = None,
        shared_buckets: Sequence[SharedBucket] = (),
        log: Path | None = None,
        environment: Mapping[str, str | None] | None = None,
    ) -> None:
        self.directory = directory
        self.ports = ports
        self.ttl = ttl
        self.tls = tls
        self.shared_buckets = tuple(shared_buckets)
        self._issuer = (issuer_url, jwks_url, audience)
        self._admin_file = directory / "admin.json"
        self._sockets = directory / "sockets"
        self.process = ManagedProcess(
            self.name,
            [],
            log or directory / "weed.log",
            environment={**(environment or {}), **_NO_INHERITED_SETTINGS},
            directory=directory,
            umask=0o077,
        )

    @property
    def endpoint_url(self) -> str:
        """URL of S3 and STS for the hub: plain HTTP on loopback."""
        return f"http://{LOOPBACK}:{self.ports.s3}"

    @property
    def https_endpoint_url(self) -> str:
        """URL of S3 for sessions."""
        return f"https://{LOOPBACK}:{self.ports.s3_https}"

    @property
    def admin_keys_file(self) -> Path:
        """JSON file (0600) with ``access_key`` and ``secret_key`` of the identity that provisions buckets."""
        return self._admin_file

    def prepare(self) -> None:
        """Write the configuration; keys are made once and kept.

        Raises
        ------
        StartError
            If ``weed`` is not installed.
        OSError
            If a file cannot be written.
        """
        program = programs.weed()
        private_directory(self.directory)
        private_directory(self.directory / "data")
        private_directory(self._sockets)
        keys = self._keys()
        self._write_identities()
        issuer_url, jwks_url, audience = self._issuer
        configuration = iam_configuration(
            issuer_url=issuer_url,
            jwks_url=jwks_url,
            audience=audience,
            ttl=self.ttl,
            signing_key=keys["sts"],
            shared_buckets=self.shared_buckets,
        )
        write_private(self.directory / "iam.json", json.dumps(configuration, indent=1))
        write_private(self.directory / "security.toml", self._security(keys))
        # Each bucket is a collection of its own; by default each would open seven volumes at its first object.
        write_private(self.directory / "master.toml", "[master.volume_growth]\ncopy_1 = 1\n")
        self.process.command = self._command(program)

    def launch(self) -> None:
        """Prepare and start the process without waiting for it; call from a thread that lives on.

        Raises
        ------
        StartError
            If ``weed`` is not installed or cannot be started.
        """
        self.prepare()
        self._remove_sockets()
        self.process.start()

    def wait_ready(
        self, timeout: float = START_TIMEOUT, *, cancelled: Callable[[], bool] = lambda: False
    ) -> None:
        """Wait until S3 answers, then make the shared buckets.

        Raises
        ------
        StartError
            If it ends or is not ready within `timeout` seconds.
        """
        wait_until(self.healthy, name=self.name, process=self.process, timeout=timeout, cancelled=cancelled)
        wait_until(
            self._make_shared_buckets,
            name=self.name,
            process=self.process,
            timeout=timeout,
            interval=0.2,
            cancelled=cancelled,
        )

    def start(self, timeout: float = START_TIMEOUT) -> None:
        """Start it and wait until it is ready; see :meth:`launch` and :meth:`wait_ready`."""
        self.launch()
        try:
            self.wait_ready(timeout)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it at once; what was acknowledged is on disk afterwards.

        SIGTERM is of no use: ``weed server`` (4.48) stops its volume server first, then its filer tries for minutes
        to write there. Every acknowledged write is in the kernel's hands already (data and index are written
        unbuffered, the filer's store has its journal), so SIGKILL loses nothing; ``fsync`` then does what a good end
        would have done against a power cut.
        """
        was_running = self.process.running
        self.process.stop(grace=0)
        if was_running:
            _sync(self.directory / "data")
        self._remove_sockets()

    def healthy(self) -> bool:
        """Whether S3 answers now (within 2 s), on every port it shall."""
        return _answers(self.ports.s3) and (self.tls is None or _listens(self.ports.s3_https))

    def admin_client(self) -> Any:
        """Return a botocore S3 client with the admin identity."""
        # Late, and not boto3: imported while the parts come up, it does not hold up their launch.
        import botocore.session
        from botocore.config import Config

        keys = json.loads(self._admin_file.read_text())
        return botocore.session.Session().create_client(
            "s3",
            endpoint_url=self.endpoint_url,
            region_name=REGION,
            aws_access_key_id=keys["access_key"],
            aws_secret_access_key=keys["secret_key"],
            config=Config(
                signature_version="s3v4",
                s3={"addressing_style": "path"},
                connect_timeout=2,
                read_timeout=20,
                retries={"max_attempts": 1},
                proxies={},
            ),
        )

    def _make_shared_buckets(self) -> bool:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            client = self.admin_client()
            existing = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
            for bucket in self.shared_buckets:
                if bucket.name not in existing:
                    client.create_bucket(Bucket=bucket.name)
        except (BotoCoreError, ClientError):
            return False
        return True

    def _keys(self) -> dict[str, str]:
        """Return the keys that the parts of SeaweedFS show each other, made at the first start."""
        path = self.directory / "keys.json"
        names = ("sts", "volume", "volume_read", "filer", "filer_read")
        try:
            kept: dict[str, str] = json.loads(path.read_text())
        except (OSError, ValueError):
            kept = {}
        keys = {name: kept.get(name) or base64.b64encode(secrets.token_bytes(32)).decode() for name in names}
        if keys != kept:
            write_private(path, json.dumps(keys))
        return keys

    def _write_identities(self) -> None:
        try:
            admin = json.loads(self._admin_file.read_text())
            pair = {"accessKey": admin["access_key"], "secretKey": admin["secret_key"]}
        except (OSError, ValueError, KeyError):
            pair = {"accessKey": "SX" + secrets.token_hex(9).upper(), "secretKey": secrets.token_urlsafe(32)}
            admin = {"access_key": pair["accessKey"], "secret_key": pair["secretKey"]}
            write_private(self._admin_file, json.dumps(admin))
        identity = {
            "name": "sardonyx-admin",
            "credentials": [pair],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        write_private(self.directory / "identities.json", json.dumps({"identities": [identity]}))

    def _security(self, keys: Mapping[str, str]) -> str:
        """Return ``security.toml``: a client certificate of an own CA on every port but S3's, signed chunk access.

        That CA is not the one that people trust: whoever has a key pair of it may read and write everything.
        """
        authority = CertificateAuthority(self.directory / "internal", "Sardonyx S3 internal CA")
        pair = authority.issue("part", client=True)
        ca, certificate, key = (json.dumps(str(p)) for p in (authority.certificate_file, *_paths(pair)))
        sections = [
            f"[jwt.signing]\nkey = {json.dumps(keys['volume'])}",
            f"[jwt.signing.read]\nkey = {json.dumps(keys['volume_read'])}",
            f"[jwt.filer_signing]\nkey = {json.dumps(keys['filer'])}",
            f"[jwt.filer_signing.read]\nkey = {json.dumps(keys['filer_read'])}",
            f"[grpc]\nca = {ca}",
            *(f"[grpc.{name}]\ncert = {certificate}\nkey = {key}" for name in _COMPONENTS),
            *(
                f"[https.{name}]\ncert = {certificate}\nkey = {key}\nca = {ca}"
                for name in ("master", "volume", "filer")
            ),
            f"[https.client]\nenabled = true\ncert = {certificate}\nkey = {key}\nca = {ca}",
        ]
        return "\n".join(sections) + "\n"

    def _command(self, program: str) -> list[str]:
        ports, directory = self.ports, self.directory
        options = {
            "dir": directory / "data",
            "ip": LOOPBACK,
            "ip.bind": LOOPBACK,
            # One master: it leads at once instead of waiting for an election (13-21 s on existing data).
            "master.peers": "none",
            # Its log names the ports of the last start; volumes tell it all it needs.
            "master.resumeState": "false",
            "master.telemetry": "false",
            "master.volumeSizeLimitMB": 1024,
            "master.port": ports.master,
            "master.port.grpc": ports.master_grpc,
            # Not 0 ("as many as the disk has room for"): a volume takes no space before it is used, and a bucket
            # takes at least one, so a disk of 80 GB would end at 80 buckets. `volume.minFreeSpace` guards the disk.
            "volume.max": 100_000,
            "volume.minFreeSpace": f"{RESERVE_BYTES >> 20}MiB",
            "volume.port": ports.volume,
            "volume.port.grpc": ports.volume_grpc,
            "volume.preStopSeconds": 0,
            "filer": "true",
            "filer.port": ports.filer,
            "filer.port.grpc": ports.filer_grpc,
            "filer.localSocket": self._sockets / "filer",
            "disableHttp": "true",
            "s3": "true",
            "s3.config": directory / "identities.json",
            "s3.iam.config": directory / "iam.json",
            "s3.port": ports.s3,
            "s3.port.grpc": ports.s3_grpc,
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
            "s3.localSocket": self._sockets / "s3",
            "s3.allowDeleteBucketNotEmpty": "false",
        }
        if self.tls is not None:
            options |= {
                "s3.port.https": ports.s3_https,
                "s3.cert.file": self.tls.certificate,
                "s3.key.file": self.tls.key,
            }
        flags = [f"-{key}={value}" for key, value in options.items()]
        return [program, f"-config_dir={directory}", "-logtostderr=true", "server", *flags]

    def _remove_sockets(self) -> None:
        """Remove Unix sockets that a killed ``weed`` leaves; those of gRPC have a fixed place."""
        ports = self.ports
        named = {
            "master": ports.master_grpc,
            "volume": ports.volume_grpc,
            "filer": ports.filer_grpc,
            "s3": ports.s3_grpc,
        }
        paths = [Path("/tmp", f"seaweedfs-{name}-grpc-{port}.sock") for name, port in named.items()]  # noqa: S108
        for path in [*paths, self._sockets / "filer", self._sockets / "s3"]:
            with contextlib.suppress(OSError):
                path.unlink()


#: A ``weed`` of the operator's, or keys meant for another store, must not configure ours.
_NO_INHERITED_SETTINGS: dict[str, str | None] = dict.fromkeys(
    ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "S3_EXTERNAL_URL")
)


def _paths(pair: KeyPair) -> tuple[Path, Path]:
    return pair.certificate, pair.key


def _answers(port: int) -> bool:
    answer = ask(f"http://{LOOPBACK}:{port}/healthz")
    return answer is not None and answer.status == 200


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=2):
        return True
    return False


def _sync(directory: Path) -> None:
    for path in directory.rglob("*"):
        if path.is_file():
            with contextlib.suppress(OSError):
                descriptor = os.open(path, os.O_RDONLY)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
