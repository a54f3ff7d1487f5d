"""Which environment variables people may set: not those that a session depends on.

One table for variables of the launch form and for the keys of secrets. A launch link or a shared secret must
not be able to change which programs run, whom the session trusts, or whose credentials it uses.

What is *not* refused, and why: a session is its owner's, and what a launch link fills in is listed in the form before
anything starts (it may name an init script, too). So a variable is refused only where its value acts unasked and unseen,
or breaks what the datalab promises.

- ``PAGER``, ``GIT_PAGER``, ``EDITOR``, ``VISUAL``, ``GIT_EDITOR``, ``BROWSER``: people choose theirs; they act when the
  person asks for a pager, an editor or a page. ``LESSOPEN`` and ``LESSCLOSE`` run a command for every file that is looked
  at, and nobody sets them by hand: refused.
- ``PIP_INDEX_URL`` and the like, ``R_LIBS`` and ``R_LIBS_USER``: where one's own packages come from; the usual reason for
  a secret with an index's password. ``PYTHONPATH`` is another matter: the session's own hook is found by it.
- ``http_proxy`` and the like: what is sent without TLS would go through it, and that is the session's token on its way to
  the hub: refused. Operators set a proxy in the service's ``env``, which this table does not bind.
- Keys of a secret are not shown at the launch, but a secret is the person's own: a link names a path below their folder.
"""

from __future__ import annotations

import re

#: POSIX.1-2017, 8.1: letters, digits and underscore, not a digit first. ASCII only, and not endless.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")

#: Message key -> names; a name that ends with ``*`` stands for all that begin so.
_REFUSED: dict[str, str] = {
    "envname.programs": """
        PATH LD_* DYLD_* GLIBC_TUNABLES GCONV_PATH LOCPATH MALLOC_CONF VIRTUAL_ENV CONDA_*
        PYTHON* IPYTHONDIR PERL5* PERLLIB RUBYOPT RUBYLIB NODE_OPTIONS NODE_PATH LUA_INIT*
        JAVA_TOOL_OPTIONS _JAVA_OPTIONS JDK_JAVA_OPTIONS R_HOME R_PROFILE* R_ENVIRON* LESSOPEN LESSCLOSE
    """,
    "envname.shell": """
        BASH_ENV BASH_FUNC_* BASHOPTS ENV IFS SHELL SHELLOPTS PROMPT_COMMAND PS0 PS4 ZDOTDIR CDPATH INPUTRC _
    """,
    "envname.account": "HOME USER LOGNAME UID EUID PWD OLDPWD TMPDIR XDG_* NB_*",
    "envname.datalab": """
        JUPYTERHUB_* JUPYTER_* JUPYTERLAB_* JPY_* SARDONYX_* __sardonyx_* KUBERNETES_* CONFIGPROXY_*
    """,
    "envname.git": """
        GIT_CONFIG* GIT_SSH* GIT_ASKPASS SSH_ASKPASS* GIT_EXEC_PATH GIT_EXTERNAL_DIFF GIT_PROXY_COMMAND
        GIT_TEMPLATE_DIR GIT_DIR GIT_WORK_TREE GIT_USER_NAME GIT_USER_MAIL GIT_PERSONAL_ACCESS_TOKEN
        GIT_REPOSITORY GIT_BRANCH
    """,
    "envname.credentials": """
        AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_SECURITY_TOKEN AWS_CREDENTIAL_EXPIRATION
        AWS_CONTAINER_* AWS_PROFILE AWS_DEFAULT_PROFILE AWS_CONFIG_FILE AWS_SHARED_CREDENTIALS_FILE AWS_ROLE_*
        AWS_WEB_IDENTITY_TOKEN_FILE AWS_ENDPOINT_URL* AWS_S3_ENDPOINT AWS_DEFAULT_REGION AWS_PATH_STYLE_ACCESS
        AWS_WORKING_DIRECTORY_PATH S3_ENDPOINT MC_HOST_* MC_CONFIG_* RCLONE_CONFIG* VAULT_* BAO_*
    """,
    "envname.trust": """
        AWS_CA_BUNDLE SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE CURL_HOME GIT_SSL_*
        NODE_EXTRA_CA_CERTS NODE_TLS_REJECT_UNAUTHORIZED OPENSSL_CONF SSLKEYLOGFILE
        http_proxy https_proxy all_proxy no_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY
    """,
}

_EXACT: dict[str, str] = {}
_PREFIXES: dict[str, str] = {}
for _reason, _names in _REFUSED.items():
    for _name in _names.split():
        if _name.endswith("*"):
            _PREFIXES[_name[:-1]] = _reason
        else:
            _EXACT[_name] = _reason


def why_refused(name: str) -> str | None:
    """Return the key of the message that says why people may not set the variable `name`; ``None`` if they
    may.

    Case counts, as it does in the environment.

    Examples
    --------
    >>> why_refused("PATATE_TOKEN")
    >>> why_refused("LD_PRELOAD")
    'envname.programs'
    >>> why_refused("2fa")
    'envname.invalid'
    """
    if not _NAME.fullmatch(name):
        return "envname.invalid"
    if name in _EXACT:
        return _EXACT[name]
    return next((reason for prefix, reason in _PREFIXES.items() if name.startswith(prefix)), None)


def refused_names() -> dict[str, dict[str, str]]:
    """Return the table for pages that say why while a name is typed: ``exact`` and ``prefixes`` -> message key."""
    return {"exact": dict(_EXACT), "prefixes": dict(_PREFIXES)}
