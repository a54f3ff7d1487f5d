"""The part of a session's environment that depends on paths inside it: hooks, authorities, Git, the
endpoint's token file.

Everything else comes from ``env.json``, which the agent renews. DuckDB reads no variable for authorities, nor
does it look at renewed keys unless told to; the recipe for it is::

    LOAD httpfs; LOAD aws;
    SET ca_cert_file = '<the value of SSL_CERT_FILE>';
    CREATE SECRET (TYPE s3, PROVIDER credential_chain, CHAIN 'env', REFRESH auto,
                   ENDPOINT '<the value of AWS_S3_ENDPOINT>', URL_STYLE 'path');
"""

from __future__ import annotations

import os
import sys
from typing import Mapping, Optional

from .authorities import ca_environment
from .document import clean_environment
from .rundir import RunDirectory

#: Loads the hook at the first prompt and calls it at the others; the last status (``$?``) passes through.
_PROMPT = 'eval "${__sardonyx_prompt:-. \\"\\$SARDONYX_PACKAGE/hooks/bash/env.bash\\"; eval \\"\\$__sardonyx_arm\\"}"'


def package_directory() -> str:
    """Return the folder of this package."""
    return os.path.dirname(os.path.abspath(__file__))


def static_environment(
    run_dir: str, environ: Mapping[str, str], package_dir: Optional[str] = None
) -> dict[str, str]:
    """Return the variables to set (or to set anew) for the processes of a session; none of them is secret.

    What `environ` has already is kept in front (``PYTHONPATH``: behind, ``GIT_CONFIG_*``: counted on) or
    chained to (``BASH_ENV``, ``R_PROFILE``, ``ZDOTDIR``, ``PROMPT_COMMAND``). Applying it twice changes
    nothing more.

    Parameters
    ----------
    run_dir, package_dir
        As the session sees them; `package_dir` defaults to where this package is.
    environ
        The environment that the result will be added to.
    """
    package = package_dir or package_directory()
    found = {
        "SARDONYX_RUN": run_dir,
        "SARDONYX_PACKAGE": package,
        "SARDONYX_PYTHON": sys.executable,
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": os.path.join(run_dir, "endpoint.token"),
    }
    found["PYTHONPATH"] = _with_first(os.path.join(package, "hooks", "python"), environ.get("PYTHONPATH", ""))
    found["PATH"] = _with_last(os.path.join(package, "bin"), environ.get("PATH", os.defpath))
    # Login shells (JupyterLab's terminals) run /etc/profile, which starts PATH anew; the bash hook puts this
    # back.
    found["SARDONYX_PATH"] = found["PATH"]
    found.update(_chained("BASH_ENV", os.path.join(package, "hooks", "bash", "env.bash"), environ))
    found.update(_chained("R_PROFILE", os.path.join(package, "hooks", "R", "Rprofile"), environ))
    found.update(_chained("ZDOTDIR", os.path.join(package, "hooks", "zsh"), environ))
    found["PROMPT_COMMAND"] = _prompt_command(environ.get("PROMPT_COMMAND", ""))
    found.update(ca_environment(run_dir))
    found.update(_git(run_dir, environ))
    return found


def session_environment(run_dir: str) -> dict[str, str]:
    """Return the renewed variables as they are now, with the number of their set; empty before the first
    write."""
    directory = RunDirectory(run_dir)
    try:
        generation = directory.generation()  # before the values: at worst the hooks read them once more
        values, _ = clean_environment(directory.read_json("env.json"))
    finally:
        directory.close()
    return {**values, "SARDONYX_GENERATION": str(generation)} if generation else {}


def _with_first(entry: str, path: str) -> str:
    return os.pathsep.join([entry] + [part for part in path.split(os.pathsep) if part and part != entry])


def _with_last(entry: str, path: str) -> str:
    return os.pathsep.join([part for part in path.split(os.pathsep) if part != entry] + [entry])


def _chained(name: str, ours: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return our value of a variable, and theirs under ``SARDONYX_<name>`` for our hook to go on to."""
    found = {name: ours}
    theirs = environ.get(name, "")
    if theirs and theirs != ours:
        found["SARDONYX_" + name] = theirs
    return found


def _prompt_command(theirs: str) -> str:
    # bash takes PROMPT_COMMAND from its environment: the one way into every interactive bash that edits no
    # file.
    if _PROMPT in theirs:
        return theirs
    return f"{_PROMPT}; {theirs}" if theirs else _PROMPT


def _git(run_dir: str, environ: Mapping[str, str]) -> dict[str, str]:
    helper = os.path.join(run_dir, "git-helper.config")
    count = int(environ["GIT_CONFIG_COUNT"]) if environ.get("GIT_CONFIG_COUNT", "").isdigit() else 0
    found: dict[str, str] = {}
    if helper not in (environ.get(f"GIT_CONFIG_VALUE_{number}") for number in range(count)):
        found = {
            "GIT_CONFIG_COUNT": str(count + 1),
            f"GIT_CONFIG_KEY_{count}": "include.path",
            f"GIT_CONFIG_VALUE_{count}": helper,
        }
    if not environ.get("GIT_CONFIG_SYSTEM"):
        found["GIT_CONFIG_SYSTEM"] = os.path.join(run_dir, "git-identity.config")
    return found
