"""What the files of the run directory contain. Pure functions from credentials to bytes.

Readers differ in what they can parse at no cost, hence one content in several forms: JSON for programs,
NUL-separated records for Python's start-up hook and R (no parser to load), shell lines for bash and zsh, one
line a host for the Git helper.
"""

from __future__ import annotations

import json
import re
import shlex
from typing import Any, Mapping, Optional, Sequence

#: Names that belong together: whoever set another access key keeps all four as they are. The marker tells the
#: hooks which access key was ours.
KEY_NAMES = ("AWS_SESSION_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "AWS_CREDENTIAL_EXPIRATION")
MARKER = "SARDONYX_ACCESS_KEY_ID"
_GROUP = frozenset((*KEY_NAMES, MARKER))
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")
_FIELD_END = "\x1f"
_HEAD = "# Written by Sardonyx at each renewal; changes are lost."


def to_json(value: object) -> bytes:
    """Return compact JSON with a final newline."""
    return (json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n").encode(
        "utf-8", "surrogatepass"
    )


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def write_order(names: Sequence[str]) -> list[str]:
    """Return names in the order in which a running process should set them.

    botocore reads access key, secret, token and expiration one after the other, and believes what it read
    until the expiration comes near. Setting the expiration last means that a reader who met a half-written
    set holds the old one and so reads again at its next call.
    """
    return [name for name in sorted(names) if name not in _GROUP] + [
        name for name in (*KEY_NAMES[:3], MARKER, KEY_NAMES[3]) if name in names
    ]


def env_list(environment: Mapping[str, str]) -> bytes:
    """Return the names, one a line."""
    return _encode("".join(name + "\n" for name in write_order(list(environment))))


def env_sh(environment: Mapping[str, str]) -> bytes:
    """Return POSIX ``export`` lines; sourcing them sets every variable, whatever it was."""
    names = write_order(list(environment))
    return _encode("".join(f"export {name}={shlex.quote(environment[name])}\n" for name in names))


def env_nul(environment: Mapping[str, str], changed: Mapping[str, int], generation: int) -> bytes:
    """Return ``GENERATION\\0`` and a ``CHANGED NAME=VALUE\\0`` for each variable, in the order to set them.

    ``CHANGED`` is the generation in which the value last changed: a process that knows that generation leaves
    the variable alone, so that what a person set for themselves is not undone at each renewal.
    """
    records = [str(generation)]
    records += [
        f"{changed.get(name, generation)} {name}={environment[name]}"
        for name in write_order(list(environment))
    ]
    return b"".join(_encode(record) + b"\0" for record in records)


def hook_sh(environment: Mapping[str, str], changed: Mapping[str, int], generation: int) -> bytes:
    """Return what the shell hooks source at a new generation: the rules of :func:`env_nul` as shell lines."""
    names = write_order(list(environment))
    lines = [
        "__sardonyx_known=${SARDONYX_GENERATION:-0}",
        "case $__sardonyx_known in *[!0-9]*) __sardonyx_known=0 ;; esac",
    ]
    for name in names:
        if name not in _GROUP:
            value = shlex.quote(environment[name])
            lines.append(
                f"[ $__sardonyx_known -ge {changed.get(name, generation)} ] || export {name}={value}"
            )
    group = [name for name in names if name in _GROUP]
    if group:
        # An access key that is not ours, or none at all (a program started for the provider chain), is the
        # person's choice.
        lines.append(f'if [ "${{AWS_ACCESS_KEY_ID-}}" = "${{{MARKER}-}}" ]; then')
        lines += [f"export {name}={shlex.quote(environment[name])}" for name in group]
        lines.append("fi")
    lines.append(f"export SARDONYX_GENERATION={generation}")
    lines.append("unset __sardonyx_known")
    return _encode("\n".join(lines) + "\n")


def storage_environment(
    s3: Optional[Mapping[str, Any]], endpoint_url: str = "", endpoint_token: str = ""
) -> dict[str, str]:
    """Return the variables that follow from the S3 credentials and are the session's own business.

    The container endpoint (`AWS SDKs reference: Container credential provider`), rclone's remote ``s3``
    without any file, so that the person's own ``rclone.conf`` stays in use, and leave for object_store to
    speak plain HTTP where the endpoint does.
    """
    if not s3 or not s3.get("access_key_id"):
        return {}
    found = {MARKER: str(s3["access_key_id"])}
    if endpoint_url:
        found["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = endpoint_url
        found["AWS_CONTAINER_AUTHORIZATION_TOKEN"] = endpoint_token
    url = str(s3.get("endpoint_url") or "")
    if url.startswith("http://"):
        found["AWS_ALLOW_HTTP"] = "true"
    found["RCLONE_CONFIG_S3_TYPE"] = "s3"
    found["RCLONE_CONFIG_S3_PROVIDER"] = "Other" if url else "AWS"
    found["RCLONE_CONFIG_S3_ENV_AUTH"] = "true"
    if url:
        found["RCLONE_CONFIG_S3_ENDPOINT"] = url
    if s3.get("region"):
        found["RCLONE_CONFIG_S3_REGION"] = str(s3["region"])
    found["RCLONE_CONFIG_S3_FORCE_PATH_STYLE"] = "true" if s3.get("path_style") else "false"
    return found


def rclone_conf(s3: Optional[Mapping[str, Any]]) -> bytes:
    """Return an rclone configuration with the keys in it, for programs that have no environment (cron, ``env
    -i``)."""
    lines = [_HEAD]
    if s3:
        fields = {
            "type": "s3",
            "provider": "Other" if s3.get("endpoint_url") else "AWS",
            "access_key_id": s3.get("access_key_id"),
            "secret_access_key": s3.get("secret_access_key"),
            "session_token": s3.get("session_token"),
            "endpoint": s3.get("endpoint_url"),
            "region": s3.get("region"),
            "force_path_style": "true" if s3.get("path_style") else "false",
        }
        lines += ["[s3]"] + [f"{key} = {_one_line(value)}" for key, value in fields.items() if value]
    return _encode("\n".join(lines) + "\n")


def mc_config(s3: Optional[Mapping[str, Any]], existing: Optional[Mapping[str, Any]] = None) -> bytes:
    """Return ``mc``'s ``config.json`` with the alias ``s3``; aliases that the person added in `existing` are
    kept."""
    aliases = dict(existing["aliases"]) if existing and isinstance(existing.get("aliases"), dict) else {}
    aliases.pop("s3", None)
    if s3:
        aliases["s3"] = {
            "url": s3.get("endpoint_url") or "https://s3.amazonaws.com",
            "accessKey": s3.get("access_key_id"),
            "secretKey": s3.get("secret_access_key"),
            "sessionToken": s3.get("session_token"),
            "api": "s3v4",
            "path": "on" if s3.get("path_style") else "auto",
        }
    return to_json({"version": "10", "aliases": aliases})


def container_credentials(s3: Mapping[str, Any], expiration: str) -> bytes:
    """Return the answer of AWS's container-credentials protocol."""
    return to_json(
        {
            "AccessKeyId": s3.get("access_key_id"),
            "SecretAccessKey": s3.get("secret_access_key"),
            "Token": s3.get("session_token"),
            "Expiration": expiration,
        }
    )


def git_accounts(document: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the document's Git accounts whose fields are safe to hand to Git; the host without its
    scheme."""
    accounts = []
    for entry in document.get("git") or ():
        if not isinstance(entry, dict):
            continue
        account = {key: str(entry.get(key) or "") for key in ("host", "username", "token", "name", "email")}
        account["host"] = re.sub(r"^https?://", "", account["host"]).rstrip("/").lower()
        if _HOST.fullmatch(account["host"]) and not any(
            _UNPRINTABLE.search(text) for text in account.values()
        ):
            accounts.append(account)
    return accounts


def is_loopback(host: str) -> bool:
    """Return whether a token may go to this host without TLS."""
    name = host.rsplit(":", 1)[0]
    return name == "localhost" or re.fullmatch(r"127(\.[0-9]{1,3}){3}", name) is not None


def git_list(accounts: Sequence[Mapping[str, str]]) -> bytes:
    """Return the accounts that have a token, a line each, fields ended by U+001F: what a shell reads with
    builtins only."""
    lines = [
        _FIELD_END.join((account["host"], account["username"] or "oauth2", account["token"], "")) + "\n"
        for account in accounts
        if account["token"]
    ]
    return _encode("".join(lines))


def git_helper_config(accounts: Sequence[Mapping[str, str]], package_view: str, run_view: str) -> bytes:
    """Return the Git configuration that makes our helper the only one asked about our hosts.

    The empty ``helper`` is a reset: without it a ``store`` helper of the person's would be handed our token
    after each use and keep it in a file. That needs to be read last, so ``GIT_CONFIG_*`` includes it (see
    ``environment.py``).
    """
    helper = f"!sh {shlex.quote(package_view + '/helpers/git-credential.sh')} {shlex.quote(run_view)}"
    lines = [_HEAD]
    for account in accounts:
        schemes = ("https", "http") if is_loopback(account["host"]) else ("https",)
        for scheme in schemes if account["token"] else ():
            lines += [f"[credential {_git_quote(scheme + '://' + account['host'])}]", "\thelper ="]
            lines.append(f"\thelper = {_git_quote(helper)}")
    return _encode("\n".join(lines) + "\n")


def git_identity_config(accounts: Sequence[Mapping[str, str]], environment: Mapping[str, str]) -> bytes:
    """Return a system-wide Git configuration with the person's name and mail.

    System scope (``GIT_CONFIG_SYSTEM``) is the weakest: what the person writes with ``git config --global``,
    or in a repository, wins at once.
    """
    with_mail = [account for account in accounts if account["email"]]
    name = environment.get("GIT_USER_NAME") or (with_mail[0]["name"] if with_mail else "")
    mail = environment.get("GIT_USER_MAIL") or (with_mail[0]["email"] if with_mail else "")
    lines = [
        "# Written by Sardonyx at each renewal; changes are lost.",
        "[include]",
        "\tpath = /etc/gitconfig",
    ]
    fields = [(key, _one_line(value)) for key, value in (("name", name), ("email", mail)) if value]
    if fields:
        lines += ["[user]"] + [f"\t{key} = {_git_quote(value)}" for key, value in fields]
    return _encode("\n".join(lines) + "\n")


def _one_line(value: object) -> str:
    return _UNPRINTABLE.sub(" ", str(value))


def _git_quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
