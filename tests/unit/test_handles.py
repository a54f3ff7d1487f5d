"""Handles: no two people share one, none means anything to a backend, none is given twice."""

from __future__ import annotations

import multiprocessing
import re
import sqlite3
import stat
import threading
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from sardonyx_hub.identity.handles import (
    HandleError,
    HandleRegistry,
    is_handle,
    make_handle,
    make_project_handle,
)

SHARED = ("commons", "open-data")
S3_BUCKET = re.compile(
    r"(?!xn--|sthree-|amzn-s3-demo-)[a-z0-9][a-z0-9-]{1,61}[a-z0-9](?<!-s3alias)(?<!--ol-s3)"
)

HOSTILE = [
    "*", "bob*", "al?ce", "a/b", "..", "Alice", "ALICE", "a", "ab", "", " ", "first.last@april.fr",
    "x" * 80, "${x}", "${jwt:preferred_username}", "commons", "open-data", "default", "project-x",
    "sardonyx-hub", "xn--bcher-kva", "a--b", "-alice", "alice-", "sthree-alice", "alice-s3alias",
    "alice-xabcdefghij", "alice\n", "élise", "李雷", "a\0b", "../bob", "bob/", "bob%2f", "192.168.0.1",
    "alice ", "\ud800",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_become_other_safe_handles(name: str) -> None:
    handle = make_handle(name, reserved=SHARED)
    assert handle != name
    assert is_handle(handle)
    assert S3_BUCKET.fullmatch(handle)
    assert handle not in SHARED
    assert not handle.startswith("project-")
    assert re.search(r"-x[a-z2-7]{10}$", handle)


@pytest.mark.parametrize(
    "name", ["alice", "bob", "admin", "abc", "a1b", "x" * 63, "first-last", "007", "1a-2b"]
)
def test_safe_names_are_their_own_handles(name: str) -> None:
    assert make_handle(name, reserved=SHARED) == name


def test_handles_of_different_names_differ() -> None:
    names = [*HOSTILE, "alice", "bob", "al-ce", "user", "first-last-april-fr", "x" * 40]
    assert len({make_handle(name, reserved=SHARED) for name in names}) == len(names)


def test_a_made_handle_can_be_nobodys_name() -> None:
    # Whoever registers under the name that "bob*" was mapped to must not meet bob*'s bucket.
    made = make_handle("bob*")
    assert make_handle(made) != made


def test_handle_is_the_same_on_every_machine() -> None:
    assert make_handle("Alice") == "alice-xjurlct6bzg"
    assert make_handle("first.last@april.fr").startswith("first-last-april-fr-x")


@pytest.mark.parametrize("name", ["team", "Team", "*", "a/b", "x" * 80, "team--one", "alice-xabcdefghij"])
def test_project_handles_are_no_persons(name: str) -> None:
    handle = make_project_handle(name)
    assert is_handle(handle)
    assert handle.startswith("project-")
    assert make_handle(handle) != handle
    assert make_project_handle(name) != make_project_handle(name + "2")


@pytest.fixture
def registry(tmp_path: Path) -> HandleRegistry:
    return HandleRegistry(tmp_path / "identity" / "handles.sqlite", SHARED)


def test_registry_remembers(registry: HandleRegistry, tmp_path: Path) -> None:
    handle = registry.handle_for("Alice")
    assert registry.handle_for("Alice") == registry.lookup("Alice") == handle
    assert registry.name_of(handle) == "Alice"
    again = HandleRegistry(tmp_path / "identity" / "handles.sqlite", SHARED)
    assert again.lookup("Alice") == handle
    assert again.lookup("bob") is None


def test_registry_file_is_private(registry: HandleRegistry, tmp_path: Path) -> None:
    registry.handle_for("alice")
    folder = tmp_path / "identity"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_a_person_made_again_gets_another_handle(registry: HandleRegistry) -> None:
    seen = set()
    for _ in range(4):
        seen.add(registry.handle_for("alice"))
        registry.retire("alice")
        assert registry.lookup("alice") is None
    assert len(seen) == 4
    assert "alice" in seen
    assert registry.name_of("alice") is None
    assert registry.name_of("alice", retired=True) == "alice"


def test_retiring_nobody_is_nothing(registry: HandleRegistry) -> None:
    registry.retire("nobody")
    assert registry.handle_for("nobody") == "nobody"


def test_another_subject_is_another_person(registry: HandleRegistry) -> None:
    first = registry.handle_for("alice", "sub-1")
    assert registry.handle_for("alice", "sub-1") == first
    assert registry.handle_for("alice") == first
    second = registry.handle_for("alice", "sub-2")
    assert second != first
    assert registry.handle_for("alice") == second
    # The first person, back at the provider, does not get the old handle back either.
    assert registry.handle_for("alice", "sub-1") not in {first, second}


def test_subject_is_bound_at_first_sign_in(registry: HandleRegistry) -> None:
    handle = registry.handle_for("alice")
    assert registry.handle_for("alice", "sub-1") == handle
    assert registry.handle_for("alice", "sub-2") != handle


def test_reserved_name_that_is_taken_is_refused(registry: HandleRegistry, tmp_path: Path) -> None:
    registry.handle_for("alice")
    with pytest.raises(HandleError, match="alice"):
        HandleRegistry(tmp_path / "identity" / "handles.sqlite", ["alice"])


def test_collision_of_hashes_is_salted(registry: HandleRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    def clumsy(name: str, *, reserved: object, salt: str = "") -> str:
        return "same" if not salt else f"same-{salt}"

    monkeypatch.setattr("sardonyx_hub.identity.handles.make_handle", clumsy)
    assert [registry.handle_for(name) for name in ("a", "b", "c")] == ["same", "same-1", "same-2"]


def test_another_processs_change_is_seen_after_the_cache(tmp_path: Path) -> None:
    now = [0.0]
    here = HandleRegistry(tmp_path / "h.sqlite", cache_seconds=30, monotonic=lambda: now[0])
    there = HandleRegistry(tmp_path / "h.sqlite")
    assert here.handle_for("alice", "sub-1") == "alice"
    there.retire("alice")
    now[0] = 31.0
    assert here.handle_for("alice", "sub-1") != "alice"


def test_cached_answers_ask_no_database(registry: HandleRegistry) -> None:
    registry.handle_for("alice", "sub-1")
    statements: list[str] = []
    sa.event.listen(registry._engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    assert registry.handle_for("alice", "sub-1") == registry.handle_for("alice") == registry.lookup("alice")
    assert statements == []


def test_too_long_names_are_refused(registry: HandleRegistry) -> None:
    with pytest.raises(HandleError, match="255"):
        registry.handle_for("x" * 256)


def test_threads_agree(registry: HandleRegistry) -> None:
    names = [f"Person {number % 5}" for number in range(40)]
    handles: list[tuple[str, str]] = []
    threads = [
        threading.Thread(target=lambda n=name: handles.append((n, registry.handle_for(n)))) for name in names
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(handles) == 40
    assert len(set(handles)) == len({handle for _, handle in handles}) == 5


def _ask(path: str, results: multiprocessing.Queue[list[str]]) -> None:
    registry = HandleRegistry(path)
    results.put([registry.handle_for(f"Person {number}", f"sub-{number}") for number in range(15)])


def test_two_hubs_agree(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[list[str]] = context.Queue()
    hubs = [context.Process(target=_ask, args=(str(tmp_path / "h.sqlite"), results)) for _ in range(2)]
    for hub in hubs:
        hub.start()
    first, second = results.get(timeout=60), results.get(timeout=60)
    for hub in hubs:
        hub.join(timeout=30)
    assert first == second
    assert len(set(first)) == 15


def test_url_and_errors(tmp_path: Path) -> None:
    registry = HandleRegistry(f"sqlite:///{tmp_path}/by-url.sqlite")
    assert registry.handle_for("alice") == "alice"
    with pytest.raises(HandleError) as caught:
        HandleRegistry("nosuchdriver://hub:hunter2@db/handles")
    assert "hunter2" not in str(caught.value)


def test_a_locked_registry_answers_from_memory_and_soon(tmp_path: Path) -> None:
    """The hub's event loop waits for it: a request must not take the 16 s that it once did."""
    seconds = [0.0]
    registry = HandleRegistry(tmp_path / "handles.sqlite", monotonic=lambda: seconds[0])
    handle = registry.handle_for("alice")
    seconds[0] = 3600.0
    with sqlite3.connect(tmp_path / "handles.sqlite", isolation_level=None) as other:
        other.execute("begin exclusive")
        begun = time.monotonic()
        assert registry.handle_for("alice") == handle
        with pytest.raises(HandleError):
            registry.handle_for("bob")
        assert time.monotonic() - begun < 10
        other.execute("rollback")
    assert registry.handle_for("bob") == "bob"
