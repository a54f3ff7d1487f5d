"""The settings of a datalab: the section ``Sardonyx`` of a JupyterHub configuration."""

from __future__ import annotations

from traitlets import Bool, Dict, Integer, List, Unicode

from sardonyx_spawner.catalogue import DEFAULT_CATALOGUE

from .home_settings import HomeSettings
from .idle_settings import IdleSettings


class Sardonyx(IdleSettings, HomeSettings):
    """The settings of a datalab."""

    title = Unicode(
        "Sardonyx",
        config=True,
        help="""
        Name of the datalab, beside the logo (`JupyterHub.logo_file`) and in the titles of its pages.

        Example::

            c.Sardonyx.title = "Datalab of the institute"

        .. versionadded:: 0.1
        """,
    )
    state_dir = Unicode(
        "sardonyx",
        config=True,
        help="""
        Folder of the signing keys, the handle registry and the audit log. Back it up: with it, people keep their handles.

        Example::

            c.Sardonyx.state_dir = "/srv/sardonyx"
        """,
    )
    handles_url = Unicode(
        "",
        config=True,
        help="""
        Database of the handle registry, as an SQLAlchemy URL; an SQLite file in `state_dir` by default.

        Example::

            c.Sardonyx.handles_url = "postgresql+psycopg2://sardonyx@db.example.org/sardonyx"
        """,
    )
    quota = Dict(
        config=True,
        help="""
        What a person's running sessions may use together, where an administrator set nothing else for the person or one
        of their groups: `cpu` in cores, `memory`, `gpu` (devices of any kind), `sessions`. What is left out has no limit.

        Example::

            c.Sardonyx.quota = {"cpu": "8", "memory": "32Gi", "gpu": 1, "sessions": 5}

        .. versionadded:: 0.1
        """,
    )
    issuer_url = Unicode(
        config=True,
        help="""
        URL of the hub as OpenID issuer, as S3 STS and Vault are configured with it.

        Example::

            c.Sardonyx.issuer_url = "https://hub.example.org/hub/datalab/oidc"
        """,
    )
    catalogue_file = Unicode(
        str(DEFAULT_CATALOGUE),
        config=True,
        help="""
        YAML file of the catalogue.

        Example::

            c.Sardonyx.catalogue_file = "/etc/sardonyx/catalogue.yaml"
        """,
    )
    shared_buckets = List(
        Dict(),
        config=True,
        help="""
        Buckets beside people's own. `read` and `write` list handles, `@` and a group's handle (`project-NAME`), or
        `*` for everyone.

        Example::

            c.Sardonyx.shared_buckets = [{"name": "teaching", "read": ["*"], "write": ["@project-teachers"]}]
        """,
    )

    s3_endpoint_url = Unicode("", config=True, help="S3 as the hub reaches it; no S3 storage if empty.")
    s3_public_endpoint_url = Unicode(
        "", config=True, help="S3 as sessions reach it; `s3_endpoint_url` by default."
    )
    s3_sts_endpoint_url = Unicode(
        "", config=True, help="STS as the hub reaches it; `s3_endpoint_url` by default."
    )
    s3_region = Unicode("us-east-1", config=True, help="Region that requests are signed for.")
    s3_role_arn = Unicode("arn:aws:iam::role/datalab", config=True, help="Role that sessions take.")
    s3_path_style = Bool(
        True, config=True, help="Whether buckets are addressed as `endpoint/bucket`, not `bucket.endpoint`."
    )
    s3_duration = Integer(
        3600,
        allow_none=True,
        config=True,
        help="Life of S3 keys in seconds, 900 to 43,200; None leaves it to the server.",
    )
    s3_ca_file = Unicode("", config=True, help="PEM file of the authorities that sign S3's certificate.")
    s3_admin_file = Unicode(
        "",
        config=True,
        help="""
        JSON file (0600) with `access_key` and `secret_key` of an account that may make buckets; empty if buckets
        are made otherwise.

        Example::

            c.Sardonyx.s3_admin_file = "/etc/sardonyx/s3-admin.json"
        """,
    )

    vault_url = Unicode("", config=True, help="Vault or OpenBao as the hub reaches it; no secrets if empty.")
    vault_public_url = Unicode("", config=True, help="Vault as sessions reach it; `vault_url` by default.")
    vault_mount = Unicode("onyxia-kv", config=True, help="Mount of the KV version 2 secrets engine.")
    vault_auth_path = Unicode("jwt", config=True, help="Mount of the JWT auth method.")
    vault_role = Unicode("datalab", config=True, help="Role that sessions log in with.")
    vault_revoke_role = Unicode(
        "",
        config=True,
        help="""
        Role that the hub itself logs in with to end sessions' tokens by their accessors. Without it, tokens that were
        made before a restart of the hub live to their own end.

        Its policy needs ``update`` on ``auth/token/revoke-accessor`` and nothing else; bind it to the audience
        ``datalab-vault-revoke`` and to the claim ``datalab_id`` = ``sardonyx-hub``.

        Example::

            c.Sardonyx.vault_revoke_role = "datalab-revoke"
        """,
    )
    vault_tokens = Bool(
        True,
        config=True,
        help="""
        Whether people may have a short-lived Vault token of their own on the page Account, for `bao` or `vault` on
        their computers. It can do what the page My secrets can do, and is in the audit log.

        Example::

            c.Sardonyx.vault_tokens = False
        """,
    )
    public_ca_file = Unicode(
        "",
        config=True,
        help="""
        PEM file of the authorities that people's own computers have to trust to reach S3 and Vault. The page Account
        offers it and the snippets there use it; leave it empty where all computers trust them anyway.

        Example::

            c.Sardonyx.public_ca_file = "/etc/sardonyx/ca.pem"
        """,
    )
    vault_namespace = Unicode("", config=True, help="Namespace, where there are any.")
    vault_ca_file = Unicode(
        "", config=True, help="PEM file of the authorities that sign Vault's certificate."
    )
