"""The environment of a session's processes on this machine, and the sandbox around them.

Nothing is inherited from the hub but what is on a list: its environment may hold keys of databases and
identity providers.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .options import LaunchOptions
from .overlay import OVERLAY
from .sandbox import (
    INNER_HOME,
    INNER_RUN,
    INNER_USER,
    Isolation,
    Mount,
    SandboxSpec,
    bwrap_command,
    python_mounts,
    readable_mounts,
    system_links,
    system_mounts,
)
from .service import Service

#: Where a sandbox has the datalab's own programs.
_INNER_TOOLS = "/opt/sardonyx"
#: Read by every interactive bash (Debian's place for it), and where a session sees the machine's own.
_SYSTEM_BASHRC = "/etc/bash.bashrc"
_INNER_BASHRC = f"{_INNER_TOOLS}/bash.bashrc"
_SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games"

PROXY_VARIABLES = tuple(
    name
    for base in ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy")
    for name in (base, base.upper())
)
CA_VARIABLES = (
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "AWS_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
    "PIP_CERT",
)
#: What a session takes over from the hub's environment.
INHERITED = ("LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "TZ", *PROXY_VARIABLES, *CA_VARIABLES)

_OVERLAY_PROGRAM = Path(__file__).with_name("overlay.py")


@dataclass(frozen=True)
class Layout:
    """Where things are for a session's processes: inside the sandbox, or on the machine where there is none.

    Parameters
    ----------
    home, run
        The disk and the run directory.
    package
        The folder that ``sardonyx_session`` can be imported from.
    overlay_program
        ``overlay.py``.
    runtime
        A folder of a short name for sockets: their paths are limited to 107 bytes (unix(7)).
    """

    home: str
    run: str
    package: str
    overlay_program: str
    runtime: str

    @classmethod
    def in_sandbox(cls) -> Layout:
        """Return the layout that :func:`sandboxed` makes."""
        return cls(
            home=INNER_HOME,
            run=INNER_RUN,
            package=f"{_INNER_TOOLS}/lib",
            overlay_program=f"{_INNER_TOOLS}/overlay.py",
            runtime="/tmp/jupyter",  # noqa: S108  (the sandbox's own)
        )

    @classmethod
    def on_machine(cls, disk: Path, run: Path, package: Path, runtime: str) -> Layout:
        """Return the layout without a sandbox."""
        return cls(str(disk), str(run), str(package), str(_OVERLAY_PROGRAM), runtime)


def inherited(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what a session's processes may take over from `environ`."""
    found = {name: environ[name] for name in INHERITED if environ.get(name)}
    found.setdefault("LANG", "C.UTF-8")
    return found


def server_environment(
    layout: Layout,
    environment: Path,
    hub: Mapping[str, str],
    service: Service,
    options: LaunchOptions,
    *,
    language: str,
    programs: Sequence[str] = (),
) -> dict[str, str]:
    """Return the variables that the session starts with; its credentials come later, from the run directory.

    Parameters
    ----------
    environment
        The shared virtual environment.
    hub
        What JupyterHub gives its servers (``Spawner.get_env()``), the operator's `environment` included.
    programs
        Folders at the end of ``PATH``.
    """
    overlay = f"{layout.home}/{OVERLAY}"
    found = {
        **service.env,
        **{one.name: one.value for one in options.extra_env_vars if not one.secret},
        "GIT_REPOSITORY": options.git.repository,
        "GIT_BRANCH": options.git.branch,
        "SARDONYX_INIT_SCRIPT": options.init.personal_init,
        "SARDONYX_INIT_ARGS": options.init.personal_init_args,
        "SARDONYX_LANG": language,
        "VIRTUAL_ENV": overlay,
        "JUPYTER_PATH": f"{overlay}/share/jupyter:{environment}/share/jupyter",
        # Ours asks nobody whether to fetch news from the internet.
        "JUPYTER_CONFIG_PATH": f"{layout.package}/sardonyx_session/jupyter:{environment}/etc/jupyter",
        "JUPYTERLAB_DIR": f"{environment}/share/jupyter/lab",
        "JUPYTER_RUNTIME_DIR": layout.runtime,
        **hub,
        "PATH": ":".join([f"{overlay}/bin", f"{environment}/bin", _SYSTEM_PATH, *programs]),
        "PYTHONPATH": layout.package,
        "HOME": layout.home,
        "USER": INNER_USER,
        "LOGNAME": INNER_USER,
        "SHELL": "/bin/bash",
        "SARDONYX_RUN": layout.run,
        "SARDONYX_SYSTEM_BASHRC": _INNER_BASHRC,
    }
    return {name: value for name, value in found.items() if value}


def agent_environment(
    layout: Layout,
    run: Path,
    package: Path,
    environ: Mapping[str, str],
    *,
    url: str,
    token: str,
    ca_file: str,
    language: str,
) -> dict[str, str]:
    """Return the environment of the agent, which runs outside the sandbox."""
    return {
        **inherited(environ),
        "PATH": _SYSTEM_PATH,
        "HOME": str(run),
        "PYTHONPATH": str(package),
        "PYTHONDONTWRITEBYTECODE": "1",
        "SARDONYX_RUN": str(run),
        "SARDONYX_RUN_VIEW": layout.run,
        "SARDONYX_PACKAGE_VIEW": f"{layout.package}/sardonyx_session",
        "SARDONYX_CREDENTIALS_URL": url,
        "SARDONYX_LANG": language,
        "JUPYTERHUB_API_TOKEN": token,
        **({"SARDONYX_CA_FILE": ca_file} if ca_file else {}),
    }


def server_command(layout: Layout, environment: Path, service: Service, *, as_root: bool) -> tuple[str, ...]:
    """Return the program that becomes the session's server: overlay first, then init, then the service's
    command.

    JupyterLab's root is the home, so that the file browser reaches all of the disk; it opens in ``~/work``.
    Kernels talk over sockets in the file system: loopback is shared with everybody on the machine. A taken
    port ends the server instead of moving it to where nobody looks for it.
    """
    command = list(service.local.command) if service.local else ["jupyterhub-singleuser"]
    program = environment / "bin" / command[0]
    if "/" not in command[0] and program.exists():
        # Not by PATH: there the person's own packages come first, and could keep the session from starting.
        command[0] = str(program)
    if Path(command[0]).name in ("jupyterhub-singleuser", "jupyter-labhub"):
        command += [
            f"--ServerApp.root_dir={layout.home}",
            f"--ServerApp.preferred_dir={layout.home}/work",
            "--ServerApp.port_retries=0",
            "--KernelManager.transport=ipc",
            *(["--allow-root"] if as_root else []),
        ]
    command += service.local.args if service.local else ()
    python = str(environment / "bin" / "python")
    overlay = [python, "-I", layout.overlay_program, str(environment), "--"]
    return (*overlay, python, "-m", "sardonyx_session", "start", "--", *command)


def sandboxed(
    command: Sequence[str],
    *,
    isolation: Isolation,
    disk: Path,
    run: Path,
    state: Path,
    environment: Path,
    package: Path,
    readable: Sequence[str],
    environ: Mapping[str, str],
    temporary_bytes: int,
) -> list[str]:
    """Return the command line that runs `command` in a sandbox of :meth:`Layout.in_sandbox`.

    Raises
    ------
    FileNotFoundError
        If the environment, or something that sessions should be able to read, is not there.
    """
    tools = [
        Mount(str(package / "sardonyx_session"), f"{_INNER_TOOLS}/lib/sardonyx_session"),
        Mount(str(_OVERLAY_PROGRAM), f"{_INNER_TOOLS}/overlay.py"),
        # Ours reads the machine's own first: a person's ~/.bashrc may replace the prompt's hook, not this one.
        Mount(str(package / "sardonyx_session/hooks/bash/bashrc"), _SYSTEM_BASHRC),
    ]
    if Path(_SYSTEM_BASHRC).exists():
        tools.append(Mount(_SYSTEM_BASHRC, _INNER_BASHRC))
    authorities = [
        environ[name] for name in CA_VARIABLES if environ.get(name) and Path(environ[name]).exists()
    ]
    visible = ("/usr/", "/etc/ssl/certs", "/etc/pki/")
    hidden = [path for path in dict.fromkeys(authorities) if not path.startswith(visible)]
    return bwrap_command(
        SandboxSpec(
            bwrap=isolation.bwrap,
            home=str(disk),
            run_directory=str(run),
            passwd=str(state / "passwd"),
            group=str(state / "group"),
            command=tuple(command),
            links=system_links(),
            mounts=(
                *system_mounts(),
                *python_mounts(environment),
                *tools,
                *readable_mounts([*readable, *hidden]),
            ),
            nested_namespaces=isolation.nested_namespaces,
            temporary_bytes=temporary_bytes,
        )
    )


def find_session_package() -> str:
    """Return the folder that ``sardonyx_session`` is installed in; empty if it is not. Nothing of it is
    imported."""
    from importlib.util import find_spec

    spec = find_spec("sardonyx_session")
    return str(Path(spec.origin).parent.parent) if spec is not None and spec.origin else ""


def is_root() -> bool:
    """Return whether this process may do everything on the machine."""
    return os.geteuid() == 0
