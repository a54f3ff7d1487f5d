"""The sandbox's command line, what it lets in on this machine, and limits on trees of control groups that are
made up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sardonyx_spawner import local_files
from sardonyx_spawner.limits import Wanted, group_name, prepare
from sardonyx_spawner.local_files import SessionFolders, UnsafeNameError, read_regular, server_folder
from sardonyx_spawner.overlay import OVERLAY, make_overlay
from sardonyx_spawner.sandbox import (
    Isolation,
    Mount,
    SandboxSpec,
    bwrap_command,
    find_isolation,
    group_file,
    passwd_file,
    python_mounts,
    readable_mounts,
    system_links,
    system_mounts,
)

SPEC = SandboxSpec(
    bwrap="/usr/bin/bwrap",
    home="/srv/disks/alice/default",
    run_directory="/srv/run/alice/default",
    passwd="/srv/passwd",
    group="/srv/group",
    command=("python", "-c", "1"),
    links=(("/bin", "usr/bin"),),
    mounts=(Mount("/usr", "/usr"), Mount("/data", "/data", writable=True)),
)


def pairs(command: list[str], option: str) -> list[tuple[str, str]]:
    return [(command[at + 1], command[at + 2]) for at, word in enumerate(command) if word == option]


def test_only_disk_and_run_directory_and_what_is_said_can_be_written() -> None:
    command = bwrap_command(SPEC)
    assert pairs(command, "--bind") == [
        ("/data", "/data"),
        ("/srv/disks/alice/default", "/home/onyxia"),
        ("/srv/run/alice/default", "/run/sardonyx"),
    ]
    assert command[-3:] == ["python", "-c", "1"]
    assert command[command.index("--remount-ro") + 1] == "/"


@pytest.mark.parametrize(
    "option", ["--die-with-parent", "--unshare-user", "--unshare-pid", "--unshare-ipc", "--disable-userns"]
)
def test_everything_is_unshared(option: str) -> None:
    assert option in bwrap_command(SPEC)


def test_kernel_settings_are_read_only_after_proc_is_there() -> None:
    command = bwrap_command(SPEC)
    assert ("/proc/sys", "/proc/sys") in pairs(command, "--ro-bind-try")
    assert command.index("/proc/sys") > command.index("--proc")


def test_system_parts_come_from_a_list_and_only_if_everyone_may_read_them(tmp_path: Path) -> None:
    (tmp_path / "usr").mkdir()
    (tmp_path / "bin").symlink_to("usr/bin")
    etc = tmp_path / "etc"
    (etc / "ssl" / "private").mkdir(parents=True)
    (etc / "ssl" / "certs").mkdir()
    (etc / "shadow").write_text("root:secret")
    (etc / "hosts").write_text("127.0.0.1 localhost")
    (etc / "pip.conf").write_text("index-url = https://token@example.org")
    (etc / "pip.conf").chmod(0o640)
    (etc / "resolv.conf").symlink_to(tmp_path / "stub")
    (tmp_path / "stub").write_text("nameserver 127.0.0.53")
    targets = {mount.target: mount.source for mount in system_mounts(tmp_path)}
    assert set(targets) == {"/usr", "/etc/hosts", "/etc/ssl/certs", "/etc/resolv.conf"}
    assert targets["/etc/resolv.conf"] == str(tmp_path / "stub")
    assert system_links(tmp_path) == (("/bin", "usr/bin"),)


def test_every_name_of_the_interpreter_is_shown(tmp_path: Path) -> None:
    real = tmp_path / "versions" / "3.11.7"
    (real / "bin").mkdir(parents=True)
    (real / "bin" / "python3.11").write_text("")
    (tmp_path / "versions" / "3.11").symlink_to(real)
    environment = tmp_path / "environment"
    (environment / "bin").mkdir(parents=True)
    (environment / "bin" / "python").symlink_to(tmp_path / "versions" / "3.11" / "bin" / "python3.11")
    mounts = python_mounts(environment)
    assert {mount.target for mount in mounts} == {
        str(environment),
        str(real),
        str(tmp_path / "versions" / "3.11"),
    }
    assert all(not mount.writable for mount in mounts)


def test_missing_paths_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no bin/python"):
        python_mounts(tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        readable_mounts([str(tmp_path / "nowhere")])


@pytest.fixture(scope="module")
def isolation() -> Isolation:
    found = find_isolation()
    assert found.bwrap, found.reason
    return found


def run_in_sandbox(
    isolation: Isolation, folder: Path, *command: str, temporary_bytes: int = 64 << 20
) -> subprocess.CompletedProcess[str]:
    for name in ("home", "run"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "passwd").write_text(passwd_file())
    (folder / "group").write_text(group_file())
    spec = SandboxSpec(
        bwrap=isolation.bwrap,
        home=str(folder / "home"),
        run_directory=str(folder / "run"),
        passwd=str(folder / "passwd"),
        group=str(folder / "group"),
        command=command,
        links=system_links(),
        mounts=(*system_mounts(), *python_mounts(Path(sys.prefix))),
        nested_namespaces=isolation.nested_namespaces,
        temporary_bytes=temporary_bytes,
    )
    environ = {"PATH": "/usr/bin:/bin", "HOME": "/home/onyxia", "LANG": "C.UTF-8"}
    return subprocess.run(
        bwrap_command(spec),
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        check=False,
    )


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("id -un; id -u", "onyxia\n1000\n"),
        ("cat /root/.bashrc /root/.profile /home/*/.ssh/* 2>/dev/null; true", ""),
        (
            'seen=$(ps -e -o comm= | cat); printf "%s " $(sort -u <<< "$seen" | grep -vx cat)',
            "bash bwrap ps ",
        ),
        ("grep -E 'CapEff|CapPrm' /proc/self/status | grep -vc 0000000000000000; true", "0\n"),
        ("grep NoNewPrivs /proc/self/status", "NoNewPrivs:\t1\n"),
        ("touch /x /usr/x /etc/x 2>/dev/null; ls /x /usr/x /etc/x 2>/dev/null; true", ""),
        ("(: >> /proc/sys/kernel/core_pattern) 2>/dev/null && echo opened; true", ""),
        ("cat /etc/shadow 2>/dev/null; ls /etc/ssl/private 2>/dev/null; true", ""),
        ("echo a > /dev/shm/x && cat /dev/shm/x", "a\n"),
        ("git --version | cut -c1-11", "git version\n"),
        ("getent hosts localhost | grep -c localhost", "1\n"),
        ("test -s /etc/ssl/certs/ca-certificates.crt && echo there", "there\n"),
        ("locale charmap", "UTF-8\n"),
        ("echo kept > ~/kept && cat /home/onyxia/kept", "kept\n"),
    ],
)
def test_a_session_has_what_it_needs_and_nothing_else(
    isolation: Isolation, tmp_path: Path, line: str, expected: str
) -> None:
    done = run_in_sandbox(isolation, tmp_path, "/bin/bash", "-c", line)
    assert done.stdout == expected, done.stderr


def test_python_works_in_the_sandbox_and_cannot_signal_the_machine(
    isolation: Isolation, tmp_path: Path
) -> None:
    code = (
        f"import os, ssl, sqlite3, multiprocessing\nlock = multiprocessing.Lock()\nos.kill({os.getpid()}, 0)"
    )
    done = run_in_sandbox(isolation, tmp_path, f"{sys.prefix}/bin/python", "-c", code)
    assert "ProcessLookupError" in done.stderr


def test_nested_user_namespaces_are_off(isolation: Isolation, tmp_path: Path) -> None:
    done = run_in_sandbox(isolation, tmp_path, "/usr/bin/unshare", "--user", "true")
    assert (done.returncode == 0) is isolation.nested_namespaces


# Limits ---------------------------------------------------------------------------------------------------

GIB = 1 << 30


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


class Kernel:
    """Makes the files of a new control group, as the kernel does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, names: dict[str, str]) -> None:
        made = Path.mkdir

        def mkdir(path: Path, *args: object, **kwargs: object) -> None:
            made(path, *args, **kwargs)  # type: ignore[arg-type]
            if path.name.startswith("sardonyx-"):
                for name, text in names.items():
                    (path / name).write_text(text)

        monkeypatch.setattr(Path, "mkdir", mkdir)


def test_version_2_group_is_made_below_the_delegated_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tree(tmp_path, {"cgroup.controllers": "cpu memory pids", "hub/cgroup.subtree_control": "cpu"})
    Kernel(monkeypatch, dict.fromkeys(("memory.max", "cpu.max", "pids.max", "memory.swap.max"), ""))
    found = prepare(Wanted(GIB, 1.5, 100), "sardonyx-x", root=root, own="0::/hub\n")
    group = root / "hub" / "sardonyx-x"
    assert found.cgroups == (str(group),)
    assert dict(found.enforced) == {"memory": "cgroup", "cpu": "cgroup", "processes": "cgroup"}
    assert (group / "memory.max").read_text() == str(GIB)
    assert (group / "memory.swap.max").read_text() == "0"
    assert (group / "cpu.max").read_text() == "150000 100000"
    assert (group / "pids.max").read_text() == "100"


def test_version_2_without_delegation_falls_back_and_says_so(tmp_path: Path) -> None:
    root = tree(tmp_path, {"cgroup.controllers": "cpu memory pids"})
    found = prepare(
        Wanted(GIB, 0.5, 100), "sardonyx-x", root=root, own="0::/hub\n", available_cpus=lambda: {0, 1, 2}
    )
    assert found.cgroups == ()
    assert dict(found.enforced) == {"cpu": "affinity", "memory": "none", "processes": "none"}
    assert len(found.cpus) == 1
    assert "not delegated" in found.reasons["memory"]


def test_version_1_uses_the_hubs_own_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree(tmp_path, {"memory/own/tasks": "", "cpu/tasks": ""})
    Kernel(monkeypatch, dict.fromkeys(("memory.limit_in_bytes", "cpu.cfs_period_us", "cpu.cfs_quota_us"), ""))
    own = "3:memory:/own\n2:cpu,cpuacct:/not/seen/here\n1:name=systemd:/\n"
    found = prepare(Wanted(GIB, 0.5, 100), "sardonyx-x", root=root, own=own)
    assert found.cgroups == (str(root / "memory/own/sardonyx-x"), str(root / "cpu/sardonyx-x"))
    assert (root / "memory/own/sardonyx-x/memory.limit_in_bytes").read_text() == str(GIB)
    assert (root / "cpu/sardonyx-x/cpu.cfs_quota_us").read_text() == "50000"
    assert found.enforced["processes"] == "none"
    assert "pids" in found.reasons["processes"]


def test_nothing_wanted_makes_nothing(tmp_path: Path) -> None:
    assert prepare(Wanted(), "sardonyx-x", root=tmp_path, own="0::/\n").cgroups == ()


@pytest.mark.parametrize(("cores", "count"), [(0.1, 1), (1, 1), (1.5, 2), (9, 4)])
def test_affinity_takes_whole_cores(tmp_path: Path, cores: float, count: int) -> None:
    found = prepare(
        Wanted(cpu=cores), "sardonyx-x", root=tmp_path, own="", available_cpus=lambda: {2, 3, 5, 7}
    )
    assert len(found.cpus) == count
    assert set(found.cpus) <= {2, 3, 5, 7}


def test_group_names_are_safe() -> None:
    assert group_name("../Alice b/c") == "sardonyx-alice-b-c"


# Folders --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", ".hidden", "-option", "a\nb", "a\0b", "x" * 201])
def test_names_that_leave_their_folder_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnsafeNameError):
        SessionFolders(tmp_path, name, "default")
    with pytest.raises(UnsafeNameError):
        SessionFolders(tmp_path, "alice", name)


def test_the_unnamed_server_and_one_called_default_differ() -> None:
    assert len({server_folder(""), server_folder("default"), server_folder("run1")}) == 3


def test_what_a_session_leaves_in_its_run_directory_is_not_trusted(tmp_path: Path) -> None:
    folders = SessionFolders(tmp_path, "alice", "default")
    folders.prepare()
    secret = tmp_path / "secret"
    secret.write_text('{"step": "init", "state": "ok", "message": "secret"}\n')
    progress = folders.run / local_files.PROGRESS_NAME
    progress.symlink_to(secret)
    assert folders.progress_from(0) == ([], 0)
    progress.unlink()
    os.mkfifo(progress)
    assert read_regular(progress, 10) == b""
    progress.unlink()
    progress.write_bytes(b'nonsense\n[1]\n{"step": "init", "state": "ok", "message": "hello"}\n{"step": "in')
    lines, position = folders.progress_from(0)
    assert [line["message"] for line in lines] == ["hello"]
    assert folders.progress_from(position) == ([], position)


def test_bundle_is_private_and_goes_with_the_session(tmp_path: Path) -> None:
    folders = SessionFolders(tmp_path, "alice", "default")
    folders.prepare()
    folders.write_bundle({"version": 1}, {"A": "quote ' $ { } \n é 🙂"})
    path = folders.run / "bundle.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads(path.read_text())["environment"]["A"] == "quote ' $ { } \n é 🙂"
    folders.clean()
    assert not folders.run.exists()
    assert folders.disk.exists()


def test_rename_does_not_overwrite_a_disk(tmp_path: Path) -> None:
    old, new = SessionFolders(tmp_path, "alice", "old"), SessionFolders(tmp_path, "alice", "new")
    old.prepare()
    new.prepare()
    with pytest.raises(FileExistsError):
        old.rename_to(new)
    assert old.disk.exists()


# Overlay --------------------------------------------------------------------------------------------------


def test_overlay_is_repaired_when_the_environment_moved(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    first, second = Path(sys.prefix), tmp_path / "second"
    second.symlink_to(sys.prefix)
    skeleton = tmp_path / "skeleton"
    skeleton.mkdir()
    (skeleton / ".bashrc").write_text("# new account")
    overlay = make_overlay(home, first, skeleton=skeleton)
    assert overlay == home / OVERLAY
    assert (home / "work").is_dir()
    assert (home / ".bashrc").read_text() == "# new account"
    (home / ".bashrc").unlink()
    pth = next(overlay.rglob("_sardonyx.pth"))
    assert str(first / "lib") in pth.read_text()
    make_overlay(home, second, skeleton=skeleton)
    assert str(second / "lib") in pth.read_text()
    assert not (home / ".bashrc").exists()
    python = overlay / "bin" / "python"
    done = subprocess.run(
        [python, "-c", "import sys, pydantic; print(sys.prefix)"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(overlay)


def test_overlay_in_the_way_of_a_file_does_not_stop_the_session(tmp_path: Path) -> None:
    (tmp_path / ".local").write_text("a file")
    program = Path(local_files.__file__).with_name("overlay.py")
    done = subprocess.run(
        [sys.executable, "-I", str(program), sys.prefix, "--", "echo", "started"],
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "started\n"
    assert "cannot be made" in done.stderr


def test_temporary_files_cannot_take_all_memory(isolation: Isolation, tmp_path: Path) -> None:
    script = "dd if=/dev/zero of=/tmp/big bs=1M count=9 2>&1; df -B1 --output=size /tmp | tail -1"
    done = run_in_sandbox(isolation, tmp_path, "bash", "-c", script, temporary_bytes=8 << 20)
    assert "No space left on device" in done.stdout
    assert done.stdout.split()[-1] == str(8 << 20)
