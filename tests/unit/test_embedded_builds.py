"""What is built once: environments and `mc`; how the person hears of it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from sardonyx_hub.embedded import environments, mc
from sardonyx_hub.embedded.environments import BuildError, ensure_environment, environment_path


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    """A lock file without packages: nothing is fetched."""
    path = tmp_path / "empty.lock"
    path.write_text("# nothing\n")
    return path


def test_an_environment_is_built_once_by_many_at_once(tmp_path: Path, lock: Path) -> None:
    told: list[str] = []
    found: list[Path] = []
    threads = [
        threading.Thread(
            target=lambda: found.append(ensure_environment("one", lock, tmp_path / "cache", told.append))
        )
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 3
    assert len(set(found)) == 1
    assert subprocess.run([found[0] / "bin" / "python", "-c", ""], check=True, timeout=30).returncode == 0
    assert sum("is ready" in line for line in told) == 1


def test_another_lock_is_another_environment(tmp_path: Path, lock: Path) -> None:
    first = environment_path("one", lock, tmp_path)
    lock.write_text("# something else\n")
    assert environment_path("one", lock, tmp_path) != first


def test_an_interrupted_build_is_done_again(tmp_path: Path, lock: Path) -> None:
    path = ensure_environment("one", lock, tmp_path, print)
    (path / environments.COMPLETE).unlink()
    (path / "half").write_text("")
    assert ensure_environment("one", lock, tmp_path, print) == path
    assert environments.is_complete(path)
    assert not (path / "half").exists()


def test_a_build_that_fails_is_one_line_and_leaves_no_stamp(tmp_path: Path, lock: Path) -> None:
    lock.write_text("unlocked==1\n")  # without a hash
    with pytest.raises(BuildError) as caught:
        ensure_environment("one", lock, tmp_path, print)
    text = str(caught.value)
    assert text.startswith("the environment one could not be built: ")
    assert "\n" not in text
    assert "hash" in text
    assert not environments.is_complete(environment_path("one", lock, tmp_path))


@pytest.mark.parametrize(
    ("printed", "told"),
    [
        ("error: failed to write\n  No space left on device (os error 28)\n", "no space left on"),
        ("Disk quota exceeded (os error 122)", "your disk quota is used up"),
        ("", "it ended with code 1"),
    ],
)
def test_why_a_build_failed(tmp_path: Path, printed: str, told: str) -> None:
    script = f"import sys; print({printed!r}); sys.exit(1)"
    with (tmp_path / "log").open("w") as output, pytest.raises(BuildError, match=told):
        environments.run_tied(
            [sys.executable, "-c", script],
            os.environ,
            tmp_path,
            output,
            deadline=time.monotonic() + 30,
            what="it",
        )


def test_a_build_that_hangs_is_ended(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as output, pytest.raises(BuildError, match="not built in time"):
        environments.run_tied(
            ["sleep", "60"], os.environ, tmp_path, output, deadline=time.monotonic() + 0.5, what="it"
        )


def run_mc(cache: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [mc.bin_directory(cache) / "mc", "ls"], capture_output=True, text=True, timeout=30, check=False
    )


@pytest.mark.parametrize(
    ("state", "age", "told"),
    [
        (None, 0, "not built yet"),
        ("building {now}", 0, "being built in the background, for "),
        ("building {now}", 3600, "not built yet"),
        ("failed no module mirror", 0, "could not be built: no module mirror"),
    ],
)
def test_the_stub_says_how_far_the_build_is(tmp_path: Path, state: str | None, age: int, told: str) -> None:
    directory = mc.ensure_mc(tmp_path, print)
    assert not mc.is_built(tmp_path)
    if state is not None:
        file = directory / "mc.state"
        file.write_text(state.format(now=int(time.time()) - 5) + "\n")
        os.utime(file, (time.time() - age, time.time() - age))
    done = run_mc(tmp_path)
    assert done.returncode == 75
    assert done.stdout == ""
    assert told in done.stderr


def test_mc_that_cannot_be_built_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    go = programs / "go"
    go.write_text(
        '#!/bin/sh\n[ "$1" = env ] && echo go1.99.1 && exit\necho "module mirror: connection refused"\nexit 1\n'
    )
    go.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    done = subprocess.run(
        mc.build_command(tmp_path / "cache"), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "module mirror: connection refused" in done.stderr
    assert "could not be built: module mirror: connection refused" in run_mc(tmp_path / "cache").stderr
    assert list((tmp_path / "cache" / "builds").iterdir()) == []


def test_the_build_replaces_the_stub_and_happens_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    go = programs / "go"
    go.write_text(
        '#!/bin/sh\n[ "$1" = env ] && echo go1.99.1 && exit\n'
        'mkdir -p "$GOBIN" && printf "#!/bin/sh\\necho real\\n" >"$GOBIN/mc" && chmod +x "$GOBIN/mc"\n'
        f"echo built >>{tmp_path}/count\n"
    )
    go.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    for _ in range(2):
        mc.build_mc(tmp_path / "cache", print)
    assert run_mc(tmp_path / "cache").stdout == "real\n"
    assert (tmp_path / "count").read_text() == "built\n"
    assert mc.ensure_mc(tmp_path / "cache", print) == mc.bin_directory(tmp_path / "cache")
    assert run_mc(tmp_path / "cache").stdout == "real\n"
