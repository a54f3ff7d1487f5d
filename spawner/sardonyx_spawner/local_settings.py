"""What an operator can set for sessions on the hub's own machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from traitlets import Dict, Enum, Float, Integer, List, Unicode, default

from .local_environment import INHERITED, find_session_package
from .mixin import DatalabSpawnerMixin


class LocalSettings(DatalabSpawnerMixin):
    """The traits of :class:`~sardonyx_spawner.local.LocalDatalabSpawner`; set there."""

    home = Unicode(
        config=True,
        help="""
        Folder of the datalab's data on this machine (SARDONYX_HOME): disks, run directories and logs of
        sessions.

        Example::

            c.LocalDatalabSpawner.home = "/srv/sardonyx"

        .. versionadded:: 0.1
        """,
    )

    @default("home")
    def _default_home(self) -> str:
        return str(Path(os.environ.get("SARDONYX_HOME", ".sardonyx")).absolute())

    isolation = Enum(
        ("auto", "bubblewrap", "none"),
        "auto",
        config=True,
        help="""
        Whether sessions are shut in: `bubblewrap` refuses to start any where that is not possible, `auto`
        starts them without and says so in the form and in the log, `none` never shuts them in.

        Example::

            c.LocalDatalabSpawner.isolation = "bubblewrap"

        .. versionadded:: 0.1
        """,
    )

    environments = Dict(
        key_trait=Unicode(),
        value_trait=Unicode(),
        config=True,
        help="""
        Name of a session environment -> its virtual environment. Services name theirs in `local.environment`.

        Sessions read it and cannot change it. It has to hold `jupyterhub` and what the services' commands
        need.

        Example::

            c.LocalDatalabSpawner.environments = {"jupyter-python":
            "/srv/sardonyx/environments/jupyter-python"}

        .. versionadded:: 0.1
        """,
    )

    session_package = Unicode(
        config=True,
        help="""
        Folder that the Python package `sardonyx_session` can be imported from; default: where it is
        installed.

        Example::

            c.LocalDatalabSpawner.session_package = "/srv/sardonyx/session"

        .. versionadded:: 0.1
        """,
    )

    @default("session_package")
    def _default_session_package(self) -> str:
        return find_session_package()

    agent_python = Unicode(
        sys.executable,
        config=True,
        help="""
        Python that runs the agents of sessions; default: the hub's.

        Example::

            c.LocalDatalabSpawner.agent_python = "/usr/bin/python3"

        .. versionadded:: 0.1
        """,
    )

    ca_file = Unicode(
        "",
        config=True,
        help="""
        File of certificate authorities (PEM) that sessions trust besides those of the machine; empty: none.

        Example::

            c.LocalDatalabSpawner.ca_file = "/srv/sardonyx/ca/ca.pem"

        .. versionadded:: 0.1
        """,
    )

    credentials_url = Unicode(
        "",
        config=True,
        help="""
        Where agents ask for credentials; empty: the hub's own API, as sessions reach it.

        Example::

            c.LocalDatalabSpawner.credentials_url = "http://127.0.0.1:8081/hub/api/datalab/v1/credentials"

        .. versionadded:: 0.1
        """,
    )

    readable_paths = List(
        Unicode(),
        config=True,
        help="""
        Files and folders of this machine that all sessions can read besides the system's programs and
        libraries.

        Example::

            c.LocalDatalabSpawner.readable_paths = ["/opt/conda", "/data/reference"]

        .. versionadded:: 0.1
        """,
    )

    program_folders = List(
        Unicode(),
        config=True,
        help="""
        Folders of programs at the end of every session's `PATH`, after those of its environment.

        Example::

            c.LocalDatalabSpawner.program_folders = ["/opt/tools/bin"]

        .. versionadded:: 0.1
        """,
    )

    pids_limit = Integer(
        4096,
        min=0,
        config=True,
        help="""
        How many processes and threads a session may have, where control groups are available; 0 is without
        limit.

        Example::

            c.LocalDatalabSpawner.pids_limit = 1024

        .. versionadded:: 0.1
        """,
    )

    cgroup_parent = Unicode(
        "",
        config=True,
        help="""
        Control group (version 2) below /sys/fs/cgroup that is delegated to the hub; empty: the hub's own.

        Example::

            c.LocalDatalabSpawner.cgroup_parent = "/system.slice/sardonyx-sessions.service"

        .. versionadded:: 0.1
        """,
    )

    stop_seconds = Float(
        10.0,
        min=0,
        config=True,
        help="""
        Seconds that a session has to end by itself before it is killed.

        Example::

            c.LocalDatalabSpawner.stop_seconds = 30

        .. versionadded:: 0.1
        """,
    )

    @default("ip")
    def _default_ip(self) -> str:
        return "127.0.0.1"

    @default("start_timeout")
    def _default_start_timeout(self) -> int:
        # The start includes the clone of a repository and the person's init script.
        return 900

    @default("env_keep")
    def _default_env_keep(self) -> list[str]:
        return list(INHERITED)
