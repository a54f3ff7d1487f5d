"""What a session on this machine sees of it: the command line of bubblewrap.

:func:`bwrap_command` is a pure function of a :class:`SandboxSpec`. The file system of a session is put
together from what it needs, instead of hiding parts of the machine's: what nobody thought of is not there.
Other people's disks, the datalab's keys and databases, other homes and other people's processes are not
hidden behind permissions, they do not exist in the session.

The network is shared with the machine, loopback included: kernels must use the ``ipc`` transport, and every
port of the datalab asks for credentials.
"""

from __future__ import annotations

import functools
import os
import shutil
import stat
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

INNER_HOME = "/home/onyxia"
INNER_RUN = "/run/sardonyx"
INNER_USER = "onyxia"
INNER_UID = 1000

#: Top-level folders with programs and libraries; links to /usr on systems with merged folders.
_SYSTEM = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32")
#: Parts of /etc that programs need. Nothing with keys or passwords in it, and only what everyone on the
#: machine may read.
_ETC = [
    "R",
    "alternatives",
    "bash.bashrc",
    "bash_completion.d",
    "ca-certificates",
    "ca-certificates.conf",
    "crypto-policies",
    "debian_version",
    "default/locale",
    "dpkg/origins",
    "fonts",
    "gai.conf",
    "gitconfig",
    "gnutls",
    "host.conf",
    "hostname",
    "hosts",
    "inputrc",
    "ipython",
    "java-11-openjdk",
    "java-17-openjdk",
    "java-21-openjdk",
    "jupyter",
    "krb5.conf",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "locale.alias",
    "locale.conf",
    "localtime",
    "lsb-release",
    "machine-id",
    "magic",
    "magic.mime",
    "mailcap",
    "mime.types",
    "nanorc",
    "networks",
    "nsswitch.conf",
    "odbc.ini",
    "odbcinst.ini",
    "OpenCL",
    "os-release",
    "papersize",
    "perl",
    "pip.conf",
    "pki/ca-trust",
    "pki/tls/certs",
    "pki/tls/cert.pem",
    "profile",
    "profile.d",
    "protocols",
    "python3",
    "python3.11",
    "python3.12",
    "python3.13",
    "resolv.conf",
    "rpc",
    "services",
    "shells",
    "skel",
    "ssl/cert.pem",
    "ssl/certs",
    "ssl/openssl.cnf",
    "terminfo",
    "timezone",
    "vim",
    "xattr.conf",
    "xdg",
    "zsh",
]
#: Parts of /proc where the owner of a file may set what the whole machine does (``kernel.core_pattern`` runs
#: programs as root). bubblewrap leaves /proc/sys writable when root starts it: the session is no root, but
#: still the owner of these files.
_KERNEL = (
    "/proc/sys",
    "/proc/sysrq-trigger",
    "/proc/irq",
    "/proc/bus",
    "/proc/fs",
    "/proc/acpi",
    "/proc/scsi",
)


@dataclass(frozen=True)
class Mount:
    """A file or folder of the machine and where the session sees it."""

    source: str
    target: str
    writable: bool = False


#: Size of the folders in memory that hold next to nothing.
_SMALL_BYTES = 64 << 20


@dataclass(frozen=True)
class SandboxSpec:
    """All that decides how a session is shut in.

    Parameters
    ----------
    bwrap
        Path of bubblewrap.
    home, run_directory
        The session's disk and run directory on this machine; the only places that it can write to.
    passwd, group
        Generated files that stand for the machine's own.
    links
        Link -> what it leads to, such as ``/bin`` -> ``usr/bin``.
    mounts
        What it can read besides: system, interpreter, environment, session package.
    command
        The program and its arguments. Never a secret: everyone on the machine can read it.
    nested_namespaces
        Whether the session may make user namespaces of its own; needs no privilege, but opens much of the
        kernel.
    temporary_bytes
        Size of ``/tmp``, which is memory: full, it refuses further files, instead of ending the session as one
        that takes too much memory.
    """

    bwrap: str
    home: str
    run_directory: str
    passwd: str
    group: str
    command: tuple[str, ...]
    links: tuple[tuple[str, str], ...] = ()
    mounts: tuple[Mount, ...] = ()
    nested_namespaces: bool = False
    temporary_bytes: int = 1 << 30


def bwrap_command(spec: SandboxSpec) -> list[str]:
    """Return the command line that runs ``spec.command`` in its sandbox.

    No capability, no new privileges (bubblewrap always sets that), user and group 1000, own process numbers,
    own IPC and host name; ends when the process that started it ends. See bwrap(1).
    """
    arguments = [spec.bwrap, "--die-with-parent", "--new-session"]
    arguments += ["--unshare-user", "--uid", str(INNER_UID), "--gid", str(INNER_UID)]
    arguments += ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    if not spec.nested_namespaces:
        arguments.append("--disable-userns")
    for link, leads_to in spec.links:
        arguments += ["--symlink", leads_to, link]
    arguments += ["--proc", "/proc", "--dev", "/dev"]
    for folder in _KERNEL:
        arguments += ["--ro-bind-try", folder, folder]
    small = str(_SMALL_BYTES)
    sizes = {"/tmp": str(spec.temporary_bytes), "/var/tmp": small, "/run": small}  # noqa: S108  (the sandbox's)
    for folder, size in sizes.items():
        arguments += ["--perms", "0700", "--size", size, "--tmpfs", folder]
    for mount in spec.mounts:
        arguments += ["--bind" if mount.writable else "--ro-bind", mount.source, mount.target]
    arguments += ["--bind", spec.home, INNER_HOME, "--bind", spec.run_directory, INNER_RUN]
    arguments += ["--ro-bind", spec.passwd, "/etc/passwd", "--ro-bind", spec.group, "/etc/group"]
    return [*arguments, "--remount-ro", "/", "--chdir", INNER_HOME, "--", *spec.command]


def passwd_file() -> str:
    """Return the session's /etc/passwd: the person, root, and nobody for files of others."""
    return (
        "root:x:0:0:root:/root:/usr/sbin/nologin\n"
        f"{INNER_USER}:x:{INNER_UID}:{INNER_UID}:{INNER_USER}:{INNER_HOME}:/bin/bash\n"
        "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    )


def group_file() -> str:
    """Return the session's /etc/group."""
    return f"root:x:0:\n{INNER_USER}:x:{INNER_UID}:\nnogroup:x:65534:\n"


def system_links(root: Path = Path("/")) -> tuple[tuple[str, str], ...]:
    """Return the top-level folders of `root` that are links: ``("/bin", "usr/bin")``."""
    links = [name for name in _SYSTEM if (root / name).is_symlink()]
    return tuple((f"/{name}", os.readlink(root / name)) for name in links)  # noqa: PTH115  (text, not a path)


def system_mounts(root: Path = Path("/")) -> tuple[Mount, ...]:
    """Return what every session can read of the system: programs, libraries, and chosen parts of /etc.

    What only root or a group may read stays out, whoever runs the hub: a hub that is root would let it
    through.
    """
    folders = [name for name in _SYSTEM if (root / name).is_dir() and not (root / name).is_symlink()]
    found = [Mount(str(root / name), f"/{name}") for name in folders]
    for name in _ETC:
        source = Path(os.path.realpath(root / "etc" / name))
        if _readable_by_all(source):
            found.append(Mount(str(source), f"/etc/{name}"))
    return tuple(found)


def _readable_by_all(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & stat.S_IROTH)
    except OSError:
        return False


def python_mounts(environment: Path) -> tuple[Mount, ...]:
    """Return what a virtual environment needs to be seen: itself, and the installation of Python behind it.

    The installation may stand in a home that the session must not see (pyenv, uv): only its own folder is
    shown, under every name that the chain of links from ``bin/python`` gives it.

    Raises
    ------
    FileNotFoundError
        If there is no ``bin/python`` in it.
    """
    python = environment / "bin" / "python"
    if not python.exists():
        raise FileNotFoundError(f"{environment} is no virtual environment: it has no bin/python")
    prefixes = {str(link.parent.parent): None for link in _links(python)}
    prefixes[str(environment)] = None
    return tuple(
        Mount(os.path.realpath(prefix), prefix)
        for prefix in prefixes
        if not _is_below(prefix, "/usr") and prefix != "/"
    )


def _links(path: Path) -> Iterator[Path]:
    """Yield `path` and what each link in the chain leads to, made absolute but not resolved."""
    for _ in range(40):
        yield path
        if not path.is_symlink():
            break
        path = Path(os.path.normpath(path.parent / path.readlink()))
    # Folders on the way may be links too (uv names its installations so): the last name of all is the real
    # one.
    yield Path(os.path.realpath(path))


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + "/")


def readable_mounts(paths: Iterable[str]) -> tuple[Mount, ...]:
    """Return mounts for paths that an operator lets all sessions read.

    Raises
    ------
    FileNotFoundError
        If one of them does not exist.
    """
    found = []
    for path in paths:
        if not Path(path).exists():
            raise FileNotFoundError(f"{path} does not exist and cannot be shown to sessions")
        found.append(Mount(os.path.realpath(path), str(Path(path).absolute())))
    return tuple(found)


@dataclass(frozen=True)
class Isolation:
    """Whether this machine can shut sessions in, and if not, why.

    Parameters
    ----------
    bwrap
        Path of bubblewrap; empty if it is missing or may not be used.
    nested_namespaces
        True where bubblewrap is too old to forbid them.
    reason
        Why sessions cannot be isolated; empty if they can.
    """

    bwrap: str = ""
    nested_namespaces: bool = False
    reason: str = ""


@functools.cache
def find_isolation() -> Isolation:
    """Try bubblewrap once; it may be installed and still be forbidden to make user namespaces (Ubuntu's
    AppArmor).

    Takes some 30 ms the first time, at most 10 s: call it outside the event loop.
    """
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        return Isolation(reason="bubblewrap (bwrap) is not installed")
    reason = ""
    for extra in ("--disable-userns", ""):
        namespaces = ["--unshare-user", "--uid", "1000", "--gid", "1000", "--unshare-pid", "--unshare-ipc"]
        trial = [bwrap, *namespaces, *([extra] if extra else []), "--ro-bind", "/", "/", "--proc", "/proc"]
        try:
            done = subprocess.run([*trial, "true"], capture_output=True, text=True, timeout=5, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            return Isolation(reason=f"bubblewrap does not run: {type(error).__name__}")
        if done.returncode == 0:
            return Isolation(bwrap=bwrap, nested_namespaces=not extra)
        reason = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"code {done.returncode}"
    return Isolation(reason=f"bubblewrap may not make a sandbox here: {reason}")
